//! What other controllers ask of this one.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::internal::v1;
use fulcrum_proto::internal::v1::raft_service_server::RaftService;
use fulcrum_proto::v1::{
    ApplyRequest, ApplyResponse, ConfirmRequest, CreateResourceRequest, DeleteResourceRequest,
    Resource, RollbackRequest, UpdateResourceRequest,
};
use fulcrum_runtime::identity::{Identity as CallerIdentity, plain};
use openraft::error::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status, Streaming};

use super::checksum;
use super::codec::{decode_entry, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use super::network::SNAPSHOT_CHUNK_BYTES;
use super::snapshot::{self, MAX_SNAPSHOT_BYTES};
use super::state::IntentState;
use super::transfer::Transferred;
use super::types::{Entry, LogId, Openraft, Snapshot, Vote};
use super::{Node, reads};

/// A node that is asked to lead is given up after this long. In a cluster of three it is elected at once, for the leader
/// that asks has the second vote; in a larger one the voters' lease must run out, and openraft asks them again by itself.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(1800);

/// A write that a follower forwarded.
#[derive(Clone, Debug, PartialEq)]
pub enum Forwarded {
    /// A manifest set.
    Apply(ApplyRequest),
    /// A rollback, which is answered as a set would be.
    Rollback(RollbackRequest),
    /// A confirmation, likewise.
    Confirm(ConfirmRequest),
    /// A resource to create.
    Create(CreateResourceRequest),
    /// Fields of a resource to change.
    Update(UpdateResourceRequest),
    /// A resource to delete.
    Delete(DeleteResourceRequest),
}

/// For whom a write was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// As the history names it.
    pub who: String,
    /// The identity that it showed; none where none was asked of it.
    pub identity: Option<CallerIdentity>,
}

impl Asker {
    /// As a follower tells it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where the identity cannot be read: it is nobody's then, and not everybody's.
    fn read(who: &str, identity: &str) -> Result<Self, Status> {
        let identity = Some(identity).filter(|uri| !uri.is_empty()).map(str::parse).transpose();
        let identity =
            identity.map_err(|error| Status::invalid_argument(format!("identity: {error}")))?;
        Ok(Self { who: plain(who), identity })
    }
}

/// What a write is answered with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answered {
    /// What every write is answered with.
    pub apply: ApplyResponse,
    /// Of a resource that is created or changed: as it is then.
    pub resource: Option<Resource>,
}

/// Answers a write that a follower forwarded.
#[tonic::async_trait]
pub trait ForwardHandler: Send + Sync + 'static {
    /// Answers as if the client, who is named, had asked here.
    ///
    /// # Errors
    /// What the client is to be told.
    async fn forward(&self, write: Forwarded, by: Asker) -> Result<Answered, Status>;

    /// Has another node lead, as the client wishes, who is named: the given one, or the one that is furthest.
    ///
    /// # Errors
    /// What the client is to be told.
    async fn transfer(&self, to: Option<u64>, who: String) -> Result<Transferred, Status>;
}

/// Who this node is.
pub(crate) struct Identity {
    /// Its id.
    pub(crate) node_id: u64,
    /// UUID of its store.
    pub(crate) store_id: String,
    /// Ids of its configuration's members.
    pub(crate) members: Vec<u64>,
}

/// The service on the controllers' own listener.
pub(crate) struct Service {
    pub(crate) node: Arc<Node>,
    pub(crate) raft: Openraft,
    pub(crate) identity: Arc<Identity>,
    pub(crate) intent: watch::Receiver<Arc<IntentState>>,
    /// Whether this node may take part: not before it is known that its new store replaces no other.
    pub(crate) is_admitted: watch::Receiver<bool>,
    pub(crate) forward: Arc<dyn ForwardHandler>,
    /// One snapshot at a time bounds the memory that they take.
    pub(crate) snapshots: Semaphore,
}

impl Service {
    /// Refuses what was meant for another node or comes from another cluster.
    fn check(&self, envelope: Option<&v1::Envelope>) -> Result<(), Status> {
        let envelope = envelope.ok_or_else(|| missing("envelope"))?;
        let own = self.identity.node_id;
        if envelope.to_node != own {
            return Err(Status::failed_precondition(format!(
                "this is controller {own}, not {}: [[controllers]] of one of the two names a wrong address or id",
                envelope.to_node
            )));
        }
        let intent = self.intent.borrow();
        let (ours, theirs) = (&intent.cluster_id, &envelope.cluster_id);
        if !ours.is_empty() && !theirs.is_empty() && ours != theirs {
            return Err(Status::failed_precondition(format!(
                "controller {own} belongs to cluster {ours}, controller {} to cluster {theirs}: one of the two has the \
                 data_dir of another cluster",
                envelope.from_node
            )));
        }
        // One that has yet to be sent the state takes it from those whom it joined, and from no store of before a restore.
        let ours = match intent.incarnation {
            0 => *self.node.joined.borrow(),
            known => known,
        };
        let theirs = envelope.incarnation;
        if ours != 0 && theirs != 0 && ours != theirs {
            return Err(Status::failed_precondition(format!(
                "controller {own} is of incarnation {ours}, controller {} of incarnation {theirs}: a backup was restored in between. Stop the \
                 one whose store is from before, and move its data_dir away",
                envelope.from_node
            )));
        }
        Ok(())
    }

