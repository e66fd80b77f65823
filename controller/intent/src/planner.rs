//! Plans: what each agent is ordered, a function of the intent alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use fulcrum_model::plan::{
    DestinationPlan, DirectorPlan, DrainPlan, RealServerHostPlan, VirtualServerPlan,
    VrrpInstancePlan, WatchedServer,
};
use fulcrum_model::resource::{
    AgentRequirement, Director, Drain, Pool, RealServer, VirtualServer, VrrpInstance, VrrpMember,
};
use fulcrum_model::{
    Cidr, ForwardingMethod, IpvsSettings, Name, Priority, RestartPlan, Thresholds, Weight,
};

use crate::Intent;
use crate::catalog::{Catalog, Place, Seat};
use crate::hosts::{self, HostNeeds};
use crate::orders;

/// What an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentRole {
    /// A director's.
    Director,
    /// A real server's host's.
    RealServer,
}

impl AgentRole {
    /// As the API spells it: `director` or `realserver`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::RealServer => "realserver",
        }
    }
}

/// An agent that the intent names, shown as `director/NAME` or `realserver/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    /// What it is.
    pub role: AgentRole,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role.as_str(), self.name)
    }
}

/// The agents that the intent names. See [`Planner::agents`].
pub fn agents(intent: &Intent) -> BTreeSet<AgentId> {
    Planner::new(intent).agents()
}

/// A director's plan; an empty one when the intent does not name it. For many agents use one [`Planner`].
pub fn plan_director(intent: &Intent, director: &Name) -> DirectorPlan {
    Planner::new(intent).director(director)
}

/// A real-server agent's plan; an empty one when the intent does not name it. For many agents use one [`Planner`].
pub fn plan_real_server(intent: &Intent, agent: &Name) -> RealServerHostPlan {
    Planner::new(intent).real_server(agent)
}

/// Plans for many agents of one intent: it reads the whole intent once, each plan then costs what it holds.
#[derive(Debug)]
pub struct Planner<'a> {
    pub(crate) catalog: Catalog<'a>,
    /// The VRRP instances of a director, with its part in each.
    instances: BTreeMap<&'a Name, Vec<(&'a Name, &'a VrrpInstance, &'a VrrpMember)>>,
    /// The virtual servers of a VRRP instance.
    virtual_servers: BTreeMap<&'a Name, Vec<(&'a Name, &'a VirtualServer)>>,
    /// The real servers of an agent, without those that no agent attends.
    attended: BTreeMap<&'a Name, Vec<(&'a Name, &'a RealServer)>>,
    /// What the host of a real server must hold for the pools that require the agent.
    needs: BTreeMap<&'a Name, HostNeeds>,
    /// Who shall be Active by order, by VRRP instance.
    handovers: BTreeMap<&'a Name, &'a Name>,
    /// Who shall take no new connections, by real server.
    drains: BTreeMap<&'a Name, Vec<(&'a Name, &'a Drain)>>,
    /// Whose program shall be restarted, by real server.
    restarts: BTreeMap<&'a Name, RestartPlan>,
}

impl<'a> Planner<'a> {
    /// Reads the intent.
    pub fn new(intent: &'a Intent) -> Self {
        let catalog = Catalog::new(intent.resources.values());
        let mut planner = Self {
            instances: BTreeMap::new(),
            virtual_servers: BTreeMap::new(),
            attended: attended(&catalog),
            needs: hosts::needs(&catalog),
            handovers: handovers(&catalog),
            drains: drains(&catalog),
            restarts: orders::restarts(&catalog),
            catalog,
        };
        for (name, instance) in &planner.catalog.vrrp_instances {
            for member in &instance.members {
                let parts = planner.instances.entry(&member.director).or_default();
                parts.push((name, instance, member));
            }
        }
        for (name, server) in &planner.catalog.virtual_servers {
            planner.virtual_servers.entry(&server.vrrp_instance).or_default().push((name, server));
        }
        planner
    }

    /// Every director, and every agent that real servers name: without those real servers of which each pool says that
    /// there is no agent.
    pub fn agents(&self) -> BTreeSet<AgentId> {
        let agent = |role| move |name: &&Name| AgentId { role, name: (*name).clone() };
        let directors = self.catalog.directors.keys().map(agent(AgentRole::Director));
        let real_servers = self.attended.keys().map(agent(AgentRole::RealServer));
        directors.chain(real_servers).collect()
    }

    /// A director's plan: the VRRP instances it takes part in, their virtual servers, and its settings. A Backup programs them too,
    /// so that it serves from its first packet as Active.
    pub fn director(&self, director: &Name) -> DirectorPlan {
        self.director_where(director, |_| true)
    }

