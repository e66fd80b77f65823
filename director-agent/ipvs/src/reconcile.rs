//! What the driver of a kernel's table knows and decides between two requests.
//!
//! The [`Reconciler`] holds what is wanted and what the kernel holds, as last read and written since. It says what to
//! write next, is told how that went and what was read, and finds drift: what another program changed in entries of
//! ours.
//!
//! ```text
//!            want, relay                      done, refused
//!                 |                                |
//!                 v        plan(now)               v
//!   kernel -> observe -> [ Reconciler ] -> operations -> kernel
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::Refusal;
use crate::diff::{diff, diff_one};
use crate::operation::OperationKind;
use crate::{
    DestinationKey, Operation, Ownership, Removals, Table, VirtualServer, VirtualServerKey,
};

/// An entry of a table: a virtual server, or a real server of one.
pub type Entry = (VirtualServerKey, Option<DestinationKey>);

/// An operation that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it refused.
    pub operation: Operation,
    /// Why.
    pub refusal: Refusal,
}

/// A difference that another program made, and how it is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What the kernel held, in words.
    pub found: String,
    /// The repair.
    pub repair: Operation,
}

/// The state between two requests.
#[derive(Clone, Debug, Default)]
pub struct Reconciler {
    /// Whether a table was wanted yet. Nothing but relays is written before.
    is_told: bool,
    /// What is wanted, with the relay.
    wanted: Table,
    held: Table,
    made: Ownership,
    relay: Option<(VirtualServerKey, VirtualServer)>,
    /// Virtual servers that are or were relays: ours, and left out of every listing.
    relays: BTreeSet<VirtualServerKey>,
    removals: Removals,
    allowance: Duration,
    refused: BTreeMap<Entry, Refused>,
    drifted: BTreeSet<Entry>,
    /// Read in this turn: only here may something be deleted.
    fresh: BTreeSet<VirtualServerKey>,
    /// The kernel answered as if it held something else than we think: read again.
    stale: BTreeSet<VirtualServerKey>,
}

impl Reconciler {
    /// `made` are the virtual servers that an earlier life made, `relays` those among them that were relays, `held` is
    /// what the kernel holds, and `allowance` the time that a leaving real server may keep its connections.
    pub fn new(
        made: Ownership,
        relays: BTreeSet<VirtualServerKey>,
        held: Table,
        allowance: Duration,
    ) -> Self {
        let mut reconciler = Self { held, made, relays, allowance, ..Self::default() };
        reconciler.made.mark(&reconciler.wanted, &mut reconciler.held);
        reconciler
    }

    /// Wants this table of ours from now on.
    pub fn want(&mut self, table: Table) {
        self.is_told = true;
        self.wanted = table;
        self.wanted.virtual_servers.extend(self.relay.clone());
        self.made.mark(&self.wanted, &mut self.held);
    }

    /// Wants this relay, or none, beside the table. It is left out of [`Self::table`].
    pub fn relay(&mut self, relay: Option<(VirtualServerKey, VirtualServer)>) {
        if let Some((key, _)) = &self.relay {
            self.wanted.virtual_servers.remove(key);
        }
        self.relays.extend(relay.iter().map(|(key, _)| *key));
        self.wanted.virtual_servers.extend(relay.clone());
        self.relay = relay;
        self.made.mark(&self.wanted, &mut self.held);
    }

    /// What the kernel holds, with foreign entries marked and without relays.
    pub fn table(&self) -> Table {
        let mut table = self.held.clone();
        table.virtual_servers.retain(|key, _| !self.relays.contains(key));
        table
    }

    /// What the kernel holds, relays and all.
    pub fn held(&self) -> &Table {
        &self.held
    }

    /// Virtual servers that we made or are about to, in the order of their keys, for the journal.
    pub fn made(&self) -> &Ownership {
        &self.made
    }

    /// Whether this is or was a relay.
    pub fn is_relay(&self, key: &VirtualServerKey) -> bool {
        self.relays.contains(key)
    }

    /// Takes note of every virtual server that is wanted, so that it is ours after it is no longer. True when the
    /// journal must be written before anything is added.
    pub fn claim(&mut self) -> bool {
        let mut changed = false;
        for key in self.wanted.virtual_servers.keys() {
            changed |= self.made.insert(*key);
        }
        changed
    }

    /// What to write at `now`, in order. What was refused before is left out until [`Self::retry`], and nothing is
    /// deleted from a virtual server that was not read since [`Self::end_turn`].
    pub fn plan(&mut self, now: Duration) -> Vec<Operation> {
        let only_relays;
        let ownership = if self.is_told {
            &self.made
        } else {
            only_relays = self.relays.iter().copied().collect();
            &only_relays
        };
        self.removals.follow(&self.wanted, &self.held, ownership, now, self.allowance);
        let mut operations = diff(&self.wanted, &self.held, ownership, &self.removals, now);
        self.forget_refused_but(&operations);
        operations.retain(|operation| self.is_due(operation));
        operations
    }

    /// What was refused and is no longer wanted so is no news.
    fn forget_refused_but(&mut self, wanted: &[Operation]) {
        let mut known = std::mem::take(&mut self.refused);
        if known.is_empty() {
            return;
        }
        for operation in wanted {
            let found = known.remove_entry(&operation.entry());
            self.refused.extend(found.filter(|(_, refused)| refused.operation == *operation));
        }
    }

