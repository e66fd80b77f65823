//! openraft's types as Fulcrum fills them in.

use std::fmt;
use std::sync::Arc;

use openraft::{EmptyNode, TokioRuntime};

use super::state::CommandOutcome;

openraft::declare_raft_types!(
    /// What openraft is generic over. Addresses are not part of the membership: they come from the configuration, so that
    /// a controller may move.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Vec<CommandOutcome>,
        NodeId = u64,
        Node = EmptyNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Vec<u8>,
        Responder = openraft::impls::OneshotResponder<TypeConfig>,
        AsyncRuntime = TokioRuntime,
);

/// Commands that share an entry: an encoded `fulcrum.internal.v1.Commands`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Arc<[u8]>);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

pub(crate) type Openraft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type EntryPayload = openraft::EntryPayload<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, EmptyNode>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;
