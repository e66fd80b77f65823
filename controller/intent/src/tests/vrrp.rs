//! Rules and plans of VRRP instances beyond the classic one.

use fulcrum_model::resource::{AuthPass, Resource, Spec, VrrpInstance, VrrpVersion};
use fulcrum_model::vrrp::{ConnectionSync, HeldAddress};

use super::{director, intent, ip, name, rejections, seed, virtual_server, vrrp_instance};
use crate::{Intent, Removal, plan_director};

const MEMBERS: [(&str, u64); 2] = [("d1", 100), ("d2", 90)];

fn as_instance(resource: &mut Resource) -> &mut VrrpInstance {
    let Spec::VrrpInstance(instance) = &mut resource.spec else { panic!("no VRRP instance") };
    instance
}

fn ipv6(text: &str, vrid: u64, vip: &str, unicast: bool) -> Resource {
    let mut resource = vrrp_instance(text, vrid, &[vip], &MEMBERS);
    let instance = as_instance(&mut resource);
    (instance.version, instance.auth_pass) = (VrrpVersion::V3, None::<AuthPass>);
    instance.unicast = unicast;
    resource
}

fn synced(mut resource: Resource, interface: Option<&str>, sync_id: Option<u8>) -> Resource {
    let interface = interface.map(str::to_owned);
    let sync = ConnectionSync { interface, sync_id, ..ConnectionSync::default() };
    as_instance(&mut resource).options.connection_sync = Some(sync);
    resource
}

fn check(what: &str, current: &Intent, set: Vec<Resource>, expected: &[&str]) {
    assert_eq!(rejections(current, set, &Removal::default()), expected, "{what}");
}

#[test]
fn families_have_vrids_of_their_own() {
    let seed = intent(seed());
    check("the IPv4 one's", &seed, vec![ipv6("vi-6", 51, "fe80::51/64", false)], &[]);
    check(
        "two of IPv6",
        &seed,
        vec![ipv6("vi-6", 51, "fe80::51/64", false), ipv6("vi-7", 51, "fe80::52/64", false)],
        &[
            "resources[1].spec.vrid: 51: VRRP instance vi-6 has this VRID on eth0 already; use another, such as 1",
        ],
    );
}

#[test]
fn link_local_vips_belong_to_a_link() {
    let seed = intent(seed());
    let mut elsewhere = ipv6("vi-7", 53, "fe80::51/64", false);
    for member in &mut as_instance(&mut elsewhere).members {
        member.interface = Some("eth1".to_owned());
    }
    let first = || ipv6("vi-6", 52, "fe80::51/64", false);
    check("another link", &seed, vec![first(), elsewhere], &[]);
    check(
        "the same link",
        &seed,
        vec![first(), ipv6("vi-7", 53, "fe80::51/64", false)],
        &[
            "resources[1].spec.vips[0]: \"fe80::51\": VRRP instance vi-6 holds it as a VIP; use another address",
        ],
    );
}

#[test]
fn unicast_over_ipv6_needs_addresses() {
    let seed = intent(seed());
    let instance = || ipv6("vi-6", 52, "fe80::51/64", true);
    check(
        "none has one",
        &seed,
        vec![instance()],
        &[
            "resources[0].spec.members[0].director: \"d1\": has no dip_ipv6, and adverts go to it by unicast over IPv6; give the director one, or leave unicast out",
            "resources[0].spec.members[1].director: \"d2\": has no dip_ipv6, and adverts go to it by unicast over IPv6; give the director one, or leave unicast out",
        ],
    );
    let with_dip = |text: &str, dip: &str, dip_ipv6: &str| {
        let mut resource = director(text, "main", dip);
        if let Spec::Director(director) = &mut resource.spec {
            director.dip_ipv6 = Some(dip_ipv6.parse().expect("an address"));
        }
        resource
    };
    let mut set = super::seed();
    set[1] = with_dip("d1", "192.168.1.135", "2001:db8::135");
    set[2] = with_dip("d2", "192.168.1.136", "2001:db8::136");
    set.push(instance());
    set.push(ipv6("vi-7", 53, "fe80::52/64", false));
    let plan = plan_director(&super::intent(set), &name("d1"));
    let unicast = &plan.vrrp_instances[&name("vi-6")];
    assert_eq!(
        (unicast.source, &unicast.unicast_peers[..]),
        (ip("2001:db8::135"), &[ip("2001:db8::136")][..])
    );
    let multicast = &plan.vrrp_instances[&name("vi-7")];
    assert_eq!((multicast.source, &multicast.unicast_peers[..]), (ip("::"), &[][..]));
}

