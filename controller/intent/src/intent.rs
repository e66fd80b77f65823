//! What is wanted, as a whole.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use fulcrum_model::Revision;
use fulcrum_model::resource::{Resource, ResourceKey};

/// The cluster's intent at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// The revision of the last change; 0 for the empty intent.
    pub revision: Revision,
    /// Every resource, by kind and name.
    pub resources: BTreeMap<ResourceKey, Resource>,
}

impl Intent {
    /// Puts and deletes, as [`prepare`](crate::prepare) decided, and moves to `revision`. It checks nothing: a log
    /// written under older rules replays to the same intent.
    pub fn apply(
        &mut self,
        revision: Revision,
        put: impl IntoIterator<Item = Resource>,
        delete: impl IntoIterator<Item = ResourceKey>,
    ) {
        for key in delete {
            self.resources.remove(&key);
        }
        for mut resource in put {
            resource.revision = revision;
            self.resources.insert(resource.key(), resource);
        }
        self.revision = revision;
    }

    /// Resources that are new, replaced or gone since `before`, ordered.
    pub fn changed_since(&self, before: &Self) -> Vec<ResourceKey> {
        let (mut old, mut new) =
            (before.resources.iter().peekable(), self.resources.iter().peekable());
        let mut changed = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changed,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let was = if order.is_le() { old.next() } else { None };
            let is = if order.is_ge() { new.next() } else { None };
            if was != is {
                changed.extend(was.or(is).map(|(key, _)| key.clone()));
            }
        }
    }
}
