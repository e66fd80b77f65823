//! Tunnels that end at real servers' hosts.

use fulcrum_model::plan::HostTunnel;
use fulcrum_model::resource::{AgentRequirement, Resource, Spec};
use fulcrum_model::{ForwardingMethod, Listen, Protocol, Tunnel, TunnelChecksum};

use super::{VIP, intent, ip, name, port, rejections, seed, virtual_server};
use crate::{Intent, Removal, plan_real_server};

const SECOND: &str = "192.168.1.151";

/// A virtual server that reaches its real servers by this tunnel.
fn through(text: &str, vip: &str, protocol: Protocol, tunnel: Tunnel) -> Resource {
    let mut resource = virtual_server(text, vip, 80);
    if let Spec::VirtualServer(server) = &mut resource.spec {
        server.listen = Listen::Address { vip: ip(vip), port: Some(port(80)), protocol };
        server.forwarding = ForwardingMethod::Tunnel;
        server.options.tunnel = tunnel;
    }
    resource
}

/// The seed's cluster with a second VIP and these.
fn with(resources: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
    let mut set: Vec<Resource> = seed().into_iter().chain(resources).collect();
    for resource in &mut set {
        if let Spec::VrrpInstance(instance) = &mut resource.spec {
            instance.vips.push("192.168.1.151/24".parse().expect("a VIP"));
        }
    }
    set
}

#[test]
fn tunnels_are_planned_by_kind_and_address() {
    let gre = Tunnel::Gre { checksum: TunnelChecksum::None };
    let mut set = with([
        through("one", VIP, Protocol::Udp, Tunnel::Ipip),
        through("two", SECOND, Protocol::Udp, Tunnel::Ipip),
        through("gre", SECOND, Protocol::Tcp, gre),
    ]);
    for resource in &mut set {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.members[1].forwarding = Some(ForwardingMethod::Dr);
        }
    }
    let planned = |text| plan_real_server(&intent(set.clone()), &name(text)).tunnels;
    let rip = ip("192.168.1.138");
    let both = vec![ip(VIP), ip(SECOND)];
    assert_eq!(
        planned("web1"),
        [
            HostTunnel { tunnel: Tunnel::Ipip, rip, vips: both },
            HostTunnel { tunnel: gre, rip, vips: vec![ip(SECOND)] },
        ]
    );
    assert_eq!(planned("web2"), [], "its own way of forwarding goes before the virtual server's");
}

#[test]
fn one_device_takes_one_checksum_of_gre() {
    let gre = |checksum| Tunnel::Gre { checksum };
    let set = |second| {
        with([
            through("a", SECOND, Protocol::Tcp, gre(TunnelChecksum::None)),
            through("b", SECOND, Protocol::Udp, gre(second)),
        ])
    };
    let found = |set| rejections(&Intent::default(), set, &Removal::default());
    assert_eq!(found(set(TunnelChecksum::None)), [""; 0]);
    assert_eq!(
        found(set(TunnelChecksum::Full)),
        [
            "resources[9].spec.tunnel.checksum: csum: virtual server a reaches 192.168.1.138 by gre with another checksum, and the kernel's device there takes one of them; use the same for both"
        ]
    );
    let mut by_hand = set(TunnelChecksum::Full);
    for resource in &mut by_hand {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.agent = AgentRequirement::None;
        }
    }
    assert_eq!(found(by_hand), [""; 0], "whoever sets up the host sees to it");
}
