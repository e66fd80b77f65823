//! A session's public face, and the loop that keeps one attached.

use std::sync::Arc;
use std::time::Instant;

use fulcrum_model::Name;
use fulcrum_proto::v1;
use fulcrum_runtime::tls::TlsFiles;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attach::{Attempt, Ending};
use crate::clock::ClockReading;
use crate::outbox::Outbox;
use crate::rotation::{Outcome, Rotation};

/// Events that wait for the agent before the session stops reading from its controller, which then keeps what is newest.
const EVENT_CAPACITY: usize = 64;

/// Who attaches, and where.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What the agent is.
    pub role: v1::AgentRole,
    /// Its name in the intent.
    pub name: Name,
    /// Made durable at this start, see `fulcrum_runtime::durable::next_counter`.
    pub epoch: u64,
    /// See `fulcrum_runtime::boot::boot_id`.
    pub boot_id: String,
    /// The program's version.
    pub program_version: String,
    /// Controllers as `host:port`, tried in this order: the own site's first.
    pub controllers: Vec<String>,
    /// Identity; plain text when none.
    pub tls: Option<TlsFiles>,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// A controller welcomed the agent. Where `highest_epoch` is above the agent's own epoch, another life of the agent was
    /// seen: the agent makes a higher epoch durable and calls [`SessionHandle::raise_epoch`], and the session attaches again.
    Attached {
        /// The controller's name.
        controller: String,
        /// The cluster.
        cluster_id: String,
        /// Highest epoch that was seen of this agent, this one included.
        highest_epoch: u64,
    },
    /// No controller is attached, in words; told once for each loss, and once more for each new reason that keeps it so.
    Detached {
        /// What happened, with the controller's endpoint.
        reason: String,
    },
    /// The plan, or what changed in it.
    Plan(v1::PlanUpdate),
    /// To a director: evidence of an agent that its plan names.
    Evidence(v1::Evidence),
    /// The controller's clock was compared with this host's: after the welcome, then about once a minute.
    Clock(ClockReading),
}

/// An agent's stay with the controllers, before it begins.
#[derive(Debug)]
#[must_use = "a session attaches once it begins"]
pub struct Session(Attempt);

impl Session {
    /// A session until `shutdown`. `plan` holds the version that the agent runs on, which each hello tells. The receiver ends
    /// when the session has closed; an agent that drops it ends the session too.
    ///
    /// On shutdown what was handed over is sent and the stream is closed in good order, for half a second at most: read the
    /// receiver to its end before the runtime goes.
    pub fn new(
        config: SessionConfig,
        plan: watch::Receiver<Option<v1::PlanVersion>>,
        shutdown: CancellationToken,
    ) -> (Self, SessionHandle, mpsc::Receiver<SessionEvent>) {
        let (events, receiver) = mpsc::channel(EVENT_CAPACITY);
        let outbox = Arc::new(Outbox::new(config.epoch));
        let handle = SessionHandle { outbox: Arc::clone(&outbox) };
        (Self(Attempt { config, plan, outbox, events, shutdown }), handle, receiver)
    }

    /// Begins attaching, in a task of its own. An agent with a saved plan takes that up first: the first hello then tells its
    /// version, and the controller need not send what is there.
    pub fn begin(self) {
        tokio::spawn(keep_attached(self.0));
    }

    /// A session that begins at once.
    pub fn spawn(
        config: SessionConfig,
        plan: watch::Receiver<Option<v1::PlanVersion>>,
        shutdown: CancellationToken,
    ) -> (SessionHandle, mpsc::Receiver<SessionEvent>) {
        let (session, handle, receiver) = Self::new(config, plan, shutdown);
        session.begin();
        (handle, receiver)
    }
}

/// Takes what the agent has to tell. Never blocks; keeps only the newest whole state of each kind, and sends it again after
/// each reconnection.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    outbox: Arc<Outbox>,
}

impl SessionHandle {
    /// Answers a plan.
    pub fn ack(&self, ack: v1::PlanAck) {
        self.outbox.put_ack(ack);
    }

    /// Tells what a director sees.
    pub fn director(&self, observed: v1::DirectorObserved) {
        self.outbox.put_director(observed);
    }

    /// Tells what a real-server agent sees.
    pub fn real_server(&self, observed: v1::RealServerObserved) {
        self.outbox.put_real_server(observed);
    }

    /// Tells a real-server agent's whole evidence. Its `age_ms` is its age now; time until it is sent is added.
    pub fn evidence(&self, evidence: v1::Evidence) {
        self.outbox.put_evidence(evidence, Instant::now());
    }

    /// Attaches again under a higher epoch, which the agent has made durable. A lower one changes nothing.
    pub fn raise_epoch(&self, epoch: u64) {
        self.outbox.raise_epoch(epoch);
    }
}

async fn keep_attached(attempt: Attempt) {
    let mut rotation = Rotation::new(attempt.config.controllers.len());
    // What was last said of each controller, so that it is said once and not every 2 s.
    let mut said = vec![None; attempt.config.controllers.len()];
    let mut session = 0;
    loop {
        let Some((index, endpoint)) = rotation
            .current()
            .and_then(|index| Some((index, attempt.config.controllers.get(index)?)))
        else {
            tracing::error!(
                "the configuration names no controller; the agent runs on its saved plan"
            );
            attempt.shutdown.cancelled().await;
            return;
        };
        session += 1;
        let ending = attempt.run(endpoint, session).await;
        let (outcome, reason) = match ending {
            Ending::Over => return,
            Ending::Raised => (Outcome::Raised, None),
            Ending::Closed { lasted } => {
                (Outcome::Closed(lasted), Some("the controller closed the session".to_owned()))
            }
            Ending::Broke { lasted, reason } => (Outcome::Broke(lasted), Some(reason)),
            Ending::Refused { reason } => (Outcome::Refused, Some(reason)),
        };
        if outcome != Outcome::Refused {
            said.fill(None);
        }
        if let Some(reason) = reason
            && said.get(index).is_some_and(|before| before.as_ref() != Some(&reason))
        {
            tracing::warn!(controller = endpoint, reason, "detached");
            let event = SessionEvent::Detached { reason: format!("{endpoint}: {reason}") };
            if attempt.tell(event).await.is_err() {
                return;
            }
            if let Some(before) = said.get_mut(index) {
                *before = Some(reason);
            }
        }
        let delay = rotation.after(outcome);
        tokio::select! {
            () = attempt.shutdown.cancelled() => return,
            () = attempt.events.closed() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}
