//! The state machine as records on disk and as a snapshot.

use fulcrum_model::{
    Revision,
    resource::{Resource, ResourceKey},
};
use fulcrum_proto::convert::{kind_to_wire, resource_from_wire, resource_to_wire};
use fulcrum_proto::internal::v1;
use fulcrum_proto::v1 as public;
use prost::Message as _;

use super::codec::{
    DecodeError, decode, log_id_from_wire, log_id_to_wire, stored_membership_from_wire,
    stored_membership_to_wire,
};
use super::published::Published;
use super::revisions;
use super::state::{ApplyError, CommandOutcome, StateKey};
use super::types::{Entry, EntryPayload, LogId, StoredMembership};
use crate::events::log::EventKey;

/// Key of the header among the state's records. The others begin with another letter.
pub(crate) const HEADER_KEY: &[u8] = b"h";
const RESOURCE: u8 = b'r';
const REQUEST: u8 = b'q';
const STORE: u8 = b'n';
const REVISION: u8 = b'v';
const EVENT: u8 = b'e';
const TOLD: u8 = b't';
const CHANNEL: u8 = b'c';

/// Intent with what openraft wants to know about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// The intent.
    pub(crate) intent: Published,
    /// Last entry applied.
    pub(crate) applied: Option<LogId>,
    /// Membership as of that entry.
    pub(crate) membership: StoredMembership,
}

/// An entry or a record that this release cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MachineError {
    /// A committed entry cannot be applied.
    #[error("the log's entry {index} cannot be applied: {source}")]
    Apply {
        /// The entry.
        index: u64,
        /// Why.
        source: ApplyError,
    },
    /// Not a message of ours.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A resource of the state that this release refuses.
    #[error("a resource of the state cannot be read: {reason}")]
    Resource {
        /// Its bad fields.
        reason: String,
    },
    /// A record of the state that this release does not know.
    #[error(
        "the state holds a record that this release does not know; was it written by a newer one?"
    )]
    Record,
}

