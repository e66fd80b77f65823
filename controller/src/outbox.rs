//! What a receiver has yet to be told: the keys of things that changed, each once.
//!
//! A slow receiver never makes a queue grow: a thing that changes twice before it is sent is sent once, as it is then.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Keys of things to send, for one receiver and any number of senders.
#[derive(Debug)]
pub struct Outbox<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    closed: CancellationToken,
    capacity: usize,
}

#[derive(Debug)]
struct State<K> {
    urgent: VecDeque<K>,
    other: VecDeque<K>,
    queued: HashSet<K>,
    closed: Option<Status>,
}

/// What an [`Outbox`] holds.
#[derive(Debug)]
pub enum Next<K> {
    /// This changed.
    Changed(K),
    /// Nothing now.
    Empty,
    /// Nothing any more: the receiver is told this and let go.
    Closed(Status),
}

impl<K: Clone + Eq + Hash> Outbox<K> {
    /// Holds at most `capacity` keys. One more closes it with `RESOURCE_EXHAUSTED`, so that the receiver starts afresh.
    pub fn new(capacity: usize) -> Self {
        let state = State {
            urgent: VecDeque::new(),
            other: VecDeque::new(),
            queued: HashSet::new(),
            closed: None,
        };
        let closed = CancellationToken::new();
        Self { state: Mutex::new(state), wake: Notify::new(), closed, capacity }
    }

    /// Notes that a thing changed.
    pub fn push(&self, key: K) {
        self.put(key, false);
    }

    /// Notes that a thing changed that goes before all that is not urgent.
    pub fn push_urgent(&self, key: K) {
        self.put(key, true);
    }

    fn put(&self, key: K, is_urgent: bool) {
        let mut state = self.lock();
        if state.closed.is_some() || state.queued.contains(&key) {
            return;
        }
        if state.queued.len() >= self.capacity {
            drop(state);
            return self.close(Status::resource_exhausted(
                "too slow: more changes are waiting than are kept; start again from a snapshot",
            ));
        }
        state.queued.insert(key.clone());
        if is_urgent {
            state.urgent.push_back(key);
        } else {
            state.other.push_back(key);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Drops what is waiting and lets the receiver go with this status. The first close counts.
    pub fn close(&self, status: Status) {
        self.lock().close(status);
        self.closed.cancel();
        self.wake.notify_one();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits until it is closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The next key, urgent ones first, otherwise the oldest.
    pub fn take(&self) -> Next<K> {
        let mut state = self.lock();
        if let Some(status) = &state.closed {
            return Next::Closed(status.clone());
        }
        match state.urgent.pop_front().or_else(|| state.other.pop_front()) {
            Some(key) => {
                state.queued.remove(&key);
                Next::Changed(key)
            }
            None => Next::Empty,
        }
    }

    /// Waits until [`Outbox::take`] gives something. For one receiver at a time; dropping it loses nothing.
    pub async fn ready(&self) {
        while self.is_empty() {
            self.wake.notified().await;
        }
    }

    /// Waits for the next key.
    ///
    /// # Errors
    /// The status that it was closed with.
    pub async fn next(&self) -> Result<K, Status> {
        loop {
            match self.take() {
                Next::Changed(key) => return Ok(key),
                Next::Closed(status) => return Err(status),
                Next::Empty => self.wake.notified().await,
            }
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.closed.is_none() && state.queued.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // A panic elsewhere leaves the queue as it was: each change of it is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> State<K> {
    fn close(&mut self, status: Status) {
        self.urgent.clear();
        self.other.clear();
        self.queued.clear();
        self.closed.get_or_insert(status);
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn drain(outbox: &Outbox<u32>) -> Vec<Result<u32, Code>> {
        let mut found = Vec::new();
        loop {
            match outbox.take() {
                Next::Changed(key) => found.push(Ok(key)),
                Next::Empty => return found,
                Next::Closed(status) => {
                    found.push(Err(status.code()));
                    return found;
                }
            }
        }
    }

    #[test]
    fn a_key_waits_once_and_urgent_ones_go_first() {
        let outbox = Outbox::new(4);
        for key in [1, 2, 1, 3, 2] {
            outbox.push(key);
        }
        outbox.push_urgent(9);
        assert_eq!(drain(&outbox), [Ok(9), Ok(1), Ok(2), Ok(3)]);
        outbox.push(1);
        assert_eq!(drain(&outbox), [Ok(1)]);
    }

    #[test]
    fn overflow_closes_it_and_so_does_close() {
        let outbox = Outbox::new(2);
        for key in [1, 2, 3] {
            outbox.push(key);
        }
        assert_eq!(drain(&outbox), [Err(Code::ResourceExhausted)]);
        outbox.close(Status::unavailable("stopping"));
        outbox.push(1);
        assert_eq!(drain(&outbox), [Err(Code::ResourceExhausted)]);

        let outbox = Outbox::new(2);
        outbox.push(1);
        outbox.close(Status::unavailable("stopping"));
        assert_eq!(drain(&outbox), [Err(Code::Unavailable)]);
    }

    #[tokio::test]
    async fn a_waiting_receiver_is_woken() {
        let outbox = Outbox::new(2);
        let (found, ()) = tokio::join!(outbox.next(), async {
            tokio::task::yield_now().await;
            outbox.push(7);
        });
        assert_eq!(found.map_err(|status| status.code()), Ok(7));
        let ((), ()) = tokio::join!(outbox.ready(), async {
            tokio::task::yield_now().await;
            outbox.close(Status::unavailable("stopping"));
        });
        assert!(outbox.next().await.is_err());
    }
}