    /// The part of a director's plan whose objects have these keys; its settings in any case.
    pub fn director_part(&self, director: &Name, keys: &BTreeSet<&str>) -> DirectorPlan {
        let names: BTreeSet<&str> =
            keys.iter().filter_map(|key| VirtualServerPlan::name_in(key)).collect();
        let mut part = self.director_where(director, |name| names.contains(name.as_str()));
        part.vrrp_instances.retain(|_, plan| keys.contains(plan.key().as_str()));
        part
    }

    fn director_where(&self, director: &Name, is_wanted: impl Fn(&Name) -> bool) -> DirectorPlan {
        let servers = self.servers_of(director).filter(|(name, _)| is_wanted(name));
        let virtual_servers = servers.filter_map(|(name, server)| {
            self.virtual_server(name, server).map(|plan| (name.clone(), plan))
        });
        DirectorPlan {
            virtual_servers: virtual_servers.collect(),
            vrrp_instances: self.vrrp_instances_of(director),
            ipvs: self.ipvs_of(director),
        }
    }

    /// The agents of the real servers in a director's plan.
    pub fn agents_of(&self, director: &Name) -> BTreeSet<Name> {
        let pools: BTreeSet<&Name> =
            self.servers_of(director).map(|(_, server)| &server.pool).collect();
        let pools = pools.into_iter().filter_map(|name| self.catalog.pools.get(name).copied());
        pools
            .flat_map(|pool| self.catalog.seats(pool))
            .map(|seat| seat.server.agent.clone())
            .collect()
    }

    /// The host's IPVS as a whole in a director's plan: as its resource says, and with the forwarding that nat needs where
    /// that says nothing.
    pub(crate) fn ipvs_of(&self, director: &Name) -> IpvsSettings {
        let given = self.catalog.directors.get(director).map(|director| director.ipvs);
        let mut settings = given.unwrap_or_default();
        for (_, server) in self.servers_of(director) {
            let forward = if server.listen.is_ipv6() {
                &mut settings.ipv6_forward
            } else {
                &mut settings.ip_forward
            };
            if forward.is_none() && self.has_nat(server) {
                *forward = Some(true);
            }
        }
        settings
    }

    /// Whether packets reach any of its real servers by nat.
    fn has_nat(&self, server: &VirtualServer) -> bool {
        self.catalog.pools.get(&server.pool).is_some_and(|pool| {
            let forwarding = |own: Option<ForwardingMethod>| own.unwrap_or(server.forwarding);
            let sorry = pool.sorry_server.as_ref().map(|_| forwarding(None));
            let mut all =
                pool.members.iter().map(|member| forwarding(member.forwarding)).chain(sorry);
            all.any(|forwarding| forwarding == ForwardingMethod::Nat)
        })
    }

    /// The VRRP part of a director's plan.
    pub(crate) fn vrrp_instances_of(&self, director: &Name) -> BTreeMap<Name, VrrpInstancePlan> {
        let parts = self.instances.get(director).into_iter().flatten();
        let plans = parts.filter_map(|(name, instance, member)| {
            self.vrrp_instance(name, instance, member).map(|plan| ((*name).clone(), plan))
        });
        plans.collect()
    }

    /// The virtual servers in a director's plan, those of a VRRP instance together.
    fn servers_of(&self, director: &Name) -> impl Iterator<Item = (&'a Name, &'a VirtualServer)> {
        let parts = self.instances.get(director).into_iter().flatten();
        parts.flat_map(|(name, ..)| self.servers_at(name)).copied()
    }

    /// The virtual servers of a VRRP instance.
    pub(crate) fn servers_at(&self, instance: &Name) -> &[(&'a Name, &'a VirtualServer)] {
        self.virtual_servers.get(instance).map(Vec::as_slice).unwrap_or_default()
    }

