//! The state machine: what every replica makes of the same commands. No clock, ordered maps only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fulcrum_intent::history::{Entry, History, undo_of};
use fulcrum_model::{
    Revision,
    resource::{Resource, ResourceKey},
};
use fulcrum_proto::convert::{kind_from_wire, resource_from_wire};
use fulcrum_proto::internal::v1::{self, command::Command as Wire};

use super::revisions;
use crate::events::log::{EventKey, EventLog};

/// Requests that are remembered, so that a repetition is answered as the first time. A client repeats within seconds;
/// a thousand writes take longer than that.
const REMEMBERED_REQUESTS: usize = 1024;

/// Committed and applied intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentState {
    /// The cluster's UUID; empty before it is formed.
    pub cluster_id: String,
    /// Grows when a backup is restored; 0 before the cluster is formed.
    pub incarnation: u64,
    /// The intent's version: the log index of the newest write.
    pub revision: Revision,
    /// What is wanted.
    pub resources: BTreeMap<ResourceKey, Resource>,
    /// Newest time stamp of a command, by its leader's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Trace of the newest write, W3C traceparent; empty when none.
    pub last_traceparent: String,
    /// What the newest revisions changed. Replicas of different releases may keep different ones: it decides nothing that is
    /// applied.
    pub history: History,
    /// What happened. Like history it decides nothing that is applied.
    pub events: EventLog,
    /// Requests answered lately.
    pub(crate) requests: AnsweredRequests,
    /// Which store each node votes with, by node id.
    pub(crate) stores: BTreeMap<u64, String>,
}

/// What became of a command. The same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It was applied; the intent's revision afterwards.
    Applied(Revision),
    /// The intent had moved on from the command's base revision; the revision that it is at. Nothing was changed.
    Stale(Revision),
    /// The request was answered before, with this revision. Nothing was changed.
    Repeated(Revision),
}

/// A committed command that this release cannot apply. The replica must stop, or it would differ from the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// A kind of command or resource that this release does not know.
    #[error("it holds {what} that this release does not know: upgrade this controller")]
    Unknown {
        /// What is unknown.
        what: &'static str,
    },
    /// A resource that this release refuses.
    #[error("it holds a resource that this release cannot read: {reason}")]
    Resource {
        /// Its bad fields.
        reason: String,
    },
}

/// Part of the state that a command changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateKey {
    /// A resource.
    Resource(ResourceKey),
    /// A remembered request, by its number.
    Request(u64),
    /// A node's store.
    Store(u64),
    /// A kept revision.
    Revision(Revision),
    /// A part of what happened.
    Event(EventKey),
}

/// Requests answered lately, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnsweredRequests {
    revisions: BTreeMap<String, Revision>,
    order: VecDeque<(u64, String)>,
}

impl AnsweredRequests {
    /// Number and id of each, oldest first, with its revision.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &str, Revision)> {
        self.order.iter().map(|(number, id)| {
            (*number, id.as_str(), self.revisions.get(id).copied().unwrap_or_default())
        })
    }

    /// Id and revision of the request of that number.
    pub(crate) fn get(&self, number: u64) -> Option<(&str, Revision)> {
        let at = self.order.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let id = &self.order[at].1;
        Some((id, self.revisions.get(id).copied()?))
    }

    /// Id and revision of the request at that place, the oldest at 0.
    pub(crate) fn at(&self, place: usize) -> Option<(&str, Revision)> {
        let (_, id) = self.order.get(place)?;
        Some((id, self.revisions.get(id).copied().unwrap_or_default()))
    }

    /// Adds one as it was stored. Numbers must rise.
    pub(crate) fn restore(&mut self, number: u64, id: String, revision: Revision) {
        self.revisions.insert(id.clone(), revision);
        self.order.push_back((number, id));
    }

    /// Follows a newer one in the request of that number, which was added or forgotten there.
    fn follow(&mut self, newer: &Self, number: u64) {
        match newer.get(number) {
            Some((id, revision)) => self.restore(number, id.to_owned(), revision),
            None => {
                if let Some((_, id)) = self.order.pop_front_if(|(oldest, _)| *oldest == number) {
                    self.revisions.remove(&id);
                }
            }
        }
    }

    fn remember(&mut self, id: &str, revision: Revision, changed: &mut Vec<StateKey>) {
        let number = self.order.back().map_or(0, |(number, _)| number + 1);
        self.restore(number, id.to_owned(), revision);
        changed.push(StateKey::Request(number));
        if self.order.len() > REMEMBERED_REQUESTS
            && let Some((oldest, id)) = self.order.pop_front()
        {
            self.revisions.remove(&id);
            changed.push(StateKey::Request(oldest));
        }
    }
}

impl IntentState {
    /// The revision that a request was answered with, if it was lately.
    pub fn answered(&self, request_id: &str) -> Option<Revision> {
        self.requests.revisions.get(request_id).copied()
    }

