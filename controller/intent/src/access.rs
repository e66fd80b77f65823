//! What an operator may write. Pure: who the operator is was decided by its certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fulcrum_model::Name;
use fulcrum_model::access::AccessRole;
use fulcrum_model::resource::{Drain, Kind, Resource, ResourceKey, Restart, Spec};

use crate::history::Resources;

/// Labels that begin so mean something to Fulcrum.
const OWN_LABELS: &str = "fulcrum.";

/// One thing that an operator may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule that says so; none for the configuration of the controllers.
    pub rule: Option<Name>,
    /// What it may do.
    pub role: AccessRole,
    /// Where it may write; everywhere when empty.
    pub sites: BTreeSet<Name>,
}

/// All that an operator may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Of the operator of that name, by the rules among `resources`; of one of the `admins` beside them.
    pub fn of(operator: &str, resources: &Resources, admins: &[String]) -> Self {
        let configured = admins.iter().any(|admin| admin == operator).then(|| Grant {
            rule: None,
            role: AccessRole::Admin,
            sites: BTreeSet::new(),
        });
        let rules = rules(resources).filter_map(|resource| {
            let Spec::AccessRule(rule) = &resource.spec else { return None };
            rule.operators.holds(operator).then(|| Grant {
                rule: Some(resource.name.clone()),
                role: rule.role,
                sites: rule.sites.clone(),
            })
        });
        Self(configured.into_iter().chain(rules).collect())
    }

    /// Each of them, the configured one first, then by the rules' names.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// The best role in any site; none when nothing is granted.
    pub fn best(&self) -> Option<AccessRole> {
        self.0.iter().map(|grant| grant.role).max()
    }

    /// Whether everything may be written, and secrets be read.
    pub fn is_admin_everywhere(&self) -> bool {
        self.holds(AccessRole::Admin, None)
    }

    /// Whether a change may be written: each of its resources as it was and as it is to be. `before` and `after` tell what they refer
    /// to.
    ///
    /// # Errors
    /// [`Denied`] names the first resource that may not be written, and what would be needed.
    pub fn check<'a>(
        &self,
        changes: impl IntoIterator<Item = (Option<&'a Resource>, Option<&'a Resource>)>,
        before: &Lookup<'_>,
        after: &Lookup<'_>,
    ) -> Result<(), Denied> {
        if self.is_admin_everywhere() {
            return Ok(());
        }
        for (was, becomes) in changes {
            let needs = needed(was, becomes);
            for (resource, lookup) in [(was, before), (becomes, after)] {
                let Some(resource) = resource else { continue };
                let sites = sites_of(resource, lookup);
                let missing = if sites.is_empty() {
                    (!self.holds(needs, None)).then_some(None)
                } else {
                    sites.into_iter().find(|site| !self.holds(needs, Some(site))).map(Some)
                };
                if let Some(site) = missing {
                    return Err(Denied { key: resource.key(), needs, site });
                }
            }
        }
        Ok(())
    }

    /// Whether that role is granted in a site, or for what belongs to none.
    fn holds(&self, role: AccessRole, site: Option<&Name>) -> bool {
        self.0.iter().any(|grant| {
            let is_there =
                grant.sites.is_empty() || site.is_some_and(|it| grant.sites.contains(it));
            grant.role >= role && is_there
        })
    }
}

impl fmt::Display for Grants {
    /// As `viewer, and admin of east`; `nothing` when nothing is granted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: BTreeSet<String> = self
            .0
            .iter()
            .map(|Grant { role, sites, .. }| {
                let sites: Vec<&str> = sites.iter().map(Name::as_str).collect();
                let of = if sites.is_empty() { "" } else { " of " };
                format!("{role}{of}{}", sites.join(" and "))
            })
            .collect();
        match texts.into_iter().collect::<Vec<_>>().join(", ").as_str() {
            "" => f.write_str("nothing"),
            text => f.write_str(text),
        }
    }
}