    fn check_admitted(&self) -> Result<(), Status> {
        if *self.is_admitted.borrow() {
            return Ok(());
        }
        Err(Status::unavailable(
            "its store is new, and it is still asking whether the cluster knows it with another one",
        ))
    }

    async fn receive_snapshot(
        &self,
        mut stream: Streaming<v1::InstallSnapshotRequest>,
    ) -> Result<(Vote, Snapshot), Status> {
        let first = stream.message().await?.ok_or_else(|| missing("start"))?;
        let start = first.start.ok_or_else(|| missing("start"))?;
        self.check(start.envelope.as_ref())?;
        let vote = vote_from_wire(start.vote.ok_or_else(|| missing("vote"))?);
        let size = usize::try_from(start.size_bytes)
            .ok()
            .filter(|size| *size <= MAX_SNAPSHOT_BYTES)
            .ok_or_else(|| {
                Status::resource_exhausted(format!(
                    "a snapshot of {} bytes is larger than the {MAX_SNAPSHOT_BYTES} that are taken",
                    start.size_bytes
                ))
            })?;
        // Grows with what arrives, not with what is announced.
        let mut encoded = Vec::new();
        while let Some(message) = stream.message().await? {
            if message.chunk.len() > SNAPSHOT_CHUNK_BYTES
                || encoded.len() + message.chunk.len() > size
            {
                return Err(Status::invalid_argument("a chunk is larger than was announced"));
            }
            encoded.extend_from_slice(&message.chunk);
        }
        if encoded.len() != size || checksum::bytes(&encoded)[..] != start.sha256[..] {
            return Err(Status::data_loss("the snapshot did not arrive as it was sent"));
        }
        let parsed = tokio::task::spawn_blocking(move || {
            snapshot::parse(&encoded)
                .map(|(meta, _)| Snapshot { meta, snapshot: Box::new(encoded) })
        });
        let snapshot = parsed
            .await
            .map_err(|error| Status::internal(format!("the snapshot broke off: {error}")))?
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok((vote, snapshot))
    }
}

