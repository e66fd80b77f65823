//! Apply: any controller takes it, the leader decides and writes.

mod answers;
mod asked;
mod confirm;
pub(crate) mod decide;
mod forward;
mod granted;
mod owner;
mod revert;
mod rollback;
mod single;
pub(crate) mod unconfirmed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fulcrum_intent::Intent;
use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::command::Command as Wire;
use fulcrum_proto::internal::v1::{Command, WriteIntent};
use fulcrum_proto::v1;
use fulcrum_runtime::trace;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::{errors, etag};
use crate::events::recorder::Reporter;
use crate::raft::{
    Answered, Asker, ForwardHandler, Forwarded, IntentState, Leadership, Raft, ReadError, Role,
    Transferred, WriteError, WriteOutcome,
};
use answers::Answers;
pub use asked::Asked;
use decide::Decision;
use forward::{forward, forward_transfer};

/// How long a request waits for a leader: an election takes less than a second.
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// Between attempts while there is none. A leadership that changes ends the wait at once.
const LEADER_POLL: Duration = Duration::from_millis(50);
/// Longest time of a read, with the wait for a leader and for what this controller then has to catch up with.
const READ_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for this controller's turn and for what it then has to catch up with.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait until a write that another controller made can be read here, too.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// A write that others come before this often gives up. Writes here take turns, so only a change of leader is in the way.
const MAX_ATTEMPTS: u32 = 8;

/// Takes writes. Cheap to clone.
#[derive(Clone)]
pub struct Applier {
    shared: Arc<Shared>,
}

struct Shared {
    raft: Raft,
    /// Writes take turns, for each is validated against the intent that the one before it left.
    turn: tokio::sync::Mutex<()>,
    answers: Mutex<Answers>,
    reporter: Reporter,
    /// Operators who may do everything, by the configuration.
    admins: Vec<String>,
}

