//! Following the events: from the kept ones on, one by one. What a watcher has yet to be told is a place among them, so a slow one makes no
//! queue grow.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_events_response::Told as Wire;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::filter::Filter;
use super::log::EventLog;
use crate::api::errors;
use crate::raft::IntentState;

/// Events that wait for the transport.
const QUEUED: usize = 16;
/// A watcher that reads nothing for so long loses its place to another one.
pub const MAX_STALL: Duration = Duration::from_mins(1);
/// A bookmark comes at least so often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_mins(1);

/// What a watcher is sent.
type Told = Result<v1::WatchEventsResponse, Status>;

/// How far a watcher is.
#[derive(Debug)]
struct Place {
    filter: Filter,
    /// All up to here was told.
    told: u64,
    /// The newest bookmark.
    marked: Option<u64>,
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
        let is_new = self.marked.is_none();
        Ok(is_new.then(|| self.mark()))
    }

    fn mark(&mut self) -> Wire {
        self.marked = Some(self.told);
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
        let place = Place { filter, told, marked: None };
        Ok(Self { place, states, stopping, _permit: permit })
    }

    /// The next event or bookmark; after an error there is none.
    async fn next(&mut self, mark_at: Instant) -> Told {
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
                () = tokio::time::sleep_until(mark_at) => {
                    let told = Some(self.place.mark());
                    return Ok(v1::WatchEventsResponse { told });
                }
                newer = self.states.wait_for(|state| state.events.newest() > place.told) => {
                    newer.map_err(|_| stopped())?;
                }
            }
        }
    }

    /// Tells it event by event, until an error was told, the client goes, or it reads nothing for `stall`.
    pub fn serve(self, stall: Duration, bookmarks: Duration) -> ReceiverStream<Told> {
        let (sender, receiver) = mpsc::channel(QUEUED);
        // Not by the transport, which asks for nothing while the client does not read: the place would never be free again.
        tokio::spawn(self.drive(sender, stall, bookmarks));
        ReceiverStream::new(receiver)
    }

    async fn drive(mut self, sender: mpsc::Sender<Told>, stall: Duration, bookmarks: Duration) {
        let stopping = self.stopping.clone();
        let mut mark_at = Instant::now() + bookmarks;
        loop {
            let told = tokio::select! {
                () = sender.closed() => return,
                told = self.next(mark_at) => told,
            };
            let is_mark =
                |told: &v1::WatchEventsResponse| matches!(told.told, Some(Wire::Bookmark(_)));
            if told.as_ref().is_ok_and(is_mark) {
                mark_at = Instant::now() + bookmarks;
            }
            let is_last = told.is_err();
            let sent = tokio::select! {
                // An event that has room goes first, so that the last one says why.
                biased;
                sent = sender.send_timeout(told, stall) => sent,
                () = stopping.cancelled() => return,
            };
            if is_last || sent.is_err() {
                return;
            }
        }
    }
}

fn stopped() -> Status {
    Status::unavailable("this controller is stopping: ask another one")
}
