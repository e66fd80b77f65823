//! Rules and plans of what IPVS can do: firewall marks, families, forwarding methods, sorry servers, drains.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::plan::{DestinationPlan, HostTunnel, VirtualServerPlan};
use fulcrum_model::resource::{
    AgentRequirement, Kind, Pool, Resource, ResourceKey, Spec, VirtualServer,
};
use fulcrum_model::vrrp::ConnectionSync;
use fulcrum_model::{ForwardingMethod, Listen, Scheduler, Tunnel, Weight};

use super::{
    VIP, drain, intent, ip, name, pool, real_server, rejections, seed, virtual_server,
    vrrp_instance,
};
use crate::{Intent, Removal, plan_director, plan_real_server};

fn edit_server(resource: &mut Resource, edit: impl FnOnce(&mut VirtualServer)) {
    let Spec::VirtualServer(server) = &mut resource.spec else { panic!("a virtual server") };
    edit(server);
}

fn edit_pool(resource: &mut Resource, edit: impl FnOnce(&mut Pool)) {
    let Spec::Pool(pool) = &mut resource.spec else { panic!("a pool") };
    edit(pool);
}

/// The virtual server `text` with this edit.
fn server(text: &str, edit: impl FnOnce(&mut VirtualServer)) -> Resource {
    let mut resource = virtual_server(text, VIP, 8080);
    edit_server(&mut resource, edit);
    resource
}

fn with(resources: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
    seed().into_iter().chain(resources).collect()
}

#[track_caller]
fn check(what: &str, set: Vec<Resource>, expected: &[&str]) {
    let found = rejections(&Intent::default(), set, &Removal::default());
    assert_eq!(found, expected, "{what}");
}

fn mark(number: u32, is_ipv6: bool) -> Listen {
    Listen::Fwmark { mark: NonZeroU32::new(number).expect("a mark"), is_ipv6 }
}

fn listen(vip: &str, port_number: Option<u64>) -> Listen {
    Listen::Address {
        vip: ip(vip),
        port: port_number.map(super::port),
        protocol: fulcrum_model::Protocol::Tcp,
    }
}

#[test]
fn ports_are_mapped_by_nat_alone() {
    let forwarded = |method| with([server("api", |server| server.forwarding = method)]);
    check("nat", forwarded(ForwardingMethod::Nat), &[]);
    let told = [
        "resources[8].spec.port: 8080: a tunnel cannot map ports, and of pool tomcats serve web1 on 80, web2 on 80; use equal ports, or nat",
    ];
    check("tunnel", forwarded(ForwardingMethod::Tunnel), &told);
    let marked = server("marked", |server| server.listen = mark(5, false));
    check("a mark keeps ports", with([marked]), &[]);
    let mut every_port = server("every", |server| server.listen = listen(VIP, None));
    check("every port keeps ports", with([every_port.clone()]), &[]);

    // A member that is reached by nat needs no equal port.
    let mut mixed = pool("mixed", &["web1", "web3"]);
    edit_pool(&mut mixed, |pool| pool.members[1].forwarding = Some(ForwardingMethod::Nat));
    edit_server(&mut every_port, |server| {
        server.pool = name("mixed");
        server.listen = listen(VIP, Some(443));
        server.forwarding = ForwardingMethod::Nat;
    });
    let mut set = with([real_server("web3", "192.168.1.140", 8080), mixed, every_port]);
    check("per member", set.clone(), &[]);
    edit_server(set.last_mut().expect("some"), |server| {
        server.forwarding = ForwardingMethod::Dr;
    });
    let told = [
        "resources[10].spec.port: 443: DR cannot map ports, and of pool mixed serve web1 on 80; use equal ports, or nat",
    ];
    check("but the other one does", set, &told);
}

#[test]
fn what_is_taken_is_taken_once() {
    let twin = |text: &str, taken| server(text, move |server| server.listen = taken);
    check(
        "a mark",
        with([twin("a", mark(5, false)), twin("b", mark(5, false))]),
        &["resources[9].spec.fwmark: 5: virtual server a takes this mark already; use another one"],
    );
    check(
        "every port",
        with([twin("a", listen(VIP, None)), twin("b", listen(VIP, None))]),
        &[
            "resources[9].spec.all_ports: true: virtual server a takes every port of 192.168.1.150/tcp already; use another VIP or protocol",
        ],
    );
    let mut six = pool("six", &["s1"]);
    edit_pool(&mut six, |pool| pool.agent = AgentRequirement::None);
    let mut strange = twin("a", mark(5, true));
    edit_server(&mut strange, |server| server.pool = name("six"));
    check(
        "a mark of a family that the instance has no VIP of",
        with([real_server("s1", "2001:db8:1::1", 8080), six, strange]),
        &[
            "resources[10].spec.fwmark_ipv6: true: VRRP instance vi-1 holds 192.168.1.150; use one of its VIPs, or add this one to it",
        ],
    );
}

