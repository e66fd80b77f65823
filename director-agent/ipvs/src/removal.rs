//! Real servers on their way out: since when, and until when they may keep their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::{DestinationKey, Ownership, Table, VirtualServer, VirtualServerKey};

/// How long real servers that leave may keep their connections, where that differs from the usual: not at all after a
/// failure that resets them, and as long as an order to drain says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    of: BTreeMap<VirtualServerKey, BTreeMap<DestinationKey, Duration>>,
}

impl Allowances {
    /// Those of a virtual server's real servers from now on; none in place of any before when empty.
    pub fn set(&mut self, key: VirtualServerKey, allowances: BTreeMap<DestinationKey, Duration>) {
        if allowances.is_empty() {
            self.of.remove(&key);
        } else {
            self.of.insert(key, allowances);
        }
    }

    /// That of one real server.
    pub fn get(&self, virtual_server: &VirtualServerKey, key: &DestinationKey) -> Option<Duration> {
        self.of.get(virtual_server)?.get(key).copied()
    }
}

/// Real servers that leave, and until when, by the caller's monotonic clock.
///
/// A leaving real server has weight 0 and is deleted when its last connection ends, or at its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    leaving: BTreeMap<VirtualServerKey, BTreeMap<DestinationKey, Leaving>>,
    /// Where they differ from the usual one.
    allowances: Allowances,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaving {
    since: Duration,
    deadline: Duration,
}

impl Removals {
    /// Takes what differs from the usual allowance from now on.
    pub fn allow(&mut self, allowances: Allowances) {
        self.allowances = allowances;
    }

    /// Gives each real server that begins to leave the deadline `now + allowance`, and forgets those that are gone
    /// or wanted again. One that was leaving already keeps its beginning: where its own allowance changes, the deadline
    /// does.
    pub fn follow(
        &mut self,
        desired: &Table,
        observed: &Table,
        ownership: &Ownership,
        now: Duration,
        allowance: Duration,
    ) {
        let known: BTreeSet<_> = self.leaving.keys().copied().collect();
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
        let known = self.leaving.remove(key).unwrap_or_default();
        let names = found.into_iter().flat_map(|found| found.destinations.keys());
        let leaves = names
            .filter(|name| wanted.is_none_or(|wanted| !wanted.destinations.contains_key(name)));
        let follow = |name: &DestinationKey| {
            let since = known.get(name).map_or(now, |leaving| leaving.since);
            let allowance = self.allowances.get(key, name).unwrap_or(allowance);
            // Nobody but this director has connections there.
            let allowance = if key.is_path() { Duration::ZERO } else { allowance };
            (*name, Leaving { since, deadline: since.saturating_add(allowance) })
        };
        let leaving: BTreeMap<_, _> = leaves.map(follow).collect();
        if !leaving.is_empty() {
            self.leaving.insert(*key, leaving);
        }
    }

    /// Nothing leaves that virtual server.
    pub(crate) fn forget(&mut self, virtual_server: &VirtualServerKey) {
        self.leaving.remove(virtual_server);
    }

    /// Whether its deadline has passed. False for a real server that does not leave.
    pub fn is_due(
        &self,
        virtual_server: &VirtualServerKey,
        key: &DestinationKey,
        now: Duration,
    ) -> bool {
        let leaving = self.leaving.get(virtual_server).and_then(|leaving| leaving.get(key));
        leaving.is_some_and(|leaving| leaving.deadline <= now)
    }

    /// Virtual servers that have a real server on its way out, ordered.
    pub fn virtual_servers(&self) -> impl Iterator<Item = &VirtualServerKey> {
        self.leaving.keys()
    }

    /// Whether nothing leaves.
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        let leaving = self.leaving.values().flat_map(BTreeMap::values);
        leaving.map(|leaving| leaving.deadline).min()
    }
}
