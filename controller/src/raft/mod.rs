//! The replicated log: intent survives the death of any minority of controllers, and power loss.
//!
//! What it does: openraft elects a leader and replicates entries; the store keeps them on disk with checksums and a
//! high-water mark, and is refused when anything of it is missing; the state machine makes the same intent of them on every
//! node. What it never does: validate or plan (the caller has), or read a clock while it applies. openraft is named
//! only below this module, sled only in `sled_store`. Start reading at [`Raft`], then `store` and `state`.

mod backup;
mod checksum;
mod codec;
mod config;
mod error;
mod forming;
mod leadership;
mod log_store;
mod machine;
mod mark;
mod members;
mod membership;
mod network;
mod peers;
mod proposals;
mod published;
mod reach;
mod reads;
mod restore;
mod revisions;
mod rounds;
mod service;
mod sled_store;
mod snapshot;
mod space;
mod start;
mod state;
mod state_machine;
mod steps;
mod store;
mod store_error;
mod store_thread;
mod transfer;
mod types;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::command::Command as Wire;
use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::raft_service_server::RaftServiceServer;
use fulcrum_proto::internal::v1::{Command, Envelope};
use prost::Message as _;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tonic::transport::Channel;

pub use backup::{BackupError, BackupInfo, BackupWriter, CHUNK_BYTES};
pub use config::{Member, Pace, RaftConfig, RaftTiming};
pub use error::{StartError, WriteError, WriteOutcome};
pub use leadership::{Leadership, Role};
pub use reads::ReadError;
pub use restore::{RestoreError, Restored, check_backup, restore};
pub use service::{Answered, Asker, ForwardHandler, Forwarded};
pub(crate) use space::LOW_BYTES;
pub use state::{CommandOutcome, IntentState};
pub use steps::{Step, Steps};
pub use transfer::{TransferError, Transferred};

use log_store::LogStore;
use peers::{MAX_COMMAND_BYTES, MAX_MESSAGE_BYTES, Peers};
use proposals::{InFlight, Proposed, Refused};
use reads::Reads;
use service::{Identity, Service};
use space::Room;
use state::Edit;
use store_error::StoreError;
use store_thread::StoreHandle;
use types::Openraft;

/// Longest wait for a majority. Two elections fit into it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Raft {
    node: Arc<Node>,
}

struct Node {
    directory: PathBuf,
    members: Arc<BTreeMap<u64, Member>>,
    identity: Arc<Identity>,
    raft: Openraft,
    log: LogStore,
    store: StoreHandle,
    peers: Arc<Peers>,
    proposals: mpsc::Sender<Proposed>,
    in_flight: InFlight,
    reads: Reads,
    intent: watch::Receiver<Arc<IntentState>>,
    leadership: watch::Receiver<Leadership>,
    is_admitted: watch::Receiver<bool>,
    /// Incarnation of the cluster that a new store has joined; 0 when it joined none.
    joined: watch::Sender<u64>,
    failure: watch::Sender<Option<StartError>>,
    is_stopping: watch::Sender<bool>,
    is_handing_over: watch::Sender<bool>,
    /// Held while leadership is handed over.
    handing_over: Mutex<()>,
    /// How long a voter stays with a leader that it has heard.
    lease: Duration,
    is_space_low: watch::Sender<bool>,
    /// Room on the store's disk when it was last looked at.
    room: watch::Sender<Room>,
    /// Held while stopping, so that whoever else stops it waits for the same end.
    stopped: Mutex<bool>,
}

impl Raft {
    /// The newest committed intent that was applied here.
    pub fn state(&self) -> watch::Receiver<Arc<IntentState>> {
        self.node.intent.clone()
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node.leadership.clone()
    }

    /// Writes, on the leader. `Ok` when a majority has the command on stable storage and it is applied here; see the
    /// outcome for whether it took effect. A command without a time stamp gets this node's.
    ///
    /// # Errors
    /// [`WriteError`]. After `NoQuorum` and `Stopped` the write may still take effect.
    #[tracing::instrument(name = "raft.commit", skip_all)]
    pub async fn write(&self, command: Command) -> Result<WriteOutcome, WriteError> {
        self.node.check_leads()?;
        if *self.node.is_space_low.borrow() {
            return Err(WriteError::StorageFull { directory: self.node.directory.clone() });
        }
        let mut command = command;
        if command.time_ms == 0 {
            command.time_ms = now_ms();
        }
        let bytes = command.encoded_len();
        if bytes > MAX_COMMAND_BYTES {
            return Err(WriteError::TooLarge { bytes, max_bytes: MAX_COMMAND_BYTES });
        }
        if let Some(Wire::WriteIntent(write)) = &command.command {
            Edit::from_wire(write).map_err(|e| WriteError::Invalid { reason: e.to_string() })?;
        }
        self.node.propose(command, bytes).await
    }

