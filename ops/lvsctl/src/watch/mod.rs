//! From whole objects to what changed in them, in words.

mod changes;

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_topology_response::Event;

use crate::manifest::{kind_of, kind_word};
use crate::status::agent_role_word;

/// The topology as it was told so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    objects: BTreeMap<Key, Object>,
    /// While a snapshot comes: the objects of it so far.
    snapshot: Option<BTreeSet<Key>>,
    /// A first snapshot tells what is; only changes are news.
    is_synced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Controller(String),
    Agent(String),
    Evidence(String),
    Resource(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Object {
    Controller(Box<v1::ControllerStatus>),
    Agent(Box<v1::AgentStatus>),
    Evidence(Box<v1::Evidence>),
    Resource(Box<v1::Resource>),
}

impl Seen {
    /// A stream begins: its snapshot says what there is, and so what is gone.
    pub(crate) fn begin(&mut self) {
        self.snapshot = Some(BTreeSet::new());
    }

    /// Takes an event; what is new in it, a line each.
    pub(crate) fn take(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Controller(status) => {
                let key = Key::Controller(format!("controller {}", status.name));
                self.put(key, Object::Controller(Box::new(status.clone())))
            }
            Event::Agent(status) => {
                let key = Key::Agent(agent_role_word(status));
                self.put(key, Object::Agent(Box::new(status.clone())))
            }
            Event::Evidence(evidence) => {
                let key = Key::Evidence(evidence.agent.clone());
                self.put(key, Object::Evidence(Box::new(evidence.clone())))
            }
            Event::Resource(resource) => {
                let name = resource.metadata.as_ref().map_or("", |metadata| &metadata.name);
                let key = Key::Resource(format!("{} {name}", kind_of(resource)));
                self.put(key, Object::Resource(Box::new(resource.clone())))
            }
            Event::Deleted(deleted) => {
                let key = Key::Resource(format!("{} {}", kind_word(deleted.kind()), deleted.name));
                self.remove(&key).into_iter().collect()
            }
            Event::Synced(synced) => self.sync(synced.revision),
        }
    }

    fn put(&mut self, key: Key, object: Object) -> Vec<String> {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.insert(key.clone());
        }
        let old = self.objects.get(&key);
        let lines = if self.is_synced { changes::lines(&key, old, &object) } else { Vec::new() };
        self.objects.insert(key, object);
        lines
    }

    fn remove(&mut self, key: &Key) -> Option<String> {
        self.objects.remove(key)?;
        match key {
            Key::Resource(name) => Some(format!("{name} deleted")),
            Key::Agent(name) | Key::Controller(name) => Some(format!("{name} is gone")),
            Key::Evidence(_) => None,
        }
    }

    fn sync(&mut self, revision: u64) -> Vec<String> {
        let snapshot = self.snapshot.take().unwrap_or_default();
        let gone: Vec<Key> =
            self.objects.keys().filter(|key| !snapshot.contains(key)).cloned().collect();
        let mut lines: Vec<String> = gone.iter().filter_map(|key| self.remove(key)).collect();
        if !self.is_synced {
            self.is_synced = true;
            let count = |is: fn(&Key) -> bool| self.objects.keys().filter(|key| is(key)).count();
            lines.push(format!(
                "watching from revision {revision}: {} controllers, {} agents, {} resources",
                count(|key| matches!(key, Key::Controller(_))),
                count(|key| matches!(key, Key::Agent(_))),
                count(|key| matches!(key, Key::Resource(_)))
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests;
