//! Following the topology of one controller.

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_topology_response::Event;
use tonic::{Code, Streaming};

use super::agent::{self, Agent};
use super::cluster::{Cluster, SOON};
use super::examples;

async fn next(events: &mut Streaming<v1::WatchTopologyResponse>) -> Event {
    let event = tokio::time::timeout(SOON, events.message()).await.expect("something comes");
    event.expect("it goes on").and_then(|response| response.event).expect("it says something")
}

/// The next event that is as wanted; others are passed over.
async fn until(
    events: &mut Streaming<v1::WatchTopologyResponse>,
    is_wanted: impl Fn(&Event) -> bool,
) -> Event {
    loop {
        let event = next(events).await;
        if is_wanted(&event) {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_gets_everything_a_mark_and_then_changes() {
    let (mut cluster, revision) = Cluster::one_with_intent().await;
    let node = cluster.nodes.remove(0);
    let web1 = Agent::attach(&node, agent::real_server("web1")).await;
    web1.tell(1).await;
    node.until("evidence", |topology| topology.evidence.len() == 1).await;

    let watched = node.topology().watch_topology(v1::WatchTopologyRequest {}).await;
    let mut events = watched.expect("it is watched").into_inner();
    let mut found = std::collections::BTreeMap::new();
    let synced = loop {
        let kind = match next(&mut events).await {
            Event::Synced(synced) => break synced,
            Event::Controller(_) => "controller",
            Event::Agent(_) => "agent",
            Event::Resource(_) => "resource",
            Event::Evidence(_) => "evidence",
            Event::Deleted(_) => "deleted",
        };
        *found.entry(kind).or_insert(0) += 1;
    };
    assert_eq!(synced.revision, revision);
    let expected = [("agent", 4), ("controller", 1), ("evidence", 1), ("resource", 8)];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);

    web1.tell(2).await;
    let event = until(&mut events, |event| matches!(event, Event::Evidence(_))).await;
    let Event::Evidence(evidence) = event else { unreachable!("it was waited for") };
    assert_eq!(evidence.sequence, 2);

    node.apply(vec![examples::site("east")]).await;
    let event = until(&mut events, |event| matches!(event, Event::Resource(_))).await;
    let Event::Resource(resource) = event else { unreachable!("it was waited for") };
    assert_eq!(resource.metadata.expect("it has its name").name, "east");
    let prune =
        v1::ApplyRequest { resources: examples::cluster(), prune: true, ..Default::default() };
    node.try_apply(prune).await.expect("it is taken");
    let event = until(&mut events, |event| matches!(event, Event::Deleted(_))).await;
    let Event::Deleted(deleted) = event else { unreachable!("it was waited for") };
    assert_eq!((deleted.kind(), deleted.name.as_str()), (v1::Kind::Site, "east"));

    drop(web1);
    let is_gone = |event: &Event| matches!(event, Event::Agent(agent) if !agent.attached);
    until(&mut events, is_gone).await;

    let (status, ()) = tokio::join!(
        async {
            loop {
                if let Err(status) = events.message().await {
                    return status;
                }
            }
        },
        node.stop()
    );
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_agents_attached_and_not() {
    let (cluster, revision) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let _d1 = Agent::attach(node, agent::director("d1")).await;
    let topology = node.status().await;
    assert_eq!((topology.revision, topology.resources.len()), (revision, 8));
    let agents: Vec<_> = topology
        .agents
        .iter()
        .map(|agent| (agent.role.as_str(), agent.name.as_str(), agent.attached))
        .collect();
    let expected = [
        ("director", "d1", true),
        ("director", "d2", false),
        ("realserver", "web1", false),
        ("realserver", "web2", false),
    ];
    assert_eq!(agents, expected);
    let me = &topology.controllers[0];
    assert_eq!(
        (me.name.as_str(), me.role(), me.reachable),
        ("c1", v1::ControllerRole::Leader, true)
    );
    assert_eq!(me.applied_revision, revision);
    cluster.stop().await;
}
