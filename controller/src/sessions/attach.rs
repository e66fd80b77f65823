//! One agent's stream, from its hello to its end.

mod session;

use std::sync::Arc;
use std::time::Duration;

use fulcrum_intent::AgentId;
use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::hub::Hub;
use super::key;
use super::planning::Planning;
use super::plans::Planned;
use super::registry::{Admission, Newcomer, SessionStamp};
use super::update::Has;
use crate::outbox::Outbox;
use session::Session;

/// Longest wait for a hello. An agent sends it at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages handed to the transport ahead of the wire. What waits longer waits in the outbox, where it is kept newest.
const SEND_AHEAD: usize = 4;
/// Agents whose evidence can wait for one director: as many as one controller serves, ten times over.
const EVIDENCE_CAPACITY: usize = 100_000;

/// What an agent receives.
pub type Responses = ReceiverStream<Result<v1::AttachResponse, Status>>;

/// Serves the sessions of this controller.
#[derive(Clone, Debug)]
pub struct Attacher {
    /// This controller's name.
    pub controller: String,
    /// What is known, and whom to tell.
    pub hub: Arc<Hub>,
    /// The intent, whenever it changes.
    pub plans: watch::Receiver<Arc<Planned>>,
    /// Makes plans of it.
    pub planning: Planning,
}

impl Attacher {
    /// Takes an agent's hello and serves it in a task of its own until the stream ends. `may_be` tells whether whoever calls is that agent.
    ///
    /// # Errors
    /// As `AgentService.Attach` documents, and `INVALID_ARGUMENT` where the stream does not begin with a good hello.
    pub async fn attach(
        &self,
        mut requests: Streaming<v1::AttachRequest>,
        may_be: impl FnOnce(&AgentId) -> Result<(), Status>,
    ) -> Result<Responses, Status> {
        let first = tokio::time::timeout(HELLO_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello within 5 s"))??;
        let Some(Message::Hello(hello)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message of a session is its hello"));
        };
        let key = key::from_hello(&hello)
            .map_err(|error| Status::invalid_argument(format!("hello.{error}")))?;
        // Before anything else is told: who is not the agent learns nothing of its plan, nor whether there is such an agent.
        may_be(&key)?;
        let planned = self.plans.borrow().clone();
        check_place(&planned, &key, hello.plan.as_ref())?;

        let stamp = SessionStamp { epoch: hello.epoch, session: hello.session };
        let newcomer = Newcomer { key: key.clone(), stamp, program_version: hello.program_version };
        let outbox = Arc::new(Outbox::new(EVIDENCE_CAPACITY));
        let (responses, receiver) = mpsc::channel(SEND_AHEAD);
        let admission = self.hub.admit(&newcomer, &outbox)?;
        let highest_epoch = match admission {
            Admission::Welcome { highest_epoch } | Admission::EpochTooLow { highest_epoch } => {
                highest_epoch
            }
            Admission::Superseded { by } => return Err(superseded(&key, stamp, by)),
        };
        let welcome = v1::attach_response::Message::Welcome(v1::Welcome {
            controller: self.controller.clone(),
            cluster_id: planned.version.cluster_id.clone(),
            highest_epoch,
        });
        let welcome = v1::AttachResponse { message: Some(welcome) };
        responses.send(Ok(welcome)).await.map_err(|_| Status::cancelled("the agent left"))?;

        if let Admission::EpochTooLow { .. } = admission {
            // It has learnt the epoch to jump above; only a session of a new epoch can be its newest.
            let text = format!(
                "epoch {} is below {highest_epoch}, which was seen of {key}: raise it and attach again",
                stamp.epoch
            );
            tracing::warn!(agent = %key, epoch = stamp.epoch, highest_epoch, "epoch lost");
            responses.send(Err(Status::aborted(text))).await.ok();
            return Ok(ReceiverStream::new(receiver));
        }
        let has = hello.plan.map_or(Has::Nothing, Has::Told);
        let session = Session::new(self, key, stamp, outbox, requests, responses, has);
        tokio::spawn(session.run());
        Ok(ReceiverStream::new(receiver))
    }
}

/// Whether an agent with this plan belongs here.
fn check_place(
    planned: &Planned,
    key: &AgentId,
    plan: Option<&v1::PlanVersion>,
) -> Result<(), Status> {
    let here = &planned.version;
    if here.cluster_id.is_empty() {
        return Err(Status::unavailable("the cluster is not formed yet: try again"));
    }
    if let Some(plan) = plan
        && plan.cluster_id != here.cluster_id
    {
        return Err(Status::failed_precondition(format!(
            "{key} belongs to cluster {}, this is {}: point it at its own controllers, or remove its saved plan to \
             move it here",
            plan.cluster_id, here.cluster_id
        )));
    }
    if planned.named.contains(key) {
        return Ok(());
    }
    let is_behind = plan.is_some_and(|plan| !Has::Told(plan.clone()).wants(here));
    if is_behind {
        let text = format!("this controller is behind the plan of {key}: try another one");
        return Err(Status::unavailable(text));
    }
    Err(Status::not_found(format!(
        "the intent names no agent {key}: apply the resource that names it"
    )))
}

fn superseded(key: &AgentId, stamp: SessionStamp, by: SessionStamp) -> Status {
    // The same epoch twice is two programs with one name, or a hello that was long under way.
    tracing::warn!(agent = %key, ?stamp, ?by, "duplicate-agent: a session that is not the agent's newest");
    Status::aborted(format!(
        "session {} of epoch {} of {key} is not its newest, which is {} of {}",
        stamp.session, stamp.epoch, by.session, by.epoch
    ))
}