    fn is_due(&self, operation: &Operation) -> bool {
        if operation.kind() == OperationKind::Delete
            && !self.fresh.contains(operation.virtual_server())
        {
            return false;
        }
        let was_refused = |entry| self.refused.get(&entry).map(|refused| &refused.operation);
        let server = was_refused((*operation.virtual_server(), None));
        // A real server cannot be added to a virtual server that could not be.
        let lacks_server = matches!(server, Some(Operation::AddVirtualServer { .. }))
            && matches!(operation, Operation::AddDestination { .. });
        !lacks_server && was_refused(operation.entry()) != Some(operation)
    }

    /// The kernel did it. True when this put drift right.
    pub fn done(&mut self, operation: &Operation) -> bool {
        if operation.apply(&mut self.held).is_err() {
            // The kernel took what we thought impossible: we think wrong.
            self.stale.insert(*operation.virtual_server());
        }
        self.refused.remove(&operation.entry());
        if let Operation::DeleteVirtualServer { key } = operation {
            self.made.remove(key);
            self.relays.remove(key);
        }
        self.drifted.remove(&operation.entry())
    }

    /// The kernel refused it. True when this is news: it was not refused in this way before.
    pub fn refused(&mut self, operation: &Operation, refusal: Refusal) -> bool {
        let refused = Refused { operation: operation.clone(), refusal };
        let before = self.refused.insert(operation.entry(), refused.clone());
        before.as_ref() != Some(&refused)
    }

    /// Nothing is known of how it went, or the kernel holds something else than we think: read this one again.
    pub fn unsure(&mut self, key: VirtualServerKey) {
        self.stale.insert(key);
    }

    /// Virtual servers to read again before the next plan.
    pub fn stale(&self) -> &BTreeSet<VirtualServerKey> {
        &self.stale
    }

    /// What the kernel refused and was not done since, but for relays.
    pub fn refusals(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().filter(|r| !self.relays.contains(r.operation.virtual_server()))
    }

    /// What the kernel refused for a relay.
    pub fn relay_refusals(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().filter(|r| self.relays.contains(r.operation.virtual_server()))
    }

    /// Forgets what was refused, so that it is tried again.
    pub fn retry(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused).into_values().collect()
    }

    /// Whether what was read differs from what we think, counters aside.
    pub fn differs(&self, key: &VirtualServerKey, found: Option<&VirtualServer>) -> bool {
        let settings = |server: &VirtualServer| {
            let destinations = server.destinations.iter().map(|(k, d)| (*k, d.settings));
            (server.settings.clone(), destinations.collect::<Vec<_>>())
        };
        self.held.virtual_servers.get(key).map(settings) != found.map(settings)
    }

    /// Takes in what the kernel holds under `key` now: none when there is no such virtual server. Gives the drift that
    /// this shows; the next plan repairs it.
    pub fn observe(
        &mut self,
        key: VirtualServerKey,
        found: Option<VirtualServer>,
        now: Duration,
    ) -> Vec<Drift> {
        let (drift, repairs) = self.drift(&key, found.as_ref(), now);
        // What is as it should be again needs no repair.
        self.drifted.retain(|entry| {
            entry.0 != key || repairs.iter().any(|repair| repair.entry() == *entry)
        });
        self.drifted.extend(drift.iter().map(|drift| drift.repair.entry()));
        self.stale.remove(&key);
        self.fresh.insert(key);
        match found {
            Some(mut server) => {
                server.foreign = !self.is_ours(&key);
                self.held.virtual_servers.insert(key, server);
            }
            None => {
                self.held.virtual_servers.remove(&key);
            }
        }
        drift
    }

    fn is_ours(&self, key: &VirtualServerKey) -> bool {
        self.wanted.virtual_servers.contains_key(key) || self.made.made(key)
    }

    /// What nobody of ours changed, and all that is to be done.
    fn drift(
        &self,
        key: &VirtualServerKey,
        found: Option<&VirtualServer>,
        now: Duration,
    ) -> (Vec<Drift>, Vec<Operation>) {
        if !self.is_told || !self.is_ours(key) || self.relays.contains(key) {
            return (Vec::new(), Vec::new());
        }
        let wanted = self.wanted.virtual_servers.get(key);
        let held = self.held.virtual_servers.get(key);
        let (mut expected, mut repairs) = (Vec::new(), Vec::new());
        diff_one(&mut expected, key, wanted, held, &self.removals, now);
        diff_one(&mut repairs, key, wanted, found, &self.removals, now);
        let news = repairs
            .iter()
            .filter(|repair| repair.kind() != OperationKind::Delete && !expected.contains(repair));
        let describe =
            |repair: &Operation| Drift { found: describe(repair, found), repair: repair.clone() };
        (news.map(describe).collect(), repairs)
    }

    /// Virtual servers from which something leaves, in order: their connections are worth reading.
    pub fn leaving(&self) -> Vec<VirtualServerKey> {
        self.removals.virtual_servers()
    }

    /// What was read is getting old: nothing is deleted on its word any more.
    pub fn end_turn(&mut self) {
        self.fresh.clear();
    }
}

/// What the kernel held where `repair` is due.
fn describe(repair: &Operation, found: Option<&VirtualServer>) -> String {
    let (_, destination) = repair.entry();
    match (found, destination) {
        (None, _) => "no such virtual server".to_owned(),
        (Some(server), None) => server.settings.to_string(),
        (Some(server), Some(key)) => match server.destinations.get(&key) {
            Some(destination) => destination.settings.to_string(),
            None => "no such real server".to_owned(),
        },
    }
}
