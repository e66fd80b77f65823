//! Round trips, and a table of bad fields.

mod check;
mod notification;
mod restart;
mod virtual_server;
mod vrrp;

use std::collections::BTreeMap;

use fulcrum_model::plan::{PlanVersion, RealServerHostPlan};
use fulcrum_model::resource::{Resource, Spec};
use fulcrum_model::{Evidence, Revision};
use proptest::prelude::*;

use super::*;
use crate::v1;
use crate::v1::resource::Spec as Wire;

proptest! {
    #[test]
    fn resources_come_back(resource in strategies::resource()) {
        let mut errors = Vec::new();
        let read = resource_from_wire(0, &resource_to_wire(&resource), &mut errors);
        prop_assert_eq!(errors, Vec::new());
        prop_assert_eq!(read, Some(resource));
    }

    #[test]
    fn keys_are_read_alone(resource in strategies::resource()) {
        let wire = resource_to_wire(&resource);
        prop_assert_eq!(resource_key_from_wire(&wire), Some(resource.key()));
        prop_assert_eq!(
            kind_from_wire(kind_to_wire(resource.spec.kind()).into()),
            Some(resource.spec.kind())
        );
    }

    #[test]
    fn director_plans_come_back(plan in strategies::director_plan()) {
        let objects = director_plan_to_objects(&plan);
        prop_assert!(objects.is_sorted_by_key(|object| object.key.clone()));
        prop_assert_eq!(director_plan_from_objects(objects.iter().rev()), Ok(plan));
    }

    #[test]
    fn host_plans_come_back(plan in strategies::host_plan()) {
        let objects = real_server_plan_to_objects(&plan);
        prop_assert_eq!(real_server_plan_from_objects(&objects), Ok(plan));
    }

    #[test]
    fn evidence_comes_back(evidence in strategies::evidence()) {
        prop_assert_eq!(Evidence::try_from(&v1::Evidence::from(&evidence)), Ok(evidence));
    }
}

fn duration(text: &str) -> Option<prost_types::Duration> {
    duration_from_text(text).map(duration_to_wire)
}

fn named(name: &str, spec: Wire) -> v1::Resource {
    let metadata = v1::Metadata { name: name.to_owned(), ..v1::Metadata::default() };
    v1::Resource { metadata: Some(metadata), spec: Some(spec) }
}

/// The errors of one resource, each as `path below the resource: description`.
fn errors(wire: &v1::Resource) -> Vec<String> {
    let mut errors = Vec::new();
    let read = resource_from_wire(3, wire, &mut errors);
    assert_eq!(read.is_none(), !errors.is_empty(), "a resource or errors");
    errors
        .into_iter()
        .map(|error| {
            let path = error.field.strip_prefix("resources[3].").expect("the resource's index");
            format!("{path}: {}", error.description)
        })
        .collect()
}

fn vrrp_instance() -> v1::VrrpInstance {
    v1::VrrpInstance {
        site: "main".to_owned(),
        vrid: 51,
        vips: vec!["192.168.1.150/24".to_owned()],
        members: vec![v1::VrrpMember {
            director: "d1".to_owned(),
            priority: 100,
            interface: String::new(),
        }],
        ..v1::VrrpInstance::default()
    }
}

fn virtual_server() -> v1::VirtualServer {
    v1::VirtualServer {
        vrrp_instance: "vi-1".to_owned(),
        vip: "192.168.1.150".to_owned(),
        port: 80,
        pool: "tomcats".to_owned(),
        ..v1::VirtualServer::default()
    }
}

#[test]
fn every_bad_field_is_told_at_once() {
    let empty = [
        (named("", Wire::Site(v1::Site::default())), vec!["name: none: name the resource"]),
        (
            named("D1", Wire::Director(v1::Director::default())),
            vec![
                "name: \"D1\": a name holds only a-z, 0-9, '-' and '.', not 'D'",
                "spec.site: none: name the site that the director stands in",
                "spec.dip: none: give the director's own IPv4 address",
                "spec.interface: none: name the interface, such as eth0",
            ],
        ),
        (
            named("vi-1", Wire::VrrpInstance(v1::VrrpInstance::default())),
            vec![
                "spec.site: none: name the site whose directors take part",
                "spec.vrid: 0 or none: a VRID is 1 to 255",
                "spec.vips: none: give at least one VIP, such as 192.168.1.150/24",
                "spec.members: none: name at least one director with its priority",
            ],
        ),
        (
            named("web", Wire::VirtualServer(v1::VirtualServer::default())),
            vec![
                "spec.vrrp_instance: none: name the VRRP instance that moves the VIP",
                "spec.vip: none: give the VIP, one of the VRRP instance's",
                "spec.port: 0 or none: a port is 1 to 65535",
                "spec.pool: none: name the pool that serves it",
            ],
        ),
        (
            named("web1", Wire::RealServer(v1::RealServer::default())),
            vec![
                "spec.site: none: name the site that the real server stands in",
                "spec.rip: none: give the real server's own address",
                "spec.port: 0 or none: a port is 1 to 65535",
            ],
        ),
        (named("tomcats", Wire::Pool(v1::Pool::default())), vec![]),
    ];
    for (wire, expected) in empty {
        assert_eq!(errors(&wire), expected, "{wire:?}");
    }
    let nothing = v1::Resource::default();
    assert_eq!(
        errors(&nothing),
        [
            "name: none: name the resource",
            "kind: none: set a spec of one of Site, Director, VrrpInstance, RealServer, Pool, VirtualServer, Handover, Drain, Restart, NotificationPolicy, AccessRule, JoinToken",
        ]
    );
}

