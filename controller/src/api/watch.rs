//! Following the resources of the intent: rounds of what changed, each told whole as it is when it is told.
//!
//! A watcher is asked for its next event when there is room for it. What it has yet to be told is the keys of one round, so a slow one
//! makes no queue grow; what changes twice before it is told is told once. One that does not read at all is let go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Revision;
use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::convert;
use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_resources_response::Event;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::filter::Filter;
use super::served::{self, Telling, stopped};
use super::{errors, etag};
use crate::raft::IntentState;

/// What a watcher is sent.
type Told = Result<v1::WatchResourcesResponse, Status>;

/// What one watcher was told, and is to be told.
#[derive(Debug)]
struct Round {
    filter: Filter,
    /// All that changed up to this revision was told; none before the first round.
    told: Option<Revision>,
    /// Keys that are yet to be told.
    keys: VecDeque<ResourceKey>,
    /// What is told when they are.
    bookmark: Option<Revision>,
}

impl Round {
    fn new(filter: Filter, from: Option<Revision>) -> Self {
        Self { filter, told: from, keys: VecDeque::new(), bookmark: None }
    }

    /// Whether there is a revision that was not told.
    fn lags(&self, state: &IntentState) -> bool {
        self.told.is_none_or(|told| told != state.revision)
    }

    /// Begins with what changed since the round before.
    fn begin(&mut self, state: &IntentState) -> Result<(), Status> {
        self.keys = match self.told {
            None => {
                let wanted = state.resources.values().filter(|found| self.filter.takes(found));
                wanted.map(fulcrum_model::resource::Resource::key).collect()
            }
            Some(told) => {
                let changed = state.history.changed_since(state.revision, told);
                let changed = changed.map_err(|error| errors::not_kept(&error))?;
                changed.into_iter().filter(|key| self.filter.takes_key(key)).collect()
            }
        };
        self.bookmark = Some(state.revision);
        Ok(())
    }

    /// The next event of the round; none when it is over.
    fn next(&mut self, state: &IntentState) -> Option<Event> {
        if let Some(key) = self.keys.pop_front() {
            let found = state.resources.get(&key).filter(|found| self.filter.takes(found));
            return Some(match found {
                Some(resource) => {
                    Event::Resource(etag::tell(state, convert::resource_to_watcher(resource)))
                }
                None => Event::Deleted(v1::ResourceName {
                    kind: convert::kind_to_wire(key.kind).into(),
                    name: key.name.to_string(),
                }),
            });
        }
        let revision = self.bookmark.take()?;
        self.told = Some(revision);
        Some(Event::Bookmark(v1::Bookmark { revision: revision.0 }))
    }
}

/// A watcher that is served.
pub struct Watcher {
    round: Round,
    states: watch::Receiver<Arc<IntentState>>,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Serves one that asks for what changed after `from`, or for all when none, until `stopping`.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` when that revision is not kept.
    pub fn new(
        filter: Filter,
        from: Option<Revision>,
        states: watch::Receiver<Arc<IntentState>>,
        stopping: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let mut round = Round::new(filter, from);
        let state = states.borrow().clone();
        round.begin(&state)?;
        Ok(Self { round, states, stopping, _place: place })
    }

    /// Tells it event by event, until an error was told, the client goes, or it reads nothing for `stall`.
    pub fn serve(self, stall: Duration) -> ReceiverStream<Told> {
        let stopping = self.stopping.clone();
        served::serve(self, stopping, stall)
    }
}

impl Telling for Watcher {
    type Answer = v1::WatchResourcesResponse;

    /// # Errors
    /// `OUT_OF_RANGE` when it was so slow that what it lacks is no longer kept, `UNAVAILABLE` when this controller stops.
    async fn next(&mut self) -> Told {
        loop {
            // Whoever writes waits for those that borrow.
            let state = self.states.borrow().clone();
            let event = self.round.next(&state);
            drop(state);
            if event.is_some() {
                return Ok(v1::WatchResourcesResponse { event });
            }
            let round = &self.round;
            tokio::select! {
                () = self.stopping.cancelled() => return Err(stopped()),
                newer = self.states.wait_for(|state| round.lags(state)) => {
                    newer.map_err(|_| stopped())?;
                }
            }
            let state = self.states.borrow().clone();
            self.round.begin(&state)?;
        }
    }
}

#[cfg(test)]
mod tests;
