//! Rules of checks through the VIP.

use std::num::NonZeroU32;

use fulcrum_model::resource::{AgentRequirement, Resource, Spec};
use fulcrum_model::{ForwardingMethod, Listen, Protocol, ThroughVip};

use super::{VIP, ip, port, real_server, rejections, seed};
use crate::{Intent, Removal};

/// The classic cluster with a check through its VIP, edited.
fn cluster(edit: impl Fn(&mut Spec)) -> Vec<Resource> {
    let mut set = seed();
    for Resource { spec, .. } in &mut set {
        if let Spec::Pool(pool) = spec {
            pool.check.through_vip = Some(ThroughVip { retries: 1, connect_only: false });
        }
        edit(spec);
    }
    set
}

fn listening(listen: Listen) -> Vec<Resource> {
    cluster(|spec| {
        if let Spec::VirtualServer(server) = spec {
            server.listen = listen;
        }
    })
}

#[track_caller]
fn check(set: Vec<Resource>, expected: &[&str]) {
    assert_eq!(rejections(&Intent::default(), set, &Removal::default()), expected);
}

#[test]
fn a_vip_is_tried_at_one_port_of_tcp() {
    check(cluster(|_| {}), &[]);
    let at = |port, protocol| Listen::Address { vip: ip(VIP), port, protocol };
    check(
        listening(at(Some(port(80)), Protocol::Udp)),
        &[
            "resources[7].spec.protocol: udp: pool tomcats has check.through_vip, and only connections of TCP are tried; \
             leave it out there, or use another pool",
        ],
    );
    check(
        listening(at(None, Protocol::Tcp)),
        &[
            "resources[7].spec.all_ports: true: pool tomcats has check.through_vip, and every port is none to try; \
             leave it out there, or use another pool",
        ],
    );
    let mark =
        |mark| Listen::Fwmark { mark: NonZeroU32::new(mark).expect("a mark"), is_ipv6: false };
    check(
        listening(mark(5)),
        &[
            "resources[7].spec.fwmark: 5: pool tomcats has check.through_vip, and a mark has no address; \
             leave it out there, or use another pool",
        ],
    );
}

#[test]
fn marks_of_the_range_are_nobody_elses() {
    let mark = NonZeroU32::new(0x4655_0001).expect("a mark");
    let words = "1179975681: 0x46550000 to 0x4655ffff are the marks of Fulcrum's checks through VIPs; use another";
    let mut set = seed();
    for Resource { spec, .. } in &mut set {
        match spec {
            Spec::VirtualServer(server) => server.listen = Listen::Fwmark { mark, is_ipv6: false },
            Spec::Pool(pool) => pool.check.fwmark = Some(mark),
            _ => {}
        }
    }
    let expected = [
        format!("resources[6].spec.check.fwmark: {words}"),
        format!("resources[7].spec.fwmark: {words}"),
    ];
    check(set, &expected.each_ref().map(String::as_str));
}

#[test]
fn ways_across_families_and_past_backup_only_are_not_tried() {
    let mut set = cluster(|spec| match spec {
        Spec::VirtualServer(server) => server.forwarding = ForwardingMethod::Tunnel,
        Spec::Pool(pool) => {
            pool.agent = AgentRequirement::None;
            if let Some(member) = pool.members.first_mut() {
                member.real_server = super::name("web3");
            }
        }
        _ => {}
    });
    set.push(real_server("web3", "2001:db8::3", 80));
    check(
        set,
        &[
            "resources[7].spec.pool: \"tomcats\": pool tomcats has check.through_vip, and real servers of the other family \
             are not reached in this way; leave it out there, or use another pool",
        ],
    );
    let set = cluster(|spec| {
        if let Spec::Director(director) = spec {
            director.ipvs.backup_only = Some(director.dip == ip("192.168.1.135"));
        }
    });
    check(
        set,
        &[
            "resources[1].spec.ipvs.backup_only: true: pool tomcats has check.through_vip, and IPVS of a Backup with \
             backup_only forwards nothing, not even its own checks through VIPs; leave one of both out",
        ],
    );
}
