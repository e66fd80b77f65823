//! Sessions against in-process controllers on loopback, each answering as its test says.

use std::future::Future;
use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use fulcrum_proto::v1::{attach_request, attach_response};
use fulcrum_session::{Session, SessionConfig, SessionEvent, SessionHandle};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

type Responses = ReceiverStream<Result<v1::AttachResponse, Status>>;
type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A call of Attach that waits for the test's answer.
struct Call {
    requests: Streaming<v1::AttachRequest>,
    answer: oneshot::Sender<Result<Responses, Status>>,
}

struct Scripted(mpsc::Sender<Call>);

#[tonic::async_trait]
impl AgentService for Scripted {
    type AttachStream = Responses;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (answer, answered) = oneshot::channel();
        let call = Call { requests: request.into_inner(), answer };
        self.0.send(call).await.map_err(|_| Status::unavailable("the test is over"))?;
        answered.await.map_err(|_| Status::unavailable("the test is over"))?.map(Response::new)
    }
}

struct Controller {
    endpoint: String,
    calls: mpsc::Receiver<Call>,
}

/// The controller's side of a session.
struct Peer {
    hello: v1::Hello,
    requests: Streaming<v1::AttachRequest>,
    responses: mpsc::Sender<Result<v1::AttachResponse, Status>>,
}

impl Controller {
    async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = listener.local_addr()?.to_string();
        let (sender, calls) = mpsc::channel(8);
        let service = AgentServiceServer::new(Scripted(sender));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { endpoint, calls })
    }

    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.expect("the server runs")
    }

    /// Takes the next call, hears its hello and welcomes it.
    async fn welcome(&mut self, highest_epoch: u64) -> Result<Peer, Status> {
        let Call { mut requests, answer } = self.call().await;
        let hello = match next(&mut requests).await? {
            Some(attach_request::Message::Hello(hello)) => hello,
            other => return Err(Status::internal(format!("{other:?} came before the hello"))),
        };
        let (responses, receiver) = mpsc::channel(8);
        answer.send(Ok(ReceiverStream::new(receiver))).map_err(|_| Status::internal("gone"))?;
        let welcome = v1::Welcome {
            controller: "c".to_owned(),
            cluster_id: "cluster".to_owned(),
            highest_epoch,
        };
        let peer = Peer { hello, requests, responses };
        peer.send(attach_response::Message::Welcome(welcome)).await;
        Ok(peer)
    }
}

impl Peer {
    async fn send(&self, message: attach_response::Message) {
        let response = v1::AttachResponse { message: Some(message) };
        self.responses.send(Ok(response)).await.expect("the stream is open");
    }
}

struct Agent {
    handle: SessionHandle,
    events: mpsc::Receiver<SessionEvent>,
    plan: watch::Sender<Option<v1::PlanVersion>>,
    shutdown: CancellationToken,
}

impl Agent {
    fn start(controllers: &[&str]) -> Self {
        let config = SessionConfig {
            role: v1::AgentRole::RealServer,
            name: "web1".parse().expect("a good name"),
            epoch: 3,
            boot_id: "boot".to_owned(),
            program_version: "0".to_owned(),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            tls: None,
        };
        let (plan, version) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let (handle, events) = Session::spawn(config, version, shutdown.clone());
        Self { handle, events, plan, shutdown }
    }

    async fn event(&mut self) -> Option<SessionEvent> {
        soon(self.events.recv()).await
    }

    async fn expect_attached(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, Some(SessionEvent::Attached { .. })), "{event:?}");
    }

    async fn expect_detached(&mut self, part: &str) {
        match self.event().await {
            Some(SessionEvent::Detached { reason }) => {
                assert!(reason.contains(part), "{reason}");
            }
            other => panic!("{other:?} came where a loss was due"),
        }
    }
}

/// A test that waits longer than this hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it happens soon")
}

async fn next(
    requests: &mut Streaming<v1::AttachRequest>,
) -> Result<Option<attach_request::Message>, Status> {
    loop {
        let message = soon(requests.message()).await?.and_then(|request| request.message);
        // A controller that does not answer it is an older one.
        if !matches!(message, Some(attach_request::Message::Clock(_))) {
            return Ok(message);
        }
    }
}

