//! Following the events: from the kept ones on, one by one. What a watcher has yet to be told is a place among them, so a slow one makes no
//! queue grow.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_events_response::Told as Wire;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::filter::Filter;
use super::log::EventLog;
use crate::api::errors;
use crate::api::served::{self, Telling, stopped};
use crate::raft::IntentState;

/// A bookmark comes at least so often.
const BOOKMARK_INTERVAL: Duration = Duration::from_mins(1);

/// What a watcher is sent.
type Told = Result<v1::WatchEventsResponse, Status>;

/// How far a watcher is.
#[derive(Debug)]
struct Place {
    filter: Filter,
    /// All up to here was told.
    told: u64,
    /// A bookmark was told.
    is_marked: bool,
    /// When the next one is due.
    mark_at: Instant,
}

impl Place {
    /// What is told next of what is kept; none when all of it was.
    fn next(&mut self, log: &EventLog) -> Result<Option<Wire>, Status> {
        let kept = log.after(self.told).map_err(|error| errors::events_not_kept(&error))?;
        for event in kept {
            self.told = event.sequence;
            if self.filter.takes(event) {
                return Ok(Some(Wire::Event(v1::Event::clone(event))));
            }
        }
        self.told = self.told.max(log.newest());
        Ok((!self.is_marked).then(|| self.mark()))
    }

    fn mark(&mut self) -> Wire {
        self.is_marked = true;
        self.mark_at = Instant::now() + BOOKMARK_INTERVAL;
        Wire::Bookmark(v1::EventBookmark { sequence: self.told })
    }
}

/// A watcher that is served.
pub struct Watcher {
    place: Place,
    states: watch::Receiver<Arc<IntentState>>,
    stopping: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Serves one that asks for what comes after a sequence, or for all that is kept when 0, until `stopping`.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` when events after that sequence are no longer kept.
    pub fn new(
        filter: Filter,
        from: u64,
        states: watch::Receiver<Arc<IntentState>>,
        stopping: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let told = {
            let state = states.borrow();
            let told = if from == 0 { state.events.dropped_to() } else { from };
            let _ = state.events.after(told).map_err(|error| errors::events_not_kept(&error))?;
            told
        };
        let mark_at = Instant::now() + BOOKMARK_INTERVAL;
        let place = Place { filter, told, is_marked: false, mark_at };
        Ok(Self { place, states, stopping, _permit: permit })
    }

    /// Tells it event by event, until an error was told, the client goes, or it reads nothing for `stall`.
    pub fn serve(self, stall: Duration) -> ReceiverStream<Told> {
        let stopping = self.stopping.clone();
        served::serve(self, stopping, stall)
    }
}

impl Telling for Watcher {
    type Answer = v1::WatchEventsResponse;

    async fn next(&mut self) -> Told {
        loop {
            // Whoever writes waits for those that borrow.
            let state = self.states.borrow_and_update().clone();
            let told = self.place.next(&state.events)?;
            drop(state);
            if told.is_some() {
                return Ok(v1::WatchEventsResponse { told });
            }
            let place = &self.place;
            tokio::select! {
                () = self.stopping.cancelled() => return Err(stopped()),
                () = tokio::time::sleep_until(place.mark_at) => {
                    let told = Some(self.place.mark());
                    return Ok(v1::WatchEventsResponse { told });
                }
                newer = self.states.wait_for(|state| state.events.newest() > place.told) => {
                    newer.map_err(|_| stopped())?;
                }
            }
        }
    }
}
