//! What is wrong, and where.

use std::collections::BTreeMap;

use fulcrum_model::Name;
use fulcrum_model::resource::{Kind, ResourceKey};

/// A field that cannot stand beside the rest of the intent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Path of the field: `resources[3].spec.vip` where the resource is in the request, and
    /// `VirtualServer/web.spec.pool` where it is not.
    pub field: String,
    /// The value found, a colon, and the remedy.
    pub description: String,
}

/// A violation before its place in the request is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) key: ResourceKey,
    /// Below the resource: `spec.vip`.
    pub(crate) field: String,
    pub(crate) description: String,
}

/// A place that a conflict may be told at.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) key: ResourceKey,
    pub(crate) field: String,
    /// Its value, as the reader knows it.
    pub(crate) found: String,
}

impl Place {
    pub(crate) fn new(kind: Kind, name: &Name, field: &str, found: impl ToString) -> Self {
        let key = ResourceKey { kind, name: name.clone() };
        Self { key, field: field.to_owned(), found: found.to_string() }
    }

    pub(crate) fn finding(self, remedy: impl std::fmt::Display) -> Finding {
        let description = format!("{}: {remedy}", self.found);
        Finding { key: self.key, field: self.field, description }
    }
}

/// Places of the request's resources.
#[derive(Debug, Default)]
pub(crate) struct Request(BTreeMap<ResourceKey, usize>);

impl Request {
    pub(crate) fn new(keys: impl IntoIterator<Item = (usize, ResourceKey)>) -> Self {
        let mut indices = BTreeMap::new();
        for (index, key) in keys {
            indices.entry(key).or_insert(index);
        }
        Self(indices)
    }

    pub(crate) fn index(&self, key: &ResourceKey) -> Option<usize> {
        self.0.get(key).copied()
    }

    pub(crate) fn holds(&self, key: &ResourceKey) -> bool {
        self.0.contains_key(key)
    }

    /// Tells of a conflict at the first of these places that is in the request, or else at the very first.
    pub(crate) fn tell(&self, places: impl IntoIterator<Item = (Place, String)>) -> Finding {
        let mut places = places.into_iter();
        let (place, text) = places.next().expect("a conflict has at least one place");
        if self.holds(&place.key) {
            return place.finding(text);
        }
        let (place, text) =
            places.find(|(place, _)| self.holds(&place.key)).unwrap_or((place, text));
        place.finding(text)
    }

    /// Tells of a conflict between two at the one that comes later in the request: the other stood already.
    pub(crate) fn tell_later(&self, a: (Place, String), b: (Place, String)) -> Finding {
        let (place, text) = if self.index(&a.0.key) > self.index(&b.0.key) { a } else { b };
        place.finding(text)
    }

    /// Sorts by place in the request, what is not in it last, and writes the paths out.
    pub(crate) fn violations(&self, mut findings: Vec<Finding>) -> Vec<Violation> {
        findings.sort_by_key(|finding| self.index(&finding.key).unwrap_or(usize::MAX));
        findings
            .into_iter()
            .map(|Finding { key, field, description }| {
                let field = match self.index(&key) {
                    Some(index) => format!("resources[{index}].{field}"),
                    None => format!("{}/{}.{field}", key.kind, key.name),
                };
                Violation { field, description }
            })
            .collect()
    }
}
