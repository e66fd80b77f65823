//! Every rule, broken: in one set, and by a change of an intent that stands.

use std::collections::BTreeSet;

use super::{
    VIP, director, indexed, intent, ip, name, pool, port, real_server, seed, site, virtual_server,
    vrrp_instance,
};
use fulcrum_model::resource::{
    Director, Pool, RealServer, Resource, Spec, VirtualServer, VrrpInstance,
};
use fulcrum_model::{Listen, Protocol, Revision};

use crate::{Intent, Removal, Violation, examine, examine_alone, prepare};

// Places of the seed's resources in its set.
const D1: usize = 1;
const D2: usize = 2;
const VI1: usize = 3;
const WEB2: usize = 5;
const POOL: usize = 6;
const WEB: usize = 7;

fn told(violations: Vec<Violation>) -> Vec<String> {
    violations.into_iter().map(|v| format!("{}: {}", v.field, v.description)).collect()
}

fn rejections(current: &Intent, set: Vec<Resource>, prune: bool) -> Vec<String> {
    super::rejections(current, set, &Removal { prune, ..Removal::default() })
}

/// Breaks the seed's set, sends it whole.
fn check(what: &str, edit: impl Fn(&mut Vec<Resource>), expected: &[&str]) {
    let mut set = seed();
    edit(&mut set);
    assert_eq!(rejections(&Intent::default(), set, false), expected, "{what}");
}

/// Sends a set to the seed's intent.
fn check_change(what: &str, set: Vec<Resource>, expected: &[&str]) {
    assert_eq!(rejections(&intent(seed()), set, false), expected, "{what}");
}

fn as_director(resource: &mut Resource) -> &mut Director {
    let Spec::Director(director) = &mut resource.spec else { panic!("no director") };
    director
}

fn as_instance(resource: &mut Resource) -> &mut VrrpInstance {
    let Spec::VrrpInstance(instance) = &mut resource.spec else { panic!("no VRRP instance") };
    instance
}

fn as_real_server(resource: &mut Resource) -> &mut RealServer {
    let Spec::RealServer(server) = &mut resource.spec else { panic!("no real server") };
    server
}

fn as_pool(resource: &mut Resource) -> &mut Pool {
    let Spec::Pool(pool) = &mut resource.spec else { panic!("no pool") };
    pool
}

fn listen(resource: &mut Resource, vip: &str, number: u64, protocol: Protocol) {
    let (vip, port) = (ip(vip), Some(port(number)));
    as_virtual_server(resource).listen = Listen::Address { vip, port, protocol };
}

fn as_virtual_server(resource: &mut Resource) -> &mut VirtualServer {
    let Spec::VirtualServer(server) = &mut resource.spec else { panic!("no virtual server") };
    server
}

#[test]
fn the_seed_is_valid() {
    check("as it is", |_| {}, &[]);
    check(
        "equal priorities are legal in VRRP",
        |set| {
            let members = &mut as_instance(&mut set[VI1]).members;
            members[1].priority = members[0].priority;
        },
        &[],
    );
}

#[test]
fn references_exist() {
    check(
        "a slip gets a suggestion, something else does not",
        |set| {
            as_virtual_server(&mut set[WEB]).pool = name("tomcat");
            as_virtual_server(&mut set[WEB]).vrrp_instance = name("front");
            as_pool(&mut set[POOL]).members[1].real_server = name("wbe2");
            as_instance(&mut set[VI1]).members[0].director = name("d3");
            as_director(&mut set[D1]).site = name("mian");
        },
        &[
            "resources[1].spec.site: \"mian\": there is no Site of this name; did you mean \"main\"?",
            "resources[3].spec.members[0].director: \"d3\": there is no Director of this name; create it in the same set",
            "resources[6].spec.members[1].real_server: \"wbe2\": there is no RealServer of this name; did you mean \"web2\"?",
            "resources[7].spec.vrrp_instance: \"front\": there is no VrrpInstance of this name; create it in the same set",
            "resources[7].spec.pool: \"tomcat\": there is no Pool of this name; did you mean \"tomcats\"?",
        ],
    );
    let mut kept = seed();
    kept.remove(POOL);
    assert_eq!(
        rejections(&intent(seed()), kept, true),
        [
            "resources[6].spec.pool: \"tomcats\": Pool tomcats would be deleted by this request; keep it, or stop using it"
        ]
    );
}

#[test]
fn names_are_unique() {
    check(
        "a resource twice",
        |set| set.push(site("main")),
        &[
            "resources[8].name: \"main\": Site main is resources[0] already; list each kind and name once",
        ],
    );
}

