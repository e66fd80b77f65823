//! `ClusterService`: the controllers themselves, who leads them, and backup.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::backup_response::Part;
use fulcrum_proto::v1::cluster_service_server::ClusterService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::apply::Applier;
use super::errors;
use super::who::caller;
use crate::raft::{BackupWriter, Raft};

/// Backups served at once, as the API documents. Each holds the state of its revision.
const MAX_BACKUPS: usize = 2;
/// Chunks that wait for the transport.
const QUEUED: usize = 4;
/// A backup that is not read for so long is ended, as the API documents.
const MAX_STALL: Duration = Duration::from_mins(1);

/// Answers `ClusterService`.
#[derive(Clone)]
pub struct ClusterApi {
    name: String,
    raft: Raft,
    applier: Applier,
    stopping: CancellationToken,
    backups: Arc<Semaphore>,
}

type Told = Result<v1::BackupResponse, Status>;

impl ClusterApi {
    /// As controller `name`. Lets backups go when `stopping` is cancelled.
    pub fn new(name: &str, raft: Raft, applier: Applier, stopping: CancellationToken) -> Self {
        let backups = Arc::new(Semaphore::new(MAX_BACKUPS));
        Self { name: name.to_owned(), raft, applier, stopping, backups }
    }

    /// The id of a controller; none for the empty name.
    fn id_of(&self, name: &str) -> Result<Option<u64>, Status> {
        if name.is_empty() {
            return Ok(None);
        }
        let members = self.raft.members();
        if let Some((id, _)) = members.iter().find(|(_, member)| member.name == name) {
            return Ok(Some(*id));
        }
        let known: Vec<String> = members.values().map(|member| member.name.clone()).collect();
        Err(errors::no_controller(name, &known))
    }

    /// As it is configured here; its number where it is not.
    fn name_of(&self, id: u64) -> String {
        let member = self.raft.members().get(&id);
        member.map_or_else(|| id.to_string(), |member| member.name.clone())
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    type BackupStream = ReceiverStream<Told>;

    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        Ok(Response::new(self.raft.cluster().await))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let who = caller(&request).who();
        let to = self.id_of(&request.get_ref().to)?;
        let given = self.applier.transfer_leadership(to, who).await?;
        Ok(Response::new(v1::TransferLeadershipResponse {
            from: self.name_of(given.from),
            to: self.name_of(given.to),
            term: given.term,
            gap: prost_types::Duration::try_from(given.gap).ok(),
        }))
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let place = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{MAX_BACKUPS} backups are served already: wait, or ask another controller"
            ))
        })?;
        let state = self.applier.read(request.get_ref().stale).await?;
        let start = v1::BackupStart {
            cluster_id: state.cluster_id.clone(),
            incarnation: state.incarnation,
            revision: state.revision.0,
            controller: self.name.clone(),
        };
        let who = caller(&request).who();
        tracing::info!(who, revision = start.revision, "a backup begins");
        let writer = BackupWriter::new(state, &self.name, SystemTime::now());
        let (sender, receiver) = mpsc::channel(QUEUED);
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            let sent = send(start, writer, &sender, place);
            let why = tokio::select! {
                sent = sent => sent,
                () = stopping.cancelled() => Err("this controller is stopping: back up from another one"),
            };
            if let Err(why) = why {
                tracing::warn!(who, why, "a backup was not finished");
                // There may be no room for it, or nobody who reads it: without an end it is not whole in any case.
                let _ = sender.try_send(Err(Status::unavailable(why)));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends a backup, as fast as it is read.
async fn send(
    start: v1::BackupStart,
    mut writer: BackupWriter,
    to: &mpsc::Sender<Told>,
    _place: OwnedSemaphorePermit,
) -> Result<(), &'static str> {
    send_part(to, Part::Start(start)).await?;
    while let Some(chunk) = writer.next_chunk() {
        send_part(to, Part::Chunk(chunk)).await?;
    }
    let summary = writer.summary();
    let end = v1::BackupSummary {
        size_bytes: summary.size_bytes,
        sha256: summary.sha256,
        resources: summary.resources,
        revisions: summary.revisions,
    };
    send_part(to, Part::End(end)).await
}

async fn send_part(to: &mpsc::Sender<Told>, part: Part) -> Result<(), &'static str> {
    let sent = to.send_timeout(Ok(v1::BackupResponse { part: Some(part) }), MAX_STALL).await;
    sent.map_err(|_| "nobody read it any more")
}
