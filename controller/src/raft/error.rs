//! What callers of Raft act on.

use std::path::PathBuf;
use std::time::Duration;

use fulcrum_model::Revision;

use super::config::Member;
use super::state::CommandOutcome;
use super::store_error::StoreError;

/// Why a node does not start, or had to stop. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The node is not among the controllers.
    #[error(
        "controller {node_id} is not among [[controllers]]: add an entry with id = {node_id}, on every controller"
    )]
    NotAMember {
        /// The node.
        node_id: u64,
    },
    /// The timing cannot work.
    #[error(
        "[raft] cannot work: {reason}; heartbeat_ms < election_min_ms < election_max_ms must hold"
    )]
    Timing {
        /// In openraft's words.
        reason: String,
    },
    /// A member's address or the TLS files cannot be used.
    #[error("controller {node_id} cannot be reached: {reason}")]
    Peer {
        /// The member.
        node_id: u64,
        /// Why.
        reason: String,
    },
    /// The store is damaged.
    #[error(
        "the Raft store {directory} of controller {node_id} is damaged: {reason}. It may have forgotten what it promised, so it \
         must not vote again under id {node_id}. Stop it, move {directory} away, give this controller a new id that no \
         controller ever had, in [[controllers]] on every controller, and restart them one by one: it then learns the \
         intent from the others. With a single controller, or if a majority is damaged, restore a backup",
        directory = directory.display()
    )]
    Damaged {
        /// The node.
        node_id: u64,
        /// The store.
        directory: PathBuf,
        /// What is damaged or missing.
        reason: String,
    },
    /// The store is new, but the cluster has seen this node with another one.
    #[error(
        "the Raft store {directory} is new, but the cluster knows controller {node_id} with another store. Without that one it \
         has forgotten what it promised, and must not vote again under id {node_id}. Put the old store back, or give this \
         controller a new id that no controller ever had, in [[controllers]] on every controller, and restart them one \
         by one",
        directory = directory.display()
    )]
    OtherStore {
        /// The node.
        node_id: u64,
        /// The store.
        directory: PathBuf,
    },
    /// The store belongs to another node.
    #[error(
        "the Raft store {directory} belongs to controller {found}, but the configuration says id = {node_id}: set the id back, or \
         point data_dir to this controller's own directory",
        directory = directory.display()
    )]
    OtherNode {
        /// Node of the configuration.
        node_id: u64,
        /// Node of the store.
        found: u64,
        /// The store.
        directory: PathBuf,
    },
    /// The store was written by a newer release.
    #[error("the Raft store {directory} cannot be read by this release: {reason}", directory = directory.display())]
    Unreadable {
        /// The store.
        directory: PathBuf,
        /// What cannot be read.
        reason: String,
    },
    /// Another process uses the store.
    #[error(
        "the Raft store {directory} is in use: another fulcrum-controller runs with the same data_dir; stop one of them",
        directory = directory.display()
    )]
    InUse {
        /// The store.
        directory: PathBuf,
    },
    /// No room for the store.
    #[error(
        "no room for the Raft store {directory}: make room on its file system, then start this controller again; nothing is lost",
        directory = directory.display()
    )]
    Full {
        /// The store.
        directory: PathBuf,
    },
    /// The file system fails.
    #[error(
        "the Raft store cannot be used: {reason}; check the disk and the directory's owner, then start this controller again"
    )]
    Storage {
        /// In the system's words.
        reason: String,
    },
    /// openraft stopped.
    #[error("Raft has stopped: {reason}; this is a fault of the program, please report it")]
    Raft {
        /// In openraft's words.
        reason: String,
    },
}

impl StartError {
    pub(crate) fn from_store(node_id: u64, directory: PathBuf, error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::Full { directory },
            StoreError::InUse { .. } => Self::InUse { directory },
            StoreError::Damaged(reason) => Self::Damaged { node_id, directory, reason },
            StoreError::OtherNode { found, .. } => Self::OtherNode { node_id, found, directory },
            StoreError::Unreadable(error) => {
                Self::Unreadable { directory, reason: error.to_string() }
            }
            StoreError::Io { .. } | StoreError::Stopped => {
                Self::Storage { reason: error.to_string() }
            }
        }
    }
}

/// What became of a write.
pub type WriteOutcome = CommandOutcome;

impl CommandOutcome {
    /// The revision that the intent was found or left at, or that the request was first answered with.
    pub fn revision(self) -> Revision {
        match self {
            Self::Applied(revision) | Self::Stale(revision) | Self::Repeated(revision) => revision,
        }
    }
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Another node leads. Nothing was written.
    #[error("this controller does not lead{}", leader.as_ref().map_or(", and no leader is known".to_owned(), |l| format!("; {} does, at {}", l.name, l.api)))]
    NotLeader {
        /// Who leads, when it is known.
        leader: Option<Member>,
    },
    /// No majority answered in time. The write may still take effect: repeat it with the same request id.
    #[error("no majority of the controllers answered within {} ms; the write may still take effect", waited.as_millis())]
    NoQuorum {
        /// How long was waited.
        waited: Duration,
    },
    /// The disk is full, or so full that nothing new is taken.
    #[error("the disk of this controller is full: make room on the file system of {}", directory.display())]
    StorageFull {
        /// The store.
        directory: PathBuf,
    },
    /// The write is larger than an entry may be. Nothing was written.
    #[error("the write has {bytes} bytes, more than the {max_bytes} that one may have: split it")]
    TooLarge {
        /// Encoded length.
        bytes: usize,
        /// Largest encoded length.
        max_bytes: usize,
    },
    /// The command holds what replicas could not apply. Nothing was written.
    #[error("the write cannot be applied: {reason}")]
    Invalid {
        /// Why not.
        reason: String,
    },
    /// This node's Raft has stopped. The write may still take effect.
    #[error("this controller's Raft has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