    /// The revision from which on [`Self::state`] holds everything that was acknowledged before the call, on any node. Calls at the same time share
    /// one round of messages, and nothing is written.
    ///
    /// # Errors
    /// [`ReadError`], within a second or two.
    pub async fn read_index(&self) -> Result<Revision, ReadError> {
        self.node.reads.index().await
    }

    /// Returns when everything acknowledged before the call is in [`Self::state`]. On the leader.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        self.node.reads.index_here().await.map(drop)
    }

    /// The service for the controllers' own listener. Forwarded writes go to `forward`.
    pub fn service(
        &self,
        forward: Arc<dyn ForwardHandler>,
    ) -> RaftServiceServer<impl raft_service::RaftService> {
        let service = Service {
            node: Arc::clone(&self.node),
            raft: self.node.raft.clone(),
            identity: Arc::clone(&self.node.identity),
            intent: self.node.intent.clone(),
            is_admitted: self.node.is_admitted.clone(),
            forward,
            snapshots: Semaphore::new(1),
        };
        RaftServiceServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// To forward a write to the leader; `None` when this node leads or none is known.
    pub fn leader_client(&self) -> Option<RaftServiceClient<Channel>> {
        let leader_id = self.node.leadership.borrow().leader_id?;
        self.node.peers.bulk(leader_id)
    }

    /// Addresses a message to the leader; `None` when none is known.
    pub fn envelope_to_leader(&self) -> Option<Envelope> {
        let leader_id = self.node.leadership.borrow().leader_id?;
        Some(self.node.peers.envelope(leader_id))
    }

    /// The configured controllers, by node id.
    pub fn members(&self) -> &BTreeMap<u64, Member> {
        &self.node.members
    }

    /// Returns when the node has stopped by itself and why: the program should end with the error.
    pub async fn failed(&self) -> StartError {
        let mut failure = self.node.failure.subscribe();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            // The sender lives in the node, and the node in `self`.
            let _ = failure.changed().await;
        }
    }

    /// Stops as planned: a leader first has its best follower elected, and no new write is taken meanwhile.
    pub async fn stop(self) {
        self.node.is_stopping.send_replace(true);
        let mut is_stopped = self.node.stopped.lock().await;
        if std::mem::replace(&mut *is_stopped, true) {
            return;
        }
        if self.node.leadership.borrow().role == Role::Leader {
            self.node.hand_over().await;
        }
        if let Err(error) = self.node.raft.shutdown().await {
            tracing::error!(%error, "Raft did not stop in order");
        }
        self.node.store.stop().await;
    }
}

/// The generated service's trait, for [`Raft::service`]'s type.
pub mod raft_service {
    pub use fulcrum_proto::internal::v1::raft_service_server::RaftService;
}

impl Node {
    fn check_leads(&self) -> Result<(), WriteError> {
        let leadership = self.leadership.borrow();
        match leadership.role {
            Role::Leader if *self.is_stopping.borrow() => {
                Err(WriteError::NotLeader { leader: None })
            }
            Role::Leader => Ok(()),
            Role::Stopped => Err(self.refused(Refused::Stopped("it was stopped".to_owned()))),
            Role::Learner | Role::Follower | Role::Candidate => {
                Err(WriteError::NotLeader { leader: leadership.leader.clone() })
            }
        }
    }

    async fn propose(&self, command: Command, bytes: usize) -> Result<WriteOutcome, WriteError> {
        if *self.is_handing_over.borrow() {
            return Err(WriteError::NotLeader { leader: None });
        }
        let (answer, answered) = oneshot::channel();
        let answered = tokio::time::timeout(WRITE_TIMEOUT, async {
            let stopped = || Refused::Stopped("it was stopped".to_owned());
            self.proposals
                .send(Proposed { command, bytes, answer })
                .await
                .map_err(|_| stopped())?;
            answered.await.unwrap_or_else(|_| Err(stopped()))
        });
        match answered.await {
            Ok(result) => result.map_err(|error| self.refused(error)),
            Err(_) => Err(WriteError::NoQuorum { waited: WRITE_TIMEOUT }),
        }
    }

    fn refused(&self, error: Refused) -> WriteError {
        let failure = self.store.failure().borrow().clone();
        match (error, failure) {
            (_, Some(StoreError::Full { .. })) => {
                WriteError::StorageFull { directory: self.directory.clone() }
            }
            (_, Some(error)) => WriteError::Stopped { reason: error.to_string() },
            (Refused::NotLeader(id), None) => {
                WriteError::NotLeader { leader: id.and_then(|id| self.members.get(&id).cloned()) }
            }
            (Refused::Stopped(reason), None) => WriteError::Stopped { reason },
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