impl Machine {
    /// Applies an entry and notes what it changed. One outcome for each of its commands.
    ///
    /// # Errors
    /// [`MachineError`] when this release cannot apply it; the replica must stop then.
    pub(crate) fn apply(
        &mut self,
        entry: &Entry,
        changed: &mut Vec<StateKey>,
    ) -> Result<Vec<CommandOutcome>, MachineError> {
        let index = entry.log_id.index;
        let outcomes = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Vec::new()
            }
            EntryPayload::Normal(proposal) => {
                let commands: v1::Commands = decode("an entry's commands", &proposal.0)?;
                let intent = self.intent.edit();
                let before = changed.len();
                let outcomes = commands
                    .commands
                    .iter()
                    .map(|command| intent.apply(index, command, changed))
                    .collect::<Result<_, _>>()
                    .map_err(|source| MachineError::Apply { index, source })?;
                self.intent.note(&changed[before..]);
                outcomes
            }
        };
        self.applied = Some(entry.log_id);
        Ok(outcomes)
    }

    /// Everything but the records, which the caller counts and sums.
    pub(crate) fn header(&self) -> v1::StateHeader {
        v1::StateHeader {
            applied: self.applied.map(log_id_to_wire),
            membership: Some(stored_membership_to_wire(&self.membership)),
            cluster_id: self.intent.get().cluster_id.clone(),
            incarnation: self.intent.get().incarnation,
            revision: self.intent.get().revision.0,
            time_ms: self.intent.get().time_ms,
            traceparent: self.intent.get().last_traceparent.clone(),
            records: 0,
            digest: Vec::new(),
            events_dropped_to: self.intent.get().events.dropped_to(),
        }
    }

    /// The stored key of a part of the state, and its value unless it is gone.
    pub(crate) fn record(&self, key: &StateKey) -> (Vec<u8>, Option<Vec<u8>>) {
        let numbered = |letter: u8, number: u64| [&[letter], &number.to_be_bytes()[..]].concat();
        match key {
            StateKey::Resource(key) => {
                let value = self.intent.get().resources.get(key).map(encode_resource);
                (resource_key(key), value)
            }
            StateKey::Request(number) => {
                let value = self
                    .intent
                    .get()
                    .requests
                    .get(*number)
                    .map(|(id, revision)| answered_request(id, revision).encode_to_vec());
                (numbered(REQUEST, *number), value)
            }
            StateKey::Store(node_id) => {
                let value = self
                    .intent
                    .get()
                    .stores
                    .get(node_id)
                    .map(|store_id| register_store(*node_id, store_id).encode_to_vec());
                (numbered(STORE, *node_id), value)
            }
            StateKey::Revision(revision) => {
                let entry = self.intent.get().history.get(*revision);
                let value = entry.map(|entry| revisions::to_wire(entry).encode_to_vec());
                (numbered(REVISION, revision.0), value)
            }
            StateKey::Event(key) => self.event_record(key),
        }
    }

    fn event_record(&self, key: &EventKey) -> (Vec<u8>, Option<Vec<u8>>) {
        let events = &self.intent.get().events;
        match key {
            EventKey::Event(sequence) => {
                let value = events.get(*sequence).map(|event| event.encode_to_vec());
                ([&[EVENT], &sequence.to_be_bytes()[..]].concat(), value)
            }
            EventKey::Told(key) => {
                let told = |told: &v1::ToldCondition| told_record(key, told).encode_to_vec();
                ([&[TOLD], key.as_bytes()].concat(), events.told().get(key).map(told))
            }
            EventKey::Channel(key) => {
                let value = events.channels().get(key).map(prost::Message::encode_to_vec);
                ([&[CHANNEL], key.as_bytes()].concat(), value)
            }
        }
    }

    /// The keys of all records.
    pub(crate) fn keys(&self) -> Vec<StateKey> {
        let resources = self.intent.get().resources.keys().cloned().map(StateKey::Resource);
        let requests =
            self.intent.get().requests.iter().map(|(number, _, _)| StateKey::Request(number));
        let stores = self.intent.get().stores.keys().copied().map(StateKey::Store);
        let history = &self.intent.get().history;
        let revisions = history.oldest_first().map(|entry| StateKey::Revision(entry.revision));
        let events = self.intent.get().events.keys().map(StateKey::Event);
        resources.chain(requests).chain(stores).chain(revisions).chain(events).collect()
    }

    /// Takes over a header from the disk or a snapshot.
    pub(crate) fn set_header(&mut self, header: &v1::StateHeader) {
        self.applied = header.applied.map(log_id_from_wire);
        self.membership =
            header.membership.as_ref().map(stored_membership_from_wire).unwrap_or_default();
        let intent = self.intent.edit();
        intent.cluster_id.clone_from(&header.cluster_id);
        intent.incarnation = header.incarnation;
        intent.revision = Revision(header.revision);
        intent.time_ms = header.time_ms;
        intent.last_traceparent.clone_from(&header.traceparent);
        intent.events.set_dropped_to(header.events_dropped_to);
    }

    /// Takes over a record from the disk. Records of a kind must come in the order of their keys.
    ///
    /// # Errors
    /// [`MachineError`] when this release cannot read it.
    pub(crate) fn set_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), MachineError> {
        match key {
            [RESOURCE, ..] => self.add_resource(&decode("a resource", value)?),
            [REQUEST, number @ ..] => {
                let number = number.try_into().map_err(|_| MachineError::Record)?;
                let wire: v1::AnsweredRequest = decode("an answered request", value)?;
                let revision = Revision(wire.revision);
                self.intent.edit().requests.restore(
                    u64::from_be_bytes(number),
                    wire.request_id,
                    revision,
                );
                Ok(())
            }
            [STORE, ..] => {
                let wire: v1::RegisterStore = decode("a node's store", value)?;
                self.intent.edit().stores.insert(wire.node_id, wire.store_id);
                Ok(())
            }
            [REVISION, ..] => {
                let entry = revisions::from_wire(&decode("a kept revision", value)?);
                self.intent.edit().history.restore(entry);
                Ok(())
            }
            [EVENT, ..] => {
                let event = decode::<public::Event>("a kept event", value)?;
                self.intent.edit().events.add(event.into());
                Ok(())
            }
            [TOLD, ..] => {
                let wire: v1::ToldRecord = decode("what was told", value)?;
                self.add_told(&wire);
                Ok(())
            }
            [CHANNEL, ..] => {
                let wire = decode("a channel of notifications", value)?;
                self.intent.edit().events.add_channel(wire);
                Ok(())
            }
            [_, ..] | [] => Err(MachineError::Record),
        }
    }

    /// The whole of it.
    pub(crate) fn to_snapshot(&self, snapshot_id: String) -> v1::Snapshot {
        let intent = self.intent.get();
        v1::Snapshot {
            snapshot_id,
            header: Some(self.header()),
            resources: intent.resources.values().map(resource_to_wire).collect(),
            requests: intent
                .requests
                .iter()
                .map(|(_, id, revision)| answered_request(id, revision))
                .collect(),
            stores: intent.stores.iter().map(|(id, store)| register_store(*id, store)).collect(),
            revisions: intent.history.oldest_first().map(revisions::to_wire).collect(),
            events: intent.events.kept_after(0).map(|event| public::Event::clone(event)).collect(),
            told: intent.events.told().iter().map(|(key, told)| told_record(key, told)).collect(),
            channels: intent.events.channels().values().cloned().collect(),
        }
    }

    /// # Errors
    /// [`MachineError`] when this release cannot read it.
    pub(crate) fn from_snapshot(wire: &v1::Snapshot) -> Result<Self, MachineError> {
        let mut machine = Self::default();
        let header = wire
            .header
            .as_ref()
            .ok_or(DecodeError::Missing { what: "a snapshot", field: "header" })?;
        machine.set_header(header);
        for resource in &wire.resources {
            machine.add_resource(resource)?;
        }
        for (number, request) in (0..).zip(&wire.requests) {
            let revision = Revision(request.revision);
            machine.intent.edit().requests.restore(number, request.request_id.clone(), revision);
        }
        for store in &wire.stores {
            machine.intent.edit().stores.insert(store.node_id, store.store_id.clone());
        }
        for revision in &wire.revisions {
            machine.intent.edit().history.restore(revisions::from_wire(revision));
        }
        for event in &wire.events {
            machine.intent.edit().events.add(event.clone().into());
        }
        for told in &wire.told {
            machine.add_told(told);
        }
        for channel in &wire.channels {
            machine.intent.edit().events.add_channel(channel.clone());
        }
        Ok(machine)
    }

    fn add_told(&mut self, wire: &v1::ToldRecord) {
        let told = wire.told.clone().unwrap_or_default();
        self.intent.edit().events.add_told(wire.key.clone(), told);
    }

    fn add_resource(&mut self, wire: &public::Resource) -> Result<(), MachineError> {
        let resource = resource_from_state(wire)?;
        self.intent.edit().resources.insert(resource.key(), resource);
        Ok(())
    }
}

