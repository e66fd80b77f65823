//! From a topology to a view, and from a step to the orders that are written.

use std::collections::BTreeMap;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::super::{Rollout, View, aborted, find};
use super::{options, some};
use crate::order::Cluster;
use crate::order::fixtures::{REVISION, director, resource};

/// A director whose checks pass, with these weights of web1 and web2, and so many connections of web1.
fn agent(name: &str, state: v1::VrrpState, weights: [u32; 2], active: u64) -> v1::AgentStatus {
    let destination = |rip: &str, weight, active_connections| v1::IpvsDestination {
        address: rip.to_owned(),
        port: 80,
        weight,
        active_connections,
        inactive_connections: 40,
        ..v1::IpvsDestination::default()
    };
    let entry = v1::IpvsVirtualServer {
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        destinations: vec![
            destination("10.0.0.1", weights[0], active),
            destination("10.0.0.2", weights[1], 3),
        ],
        ..v1::IpvsVirtualServer::default()
    };
    let mut agent = director(name, state, vec![entry]);
    let decision = |real_server: &str, weight| v1::WeightDecision {
        virtual_server: "web".to_owned(),
        real_server: real_server.to_owned(),
        weight,
        planned_weight: 5,
        probe: v1::ProbeResult::Passing.into(),
        verdict: v1::Verdict::Up.into(),
        ..v1::WeightDecision::default()
    };
    if let Some(observed) = &mut agent.director {
        observed.weights = vec![decision("web1", weights[0]), decision("web2", weights[1])];
    }
    agent
}

fn evidence(name: &str, busy: u32, restart: Option<v1::RestartEvidence>) -> v1::Evidence {
    let load = v1::ServerLoad { busy_threads: busy, max_threads: 50, ..v1::ServerLoad::default() };
    let server = v1::ServerEvidence {
        real_server: name.to_owned(),
        verdict: v1::Verdict::Up.into(),
        load: Some(load),
        restart,
        ..v1::ServerEvidence::default()
    };
    v1::Evidence { agent: name.to_owned(), servers: vec![server], ..v1::Evidence::default() }
}

fn topology() -> v1::Topology {
    let members = ["d1", "d2"].map(|director| v1::VrrpMember {
        director: director.to_owned(),
        ..v1::VrrpMember::default()
    });
    let instance = v1::VrrpInstance { members: members.into(), ..v1::VrrpInstance::default() };
    let real_server = |rip: &str| {
        let status_url = "http://127.0.0.1:80/manager/status/all?JSON=true".to_owned();
        Spec::RealServer(v1::RealServer {
            rip: rip.to_owned(),
            port: 80,
            probe: Some(v1::ServerProbe { status_url, ..v1::ServerProbe::default() }),
            ..v1::RealServer::default()
        })
    };
    let members = ["web1", "web2"]
        .map(|name| v1::PoolMember { real_server: name.to_owned(), ..v1::PoolMember::default() });
    let server = v1::VirtualServer {
        vrrp_instance: "vi-1".to_owned(),
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        pool: "tomcats".to_owned(),
        ..v1::VirtualServer::default()
    };
    v1::Topology {
        agents: vec![
            agent("d1", v1::VrrpState::Active, [5, 5], 7),
            agent("d2", v1::VrrpState::Backup, [5, 5], 50),
        ],
        evidence: vec![evidence("web1", 1, None), evidence("web2", 1, None)],
        resources: vec![
            resource("d1", Spec::Director(v1::Director::default())),
            resource("d2", Spec::Director(v1::Director::default())),
            resource("vi-1", Spec::VrrpInstance(instance)),
            resource("web1", real_server("10.0.0.1")),
            resource("web2", real_server("10.0.0.2")),
            resource(
                "tomcats",
                Spec::Pool(v1::Pool { members: members.into(), ..v1::Pool::default() }),
            ),
            resource("web", Spec::VirtualServer(server)),
        ],
        ..v1::Topology::default()
    }
}

