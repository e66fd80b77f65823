use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use fulcrum_model::{Cidr, Tunnel, TunnelChecksum};
use fulcrum_session::host::facts::{
    Bridge, Certificate, Disk, HostFacts, Interface, InvalidDrop, Manager, PacketFilter,
};

use super::judge::{Facts, Presence, judge};
use super::{Instance, Wanted, overhead};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn instance(interface: &str) -> Instance {
    Instance {
        name: "vi-1".parse().expect("a name"),
        interface: interface.to_owned(),
        is_multicast: true,
        is_ipv6: false,
        has_virtual_mac: false,
    }
}

fn wanted() -> Wanted {
    Wanted { instances: vec![instance("eth0")], ..Wanted::default() }
}

fn nat(rip: &str) -> Wanted {
    Wanted { nat: [ip(rip)].into(), ..wanted() }
}

fn tunnel(rip: &str, overhead: u32) -> Wanted {
    Wanted { tunnel: [(ip(rip), overhead)].into(), ..wanted() }
}

fn with(change: impl FnOnce(&mut Instance)) -> Wanted {
    let mut wanted = wanted();
    change(&mut wanted.instances[0]);
    wanted
}

/// `eth0` has 10.0.0.5/24.
fn eth0(change: impl FnOnce(&mut Interface)) -> Facts {
    let mut eth0 = Interface {
        addresses: vec![Cidr::new(ip("10.0.0.5"), 24).expect("a network")],
        mtu: Some(1_500),
        is_up: true,
        ..Interface::default()
    };
    change(&mut eth0);
    let mut facts = Facts::default();
    facts.host.interfaces.insert("eth0".to_owned(), eth0);
    facts
}

fn plain() -> Facts {
    eth0(|_| {})
}

fn device(rp_filter: u32) -> Facts {
    let mut facts = plain();
    let device = Interface { rp_filter: Some(rp_filter), ..Interface::default() };
    facts.host.interfaces.insert("vrrp4-51-3c1e".to_owned(), device);
    facts
}

fn bridge(is_snooping: bool, is_querier: bool) -> Facts {
    eth0(|eth0| {
        eth0.bridge = Some(Bridge { name: "br0".to_owned(), is_snooping, is_querier });
    })
}

fn missing(presence: Presence) -> Facts {
    Facts { missing_modules: vec![("ip_vs_mh".to_owned(), presence)], ..plain() }
}

fn on(machine: &str) -> Facts {
    Facts { machine: machine.to_owned(), ..plain() }
}

fn redirecting() -> Facts {
    eth0(|eth0| eth0.send_redirects = true)
}

fn forwarding(v4: bool, v6: bool) -> Facts {
    Facts { forwards_ipv4: Some(v4), forwards_ipv6: Some(v6), ..plain() }
}