#[test]
fn vrrp_instances_follow_their_rules() {
    type Edit = fn(&mut v1::VrrpInstance);
    let cases: [(Edit, &[&str]); 15] = [
        (|_| {}, &[]),
        (
            |i| i.unicast = true,
            &["spec.unicast: true: there is no other member to send to; add one, or leave it out"],
        ),
        (|i| i.vrid = 256, &["spec.vrid: 256: a VRID is 1 to 255"]),
        (|i| i.version = 9, &["spec.version: 9: use v2, v3 or v2_and_v3"]),
        (
            |i| {
                i.version = 2;
                i.advert_interval = duration("100ms");
            },
            &["spec.advert_interval: 100ms: VRRPv2 takes whole seconds from 1s to 255s"],
        ),
        (
            |i| i.advert_interval = duration("41s"),
            &["spec.advert_interval: 41s: VRRPv3 takes 10ms to 40.95s in steps of 10ms"],
        ),
        (
            |i| i.advert_interval = duration("15ms"),
            &["spec.advert_interval: 15ms: VRRPv3 takes 10ms to 40.95s in steps of 10ms"],
        ),
        (|i| i.advert_interval = duration("40.95s"), &[]),
        (
            |i| i.advert_interval = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            &["spec.advert_interval: -1s 0ns: give a duration of zero or more, such as 1s"],
        ),
        (
            |i| i.auth_pass = "1111".to_owned(),
            &[
                "spec.auth_pass: given: VRRPv3 has no authentication; leave it out or set version: v2",
            ],
        ),
        (
            |i| {
                i.version = 2;
                i.auth_pass = "123456789".to_owned();
            },
            &["spec.auth_pass: 9 bytes: PASS has 1 to 8 bytes"],
        ),
        (
            |i| {
                let vips =
                    ["192.168.1.150/24", "192.168.1.150", "fd00::1/64", "10.0.0.1/0", "x/24"];
                i.vips = vips.map(str::to_owned).to_vec();
            },
            &[
                "spec.vips[1]: \"192.168.1.150\": listed twice; list it once",
                "spec.vips[2]: \"fd00::1/64\": an instance advertises one family; use another instance, or unadvertised_vips",
                "spec.vips[3]: \"10.0.0.1/0\": a prefix length is 1 to 32",
                "spec.vips[4]: \"x/24\": \"x\" is no IP address; write ADDRESS/PREFIX, such as 192.168.1.150/24",
            ],
        ),
        (
            |i| i.members.push(i.members[0].clone()),
            &["spec.members[1].director: \"d1\": takes part twice; list each director once"],
        ),
        (
            |i| {
                i.members[0].priority = 255;
                i.members
                    .push(v1::VrrpMember { director: "d2".to_owned(), ..i.members[0].clone() });
            },
            &[
                "spec.members[1].priority: 255: another member has it, and an address has one owner; use 1 to 254",
            ],
        ),
        (
            |i| i.members[0].interface = "a-very-long-interface".to_owned(),
            &[
                "spec.members[0].interface: \"a-very-long-interface\": an interface's name has at most 15 bytes",
            ],
        ),
    ];
    for (edit, expected) in cases {
        let mut instance = vrrp_instance();
        edit(&mut instance);
        assert_eq!(errors(&named("vi-1", Wire::VrrpInstance(instance))), expected);
    }
}

