//! Gathers the commands that arrive while an entry is being synced into the next entry: one sync for all of them.

use std::sync::Arc;

use fulcrum_proto::internal::v1;
use openraft::error::{ClientWriteError, RaftError};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::state::CommandOutcome;
use super::types::{Openraft, Proposal};

/// Commands that wait for their entry. Whoever comes when they are that many waits too.
pub(crate) const QUEUE: usize = 4096;
/// Commands of one entry: keeps an entry's work below a heartbeat.
const MAX_COMMANDS: usize = 1024;
/// Bytes of one entry, unless a single command is larger.
const MAX_BYTES: usize = 1 << 20;
/// Entries on their way at once: one is synced here while the one before is synced by the followers.
const IN_FLIGHT: u32 = 2;
/// What all of them leave free.
pub(crate) type InFlight = Arc<Semaphore>;

/// Room for the entries that are on their way at once.
pub(crate) fn room() -> InFlight {
    Arc::new(Semaphore::new(IN_FLIGHT as usize))
}

/// Waits until no entry is on its way, and keeps others from beginning until what it gives is dropped.
pub(crate) async fn held_up(in_flight: &InFlight) -> Option<OwnedSemaphorePermit> {
    // Never closed.
    Arc::clone(in_flight).acquire_many_owned(IN_FLIGHT).await.ok()
}

/// Why a command got no outcome.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another node leads, if it is known which one.
    NotLeader(Option<u64>),
    /// Raft has stopped.
    Stopped(String),
}

/// A command and who waits for its outcome.
pub(crate) struct Proposed {
    pub(crate) command: v1::Command,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Result<CommandOutcome, Refused>>,
}

/// Proposes what arrives until the senders are gone.
pub(crate) async fn run(
    raft: Openraft,
    mut arrived: mpsc::Receiver<Proposed>,
    in_flight: InFlight,
) {
    let mut next = arrived.recv().await;
    while let Some(first) = next.take() {
        // Never closed.
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < MAX_COMMANDS {
            match arrived.try_recv() {
                Ok(proposed) if bytes + proposed.bytes > MAX_BYTES => {
                    next = Some(proposed);
                    break;
                }
                Ok(proposed) => {
                    bytes += proposed.bytes;
                    batch.push(proposed);
                }
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => {
                    break;
                }
            }
        }
        propose(&raft, batch, permit).await;
        if next.is_none() {
            next = arrived.recv().await;
        }
    }
}

async fn propose(raft: &Openraft, batch: Vec<Proposed>, permit: OwnedSemaphorePermit) {
    let (commands, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|proposed| (proposed.command, proposed.answer)).unzip();
    let proposal = Proposal(v1::Commands { commands }.encode_to_vec().into());
    // Not awaited here but for its place in the queue: the next entry may be proposed while this one is replicated.
    let proposed = raft.client_write_ff(proposal).await;
    tokio::spawn(async move {
        let result = match proposed {
            Ok(written) => match written.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(error)) => Err(refused(RaftError::APIError(error))),
                Err(_) => Err(Refused::Stopped("it ended before it answered".to_owned())),
            },
            Err(fatal) => Err(refused(RaftError::Fatal(fatal))),
        };
        drop(permit);
        match result {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // Whoever asked may have given up.
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.again()));
                }
            }
        }
    });
}

impl Refused {
    fn again(&self) -> Self {
        match self {
            Self::NotLeader(leader) => Self::NotLeader(*leader),
            Self::Stopped(reason) => Self::Stopped(reason.clone()),
        }
    }
}

fn refused(error: RaftError<u64, ClientWriteError<u64, openraft::EmptyNode>>) -> Refused {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            Refused::NotLeader(forward.leader_id)
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            Refused::Stopped(error.to_string())
        }
        RaftError::Fatal(error) => Refused::Stopped(error.to_string()),
    }
}