fn ipv6_set(forwarding: ForwardingMethod, is_synchronised: bool) -> Vec<Resource> {
    let vips = ["fe80::1/64", "2001:db8::150/64"];
    let mut instance = vrrp_instance("vi-6", 56, &vips, &[("d1", 100), ("d2", 90)]);
    if let Spec::VrrpInstance(instance) = &mut instance.spec {
        instance.version = fulcrum_model::resource::VrrpVersion::V3;
        instance.auth_pass = None;
        instance.options.connection_sync = is_synchronised.then(ConnectionSync::default);
    }
    let server = server("web6", |server| {
        server.vrrp_instance = name("vi-6");
        server.listen = listen("2001:db8::150", Some(80));
        server.forwarding = forwarding;
        server.pool = name("by-hand");
    });
    let mut pool = pool("by-hand", &["web1", "web2"]);
    edit_pool(&mut pool, |pool| pool.agent = AgentRequirement::None);
    with([instance, pool, server])
}

#[test]
fn families_meet_in_a_tunnel_alone() {
    check(
        "dr",
        ipv6_set(ForwardingMethod::Dr, false),
        &[
            "resources[10].spec.pool: \"by-hand\": its real server web1 is 192.168.1.138, and only a tunnel leads from one family to the other; use forwarding: tunnel, or a real server of the same family",
        ],
    );
    check("tunnel", ipv6_set(ForwardingMethod::Tunnel, false), &[]);
    check(
        "tunnel and connection synchronisation",
        ipv6_set(ForwardingMethod::Tunnel, true),
        &[
            "resources[10].spec.pool: \"by-hand\": its real server web1 is 192.168.1.138, and the kernel does not synchronise connections of mixed families; leave connection_sync out, or use a real server of the same family",
        ],
    );
}

#[test]
fn checks_are_made_from_their_family() {
    let mut set = seed();
    set.push(pool("others", &["web1"]));
    if let Some(last) = set.last_mut() {
        edit_pool(last, |pool| pool.check.source = "2001:db8::135".parse().ok());
    }
    let told = [
        "resources[8].spec.check.source: \"2001:db8::135\": real server web1 is 192.168.1.138, and cannot be tried from there; give a source of the same family, leave it out, or use a pool for each family",
    ];
    check("of IPv6", set.clone(), &told);
    if let Some(last) = set.last_mut() {
        edit_pool(last, |pool| pool.check.source = "192.168.1.135".parse().ok());
    }
    check("of IPv4", set, &[]);
}

#[test]
fn agents_hold_vips_of_both_families() {
    let mut set = ipv6_set(ForwardingMethod::Tunnel, false);
    edit_pool(&mut set[9], |pool| pool.agent = AgentRequirement::Required);
    check("required", set.clone(), &[]);
    let vip = ip("2001:db8::150");
    let host = plan_real_server(&intent(set.clone()), &name("web1"));
    assert_eq!(host.vips, [ip(VIP), vip], "the one of seed's dr, and the tunnel's");
    let rip = ip("192.168.1.138");
    assert_eq!(host.tunnels, [HostTunnel { tunnel: Tunnel::Ipip, rip, vips: vec![vip] }]);

    edit_pool(&mut set[9], |pool| pool.agent = AgentRequirement::None);
    let host = plan_real_server(&intent(set.clone()), &name("web1"));
    assert_eq!((host.vips, host.tunnels), (vec![ip(VIP)], vec![]), "whoever set it up does that");

    // Under a mark all VIPs of the family, but for the one that VRRP needs on its link.
    edit_pool(&mut set[9], |pool| pool.agent = AgentRequirement::Required);
    edit_server(&mut set[10], |server| server.listen = mark(7, true));
    let host = plan_real_server(&intent(set), &name("web1"));
    assert_eq!(host.vips, [ip(VIP), vip]);
}

#[test]
fn slow_starts_do_not_churn_hashes() {
    let mut set = seed();
    for resource in &mut set {
        match &mut resource.spec {
            Spec::Pool(pool) => pool.slow_start = Some(Duration::from_secs(30)),
            Spec::VirtualServer(server) => server.scheduler = Scheduler::Mh,
            _ => {}
        }
    }
    let told = [
        "resources[7].spec.scheduler: mh: pool tomcats has slow_start, and each of its steps would move clients of a hash; use another scheduler, or a pool without it",
    ];
    check("mh", set, &told);
}

fn planned(set: Vec<Resource>) -> VirtualServerPlan {
    let intent = intent(set);
    let plan = plan_director(&intent, &name("d1"));
    plan.virtual_servers[&name("web")].clone()
}

fn destination<'a>(plan: &'a VirtualServerPlan, text: &str) -> &'a DestinationPlan {
    let mut all = plan.destinations.iter();
    all.find(|found| found.real_server == name(text)).expect("a destination")
}

