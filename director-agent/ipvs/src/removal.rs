//! Real servers on their way out: since when, and until when they may keep their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::{DestinationKey, Ownership, Table, VirtualServer, VirtualServerKey};

/// Deadlines of the real servers that leave, by the caller's monotonic clock.
///
/// A leaving real server has weight 0 and is deleted when its last connection ends, or at its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    deadlines: BTreeMap<VirtualServerKey, BTreeMap<DestinationKey, Duration>>,
}

impl Removals {
    /// Gives each real server that begins to leave the deadline `now + allowance`, and forgets those that are gone
    /// or wanted again. One that was leaving already keeps its deadline.
    pub fn follow(
        &mut self,
        desired: &Table,
        observed: &Table,
        ownership: &Ownership,
        now: Duration,
        allowance: Duration,
    ) {
        let known: BTreeSet<_> = self.deadlines.keys().copied().collect();
        let gone = known.iter().filter(|key| !observed.virtual_servers.contains_key(key));
        for key in gone.chain(observed.virtual_servers.keys()) {
            let wanted = desired.virtual_servers.get(key).map(Arc::as_ref);
            let found = observed.virtual_servers.get(key).map(Arc::as_ref);
            let ours = found.filter(|_| wanted.is_some() || ownership.made(key));
            self.follow_one(key, wanted, ours, now, allowance);
        }
    }

    /// The same for one virtual server that is ours.
    pub(crate) fn follow_one(
        &mut self,
        key: &VirtualServerKey,
        wanted: Option<&VirtualServer>,
        found: Option<&VirtualServer>,
        now: Duration,
        allowance: Duration,
    ) {
        let mut known = self.deadlines.remove(key).unwrap_or_default();
        let names = found.into_iter().flat_map(|found| found.destinations.keys());
        let leaving = names
            .filter(|name| wanted.is_none_or(|wanted| !wanted.destinations.contains_key(name)));
        let deadline = |name: &DestinationKey| {
            let deadline = known.remove(name).unwrap_or_else(|| now.saturating_add(allowance));
            (*name, deadline)
        };
        let deadlines: BTreeMap<_, _> = leaving.map(deadline).collect();
        if !deadlines.is_empty() {
            self.deadlines.insert(*key, deadlines);
        }
    }

    /// Whether its deadline has passed. False for a real server that does not leave.
    pub fn is_due(
        &self,
        virtual_server: &VirtualServerKey,
        key: &DestinationKey,
        now: Duration,
    ) -> bool {
        let deadline = self.deadlines.get(virtual_server).and_then(|deadlines| deadlines.get(key));
        deadline.is_some_and(|deadline| *deadline <= now)
    }

    /// Virtual servers that have a real server on its way out, ordered.
    pub fn virtual_servers(&self) -> impl Iterator<Item = &VirtualServerKey> {
        self.deadlines.keys()
    }

    /// Whether nothing leaves.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.values().flat_map(BTreeMap::values).min().copied()
    }
}
