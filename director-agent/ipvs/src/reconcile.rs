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
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Refusal;
use crate::diff::{add, diff_one};
use crate::operation::OperationKind;
use crate::worklist::New;
use crate::{
    Allowances, DestinationKey, Operation, Ownership, Removals, Table, VirtualServer,
    VirtualServerKey, Worklist,
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
    desired: Arc<Table>,
    /// What is desired, with the relay.
    wanted: Arc<Table>,
    held: Table,
    /// Counts changes of `held`.
    changes: u64,
    made: Ownership,
    /// Nothing is foreign: what nobody ordered goes.
    is_exclusive: bool,
    /// Nothing but relays is written.
    is_frozen: bool,
    /// `made` has changed since the journal was written.
    journal_is_due: bool,
    relay: Option<(VirtualServerKey, VirtualServer)>,
    /// Virtual servers that are or were relays: ours, but no part of what is desired, and of no edit's count.
    relays: BTreeSet<VirtualServerKey>,
    removals: Removals,
    allowance: Duration,
    refused: BTreeMap<Entry, Refused>,
    /// Was refused, and is being tried again.
    retried: BTreeMap<Entry, Refused>,
    drifted: BTreeSet<Entry>,
    /// Read in this turn: only here may something be deleted.
    fresh: BTreeSet<VirtualServerKey>,
    /// May differ from what is wanted: the others are as they should be, and are not looked at.
    dirty: BTreeSet<VirtualServerKey>,
    /// The kernel answered as if it held something else than we think: read again.
    stale: BTreeSet<VirtualServerKey>,
}

impl Reconciler {
    /// `made` are the virtual servers that an earlier life made, `relays` those among them that were relays, `held` is
    /// what the kernel holds, and `allowance` the time that a leaving real server may keep its connections.
    pub fn new(
        made: &Ownership,
        relays: BTreeSet<VirtualServerKey>,
        held: Table,
        allowance: Duration,
    ) -> Self {
        let mut reconciler = Self { held, relays, allowance, ..Self::default() };
        // What is gone is no longer ours: whoever makes it anew keeps it.
        let held = reconciler.held.virtual_servers.keys();
        reconciler.made = held.filter(|key| made.made(key)).copied().collect();
        reconciler.journal_is_due = reconciler.made != *made;
        reconciler.made.mark(&reconciler.wanted, &mut reconciler.held);
        reconciler.dirty = reconciler.made.iter().copied().collect();
        reconciler
    }

    /// Wants this table of ours from now on. `allowances` are those of real servers that leave for a reason of their own.
    pub fn want(&mut self, table: Arc<Table>, allowances: Allowances) {
        self.is_told = true;
        self.desired = table;
        self.removals.allow(allowances);
        self.merge();
    }

    /// What nobody ordered goes from now on, or is foreign and stays. A virtual server that goes lets its connections end
    /// first, like any other.
    pub fn set_exclusive(&mut self, is_exclusive: bool) {
        if std::mem::replace(&mut self.is_exclusive, is_exclusive) == is_exclusive {
            return;
        }
        let keys: Vec<_> = self.held.virtual_servers.keys().copied().collect();
        for key in keys {
            self.mark(&key);
            self.dirty.insert(key);
        }
    }

