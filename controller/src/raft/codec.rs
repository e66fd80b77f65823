//! openraft's types as messages of store.proto and back, so that disk and wire outlive a release of openraft.

use std::collections::BTreeSet;

use fulcrum_proto::internal::v1;
use openraft::CommittedLeaderId;
use prost::Message as _;

use super::types::{Entry, EntryPayload, LogId, Membership, Proposal, StoredMembership, Vote};

/// Bytes that are no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Not the message that was expected.
    #[error("{what} cannot be decoded: {source}")]
    Message {
        /// What was expected.
        what: &'static str,
        /// Why not.
        source: prost::DecodeError,
    },
    /// A field that must be there is not.
    #[error("{what} lacks its {field}; was it written by a newer release?")]
    Missing {
        /// The message.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// Decodes a message and says what it was meant to be when it cannot.
pub(crate) fn decode<M: prost::Message + Default>(
    what: &'static str,
    bytes: &[u8],
) -> Result<M, DecodeError> {
    M::decode(bytes).map_err(|source| DecodeError::Message { what, source })
}

pub(crate) fn log_id_to_wire(log_id: LogId) -> v1::LogId {
    v1::LogId {
        term: log_id.leader_id.term,
        leader_node: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

pub(crate) fn log_id_from_wire(wire: v1::LogId) -> LogId {
    log_id(wire.term, wire.leader_node, wire.index)
}

fn log_id(term: u64, leader_node: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, leader_node), index)
}

pub(crate) fn vote_to_wire(vote: Vote) -> v1::Vote {
    v1::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_from_wire(wire: v1::Vote) -> Vote {
    if wire.committed {
        Vote::new_committed(wire.term, wire.node)
    } else {
        Vote::new(wire.term, wire.node)
    }
}

pub(crate) fn membership_to_wire(membership: &Membership) -> v1::Membership {
    v1::Membership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| v1::VoterSet { nodes: set.iter().copied().collect() })
            .collect(),
        nodes: membership.nodes().map(|(id, _)| *id).collect(),
    }
}

pub(crate) fn membership_from_wire(wire: &v1::Membership) -> Membership {
    let configs: Vec<BTreeSet<u64>> =
        wire.voters.iter().map(|set| set.nodes.iter().copied().collect()).collect();
    let nodes: BTreeSet<u64> = wire.nodes.iter().copied().collect();
    Membership::new(configs, nodes)
}

pub(crate) fn stored_membership_to_wire(stored: &StoredMembership) -> v1::StoredMembership {
    v1::StoredMembership {
        log_id: stored.log_id().map(log_id_to_wire),
        membership: Some(membership_to_wire(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_wire(wire: &v1::StoredMembership) -> StoredMembership {
    let membership = wire.membership.as_ref().map(membership_from_wire).unwrap_or_default();
    StoredMembership::new(wire.log_id.map(log_id_from_wire), membership)
}

/// An encoded `fulcrum.internal.v1.LogEntry`.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    use v1::log_entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(v1::Blank {}),
        EntryPayload::Normal(proposal) => Payload::Commands(proposal.0.to_vec()),
        EntryPayload::Membership(membership) => Payload::Membership(membership_to_wire(membership)),
    };
    let id = log_id_to_wire(entry.log_id);
    v1::LogEntry {
        term: id.term,
        leader_node: id.leader_node,
        index: id.index,
        payload: Some(payload),
    }
    .encode_to_vec()
}

/// # Errors
/// [`DecodeError`] when the bytes are no entry that this release knows.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    use v1::log_entry::Payload;
    let wire: v1::LogEntry = decode("a log entry", bytes)?;
    let payload = match wire.payload {
        Some(Payload::Blank(v1::Blank {})) => EntryPayload::Blank,
        Some(Payload::Commands(commands)) => EntryPayload::Normal(Proposal(commands.into())),
        Some(Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from_wire(&membership))
        }
        None => return Err(DecodeError::Missing { what: "a log entry", field: "payload" }),
    };
    Ok(Entry { log_id: log_id(wire.term, wire.leader_node, wire.index), payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_log_id() -> impl Strategy<Value = LogId> {
        (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(term, node, index)| log_id(term, node, index))
    }

    fn any_membership() -> impl Strategy<Value = Membership> {
        let set = || proptest::collection::btree_set(any::<u64>(), 0..6);
        (proptest::collection::vec(set(), 0..3), set())
            .prop_map(|(voters, nodes)| Membership::new(voters, nodes))
    }

    fn any_payload() -> impl Strategy<Value = EntryPayload> {
        prop_oneof![
            Just(EntryPayload::Blank),
            proptest::collection::vec(any::<u8>(), 0..200)
                .prop_map(|bytes| EntryPayload::Normal(Proposal(bytes.into()))),
            any_membership().prop_map(EntryPayload::Membership),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was(log_id in any_log_id(), payload in any_payload()) {
            let entry = Entry { log_id, payload };
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }

        #[test]
        fn a_vote_and_a_membership_come_back_as_they_were(
            term in any::<u64>(), node in any::<u64>(), committed in any::<bool>(),
            at in proptest::option::of(any_log_id()), membership in any_membership(),
        ) {
            let vote = Vote { leader_id: openraft::LeaderId::new(term, node), committed };
            prop_assert_eq!(vote_from_wire(vote_to_wire(vote)), vote);
            let stored = StoredMembership::new(at, membership);
            prop_assert_eq!(stored_membership_from_wire(&stored_membership_to_wire(&stored)), stored);
        }

        #[test]
        fn any_bytes_are_an_entry_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_entry(&bytes);
        }
    }

    #[test]
    fn an_entry_of_a_newer_release_is_an_error() {
        let bytes =
            v1::LogEntry { term: 1, leader_node: 1, index: 7, payload: None }.encode_to_vec();
        let error = decode_entry(&bytes).expect_err("a payload this release does not know");
        assert_eq!(
            error.to_string(),
            "a log entry lacks its payload; was it written by a newer release?"
        );
    }
}
