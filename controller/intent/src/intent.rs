//! What is wanted, as a whole.

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
}
