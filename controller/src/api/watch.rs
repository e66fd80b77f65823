//! Following the resources of the intent: rounds of what changed, each told whole as it is when it is told.
//!
//! A watcher is asked for its next event when the transport has room. What it has yet to be told is the keys of one round, so a slow one
//! makes no queue grow; what changes twice before it is told is told once.

use std::collections::VecDeque;
use std::sync::Arc;

use fulcrum_model::Revision;
use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::convert;
use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_resources_response::Event;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::errors;
use super::filter::Filter;
use crate::raft::IntentState;

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
                Some(resource) => Event::Resource(convert::resource_to_watcher(resource)),
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
        round.begin(&states.borrow())?;
        Ok(Self { round, states, stopping, _place: place })
    }

    /// The next event; after an error there is none.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` when it was so slow that what it lacks is no longer kept, `UNAVAILABLE` when this controller stops.
    pub async fn next(&mut self) -> Result<v1::WatchResourcesResponse, Status> {
        loop {
            let event = self.round.next(&self.states.borrow());
            if event.is_some() {
                return Ok(v1::WatchResourcesResponse { event });
            }
            let stopped = || Status::unavailable("this controller is stopping: ask another one");
            let round = &self.round;
            tokio::select! {
                () = self.stopping.cancelled() => return Err(stopped()),
                newer = self.states.wait_for(|state| round.lags(state)) => {
                    newer.map_err(|_| stopped())?;
                }
            }
            self.round.begin(&self.states.borrow())?;
        }
    }
}

#[cfg(test)]
mod tests;