#[test]
fn sites_hold_together() {
    check(
        "a director of another site",
        |set| {
            set.push(site("other"));
            as_director(&mut set[D2]).site = name("other");
        },
        &[
            "resources[3].spec.members[1].director: \"d2\": stands in site other, the instance in site main; use directors of one site",
        ],
    );
    check(
        "a real server of another site",
        |set| {
            set.push(site("other"));
            as_real_server(&mut set[WEB2]).site = name("other");
        },
        &[
            "resources[7].spec.pool: \"tomcats\": its real server web2 stands in site other, VRRP instance vi-1 in site main; use real servers of the instance's site",
        ],
    );
    let mut web2 = real_server("web2", "192.168.1.139", 80);
    as_real_server(&mut web2).site = name("other");
    check_change(
        "a real server moves away",
        vec![site("other"), web2],
        &[
            "resources[1].spec.site: \"other\": pool tomcats holds it and serves virtual server web of site main; use that site, or take it out of the pool",
        ],
    );
    let mut web3 = real_server("web3", "192.168.1.139", 80);
    as_real_server(&mut web3).site = name("other");
    as_real_server(&mut web3).agent = name("web1");
    check_change(
        "an agent in two sites",
        vec![site("other"), web3],
        &[
            "resources[1].spec.agent: \"web1\": real server web1 of site main names this agent too, and an agent lives on one host; give each host's agent its own name",
        ],
    );
}

#[test]
fn direct_routing_maps_no_ports() {
    check(
        "the virtual server is told of",
        |set| listen(&mut set[WEB], VIP, 8080, Protocol::Tcp),
        &[
            "resources[7].spec.port: 8080: DR cannot map ports, and of pool tomcats serve web1 on 80, web2 on 80; use equal ports, or nat",
        ],
    );
    check_change(
        "a real server changes its port",
        vec![real_server("web1", "192.168.1.138", 8080)],
        &[
            "resources[0].spec.port: 8080: virtual server web has port 80 and DR cannot map ports; use equal ports, or nat",
        ],
    );
    let mut others = seed();
    others.push(real_server("web3", "192.168.1.140", 8080));
    assert_eq!(
        rejections(&intent(others), vec![pool("tomcats", &["web1", "web3"])], false),
        [
            "resources[0].spec.members[1].real_server: \"web3\": serves on port 8080, virtual server web has port 80, and DR cannot map ports; use equal ports, or nat"
        ]
    );
}

#[test]
fn addresses_belong_to_one() {
    let second = |vips: &[&str]| vrrp_instance("vi-2", 52, vips, &[("d2", 100), ("d1", 90)]);
    check_change(
        "a VIP in two instances",
        vec![second(&["192.168.1.151/24", "192.168.1.150/32"])],
        &[
            "resources[0].spec.vips[1]: \"192.168.1.150\": VRRP instance vi-1 holds it as a VIP; use another address",
        ],
    );
    check_change(
        "a VIP that is a DIP, and one that is a RIP",
        vec![second(&["192.168.1.135/24", "192.168.1.138/24"])],
        &[
            "resources[0].spec.vips[0]: \"192.168.1.135\": director d1 has it as its own address; use another address",
            "resources[0].spec.vips[1]: \"192.168.1.138\": real server web1 has it as its own address; use another address",
        ],
    );
    check_change(
        "a RIP that is a VIP",
        vec![real_server("web3", VIP, 80)],
        &[
            "resources[0].spec.rip: \"192.168.1.150\": VRRP instance vi-1 holds it as a VIP; use another address",
        ],
    );
    check_change(
        "a DIP that another director has, and one that is a VIP",
        vec![director("d3", "main", "192.168.1.135"), director("d4", "main", VIP)],
        &[
            "resources[0].spec.dip: \"192.168.1.135\": director d1 has it as its own address; use another address",
            "resources[1].spec.dip: \"192.168.1.150\": VRRP instance vi-1 holds it as a VIP; use another address",
        ],
    );
    check_change(
        "a director that serves, and a host with two ports",
        vec![
            real_server("local", "192.168.1.135", 80),
            real_server("web1-admin", "192.168.1.138", 8080),
        ],
        &[],
    );
    check_change(
        "real servers with the same address and port",
        vec![real_server("web3", "192.168.1.138", 80)],
        &[
            "resources[0].spec.port: 80: real server web1 is 192.168.1.138:80 already; use another port, or that one",
        ],
    );
    check_change(
        "another site may use the same addresses",
        vec![site("other"), director("o1", "other", "192.168.1.135")],
        &[],
    );
    check_change(
        "a virtual server twice",
        vec![virtual_server("web-again", VIP, 80)],
        &[
            "resources[0].spec.port: 80: virtual server web is 192.168.1.150:80/tcp already; use another port or protocol",
        ],
    );
    let mut udp = virtual_server("web-udp", VIP, 80);
    listen(&mut udp, VIP, 80, Protocol::Udp);
    check_change("another protocol", vec![udp], &[]);
    check_change(
        "a VIP that its instance does not hold",
        vec![virtual_server("web2", "192.168.1.151", 80)],
        &[
            "resources[0].spec.vip: \"192.168.1.151\": VRRP instance vi-1 holds 192.168.1.150; use one of its VIPs, or add this one to it",
        ],
    );
}

