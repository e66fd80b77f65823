use std::net::Ipv4Addr;

use super::*;
use crate::{Instance, WallClock};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

fn plan(edit: impl FnOnce(&mut VrrpInstancePlan)) -> VrrpInstancePlan {
    let mut plan = VrrpInstancePlan {
        name: "vi-1".parse().expect("a name"),
        vrid: Vrid::new(51).expect("a VRID"),
        version: VrrpVersion::V2,
        advert_interval: Duration::from_secs(1),
        interface: "eth0".to_owned(),
        priority: Priority::new(90).expect("a priority"),
        preempt: true,
        auth_pass: AuthPass::new("1111"),
        vips: vec!["10.7.0.150/24".parse::<Cidr>().expect("a VIP")],
        source: OURS.into(),
        unicast_peers: Vec::new(),
        checksum: VrrpChecksum::Deployed,
        take_over: false,
        options: fulcrum_model::VrrpOptions::default(),
    };
    edit(&mut plan);
    plan
}

fn v3(plan: &mut VrrpInstancePlan) {
    plan.version = VrrpVersion::V3;
    plan.auth_pass = None;
    plan.advert_interval = Duration::from_millis(100);
}

#[test]
fn plans_that_cannot_be_run_say_what_to_give() {
    let check = |edit: &dyn Fn(&mut VrrpInstancePlan), expected: Result<(), &str>| {
        let result = Config::from_plan(&plan(edit)).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(result.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
    };
    check(&|_| {}, Ok(()));
    check(&v3, Ok(()));
    check(
        &|p| p.advert_interval = Duration::from_millis(500),
        Err("advert_interval 500ms does not fit VRRP version 2: give whole seconds from 1s to \
             255s, or use version 3"),
    );
    check(
        &|p| {
            v3(p);
            p.advert_interval = Duration::from_millis(15);
        },
        Err("advert_interval 15ms does not fit VRRP version 3: give a multiple of 10ms from 10ms \
             to 40.95s"),
    );
    check(
        &|p| {
            v3(p);
            p.advert_interval = Duration::from_secs(41);
        },
        Err("advert_interval 41s does not fit VRRP version 3: give a multiple of 10ms from 10ms \
             to 40.95s"),
    );
    check(
        &|p| {
            v3(p);
            p.auth_pass = AuthPass::new("1111");
        },
        Err("auth_pass is not for VRRP version 3: remove it, or use version 2"),
    );
    check(&|p| p.vips.clear(), Err("vips: a virtual router has 1 to 255 addresses, not 0"));
    check(
        &|p| p.vips.push("fd00::1/64".parse().expect("a VIP")),
        Err("vips: fd00::1 is not of the family of 10.7.0.150: give each family a virtual router \
             of its own"),
    );
}

/// Whether what the peer's director sends to one that runs `ours`, after edits of both, lists other
/// addresses.
fn receive(
    ours: &dyn Fn(&mut VrrpInstancePlan),
    theirs: &dyn Fn(&mut VrrpInstancePlan),
    edit: &dyn Fn(&mut Vec<u8>),
) -> Result<bool, Discard> {
    let ours = Config::from_plan(&plan(ours)).expect("a plan that can be run");
    let theirs = plan(|p| {
        p.source = THEIRS.into();
        theirs(p);
    });
    let theirs = Config::from_plan(&theirs).expect("a plan that can be run");
    let mut packet = Vec::new();
    let priority = theirs.priority.get();
    let now = Duration::ZERO;
    Instance::new(theirs).advertise(now, WallClock(now), priority, |_, sent| {
        packet = sent.to_vec();
    });
    edit(&mut packet);
    let datagram = Datagram::parse(&packet).expect("a packet");
    ours.receive(&datagram, OURS.into()).map(|received| received.lists_other_addresses)
}

#[test]
fn each_check_of_a_received_packet_has_its_reason() {
    type Edit = &'static dyn Fn(&mut VrrpInstancePlan);
    let same: Edit = &|_| {};
    let no_pass: Edit = &|p| p.auth_pass = None;
    let other_vip: Edit = &|p| p.vips = vec!["10.7.0.151/24".parse().expect("a VIP")];
    let cases: [(&str, Edit, Edit, Result<bool, Discard>); 18] = [
        ("same v2", same, same, Ok(false)),
        ("same v3", &v3, &v3, Ok(false)),
        (
            "RFC 9568 checksum from them",
            &v3,
            &|p| {
                v3(p);
                p.checksum = VrrpChecksum::Rfc9568;
            },
            Ok(false),
        ),
        ("v3 to v2", no_pass, &v3, Err(Discard::Version)),
        ("v2 to v3", &v3, same, Err(Discard::Version)),
        ("other VRID", same, &|p| p.vrid = Vrid::new(52).expect("a VRID"), Err(Discard::Vrid)),
        ("own source", same, &|p| p.source = OURS.into(), Err(Discard::OwnSource)),
        ("no password from them", same, no_pass, Err(Discard::AuthenticationType)),
        ("no password from us", no_pass, same, Err(Discard::AuthenticationType)),
        (
            "other password",
            same,
            &|p| p.auth_pass = AuthPass::new("2222"),
            Err(Discard::AuthenticationData),
        ),
        (
            "other interval v2",
            same,
            &|p| p.advert_interval = Duration::from_secs(2),
            Err(Discard::Interval),
        ),
        (
            "other interval v3",
            &v3,
            &|p| {
                v3(p);
                p.advert_interval = Duration::from_secs(2);
            },
            Ok(false),
        ),
        ("other VIP v2", same, other_vip, Err(Discard::AddressList)),
        (
            "other VIP v2 from the owner",
            same,
            &|p| {
                other_vip_of_owner(p);
            },
            Ok(true),
        ),
        (
            "other VIP v3",
            &v3,
            &|p| {
                v3(p);
                p.vips = vec!["10.7.0.9/24".parse().expect("a VIP")];
            },
            Ok(true),
        ),
        ("a peer", &|p| p.unicast_peers = vec![THEIRS.into()], same, Ok(false)),
        ("no peer", &|p| p.unicast_peers = vec![OURS.into()], same, Err(Discard::NotAPeer)),
        (
            "VIPs in another order",
            &|p| p.vips.push("10.7.0.9/24".parse().expect("a VIP")),
            &|p| p.vips.insert(0, "10.7.0.9/24".parse().expect("a VIP")),
            Ok(false),
        ),
    ];
    for (what, ours, theirs, expected) in cases {
        let result = receive(ours, theirs, &|_| {});
        assert_eq!(result, expected, "{what}");
    }
    let crossed_a_router = receive(same, same, &|packet| packet[8] = 254);
    assert_eq!(crossed_a_router, Err(Discard::Ttl));
    let damaged = receive(same, same, &|packet| packet[22] ^= 1);
    assert_eq!(damaged, Err(Discard::Checksum));
}

fn other_vip_of_owner(plan: &mut VrrpInstancePlan) {
    plan.vips = vec!["10.7.0.151/24".parse().expect("a VIP")];
    plan.priority = Priority::OWNER;
}

#[test]
fn labels_of_discards_are_unique() {
    let labels: std::collections::BTreeSet<_> = Discard::ALL.map(Discard::label).into();
    assert_eq!(labels.len(), Discard::ALL.len());
}
