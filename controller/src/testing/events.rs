//! What happened, told over the API by whole controllers: after restarts, by whoever leads, and sent on.

use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message as ToController;
use fulcrum_proto::v1::event_service_client::EventServiceClient;
use fulcrum_proto::v1::watch_events_response::Told;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::agent::{self, Agent};
use super::cluster::{Cluster, Node, SOON};
use super::examples;

impl Node {
    fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel())
    }

    /// All that is kept.
    async fn kept(&self) -> Vec<v1::Event> {
        let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
        let answer = self.events().list_events(request).await;
        answer.expect("it answers").into_inner().events
    }

    async fn follow(&self, from_sequence: u64) -> Streaming<v1::WatchEventsResponse> {
        let request = v1::WatchEventsRequest { from_sequence, ..Default::default() };
        self.events().watch_events(request).await.expect("it is watched").into_inner()
    }

    /// Follows until this is told, and gives it.
    async fn until_told(&self, from: u64, text: &str) -> v1::Event {
        let waited = tokio::time::timeout(SOON, async {
            let mut told = self.follow(from).await;
            loop {
                let next = told.message().await.expect("it goes on").expect("it does not end");
                if let Some(Told::Event(event)) = next.told
                    && event.text == text
                {
                    return event;
                }
            }
        });
        if let Ok(event) = waited.await {
            return event;
        }
        panic!("{text:?} was not told: {:#?}", texts(&self.kept().await))
    }
}

fn texts(events: &[v1::Event]) -> Vec<String> {
    events.iter().map(|event| format!("{} {}", event.sequence, event.text)).collect()
}

/// What a director tells that is Active for everything, with web1 in or out.
async fn tell(director: &Agent, weight: u32) {
    let decision = v1::WeightDecision {
        virtual_server: "web".to_owned(),
        real_server: "web1".to_owned(),
        weight,
        planned_weight: 1,
        reasons: vec!["agent: process 812 exited".to_owned()],
        probe: v1::ProbeResult::Failing.into(),
        ..Default::default()
    };
    let instance = v1::VrrpObserved {
        instance: "vi-1".to_owned(),
        state: v1::VrrpState::Active.into(),
        ..Default::default()
    };
    let observed = v1::DirectorObserved {
        vrrp_instances: vec![instance],
        weights: vec![decision],
        ..Default::default()
    };
    director.send(ToController::Director(observed)).await;
}

const OUT: &str = "real server web1 is out of web";
const IN: &str = "real server web1 is in rotation again";

#[tokio::test(flavor = "multi_thread")]
async fn events_survive_a_restart_and_a_watch_goes_on_from_its_place() {
    let (mut cluster, revision) = Cluster::one_with_intent().await;
    let node = cluster.nodes.remove(0);
    let written = format!("anonymous changed 8 resources in revision {revision}");
    node.until_told(0, &written).await;
    let director = Agent::attach(&node, agent::director("d1")).await;
    tell(&director, 0).await;
    let out = node.until_told(0, OUT).await;
    assert_eq!(
        (out.kind(), out.cause.as_str(), out.site.as_str()),
        (v1::EventKind::RealServerOut, "agent: process 812 exited", "main")
    );
    let before = node.kept().await;
    drop(director);

    let node = node.restart().await;
    let after = node.kept().await;
    assert_eq!(after[..before.len()], before, "all of it is there");
    let director = Agent::attach(&node, agent::director("d1")).await;
    tell(&director, 0).await;
    tell(&director, 1).await;
    let back = node.until_told(out.sequence, IN).await;
    assert!(back.sequence > out.sequence);
    let times = node.kept().await.iter().filter(|event| event.text == OUT).count();
    assert_eq!(times, 1, "what was told before the restart is not told again");
    // What was never kept cannot be gone on from.
    let request = v1::WatchEventsRequest { from_sequence: 1, ..Default::default() };
    let answer = node.events().watch_events(request).await;
    answer.expect("nothing was dropped yet, so all that is kept comes after it");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_held_and_one_that_is_undone_are_told() {
    let (mut cluster, _) = Cluster::one_with_intent().await;
    let node = cluster.nodes.remove(0);
    let empty = v1::ApplyRequest { prune: true, ..Default::default() };
    let status = node.try_apply(empty).await.expect_err("it would delete everything");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let held = node.until_told(0, "a write by anonymous was held").await;
    assert!(held.cause.contains("releases it"), "{}", held.cause);

    let short = prost_types::Duration { seconds: 1, nanos: 0 };
    let waits = v1::ApplyRequest {
        resources: vec![examples::site("east")],
        confirm_within: Some(short),
        ..Default::default()
    };
    let revision = node.try_apply(waits).await.expect("it is taken").revision;
    let text =
        format!("anonymous changed 1 resource in revision {revision}, to be confirmed within 1s");
    let waits = node.until_told(0, &text).await;
    let reverted = tokio::time::timeout(SOON, async {
        let mut told = node.follow(waits.sequence).await;
        loop {
            let next = told.message().await.expect("it goes on").expect("it does not end");
            if let Some(Told::Event(event)) = next.told
                && event.kind() == v1::EventKind::ChangeReverted
            {
                return event;
            }
        }
    });
    let reverted = reverted.await.expect("it is undone and told");
    let Some(v1::event::Details::Intent(intent)) = reverted.details else { panic!("{reverted:?}") };
    assert_eq!(intent.origin_revision, revision);
    node.stop().await;
}

/// Takes POSTs, answers each with 204 but the first with 500, and gives their bodies.
async fn hook() -> (u16, mpsc::UnboundedReceiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it has an address").port();
    let (sender, taken) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut answer = "500 Oops";
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut said, mut part) = (String::new(), [0; 4096]);
            let body = loop {
                let length = said.lines().find_map(|it| it.strip_prefix("content-length: "));
                if let (Some(length), Some((_, body))) = (length, said.split_once("\r\n\r\n"))
                    && body.len() >= length.parse().unwrap_or(usize::MAX)
                {
                    break body.to_owned();
                }
                match stream.read(&mut part).await {
                    Ok(read) if read > 0 => said.push_str(&String::from_utf8_lossy(&part[..read])),
                    Ok(_) | Err(_) => break String::new(),
                }
            };
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            if answer == "204 No Content" {
                let _ = sender.send(serde_json::from_str(&body).expect("it is JSON"));
            }
            answer = "204 No Content";
        }
    });
    (port, taken)
}

