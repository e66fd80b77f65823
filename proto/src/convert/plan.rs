//! Plans both ways. Reading a plan takes no defaults: plans say everything.

mod virtual_server;

use std::borrow::Borrow;
use std::net::{IpAddr, Ipv6Addr};

use fulcrum_model::plan::{
    DirectorPlan, HOST_KEY, HostTunnel, IPVS_KEY, PlanVersion, RealServerHostPlan,
    VrrpInstancePlan, WatchedServer,
};
use fulcrum_model::{Port, Priority, Revision, Vrid, VrrpOptions};

use super::duration::duration_to_wire;
use super::fields::Fields;
use super::virtual_server::{tunnel, tunnel_to_wire};
use super::{ConvertError, check, enums, instance, ipvs_settings, restart, vrrp};
use crate::v1;
use crate::v1::plan_object::Object;

/// A source that stands for the interface's own link-local address.
const LINK_LOCAL: &str = "::";

impl From<&PlanVersion> for v1::PlanVersion {
    fn from(version: &PlanVersion) -> Self {
        Self {
            cluster_id: version.cluster_id.clone(),
            incarnation: version.incarnation,
            revision: version.revision.0,
            planner: String::new(),
        }
    }
}

impl TryFrom<&v1::PlanVersion> for PlanVersion {
    type Error = ConvertError;

    /// # Errors
    /// [`ConvertError`] when the cluster is not named.
    fn try_from(wire: &v1::PlanVersion) -> Result<Self, ConvertError> {
        Fields::read(|fields| {
            let cluster_id = Some(&wire.cluster_id).filter(|id| !id.is_empty()).cloned();
            let cluster_id =
                fields.accept("cluster_id", cluster_id, "none", "a plan names its cluster")?;
            let revision = Revision(wire.revision);
            Some(Self { cluster_id, incarnation: wire.incarnation, revision })
        })
    }
}

impl From<&VrrpInstancePlan> for v1::VrrpInstancePlan {
    fn from(plan: &VrrpInstancePlan) -> Self {
        Self {
            name: plan.name.to_string(),
            vrid: u32::from(plan.vrid.get()),
            version: enums::vrrp_version_to_wire(plan.version).into(),
            advert_interval: Some(duration_to_wire(plan.advert_interval)),
            interface: plan.interface.clone(),
            priority: u32::from(plan.priority.get()),
            preempt: plan.preempt,
            auth_pass: plan.auth_pass.as_ref().map_or("", |pass| pass.as_str()).to_owned(),
            vips: plan.vips.iter().map(ToString::to_string).collect(),
            source: plan.source.to_string(),
            unicast_peers: plan.unicast_peers.iter().map(ToString::to_string).collect(),
            checksum: enums::vrrp_checksum_to_wire(plan.checksum).into(),
            take_over: plan.take_over,
            options: Some(vrrp::options_to_wire(&plan.options)),
        }
    }
}

impl TryFrom<&v1::VrrpInstancePlan> for VrrpInstancePlan {
    type Error = ConvertError;

    /// # Errors
    /// [`ConvertError`] with every bad field.
    fn try_from(wire: &v1::VrrpInstancePlan) -> Result<Self, ConvertError> {
        Fields::read(|fields| vrrp_instance(fields, wire))
    }
}

