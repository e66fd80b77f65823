//! Real servers on their way out: since when, and until when they may keep their connections.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Destination, DestinationKey, Ownership, Table, VirtualServerKey};

/// Deadlines of the real servers that leave, by the caller's monotonic clock.
///
/// A leaving real server has weight 0 and is deleted when its last connection ends, or at its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    deadlines: BTreeMap<(VirtualServerKey, DestinationKey), Duration>,
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
        let mut known = std::mem::take(&mut self.deadlines);
        for (virtual_server, key, _) in leaving(desired, observed, ownership) {
            let name = (*virtual_server, *key);
            let deadline = known.remove(&name).unwrap_or_else(|| now.saturating_add(allowance));
            self.deadlines.insert(name, deadline);
        }
    }

    /// Whether its deadline has passed. False for a real server that does not leave.
    pub fn is_due(
        &self,
        virtual_server: &VirtualServerKey,
        key: &DestinationKey,
        now: Duration,
    ) -> bool {
        self.deadlines.get(&(*virtual_server, *key)).is_some_and(|deadline| *deadline <= now)
    }

    /// Virtual servers that have a real server on its way out, each once, ordered.
    pub fn virtual_servers(&self) -> Vec<VirtualServerKey> {
        let mut keys: Vec<_> = self.deadlines.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        keys
    }

    /// Whether nothing leaves.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.values().min().copied()
    }
}

/// Real servers of ours that are observed and not desired.
fn leaving<'a>(
    desired: &'a Table,
    observed: &'a Table,
    ownership: &'a Ownership,
) -> impl Iterator<Item = (&'a VirtualServerKey, &'a DestinationKey, &'a Destination)> {
    let servers = observed.virtual_servers.iter();
    let ours = servers.filter_map(move |(key, server)| {
        let wanted = desired.virtual_servers.get(key);
        (wanted.is_some() || ownership.made(key)).then_some((key, server, wanted))
    });
    ours.flat_map(|(virtual_server, server, wanted)| {
        let destinations = server.destinations.iter();
        destinations
            .filter(move |(key, _)| wanted.is_none_or(|w| !w.destinations.contains_key(key)))
            .map(move |(key, destination)| (virtual_server, key, destination))
    })
}
