//! From a manifest set to a change, or to every reason why not.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::resource::{Kind, Resource, ResourceKey};

use crate::drastic::drastic;
use crate::restore::{is_of_access, subject};
use crate::validate::{References, Subject, validate};
use crate::violation::{Finding, Request};
use crate::{Intent, Violation};

/// A change that may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Resources to create or replace, ordered by kind and name. Only those that differ.
    pub put: Vec<Resource>,
    /// Resources to delete, ordered by kind and name.
    pub delete: Vec<ResourceKey>,
    /// What differs, ordered by kind and name.
    pub changes: Vec<Change>,
    /// The intent with the change, still at the revision that it was prepared at.
    pub after: Intent,
}

/// What goes beside what a set puts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// All that the set does not hold goes, but for each hand-over whose VRRP instance stays, and each drain and restart
    /// whose real server does.
    pub prune: bool,
    /// Whose resources `prune` concerns; those without an owner when none is given.
    pub owner: Option<String>,
    /// These go, where they exist.
    pub named: BTreeSet<ResourceKey>,
}

impl Removal {
    /// All that the set does not hold.
    pub fn unlisted() -> Self {
        Self { prune: true, ..Self::default() }
    }

    fn prunes(&self, resource: &Resource) -> bool {
        self.prune && owner_of(resource) == self.owner.as_deref()
    }
}

/// Label that names whose set a resource came with.
pub const OWNER_LABEL: &str = "fulcrum.owner";

/// Whose set a resource came with, if it has an owner.
pub fn owner_of(resource: &Resource) -> Option<&str> {
    resource.labels.get(OWNER_LABEL).map(String::as_str).filter(|owner| !owner.is_empty())
}

/// A difference in one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Which resource.
    pub key: ResourceKey,
    /// How it differs.
    pub action: ChangeAction,
}

/// How a resource differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeAction {
    /// New.
    Create,
    /// Replaced.
    Update,
    /// Deleted.
    Delete,
}

/// Why a change may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Fields that cannot stand; all of them, ordered by place in the request.
    #[error("{} invalid field(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// Valid, but so drastic that it must be meant.
    #[error("held: {reason}; {override_flag} releases it")]
    Held {
        /// What it would do.
        reason: String,
        /// The request's field that releases it.
        override_flag: &'static str,
    },
}

/// Compares a set of resources, each with its index in the request, with the current intent and with
/// what is to be deleted. The result is validated as a whole.
///
/// # Errors
/// [`Rejected`]: invalid, or held as too drastic.
pub fn prepare(
    current: &Intent,
    set: Vec<(usize, Resource)>,
    removal: &Removal,
    allow_drastic: bool,
) -> Result<Prepared, Rejected> {
    let none_broken = BTreeSet::new();
    let merged = Merged::new(current, &set, &none_broken, removal);
    let violations = merged.violations(current);
    if !violations.is_empty() {
        return Err(Rejected::Invalid(violations));
    }
    if !allow_drastic && let Some(reason) = drastic(current, &merged.after) {
        return Err(Rejected::Held { reason, override_flag: "allow_drastic" });
    }
    let Merged { put, delete, after, .. } = merged;
    let mut changes: Vec<Change> = put
        .iter()
        .map(|resource| {
            let key = resource.key();
            let known = current.resources.contains_key(&key);
            let action = if known { ChangeAction::Update } else { ChangeAction::Create };
            Change { key, action }
        })
        .chain(delete.iter().map(|key| Change { key: key.clone(), action: ChangeAction::Delete }))
        .collect();
    changes.sort();
    Ok(Prepared { put, delete, changes, after })
}

/// Validates what could be read of a request of which other resources, `broken`, could not: their errors are known
/// already, and references to them are taken as good. So one answer holds all that is wrong.
pub fn examine(
    current: &Intent,
    set: &[(usize, Resource)],
    broken: &BTreeSet<ResourceKey>,
    removal: &Removal,
) -> Vec<Violation> {
    Merged::new(current, set, broken, removal).violations(current)
}

/// Validates a set by itself, whatever the cluster holds: references may lead out of it, and are taken as good.
/// `broken` as in [`examine`].
pub fn examine_alone(set: &[(usize, Resource)], broken: &BTreeSet<ResourceKey>) -> Vec<Violation> {
    let merged = Merged::new(&Intent::default(), set, broken, &Removal::default());
    let findings = validate(&merged.subject(&BTreeSet::new(), References::Open));
    merged.request.violations(findings)
}