/// A resource may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} needs {needs}{}", self.place())]
pub struct Denied {
    /// The resource.
    pub key: ResourceKey,
    /// The least role that would do,
    pub needs: AccessRole,
    /// and where; everywhere when none.
    pub site: Option<Name>,
}

impl Denied {
    fn place(&self) -> String {
        match &self.site {
            Some(site) => format!(" of site {site}"),
            None => " of all sites, for it belongs to none".to_owned(),
        }
    }
}

/// Resources to look up: those of an intent, but for some that are otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The intent.
    pub resources: &'a Resources,
    /// What is otherwise; gone where there is none.
    pub otherwise: &'a BTreeMap<ResourceKey, Option<Resource>>,
}

impl<'a> Lookup<'a> {
    /// The resource, if there is one.
    pub fn get(&self, key: &ResourceKey) -> Option<&'a Resource> {
        match self.otherwise.get(key) {
            Some(otherwise) => otherwise.as_ref(),
            None => self.resources.get(key),
        }
    }
}

/// The rules of an intent.
fn rules(resources: &Resources) -> impl Iterator<Item = &Resource> {
    // No name is before it, and kinds come one after the other.
    let first: Name = "0".parse().expect("it is a name");
    let from = ResourceKey { kind: Kind::AccessRule, name: first };
    let rules = resources.range(from..).take_while(|(key, _)| key.kind == Kind::AccessRule);
    rules.map(|(_, resource)| resource)
}

/// The least role that may make a resource so.
fn needed(was: Option<&Resource>, becomes: Option<&Resource>) -> AccessRole {
    let is_order = |resource: &Resource| {
        matches!(resource.spec.kind(), Kind::Handover | Kind::Drain | Kind::Restart)
    };
    if was.or(becomes).is_some_and(is_order) {
        return AccessRole::Operator;
    }
    match (was, becomes) {
        (Some(was), Some(becomes)) if was.spec == becomes.spec => {
            let own = |resource: &Resource| -> Vec<(String, String)> {
                let labels = resource.labels.iter();
                let own = labels.filter(|(key, _)| key.starts_with(OWN_LABELS));
                own.map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let is_of_access = crate::restore::is_of_access(was.spec.kind());
            let is_plain = own(was) == own(becomes) && !is_of_access;
            if is_plain { AccessRole::Operator } else { AccessRole::Admin }
        }
        (Some(_) | None, Some(_) | None) => AccessRole::Admin,
    }
}

/// The sites that a resource belongs to; none when it is of the whole cluster, or refers to what is not there.
pub fn sites_of(resource: &Resource, lookup: &Lookup<'_>) -> BTreeSet<Name> {
    let of = |kind: Kind, name: &Name| -> BTreeSet<Name> {
        let found = lookup.get(&ResourceKey { kind, name: name.clone() });
        found.map(|found| sites_of(found, lookup)).unwrap_or_default()
    };
    match &resource.spec {
        Spec::Site(_) => BTreeSet::from([resource.name.clone()]),
        Spec::Director(director) => BTreeSet::from([director.site.clone()]),
        Spec::VrrpInstance(instance) => BTreeSet::from([instance.site.clone()]),
        Spec::RealServer(server) => BTreeSet::from([server.site.clone()]),
        Spec::Pool(pool) => {
            let members = pool.members.iter().map(|member| &member.real_server);
            let all = members.chain(&pool.sorry_server);
            all.flat_map(|name| of(Kind::RealServer, name)).collect()
        }
        Spec::VirtualServer(server) => {
            let instance = of(Kind::VrrpInstance, &server.vrrp_instance);
            instance.into_iter().chain(of(Kind::Pool, &server.pool)).collect()
        }
        Spec::Handover(handover) => of(Kind::VrrpInstance, &handover.vrrp_instance),
        Spec::Drain(Drain { real_server, .. }) | Spec::Restart(Restart { real_server, .. }) => {
            of(Kind::RealServer, real_server)
        }
        // A policy lets controllers send to where it says what lies on their hosts.
        Spec::NotificationPolicy(_) | Spec::AccessRule(_) | Spec::JoinToken(_) => BTreeSet::new(),
    }
}