#[test]
fn unadvertised_vips_are_vips() {
    let held = |address: &str| {
        let mut set = seed();
        let address = address.parse().expect("a VIP");
        as_instance(&mut set[3]).options.unadvertised_vips =
            vec![HeldAddress { address, interface: None }];
        set
    };
    let mut served = held("192.168.1.151/24");
    served.push(virtual_server("web-2", "192.168.1.151", 80));
    check("they may be served", &Intent::default(), served, &[]);
    check(
        "they are nobody else's",
        &Intent::default(),
        held("192.168.1.135"),
        &[
            "resources[3].spec.unadvertised_vips[0].address: \"192.168.1.135\": director d1 has it as its own address; use another address",
        ],
    );
    check(
        "nor advertised as well",
        &Intent::default(),
        held("192.168.1.150"),
        &[
            "resources[3].spec.unadvertised_vips[0].address: \"192.168.1.150\": VRRP instance vi-1 holds it as a VIP; use another address",
        ],
    );
}

#[test]
fn a_sync_group_has_the_same_members_throughout() {
    let grouped = |text: &str, vrid, vip: &str, members: &[(&str, u64)]| {
        let mut resource = vrrp_instance(text, vrid, &[vip], members);
        as_instance(&mut resource).options.sync_group = Some(name("edge"));
        resource
    };
    let first = || grouped("vi-2", 52, "10.0.0.1/24", &MEMBERS);
    let seed = intent(seed());
    check("a group of one", &seed, vec![first()], &[]);
    let other = grouped("vi-3", 53, "10.0.0.2/24", &[("d2", 100), ("d1", 90)]);
    check("in any order", &seed, vec![first(), other], &[]);
    check(
        "one less",
        &seed,
        vec![first(), grouped("vi-3", 53, "10.0.0.2/24", &[("d1", 90)])],
        &[
            "resources[1].spec.sync_group: \"edge\": VRRP instance vi-2 of this group has the members d1, d2; give all of a group the same members",
        ],
    );
}

#[test]
fn a_director_has_one_sync_daemon_of_each_role() {
    let seed = intent(seed());
    let instance = |text: &str, vrid, vip: &str| vrrp_instance(text, vrid, &[vip], &MEMBERS);
    let (a, b) = (instance("vi-2", 52, "10.0.0.1"), instance("vi-3", 53, "10.0.0.2"));
    let agreed = vec![synced(a.clone(), None, Some(7)), synced(b.clone(), Some("eth0"), Some(7))];
    check("the same", &seed, agreed, &[]);
    check(
        "identifiers left to the VRIDs",
        &seed,
        vec![synced(a.clone(), None, None), synced(b.clone(), None, None)],
        &[
            "resources[1].spec.connection_sync: eth0/53: VRRP instance vi-2 wants the sync daemon of director d1 on eth0 with sync_id 52, and a kernel has one; set the same interface and sync_id in both",
        ],
    );
    check(
        "two interfaces",
        &seed,
        vec![synced(a, None, Some(7)), synced(b, Some("eth1"), Some(7))],
        &[
            "resources[1].spec.connection_sync: eth1/7: VRRP instance vi-2 wants the sync daemon of director d1 on eth0 with sync_id 7, and a kernel has one; set the same interface and sync_id in both",
        ],
    );
    let strangers = [("d3", 100), ("d4", 90)];
    let more = |id| {
        vec![
            director("d3", "main", "192.168.1.133"),
            director("d4", "main", "192.168.1.134"),
            synced(vrrp_instance("vi-2", 52, &["10.0.0.1"], &MEMBERS), None, Some(7)),
            synced(vrrp_instance("vi-3", 53, &["10.0.0.2"], &strangers), None, Some(id)),
        ]
    };
    check("strangers apart", &seed, more(8), &[]);
    check(
        "strangers under one identifier",
        &seed,
        more(7),
        &[
            "resources[3].spec.connection_sync: eth0/7: other directors (d1, d2) use this sync_id on eth0 and would take in these connections; use another sync_id",
        ],
    );
}