    /// The VRRP instances in which a director takes part.
    pub(crate) fn instances_of(&self, director: &Name) -> BTreeSet<&'a Name> {
        let parts = self.instances.get(director).into_iter().flatten();
        parts.map(|(name, ..)| *name).collect()
    }

    /// All that a real-server agent's plan is made of. Where it is equal, so is the plan.
    pub(crate) fn host_ingredients(&self, agent: &Name) -> Vec<HostIngredient<'_>> {
        let attended = self.attended.get(agent).into_iter().flatten();
        let ingredient = |(name, server): &(&'a Name, &'a RealServer)| HostIngredient {
            name,
            server,
            needs: self.needs.get(name),
            restart: self.restarts.get(name),
            drained: self.is_drained(name),
        };
        attended.map(ingredient).collect()
    }

    /// `None` only in an intent that was not validated.
    fn vrrp_instance(
        &self,
        name: &Name,
        instance: &VrrpInstance,
        member: &VrrpMember,
    ) -> Option<VrrpInstancePlan> {
        let director = self.catalog.directors.get(&member.director)?;
        let is_ipv6 = instance.vips.first().is_some_and(|vip| vip.address().is_ipv6());
        let own_address = |director: &Director| {
            if is_ipv6 { director.dip_ipv6.map(IpAddr::V6) } else { Some(director.dip) }
        };
        let peers: BTreeSet<IpAddr> = instance
            .members
            .iter()
            .filter(|peer| instance.unicast && peer.director != member.director)
            .filter_map(|peer| self.catalog.directors.get(&peer.director).copied())
            .filter_map(own_address)
            .collect();
        // IPv6 adverts to the multicast group come from a link-local address (RFC 9568 §5.1.2.1).
        let source = if is_ipv6 && !instance.unicast {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            own_address(director)?
        };
        let order = self.handovers.get(name).map(|to| **to == member.director);
        Some(VrrpInstancePlan {
            name: name.clone(),
            vrid: instance.vrid,
            version: instance.version,
            advert_interval: instance.advert_interval,
            interface: member.interface.clone().unwrap_or_else(|| director.interface.clone()),
            priority: match order {
                None => member.priority,
                Some(true) => Priority::HIGHEST,
                Some(false) => member.priority.min(Priority::BELOW_HIGHEST),
            },
            preempt: instance.preempt,
            auth_pass: instance.auth_pass.clone(),
            vips: instance.vips.clone(),
            source,
            unicast_peers: peers.into_iter().collect(),
            checksum: instance.checksum,
            take_over: order == Some(true),
            options: instance.options.clone(),
        })
    }

    /// `None` only in an intent that was not validated.
    pub(crate) fn virtual_server(
        &self,
        name: &Name,
        server: &VirtualServer,
    ) -> Option<VirtualServerPlan> {
        let pool: &Pool = self.catalog.pools.get(&server.pool)?;
        let (mut destinations, mut sorry_server) = (Vec::new(), None);
        for seat in self.catalog.seats(pool) {
            match seat.place {
                Place::Member(index) => {
                    let member = &pool.members[index];
                    let drain = self.drain(name, seat.name);
                    let share = (member.weight, member.thresholds);
                    destinations.push(destination(server, &seat, share, drain));
                }
                Place::Sorry => {
                    let share = (Weight::ONE, Thresholds::default());
                    sorry_server = Some(destination(server, &seat, share, None));
                }
            }
        }
        destinations.sort_by(|a, b| a.real_server.cmp(&b.real_server));
        Some(VirtualServerPlan {
            name: name.clone(),
            listen: server.listen,
            vips: self.vips_of(server),
            scheduler: server.scheduler,
            forwarding: server.forwarding,
            persistence_timeout: server.persistence_timeout,
            destinations: destinations.into(),
            check: pool.check.clone(),
            agent: pool.agent,
            options: server.options,
            quorum: pool.quorum,
            sorry_server,
            slow_start: pool.slow_start,
            dynamic_weights: pool.dynamic_weights,
        })
    }

    /// The order that this virtual server shall give the real server no new connections. One that names the virtual server
    /// goes before one for all.
    fn drain(&self, virtual_server: &Name, real_server: &Name) -> Option<DrainPlan> {
        let drains = self.drains.get(real_server)?;
        let of = |wanted: Option<&Name>| {
            drains.iter().find(|(_, drain)| drain.virtual_server.as_ref() == wanted)
        };
        let (name, drain) = of(Some(virtual_server)).or_else(|| of(None))?;
        Some(DrainPlan {
            name: (*name).clone(),
            reason: drain.reason.clone(),
            requested_by: drain.requested_by.clone(),
            grace: drain.grace,
        })
    }

    fn is_drained(&self, real_server: &Name) -> bool {
        let orders = self.drains.get(real_server).map(Vec::as_slice).unwrap_or_default();
        orders::is_drained(&self.catalog, real_server, orders)
    }

    /// The VIPs that a virtual server's packets may go to, ordered.
    fn vips_of(&self, server: &VirtualServer) -> Vec<IpAddr> {
        vips_of(&self.catalog, server).into_iter().collect()
    }

    /// A real-server agent's plan: the VIPs that its real servers answer for, the tunnels that end there, and the servers
    /// it watches.
    pub fn real_server(&self, agent: &Name) -> RealServerHostPlan {
        let attended = self.attended.get(agent).map(Vec::as_slice).unwrap_or_default();
        let needs =
            attended.iter().filter_map(|(name, server)| Some((server.rip, self.needs.get(name)?)));
        let (vips, tunnels) = hosts::merge(needs);
        let servers = attended
            .iter()
            .map(|(name, server)| WatchedServer {
                real_server: (*name).clone(),
                rip: server.rip,
                port: server.port,
                probe: server.probe.clone(),
                restart: self.restarts.get(name).cloned(),
                drained: self.is_drained(name),
            })
            .collect();
        RealServerHostPlan { vips, servers, tunnels }
    }
}

