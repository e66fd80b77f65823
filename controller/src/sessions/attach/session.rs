//! The life of a session: sends plan and evidence, takes what the agent says.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use fulcrum_intent::AgentId;
use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message as FromAgent;
use fulcrum_proto::v1::attach_response::Message as ToAgent;
use fulcrum_runtime::trace;
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status, Streaming};

use super::Attacher;
use crate::outbox::Next;
use crate::sessions::hub::{Hub, SessionOutbox};
use crate::sessions::key;
use crate::sessions::planning::{Made, Planning};
use crate::sessions::plans::Planned;
use crate::sessions::registry::SessionStamp;
use crate::sessions::update::Has;

/// A plan on its way.
type Making = Pin<Box<dyn Future<Output = Option<Made>> + Send>>;

/// One agent's open stream.
pub(super) struct Session {
    hub: Arc<Hub>,
    key: AgentId,
    stamp: SessionStamp,
    outbox: Arc<SessionOutbox>,
    plans: watch::Receiver<Arc<Planned>>,
    planning: Planning,
    requests: Streaming<v1::AttachRequest>,
    responses: mpsc::Sender<Result<v1::AttachResponse, Status>>,
    has: Has,
    /// An update that is made but not sent.
    update: Option<Made>,
    /// A plan being made, apart from this task, for a long one takes a while and evidence must not wait for it.
    making: Option<Making>,
    /// The agent's newest question for the time, taken but not answered.
    clock: Option<v1::Clock>,
}

/// What happened next.
enum Event {
    Request(Box<v1::AttachRequest>),
    /// The agent's side of the stream is over, with what is to be said of it.
    Ended(String),
    Made(Option<Box<Made>>),
    PlansChanged,
    Sendable,
    /// The agent hears no more, or this controller plans no more.
    Over,
}

/// Why a session ends, in words for the log.
type End = String;

impl Session {
    pub(super) fn new(
        attacher: &Attacher,
        key: AgentId,
        stamp: SessionStamp,
        outbox: Arc<SessionOutbox>,
        requests: Streaming<v1::AttachRequest>,
        responses: mpsc::Sender<Result<v1::AttachResponse, Status>>,
        has: Has,
    ) -> Self {
        let Attacher { controller: _, hub, mut plans, planning } = attacher.clone();
        // So that it begins with the newest.
        plans.mark_changed();
        Self {
            hub,
            key,
            stamp,
            outbox,
            plans,
            planning,
            requests,
            responses,
            has,
            update: None,
            making: None,
            clock: None,
        }
    }

    pub(super) async fn run(mut self) {
        let has_revision = self.has.version().map(|version| version.revision);
        tracing::info!(agent = %self.key, epoch = self.stamp.epoch, has_revision, "agent attached");
        let reason = loop {
            let done = match self.next_event().await {
                Event::Request(request) => self.take(*request),
                Event::Ended(reason) => Err(reason),
                Event::Made(Some(made)) => {
                    self.note_made(*made);
                    Ok(())
                }
                Event::Made(None) => Err("its plan could not be made; please report it".to_owned()),
                Event::PlansChanged => {
                    self.make_update();
                    Ok(())
                }
                Event::Sendable => self.send(),
                Event::Over => Err("the agent hears no more".to_owned()),
            };
            if let Err(reason) = done {
                break reason;
            }
        };
        self.hub.leave(&self.key, self.stamp);
        tracing::info!(agent = %self.key, epoch = self.stamp.epoch, reason, "agent detached");
    }

    async fn next_event(&mut self) -> Event {
        let has_own = self.update.is_some() || self.clock.is_some();
        let may_plan = self.update.is_none() && self.making.is_none();
        let (outbox, responses) = (&self.outbox, &self.responses);
        let sendable = async {
            if !has_own {
                outbox.ready().await;
            }
            responses.reserve().await.map(drop)
        };
        tokio::select! {
            () = outbox.closed() => Event::Sendable,
            sendable = sendable => sendable.map_or(Event::Over, |()| Event::Sendable),
            () = responses.closed() => Event::Over,
            request = self.requests.message() => match request {
                Ok(Some(request)) => Event::Request(Box::new(request)),
                Ok(None) => Event::Ended("the agent ended it".to_owned()),
                Err(status) => Event::Ended(text_of(&status)),
            },
            made = made(&mut self.making) => Event::Made(made.map(Box::new)),
            changed = self.plans.changed(), if may_plan => {
                changed.map_or(Event::Over, |()| Event::PlansChanged)
            }
        }
    }

