//! Resources by kind, to look up by name.

use std::collections::BTreeMap;

use fulcrum_model::access::{AccessRule, JoinToken};
use fulcrum_model::resource::{
    Director, Drain, Handover, Kind, Pool, RealServer, Resource, Restart, Site, Spec,
    VirtualServer, VrrpInstance,
};
use fulcrum_model::{ForwardingMethod, Name, NotificationPolicy, Revision};

/// Each kind's resources by name, borrowed.
#[derive(Debug, Default)]
pub(crate) struct Catalog<'a> {
    pub(crate) sites: BTreeMap<&'a Name, &'a Site>,
    pub(crate) directors: BTreeMap<&'a Name, &'a Director>,
    pub(crate) vrrp_instances: BTreeMap<&'a Name, &'a VrrpInstance>,
    pub(crate) real_servers: BTreeMap<&'a Name, &'a RealServer>,
    pub(crate) pools: BTreeMap<&'a Name, &'a Pool>,
    pub(crate) virtual_servers: BTreeMap<&'a Name, &'a VirtualServer>,
    pub(crate) handovers: BTreeMap<&'a Name, &'a Handover>,
    pub(crate) drains: BTreeMap<&'a Name, &'a Drain>,
    /// With the revision of each, which is a part of its identity.
    pub(crate) restarts: BTreeMap<&'a Name, (&'a Restart, Revision)>,
    pub(crate) notification_policies: BTreeMap<&'a Name, &'a NotificationPolicy>,
    pub(crate) access_rules: BTreeMap<&'a Name, &'a AccessRule>,
    pub(crate) join_tokens: BTreeMap<&'a Name, &'a JoinToken>,
}

impl<'a> Catalog<'a> {
    pub(crate) fn new(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut catalog = Self::default();
        for Resource { name, spec, revision, .. } in resources {
            match spec {
                Spec::Site(site) => _ = catalog.sites.insert(name, site),
                Spec::Director(director) => _ = catalog.directors.insert(name, director),
                Spec::VrrpInstance(instance) => {
                    _ = catalog.vrrp_instances.insert(name, instance);
                }
                Spec::RealServer(server) => _ = catalog.real_servers.insert(name, server),
                Spec::Pool(pool) => _ = catalog.pools.insert(name, pool),
                Spec::VirtualServer(server) => _ = catalog.virtual_servers.insert(name, server),
                Spec::Handover(handover) => _ = catalog.handovers.insert(name, handover),
                Spec::Drain(drain) => _ = catalog.drains.insert(name, drain),
                Spec::Restart(restart) => {
                    _ = catalog.restarts.insert(name, (restart, *revision));
                }
                Spec::NotificationPolicy(policy) => {
                    _ = catalog.notification_policies.insert(name, policy);
                }
                Spec::AccessRule(rule) => _ = catalog.access_rules.insert(name, rule),
                Spec::JoinToken(token) => _ = catalog.join_tokens.insert(name, token),
            }
        }
        catalog
    }

    pub(crate) fn names(&self, kind: Kind) -> Vec<&'a Name> {
        match kind {
            Kind::Site => self.sites.keys().copied().collect(),
            Kind::Director => self.directors.keys().copied().collect(),
            Kind::VrrpInstance => self.vrrp_instances.keys().copied().collect(),
            Kind::RealServer => self.real_servers.keys().copied().collect(),
            Kind::Pool => self.pools.keys().copied().collect(),
            Kind::VirtualServer => self.virtual_servers.keys().copied().collect(),
            Kind::Handover => self.handovers.keys().copied().collect(),
            Kind::Drain => self.drains.keys().copied().collect(),
            Kind::Restart => self.restarts.keys().copied().collect(),
            Kind::NotificationPolicy => self.notification_policies.keys().copied().collect(),
            Kind::AccessRule => self.access_rules.keys().copied().collect(),
            Kind::JoinToken => self.join_tokens.keys().copied().collect(),
        }
    }

    pub(crate) fn holds(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Site => self.sites.contains_key(name),
            Kind::Director => self.directors.contains_key(name),
            Kind::VrrpInstance => self.vrrp_instances.contains_key(name),
            Kind::RealServer => self.real_servers.contains_key(name),
            Kind::Pool => self.pools.contains_key(name),
            Kind::VirtualServer => self.virtual_servers.contains_key(name),
            Kind::Handover => self.handovers.contains_key(name),
            Kind::Drain => self.drains.contains_key(name),
            Kind::Restart => self.restarts.contains_key(name),
            Kind::NotificationPolicy => self.notification_policies.contains_key(name),
            Kind::AccessRule => self.access_rules.contains_key(name),
            Kind::JoinToken => self.join_tokens.contains_key(name),
        }
    }

    /// A VRRP instance with all that move with it: its sync group in its site.
    pub(crate) fn moved_with(&self, name: &Name) -> Vec<(&'a Name, &'a VrrpInstance)> {
        let Some((name, instance)) = self.vrrp_instances.get_key_value(name) else {
            return Vec::new();
        };
        let Some(group) = &instance.options.sync_group else { return vec![(*name, *instance)] };
        let instances = self.vrrp_instances.iter().map(|(name, instance)| (*name, *instance));
        let of_group = |other: &VrrpInstance| {
            other.site == instance.site && other.options.sync_group.as_ref() == Some(group)
        };
        instances.filter(|(_, other)| of_group(other)).collect()
    }

    /// The real servers of a pool that exist: its members, and its sorry server last.
    pub(crate) fn seats(&self, pool: &'a Pool) -> impl Iterator<Item = Seat<'a>> {
        let members =
            pool.members.iter().enumerate().map(|(index, member)| {
                (Place::Member(index), &member.real_server, member.forwarding)
            });
        let sorry = pool.sorry_server.iter().map(|name| (Place::Sorry, name, None));
        members.chain(sorry).filter_map(|(place, name, forwarding)| {
            let server = self.real_servers.get(name)?;
            Some(Seat { place, name, server, forwarding })
        })
    }
}

/// A real server's part in a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seat<'a> {
    pub(crate) place: Place,
    pub(crate) name: &'a Name,
    pub(crate) server: &'a RealServer,
    forwarding: Option<ForwardingMethod>,
}

impl Seat<'_> {
    /// How packets reach it.
    pub(crate) fn forwarding(&self, virtual_server: &VirtualServer) -> ForwardingMethod {
        self.forwarding.unwrap_or(virtual_server.forwarding)
    }
}

/// Where a pool names a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among its members, there.
    Member(usize),
    /// As its sorry server.
    Sorry,
}

impl Place {
    /// Below the pool: `spec.members[1].real_server`.
    pub(crate) fn field(self) -> String {
        match self {
            Self::Member(index) => format!("spec.members[{index}].real_server"),
            Self::Sorry => "spec.sorry_server.real_server".to_owned(),
        }
    }
}