fn policy(port: u16) -> v1::Resource {
    let metadata = v1::Metadata { name: "ops".to_owned(), ..Default::default() };
    let policy = v1::NotificationPolicy {
        kinds: vec![v1::EventKind::RealServerOut.into(), v1::EventKind::RealServerIn.into()],
        group_interval: Some(prost_types::Duration::default()),
        webhook: Some(v1::WebhookChannel {
            url: format!("http://127.0.0.1:{port}/"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let spec = Some(v1::resource::Spec::NotificationPolicy(policy));
    v1::Resource { metadata: Some(metadata), spec }
}

async fn sent(taken: &mut mpsc::UnboundedReceiver<serde_json::Value>) -> Vec<String> {
    let body = tokio::time::timeout(SOON, taken.recv()).await.expect("it is sent");
    let body = body.expect("the test's hook lives");
    let events = body["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_tells_the_same_and_sends_each_event_once() {
    let mut cluster = Cluster::ready(3).await;
    let (port, mut taken) = hook().await;
    let mut set = examples::cluster();
    set.push(policy(port));
    cluster.nodes[0].apply(set).await;
    let leader = leader(&cluster).await;
    // The director is attached to one that stays.
    let stays = (leader + 1) % 3;
    let director = Agent::attach(&cluster.nodes[stays], agent::director("d1")).await;
    tell(&director, 0).await;
    let out = cluster.nodes[stays].until_told(0, OUT).await;
    // The first try is answered with 500.
    assert_eq!(sent(&mut taken).await, [OUT]);
    for node in &cluster.nodes {
        assert_eq!(node.until_told(0, OUT).await, out, "every controller tells it alike");
    }
    // How far it is must be noted before the next one leads: else it would send it once more, rightly.
    let noted = |topology: &v1::Topology| {
        topology.notifications.iter().any(|status| status.sent_to >= out.sequence)
    };
    let waited = tokio::time::timeout(SOON, async {
        while !noted(&cluster.nodes[stays].status().await) {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it is noted");

    cluster.nodes.remove(leader).stop().await;
    tell(&director, 1).await;
    let node = &cluster.nodes[0];
    let back = node.until_told(out.sequence, IN).await;
    assert_ne!(back.told_by, out.told_by, "another one leads");
    assert_eq!(sent(&mut taken).await, [IN], "what was sent is not sent again");
    let kept = cluster.nodes[1].until_told(out.sequence, IN).await;
    assert_eq!(kept, back);
    let all = node.kept().await;
    let times = all.iter().filter(|event| event.text == OUT).count();
    assert_eq!(times, 1, "{:#?}", texts(&all));
    cluster.stop().await;
}

async fn leader(cluster: &Cluster) -> usize {
    for (index, node) in cluster.nodes.iter().enumerate() {
        if node.is_leader(&format!("c{}", index + 1)).await {
            return index;
        }
    }
    panic!("nobody leads")
}
