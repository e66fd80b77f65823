//! openraft's network: what a leader or candidate sends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::internal::v1;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::checksum;
use super::codec::{encode_entry, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use super::peers::Peers;
use super::types::{LogId, Snapshot, TypeConfig, Vote};

/// A chunk of a snapshot.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// A snapshot that a follower has not installed after this long is begun again. 256 MiB take 25 s at 100 Mbit/s.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(1);
/// An append with entries that a follower has not answered after this long is sent again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A member that could not be reached is tried again after this long: it delays a returning one, and costs a system call.
const RETRY_DELAY: Duration = Duration::from_millis(100);

type RpcError = RPCError<u64, EmptyNode, RaftError<u64>>;
type AppendResult = Result<v1::AppendEntriesResponse, Status>;

/// Makes connections for openraft.
#[derive(Clone)]
pub(crate) struct Network {
    peers: Arc<Peers>,
}

impl Network {
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        Self { peers }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Connection {
        Connection { peers: Arc::clone(&self.peers), target, running: None }
    }
}

/// A connection to one member, for one of openraft's tasks.
pub(crate) struct Connection {
    peers: Arc<Peers>,
    target: u64,
    /// An append with entries, running on after openraft stopped waiting for it.
    running: Option<(AppendKey, JoinHandle<AppendResult>)>,
}

/// Tells whether an append is the same again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct AppendKey {
    vote: Vote,
    previous: Option<LogId>,
    last: Option<LogId>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.running {
            task.abort();
        }
    }
}

impl Connection {
    /// openraft waits for one heartbeat only, and then sends the same entries again. A large append would never end so:
    /// it goes on in a task of its own, is found again by its key, and heartbeats keep the follower patient.
    async fn append(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        ttl: Duration,
    ) -> AppendResult {
        let key = AppendKey {
            vote: rpc.vote,
            previous: rpc.prev_log_id,
            last: rpc.entries.last().map(|entry| entry.log_id),
        };
        if rpc.entries.is_empty() {
            return self.call(self.append_request(&rpc), ttl).await;
        }
        match &self.running {
            Some((running, _)) if *running == key => {
                let heartbeat = AppendEntriesRequest { entries: Vec::new(), ..rpc };
                let call = self.call(self.append_request(&heartbeat), ttl);
                // Its answer says nothing that the append's answer does not say.
                tokio::spawn(call);
            }
            Some(_) | None => {
                let task = tokio::spawn(self.call(self.append_request(&rpc), APPEND_TIMEOUT));
                if let Some((_, other)) = self.running.replace((key, task)) {
                    other.abort();
                }
            }
        }
        let Some((_, task)) = &mut self.running else {
            return Err(Status::internal("the append was just started"));
        };
        let joined = task.await;
        self.running = None;
        joined
            .unwrap_or_else(|error| Err(Status::internal(format!("the append broke off: {error}"))))
    }

    fn append_request(&self, rpc: &AppendEntriesRequest<TypeConfig>) -> v1::AppendEntriesRequest {
        v1::AppendEntriesRequest {
            envelope: Some(self.peers.envelope(self.target)),
            vote: Some(vote_to_wire(rpc.vote)),
            previous: rpc.prev_log_id.map(log_id_to_wire),
            committed: rpc.leader_commit.map(log_id_to_wire),
            entries: rpc.entries.iter().map(encode_entry).collect(),
        }
    }