/// The intent as it would be, and how it came about.
struct Merged<'a> {
    put: Vec<Resource>,
    delete: Vec<ResourceKey>,
    after: Intent,
    request: Request,
    twice: Vec<(usize, Finding)>,
    broken: &'a BTreeSet<ResourceKey>,
}

impl<'a> Merged<'a> {
    fn new(
        current: &Intent,
        set: &[(usize, Resource)],
        broken: &'a BTreeSet<ResourceKey>,
        removal: &Removal,
    ) -> Self {
        let mut wanted: BTreeMap<ResourceKey, (usize, &Resource)> = BTreeMap::new();
        let mut twice = Vec::new();
        for (index, resource) in set {
            let key = resource.key();
            if let Some((first, _)) = wanted.get(&key) {
                let description = format!(
                    "{:?}: {key} is resources[{first}] already; list each kind and name once",
                    key.name.as_str()
                );
                twice.push((*index, Finding { key, field: "name".to_owned(), description }));
            } else {
                if removal.named.contains(&key) {
                    let description = format!(
                        "{:?}: {key} is to be deleted by the same request; do one of both",
                        key.name.as_str()
                    );
                    let field = "name".to_owned();
                    twice.push((*index, Finding { key: key.clone(), field, description }));
                }
                wanted.insert(key, (*index, resource));
            }
        }
        let stays = |key: &ResourceKey| wanted.contains_key(key) || broken.contains(key);
        let delete: Vec<ResourceKey> = current
            .resources
            .values()
            .filter(|resource| goes(resource, current, removal, stays))
            .map(Resource::key)
            .collect();
        let put: Vec<Resource> = wanted
            .iter()
            .filter(|(key, (_, resource))| {
                !current.resources.get(key).is_some_and(|known| known.wants_same_as(resource))
            })
            .map(|(_, (_, resource))| (*resource).clone())
            .collect();
        let mut after = current.clone();
        after.apply(current.revision, put.iter().cloned(), delete.iter().cloned());
        after.resources.retain(|key, _| !broken.contains(key));
        let request = Request::new(wanted.into_iter().map(|(key, (index, _))| (index, key)));
        Self { put, delete, after, request, twice, broken }
    }

    fn subject<'s>(
        &'s self,
        deleted: &'s BTreeSet<&'s ResourceKey>,
        references: References,
    ) -> Subject<'s> {
        Subject {
            resources: &self.after.resources,
            request: &self.request,
            broken: self.broken,
            deleted,
            references,
        }
    }

    fn violations(&self, current: &Intent) -> Vec<Violation> {
        let deleted: BTreeSet<&ResourceKey> = self.delete.iter().collect();
        let mut findings = validate(&self.subject(&deleted, References::Closed));
        if findings.iter().any(|finding| !self.request.holds(&finding.key)) {
            // What stood before under older rules does not hold up a change that has nothing to do with it.
            let known: BTreeSet<Finding> = validate(&Subject {
                resources: &current.resources,
                request: &Request::default(),
                broken: &BTreeSet::new(),
                deleted: &BTreeSet::new(),
                references: References::Closed,
            })
            .into_iter()
            .collect();
            findings.retain(|finding| self.request.holds(&finding.key) || !known.contains(finding));
        }
        let twice = self.twice.iter().map(|(index, finding)| Violation {
            field: format!("resources[{index}].{}", finding.field),
            description: finding.description.clone(),
        });
        twice.chain(self.request.violations(findings)).collect()
    }
}

/// Whether a resource is deleted, given which others the request keeps.
fn goes(
    resource: &Resource,
    current: &Intent,
    removal: &Removal,
    stays: impl Fn(&ResourceKey) -> bool,
) -> bool {
    let key = resource.key();
    if stays(&key) {
        return false;
    }
    if removal.named.contains(&key) {
        return true;
    }
    match subject(&resource.spec) {
        // An order of the day is in no file of manifests, and outlives their being applied.
        Some(subject) => {
            let pruned = current.resources.get(&subject);
            removal.prune && !stays(&subject) && pruned.is_none_or(|it| removal.prunes(it))
        }
        // Whose rules come with their owner's set goes by that; no other set takes them away, nor a token.
        None if is_of_access(key.kind) => {
            key.kind == Kind::AccessRule && removal.owner.is_some() && removal.prunes(resource)
        }
        None => removal.prunes(resource),
    }
}
