//! Resources by kind, to look up by name.

use std::collections::BTreeMap;

use fulcrum_model::Name;
use fulcrum_model::resource::{
    Director, Kind, Pool, RealServer, Resource, Site, Spec, VirtualServer, VrrpInstance,
};

/// Each kind's resources by name, borrowed.
#[derive(Debug, Default)]
pub(crate) struct Catalog<'a> {
    pub(crate) sites: BTreeMap<&'a Name, &'a Site>,
    pub(crate) directors: BTreeMap<&'a Name, &'a Director>,
    pub(crate) vrrp_instances: BTreeMap<&'a Name, &'a VrrpInstance>,
    pub(crate) real_servers: BTreeMap<&'a Name, &'a RealServer>,
    pub(crate) pools: BTreeMap<&'a Name, &'a Pool>,
    pub(crate) virtual_servers: BTreeMap<&'a Name, &'a VirtualServer>,
}

impl<'a> Catalog<'a> {
    pub(crate) fn new(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut catalog = Self::default();
        for Resource { name, spec, .. } in resources {
            match spec {
                Spec::Site(site) => _ = catalog.sites.insert(name, site),
                Spec::Director(director) => _ = catalog.directors.insert(name, director),
                Spec::VrrpInstance(instance) => {
                    _ = catalog.vrrp_instances.insert(name, instance);
                }
                Spec::RealServer(server) => _ = catalog.real_servers.insert(name, server),
                Spec::Pool(pool) => _ = catalog.pools.insert(name, pool),
                Spec::VirtualServer(server) => _ = catalog.virtual_servers.insert(name, server),
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
        }
    }

    /// The real servers of a pool that exist, with their member's place in it.
    pub(crate) fn members(
        &self,
        pool: &'a Pool,
    ) -> impl Iterator<Item = (usize, &'a Name, &'a RealServer)> {
        pool.members.iter().enumerate().filter_map(|(index, member)| {
            let server = self.real_servers.get(&member.real_server)?;
            Some((index, &member.real_server, *server))
        })
    }
}