    fn call(
        &self,
        message: v1::AppendEntriesRequest,
        timeout: Duration,
    ) -> impl Future<Output = AppendResult> + Send + 'static {
        let (peers, target) = (Arc::clone(&self.peers), self.target);
        async move {
            let mut client = peers.control(target).ok_or_else(not_a_member)?;
            let mut request = tonic::Request::new(message);
            request.set_timeout(timeout);
            let answer = client.append_entries(request).await.map(tonic::Response::into_inner);
            peers.note(target, answer.as_ref().err());
            answer
        }
    }

    fn rpc_error(&self, status: &Status) -> RpcError {
        let error = AnyError::error(self.explain(status));
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => {
                RPCError::Network(NetworkError::new(&error))
            }
            // Of the many codes of gRPC none but those two passes by itself at once.
            _ => RPCError::Unreachable(Unreachable::new(&error)),
        }
    }

    fn explain(&self, status: &Status) -> String {
        format!("controller {}: {}", self.peers.label(self.target), status.message())
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let answer = self.append(rpc, shorter(option.hard_ttl())).await;
        let wire = answer.map_err(|status| self.rpc_error(&status))?;
        append_response(&wire).ok_or_else(|| self.rpc_error(&no_answer()))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let message = v1::VoteRequest {
            envelope: Some(self.peers.envelope(self.target)),
            vote: Some(vote_to_wire(rpc.vote)),
            last_log_id: rpc.last_log_id.map(log_id_to_wire),
        };
        let mut request = tonic::Request::new(message);
        request.set_timeout(shorter(option.hard_ttl()));
        let answer = match self.peers.control(self.target) {
            Some(mut client) => client.vote(request).await,
            None => Err(not_a_member()),
        };
        self.peers.note(self.target, answer.as_ref().err());
        let wire = answer.map_err(|status| self.rpc_error(&status))?.into_inner();
        let vote = wire.vote.ok_or_else(|| self.rpc_error(&no_answer()))?;
        Ok(VoteResponse {
            vote: vote_from_wire(vote),
            vote_granted: wire.granted,
            last_log_id: wire.last_log_id.map(log_id_from_wire),
        })
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let unreachable = |status: &Status| {
            StreamingError::Unreachable(Unreachable::new(&AnyError::error(self.explain(status))))
        };
        let Some(mut client) = self.peers.bulk(self.target) else {
            return Err(unreachable(&not_a_member()));
        };
        let start = v1::SnapshotStart {
            envelope: Some(self.peers.envelope(self.target)),
            vote: Some(vote_to_wire(vote)),
            size_bytes: snapshot.snapshot.len() as u64,
            sha256: checksum::bytes(&snapshot.snapshot).to_vec(),
        };
        let mut request = tonic::Request::new(snapshot_chunks(start, *snapshot.snapshot));
        request.set_timeout(SNAPSHOT_TIMEOUT);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = client.install_snapshot(request) => {
                let wire = answer.map_err(|status| unreachable(&status))?.into_inner();
                let vote = wire.vote.ok_or_else(|| unreachable(&no_answer()))?;
                Ok(SnapshotResponse::new(vote_from_wire(vote)))
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_DELAY))
    }
}

fn snapshot_chunks(
    start: v1::SnapshotStart,
    bytes: Vec<u8>,
) -> impl futures::Stream<Item = v1::InstallSnapshotRequest> + Send + 'static {
    let count = bytes.len().div_ceil(SNAPSHOT_CHUNK_BYTES);
    let first = v1::InstallSnapshotRequest { start: Some(start), chunk: Vec::new() };
    let chunks = (0..count).map(move |number| {
        let from = number * SNAPSHOT_CHUNK_BYTES;
        let to = (from + SNAPSHOT_CHUNK_BYTES).min(bytes.len());
        v1::InstallSnapshotRequest { start: None, chunk: bytes[from..to].to_vec() }
    });
    futures::stream::iter(std::iter::once(first).chain(chunks))
}

fn append_response(wire: &v1::AppendEntriesResponse) -> Option<AppendEntriesResponse<u64>> {
    match wire.outcome() {
        v1::AppendOutcome::Unspecified => None,
        v1::AppendOutcome::Success => Some(AppendEntriesResponse::Success),
        v1::AppendOutcome::Partial => {
            Some(AppendEntriesResponse::PartialSuccess(wire.matching.map(log_id_from_wire)))
        }
        v1::AppendOutcome::Conflict => Some(AppendEntriesResponse::Conflict),
        v1::AppendOutcome::HigherVote => {
            wire.vote.map(|vote| AppendEntriesResponse::HigherVote(vote_from_wire(vote)))
        }
    }
}

/// A little before openraft gives the call up, so that its failure is seen here.
fn shorter(ttl: Duration) -> Duration {
    ttl * 9 / 10
}

fn not_a_member() -> Status {
    Status::unavailable("it is not among [[controllers]] of this controller's configuration")
}

fn no_answer() -> Status {
    Status::unavailable("its answer cannot be understood; is it of another release?")
}