    fn take(&mut self, request: v1::AttachRequest) -> Result<(), End> {
        let is_director = key::is_director(&self.key);
        match request.message {
            Some(FromAgent::Ack(ack)) => {
                if !ack.applied {
                    self.note_refusal(&ack);
                }
                self.hub.hear(&self.key, self.stamp, |status| status.ack = Some(ack));
            }
            Some(FromAgent::Director(seen)) if is_director => {
                self.hub.hear(&self.key, self.stamp, |status| status.director = Some(seen));
            }
            Some(FromAgent::RealServer(seen)) if !is_director => {
                self.hub.hear(&self.key, self.stamp, |status| status.real_server = Some(seen));
            }
            // A controller passes on evidence that it need not understand: its agents may be newer than it is.
            Some(FromAgent::Evidence(evidence))
                if !is_director && evidence.agent == self.key.name.as_str() =>
            {
                self.hub.take_evidence(&self.key, self.stamp, evidence);
            }
            Some(FromAgent::Clock(question)) => {
                let received_at = Some(SystemTime::now().into());
                self.clock = Some(v1::Clock { received_at, ..question });
            }
            // What a newer agent says beyond this version of the API.
            None => {}
            Some(
                FromAgent::Hello(_)
                | FromAgent::Director(_)
                | FromAgent::RealServer(_)
                | FromAgent::Evidence(_),
            ) => {
                let text = format!("{} says what is not its own to say", self.key);
                return self.end(Status::invalid_argument(text));
            }
        }
        Ok(())
    }

    /// What an agent refused is no ground to build on: the next revision goes to it whole.
    fn note_refusal(&mut self, ack: &v1::PlanAck) {
        let revision = ack.version.as_ref().map(|version| version.revision);
        tracing::warn!(agent = %self.key, revision, reason = ack.reason, "plan refused");
        let was_about_to_send = self.update.take().is_some() || self.making.take().is_some();
        self.has = Has::Nothing;
        if was_about_to_send {
            self.plans.mark_changed();
        }
    }

    /// The intent has a new revision: finds out what it means to the agent.
    fn make_update(&mut self) {
        let planned = self.plans.borrow_and_update().clone();
        if !self.has.wants(&planned.version) {
            return;
        }
        match std::mem::take(&mut self.has) {
            Has::Sent(since, objects) if planned.leaves_alone(&self.key, &since) => {
                let version = planned.version.clone();
                let update =
                    v1::PlanUpdate { version: Some(version.clone()), ..Default::default() };
                let then = Has::Sent(version, objects);
                let (agents, traceparent) = (BTreeSet::new(), String::new());
                self.update = Some(Made { update, then, agents, traceparent });
            }
            has => {
                let (planning, key) = (self.planning.clone(), self.key.clone());
                self.making = Some(Box::pin(async move { planning.make(planned, key, has).await }));
            }
        }
    }

    fn note_made(&mut self, made: Made) {
        self.making = None;
        if key::is_director(&self.key) {
            self.hub.follow_evidence(&self.key, self.stamp, made.agents.clone());
        }
        self.update = Some(made);
    }

    fn send(&mut self) -> Result<(), End> {
        if !self.outbox.is_closed()
            && let Some(question) = self.clock.take()
        {
            let answered_at = Some(SystemTime::now().into());
            return self.give(ToAgent::Clock(v1::Clock { answered_at, ..question }));
        }
        if !self.outbox.is_closed()
            && let Some(update) = self.update.take()
        {
            let message = self.traced(update.update, &update.traceparent);
            self.has = update.then;
            return self.give(ToAgent::Plan(message));
        }
        match self.outbox.take() {
            Next::Changed(agent) => match self.hub.evidence(&agent) {
                Some(evidence) => self.give(ToAgent::Evidence(evidence)),
                None => Ok(()),
            },
            Next::Empty => Ok(()),
            Next::Closed(status) => self.end(status),
        }
    }

    /// Makes the sending a step of the Apply's trace, and what the agent does with it a step after that.
    fn traced(&self, mut message: v1::PlanUpdate, traceparent: &str) -> v1::PlanUpdate {
        if message.objects.is_empty() && message.removed.is_empty() {
            return message;
        }
        let span = tracing::info_span!(
            parent: None,
            "plan.send",
            agent = %self.key,
            revision = message.version.as_ref().map(|version| version.revision),
            whole = message.whole,
            objects = message.objects.len(),
            removed = message.removed.len(),
        );
        trace::set_parent(&span, traceparent);
        let here = span.in_scope(trace::traceparent);
        message.traceparent = if here.is_empty() { traceparent.to_owned() } else { here };
        message
    }

    fn give(&self, message: ToAgent) -> Result<(), End> {
        let response = v1::AttachResponse { message: Some(message) };
        // There is room: it was waited for, and nobody else sends.
        self.responses.try_send(Ok(response)).map_err(|error| error.to_string())
    }

    fn end(&self, status: Status) -> Result<(), End> {
        let reason = text_of(&status);
        if status.code() != Code::Ok {
            // Without room the agent is stuck, and finds the stream ended once it is not.
            self.responses.try_send(Err(status)).ok();
        }
        Err(reason)
    }
}

async fn made(making: &mut Option<Making>) -> Option<Made> {
    match making {
        Some(making) => making.await,
        None => std::future::pending().await,
    }
}

fn text_of(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