/// A resource as the state holds it, with its revision.
///
/// # Errors
/// [`MachineError`] when this release cannot read it.
pub(crate) fn resource_from_state(wire: &public::Resource) -> Result<Resource, MachineError> {
    let mut errors = Vec::new();
    let Some(mut resource) = resource_from_wire(0, wire, &mut errors) else {
        let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(MachineError::Resource { reason: reasons.join("; ") });
    };
    resource.revision = Revision(wire.metadata.as_ref().map_or(0, |m| m.revision));
    Ok(resource)
}

fn resource_key(key: &ResourceKey) -> Vec<u8> {
    // A kind's number fits a byte for as long as there are fewer than 256 of them.
    let kind = u8::try_from(kind_to_wire(key.kind) as i32).unwrap_or(u8::MAX);
    [&[RESOURCE, kind], key.name.as_str().as_bytes()].concat()
}

fn encode_resource(resource: &Resource) -> Vec<u8> {
    resource_to_wire(resource).encode_to_vec()
}

fn told_record(key: &str, told: &v1::ToldCondition) -> v1::ToldRecord {
    v1::ToldRecord { key: key.to_owned(), told: Some(told.clone()) }
}

fn answered_request(id: &str, revision: Revision) -> v1::AnsweredRequest {
    v1::AnsweredRequest { request_id: id.to_owned(), revision: revision.0 }
}

