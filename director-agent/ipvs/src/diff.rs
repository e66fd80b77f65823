//! The edits that bring an observed table to a desired one.
//!
//! Nothing is flushed, nothing that stays is deleted, and nothing is deleted to be added again. Order matters only
//! within one virtual server (add it, add its real servers, edit, raise weights, lower weights, then let go), so
//! the operations of a virtual server stand together, and those on virtual servers that take traffic already come
//! before new ones: a dead real server must not wait for ten thousand additions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Connections, Destination, DestinationKey, DestinationSettings, Operation, Removals, Table,
    VirtualServer, VirtualServerKey,
};

/// Which virtual servers we made, beside those of the plan: all others are foreign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    made: BTreeSet<VirtualServerKey>,
}

impl Ownership {
    /// Whether we made it: it is noted, or its mark says so.
    pub fn made(&self, key: &VirtualServerKey) -> bool {
        self.made.contains(key) || key.is_path()
    }

    /// Takes note that we make it. True when that was not known.
    pub fn insert(&mut self, key: VirtualServerKey) -> bool {
        self.made.insert(key)
    }

    /// Forgets one that is gone. True when it was known.
    pub fn remove(&mut self, key: &VirtualServerKey) -> bool {
        self.made.remove(key)
    }

    /// Those that we made, ordered.
    pub fn iter(&self) -> impl Iterator<Item = &VirtualServerKey> {
        self.made.iter()
    }

    /// Marks the virtual servers of an observed table that are neither planned nor made by us.
    pub fn mark(&self, desired: &Table, observed: &mut Table) {
        for (key, server) in &mut observed.virtual_servers {
            let foreign = !desired.virtual_servers.contains_key(key) && !self.made(key);
            if server.foreign != foreign {
                Arc::make_mut(server).foreign = foreign;
            }
        }
    }
}

impl FromIterator<VirtualServerKey> for Ownership {
    fn from_iter<T: IntoIterator<Item = VirtualServerKey>>(keys: T) -> Self {
        Self { made: keys.into_iter().collect() }
    }
}

/// The operations that bring `observed` as near to `desired` as it can come at `now`, in order.
///
/// A real server that leaves gets weight 0 at once and is deleted in a later turn, when `observed` says that its
/// connections are none or when [`Removals`] says that its deadline has passed; a virtual server that leaves goes with
/// the last of its real servers. Virtual servers that are neither in `desired` nor in `ownership` are left alone.
pub fn diff(
    desired: &Table,
    observed: &Table,
    ownership: &Ownership,
    removals: &Removals,
    now: Duration,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut additions = Vec::new();
    for (key, wanted) in &desired.virtual_servers {
        let found = observed.virtual_servers.get(key);
        let list = if found.is_some() { &mut operations } else { &mut additions };
        diff_one(list, key, Some(wanted), found.map(Arc::as_ref), removals, now);
    }
    operations.append(&mut additions);
    for (key, found) in &observed.virtual_servers {
        if !desired.virtual_servers.contains_key(key) && ownership.made(key) {
            diff_one(&mut operations, key, None, Some(found), removals, now);
        }
    }
    operations
}

/// Appends the operations of one virtual server that is ours.
pub(crate) fn diff_one(
    operations: &mut Vec<Operation>,
    key: &VirtualServerKey,
    wanted: Option<&VirtualServer>,
    found: Option<&VirtualServer>,
    removals: &Removals,
    now: Duration,
) {
    match (wanted, found) {
        (Some(wanted), None) => add(operations, key, wanted),
        (Some(wanted), Some(found)) => {
            change(operations, key, wanted, found);
            let leaving = found.destinations.iter();
            for (name, destination) in
                leaving.filter(|(name, _)| !wanted.destinations.contains_key(name))
            {
                let is_due = removals.is_due(key, &name, now);
                operations.extend(let_go(key, name, destination, is_due));
            }
        }
        (None, Some(found)) => retire(operations, key, found, removals, now),
        (None, None) => {}
    }
}

/// A virtual server that is new, with all its real servers.
pub(crate) fn add(operations: &mut Vec<Operation>, key: &VirtualServerKey, wanted: &VirtualServer) {
    let settings = wanted.settings.clone();
    operations.push(Operation::AddVirtualServer { key: *key, settings });
    for (name, settings) in wanted.destinations.settings() {
        operations.push(add_destination(key, *name, *settings));
    }
}

/// A virtual server that stays: what is new or differs in it. Weights rise before others fall, so that a virtual
/// server that can serve before and after can serve at each moment between.
fn change(
    operations: &mut Vec<Operation>,
    key: &VirtualServerKey,
    wanted: &VirtualServer,
    found: &VirtualServer,
) {
    let mut falls = Vec::new();
    let mut rises = Vec::new();
    for &(name, settings) in wanted.destinations.settings() {
        match found.destinations.get(&name) {
            None => operations.push(add_destination(key, name, settings)),
            Some(held) if held.settings == settings => {}
            Some(held) => {
                let rises_or_stays = settings.weight >= held.settings.weight;
                let edit = Operation::EditDestination { virtual_server: *key, key: name, settings };
                if rises_or_stays { rises.push(edit) } else { falls.push(edit) }
            }
        }
    }
    if wanted.settings != found.settings {
        let settings = wanted.settings.clone();
        operations.push(Operation::EditVirtualServer { key: *key, settings });
    }
    operations.append(&mut rises);
    operations.append(&mut falls);
}

/// A virtual server that leaves.
fn retire(
    operations: &mut Vec<Operation>,
    key: &VirtualServerKey,
    found: &VirtualServer,
    removals: &Removals,
    now: Duration,
) {
    let mut deleted = 0;
    for (name, destination) in found.destinations.iter() {
        let step = let_go(key, name, destination, removals.is_due(key, &name, now));
        deleted += usize::from(matches!(step, Some(Operation::DeleteDestination { .. })));
        operations.extend(step);
    }
    if deleted == found.destinations.len() {
        operations.push(Operation::DeleteVirtualServer { key: *key });
    }
}

/// The next step of a real server that leaves, if there is one to take now.
fn let_go(
    virtual_server: &VirtualServerKey,
    key: DestinationKey,
    found: Destination,
    is_due: bool,
) -> Option<Operation> {
    let virtual_server = *virtual_server;
    if found.settings.weight != 0 {
        let settings = found.settings.with_weight(0);
        return Some(Operation::EditDestination { virtual_server, key, settings });
    }
    // Unknown connections count as some: the caller reads again before anything is deleted.
    let is_drained = found.connections.is_some_and(Connections::is_drained);
    (is_drained || is_due).then_some(Operation::DeleteDestination { virtual_server, key })
}

fn add_destination(
    virtual_server: &VirtualServerKey,
    key: DestinationKey,
    settings: DestinationSettings,
) -> Operation {
    Operation::AddDestination { virtual_server: *virtual_server, key, settings }
}