#[test]
fn drains_reach_the_plan_of_what_they_name() {
    let orders = |set: Vec<Resource>| {
        let plan = planned(set);
        ["web1", "web2"]
            .map(|text| destination(&plan, text).drain.as_ref().map(|drain| drain.name.to_string()))
    };
    assert_eq!(orders(seed()), [None, None]);
    let all = drain("all", "web1", None);
    let one = drain("one", "web1", Some("web"));
    assert_eq!(orders(with([all.clone()])), [Some("all".to_owned()), None]);
    assert_eq!(orders(with([all, one])), [Some("one".to_owned()), None], "the nearer one");

    let other = [
        real_server("web3", "192.168.1.140", 80),
        pool("others", &["web3"]),
        drain("stray", "web3", Some("web")),
        drain("again", "web1", None),
        drain("twice", "web1", None),
    ];
    check(
        "stray and double",
        with(other),
        &[
            "resources[10].spec.virtual_server: \"web\": real server web3 is no member of its pool tomcats; name a virtual server that it serves, or none for all",
            "resources[12].spec.real_server: \"web1\": drain again orders it already; change or delete that one",
        ],
    );
}

#[test]
fn prune_leaves_drains_of_what_stays() {
    let intent = intent(with([drain("order", "web1", None)]));
    let gone = |set: Vec<Resource>| {
        let set = set.into_iter().enumerate().collect();
        let prepared = crate::prepare(&intent, set, &Removal::unlisted(), true).expect("valid");
        let key = ResourceKey { kind: Kind::Drain, name: name("order") };
        prepared.delete.contains(&key)
    };
    assert!(!gone(seed()));
    let without: Vec<Resource> = seed()
        .into_iter()
        .filter(|resource| resource.name != name("web1"))
        .map(|mut resource| {
            if let Spec::Pool(pool) = &mut resource.spec {
                pool.members.retain(|member| member.real_server != name("web1"));
            }
            resource
        })
        .collect();
    assert!(gone(without));
}

#[test]
fn a_sorry_server_is_planned_and_attended() {
    let mut set = with([real_server("sorry", "192.168.1.140", 80)]);
    for resource in &mut set {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.sorry_server = Some(name("sorry"));
        }
    }
    let intent = intent(set.clone());
    let plan = planned(set);
    let sorry = plan.sorry_server.expect("one");
    assert_eq!((sorry.rip, sorry.weight), (ip("192.168.1.140"), Weight::ONE));
    let host = plan_real_server(&intent, &name("sorry"));
    assert_eq!(host.vips, [ip(VIP)]);
}

#[test]
fn under_a_mark_real_servers_hold_every_vip_of_its_family() {
    let held =
        |set: Vec<Resource>| -> Vec<IpAddr> { plan_real_server(&intent(set), &name("web1")).vips };
    let mut set = seed();
    for resource in &mut set {
        match &mut resource.spec {
            Spec::VrrpInstance(instance) => {
                instance.vips.push("192.168.1.151/24".parse().expect("a VIP"));
            }
            Spec::VirtualServer(server) => server.listen = mark(7, false),
            _ => {}
        }
    }
    let vips = [ip(VIP), ip("192.168.1.151")];
    assert_eq!(held(set.clone()), vips);
    assert_eq!(planned(set.clone()).vips, vips);
    for resource in &mut set {
        if let Spec::VirtualServer(server) = &mut resource.spec {
            server.forwarding = ForwardingMethod::Nat;
        }
    }
    assert_eq!(held(set), [] as [IpAddr; 0], "nat needs no VIP there");
}

#[test]
fn what_silences_most_of_a_pool_is_held() {
    let mut three = with([real_server("web3", "192.168.1.140", 80)]);
    for resource in &mut three {
        if resource.name == name("tomcats") {
            *resource = pool("tomcats", &["web1", "web2", "web3"]);
        }
    }
    let current = intent(three);
    let held = |set: Vec<Resource>| {
        let set = set.into_iter().enumerate().collect();
        let prepared = crate::prepare(&current, set, &Removal::default(), false);
        prepared.err().map(|error| error.to_string())
    };
    assert_eq!(held(vec![drain("a", "web1", None)]), None);
    let text = "held: it leaves 1 virtual servers less than half of the weight of their real servers (web: 1 of 3); allow_drastic releases it";
    let two = vec![drain("a", "web1", None), drain("b", "web2", Some("web"))];
    assert_eq!(held(two).as_deref(), Some(text));
    assert_eq!(held(vec![pool("tomcats", &["web1"])]).as_deref(), Some(text));
    let mut zero = pool("tomcats", &["web1", "web2", "web3"]);
    edit_pool(&mut zero, |pool| {
        for member in &mut pool.members[..2] {
            member.weight = Weight::ZERO;
        }
    });
    assert_eq!(held(vec![zero]).as_deref(), Some(text));
}