#[test]
fn virtual_servers_follow_their_rules() {
    type Edit = fn(&mut v1::VirtualServer);
    let cases: [(Edit, &[&str]); 7] = [
        (|_| {}, &[]),
        (|s| s.forwarding = 4, &["spec.forwarding: 4: use dr, nat or tunnel"]),
        (
            |s| s.vip = "192.168.1.150/24".to_owned(),
            &[
                "spec.vip: \"192.168.1.150/24\": this is no IP address; give the VIP, one of the VRRP instance's, without a prefix length",
            ],
        ),
        (
            |s| s.vip = "224.0.0.18".to_owned(),
            &["spec.vip: \"224.0.0.18\": no host can hold this address; use a unicast one"],
        ),
        (
            |s| {
                s.port = 70_000;
                s.protocol = 133;
                s.scheduler = 99;
            },
            &[
                "spec.port: 70000: a port is 1 to 65535",
                "spec.protocol: 133: use tcp, udp or sctp",
                "spec.scheduler: 99: use rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh or twos",
            ],
        ),
        (
            |s| s.persistence_timeout = duration("1.5s"),
            &[
                "spec.persistence_timeout: 1500ms: use whole seconds from 1s to 2678400s (31 days); leave it out for none",
            ],
        ),
        (
            |s| s.persistence_timeout = duration("0s"),
            &[
                "spec.persistence_timeout: 0s: use whole seconds from 1s to 2678400s (31 days); leave it out for none",
            ],
        ),
    ];
    for (edit, expected) in cases {
        let mut server = virtual_server();
        edit(&mut server);
        assert_eq!(errors(&named("web", Wire::VirtualServer(server))), expected);
    }
}

#[test]
fn pools_and_probes_follow_their_rules() {
    let member = |real_server: &str, weight| {
        let real_server = real_server.to_owned();
        v1::PoolMember { real_server, weight, ..v1::PoolMember::default() }
    };
    let http = v1::HttpCheck {
        path: "index.html".to_owned(),
        host: "a b".to_owned(),
        statuses: vec![200, 99],
        ..v1::HttpCheck::default()
    };
    let pool = v1::Pool {
        members: vec![member("web1", Some(65536)), member("web1", None), member("", Some(0))],
        check: Some(v1::Check {
            probe: Some(v1::check::Probe::Http(http)),
            interval: duration("10ms"),
            timeout: duration("25h"),
            retries: Some(101),
            retry_delay: duration("1ms"),
            rise: 101,
            port: 65536,
            ..v1::Check::default()
        }),
        agent: 7,
        ..v1::Pool::default()
    };
    assert_eq!(
        errors(&named("tomcats", Wire::Pool(pool))),
        [
            "spec.members[0].weight: 65536: a weight is 0 to 65535",
            "spec.members[1].real_server: \"web1\": in the pool twice; list each real server once, with its whole weight",
            "spec.members[2].real_server: none: name the real server",
            "spec.check.http.path: \"index.html\": a path begins with '/'",
            "spec.check.http.statuses[1]: 99: an HTTP status is 100 to 599",
            "spec.check.http.host: \"a b\": use at most 1024 bytes, without spaces and control characters",
            "spec.check.interval: 10ms: use 50ms to 86400s",
            "spec.check.timeout: 90000s: use 10ms to 86400s",
            "spec.check.retries: 101: use 0 to 100",
            "spec.check.retry_delay: 1ms: use 10ms to 86400s",
            "spec.check.rise: 101: use 1 to 100",
            "spec.check.port: 65536: a port is 1 to 65535",
            "spec.agent: 7: use required or none",
        ]
    );
    let probe = |edit: fn(&mut v1::ServerProbe)| {
        let mut probe = v1::ServerProbe::default();
        edit(&mut probe);
        errors(&named(
            "web1",
            Wire::RealServer(v1::RealServer {
                site: "main".to_owned(),
                rip: "192.168.1.138".to_owned(),
                port: 80,
                agent: String::new(),
                probe: Some(probe),
            }),
        ))
    };
    assert_eq!(
        probe(|p| p.status_user = "admin".to_owned()),
        ["spec.probe.status_user: \"admin\": needs a status_url; give one or leave this out"]
    );
    assert_eq!(
        probe(|p| p.status_url = "https://x/".to_owned()),
        [
            "spec.probe.status_url: \"https://x/\": plain HTTP on the real server's own host: http://127.0.0.1:8080/..."
        ]
    );
    assert_eq!(
        probe(|p| {
            p.ops_url = "http:///healthz".to_owned();
            p.jmx = true;
        }),
        [
            "spec.probe.ops_url: \"http:///healthz\": plain HTTP on the real server's own host: http://127.0.0.1:8080/...",
            "spec.probe.jmx: true: needs a status_url, whose host and user it shares; give one",
        ]
    );
}

