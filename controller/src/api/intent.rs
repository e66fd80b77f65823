//! `IntentService`: reading and writing what is wanted.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Revision;
use fulcrum_model::resource::{Kind, ResourceKey};
use fulcrum_proto::convert::{FieldViolation, hide_secrets, resource_to_watcher, resource_to_wire};
use fulcrum_proto::v1;
use fulcrum_proto::v1::intent_service_server::IntentService;
use fulcrum_runtime::listener::Peer;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::apply::{Applier, Asked};
use super::filter::Filter;
use super::served::MAX_STALL;
use super::watch::Watcher;
use super::who::caller;
use super::{errors, etag, pages, revisions};
use crate::access::Gate;
use crate::raft::{Answered, Forwarded};
use crate::sessions::Hub;

/// Longest wait for convergence when none is given, as the API documents.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);
/// Longest wait that may be asked for.
const MAX_WAIT: Duration = Duration::from_hours(1);
/// Between two looks at the agents: a thousand acknowledgements that arrive together cost one look.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// Waits served at once. Each looks at every agent when one answers.
const MAX_WAITERS: usize = 256;

/// Watchers served at once, as the API documents. Each looks at what changed whenever something does.
const MAX_WATCHERS: usize = 256;

/// Answers `IntentService`.
#[derive(Clone)]
pub struct IntentApi {
    applier: Applier,
    hub: Arc<Hub>,
    stopping: CancellationToken,
    waiters: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    gate: Arc<Gate>,
}

impl IntentApi {
    /// Writes by `applier`; knows from `hub` how far the agents are; lets watchers go when `stopping` is cancelled; tells secrets to whom
    /// `gate` says.
    pub fn new(
        applier: Applier,
        hub: Arc<Hub>,
        stopping: CancellationToken,
        gate: Arc<Gate>,
    ) -> Self {
        let waiters = Arc::new(Semaphore::new(MAX_WAITERS));
        let watchers = Arc::new(Semaphore::new(MAX_WATCHERS));
        Self { applier, hub, stopping, waiters, watchers, gate }
    }

    /// Takes a write, and notes one that its caller may not make, as the gate notes calls.
    async fn write<T>(
        &self,
        request: Request<T>,
        make: fn(T) -> Forwarded,
    ) -> Result<Answered, Status> {
        let (caller, peer) = (caller(&request), request.extensions().get::<Peer>().cloned());
        let write = make(request.into_inner());
        let method = method(&write);
        let answered = self.applier.take(Asked::by(&caller, write)).await;
        let mut answered = answered.inspect_err(|status| {
            if status.code() == Code::PermissionDenied {
                self.gate.note(&caller, peer.as_ref(), method, status.message());
            }
        })?;
        if !self.gate.shows_secrets(&caller) {
            answered.resource.iter_mut().for_each(hide_secrets);
        }
        Ok(answered)
    }

    async fn wait(&self, revision: u64, longest: Duration) -> v1::WaitConvergedResponse {
        let deadline = Instant::now() + longest;
        let mut steps = self.hub.steps();
        loop {
            steps.mark_unchanged();
            let (reached, laggards) = self.hub.laggards(revision);
            let converged = reached && laggards.is_empty();
            let waited = async {
                let changed = steps.changed().await;
                tokio::time::sleep(LOOK_PAUSE).await;
                changed
            };
            let over =
                converged || !matches!(tokio::time::timeout_at(deadline, waited).await, Ok(Ok(())));
            if over {
                return v1::WaitConvergedResponse { converged, revision, laggards };
            }
        }
    }
}

