use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use fulcrum_model::{Cidr, VipEvidence};
use fulcrum_session::host::facts::{
    Certificate, Disk, HostFacts, Interface, InvalidDrop, Manager, PacketFilter,
};

use super::Wanted;
use super::judge::{Facts, judge};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn wanted(ports: &[u16], detail: &str) -> Wanted {
    let vip = ip("10.0.0.150");
    let servers = ports
        .iter()
        .map(|port| (format!("web{port}").parse().expect("a name"), ip("10.0.0.8"), *port));
    let is_well = detail.is_empty();
    let loopback = VipEvidence { vip, bound: true, arp_safe: is_well, detail: detail.to_owned() };
    Wanted { vips: [vip].into(), servers: servers.collect(), loopback: vec![loopback] }
}

fn interface(address: &str) -> Interface {
    let address = Cidr::new(ip(address), 24).expect("a network");
    Interface { addresses: vec![address], is_up: true, ..Interface::default() }
}

fn host(more: &[(&str, Interface)]) -> HostFacts {
    let usual = [("lo", interface("127.0.0.1")), ("eth0", interface("10.0.0.8"))];
    let all = usual.iter().chain(more).map(|(name, of)| ((*name).to_owned(), of.clone()));
    HostFacts { interfaces: all.collect(), ..HostFacts::default() }
}

fn facts(more: &[(&str, Interface)]) -> Facts {
    Facts { host: host(more), listeners: Some(vec![(ip("::"), 80)]) }
}

fn listening(on: &[(&str, u16)]) -> Facts {
    let listeners = on.iter().map(|(address, port)| (ip(address), *port)).collect();
    Facts { listeners: Some(listeners), ..facts(&[]) }
}

fn tunnel(rp_filter: u32, is_up: bool) -> Facts {
    let rp_filter = Some(rp_filter);
    facts(&[("tunl0", Interface { is_tunnel: true, is_up, rp_filter, ..Interface::default() })])
}

/// Facts in, `code subject severity` out.
#[test]
fn each_fact_has_its_finding() {
    let drops = |interface: &str| {
        let drop = InvalidDrop {
            chain: "inet f input".to_owned(),
            hook: "input".to_owned(),
            interfaces: Some([interface.to_owned()].into()),
        };
        let mut facts = facts(&[]);
        facts.host.packet_filter = PacketFilter::Seen { drops: vec![drop], is_liberal: false };
        facts
    };
    let of_lo = |manager| facts(&[("lo", Interface { manager, ..interface("127.0.0.1") })]);
    let one = || wanted(&[80], "");
    let two = || wanted(&[80, 81], "");
    let quiet = Wanted::default();
    let cases: [(&str, Wanted, Facts, &[&str]); 18] = [
        ("all is well", one(), facts(&[]), &[]),
        ("without VIPs nothing matters", quiet, tunnel(1, true), &[]),
        (
            "loud",
            wanted(&[80], "net.ipv4.conf.all.arp_ignore is 0, not 1"),
            facts(&[]),
            &["vip-loopback 10.0.0.150 Error"],
        ),
        (
            "on eth0 too",
            wanted(&[80], "10.0.0.150 is also on eth1"),
            facts(&[("eth1", interface("10.0.0.150"))]),
            &["vip-elsewhere 10.0.0.150 Error"],
        ),
        ("strict tunnel", one(), tunnel(1, true), &["rp-filter tunl0 Error"]),
        ("loose tunnel", one(), tunnel(2, true), &[]),
        ("a tunnel that is down", one(), tunnel(1, false), &[]),
        ("on every address", one(), listening(&[("0.0.0.0", 80)]), &[]),
        ("on the VIP", one(), listening(&[("10.0.0.150", 80)]), &[]),
        (
            "on the RIP alone",
            one(),
            listening(&[("10.0.0.8", 80)]),
            &["listen-address port 80 Error"],
        ),
        ("on both", one(), listening(&[("10.0.0.8", 80), ("10.0.0.150", 80)]), &[]),
        ("nobody listens, which is health", one(), listening(&[]), &[]),
        ("another port", one(), listening(&[("10.0.0.8", 81), ("::", 80)]), &[]),
        (
            "one of two, which may be nat's",
            two(),
            listening(&[("10.0.0.8", 81), ("::", 80)]),
            &["listen-address port 81 Warning"],
        ),
        ("a rule for clients", one(), drops("eth0"), &["conntrack-invalid inet f input Warning"]),
        ("a rule for others", one(), drops("eth7"), &[]),
        ("lo is managed", one(), of_lo(Some(Manager::Networkd)), &["managed-interface lo Warning"]),
        ("lo is not", one(), of_lo(None), &[]),
    ];
    for (what, wanted, facts, expected) in cases {
        let found = judge(&wanted, &facts, SystemTime::UNIX_EPOCH).findings;
        let told: Vec<String> =
            found.iter().map(|f| format!("{} {} {:?}", f.code, f.subject, f.severity())).collect();
        assert_eq!(told, expected, "{what}");
    }
}

#[test]
fn a_vip_that_is_not_bound_is_told_whatever_else_holds_it() {
    let mut wanted = wanted(&[80], "stopped by hand");
    wanted.loopback[0].bound = false;
    let facts = facts(&[("eth1", interface("10.0.0.150"))]);
    let found = judge(&wanted, &facts, SystemTime::UNIX_EPOCH).findings;
    let codes: Vec<&str> = found.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["vip-loopback", "vip-elsewhere"]);
}

/// What cannot be seen, or was not yet, is not told to be well.
#[test]
fn what_is_not_seen_is_told() {
    let disk = Disk { path: "/var".into(), free_bytes: 1 << 30, free_inodes: None };
    let ends_at = Ok(SystemTime::UNIX_EPOCH + Duration::from_hours(720));
    let certificates = vec![Certificate { path: "/c.pem".into(), ends_at }];
    let seen = |facts: Facts| Facts {
        host: HostFacts {
            disk: Some(disk.clone()),
            certificates: certificates.clone(),
            ..facts.host
        },
        ..facts
    };
    let one = || wanted(&[80], "");
    let cases: [(&str, Wanted, Facts, &[&str]); 5] = [
        ("all is seen", one(), seen(facts(&[])), &[]),
        ("no disk, no [tls]", one(), facts(&[]), &["disk-space", "certificate"]),
        ("no sockets", one(), seen(Facts { listeners: None, ..facts(&[]) }), &["listen-address"]),
        (
            "lo not yet",
            Wanted { loopback: Vec::new(), ..one() },
            seen(facts(&[])),
            &["vip-loopback"],
        ),
        (
            "without VIPs nothing matters",
            Wanted::default(),
            seen(Facts { listeners: None, ..facts(&[]) }),
            &[],
        ),
    ];
    for (what, wanted, facts, expected) in cases {
        let unchecked = judge(&wanted, &facts, SystemTime::UNIX_EPOCH).unchecked;
        let codes: Vec<&str> = unchecked.iter().map(|unseen| unseen.code.as_str()).collect();
        assert_eq!(codes, expected, "{what}");
    }
}
