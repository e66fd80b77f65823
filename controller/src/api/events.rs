//! `EventService`: what happened, from what this controller has applied. It answers without a leader, too.

use std::sync::Arc;

use fulcrum_proto::v1;
use fulcrum_proto::v1::event_service_server::EventService;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::errors;
use super::served::MAX_STALL;
use crate::events::filter::Filter;
use crate::events::log::EventLog;
use crate::events::watch::Watcher;
use crate::raft::IntentState;

/// Watchers served at once: each costs a copy per event.
const MAX_WATCHERS: usize = 256;
/// Events of a page, where no size is given, and most of one.
const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Answers `EventService`.
#[derive(Clone, Debug)]
pub struct EventApi {
    states: watch::Receiver<Arc<IntentState>>,
    watchers: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl EventApi {
    /// Tells of these states until `stopping`.
    pub fn new(states: watch::Receiver<Arc<IntentState>>, stopping: CancellationToken) -> Self {
        Self { states, watchers: Arc::new(Semaphore::new(MAX_WATCHERS)), stopping }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    type WatchEventsStream = ReceiverStream<Result<v1::WatchEventsResponse, Status>>;

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let state = self.states.borrow().clone();
        list(request.get_ref(), &state.events).map(Response::new)
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let v1::WatchEventsRequest { filter, from_sequence } = request.get_ref();
        let filter = Filter::new(filter.as_ref())?;
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            let text =
                format!("{MAX_WATCHERS} watchers are served already: ask another controller");
            Status::resource_exhausted(text)
        })?;
        let (states, stopping) = (self.states.clone(), self.stopping.clone());
        let watcher = Watcher::new(filter, *from_sequence, states, stopping, permit)?;
        Ok(Response::new(watcher.serve(MAX_STALL)))
    }
}

/// A page of the events that are asked for.
fn list(request: &v1::ListEventsRequest, log: &EventLog) -> Result<v1::ListEventsResponse, Status> {
    let filter = Filter::new(request.filter.as_ref())?;
    let mut violations = Vec::new();
    if request.page_size > MAX_PAGE {
        let text = format!("{}: a page has at most {MAX_PAGE} events", request.page_size);
        violations.push(errors::violation("page_size", text));
    }
    let after = match request.page_token.as_str() {
        "" => Some(log.dropped_to()),
        token => token.parse().ok(),
    };
    if after.is_none() {
        let text = format!("{:?}: give next_page_token of an answer, or none", request.page_token);
        violations.push(errors::violation("page_token", text));
    }
    if request.newest && !request.page_token.is_empty() {
        let text = "true: it goes without page_token, which asks for older ones first";
        violations.push(errors::violation("newest", text));
    }
    let Some(after) = after.filter(|_| violations.is_empty()) else {
        return Err(errors::bad_request(&violations));
    };
    let size = if request.page_size == 0 { PAGE } else { request.page_size } as usize;
    let kept = log.after(after).map_err(|error| errors::events_not_kept(&error))?;
    let wanted = kept.filter(|event| filter.takes(event));
    let (events, is_all): (Vec<_>, bool) = if request.newest {
        let mut events: Vec<_> = wanted.rev().take(size).collect();
        events.reverse();
        (events, true)
    } else {
        let mut wanted = wanted.peekable();
        let events: Vec<_> = wanted.by_ref().take(size).collect();
        let is_all = wanted.peek().is_none();
        (events, is_all)
    };
    let last = if is_all { log.newest() } else { events.last().map_or(after, |it| it.sequence) };
    Ok(v1::ListEventsResponse {
        events: events.into_iter().map(|event| v1::Event::clone(event)).collect(),
        next_page_token: if is_all { String::new() } else { last.to_string() },
        last_sequence: last,
        dropped_to: log.dropped_to(),
    })
}

#[cfg(test)]
mod tests;