#[tonic::async_trait]
impl IntentService for IntentApi {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let answer = self.write(request, Forwarded::Apply).await?;
        Ok(Response::new(answer.apply))
    }

    async fn create_resource(
        &self,
        request: Request<v1::CreateResourceRequest>,
    ) -> Result<Response<v1::CreateResourceResponse>, Status> {
        let Answered { apply, resource } = self.write(request, Forwarded::Create).await?;
        let v1::ApplyResponse { revision, changes, agent_changes, confirm_by } = apply;
        Ok(Response::new(v1::CreateResourceResponse {
            resource,
            revision,
            changes,
            agent_changes,
            confirm_by,
        }))
    }

    async fn update_resource(
        &self,
        request: Request<v1::UpdateResourceRequest>,
    ) -> Result<Response<v1::UpdateResourceResponse>, Status> {
        let Answered { apply, resource } = self.write(request, Forwarded::Update).await?;
        let v1::ApplyResponse { revision, changes, agent_changes, confirm_by } = apply;
        Ok(Response::new(v1::UpdateResourceResponse {
            resource,
            revision,
            changes,
            agent_changes,
            confirm_by,
        }))
    }

    async fn delete_resource(
        &self,
        request: Request<v1::DeleteResourceRequest>,
    ) -> Result<Response<v1::DeleteResourceResponse>, Status> {
        let v1::ApplyResponse { revision, changes, agent_changes, confirm_by } =
            self.write(request, Forwarded::Delete).await?.apply;
        let answer = v1::DeleteResourceResponse { revision, changes, agent_changes, confirm_by };
        Ok(Response::new(answer))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let key = key_of(request.get_ref())?;
        let shows_secrets = self.gate.shows_secrets(&caller(&request));
        let state = self.applier.read(request.get_ref().stale).await?;
        let resource = state.resources.get(&key).ok_or_else(|| errors::not_found(&key))?;
        let wire = if shows_secrets { resource_to_wire } else { resource_to_watcher };
        let resource = Some(etag::tell(&state, wire(resource)));
        Ok(Response::new(v1::GetResponse { resource }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let shows_secrets = self.gate.shows_secrets(&caller(&request));
        let state = self.applier.read(request.get_ref().stale).await?;
        let request = request.into_inner();
        let wire = if shows_secrets { resource_to_wire } else { resource_to_watcher };
        // Of an older revision all resources are made anew.
        let listed = tokio::task::spawn_blocking(move || pages::list(&request, &state, wire)).await;
        let listed =
            listed.map_err(|error| Status::internal(format!("the answer broke off: {error}")));
        listed?.map(Response::new)
    }

    async fn wait_converged(
        &self,
        request: Request<v1::WaitConvergedRequest>,
    ) -> Result<Response<v1::WaitConvergedResponse>, Status> {
        let request = request.into_inner();
        let longest = timeout_of(request.timeout)?;
        let _place = self.waiters.try_acquire().map_err(|_| {
            let text = format!("{MAX_WAITERS} waits are served already: ask another controller");
            Status::resource_exhausted(text)
        })?;
        let revision = match request.revision {
            0 => self.applier.newest().await?.revision.0,
            revision => revision,
        };
        Ok(Response::new(self.wait(revision, longest).await))
    }

    async fn list_revisions(
        &self,
        request: Request<v1::ListRevisionsRequest>,
    ) -> Result<Response<v1::ListRevisionsResponse>, Status> {
        let state = self.applier.read(request.get_ref().stale).await?;
        revisions::list(request.get_ref(), &state).map(Response::new)
    }

    async fn get_revision(
        &self,
        request: Request<v1::GetRevisionRequest>,
    ) -> Result<Response<v1::GetRevisionResponse>, Status> {
        let state = self.applier.read(request.get_ref().stale).await?;
        let request = request.into_inner();
        // Of a large one a hundred thousand resources are told.
        let got = tokio::task::spawn_blocking(move || revisions::get(request, &state)).await;
        let got = got.map_err(|error| Status::internal(format!("the answer broke off: {error}")));
        got?.map(Response::new)
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let v1::ApplyResponse { revision, changes, agent_changes, confirm_by } =
            self.write(request, Forwarded::Rollback).await?.apply;
        let answer = v1::RollbackResponse { revision, changes, agent_changes, confirm_by };
        Ok(Response::new(answer))
    }

    async fn confirm(
        &self,
        request: Request<v1::ConfirmRequest>,
    ) -> Result<Response<v1::ConfirmResponse>, Status> {
        let revision = self.write(request, Forwarded::Confirm).await?.apply.revision;
        Ok(Response::new(v1::ConfirmResponse { revision }))
    }

    async fn get_unconfirmed(
        &self,
        _: Request<v1::GetUnconfirmedRequest>,
    ) -> Result<Response<v1::GetUnconfirmedResponse>, Status> {
        let state = self.applier.newest().await?;
        let revision = revisions::unconfirmed(&state);
        Ok(Response::new(v1::GetUnconfirmedResponse { revision }))
    }

    type WatchResourcesStream = ReceiverStream<Result<v1::WatchResourcesResponse, Status>>;

    async fn watch_resources(
        &self,
        request: Request<v1::WatchResourcesRequest>,
    ) -> Result<Response<Self::WatchResourcesStream>, Status> {
        let v1::WatchResourcesRequest {
            from_revision,
            kind,
            name_prefix,
            labels,
            label_selector,
            stale,
        } = request.get_ref();
        let mut violations = Vec::new();
        let filter = Filter::read(*kind, name_prefix, labels, label_selector, &mut violations);
        if !violations.is_empty() {
            return Err(errors::bad_request(&violations));
        }
        let from = Some(Revision(*from_revision)).filter(|from| from.0 != 0);
        let place = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            let text =
                format!("{MAX_WATCHERS} watchers are served already: ask another controller");
            Status::resource_exhausted(text)
        })?;
        // So that whoever goes on from another controller's bookmark finds it here.
        self.applier.read(*stale).await?;
        let (states, stopping) = (self.applier.states(), self.stopping.clone());
        let watcher = Watcher::new(filter, from, states, stopping, place)?;
        Ok(Response::new(watcher.serve(MAX_STALL)))
    }
}

/// The method that asks for a write.
fn method(write: &Forwarded) -> &'static str {
    match write {
        Forwarded::Apply(_) => "fulcrum.v1.IntentService/Apply",
        Forwarded::Create(_) => "fulcrum.v1.IntentService/CreateResource",
        Forwarded::Update(_) => "fulcrum.v1.IntentService/UpdateResource",
        Forwarded::Delete(_) => "fulcrum.v1.IntentService/DeleteResource",
        Forwarded::Rollback(_) => "fulcrum.v1.IntentService/Rollback",
        Forwarded::Confirm(_) => "fulcrum.v1.IntentService/Confirm",
    }
}

fn key_of(request: &v1::GetRequest) -> Result<ResourceKey, Status> {
    let kind = kind_of(request.kind)?;
    let name = request
        .name
        .parse()
        .map_err(|error| bad("name", format!("{:?}: {error}", request.name)))?;
    Ok(ResourceKey { kind, name })
}

fn kind_of(kind: i32) -> Result<Kind, Status> {
    errors::read_kind(kind).map_err(|fault| bad("kind", fault))
}

fn timeout_of(timeout: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(timeout) = timeout else { return Ok(DEFAULT_WAIT) };
    let wait = Duration::try_from(timeout).ok().filter(|wait| *wait <= MAX_WAIT);
    wait.ok_or_else(|| bad("timeout", format!("{}s: a wait is 0s to 1h", timeout.seconds)))
}

fn bad(field: &str, description: String) -> Status {
    errors::bad_request(&[FieldViolation { field: field.to_owned(), description }])
}