/// What a real server brings to its agent's plan.
#[derive(Debug, PartialEq)]
pub(crate) struct HostIngredient<'a> {
    name: &'a Name,
    server: &'a RealServer,
    needs: Option<&'a HostNeeds>,
    restart: Option<&'a RestartPlan>,
    drained: bool,
}

/// Real servers by agent. One that is only in pools without agents has nobody to attend it.
fn attended<'a>(catalog: &Catalog<'a>) -> BTreeMap<&'a Name, Vec<(&'a Name, &'a RealServer)>> {
    let mut requirements: BTreeMap<&Name, AgentRequirement> = BTreeMap::new();
    for pool in catalog.pools.values() {
        let members = pool.members.iter().map(|member| &member.real_server);
        for name in members.chain(&pool.sorry_server) {
            let requirement = requirements.entry(name).or_insert(pool.agent);
            if pool.agent == AgentRequirement::Required {
                *requirement = AgentRequirement::Required;
            }
        }
    }
    let mut attended: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, server) in &catalog.real_servers {
        match requirements.get(name).copied().unwrap_or_default() {
            AgentRequirement::Required => {
                attended.entry(&server.agent).or_default().push((*name, *server));
            }
            AgentRequirement::None => {}
        }
    }
    attended
}

/// A virtual server's entry for a real server. `share` is its weight and its thresholds.
fn destination(
    virtual_server: &VirtualServer,
    seat: &Seat<'_>,
    (weight, thresholds): (Weight, Thresholds),
    drain: Option<DrainPlan>,
) -> DestinationPlan {
    DestinationPlan {
        real_server: seat.name.clone(),
        rip: seat.server.rip,
        port: seat.server.port,
        weight,
        agent: seat.server.agent.clone(),
        thresholds,
        forwarding: seat.forwarding(virtual_server),
        drain: drain.map(Box::new),
    }
}

/// The VIPs that a virtual server's packets may go to: under a firewall mark all of the instance's that have its family,
/// without those that belong to one link (RFC 4291 §2.5.6), which VRRP needs and nobody forwards to.
pub(crate) fn vips_of(catalog: &Catalog<'_>, server: &VirtualServer) -> BTreeSet<IpAddr> {
    if let Some(vip) = server.listen.vip() {
        return [vip].into();
    }
    let Some(instance) = catalog.vrrp_instances.get(&server.vrrp_instance) else {
        return BTreeSet::new();
    };
    let held = instance.options.unadvertised_vips.iter().map(|held| held.address.address());
    let vips = instance.vips.iter().map(Cidr::address).chain(held);
    vips.filter(|vip| vip.is_ipv6() == server.listen.is_ipv6() && !is_link_local(*vip)).collect()
}

/// Whether it belongs to one link (RFC 4291 §2.5.6).
pub(crate) fn is_link_local(vip: IpAddr) -> bool {
    matches!(vip, IpAddr::V6(vip) if vip.is_unicast_link_local())
}

/// Drains by real server.
fn drains<'a>(catalog: &Catalog<'a>) -> BTreeMap<&'a Name, Vec<(&'a Name, &'a Drain)>> {
    let mut drains: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, drain) in &catalog.drains {
        drains.entry(&drain.real_server).or_default().push((*name, *drain));
    }
    drains
}

/// The director that each hand-over names, by every VRRP instance that it moves: those of a sync group move together. One
/// that cannot be obeyed moves nothing, as in a log that was written under older rules.
fn handovers<'a>(catalog: &Catalog<'a>) -> BTreeMap<&'a Name, &'a Name> {
    let mut moved = BTreeMap::new();
    for handover in catalog.handovers.values() {
        for (name, instance) in catalog.moved_with(&handover.vrrp_instance) {
            let is_member = instance.members.iter().any(|member| member.director == handover.to);
            let has_owner =
                instance.members.iter().any(|member| member.priority == Priority::OWNER);
            if is_member && !has_owner {
                moved.entry(name).or_insert(&handover.to);
            }
        }
    }
    moved
}