fn vrrp_instance(fields: &mut Fields<'_>, wire: &v1::VrrpInstancePlan) -> Option<VrrpInstancePlan> {
    let name = fields.name("name", &wire.name, "name the instance");
    let vrid = fields.number("vrid", wire.vrid, Vrid::new);
    let version = enums::vrrp_version(fields, "version", wire.version, None);
    let interval = instance::advert_interval(fields, version, wire.advert_interval.as_ref());
    let interface = fields.interface("interface", &wire.interface);
    let priority = fields.number("priority", wire.priority, Priority::new);
    let auth_pass = instance::auth_pass(fields, version, &wire.auth_pass);
    let vips = each(fields, "vips", &wire.vips, |fields, vip| fields.cidr("", vip, "the VIP"));
    let source = match wire.source.as_str() {
        LINK_LOCAL => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        source => fields.address("source", source, "the source address of adverts"),
    };
    let peers = each(fields, "unicast_peers", &wire.unicast_peers, |fields, peer| {
        fields.address("", peer, "the peer's address")
    });
    let checksum = enums::vrrp_checksum(fields, "checksum", wire.checksum, None);
    // A plan of a release without options, as an agent may have it on disk, says none.
    let options = match &wire.options {
        None => Some(VrrpOptions::default()),
        Some(wire) => vrrp::options(&mut fields.within("options"), wire),
    };
    Some(VrrpInstancePlan {
        name: name?,
        vrid: vrid?,
        version: version?,
        advert_interval: interval?,
        interface: interface?,
        priority: priority?,
        preempt: wire.preempt,
        auth_pass: auth_pass?,
        vips: vips?,
        source: source?,
        unicast_peers: peers?,
        checksum: checksum?,
        take_over: wire.take_over,
        options: options?,
    })
}

