//! Agents attached to one controller.

use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message as ToController;
use tonic::Code;

use super::agent::{self, Agent, keys, revision};
use super::cluster::Cluster;
use super::examples;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_its_plan_whole_then_what_changed_then_bare_versions() {
    let (cluster, first) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let mut d1 = Agent::attach(node, agent::director("d1")).await;
    assert_eq!((d1.welcome.controller.as_str(), d1.welcome.highest_epoch), ("c1", 1));
    let plan = d1.plan().await;
    assert_eq!((plan.whole, revision(&plan)), (true, first));
    assert_eq!(keys(&plan), ["ipvs", "virtual-server/web", "vrrp/vi-1"]);
    let version = plan.version.as_ref().expect("it has one");
    assert_eq!(version.cluster_id, d1.welcome.cluster_id);

    let mut web1 = Agent::attach(node, agent::real_server("web1")).await;
    assert_eq!(keys(&web1.plan().await), ["host"]);

    let second = node.apply(vec![examples::udp_virtual_server("web-udp")]).await;
    assert_eq!(second.agent_changes.len(), 2);
    let plan = d1.plan().await;
    assert_eq!((plan.whole, revision(&plan)), (false, second.revision));
    assert_eq!((keys(&plan), plan.removed.len()), (vec!["virtual-server/web-udp"], 0));
    let bare = web1.plan().await;
    assert_eq!((bare.whole, revision(&bare)), (false, second.revision));

    let third = node.apply(vec![examples::site("elsewhere")]).await;
    assert!(third.agent_changes.is_empty());
    for agent in [&mut d1, &mut web1] {
        let bare = agent.plan().await;
        assert_eq!(bare, v1::PlanUpdate { version: bare.version.clone(), ..Default::default() });
        assert_eq!(revision(&bare), third.revision);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_the_plan_gets_a_bare_version_and_one_that_is_ahead_nothing() {
    let (cluster, first) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let version = {
        let mut d1 = Agent::attach(node, agent::director("d1")).await;
        d1.plan().await.version.expect("it has one")
    };
    let again = |session, revision| v1::Hello {
        session,
        plan: Some(v1::PlanVersion { revision, ..version.clone() }),
        ..agent::director("d1")
    };
    let mut d1 = Agent::attach(node, again(2, first)).await;
    let bare = d1.plan().await;
    assert_eq!((bare.whole, keys(&bare).len(), revision(&bare)), (false, 0, first));
    // What another release planned, or took, may lack what is planned now.
    let mut upgraded = Agent::attach(
        node,
        v1::Hello {
            session: 1,
            plan: Some(v1::PlanVersion { planner: String::new(), ..version.clone() }),
            ..agent::director("d2")
        },
    )
    .await;
    assert!(upgraded.plan().await.whole);
    drop(upgraded);
    // What changes goes to it as a difference to what it said it has.
    node.apply(vec![examples::udp_virtual_server("web-udp")]).await;
    assert_eq!(keys(&d1.plan().await), ["virtual-server/web-udp"]);

    let mut ahead = Agent::attach(node, again(3, 1_000_000)).await;
    let mut behind = Agent::attach(node, v1::Hello { session: 2, ..agent::director("d2") }).await;
    behind.plan().await;
    node.apply(vec![examples::web_by_least_connections()]).await;
    assert_eq!(keys(&behind.plan().await), ["virtual-server/web"]);
    // The controller has nothing to say to the one that is ahead until it has caught up.
    assert!(futures::FutureExt::now_or_never(ahead.next()).is_none());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_that_cannot_be_welcome_say_why() {
    let (cluster, _) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let foreign = v1::PlanVersion {
        cluster_id: "other".to_owned(),
        incarnation: 1,
        revision: 1,
        ..Default::default()
    };
    let cases = [
        (agent::director("d9"), Code::NotFound, "d9"),
        (agent::real_server("d1"), Code::NotFound, "realserver/d1"),
        (agent::hello(v1::AgentRole::Unspecified, "d1"), Code::InvalidArgument, "role"),
        (agent::director("D_1"), Code::InvalidArgument, "hello.name"),
        (
            v1::Hello { plan: Some(foreign), ..agent::director("d1") },
            Code::FailedPrecondition,
            "belongs to cluster other",
        ),
    ];
    for (hello, code, part) in cases {
        let refused = Agent::try_attach(node, hello.clone()).await;
        let status = refused.err().expect("it is refused");
        assert_eq!(status.code(), code, "{hello:?}: {status:?}");
        assert!(status.message().contains(part), "{hello:?}: {status:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_session_wins_and_a_lost_epoch_is_told() {
    let (cluster, _) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let session = |epoch, session| v1::Hello { epoch, session, ..agent::director("d1") };
    let mut first = Agent::attach(node, session(5, 1)).await;
    let mut second = Agent::attach(node, session(5, 2)).await;
    assert_eq!(first.end().await.code(), Code::Aborted);
    let late = Agent::try_attach(node, session(5, 1)).await.err().expect("it is not the newest");
    assert_eq!(late.code(), Code::Aborted);

    let mut lost = Agent::attach(node, session(2, 1)).await;
    assert_eq!(lost.welcome.highest_epoch, 5);
    assert_eq!(lost.end().await.code(), Code::Aborted);
    second.plan().await;
    let mut raised = Agent::attach(node, session(6, 1)).await;
    raised.plan().await;
    assert_eq!(second.end().await.code(), Code::Aborted);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn convergence_names_the_laggards_until_there_are_none() {
    let (cluster, _) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let mut agents = Vec::new();
    for name in ["d1", "d2"] {
        agents.push(Agent::attach(node, agent::director(name)).await);
    }
    agents.push(Agent::attach(node, agent::real_server("web1")).await);
    for (agent, refusal) in agents.iter_mut().zip([None, Some("no interface eth0"), None]) {
        let plan = agent.plan().await;
        agent.answer(&plan, refusal).await;
    }
    node.until("the three answers", |topology| {
        topology.agents.iter().filter(|agent| agent.ack.is_some()).count() == 3
    })
    .await;
    let wait = |millis: i32| v1::WaitConvergedRequest {
        revision: 0,
        timeout: Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 }),
    };
    let found = node.intent().wait_converged(wait(10)).await.expect("it answers").into_inner();
    assert!(!found.converged);
    let laggards: Vec<_> = found
        .laggards
        .iter()
        .map(|laggard| (laggard.agent.as_str(), laggard.reason.as_str()))
        .collect();
    assert_eq!(laggards[0], ("director/d2", "refused: no interface eth0"));
    assert_eq!(laggards[1].0, "realserver/web2");
    assert!(laggards[1].1.starts_with("not attached"));

    // A refused plan goes out whole with the next revision.
    let second = node.apply(vec![examples::site("elsewhere")]).await.revision;
    let waiting = tokio::spawn({
        let mut client = node.intent();
        async move {
            let request = v1::WaitConvergedRequest { revision: second, timeout: None };
            client.wait_converged(request).await.expect("it answers").into_inner()
        }
    });
    agents.push(Agent::attach(node, agent::real_server("web2")).await);
    let mut whole = Vec::new();
    for agent in &mut agents {
        let plan = agent.plan().await;
        assert_eq!(revision(&plan), second);
        whole.push(plan.whole);
        agent.answer(&plan, None).await;
    }
    assert_eq!(whole, [false, true, false, true]);
    let found = waiting.await.expect("it ends");
    assert_eq!((found.converged, found.revision, found.laggards.len()), (true, second, 0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_goes_at_once_to_the_directors_that_need_it() {
    let (cluster, _) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let mut d1 = Agent::attach(node, agent::director("d1")).await;
    d1.plan().await;
    let web1 = Agent::attach(node, agent::real_server("web1")).await;
    web1.tell(1).await;
    let evidence = d1.evidence().await;
    assert_eq!((evidence.agent.as_str(), evidence.sequence), ("web1", 1));
    // Old news is no news.
    web1.tell(1).await;
    web1.tell(2).await;
    assert_eq!(d1.evidence().await.sequence, 2);
    // A director that comes later gets its plan and then what is fresh.
    let mut d2 = Agent::attach(node, agent::director("d2")).await;
    d2.plan().await;
    assert_eq!(d2.evidence().await.sequence, 2);
    // One whose plan comes to name the agent gets it then.
    let away = examples::pool("tomcats", &["web2"]);
    node.apply(vec![away]).await;
    for director in [&mut d1, &mut d2] {
        director.plan().await;
    }
    web1.tell(3).await;
    node.apply(examples::cluster()).await;
    for director in [&mut d1, &mut d2] {
        assert_eq!(keys(&director.plan().await), ["virtual-server/web"]);
        assert_eq!(director.evidence().await.sequence, 3);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_itself_alone() {
    let (cluster, _) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let evidence = v1::Evidence { agent: "web2".to_owned(), ..Default::default() };
    let cases = [
        (agent::real_server("web1"), ToController::Evidence(evidence.clone())),
        (agent::director("d1"), ToController::Evidence(evidence)),
        (agent::director("d1"), ToController::RealServer(v1::RealServerObserved::default())),
        (agent::real_server("web1"), ToController::Director(v1::DirectorObserved::default())),
        (agent::director("d1"), ToController::Hello(agent::director("d1"))),
    ];
    for (session, (hello, message)) in (1..).zip(cases) {
        let mut agent = Agent::attach(node, v1::Hello { session, ..hello }).await;
        agent.send(message.clone()).await;
        assert_eq!(agent.end().await.code(), Code::InvalidArgument, "{message:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_stops_lets_its_agents_go_at_once() {
    let (mut cluster, _) = Cluster::one_with_intent().await;
    let node = cluster.nodes.remove(0);
    let mut d1 = Agent::attach(&node, agent::director("d1")).await;
    d1.plan().await;
    let (status, ()) = tokio::join!(d1.end(), node.stop());
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}