fn rollout() -> Rollout {
    Rollout { id: "0a1b2c3d".to_owned(), pool: "tomcats".to_owned(), options: options() }
}

/// Writes a change as Apply would, at a revision.
fn write(topology: &mut v1::Topology, change: &crate::order::Change, revision: u64) {
    for resource in change.resources() {
        let mut resource = resource.clone();
        let metadata = resource.metadata.get_or_insert_default();
        metadata.revision = revision;
        let name = metadata.name.clone();
        let kind = crate::manifest::kind_of(&resource);
        topology.resources.retain(|it| {
            crate::manifest::kind_of(it) != kind
                || it.metadata.as_ref().is_none_or(|metadata| metadata.name != name)
        });
        topology.resources.push(resource);
    }
}

fn servers(topology: &v1::Topology) -> Vec<super::Server> {
    let cluster = Cluster::new(topology);
    View::new(&cluster, "tomcats", Some(&rollout()), 0).expect("a pool").servers
}

#[test]
fn a_pool_that_serves_has_nothing_to_wait_for() {
    let topology = topology();
    let cluster = Cluster::new(&topology);
    let view = View::new(&cluster, "tomcats", None, 0).expect("a pool");
    assert_eq!((view.unattached.clone(), view.has_agents), (Vec::new(), true));
    let web1 = &view.servers[0];
    assert_eq!((&web1.unhealthy, &web1.out_of_rotation), (&Vec::new(), &Vec::new()));
    assert_eq!(web1.connected, some("d1 to give it weight 0 in web"));
    assert_eq!(View::new(&cluster, "none", None, 0), None);
    assert_eq!(find(&cluster, "tomcats"), None);
}

#[test]
fn it_is_safe_to_stop_when_no_director_and_no_thread_has_a_request() {
    let mut topology = topology();
    let rollout = rollout();
    let change = rollout.drain(&Cluster::new(&topology), &some("web1"));
    write(&mut topology, &change, REVISION);
    topology.agents[0] = agent("d1", v1::VrrpState::Active, [0, 5], 7);
    let connected = |topology: &v1::Topology| servers(topology)[0].connected.clone();
    assert_eq!(connected(&topology), some("7 active connections of web on d1"));
    topology.agents[0] = agent("d1", v1::VrrpState::Active, [0, 5], 0);
    topology.evidence[0] = evidence("web1", 3, None);
    assert_eq!(
        connected(&topology),
        some("2 requests under way in web1"),
        "one reads the status page"
    );
    topology.evidence[0] = evidence("web1", 1, None);
    assert_eq!(connected(&topology), [] as [&str; 0], "closed connections hold nothing up");
    topology.agents[1].ack = None;
    assert_eq!(connected(&topology), some("d2 to apply revision 13"));
    topology.agents[1].attached = false;
    let cluster = Cluster::new(&topology);
    let view = View::new(&cluster, "tomcats", Some(&rollout), 0).expect("a pool");
    assert_eq!(view.unattached, some("d2"));
    topology.agents[0].director = None;
    assert_eq!(connected(&topology), some("d1 to tell of its table"));
}