fn ack(reason: &str) -> v1::PlanAck {
    v1::PlanAck { reason: reason.to_owned(), ..v1::PlanAck::default() }
}

#[tokio::test]
async fn plans_come_and_the_newest_state_goes() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let version = v1::PlanVersion {
        cluster_id: "cluster".to_owned(),
        incarnation: 1,
        revision: 4,
        ..Default::default()
    };
    agent.plan.send_replace(Some(version.clone()));
    for reason in ["first", "second", "newest"] {
        agent.handle.ack(ack(reason));
    }
    let mut peer = controller.welcome(3).await?;
    assert_eq!((peer.hello.epoch, peer.hello.session), (3, 1));
    assert_eq!(peer.hello.role(), v1::AgentRole::RealServer);
    assert_eq!((peer.hello.name.as_str(), peer.hello.boot_id.as_str()), ("web1", "boot"));
    agent.expect_attached().await;
    let sent = next(&mut peer.requests).await?;
    assert_eq!(sent, Some(attach_request::Message::Ack(ack("newest"))));

    let update = v1::PlanUpdate { version: Some(version), ..v1::PlanUpdate::default() };
    peer.send(attach_response::Message::Plan(update.clone())).await;
    peer.send(attach_response::Message::Evidence(v1::Evidence::default())).await;
    assert_eq!(agent.event().await, Some(SessionEvent::Plan(update)));
    assert_eq!(agent.event().await, Some(SessionEvent::Evidence(v1::Evidence::default())));

    agent.handle.evidence(v1::Evidence { sequence: 9, ..v1::Evidence::default() });
    match next(&mut peer.requests).await? {
        Some(attach_request::Message::Evidence(evidence)) => assert_eq!(evidence.sequence, 9),
        other => panic!("{other:?} came where evidence was due"),
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_controller_is_passed_over() -> TestResult {
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&closed, &controller.endpoint]);
    let _peer = controller.welcome(3).await?;
    agent.expect_detached("refused").await;
    agent.expect_attached().await;
    Ok(())
}

#[tokio::test]
async fn when_a_controller_leaves_the_next_hears_everything_again() -> TestResult {
    let mut first = Controller::start().await?;
    let mut second = Controller::start().await?;
    let mut agent = Agent::start(&[&first.endpoint, &second.endpoint]);
    let mut peer = first.welcome(3).await?;
    agent.expect_attached().await;
    agent.handle.real_server(v1::RealServerObserved {
        problems: vec!["p".to_owned()],
        ..Default::default()
    });
    let told = next(&mut peer.requests).await?;
    drop(peer);
    agent.expect_detached("closed").await;
    let mut peer = second.welcome(3).await?;
    assert_eq!((peer.hello.epoch, peer.hello.session), (3, 2));
    agent.expect_attached().await;
    assert_eq!(next(&mut peer.requests).await?, told);

    peer.responses.send(Err(Status::unavailable("going down"))).await?;
    drop(peer);
    agent.expect_detached("going down").await;
    let _peer = first.welcome(3).await?;
    agent.expect_attached().await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_the_intent_does_not_name_waits_and_says_so_once() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    for _ in 0..3 {
        let refused = Err(Status::not_found("the intent names no agent web1"));
        controller.call().await.answer.send(refused).map_err(|_| "the call is gone")?;
    }
    let peer = controller.welcome(3).await?;
    assert_eq!(peer.hello.session, 4);
    agent.expect_detached("names no agent web1").await;
    agent.expect_attached().await;
    Ok(())
}

