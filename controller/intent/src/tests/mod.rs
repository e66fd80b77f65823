//! The classic cluster as intent: two directors, one VIP, two Tomcats.

mod access;
mod balancing;
mod dynamic_weights;
mod handovers;
mod history;
mod laws;
mod paths;
mod plans;
mod restarts;
mod rules;
mod settings;
mod tunnels;
mod vrrp;

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::resource::{
    AgentRequirement, AuthPass, Director, Drain, Handover, Pool, PoolMember, RealServer, Resource,
    Restart, Site, Spec, VirtualServer, VrrpChecksum, VrrpInstance, VrrpMember, VrrpVersion,
};
use fulcrum_model::{
    Check, ForwardingMethod, IpvsSettings, Listen, Name, Port, Priority, Protocol, Quorum,
    Revision, Scheduler, ServerProbe, Thresholds, VirtualServerOptions, Vrid, Weight,
};

use crate::{Intent, Rejected, Removal, prepare};

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn port(number: u64) -> Port {
    Port::new(number).expect("a port")
}

pub(crate) fn resource(text: &str, spec: Spec) -> Resource {
    Resource { name: name(text), labels: [].into(), revision: Revision(0), spec }
}

pub(crate) fn site(text: &str) -> Resource {
    resource(text, Spec::Site(Site::default()))
}

pub(crate) fn director(text: &str, site: &str, dip: &str) -> Resource {
    let interface = "eth0".to_owned();
    resource(
        text,
        Spec::Director(Director {
            site: name(site),
            dip: ip(dip),
            dip_ipv6: None,
            interface,
            ipvs: IpvsSettings::default(),
        }),
    )
}

pub(crate) fn vrrp_instance(
    text: &str,
    vrid: u64,
    vips: &[&str],
    members: &[(&str, u64)],
) -> Resource {
    let members = members
        .iter()
        .map(|(director, priority)| VrrpMember {
            director: name(director),
            priority: Priority::new(*priority).expect("a priority"),
            interface: None,
        })
        .collect();
    let spec = VrrpInstance {
        site: name("main"),
        vrid: Vrid::new(vrid).expect("a VRID"),
        version: VrrpVersion::V2,
        advert_interval: Duration::from_secs(1),
        vips: vips.iter().map(|vip| vip.parse().expect("a VIP")).collect(),
        members,
        preempt: true,
        auth_pass: AuthPass::new("1111"),
        unicast: false,
        checksum: VrrpChecksum::Deployed,
        options: fulcrum_model::VrrpOptions::default(),
    };
    resource(text, Spec::VrrpInstance(spec))
}

pub(crate) fn real_server(text: &str, rip: &str, port_number: u64) -> Resource {
    let spec = RealServer {
        site: name("main"),
        rip: ip(rip),
        port: port(port_number),
        agent: name(text),
        probe: ServerProbe::default(),
    };
    resource(text, Spec::RealServer(spec))
}

pub(crate) fn pool(text: &str, members: &[&str]) -> Resource {
    let members = members
        .iter()
        .map(|member| PoolMember {
            real_server: name(member),
            weight: Weight::ONE,
            thresholds: Thresholds::default(),
            forwarding: None,
        })
        .collect();
    let check = Check {
        interval: Duration::from_secs(6),
        timeout: Duration::from_secs(10),
        retries: 3,
        retry_delay: Duration::from_secs(8),
        ..Check::default()
    };
    let spec = Pool {
        members,
        check,
        agent: AgentRequirement::Required,
        quorum: Quorum::default(),
        sorry_server: None,
        slow_start: None,
        dynamic_weights: None,
    };
    resource(text, Spec::Pool(spec))
}

pub(crate) fn virtual_server(text: &str, vip: &str, port_number: u64) -> Resource {
    let spec = VirtualServer {
        vrrp_instance: name("vi-1"),
        listen: Listen::Address {
            vip: ip(vip),
            port: Some(port(port_number)),
            protocol: Protocol::Tcp,
        },
        scheduler: Scheduler::Rr,
        forwarding: ForwardingMethod::Dr,
        persistence_timeout: None,
        pool: name("tomcats"),
        options: VirtualServerOptions::default(),
    };
    resource(text, Spec::VirtualServer(spec))
}

pub(crate) fn handover(text: &str, vrrp_instance: &str, to: &str) -> Resource {
    let spec = Handover {
        vrrp_instance: name(vrrp_instance),
        to: name(to),
        reason: "upgrade".to_owned(),
        requested_by: "ann".to_owned(),
    };
    resource(text, Spec::Handover(spec))
}

pub(crate) fn drain(text: &str, real_server: &str, virtual_server: Option<&str>) -> Resource {
    let spec = Drain {
        real_server: name(real_server),
        virtual_server: virtual_server.map(name),
        reason: "upgrade".to_owned(),
        requested_by: "ann".to_owned(),
        grace: None,
    };
    resource(text, Spec::Drain(spec))
}

pub(crate) fn restart(text: &str, real_server: &str) -> Resource {
    let spec = Restart {
        real_server: name(real_server),
        reason: "new JDK".to_owned(),
        requested_by: "ann".to_owned(),
        action: name("restart"),
        even_if_serving: false,
    };
    resource(text, Spec::Restart(spec))
}

/// What is refused of a set, given an intent, as `path: description`.
pub(crate) fn rejections(current: &Intent, set: Vec<Resource>, removal: &Removal) -> Vec<String> {
    match prepare(current, indexed(set), removal, true) {
        Ok(_) => Vec::new(),
        Err(Rejected::Invalid(violations)) => {
            violations.into_iter().map(|v| format!("{}: {}", v.field, v.description)).collect()
        }
        Err(held @ Rejected::Held { .. }) => panic!("{held}"),
    }
}

pub(crate) const VIP: &str = "192.168.1.150";

/// In the order of the kinds: site, d1, d2, vi-1, web1, web2, tomcats, web.
pub(crate) fn seed() -> Vec<Resource> {
    vec![
        site("main"),
        director("d1", "main", "192.168.1.135"),
        director("d2", "main", "192.168.1.136"),
        vrrp_instance("vi-1", 51, &["192.168.1.150/24"], &[("d1", 100), ("d2", 90)]),
        real_server("web1", "192.168.1.138", 80),
        real_server("web2", "192.168.1.139", 80),
        pool("tomcats", &["web1", "web2"]),
        virtual_server("web", VIP, 80),
    ]
}

pub(crate) fn indexed(set: Vec<Resource>) -> Vec<(usize, Resource)> {
    set.into_iter().enumerate().collect()
}

/// What the set makes of an empty intent, at revision 7.
pub(crate) fn intent(set: Vec<Resource>) -> Intent {
    let prepared =
        prepare(&Intent::default(), indexed(set), &Removal::default(), false).expect("a valid set");
    let mut intent = Intent::default();
    intent.apply(Revision(7), prepared.put, prepared.delete);
    intent
}