    /// The change that waits to be confirmed, if one does.
    pub fn waiting(&self) -> Option<&Entry> {
        self.history.waiting(self.revision)
    }

    /// Applies the command of the entry at `index` and notes what it changed.
    ///
    /// # Errors
    /// [`ApplyError`] when this release cannot know what the command means. Nothing is changed then.
    pub(crate) fn apply(
        &mut self,
        index: u64,
        command: &v1::Command,
        changed: &mut Vec<StateKey>,
    ) -> Result<CommandOutcome, ApplyError> {
        let outcome = match &command.command {
            Some(Wire::FormCluster(form)) => {
                if self.cluster_id.is_empty() {
                    self.cluster_id.clone_from(&form.cluster_id);
                    self.incarnation = 1;
                }
                CommandOutcome::Applied(self.revision)
            }
            Some(Wire::RegisterStore(register)) => {
                self.stores.entry(register.node_id).or_insert_with(|| {
                    changed.push(StateKey::Store(register.node_id));
                    register.store_id.clone()
                });
                CommandOutcome::Applied(self.revision)
            }
            Some(Wire::WriteIntent(write)) => match &write.events {
                Some(batch) => {
                    let mut keys = Vec::new();
                    self.events.take(index, batch, &mut keys);
                    changed.extend(keys.into_iter().map(StateKey::Event));
                    CommandOutcome::Applied(self.revision)
                }
                None => self.write(index, write, command, changed)?,
            },
            None => return Err(ApplyError::Unknown { what: "a command" }),
        };
        self.time_ms = self.time_ms.max(command.time_ms);
        Ok(outcome)
    }

    /// Becomes equal to a newer state that differs in what the keys name, and in what no key names.
    pub(crate) fn follow(&mut self, newer: &Self, changed: &[StateKey]) {
        for key in changed {
            match key {
                StateKey::Resource(key) => match newer.resources.get(key) {
                    Some(resource) => {
                        self.resources.insert(key.clone(), resource.clone());
                    }
                    None => {
                        self.resources.remove(key);
                    }
                },
                StateKey::Request(number) => self.requests.follow(&newer.requests, *number),
                StateKey::Revision(revision) => self.history.follow(&newer.history, *revision),
                StateKey::Event(key) => self.events.follow(&newer.events, key),
                StateKey::Store(node_id) => match newer.stores.get(node_id) {
                    Some(store_id) => {
                        self.stores.insert(*node_id, store_id.clone());
                    }
                    None => {
                        self.stores.remove(node_id);
                    }
                },
            }
        }
        self.events.follow_dropped(&newer.events);
        self.cluster_id.clone_from(&newer.cluster_id);
        self.incarnation = newer.incarnation;
        self.revision = newer.revision;
        self.time_ms = newer.time_ms;
        self.last_traceparent.clone_from(&newer.last_traceparent);
    }

    fn write(
        &mut self,
        index: u64,
        write: &v1::WriteIntent,
        command: &v1::Command,
        changed: &mut Vec<StateKey>,
    ) -> Result<CommandOutcome, ApplyError> {
        if let Some(revision) = self.answered(&write.request_id) {
            return Ok(CommandOutcome::Repeated(revision));
        }
        if write.base_revision != self.revision.0 {
            return Ok(CommandOutcome::Stale(self.revision));
        }
        let edit = Edit::from_wire(write)?;
        let revision = Revision(index);
        let undo = undo_of(&self.resources, &edit.touched(), &edit.deleted());
        let entry = revisions::entry(revision, write, command.time_ms, undo);
        changed.push(StateKey::Revision(revision));
        changed.extend(self.history.note(entry).into_iter().map(StateKey::Revision));
        for mut resource in edit.put {
            resource.revision = revision;
            changed.push(StateKey::Resource(resource.key()));
            self.resources.insert(resource.key(), resource);
        }
        for key in edit.delete {
            self.resources.remove(&key);
            changed.push(StateKey::Resource(key));
        }
        self.revision = revision;
        self.last_traceparent.clone_from(&command.traceparent);
        if !write.request_id.is_empty() {
            self.requests.remember(&write.request_id, revision, changed);
        }
        Ok(CommandOutcome::Applied(revision))
    }
}

/// A write as the model has it.
pub(crate) struct Edit {
    put: Vec<Resource>,
    delete: Vec<ResourceKey>,
}

impl Edit {
    fn touched(&self) -> BTreeSet<ResourceKey> {
        self.put.iter().map(Resource::key).chain(self.delete.iter().cloned()).collect()
    }

    fn deleted(&self) -> BTreeSet<ResourceKey> {
        self.delete.iter().cloned().collect()
    }

    /// # Errors
    /// [`ApplyError`] when a resource or a key cannot be read.
    pub(crate) fn from_wire(write: &v1::WriteIntent) -> Result<Self, ApplyError> {
        let mut errors = Vec::new();
        let put: Vec<Resource> = write
            .put
            .iter()
            .enumerate()
            .filter_map(|(index, wire)| resource_from_wire(index, wire, &mut errors))
            .collect();
        if !errors.is_empty() || put.len() != write.put.len() {
            let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(ApplyError::Resource { reason: reasons.join("; ") });
        }
        let delete = write.delete.iter().map(key_from_wire).collect::<Result<_, _>>()?;
        Ok(Self { put, delete })
    }
}