#[tonic::async_trait]
impl RaftService for Service {
    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        let wire = request.into_inner();
        self.check(wire.envelope.as_ref())?;
        self.check_admitted()?;
        let vote = vote_from_wire(wire.vote.ok_or_else(|| missing("vote"))?);
        let request = VoteRequest::new(vote, wire.last_log_id.map(log_id_from_wire));
        let answer = self.raft.vote(request).await.map_err(|error| from_raft(&error))?;
        Ok(Response::new(v1::VoteResponse {
            vote: Some(vote_to_wire(answer.vote)),
            granted: answer.vote_granted,
            last_log_id: answer.last_log_id.map(log_id_to_wire),
        }))
    }

    async fn append_entries(
        &self,
        request: Request<v1::AppendEntriesRequest>,
    ) -> Result<Response<v1::AppendEntriesResponse>, Status> {
        let wire = request.into_inner();
        self.check(wire.envelope.as_ref())?;
        self.check_admitted()?;
        let previous = wire.previous.map(log_id_from_wire);
        let request = AppendEntriesRequest {
            vote: vote_from_wire(wire.vote.ok_or_else(|| missing("vote"))?),
            prev_log_id: previous,
            entries: consecutive(previous, &wire.entries)?,
            leader_commit: wire.committed.map(log_id_from_wire),
        };
        let answer = self.raft.append_entries(request).await.map_err(|error| from_raft(&error))?;
        let (outcome, matching, vote) = match answer {
            AppendEntriesResponse::Success => (v1::AppendOutcome::Success, None, None),
            AppendEntriesResponse::PartialSuccess(matching) => {
                (v1::AppendOutcome::Partial, matching.map(log_id_to_wire), None)
            }
            AppendEntriesResponse::Conflict => (v1::AppendOutcome::Conflict, None, None),
            AppendEntriesResponse::HigherVote(vote) => {
                (v1::AppendOutcome::HigherVote, None, Some(vote_to_wire(vote)))
            }
        };
        let outcome = outcome.into();
        Ok(Response::new(v1::AppendEntriesResponse { outcome, matching, vote }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::InstallSnapshotRequest>>,
    ) -> Result<Response<v1::InstallSnapshotResponse>, Status> {
        self.check_admitted()?;
        let _permit = self
            .snapshots
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is being installed"))?;
        let (vote, snapshot) = self.receive_snapshot(request.into_inner()).await?;
        let answer = self.raft.install_full_snapshot(vote, snapshot).await;
        let answer = answer.map_err(|error| from_fatal(&error))?;
        Ok(Response::new(v1::InstallSnapshotResponse { vote: Some(vote_to_wire(answer.vote)) }))
    }

    async fn forward_apply(
        &self,
        request: Request<v1::ForwardApplyRequest>,
    ) -> Result<Response<v1::ForwardApplyResponse>, Status> {
        let v1::ForwardApplyRequest { apply, who, identity } = request.into_inner();
        let apply = apply.ok_or_else(|| missing("apply"))?;
        let answer =
            self.forward.forward(Forwarded::Apply(apply), Asker::read(&who, &identity)?).await?;
        Ok(Response::new(v1::ForwardApplyResponse { apply: Some(answer.apply) }))
    }

    async fn forward_rollback(
        &self,
        request: Request<v1::ForwardRollbackRequest>,
    ) -> Result<Response<v1::ForwardRollbackResponse>, Status> {
        let v1::ForwardRollbackRequest { rollback, who, identity } = request.into_inner();
        let rollback = rollback.ok_or_else(|| missing("rollback"))?;
        let answer = self
            .forward
            .forward(Forwarded::Rollback(rollback), Asker::read(&who, &identity)?)
            .await?;
        Ok(Response::new(v1::ForwardRollbackResponse { apply: Some(answer.apply) }))
    }

    async fn forward_write(
        &self,
        request: Request<v1::ForwardWriteRequest>,
    ) -> Result<Response<v1::ForwardWriteResponse>, Status> {
        use v1::forward_write_request::Write;
        let v1::ForwardWriteRequest { write, who, identity } = request.into_inner();
        let write = match write {
            Some(Write::Apply(apply)) => Forwarded::Apply(apply),
            Some(Write::Rollback(rollback)) => Forwarded::Rollback(rollback),
            Some(Write::Confirm(confirm)) => Forwarded::Confirm(confirm),
            Some(Write::Create(create)) => Forwarded::Create(create),
            Some(Write::Update(update)) => Forwarded::Update(update),
            Some(Write::Delete(delete)) => Forwarded::Delete(delete),
            None => return Err(Status::unimplemented("this release does not know such a write")),
        };
        let Answered { apply, resource } =
            self.forward.forward(write, Asker::read(&who, &identity)?).await?;
        Ok(Response::new(v1::ForwardWriteResponse { apply: Some(apply), resource }))
    }

    async fn identify(
        &self,
        request: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        self.check(request.into_inner().envelope.as_ref())?;
        Ok(Response::new(self.node.identify()))
    }

    async fn read_index(
        &self,
        request: Request<v1::ReadIndexRequest>,
    ) -> Result<Response<v1::ReadIndexResponse>, Status> {
        self.check(request.into_inner().envelope.as_ref())?;
        reads::to_wire(self.node.reads.index_here().await).map(Response::new)
    }

    async fn forward_transfer(
        &self,
        request: Request<v1::ForwardTransferRequest>,
    ) -> Result<Response<v1::ForwardTransferResponse>, Status> {
        let v1::ForwardTransferRequest { envelope, to_node, who } = request.into_inner();
        self.check(envelope.as_ref())?;
        let to = Some(to_node).filter(|to| *to != 0);
        let Transferred { from, to, term, gap } = self.forward.transfer(to, plain(&who)).await?;
        Ok(Response::new(v1::ForwardTransferResponse {
            from_node: from,
            to_node: to,
            term,
            gap_us: u64::try_from(gap.as_micros()).unwrap_or(u64::MAX),
        }))
    }

    async fn take_leadership(
        &self,
        request: Request<v1::TakeLeadershipRequest>,
    ) -> Result<Response<v1::TakeLeadershipResponse>, Status> {
        self.check(request.into_inner().envelope.as_ref())?;
        self.check_admitted()?;
        self.raft.trigger().elect().await.map_err(|error| from_fatal(&error))?;
        let elected = self.raft.wait(Some(ELECTION_TIMEOUT));
        match elected.current_leader(self.identity.node_id, "elected").await {
            Ok(_) => Ok(Response::new(v1::TakeLeadershipResponse {})),
            Err(_) => Err(Status::aborted("the other controllers did not elect it")),
        }
    }
}

/// Decodes entries and makes sure that they follow `previous` without a gap, for openraft takes that for granted.
fn consecutive(previous: Option<LogId>, encoded: &[Vec<u8>]) -> Result<Vec<Entry>, Status> {
    let mut next = previous.map_or(0, |previous| previous.index.saturating_add(1));
    let mut entries = Vec::with_capacity(encoded.len());
    for bytes in encoded {
        let entry =
            decode_entry(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if entry.log_id.index != next {
            return Err(Status::invalid_argument(format!(
                "entry {} came where entry {next} was due",
                entry.log_id.index
            )));
        }
        next = next.saturating_add(1);
        entries.push(entry);
    }
    Ok(entries)
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("{field} is missing"))
}

fn from_raft(error: &RaftError<u64>) -> Status {
    Status::unavailable(format!("Raft has stopped here: {error}"))
}

fn from_fatal(error: &Fatal<u64>) -> Status {
    Status::unavailable(format!("Raft has stopped here: {error}"))
}