#[test]
fn labels_have_limits() {
    let mut labels: BTreeMap<String, String> =
        (0..65).map(|n| (format!("k{n:02}"), String::new())).collect();
    labels.insert("long".to_owned(), "x".repeat(256));
    labels.insert(String::new(), "x".repeat(255));
    labels.insert("y".repeat(64), String::new());
    let metadata = v1::Metadata { name: "main".to_owned(), labels, ..Default::default() };
    let wire =
        v1::Resource { metadata: Some(metadata), spec: Some(Wire::Site(v1::Site::default())) };
    let long = format!("labels: {:?}: a label's key has 1 to 63 bytes", "y".repeat(64));
    assert_eq!(
        errors(&wire),
        [
            "labels: 68: use at most 64 labels",
            "labels: \"\": a label's key has 1 to 63 bytes",
            "labels: long: 256 bytes: a label's value has at most 255 bytes",
            &long,
        ]
    );
}

#[test]
fn defaults_are_those_of_the_contract() {
    let read = |wire: Wire| -> Resource {
        let mut errors = Vec::new();
        let resource = resource_from_wire(0, &named("r", wire), &mut errors);
        resource.unwrap_or_else(|| panic!("{errors:?}"))
    };
    let check = v1::Check { interval: duration("6s"), ..v1::Check::default() };
    let pool = v1::Pool { check: Some(check), ..v1::Pool::default() };
    let real_server = v1::RealServer {
        site: "main".to_owned(),
        rip: "192.168.1.138".to_owned(),
        port: 80,
        agent: String::new(),
        probe: None,
    };
    let cases = [
        Wire::VrrpInstance(vrrp_instance()),
        Wire::VirtualServer(virtual_server()),
        Wire::Pool(pool),
        Wire::RealServer(real_server),
    ];
    for wire in cases {
        match read(wire).spec {
            Spec::VrrpInstance(instance) => {
                let text = format!(
                    "{:?} {:?} {} {:?}",
                    instance.version, instance.advert_interval, instance.preempt, instance.checksum
                );
                assert_eq!(text, "V3 1s true Deployed");
            }
            Spec::VirtualServer(server) => {
                let text = format!(
                    "{} {:?} {:?} {:?}",
                    server.listen, server.scheduler, server.forwarding, server.persistence_timeout
                );
                assert_eq!(text, "TCP 192.168.1.150:80 Wrr Dr None");
            }
            Spec::Pool(pool) => {
                let check = pool.check;
                let text = format!(
                    "{:?} {:?} {:?} {} {:?} {}",
                    pool.agent,
                    check.interval,
                    check.timeout,
                    check.retries,
                    check.retry_delay,
                    check.rise
                );
                assert_eq!(text, "Required 6s 1s 1 6s 1");
            }
            Spec::RealServer(server) => {
                assert_eq!(server.agent.as_str(), "r");
                assert_eq!(server.probe, fulcrum_model::ServerProbe::default());
            }
            Spec::Site(_)
            | Spec::Director(_)
            | Spec::Handover(_)
            | Spec::Drain(_)
            | Spec::Restart(_)
            | Spec::NotificationPolicy(_)
            | Spec::AccessRule(_)
            | Spec::JoinToken(_) => {
                panic!("not among the cases")
            }
        }
    }
}

#[test]
fn plans_are_read_strictly() {
    let version = PlanVersion { cluster_id: "c".to_owned(), incarnation: 1, revision: Revision(7) };
    assert_eq!(PlanVersion::try_from(&v1::PlanVersion::from(&version)), Ok(version));
    let error = PlanVersion::try_from(&v1::PlanVersion::default()).expect_err("no cluster");
    assert_eq!(error.to_string(), "cluster_id: none: a plan names its cluster");

    let objects = [
        v1::PlanObject { key: "vrrp/new".to_owned(), object: None },
        v1::PlanObject {
            key: "virtual-server/web".to_owned(),
            object: Some(v1::plan_object::Object::VirtualServer(v1::VirtualServerPlan {
                name: "web".to_owned(),
                vip: "192.168.1.150".to_owned(),
                port: 80,
                agent: 1,
                ..v1::VirtualServerPlan::default()
            })),
        },
        v1::PlanObject {
            key: "host".to_owned(),
            object: Some(v1::plan_object::Object::Host((&RealServerHostPlan::default()).into())),
        },
    ];
    let error = director_plan_from_objects(&objects).expect_err("three bad objects");
    let told: Vec<String> = error.violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "vrrp/new: none: this release knows no such object; upgrade",
            "virtual-server/web.protocol: 0: use tcp, udp or sctp",
            "virtual-server/web.scheduler: 0: use rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh or twos",
            "virtual-server/web.forwarding: 0: use dr, nat or tunnel",
            "host: host: no order for a director",
        ]
    );
}