/// Reads every element of a list; `None` when one is refused.
fn each<W, T>(
    fields: &mut Fields<'_>,
    field: &str,
    wire: &[W],
    read: impl Fn(&mut Fields<'_>, &W) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = wire
        .iter()
        .enumerate()
        .map(|(index, wire)| read(&mut fields.within(&format!("{field}[{index}]")), wire))
        .collect();
    read.into_iter().collect()
}

impl From<&RealServerHostPlan> for v1::RealServerHostPlan {
    fn from(plan: &RealServerHostPlan) -> Self {
        Self {
            vips: plan.vips.iter().map(ToString::to_string).collect(),
            servers: plan
                .servers
                .iter()
                .map(|server| v1::WatchedServer {
                    real_server: server.real_server.to_string(),
                    rip: server.rip.to_string(),
                    port: u32::from(server.port.get()),
                    probe: Some(check::server_probe_to_wire(&server.probe)),
                    restart: server.restart.as_ref().map(restart::plan_to_wire),
                    drained: server.drained,
                })
                .collect(),
            tunnels: plan.tunnels.iter().map(host_tunnel_to_wire).collect(),
        }
    }
}

impl TryFrom<&v1::RealServerHostPlan> for RealServerHostPlan {
    type Error = ConvertError;

    /// # Errors
    /// [`ConvertError`] with every bad field.
    fn try_from(wire: &v1::RealServerHostPlan) -> Result<Self, ConvertError> {
        Fields::read(|fields| host(fields, wire))
    }
}

fn host(fields: &mut Fields<'_>, wire: &v1::RealServerHostPlan) -> Option<RealServerHostPlan> {
    let vips = each(fields, "vips", &wire.vips, |fields, vip| fields.address("", vip, "the VIP"));
    let servers = each(fields, "servers", &wire.servers, watched_server);
    let tunnels = each(fields, "tunnels", &wire.tunnels, host_tunnel);
    Some(RealServerHostPlan { vips: vips?, servers: servers?, tunnels: tunnels? })
}

fn host_tunnel(fields: &mut Fields<'_>, wire: &v1::HostTunnel) -> Option<HostTunnel> {
    let read = tunnel(&mut fields.within("tunnel"), wire.tunnel.as_ref());
    let rip = fields.address("rip", &wire.rip, "the real server's address");
    let vips = each(fields, "vips", &wire.vips, |fields, vip| fields.address("", vip, "the VIP"));
    Some(HostTunnel { tunnel: read?, rip: rip?, vips: vips? })
}

fn host_tunnel_to_wire(tunnel: &HostTunnel) -> v1::HostTunnel {
    v1::HostTunnel {
        tunnel: Some(tunnel_to_wire(tunnel.tunnel)),
        rip: tunnel.rip.to_string(),
        vips: tunnel.vips.iter().map(ToString::to_string).collect(),
    }
}

fn watched_server(fields: &mut Fields<'_>, wire: &v1::WatchedServer) -> Option<WatchedServer> {
    let real_server = fields.name("real_server", &wire.real_server, "name the real server");
    let rip = fields.address("rip", &wire.rip, "the real server's address");
    let port = fields.number("port", wire.port, Port::new);
    let probe = check::server_probe(&mut fields.within("probe"), wire.probe.as_ref());
    let restart = restart::plan(fields, wire.restart.as_ref());
    Some(WatchedServer {
        real_server: real_server?,
        rip: rip?,
        port: port?,
        probe: probe?,
        restart: restart?,
        drained: wire.drained,
    })
}

/// A director's plan as objects, ordered by key.
pub fn director_plan_to_objects(plan: &DirectorPlan) -> Vec<v1::PlanObject> {
    let ipvs = v1::PlanObject {
        key: IPVS_KEY.to_owned(),
        object: Some(Object::Ipvs(ipvs_settings::ipvs_settings_to_wire(&plan.ipvs))),
    };
    let virtual_servers = plan.virtual_servers.values().map(|plan| v1::PlanObject {
        key: plan.key(),
        object: Some(Object::VirtualServer(plan.into())),
    });
    let vrrp_instances = plan.vrrp_instances.values().map(|plan| v1::PlanObject {
        key: plan.key(),
        object: Some(Object::VrrpInstance(plan.into())),
    });
    std::iter::once(ipvs).chain(virtual_servers).chain(vrrp_instances).collect()
}

/// A director's plan from its objects, in any order. Plans of a release before `ipvs`, as an agent may have one on disk,
/// mean its default.
///
/// # Errors
/// [`ConvertError`] with every bad field, under the object's key.
pub fn director_plan_from_objects(
    objects: impl IntoIterator<Item = impl Borrow<v1::PlanObject>>,
) -> Result<DirectorPlan, ConvertError> {
    Fields::read(|fields| {
        let mut plan = DirectorPlan::default();
        for object in objects {
            let object = object.borrow();
            let mut fields = fields.within(&object.key);
            match &object.object {
                Some(Object::VrrpInstance(wire)) => {
                    let read = vrrp_instance(&mut fields, wire);
                    plan.vrrp_instances.extend(read.map(|read| (read.name.clone(), read)));
                }
                Some(Object::VirtualServer(wire)) => {
                    let read = virtual_server::virtual_server(&mut fields, wire);
                    plan.virtual_servers.extend(read.map(|read| (read.name.clone(), read)));
                }
                Some(Object::Ipvs(wire)) => {
                    let read = ipvs_settings::ipvs_settings(&mut fields, wire);
                    plan.ipvs = read.unwrap_or_default();
                }
                Some(Object::Host(_)) => fields.refuse("", "host", "no order for a director"),
                None => fields.refuse("", "none", "this release knows no such object; upgrade"),
            }
        }
        Some(plan)
    })
}

/// A real-server agent's plan as objects: one.
pub fn real_server_plan_to_objects(plan: &RealServerHostPlan) -> Vec<v1::PlanObject> {
    vec![v1::PlanObject { key: HOST_KEY.to_owned(), object: Some(Object::Host(plan.into())) }]
}

/// A real-server agent's plan from its objects; without any, nothing is ordered.
///
/// # Errors
/// [`ConvertError`] with every bad field, under the object's key.
pub fn real_server_plan_from_objects(
    objects: impl IntoIterator<Item = impl Borrow<v1::PlanObject>>,
) -> Result<RealServerHostPlan, ConvertError> {
    Fields::read(|fields| {
        let mut plan = RealServerHostPlan::default();
        for object in objects {
            let object = object.borrow();
            let mut fields = fields.within(&object.key);
            match &object.object {
                Some(Object::Host(wire)) => {
                    if let Some(read) = host(&mut fields, wire) {
                        plan = read;
                    }
                }
                Some(Object::VrrpInstance(_) | Object::VirtualServer(_) | Object::Ipvs(_)) => {
                    fields.refuse("", "a director's object", "no order for a real server");
                }
                None => fields.refuse("", "none", "this release knows no such object; upgrade"),
            }
        }
        Some(plan)
    })
}