fn register_store(node_id: u64, store_id: &str) -> v1::RegisterStore {
    v1::RegisterStore { node_id, store_id: store_id.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raft::tests::nodes::{happened, write};
    use crate::raft::types::Proposal;

    /// The state after sites of those numbers were written, some with a request id.
    fn written(sites: &[(u8, bool)]) -> Machine {
        let mut machine = Machine::default();
        for (index, (site, has_id)) in (1..).zip(sites) {
            let id = if *has_id { format!("r{index}") } else { String::new() };
            let commands =
                vec![write(index - 1, &id, &format!("s{site}")), happened(&format!("s{site}"))];
            let encoded = v1::Commands { commands }.encode_to_vec();
            let log_id = LogId::new(openraft::CommittedLeaderId::new(3, 1), index);
            let payload = EntryPayload::Normal(Proposal(encoded.into()));
            machine
                .apply(&Entry { log_id, payload }, &mut Vec::new())
                .expect("a site can be applied");
        }
        machine
    }

    #[test]
    fn history_begins_anew_after_a_snapshot_of_an_older_release() {
        let machine = written(&[(1, true), (2, false)]);
        let older = v1::Snapshot { revisions: Vec::new(), ..machine.to_snapshot("old".to_owned()) };
        let mut installed = Machine::from_snapshot(&older).expect("an older release wrote it");
        let state = installed.intent.edit();
        assert_eq!(state.resources, machine.intent.get().resources);
        let oldest =
            |state: &super::super::state::IntentState| state.history.oldest(state.revision);
        assert_eq!(oldest(state), Revision(2));
        state.apply(9, &write(2, "", "s3"), &mut Vec::new()).expect("a site can be applied");
        // What the older release left can be brought back.
        assert_eq!((oldest(state), state.resources.len()), (Revision(2), 3));
        let then = state.history.resources_at(Revision(9), &state.resources, Revision(2));
        assert_eq!(then.as_ref(), Ok(&machine.intent.get().resources));
    }

    #[test]
    fn a_kept_revision_that_cannot_be_read_is_told_but_not_undone() {
        let machine = written(&[(1, true), (1, false), (1, false), (1, false)]);
        let mut snapshot = machine.to_snapshot("one".to_owned());
        let wire = &mut snapshot.revisions[2];
        assert_eq!((wire.revision, wire.undo.len()), (3, 1));
        wire.undo[0].before = Some(public::Resource::default());
        let mut read = Machine::default();
        for wire in &snapshot.revisions {
            let key = [&[REVISION], &wire.revision.to_be_bytes()[..]].concat();
            read.set_record(&key, &wire.encode_to_vec()).expect("it is no reason to stop");
        }
        let installed = Machine::from_snapshot(&snapshot).expect("it is no reason to stop");
        assert_eq!(read.intent.get().history, installed.intent.get().history);
        let history = &installed.intent.get().history;
        assert_eq!(history.oldest(Revision(4)), Revision(3));
        assert_eq!(history.get(Revision(3)).map(|entry| entry.change_count), Some(1));
        assert_eq!(history.oldest_first().count(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_state_comes_back_from_its_snapshot_and_its_records(
            sites in proptest::collection::vec((0_u8..20, any::<bool>()), 0..40),
        ) {
            let machine = written(&sites);
            let encoded = machine.to_snapshot("one".to_owned()).encode_to_vec();
            let wire: v1::Snapshot = decode("a snapshot", &encoded).expect("it was just encoded");
            let installed = Machine::from_snapshot(&wire).expect("it was just encoded");
            prop_assert_eq!(installed.intent.get(), machine.intent.get());
            prop_assert_eq!((installed.applied, &installed.membership), (machine.applied, &machine.membership));

            let mut read = Machine::default();
            let mut records: Vec<_> = machine.keys().iter().map(|key| machine.record(key)).collect();
            records.sort();
            for (key, value) in records {
                let value = value.expect("what is there has a value");
                read.set_record(&key, &value).expect("it was just encoded");
            }
            read.set_header(&machine.header());
            prop_assert_eq!(read.intent.get(), machine.intent.get());
            prop_assert_eq!(read.applied, machine.applied);
        }

        #[test]
        fn any_bytes_are_a_snapshot_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = crate::raft::snapshot::parse(&bytes);
            let _ = Machine::default().set_record(&bytes, &bytes);
        }
    }
}
