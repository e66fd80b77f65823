//! What of virtual servers, pools and drains is refused, and with which words.

use super::{duration, errors, named, virtual_server};
use crate::v1;
use crate::v1::resource::Spec as Wire;

type Edit = fn(&mut v1::VirtualServer);

#[track_caller]
fn check(cases: &[(Edit, &[&str])]) {
    for (edit, expected) in cases {
        let mut server = virtual_server();
        edit(&mut server);
        assert_eq!(errors(&named("web", Wire::VirtualServer(server))), *expected);
    }
}

#[test]
fn a_firewall_mark_stands_alone() {
    check(&[
        (
            |s| s.fwmark = 5,
            &[
                "spec.vip: \"192.168.1.150\": fwmark takes packets whatever their address; leave one of both out",
                "spec.port: 80: fwmark takes packets whatever their address; leave one of both out",
            ],
        ),
        (
            |s| {
                (s.fwmark, s.port) = (5, 0);
                s.vip.clear();
                s.fwmark_ipv6 = true;
            },
            &[],
        ),
        (
            |s| s.fwmark_ipv6 = true,
            &["spec.fwmark_ipv6: true: it belongs to fwmark; give one, or leave it out"],
        ),
    ]);
}

#[test]
fn every_port_needs_persistence_and_no_port() {
    check(&[
        (
            |s| s.all_ports = true,
            &["spec.port: 80: all_ports takes every port; leave one of both out"],
        ),
        (
            |s| (s.all_ports, s.port) = (true, 0),
            &["spec.all_ports: given: it needs persistence; set persistence_timeout"],
        ),
        (
            |s| {
                (s.all_ports, s.port) = (true, 0);
                s.persistence_timeout = duration("300s");
            },
            &[],
        ),
    ]);
}

#[test]
fn options_fit_what_stands_beside_them() {
    check(&[
        (
            |s| (s.hash_port, s.hash_fallback) = (true, true),
            &[
                "spec.hash_port: given: of use with the schedulers sh and mh alone",
                "spec.hash_fallback: given: of use with the schedulers sh and mh alone",
            ],
        ),
        (
            |s| {
                s.hash_port = true;
                s.scheduler = v1::Scheduler::Mh.into();
            },
            &[],
        ),
        (|s| s.one_packet = true, &["spec.one_packet: given: the kernel does it for UDP alone"]),
        (
            |s| s.persistence_netmask = "255.255.255.0".to_owned(),
            &["spec.persistence_netmask: given: it needs persistence; set persistence_timeout"],
        ),
        (
            |s| {
                s.persistence_netmask = "64".to_owned();
                s.persistence_timeout = duration("60s");
            },
            &[
                "spec.persistence_netmask: given: IPv4 takes a mask such as 255.255.255.0, IPv6 a prefix length such as 64",
            ],
        ),
        (
            |s| s.persistence_netmask = "255.0.255.0".to_owned(),
            &[
                "spec.persistence_netmask: \"255.0.255.0\": use an IPv4 mask such as 255.255.255.0, or an IPv6 prefix length from 1 to 128",
            ],
        ),
        (
            |s| {
                s.persistence_engine = "sip".to_owned();
                s.persistence_timeout = duration("60s");
            },
            &["spec.persistence_engine: given: the engine sip reads UDP alone"],
        ),
        (
            |s| s.persistence_engine = "cookie".to_owned(),
            &[
                "spec.persistence_engine: \"cookie\": the kernel has the engine sip alone; use it, or leave it out",
            ],
        ),
        (|s| s.on_failure = 9, &["spec.on_failure: 9: use keep or reset"]),
    ]);
}

#[test]
fn tunnels_say_what_they_are() {
    let cases: [(v1::TunnelType, u32, v1::TunnelChecksum, &[&str]); 7] = [
        (v1::TunnelType::Ipip, 0, v1::TunnelChecksum::None, &[]),
        (v1::TunnelType::Gue, 6080, v1::TunnelChecksum::Remote, &[]),
        (v1::TunnelType::Gre, 0, v1::TunnelChecksum::Full, &[]),
        (
            v1::TunnelType::Gue,
            0,
            v1::TunnelChecksum::None,
            &["spec.tunnel.port: 0 or none: a port is 1 to 65535"],
        ),
        (
            v1::TunnelType::Ipip,
            6080,
            v1::TunnelChecksum::Full,
            &[
                "spec.tunnel.port: 6080: only gue has a port; leave it out",
                "spec.tunnel.checksum: given: ipip has no checksum of its own; leave it out",
            ],
        ),
        (
            v1::TunnelType::Gre,
            1,
            v1::TunnelChecksum::None,
            &["spec.tunnel.port: 1: only gue has a port; leave it out"],
        ),
        (
            v1::TunnelType::Gre,
            0,
            v1::TunnelChecksum::Remote,
            &["spec.tunnel.checksum: remote: gre takes none or full"],
        ),
    ];
    for (kind, port, checksum, expected) in cases {
        let mut server = virtual_server();
        let tunnel = v1::Tunnel { r#type: kind.into(), port, checksum: checksum.into() };
        server.tunnel = Some(tunnel);
        assert_eq!(errors(&named("web", Wire::VirtualServer(server))), expected);
    }
}

#[test]
fn pools_and_drains_have_bounds() {
    let member = v1::PoolMember {
        real_server: "web1".to_owned(),
        upper_threshold: 10,
        lower_threshold: 11,
        forwarding: 9,
        ..v1::PoolMember::default()
    };
    let other = v1::PoolMember {
        real_server: "web2".to_owned(),
        lower_threshold: 1,
        ..v1::PoolMember::default()
    };
    let pool = v1::Pool {
        members: vec![member, other],
        quorum: Some(v1::Quorum { weight: 3, hysteresis: 3 }),
        sorry_server: Some(v1::SorryServer { real_server: "web1".to_owned() }),
        slow_start: duration("1.5s"),
        dynamic_weights: Some(v1::DynamicWeights {
            floor_percent: 101,
            target_percent: Some(96),
            smoothing: duration("0.5s"),
        }),
        ..v1::Pool::default()
    };
    assert_eq!(
        errors(&named("tomcats", Wire::Pool(pool))),
        [
            "spec.members[0].lower_threshold: 11: it is at most upper_threshold, which is 10",
            "spec.members[0].forwarding: 9: use dr, nat or tunnel",
            "spec.members[1].lower_threshold: 1: of use with an upper_threshold alone; give one, or leave it out",
            "spec.quorum.hysteresis: 3: it is below weight, which is 3",
            "spec.sorry_server.real_server: \"web1\": a member of the pool; name one that is not, or take it out",
            "spec.slow_start: 1500ms: use whole seconds",
            "spec.dynamic_weights.floor_percent: 101: a share in percent, at most 100",
            "spec.dynamic_weights.target_percent: 96: a share in percent, at most 95",
            "spec.dynamic_weights.smoothing: 500ms: use 1s to 300s",
        ]
    );
    let drain = v1::Drain {
        reason: "two\nlines".to_owned(),
        grace: duration("721h"),
        ..v1::Drain::default()
    };
    assert_eq!(
        errors(&named("order", Wire::Drain(drain))),
        [
            "spec.real_server: none: name the real server that takes no new connections",
            "spec.reason: 9 bytes: use one line of at most 255 bytes",
            "spec.grace: 2595600s: use 0s to 2592000s",
        ]
    );
}
