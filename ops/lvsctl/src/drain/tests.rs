//! What a drain waits for, what it names, and how its order is named.

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::outlook::Outlook;
use super::{Goal, Target, Wish, name_for, orders_of, read_target};
use crate::exit::Exit;
use crate::order::Cluster;
use crate::order::fixtures::{REVISION, director, resource};

fn drain(name: &str, real_server: &str, virtual_server: &str) -> v1::Resource {
    let (real_server, virtual_server) = (real_server.to_owned(), virtual_server.to_owned());
    let spec = v1::Drain { real_server, virtual_server, ..v1::Drain::default() };
    resource(name, Spec::Drain(spec))
}

/// A director that has applied the revision and counts this of web1.
fn agent(name: &str, state: v1::VrrpState, weight: u32, active: u64) -> v1::AgentStatus {
    let web1 = v1::IpvsDestination {
        address: "10.0.0.1".to_owned(),
        port: 80,
        weight,
        active_connections: active,
        persistent_connections: 7,
        ..v1::IpvsDestination::default()
    };
    let entry = v1::IpvsVirtualServer {
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        destinations: vec![web1],
        ..v1::IpvsVirtualServer::default()
    };
    director(name, state, vec![entry])
}

/// d1 Active with this weight and these connections; d2 Backup with a copy of 50.
fn cluster(weight: u32, active: u64, more: Vec<v1::Resource>) -> Cluster {
    let member = |director: &str| v1::VrrpMember {
        director: director.to_owned(),
        ..v1::VrrpMember::default()
    };
    let instance = v1::VrrpInstance {
        members: vec![member("d1"), member("d2")],
        ..v1::VrrpInstance::default()
    };
    let real_server = |rip: &str| {
        Spec::RealServer(v1::RealServer {
            rip: rip.to_owned(),
            port: 80,
            ..v1::RealServer::default()
        })
    };
    let pool = v1::Pool {
        members: ["web1", "web2"]
            .map(|name| v1::PoolMember {
                real_server: name.to_owned(),
                ..v1::PoolMember::default()
            })
            .into(),
        ..v1::Pool::default()
    };
    let server = v1::VirtualServer {
        vrrp_instance: "vi-1".to_owned(),
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        pool: "tomcats".to_owned(),
        ..v1::VirtualServer::default()
    };
    let mut resources = vec![
        resource("d1", Spec::Director(v1::Director::default())),
        resource("d2", Spec::Director(v1::Director::default())),
        resource("vi-1", Spec::VrrpInstance(instance)),
        resource("web1", real_server("10.0.0.1")),
        resource("web2", real_server("10.0.0.2")),
        resource("tomcats", Spec::Pool(pool)),
        resource("web", Spec::VirtualServer(server)),
    ];
    resources.extend(more);
    let agents = vec![
        agent("d1", v1::VrrpState::Active, weight, active),
        agent("d2", v1::VrrpState::Backup, weight, 50),
    ];
    Cluster::new(&v1::Topology { agents, resources, ..v1::Topology::default() })
}

fn outlook(cluster: &Cluster, wish: Wish) -> Outlook {
    let goal =
        Goal { real_server: "web1".to_owned(), virtual_server: None, wish, revision: REVISION };
    goal.outlook(cluster)
}

#[test]
fn a_drain_is_done_when_who_forwards_counts_nobody() {
    let waits = |cluster: &Cluster, wish| outlook(cluster, wish).waits_for.join(", ");
    let busy = cluster(0, 12, Vec::new());
    assert_eq!(
        waits(&busy, Wish::Drained),
        "12 active and 0 inactive connections of web on d1",
        "the copies of d2 hold nothing up"
    );
    assert_eq!(waits(&cluster(0, 0, Vec::new()), Wish::Drained), "");
    assert_eq!(waits(&cluster(5, 0, Vec::new()), Wish::Drained), "d1 to give it weight 0");
    assert_eq!(
        waits(&cluster(0, 0, Vec::new()), Wish::InRotation),
        "d1 to give it a weight in web"
    );
    assert_eq!(waits(&cluster(5, 3, Vec::new()), Wish::InRotation), "");

    let mut late = cluster(0, 0, Vec::new());
    let ack = late.agents.get_mut("d2").and_then(|agent| agent.ack.as_mut()).expect("it has");
    ack.version.as_mut().expect("it has").revision = REVISION - 1;
    assert_eq!(waits(&late, Wish::Drained), "d2 to apply revision 13");

    let counts = outlook(&busy, Wish::Drained).counts;
    let told: Vec<_> =
        counts.iter().map(|c| (c.director.as_str(), c.active, c.persistent)).collect();
    assert_eq!(told, [("d1", 12, 7), ("d2", 50, 7)]);
}

#[test]
fn a_target_is_a_real_server_or_a_director() {
    let both = vec![resource("web1", Spec::Director(v1::Director::default()))];
    let cases = [
        (Vec::new(), "web1", Ok(Target::RealServer("web1".to_owned()))),
        (Vec::new(), "d1", Ok(Target::Director("d1".to_owned()))),
        (both.clone(), "director/web1", Ok(Target::Director("web1".to_owned()))),
        (both.clone(), "real-server/web1", Ok(Target::RealServer("web1".to_owned()))),
        (both, "web1", Err((Exit::Usage, "real-server/web1 or director/web1"))),
        (Vec::new(), "web3", Err((Exit::NotFound, "did you mean web"))),
        (Vec::new(), "director/web1", Err((Exit::NotFound, "there is no director \"web1\""))),
        (Vec::new(), "pool/tomcats", Err((Exit::Usage, "real-server/NAME or director/NAME"))),
    ];
    for (more, text, expected) in cases {
        let found = read_target(&cluster(1, 0, more), text);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err((exit, words))) => {
                assert_eq!(found.exit, exit, "{text}");
                assert!(found.text.contains(words), "{text}: {}", found.text);
            }
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn orders_are_named_once() {
    let none = cluster(1, 0, Vec::new());
    assert_eq!(name_for(&none, "web1", None), "web1");
    assert_eq!(name_for(&none, "web1", Some("web")), "web1.web");
    let some = cluster(
        1,
        0,
        vec![
            drain("maintenance", "web1", ""),
            drain("web2", "web1", "web"),
            drain("web2.web", "web2", "other"),
        ],
    );
    assert_eq!(name_for(&some, "web1", None), "maintenance", "the one there is");
    assert_eq!(name_for(&some, "web2", None), "web2-2", "another has the name");
    assert_eq!(orders_of(&some, "web1", None), ["maintenance", "web2"]);
    assert_eq!(orders_of(&some, "web1", Some("web")), ["web2"]);
}