impl Applier {
    /// Writes by this Raft node whatever the admins ask for, and what the access rules grant others, and tells of what is held.
    pub fn new(raft: Raft, admins: Vec<String>, reporter: Reporter) -> Self {
        let (turn, answers) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { raft, turn, answers, reporter, admins }) }
    }

    /// Takes a request, here or at the leader.
    ///
    /// # Errors
    /// As `IntentService` documents of Apply and Rollback.
    pub async fn take(&self, mut request: Asked) -> Result<Answered, Status> {
        request.name();
        let span = request.span();
        async {
            let answer = self.at_leader(&request).await?;
            self.catch_up(Revision(answer.apply.revision), CATCH_UP_TIMEOUT).await;
            tracing::Span::current().record("revision", answer.apply.revision);
            Ok(answer)
        }
        .instrument(span)
        .await
    }

    /// What there is once everything acknowledged before the call can be read here.
    ///
    /// # Errors
    /// UNAVAILABLE, within `READ_WAIT`, when no leader or no majority answers.
    pub async fn newest(&self) -> Result<Arc<IntentState>, Status> {
        let deadline = Instant::now() + READ_WAIT;
        let revision = self.read_index(deadline).await?;
        if !self.catch_up(revision, deadline.saturating_duration_since(Instant::now())).await {
            return Err(errors::no_quorum(format!(
                "this controller has not reached revision {revision} yet: ask another one, or for what it has (`stale`, lvsctl --stale)"
            )));
        }
        Ok(self.state())
    }

    /// What there is, with what was acknowledged before the call or, if `stale`, as it is here.
    ///
    /// # Errors
    /// As [`Self::newest`]; none if `stale`.
    pub async fn read(&self, stale: bool) -> Result<Arc<IntentState>, Status> {
        if stale { Ok(self.state()) } else { self.newest().await }
    }

    /// How far to read, for as long as an election may take.
    async fn read_index(&self, deadline: Instant) -> Result<Revision, Status> {
        let mut leadership = self.shared.raft.leadership();
        loop {
            leadership.mark_unchanged();
            let error = match self.shared.raft.read_index().await {
                Ok(revision) => return Ok(revision),
                // It knows the question in another form.
                Err(ReadError::OldLeader) => {
                    return Ok(Revision(self.at_leader(&Asked::probe()).await?.apply.revision));
                }
                Err(error) => error,
            };
            if error == ReadError::Stopped || Instant::now() + LEADER_POLL >= deadline {
                return Err(errors::unread(&error));
            }
            tracing::debug!(%error, "waiting for a leader to read from");
            // Gone only when this controller stops, and then the next attempt says so.
            let _ = tokio::time::timeout(LEADER_POLL, leadership.changed()).await;
        }
    }

    /// Has another controller lead, here or at the leader: the named one, or the one that is furthest.
    ///
    /// # Errors
    /// As `ClusterService` documents.
    pub async fn transfer_leadership(
        &self,
        to: Option<u64>,
        who: String,
    ) -> Result<Transferred, Status> {
        let deadline = Instant::now() + LEADER_WAIT;
        let mut leadership = self.shared.raft.leadership();
        loop {
            let role = leadership.borrow_and_update().role;
            let attempt = match (role, self.shared.raft.leader_client()) {
                (Role::Leader, _) => self.transfer(to, who.clone()).await,
                (_, Some(leader)) => {
                    let envelope = self.shared.raft.envelope_to_leader();
                    forward_transfer(leader, envelope, to, who.clone()).await
                }
                (_, None) => Err(errors::not_leader(None)),
            };
            match attempt {
                // The one that was asked leads no more, and has done nothing.
                Err(status) if errors::is_not_leader(&status) && Instant::now() < deadline => {
                    // Gone only when this controller stops, and then the next attempt says so.
                    let _ = tokio::time::timeout(LEADER_POLL, leadership.changed()).await;
                }
                answered => return answered,
            }
        }
    }

    /// Each state of the intent as it is applied here.
    pub fn states(&self) -> tokio::sync::watch::Receiver<Arc<IntentState>> {
        self.shared.raft.state()
    }

    /// Tries until the leader answers, for as long as an election may take.
    async fn at_leader(&self, request: &Asked) -> Result<Answered, Status> {
        let deadline = Instant::now() + LEADER_WAIT;
        let mut leadership = self.shared.raft.leadership();
        loop {
            let (role, asked) = {
                let now = leadership.borrow_and_update();
                (now.role, now.leader_id)
            };
            let attempt = match (role, self.shared.raft.leader_client()) {
                (Role::Leader, _) => self.here(request).await,
                (_, Some(client)) => {
                    let is_another =
                        |now: &Leadership| now.leader_id.is_some() && now.leader_id != asked;
                    tokio::select! {
                        answered = forward(client, request) => answered,
                        // The one that was asked may be dead, and its silence long. To ask twice is harmless.
                        _ = leadership.wait_for(is_another) => Err(errors::not_leader(None)),
                    }
                }
                (_, None) => Err(errors::not_leader(None)),
            };
            match attempt {
                Err(status) if is_passing(&status) && Instant::now() < deadline => {
                    tracing::debug!(reason = status.message(), "waiting for a leader");
                    let changed = tokio::time::timeout(LEADER_POLL, leadership.changed());
                    // Gone only when this controller stops, and then the next attempt says so.
                    let _ = changed.await;
                }
                Err(status) if is_transport(&status) => {
                    let leader =
                        leadership.borrow().leader.as_ref().map(|leader| leader.api.clone());
                    return Err(errors::not_leader(leader.as_deref()));
                }
                answered => return answered,
            }
        }
    }

    /// Answers as the leader.
    async fn here(&self, request: &Asked) -> Result<Answered, Status> {
        if request.is_probe() {
            self.barrier().await?;
            let revision = self.state().revision.0;
            let apply = v1::ApplyResponse { revision, ..Default::default() };
            return Ok(Answered { apply, resource: None });
        }
        let request = Arc::new(request.clone());
        let _turn = if request.validate_only() { None } else { Some(self.turn().await?) };
        let apply = self.in_turn(&request).await?;
        // Nobody writes before the turn is over.
        let state = self.state();
        let resource = single::outcome(&request.write, &state);
        Ok(Answered { apply, resource: resource.map(|wire| etag::tell(&state, wire)) })
    }

    /// Decides and writes, as the leader and the only one who does.
    async fn in_turn(&self, request: &Arc<Asked>) -> Result<v1::ApplyResponse, Status> {
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state();
            let seen = state.revision;
            match decide(Arc::clone(request), state, &self.shared.admins).await? {
                Decision::Repeated(revision) => return Ok(self.repeated(request, revision)),
                Decision::Answer(response) => {
                    if self.confirmed(seen).await? {
                        self.answers().keep(request.request_id(), &response);
                        return Ok(response);
                    }
                }
                Decision::Refuse(status) => {
                    if self.confirmed(seen).await? {
                        if errors::is_held(&status) && !request.validate_only() {
                            self.shared.reporter.held(&request.who, status.message());
                        }
                        return Err(status);
                    }
                }
                Decision::Write(write, mut response) => match self.write(*write).await? {
                    WriteOutcome::Applied(revision) => {
                        response.revision = revision.0;
                        response.confirm_by = self.confirm_by(revision);
                        self.answers().keep(request.request_id(), &response);
                        return Ok(response);
                    }
                    WriteOutcome::Repeated(revision) => {
                        return Ok(self.repeated(request, revision));
                    }
                    WriteOutcome::Stale(revision) => {
                        self.catch_up(revision, TURN_TIMEOUT).await;
                    }
                },
            }
        }
        Err(errors::contended(self.state().revision))
    }

    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Status> {
        tokio::time::timeout(TURN_TIMEOUT, self.shared.turn.lock()).await.map_err(|_| {
            errors::no_quorum("the writes before this one wait for a majority: try again")
        })
    }

    async fn write(&self, write: WriteIntent) -> Result<WriteOutcome, Status> {
        let command = Command {
            command: Some(Wire::WriteIntent(write)),
            traceparent: trace::traceparent(),
            ..Default::default()
        };
        self.shared.raft.write(command).await.map_err(from_write_error)
    }

    /// Whether this controller still leads and nothing was written since that revision.
    async fn confirmed(&self, seen: Revision) -> Result<bool, Status> {
        self.barrier().await?;
        Ok(self.state().revision == seen)
    }

    /// Returns when this controller is known to lead, and has applied all that was acknowledged before.
    async fn barrier(&self) -> Result<(), Status> {
        let confirmed = self.shared.raft.read_barrier().await;
        confirmed.map_err(|error| match error {
            ReadError::NoLeader { leader } => {
                errors::not_leader(leader.as_ref().map(|leader| leader.api.as_str()))
            }
            ReadError::NoQuorum => errors::no_quorum(error.to_string()),
            ReadError::OldLeader | ReadError::Stopped => errors::not_leader(None),
        })
    }

    fn repeated(&self, request: &Asked, revision: Revision) -> v1::ApplyResponse {
        // Another leader answered first and kept the whole answer; every controller keeps the revision.
        let kept = self.answers().get(request.request_id());
        kept.unwrap_or_else(|| v1::ApplyResponse {
            revision: revision.0,
            confirm_by: self.confirm_by(revision),
            ..Default::default()
        })
    }

    /// Until when a revision waits to be confirmed; none when it does not.
    fn confirm_by(&self, revision: Revision) -> Option<prost_types::Timestamp> {
        let state = self.state();
        let waiting = state.waiting().filter(|entry| entry.revision == revision);
        waiting.and_then(unconfirmed::confirm_by)
    }

    /// Waits until a revision can be read here. False when that takes longer.
    async fn catch_up(&self, revision: Revision, longest: Duration) -> bool {
        let mut states = self.shared.raft.state();
        let reached = states.wait_for(|state| state.revision >= revision);
        matches!(tokio::time::timeout(longest, reached).await, Ok(Ok(_)))
    }

    fn state(&self) -> Arc<IntentState> {
        self.shared.raft.state().borrow().clone()
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl ForwardHandler for Applier {
    async fn forward(&self, write: Forwarded, by: Asker) -> Result<Answered, Status> {
        let Asker { who, identity } = by;
        let asked = Asked { write, who, identity };
        let span = asked.span();
        async {
            let answer = self.here(&asked).await?;
            tracing::Span::current().record("revision", answer.apply.revision);
            Ok(answer)
        }
        .instrument(span)
        .await
    }

    async fn transfer(&self, to: Option<u64>, who: String) -> Result<Transferred, Status> {
        let given = self.shared.raft.transfer(to).await;
        match &given {
            Ok(given) => tracing::info!(who, to = given.to, "another controller leads, as asked"),
            Err(error) => tracing::warn!(who, to, %error, "another controller was asked to lead"),
        }
        given.map_err(|error| errors::not_transferred(&error))
    }
}

/// Decides on a thread of its own: a large set takes a while, and evidence must not wait for it.
async fn decide(
    asked: Arc<Asked>,
    state: Arc<IntentState>,
    admins: &[String],
) -> Result<Decision, Status> {
    let admins = admins.to_vec();
    let decided = tokio::task::spawn_blocking(move || {
        let Asked { write, who, identity } = &*asked;
        let intent = Intent { revision: state.revision, resources: state.resources.clone() };
        let decision = match write {
            Forwarded::Apply(request) => match decide::read(request, who, &intent) {
                Ok(ask) => {
                    let answered = state.answered(&request.request_id);
                    decide::decide(&ask, &intent, answered, std::convert::identity)
                }
                Err(status) => Decision::Refuse(status),
            },
            Forwarded::Rollback(request) => {
                rollback::decide_rollback(request, who, &state, &intent)
            }
            Forwarded::Confirm(request) => confirm::decide_confirm(request, who, &state),
            Forwarded::Create(request) => single::decide_create(request, who, &state, &intent),
            Forwarded::Update(request) => single::decide_update(request, who, &state, &intent),
            Forwarded::Delete(request) => single::decide_delete(request, who, &state, &intent),
        };
        let decision = unconfirmed::guard(decision, write, state.waiting());
        granted::guard(decision, identity.as_ref(), &state, &admins)
    });
    decided.await.map_err(|error| Status::internal(format!("the request broke off: {error}")))
}

/// Whether trying again soon may help.
fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || is_transport(status)
}

/// Whether the leader did not answer at all.
fn is_transport(status: &Status) -> bool {
    let is_broken = std::error::Error::source(status).is_some();
    is_broken || matches!(status.code(), Code::Unknown | Code::Cancelled | Code::DeadlineExceeded)
}

fn from_write_error(error: WriteError) -> Status {
    let text = error.to_string();
    match error {
        WriteError::NotLeader { leader } => {
            errors::not_leader(leader.as_ref().map(|leader| leader.api.as_str()))
        }
        WriteError::NoQuorum { .. } => errors::no_quorum(text),
        WriteError::Stopped { .. } => errors::not_leader(None),
        WriteError::StorageFull { .. } => errors::storage_full(text),
        WriteError::TooLarge { .. } => Status::resource_exhausted(text),
        WriteError::Invalid { .. } => Status::internal(text),
    }
}
