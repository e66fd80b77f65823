//! One attempt at one controller: from the connection to the end of the session.
//!
//! ```text
//!   connect ──▶ hello ──▶ Welcome ──▶ converse ──▶ closed | broke | raised | over
//!      └──────────┴──────────┴──▶ refused
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_client::AgentServiceClient;
use fulcrum_proto::v1::{attach_request, attach_response};
use fulcrum_runtime::trace::InjectInterceptor;
use fulcrum_runtime::transport;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::clock::Comparison;
use crate::outbox::{Outbox, Sent};
use crate::session::{SessionConfig, SessionEvent};

/// Longest wait for a connection and its Welcome. A controller that answers no slower than this under a storm of
/// reconnections is kept; a dead one is noticed sooner by its socket.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the agent to raise its epoch, which costs it one sync of its disk.
const RAISE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for a controller to end a stream that we have closed: programs are to stop at once.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages under way to the transport. One, so that all others are still replaced by newer ones.
const SEND_AHEAD: usize = 1;
/// Largest message taken: a whole plan of 110,000 real servers is about 10 MB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What every attempt of an agent shares.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) config: SessionConfig,
    pub(crate) plan: watch::Receiver<Option<v1::PlanVersion>>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) events: mpsc::Sender<SessionEvent>,
    pub(crate) shutdown: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The agent stops, or listens no longer.
    Over,
    /// The epoch was raised: attach again.
    Raised,
    /// The controller ended the session in good order.
    Closed { lasted: Duration },
    /// The session broke.
    Broke { lasted: Duration, reason: String },
    /// No session came about.
    Refused { reason: String },
}

/// The agent stops, or listens no longer.
#[derive(Debug)]
pub(crate) struct Over;

/// Why a conversation is over.
enum Parting {
    /// The agent stops, or listens no longer.
    Stop,
    /// The agent raised its epoch.
    Raise,
    /// The stream ended.
    End(Result<(), Status>),
}

/// An open stream whose Welcome has come.
struct Open {
    requests: mpsc::Sender<v1::AttachRequest>,
    responses: Streaming<v1::AttachResponse>,
    welcome: v1::Welcome,
}