#[test]
fn the_intent_alone_tells_of_the_rollout() {
    let mut topology = topology();
    let rollout = rollout();
    let change = rollout.drain(&Cluster::new(&topology), &some("web1"));
    write(&mut topology, &change, 21);
    assert_eq!(find(&Cluster::new(&topology), "tomcats"), Some(rollout.clone()));
    assert_eq!(find(&Cluster::new(&topology), "other"), None);
    let change = rollout.restart(&Cluster::new(&topology), &[("web1".to_owned(), 1)]);
    write(&mut topology, &change, 22);
    let restart = servers(&topology)[0].restart.clone().expect("ordered");
    assert_eq!((restart.id.as_str(), restart.attempt), ("rollout-0a1b2c3d-1@22", 1));
    assert_eq!(restart.state, v1::RestartState::Unspecified);

    let told = |id: &str, state: v1::RestartState| v1::RestartEvidence {
        id: id.to_owned(),
        state: state.into(),
        ..v1::RestartEvidence::default()
    };
    let state = |topology: &v1::Topology| servers(topology)[0].restart.as_ref().map(|it| it.state);
    let done = v1::RestartState::Done;
    topology.evidence[0] = evidence("web1", 1, Some(told("rollout-0a1b2c3d-1@9", done)));
    assert_eq!(state(&topology), Some(v1::RestartState::Unspecified), "that was another order");
    topology.evidence[0] = evidence("web1", 1, Some(told("rollout-0a1b2c3d-1@22", done)));
    assert_eq!(state(&topology), Some(done));

    let change = rollout.restart(&Cluster::new(&topology), &[("web1".to_owned(), 2)]);
    write(&mut topology, &change, 23);
    let restart = servers(&topology)[0].restart.clone().expect("ordered");
    assert_eq!((restart.id.as_str(), restart.attempt), ("rollout-0a1b2c3d-1@23", 2));

    let cluster = Cluster::new(&topology);
    let change = rollout.drain(&cluster, &some("web2"));
    let names: BTreeMap<_, _> = change
        .resources()
        .iter()
        .filter_map(|it| it.metadata.as_ref())
        .map(|it| (&it.name, &it.labels["rollout.ordinal"]))
        .collect();
    assert_eq!(format!("{names:?}"), r#"{"rollout-0a1b2c3d-2": "2"}"#);
    assert_eq!(
        rollout.undrain(&cluster, &some("web1")).deleted(),
        [(v1::Kind::Drain, "rollout-0a1b2c3d-1")]
    );
    assert_eq!(
        rollout.finish(&cluster).deleted(),
        [(v1::Kind::Drain, "rollout-0a1b2c3d-1"), (v1::Kind::Restart, "rollout-0a1b2c3d-1"),]
    );
}

#[test]
fn a_rollout_is_not_ended_while_a_restart_may_be_under_way() {
    let mut topology = topology();
    let rollout = rollout();
    let change = rollout.drain(&Cluster::new(&topology), &some("web1"));
    write(&mut topology, &change, 21);
    assert!(aborted(&rollout, &Cluster::new(&topology), false).is_ok());
    let change = rollout.restart(&Cluster::new(&topology), &[("web1".to_owned(), 1)]);
    write(&mut topology, &change, 22);
    let refused = |topology: &v1::Topology| {
        aborted(&rollout, &Cluster::new(topology), false).err().unwrap_or_default()
    };
    assert_eq!(refused(&topology), some("web1: its agent has not told yet of its restart"));
    assert!(aborted(&rollout, &Cluster::new(&topology), true).is_ok());
    let cases = [
        (v1::RestartState::Waiting, some("web1: its restart is ordered, and may begin")),
        (v1::RestartState::Running, some("web1: its restart runs")),
        (v1::RestartState::Failed, Vec::new()),
        (v1::RestartState::Done, Vec::new()),
    ];
    for (state, expected) in cases {
        let told = v1::RestartEvidence {
            id: "rollout-0a1b2c3d-1@22".to_owned(),
            state: state.into(),
            ..v1::RestartEvidence::default()
        };
        topology.evidence[0] = evidence("web1", 1, Some(told));
        assert_eq!(refused(&topology), expected);
    }
}

#[test]
fn orders_of_others_are_told_as_theirs() {
    let mut topology = topology();
    let drain = v1::Drain {
        real_server: "web2".to_owned(),
        requested_by: "ann".to_owned(),
        ..v1::Drain::default()
    };
    topology.resources.push(resource("night", Spec::Drain(drain)));
    topology.agents[1] = agent("d2", v1::VrrpState::Backup, [5, 0], 0);
    let web2 = servers(&topology)[1].clone();
    assert_eq!(web2.foreign, some("drained by order night of ann"));
    assert!(!web2.is_drained);
    assert_eq!(web2.out_of_rotation, some("d2 to give it weight 5 in web (it has 0)"));
}