pub(crate) fn key_from_wire(key: &v1::ResourceKey) -> Result<ResourceKey, ApplyError> {
    let kind = kind_from_wire(key.kind).ok_or(ApplyError::Unknown { what: "a kind" })?;
    let name = key.name.parse().map_err(|error: fulcrum_model::NameError| {
        ApplyError::Resource { reason: format!("{}: {error}", key.name) }
    })?;
    Ok(ResourceKey { kind, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::tests::nodes::{happened, write};

    fn apply(state: &mut IntentState, index: u64, command: &v1::Command) -> CommandOutcome {
        state.apply(index, command, &mut Vec::new()).expect("the command can be applied")
    }

    #[test]
    fn each_command_does_what_it_says_once() {
        let form = |id: &str| {
            let form = v1::FormCluster { cluster_id: id.to_owned() };
            v1::Command { command: Some(Wire::FormCluster(form)), time_ms: 5, ..Default::default() }
        };
        let register = |id: &str| {
            let register = v1::RegisterStore { node_id: 2, store_id: id.to_owned() };
            v1::Command { command: Some(Wire::RegisterStore(register)), ..Default::default() }
        };
        let traced = v1::Command {
            time_ms: 9,
            traceparent: "00-a-b-01".to_owned(),
            ..write(11, "r2", "south")
        };
        let mut state = IntentState::default();
        let at = |revision: u64| CommandOutcome::Applied(Revision(revision));
        let steps = [
            (1, form("one"), at(0)),
            (2, form("two"), at(0)),
            (3, register("first"), at(0)),
            (4, register("second"), at(0)),
            (11, write(0, "r1", "north"), at(11)),
            (12, write(0, "r1", "north"), CommandOutcome::Repeated(Revision(11))),
            (13, write(0, "r9", "north"), CommandOutcome::Stale(Revision(11))),
            (13, write(12, "", "north"), CommandOutcome::Stale(Revision(11))),
            (14, traced, at(14)),
            // Two commands of one entry: the second was validated before the first was known.
            (15, write(14, "", "east"), at(15)),
            (15, write(14, "", "west"), CommandOutcome::Stale(Revision(15))),
            (16, happened("web1 is out"), at(15)),
            // As a release that knows no events reads them.
            (17, without_events(&happened("web1 is in")), CommandOutcome::Stale(Revision(15))),
        ];
        for (index, command, expected) in steps {
            assert_eq!(apply(&mut state, index, &command), expected, "{command:?}");
        }
        assert_eq!((state.cluster_id.as_str(), state.incarnation), ("one", 1));
        assert_eq!(state.stores, BTreeMap::from([(2, "first".to_owned())]));
        assert_eq!((state.time_ms, state.last_traceparent.as_str()), (9, ""));
        let revisions: Vec<_> =
            state.resources.iter().map(|(key, r)| (key.name.as_str(), r.revision.0)).collect();
        assert_eq!(revisions, [("east", 15), ("north", 11), ("south", 14)]);
        let told: Vec<_> = state.events.kept_after(0).map(|event| event.text.as_str()).collect();
        assert_eq!(told, ["web1 is out"]);
    }

    fn without_events(command: &v1::Command) -> v1::Command {
        let mut command = command.clone();
        if let Some(Wire::WriteIntent(write)) = &mut command.command {
            write.events = None;
        }
        command
    }

    #[test]
    fn a_command_of_a_newer_release_changes_nothing() {
        let mut state = IntentState::default();
        let unknown = v1::Command { time_ms: 5, ..v1::Command::default() };
        let bad = write(0, "r", "Not A Name");
        for command in [unknown, bad] {
            assert!(state.apply(1, &command, &mut Vec::new()).is_err(), "{command:?}");
        }
        assert_eq!(state, IntentState::default());
    }

    #[test]
    fn the_oldest_requests_are_forgotten_everywhere_alike() {
        let mut state = IntentState::default();
        let mut follower = state.clone();
        let mut changed = Vec::new();
        let count = u64::try_from(REMEMBERED_REQUESTS).expect("a small number") + 2;
        for index in 1..=count {
            let command = write(index - 1, &format!("r{index}"), "north");
            state.apply(index, &command, &mut changed).expect("a site can be applied");
            if index % 700 == 0 {
                follower.follow(&state, &std::mem::take(&mut changed));
            }
        }
        follower.follow(&state, &changed);
        assert_eq!(state, follower);
        assert_eq!(state.requests.iter().count(), REMEMBERED_REQUESTS);
        assert_eq!((state.answered("r2"), state.answered("r3")), (None, Some(Revision(3))));
    }
}