#[tokio::test]
async fn a_lower_epoch_jumps_above_the_highest_seen() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let peer = controller.welcome(7).await?;
    peer.responses.send(Err(Status::aborted("raise it"))).await?;
    match agent.event().await {
        Some(SessionEvent::Attached { highest_epoch: 7, .. }) => agent.handle.raise_epoch(8),
        other => panic!("{other:?} came where the welcome was due"),
    }
    let mut peer = controller.welcome(8).await?;
    assert_eq!((peer.hello.epoch, peer.hello.session), (8, 2));
    agent.expect_attached().await;
    // Raised by the agent's own will, the session attaches again too.
    agent.handle.raise_epoch(9);
    assert_eq!(next(&mut peer.requests).await?, None, "closed in good order");
    drop(peer);
    assert_eq!(controller.welcome(9).await?.hello.epoch, 9);
    Ok(())
}

#[tokio::test]
async fn shutdown_sends_the_rest_and_closes_in_good_order() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let mut peer = controller.welcome(3).await?;
    agent.expect_attached().await;
    agent.handle.ack(ack("last"));
    agent.shutdown.cancel();
    let last = next(&mut peer.requests).await?;
    assert_eq!(last, Some(attach_request::Message::Ack(ack("last"))));
    assert_eq!(next(&mut peer.requests).await?, None);
    drop(peer);
    assert_eq!(agent.event().await, None);
    Ok(())
}

#[tokio::test]
async fn a_busy_agent_slows_its_controller_and_loses_nothing() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let peer = controller.welcome(3).await?;
    let flood = tokio::spawn(async move {
        for sequence in 0..1000 {
            let evidence = v1::Evidence { sequence, ..v1::Evidence::default() };
            peer.send(attach_response::Message::Evidence(evidence)).await;
        }
        peer
    });
    agent.expect_attached().await;
    for expected in 0..1000 {
        match agent.event().await {
            Some(SessionEvent::Evidence(evidence)) => assert_eq!(evidence.sequence, expected),
            other => panic!("{other:?} came where evidence was due"),
        }
    }
    flood.await?;
    Ok(())
}

/// The next question for the time.
async fn question(requests: &mut Streaming<v1::AttachRequest>) -> Result<v1::Clock, Status> {
    loop {
        let request = soon(requests.message()).await?;
        match request.and_then(|request| request.message) {
            Some(attach_request::Message::Clock(question)) => return Ok(question),
            Some(_) => {}
            None => return Err(Status::internal("it ended without a question")),
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_measured_and_told() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let mut peer = controller.welcome(3).await?;
    agent.expect_attached().await;
    let asked = question(&mut peer.requests).await?;
    assert_eq!((asked.received_at, asked.answered_at), (None, None));
    // An answer to something else, then the right one, of a controller an hour behind.
    peer.send(attach_response::Message::Clock(v1::Clock::default())).await;
    let theirs = SystemTime::now() - Duration::from_hours(1);
    let (received_at, answered_at) = (Some(theirs.into()), Some(theirs.into()));
    let answer = v1::Clock { received_at, answered_at, ..asked };
    peer.send(attach_response::Message::Clock(answer)).await;
    let Some(SessionEvent::Clock(reading)) = agent.event().await else {
        panic!("the clocks were compared");
    };
    let off = reading.ahead_ms + 3_600_000;
    // The true offset lies within the error, and the clock was read a moment before the answer went.
    assert!(off.abs() <= 20_000, "{reading:?}");
    let finding = reading.finding().expect("an hour is told");
    assert_eq!((finding.code.as_str(), finding.severity()), ("clock-skew", v1::Severity::Warning));
    assert!(finding.found.contains("ahead of that of controller c,"), "{}", finding.found);
    assert!(finding.remedy.contains("chronyc tracking"), "{}", finding.remedy);
    Ok(())
}

#[tokio::test]
async fn what_speaks_another_protocol_is_refused() -> TestResult {
    let mut controller = Controller::start().await?;
    let mut agent = Agent::start(&[&controller.endpoint]);
    let (responses, receiver) = mpsc::channel(1);
    responses.send(Ok(v1::AttachResponse { message: None })).await?;
    let Call { requests: _requests, answer } = controller.call().await;
    answer.send(Ok(ReceiverStream::new(receiver))).map_err(|_| "the call is gone")?;
    agent.expect_detached("no welcome came first").await;
    Ok(())
}
