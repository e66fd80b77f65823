//! What a controller is told about its cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fulcrum_runtime::tls::TlsFiles;

use super::steps::Steps;

/// A controller of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its public API listener, `host:port`.
    pub api: String,
    /// Its listener for controllers, `host:port`.
    pub raft: String,
}

/// How long Raft waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Time between a leader's signs of life. An append that takes longer is waited for, but counts as late.
    pub heartbeat: Duration,
    /// A follower that hears nothing stands for election between this
    pub election_min: Duration,
    /// and this time after the leader's lease has run out; the lease is this long too.
    pub election_max: Duration,
}

impl Default for RaftTiming {
    /// For controllers in one site: a new leader within a second.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        }
    }
}

/// What a node needs to take part.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This node. One of `members`.
    pub node_id: u64,
    /// This node's name, for logs.
    pub name: String,
    /// The controller's directory; Raft keeps its store in `raft` below it.
    pub data_dir: PathBuf,
    /// All voters, this node included, by node id.
    pub members: BTreeMap<u64, Member>,
    /// TLS between controllers; plain text when absent.
    pub tls: Option<TlsFiles>,
    /// How long Raft waits.
    pub timing: RaftTiming,
    /// When the log is shortened.
    pub pace: Pace,
    /// Who is told of each step of the store's work.
    pub steps: Steps,
}

/// When the log is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A snapshot is built after this many entries,
    pub snapshot_entries: u64,
    /// and so many entries are kept behind it, so that a follower that was away for a moment needs no snapshot.
    pub kept_entries: u64,
    /// A follower this far behind gets a snapshot: more than the two above, or the snapshot would not be enough.
    pub lag_entries: u64,
    /// Entries are dropped this many at a time, for each time costs a sync.
    pub purge_entries: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { snapshot_entries: 5000, kept_entries: 1000, lag_entries: 10_000, purge_entries: 256 }
    }
}

impl RaftConfig {
    /// Where the store is.
    pub(crate) fn directory(&self) -> PathBuf {
        self.data_dir.join("raft")
    }
}