#[test]
fn vrids_are_unique_on_a_segment() {
    let second = |vrid| vrrp_instance("vi-2", vrid, &["192.168.1.151/24"], &[("d2", 100)]);
    check_change(
        "the same VRID",
        vec![second(51)],
        &[
            "resources[0].spec.vrid: 51: VRRP instance vi-1 has this VRID on eth0 already; use another, such as 1",
        ],
    );
    check_change("another VRID", vec![second(52)], &[]);
    let mut elsewhere = second(51);
    as_instance(&mut elsewhere).members[0].interface = Some("eth1".to_owned());
    check_change("the same on another interface", vec![elsewhere], &[]);

    let unicast = |text, vip: &str, members: &[(&str, u64)]| {
        let mut instance = vrrp_instance(text, 60, &[vip], members);
        as_instance(&mut instance).unicast = true;
        instance
    };
    let more = [
        director("d3", "main", "192.168.1.133"),
        director("d4", "main", "192.168.1.134"),
        unicast("vi-3", "192.168.1.153", &[("d1", 100), ("d2", 90)]),
    ];
    let apart = unicast("vi-4", "192.168.1.154", &[("d3", 100), ("d4", 90)]);
    let together = unicast("vi-4", "192.168.1.154", &[("d3", 100), ("d1", 90)]);
    let with = |last: Resource| more.iter().cloned().chain([last]).collect();
    check_change("unicast instances that never meet", with(apart), &[]);
    check_change(
        "unicast instances that meet on a director",
        with(together),
        &[
            "resources[3].spec.vrid: 60: VRRP instance vi-3 has this VRID on eth0 already; use another, such as 1",
        ],
    );
}

#[test]
fn what_the_change_breaks_elsewhere_is_told_there() {
    let vi1 = vrrp_instance("vi-1", 51, &["192.168.1.151/24"], &[("d1", 100), ("d2", 90)]);
    check_change(
        "the VIP is taken from under a virtual server",
        vec![vi1],
        &[
            "VirtualServer/web.spec.vip: \"192.168.1.150\": VRRP instance vi-1 holds 192.168.1.151; use one of its VIPs, or add this one to it",
        ],
    );
}

#[test]
fn what_stood_before_holds_nothing_up() {
    let mut old = intent(seed());
    old.apply(Revision(8), [virtual_server("web-again", VIP, 80)], []);
    assert_eq!(rejections(&old, vec![site("other")], false), [""; 0]);
    assert_eq!(
        rejections(&old, vec![virtual_server("web-again", VIP, 80)], false).len(),
        1,
        "but whoever writes it again is told"
    );
}

#[test]
fn unreadable_resources_are_not_told_of_twice() {
    let mut set = indexed(seed());
    let (_, broken) = set.remove(POOL);
    listen(&mut set[WEB - 1].1, "192.168.1.151", 80, Protocol::Tcp);
    let violations =
        examine(&Intent::default(), &set, &BTreeSet::from([broken.key()]), &Removal::unlisted());
    assert_eq!(
        told(violations),
        [
            "resources[7].spec.vip: \"192.168.1.151\": VRRP instance vi-1 holds 192.168.1.150; use one of its VIPs, or add this one to it"
        ]
    );
}

#[test]
fn a_set_is_judged_by_itself() {
    let mut set = indexed(seed());
    set.remove(D1);
    listen(&mut set[WEB - 1].1, VIP, 8080, Protocol::Tcp);
    assert_eq!(
        told(examine_alone(&set, &BTreeSet::new())),
        [
            "resources[7].spec.port: 8080: DR cannot map ports, and of pool tomcats serve web1 on 80, web2 on 80; use equal ports, or nat"
        ]
    );
}

#[test]
fn drastic_changes_are_held() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let more = |count: usize| -> Vec<Resource> {
        let servers = names.iter().zip(8081..).take(count).map(|(name, port)| {
            let mut server = virtual_server(name, VIP, port);
            as_virtual_server(&mut server).pool = "empty".parse().expect("a name");
            server
        });
        seed().into_iter().chain([pool("empty", &[])]).chain(servers).collect()
    };
    let reason = |before: usize, after: Vec<Resource>, allow: bool| match prepare(
        &intent(more(before)),
        indexed(after),
        &Removal::unlisted(),
        allow,
    ) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    assert_eq!(reason(1, more(0), false), None, "half may go");
    assert_eq!(
        reason(2, more(0), false).as_deref(),
        Some("held: it deletes 2 of 3 virtual servers (a, b); allow_drastic releases it")
    );
    assert_eq!(
        reason(6, Vec::new(), false).as_deref(),
        Some(
            "held: it deletes 7 of 7 virtual servers (a, b, c, d, e, …); allow_drastic releases it"
        )
    );
    assert_eq!(reason(6, Vec::new(), true), None, "unless it is meant");
}