    /// Lets everything but relays stay as it is from now on, or no longer. What is wanted and what the kernel holds are followed
    /// all the same.
    pub fn set_frozen(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Operations that a freeze holds back, as far as they are due at `now`; none where nothing is frozen.
    pub fn held_back(&self, now: Duration) -> usize {
        if !self.is_frozen || !self.is_told {
            return 0;
        }
        let (mut count, mut operations) = (0, Vec::new());
        let is_held = |key: &&VirtualServerKey| !self.relays.contains(*key);
        let leaving = self.removals.virtual_servers().filter(|key| !self.dirty.contains(*key));
        for key in self.dirty.iter().chain(leaving).filter(is_held) {
            let wanted = self.wanted.virtual_servers.get(key).map(Arc::as_ref);
            let found = self.held.virtual_servers.get(key).map(Arc::as_ref);
            let found = found.filter(|_| self.is_ours(key));
            diff_one(&mut operations, key, wanted, found, &self.removals, now);
            count += operations.len();
            operations.clear();
        }
        count
    }

    /// What is wanted; none before the first table.
    pub fn wanted(&self) -> Option<&Arc<Table>> {
        self.is_told.then_some(&self.wanted)
    }

    /// Wants this relay, or none, beside the table.
    pub fn relay(&mut self, relay: Option<(VirtualServerKey, VirtualServer)>) {
        self.relays.extend(relay.iter().map(|(key, _)| *key));
        self.relay = relay;
        self.merge();
    }

    fn merge(&mut self) {
        let mut wanted = Arc::clone(&self.desired);
        if let Some((key, relay)) = &self.relay {
            // A mark that the table uses itself stays as the table wants it.
            let wanted = &mut Arc::make_mut(&mut wanted).virtual_servers;
            wanted.entry(*key).or_insert_with(|| Arc::new(relay.clone()));
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        let (before, after) = (&before.virtual_servers, &self.wanted.virtual_servers);
        let is_same = |key: &VirtualServerKey, server: &Arc<VirtualServer>| {
            let before = before.get(key);
            before.is_some_and(|before| Arc::ptr_eq(before, server) || before == server)
        };
        let other = after.iter().filter(|(key, server)| !is_same(key, server));
        let gone = before.keys().filter(|key| !after.contains_key(key));
        let changed: Vec<_> = other.map(|(key, _)| key).chain(gone).copied().collect();
        for key in changed {
            if self.wanted.virtual_servers.contains_key(&key) {
                // It stays ours after it is wanted no longer.
                self.journal_is_due |= self.made.insert(key);
            }
            self.dirty.insert(key);
            self.mark(&key);
        }
    }

    fn mark(&mut self, key: &VirtualServerKey) {
        let foreign = !self.is_ours(key);
        let held = self.held.virtual_servers.get_mut(key);
        if let Some(server) = held.filter(|server| server.foreign != foreign) {
            Arc::make_mut(server).foreign = foreign;
            self.changes += 1;
        }
    }

    /// It is gone, and whoever makes it anew keeps it.
    fn disown(&mut self, key: &VirtualServerKey) {
        self.journal_is_due |= self.made.remove(key);
        self.relays.remove(key);
    }

    /// Rises whenever [`Self::held`] may have changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What the kernel holds, with foreign virtual servers marked. Relays are in it: whoever looks with another tool sees
    /// them too.
    pub fn held(&self) -> &Table {
        &self.held
    }

    /// Virtual servers that we made or are about to, in the order of their keys, for the journal.
    pub fn made(&self) -> &Ownership {
        &self.made
    }

    /// Whether this is no part of what is balanced for clients: a relay, or the way of a check. It is in no edit's count, and
    /// neither drift nor a refusal of it concerns the plan.
    pub fn is_apart(&self, key: &VirtualServerKey) -> bool {
        self.relays.contains(key) || key.is_path()
    }

    /// Whether this is or was a relay.
    pub fn is_relay(&self, key: &VirtualServerKey) -> bool {
        self.relays.contains(key)
    }

    /// Whether the journal must be written, before anything is added.
    pub fn journal_is_due(&self) -> bool {
        self.journal_is_due
    }

    /// The journal names what [`Self::made`] does.
    pub fn journal_is_written(&mut self) {
        self.journal_is_due = false;
    }

    /// What to write at `now`, in order. What was refused before is left out until [`Self::retry`], and nothing is
    /// deleted from a virtual server that was not read since [`Self::end_turn`].
    pub fn plan(&mut self, now: Duration) -> Worklist {
        let mut keys: Vec<_> =
            self.removals.virtual_servers().chain(&self.dirty).copied().collect();
        // Two runs in order, which this sort finds.
        keys.sort();
        keys.dedup();
        // The three lists keep the order of `diff` over whole tables. What is new stays in the list that is there, for it may be most.
        let (mut changes, mut retirements) = (Vec::new(), Vec::new());
        keys.retain(|key| self.plan_one(key, &mut changes, &mut retirements, now));
        let mut new = keys;
        if !self.refused.is_empty() {
            // What was refused is among them or is no longer wanted.
            for key in std::mem::take(&mut new) {
                self.add(&mut changes, &key);
            }
            self.forget_refused_but(&[&changes, &retirements]);
        }
        for list in [&mut changes, &mut retirements] {
            list.retain(|operation| self.is_due(operation));
        }
        let [changes, retirements] = [changes, retirements].map(Vec::into_iter);
        Worklist { changes, new: New::of_keys(new), retirements }
    }

    /// Appends what is to be written of one virtual server that the kernel holds, or tells that it is new.
    fn plan_one(
        &mut self,
        key: &VirtualServerKey,
        changes: &mut Vec<Operation>,
        retirements: &mut Vec<Operation>,
        now: Duration,
    ) -> bool {
        if (self.is_frozen || !self.is_told) && !self.relays.contains(key) {
            return false;
        }
        let wanted = self.wanted.virtual_servers.get(key).map(Arc::as_ref);
        let found = self.held.virtual_servers.get(key).map(Arc::as_ref);
        if wanted.zip(found).is_some_and(|(wanted, found)| std::ptr::eq(wanted, found)) {
            self.removals.forget(key);
            self.dirty.remove(key);
            return false;
        }
        let found = found.filter(|_| self.is_ours(key));
        self.removals.follow_one(key, wanted, found, now, self.allowance);
        let list = match (wanted, found) {
            (Some(_), None) => return true,
            (Some(_), Some(_)) => changes,
            (None, _) => retirements,
        };
        let before = list.len();
        diff_one(list, key, wanted, found, &self.removals, now);
        if list.len() == before {
            self.dirty.remove(key);
            self.share(*key);
        }
        false
    }

    /// Takes the next operations, `most` of them or as many more as the last new virtual server has real servers, in place of
    /// what `operations` held.
    pub fn take(&self, work: &mut Worklist, most: usize, operations: &mut Vec<Operation>) {
        operations.clear();
        operations.extend(work.changes.by_ref().take(most));
        while operations.len() < most
            && let Some(key) = work.new.next()
        {
            self.add(operations, &key);
        }
        let left = most.saturating_sub(operations.len());
        operations.extend(work.retirements.by_ref().take(left));
    }

    /// Appends what adds a wanted virtual server.
    fn add(&self, operations: &mut Vec<Operation>, key: &VirtualServerKey) {
        if let Some(wanted) = self.wanted.virtual_servers.get(key) {
            add(operations, key, wanted);
        }
    }

    /// Keeps what is held once with what is wanted, as far as they are the same.
    fn share(&mut self, key: VirtualServerKey) {
        let wanted = self.wanted.virtual_servers.get(&key);
        let (Some(wanted), Some(held)) = (wanted, self.held.virtual_servers.get_mut(&key)) else {
            return;
        };
        if !Arc::ptr_eq(wanted, held) && wanted == held {
            held.clone_from(wanted);
        } else if held.destinations.could_share_with(&wanted.destinations) {
            Arc::make_mut(held).destinations.share_with(&wanted.destinations);
            // Whoever has a copy of the table had better take this one.
            self.changes += 1;
        }
    }

    /// What was refused and is no longer wanted so is no news.
    fn forget_refused_but(&mut self, wanted: &[&Vec<Operation>]) {
        if self.is_frozen {
            // Of what is held back it is not known.
            return;
        }
        let mut known = std::mem::take(&mut self.refused);
        for operation in wanted.iter().copied().flatten() {
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
        self.changes += 1;
        self.refused.remove(&operation.entry());
        self.retried.remove(&operation.entry());
        if let Operation::DeleteVirtualServer { key } = operation {
            self.disown(key);
        }
        self.drifted.remove(&operation.entry())
    }

    /// The kernel did these, in order; gives how many of them put drift right. A new virtual server whose operations stand together
    /// is then held as it is wanted, which costs less than one by one.
    pub fn all_done(&mut self, operations: &[Operation]) -> usize {
        let mut repairs = 0;
        for of_one in Operation::by_virtual_server(operations) {
            if !self.is_made_whole(of_one) {
                repairs += of_one.iter().filter(|operation| self.done(operation)).count();
            }
        }
        repairs
    }

    /// Whether nothing was refused and no drift is being put right: operations that are done then say nothing else.
    pub fn is_plain(&self) -> bool {
        self.refused.is_empty() && self.retried.is_empty() && self.drifted.is_empty()
    }

    /// The kernel made these new virtual servers of a plan as they are wanted, while [`Self::is_plain`] and no other table was
    /// wanted; they are in order.
    pub fn made_whole(&mut self, keys: &[VirtualServerKey]) {
        let wanted = &self.wanted.virtual_servers;
        let whole = keys.iter().filter_map(|key| Some((*key, Arc::clone(wanted.get(key)?))));
        if self.held.virtual_servers.is_empty() {
            // Built in order it takes half the room.
            self.held.virtual_servers = whole.collect();
        } else {
            self.held.virtual_servers.extend(whole);
        }
        self.changes += u64::try_from(keys.len()).unwrap_or(u64::MAX);
        for key in keys {
            self.dirty.remove(key);
            self.removals.forget(key);
        }
    }

    /// Takes the operations on one virtual server as done when they are all that makes it what it is wanted to be.
    fn is_made_whole(&mut self, operations: &[Operation]) -> bool {
        let Some((Operation::AddVirtualServer { key, settings }, rest)) = operations.split_first()
        else {
            return false;
        };
        if !self.is_plain() {
            return false;
        }
        let Some(wanted) = self.wanted.virtual_servers.get(key) else { return false };
        let added = rest.iter().map(|operation| match operation {
            Operation::AddDestination { key, settings, .. } => Some((*key, *settings)),
            Operation::AddVirtualServer { .. }
            | Operation::EditVirtualServer { .. }
            | Operation::DeleteVirtualServer { .. }
            | Operation::EditDestination { .. }
            | Operation::DeleteDestination { .. } => None,
        });
        let is_whole = !self.held.virtual_servers.contains_key(key)
            && *settings == wanted.settings
            && added.eq(wanted.destinations.settings().iter().map(|entry| Some(*entry)));
        if is_whole {
            self.held.virtual_servers.insert(*key, Arc::clone(wanted));
            self.changes += 1;
            // As the next plan would find. Of a large table it gives room back that what is held takes.
            self.dirty.remove(key);
            self.removals.forget(key);
        }
        is_whole
    }

    /// The kernel refused it. True when this is news: it was not refused in this way before.
    pub fn refused(&mut self, operation: &Operation, refusal: Refusal) -> bool {
        let entry = operation.entry();
        let refused = Refused { operation: operation.clone(), refusal };
        let before = self.refused.remove(&entry).or_else(|| self.retried.remove(&entry));
        let is_news = before.as_ref() != Some(&refused);
        self.refused.insert(entry, refused);
        is_news
    }

    /// Nothing is known of how it went, or the kernel holds something else than we think: read this one again.
    pub fn unsure(&mut self, key: VirtualServerKey) {
        self.stale.insert(key);
    }

    /// Virtual servers to read again before the next plan.
    pub fn stale(&self) -> &BTreeSet<VirtualServerKey> {
        &self.stale
    }

    /// What the kernel refused and was not done since, but for what is apart.
    pub fn refusals(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().filter(|r| !self.is_apart(r.operation.virtual_server()))
    }

    /// What the kernel refused for a relay or for the way of a check.
    pub fn refusals_apart(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().filter(|r| self.is_apart(r.operation.virtual_server()))
    }

    /// Tries again what was refused. True when there is something to try.
    pub fn retry(&mut self) -> bool {
        self.retried = std::mem::take(&mut self.refused);
        !self.retried.is_empty()
    }

    /// Whether what was read differs from what we think, counters aside.
    pub fn differs(&self, key: &VirtualServerKey, found: Option<&VirtualServer>) -> bool {
        match (self.held.virtual_servers.get(key), found) {
            (None, None) => false,
            (Some(held), Some(found)) => {
                held.settings != found.settings
                    || held.destinations.settings() != found.destinations.settings()
            }
            (None, Some(_)) | (Some(_), None) => true,
        }
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
        if found.is_none() && !self.wanted.virtual_servers.contains_key(&key) {
            self.disown(&key);
        }
        let is_foreign = !self.is_ours(&key);
        let alike = self.wanted.virtual_servers.get(&key);
        let found = found.map(|mut server| {
            server.foreign = is_foreign;
            if let Some(wanted) = alike {
                server.destinations.share_with(&wanted.destinations);
            }
            Arc::new(server)
        });
        if self.held.virtual_servers.get(&key) != found.as_ref() {
            self.changes += 1;
            self.dirty.insert(key);
            match found {
                Some(server) => self.held.virtual_servers.insert(key, server),
                None => self.held.virtual_servers.remove(&key),
            };
        }
        drift
    }

    fn is_ours(&self, key: &VirtualServerKey) -> bool {
        self.is_exclusive || self.wanted.virtual_servers.contains_key(key) || self.made.made(key)
    }

    /// What nobody of ours changed, and all that is to be done.
    fn drift(
        &self,
        key: &VirtualServerKey,
        found: Option<&VirtualServer>,
        now: Duration,
    ) -> (Vec<Drift>, Vec<Operation>) {
        if !self.is_told || !self.is_ours(key) || self.is_apart(key) {
            return (Vec::new(), Vec::new());
        }
        let wanted = self.wanted.virtual_servers.get(key).map(Arc::as_ref);
        let held = self.held.virtual_servers.get(key).map(Arc::as_ref);
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
        self.removals.virtual_servers().copied().collect()
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