type Case = (&'static str, Wanted, Facts, &'static [&'static str]);

fn of_interfaces() -> Vec<Case> {
    let unicast = with(|instance| instance.is_multicast = false);
    let two_mtus = {
        let mut facts = plain();
        let eth1 = Interface {
            addresses: vec![Cidr::new(ip("10.1.0.5"), 24).expect("a network")],
            mtu: Some(9_000),
            ..Interface::default()
        };
        facts.host.interfaces.insert("eth1".to_owned(), eth1);
        facts
    };
    vec![
        ("dr needs no more", wanted(), redirecting(), &[]),
        ("nat behind another interface", nat("10.9.0.8"), redirecting(), &[]),
        ("nat on one arm", nat("10.0.0.8"), redirecting(), &["send-redirects eth0 Error"]),
        ("the same, quiet", nat("10.0.0.8"), plain(), &[]),
        ("strict", wanted(), device(1), &["rp-filter vrrp4-51-3c1e Error"]),
        ("loose", wanted(), device(2), &[]),
        ("no querier", wanted(), bridge(true, false), &["multicast-querier br0 Warning"]),
        ("a querier", wanted(), bridge(true, true), &[]),
        ("no snooping", wanted(), bridge(false, false), &[]),
        ("unicast", unicast, bridge(true, false), &[]),
        ("room for no header", tunnel("10.0.0.8", 20), plain(), &["tunnel-mtu eth0 Warning"]),
        ("behind a router", tunnel("10.7.0.8", 20), plain(), &["tunnel-mtu eth0 Warning"]),
        ("jumbo frames", tunnel("10.1.0.8", 20), two_mtus, &[]),
        (
            "networkd",
            wanted(),
            eth0(|eth0| eth0.manager = Some(Manager::Networkd)),
            &["managed-interface eth0 Warning"],
        ),
    ]
}

fn of_hosts() -> Vec<Case> {
    let virtual_mac = || with(|instance| instance.has_virtual_mac = true);
    let mut filtered = plain();
    let drop = |interface: &str| InvalidDrop {
        chain: "inet f input".to_owned(),
        hook: "input".to_owned(),
        interfaces: Some([interface.to_owned()].into()),
    };
    filtered.host.packet_filter =
        PacketFilter::Seen { drops: vec![drop("eth0"), drop("eth7")], is_liberal: false };
    let keepalived = Facts { other_routers: vec!["keepalived".to_owned()], ..plain() };
    vec![
        ("nothing known", Wanted::default(), Facts::default(), &[]),
        ("all is well", wanted(), plain(), &[]),
        ("no module", wanted(), missing(Presence::Nowhere), &["ipvs-modules ip_vs_mh Error"]),
        ("on disk", wanted(), missing(Presence::OnDisk), &[]),
        ("hidden", wanted(), missing(Presence::Unknown), &[]),
        ("dr forwards nothing", wanted(), forwarding(false, false), &[]),
        (
            "nat",
            nat("10.9.0.8"),
            forwarding(false, true),
            &["ip-forward net.ipv4.ip_forward Error"],
        ),
        (
            "nat of IPv6",
            nat("2001:db8::8"),
            forwarding(true, false),
            &["ip-forward net.ipv6.conf.all.forwarding Error"],
        ),
        ("nat, forwarding", nat("10.9.0.8"), forwarding(true, false), &[]),
        ("a virtual machine", wanted(), on("VMware, Inc. VMware7,1"), &[]),
        (
            "with a virtual MAC",
            virtual_mac(),
            on("VMware, Inc. VMware7,1"),
            &["hypervisor-mac vi-1 Warning"],
        ),
        (
            "Hyper-V",
            virtual_mac(),
            on("Microsoft Corporation Virtual Machine"),
            &["hypervisor-mac vi-1 Warning"],
        ),
        ("a laptop", virtual_mac(), on("Microsoft Corporation Surface Laptop 3"), &[]),
        ("a machine", virtual_mac(), on("Dell Inc. PowerEdge R650"), &[]),
        ("keepalived", wanted(), keepalived, &["other-router keepalived Warning"]),
        ("a rule for clients", wanted(), filtered, &["conntrack-invalid inet f input Error"]),
    ]
}

/// Facts in, `code subject severity` out.
#[test]
fn each_fact_has_its_finding() {
    for (what, wanted, facts, expected) in of_interfaces().into_iter().chain(of_hosts()) {
        let found = judge(&wanted, &facts, SystemTime::UNIX_EPOCH).findings;
        let told: Vec<String> =
            found.iter().map(|f| format!("{} {} {:?}", f.code, f.subject, f.severity())).collect();
        assert_eq!(told, expected, "{what}");
        assert!(found.iter().all(|f| !f.found.is_empty() && !f.remedy.is_empty()), "{what}");
    }
}

/// What cannot be seen is not told to be well.
#[test]
fn what_is_not_seen_is_told() {
    let virtual_mac = || with(|instance| instance.has_virtual_mac = true);
    let seen = |facts: Facts| {
        let disk = Disk { path: "/var".into(), free_bytes: 1 << 30, free_inodes: None };
        let ends_at = Ok(SystemTime::UNIX_EPOCH + Duration::from_hours(720));
        let certificates = vec![Certificate { path: "/c.pem".into(), ends_at }];
        Facts { host: HostFacts { disk: Some(disk), certificates, ..facts.host }, ..facts }
    };
    let cases: [(&str, Wanted, Facts, &[&str]); 8] = [
        ("no disk, no [tls]", wanted(), plain(), &["disk-space", "certificate"]),
        ("all is seen", wanted(), seen(plain()), &[]),
        ("hidden", wanted(), seen(missing(Presence::Unknown)), &["ipvs-modules"]),
        ("nowhere, which is found", wanted(), seen(missing(Presence::Nowhere)), &[]),
        ("nat", nat("10.9.0.8"), seen(plain()), &["ip-forward"]),
        ("nat of IPv6", nat("2001:db8::8"), seen(forwarding(true, true)), &[]),
        ("an unknown machine", virtual_mac(), seen(plain()), &["hypervisor-mac"]),
        ("a known one", virtual_mac(), seen(on("Dell Inc. PowerEdge R650")), &[]),
    ];
    for (what, wanted, facts, expected) in cases {
        let unchecked = judge(&wanted, &facts, SystemTime::UNIX_EPOCH).unchecked;
        let codes: Vec<&str> = unchecked.iter().map(|unseen| unseen.code.as_str()).collect();
        assert_eq!(codes, expected, "{what}");
        assert!(unchecked.iter().all(|unseen| !unseen.why.is_empty()), "{what}");
    }
}

#[test]
fn tunnels_add_their_headers() {
    let port = fulcrum_model::Port::new(5555).expect("a port");
    let gue = |checksum| Tunnel::Gue { port, checksum };
    let gre = |checksum| Tunnel::Gre { checksum };
    for (tunnel, rip, expected) in [
        (Tunnel::Ipip, "10.0.0.8", 20),
        (Tunnel::Ipip, "2001:db8::8", 40),
        (gue(TunnelChecksum::None), "10.0.0.8", 32),
        (gue(TunnelChecksum::Remote), "10.0.0.8", 40),
        (gre(TunnelChecksum::None), "10.0.0.8", 24),
        (gre(TunnelChecksum::Full), "10.0.0.8", 28),
    ] {
        assert_eq!(overhead(tunnel, ip(rip)), expected, "{tunnel:?} to {rip}");
    }
}
