//! Several controllers.

use fulcrum_proto::v1;
use tonic::Code;

use super::agent::{self, Agent, revision};
use super::cluster::{Cluster, Node};
use super::examples;

async fn leader_of(cluster: &Cluster) -> usize {
    for (index, node) in cluster.nodes.iter().enumerate() {
        if node.is_leader(&format!("c{}", index + 1)).await {
            return index;
        }
    }
    panic!("nobody leads");
}

async fn hears_all(node: &Node, count: usize) {
    node.until("the mesh", |topology| {
        topology.controllers.iter().filter(|controller| controller.reachable).count() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_controller_takes_writes_and_reads_what_was_written() {
    let cluster = Cluster::ready(3).await;
    let leader = leader_of(&cluster).await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let first = cluster.nodes[one].apply(examples::cluster()).await;
    assert_eq!((first.changes.len(), first.agent_changes.len()), (8, 4));
    for node in &cluster.nodes {
        let list = node.intent().list(v1::ListRequest::default()).await;
        let list = list.expect("it answers").into_inner();
        assert_eq!((list.revision, list.resources.len()), (first.revision, 8));
    }
    let bad = v1::ApplyRequest {
        resources: vec![examples::virtual_server("bad", 81, "nowhere")],
        ..Default::default()
    };
    let status = cluster.nodes[other].try_apply(bad).await.expect_err("the leader refuses");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(!status.details().is_empty());
    // The same id over another controller, too.
    let asked = v1::ApplyRequest {
        request_id: "once".to_owned(),
        resources: vec![examples::site("east")],
        ..Default::default()
    };
    let once = cluster.nodes[one].try_apply(asked.clone()).await.expect("it is taken");
    cluster.nodes[other].apply(vec![examples::site("west")]).await;
    assert_eq!(cluster.nodes[other].try_apply(asked).await.expect("it is repeated"), once);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_stop_of_the_leader_loses_no_write() {
    let mut cluster = Cluster::ready(3).await;
    let leader = leader_of(&cluster).await;
    let before = cluster.nodes[(leader + 1) % 3].apply(examples::cluster()).await;
    let stopping = cluster.nodes.remove(leader);
    let writer = &cluster.nodes[0];
    let (written, ()) = tokio::join!(writer.apply(vec![examples::site("east")]), stopping.stop());
    assert!(written.revision > before.revision);
    let list = cluster.nodes[1].intent().list(v1::ListRequest::default()).await;
    assert_eq!(list.expect("it answers").into_inner().resources.len(), 9);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_writes_say_so_and_the_topology_still_answers() {
    let mut cluster = Cluster::ready(2).await;
    cluster.nodes[0].apply(examples::cluster()).await;
    let leader = leader_of(&cluster).await;
    let follower = 1 - leader;
    cluster.nodes[follower].until("the intent", |topology| topology.resources.len() == 8).await;
    cluster.nodes.remove(leader).stop().await;
    let node = &cluster.nodes[0];
    let asked = v1::ApplyRequest { resources: examples::cluster(), ..Default::default() };
    let status = node.try_apply(asked).await.expect_err("one of two is no majority");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert!(details.retry_info().is_some() && details.error_info().is_some(), "{details:?}");
    assert_eq!(node.status().await.resources.len(), 8);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_say_crosses_controllers() {
    let cluster = Cluster::ready(2).await;
    let (c1, c2) = (&cluster.nodes[0], &cluster.nodes[1]);
    let written = c1.apply(examples::cluster()).await.revision;
    c2.until("the intent", |topology| topology.revision == written).await;
    hears_all(c1, 2).await;
    hears_all(c2, 2).await;

    let mut d1 = Agent::attach(c1, agent::director("d1")).await;
    let plan = d1.plan().await;
    let web1 = Agent::attach(c2, agent::real_server("web1")).await;
    web1.tell(1).await;
    let evidence = d1.evidence().await;
    assert_eq!((evidence.agent.as_str(), evidence.sequence), ("web1", 1));
    // Acknowledgements cross, too, and so convergence is seen anywhere.
    d1.answer(&plan, None).await;
    let has_acked = |topology: &v1::Topology| {
        topology.agents.iter().any(|agent| {
            agent.name == "d1"
                && agent.attached
                && agent.ack.as_ref().is_some_and(|ack| ack.applied)
        })
    };
    c2.until("the answer", has_acked).await;
    let wait = v1::WaitConvergedRequest {
        revision: revision(&plan),
        timeout: Some(prost_types::Duration::default()),
    };
    let found = c2.intent().wait_converged(wait).await.expect("it answers").into_inner();
    let laggards: Vec<_> = found.laggards.iter().map(|laggard| laggard.agent.as_str()).collect();
    assert_eq!(laggards, ["director/d2", "realserver/web1", "realserver/web2"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_moves_is_let_go_by_the_controller_it_left() {
    let cluster = Cluster::ready(2).await;
    let (c1, c2) = (&cluster.nodes[0], &cluster.nodes[1]);
    let written = c1.apply(examples::cluster()).await.revision;
    c2.until("the intent", |topology| topology.revision == written).await;
    hears_all(c1, 2).await;
    hears_all(c2, 2).await;
    let mut before = Agent::attach(c1, agent::real_server("web1")).await;
    before.tell(1).await;
    c2.until("its evidence", |topology| topology.evidence.len() == 1).await;
    let moved = v1::Hello { session: 2, ..agent::real_server("web1") };
    let _after = Agent::attach(c2, moved).await;
    let status = before.end().await;
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("c2"), "{status:?}");
    for node in [c1, c2] {
        node.until("the move", |topology| {
            topology.agents.iter().any(|agent| agent.name == "web1" && agent.controller == "c2")
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_controller_is_told_with_its_agents() {
    let mut cluster = Cluster::ready(3).await;
    let written = cluster.nodes[0].apply(examples::cluster()).await.revision;
    let node = cluster.nodes.pop().expect("there are three");
    node.until("the intent", |topology| topology.revision == written).await;
    let _web1 = Agent::attach(&node, agent::real_server("web1")).await;
    let is_attached = |expected: bool| {
        move |topology: &v1::Topology| {
            topology
                .agents
                .iter()
                .any(|a| a.name == "web1" && a.controller == "c3" && a.attached == expected)
        }
    };
    cluster.nodes[0].until("web1", is_attached(true)).await;
    node.stop().await;
    cluster.nodes[0].until("the loss", is_attached(false)).await;
    cluster.nodes[0]
        .until("the loss", |topology| {
            topology.controllers.iter().any(|known| known.name == "c3" && !known.reachable)
        })
        .await;
    cluster.stop().await;
}