impl Attempt {
    /// Attaches to `endpoint` as session number `session` and stays until it ends.
    pub(crate) async fn run(&self, endpoint: &str, session: u64) -> Ending {
        let epoch = self.outbox.epoch();
        let opening = tokio::time::timeout(WELCOME_TIMEOUT, self.open(endpoint, epoch, session));
        let opened = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Ending::Over,
            () = self.events.closed() => return Ending::Over,
            opened = opening => opened,
        };
        let mut open = match opened {
            Ok(Ok(open)) => open,
            Ok(Err(reason)) => return Ending::Refused { reason },
            Err(_) => {
                let reason = format!("no welcome within {} s", WELCOME_TIMEOUT.as_secs());
                return Ending::Refused { reason };
            }
        };
        let since = Instant::now();
        let v1::Welcome { controller, cluster_id, highest_epoch } = open.welcome.clone();
        tracing::info!(controller, endpoint, epoch, session, "attached");
        let attached = SessionEvent::Attached { controller, cluster_id, highest_epoch };
        if self.tell(attached).await.is_err() {
            return self.close(open).await;
        }
        if highest_epoch > epoch {
            return self.wait_for_raise(open, epoch, highest_epoch).await;
        }
        let mut sent = Sent::default();
        match self.converse(&mut open, &mut sent, epoch).await {
            Parting::Stop => self.close_with(open, sent).await,
            Parting::Raise => {
                self.close(open).await;
                Ending::Raised
            }
            Parting::End(Ok(())) => Ending::Closed { lasted: since.elapsed() },
            Parting::End(Err(status)) => {
                Ending::Broke { lasted: since.elapsed(), reason: words(&status) }
            }
        }
    }

    /// Hands an event to the agent, however long it takes.
    pub(crate) async fn tell(&self, event: SessionEvent) -> Result<(), Over> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Over),
            sent = self.events.send(event) => sent.map_err(|_| Over),
        }
    }

    async fn open(&self, endpoint: &str, epoch: u64, session: u64) -> Result<Open, String> {
        let channel = transport::connect_lazy(endpoint, self.config.tls.as_ref())
            .map_err(|error| error.to_string())?;
        let mut client = AgentServiceClient::with_interceptor(channel, InjectInterceptor)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, receiver) = mpsc::channel(SEND_AHEAD);
        let hello = attach_request::Message::Hello(self.hello(epoch, session));
        // The channel is new and holds one message, so this neither waits nor fails.
        requests.send(request(hello)).await.map_err(|error| error.to_string())?;
        let response =
            client.attach(ReceiverStream::new(receiver)).await.map_err(|status| words(&status))?;
        let mut responses = response.into_inner();
        let first = responses.message().await.map_err(|status| words(&status))?;
        match first.and_then(|response| response.message) {
            Some(attach_response::Message::Welcome(welcome)) => {
                Ok(Open { requests, responses, welcome })
            }
            Some(
                attach_response::Message::Plan(_)
                | attach_response::Message::Evidence(_)
                | attach_response::Message::Clock(_),
            )
            | None => Err("it speaks another protocol: no welcome came first".to_owned()),
        }
    }

    fn hello(&self, epoch: u64, session: u64) -> v1::Hello {
        v1::Hello {
            role: self.config.role.into(),
            name: self.config.name.to_string(),
            epoch,
            session,
            plan: self.plan.borrow().clone(),
            program_version: self.config.program_version.clone(),
            boot_id: self.config.boot_id.clone(),
        }
    }

    /// Serves the stream in both directions. The agent's events are only read from the stream when there is room for them,
    /// so a busy agent slows its controller and not itself.
    async fn converse(&self, open: &mut Open, sent: &mut Sent, epoch: u64) -> Parting {
        let mut room = None;
        let mut clocks = Comparison::new(&open.welcome.controller, Instant::now());
        while self.outbox.epoch() <= epoch {
            let asks = Instant::now() >= clocks.due();
            let is_sending = (asks || self.outbox.has_newer(sent)) && !open.requests.is_closed();
            tokio::select! {
                () = self.shutdown.cancelled() => return Parting::Stop,
                () = self.events.closed() => return Parting::Stop,
                slot = open.requests.reserve(), if is_sending => {
                    let Ok(slot) = slot else { continue };
                    // Stamped when there is room, so that no time is spent in a queue of ours.
                    if asks {
                        let question = clocks.ask(SystemTime::now(), Instant::now());
                        slot.send(request(attach_request::Message::Clock(question)));
                    } else if let Some(message) = self.outbox.next(sent, Instant::now()) {
                        slot.send(request(message));
                    }
                }
                permit = self.events.reserve(), if room.is_none() => room = permit.ok(),
                message = open.responses.message(), if room.is_some() => match message {
                    Ok(Some(response)) => {
                        if let Some(event) = event(response, &mut clocks)
                            && let Some(permit) = room.take()
                        {
                            permit.send(event);
                        }
                    }
                    Ok(None) => return Parting::End(Ok(())),
                    Err(status) => return Parting::End(Err(status)),
                },
                () = self.outbox.changed() => {}
                () = tokio::time::sleep_until(clocks.due().into()), if !asks => {}
            }
        }
        Parting::Raise
    }

    /// The controller has seen a higher epoch and will take nothing under this one.
    async fn wait_for_raise(&self, open: Open, epoch: u64, highest_epoch: u64) -> Ending {
        let raised = async {
            while self.outbox.epoch() <= epoch {
                self.outbox.changed().await;
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => self.close(open).await,
            () = self.events.closed() => self.close(open).await,
            waited = tokio::time::timeout(RAISE_TIMEOUT, raised) => match waited {
                Ok(()) => {
                    self.close(open).await;
                    Ending::Raised
                }
                Err(_) => Ending::Refused {
                    reason: format!("it has seen epoch {highest_epoch}, and this agent stays at {epoch}"),
                },
            },
        }
    }

    /// Sends what was handed over and not sent, then closes; all of it within [`CLOSE_TIMEOUT`].
    async fn close_with(&self, open: Open, mut sent: Sent) -> Ending {
        let closing = async {
            while let Some(message) = self.outbox.next(&mut sent, Instant::now()) {
                if open.requests.send(request(message)).await.is_err() {
                    break;
                }
            }
            self.close(open).await
        };
        // What a controller does not take in time is lost with the agent.
        tokio::time::timeout(CLOSE_TIMEOUT, closing).await.unwrap_or(Ending::Over)
    }

    /// Ends our half of the stream, and waits for the controller to end its own.
    async fn close(&self, open: Open) -> Ending {
        let Open { requests, mut responses, welcome: _ } = open;
        drop(requests);
        // What still comes is told again in the next session.
        let drained = async { while let Ok(Some(_)) = responses.message().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, drained).await;
        Ending::Over
    }
}

fn request(message: attach_request::Message) -> v1::AttachRequest {
    v1::AttachRequest { message: Some(message) }
}

fn event(response: v1::AttachResponse, clocks: &mut Comparison) -> Option<SessionEvent> {
    match response.message {
        Some(attach_response::Message::Plan(update)) => Some(SessionEvent::Plan(update)),
        Some(attach_response::Message::Evidence(evidence)) => {
            Some(SessionEvent::Evidence(evidence))
        }
        Some(attach_response::Message::Clock(answer)) => {
            clocks.hear(&answer, Instant::now()).map(SessionEvent::Clock)
        }
        // A second welcome says nothing new; what is none of them is of a later version of the API.
        Some(attach_response::Message::Welcome(_)) | None => None,
    }
}

/// A status for people: the code where the message alone would not tell, and what lies beneath.
pub(crate) fn words(status: &Status) -> String {
    let mut words = format!("{:?}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}
