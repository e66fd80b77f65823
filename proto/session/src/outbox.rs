//! The newest whole state of each kind that an agent has to tell.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message;
use tokio::sync::Notify;

/// Shared by the handles and the session. Holds at most one state of each kind: a newer one replaces an older one that
/// was not sent yet, so that a slow controller costs freshness and never memory.
#[derive(Debug)]
pub(crate) struct Outbox {
    states: Mutex<States>,
    changed: Notify,
}

#[derive(Debug)]
struct States {
    epoch: u64,
    evidence: Slot<(v1::Evidence, Instant)>,
    ack: Slot<v1::PlanAck>,
    real_server: Slot<v1::RealServerObserved>,
    director: Slot<v1::DirectorObserved>,
}

#[derive(Debug)]
struct Slot<T> {
    /// Counts the states; 0 before the first.
    generation: u64,
    newest: Option<T>,
}

/// What one session has sent: the generation of each kind. A new session has sent nothing.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    evidence: u64,
    ack: u64,
    real_server: u64,
    director: u64,
}

impl<T: Clone> Slot<T> {
    const fn empty() -> Self {
        Self { generation: 0, newest: None }
    }

    fn put(&mut self, state: T) {
        self.generation += 1;
        self.newest = Some(state);
    }

    /// The state, if it is newer than what was sent, which it counts as from now on.
    fn take_newer(&self, sent: &mut u64) -> Option<T> {
        if self.generation == *sent {
            return None;
        }
        *sent = self.generation;
        self.newest.clone()
    }
}

impl Outbox {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            states: Mutex::new(States {
                epoch,
                evidence: Slot::empty(),
                ack: Slot::empty(),
                real_server: Slot::empty(),
                director: Slot::empty(),
            }),
            changed: Notify::new(),
        }
    }

    /// `now` is when the evidence was made, for it ages until it is sent.
    pub(crate) fn put_evidence(&self, evidence: v1::Evidence, now: Instant) {
        self.change(|states| states.evidence.put((evidence, now)));
    }

    pub(crate) fn put_ack(&self, ack: v1::PlanAck) {
        self.change(|states| states.ack.put(ack));
    }

    pub(crate) fn put_real_server(&self, observed: v1::RealServerObserved) {
        self.change(|states| states.real_server.put(observed));
    }

    pub(crate) fn put_director(&self, observed: v1::DirectorObserved) {
        self.change(|states| states.director.put(observed));
    }

    pub(crate) fn raise_epoch(&self, epoch: u64) {
        self.change(|states| states.epoch = states.epoch.max(epoch));
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.read(|states| states.epoch)
    }

    /// Returns after the next change, or at once if one came since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether [`Self::next`] has something for a session that sent this.
    pub(crate) fn has_newer(&self, sent: &Sent) -> bool {
        self.read(|states| {
            states.evidence.generation != sent.evidence
                || states.ack.generation != sent.ack
                || states.real_server.generation != sent.real_server
                || states.director.generation != sent.director
        })
    }

    /// The most urgent state that was not sent: evidence first, for traffic waits for it; the director's whole table last.
    pub(crate) fn next(&self, sent: &mut Sent, now: Instant) -> Option<Message> {
        self.read(|states| {
            if let Some((evidence, made)) = states.evidence.take_newer(&mut sent.evidence) {
                return Some(Message::Evidence(aged(evidence, now.duration_since(made))));
            }
            if let Some(ack) = states.ack.take_newer(&mut sent.ack) {
                return Some(Message::Ack(ack));
            }
            if let Some(observed) = states.real_server.take_newer(&mut sent.real_server) {
                return Some(Message::RealServer(observed));
            }
            states.director.take_newer(&mut sent.director).map(Message::Director)
        })
    }

    fn change(&self, work: impl FnOnce(&mut States)) {
        // A state is replaced whole, so what a panicking thread left behind is whole too.
        work(&mut self.states.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn read<T>(&self, work: impl FnOnce(&States) -> T) -> T {
        work(&self.states.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn aged(mut evidence: v1::Evidence, held: Duration) -> v1::Evidence {
    let held_ms = u32::try_from(held.as_millis()).unwrap_or(u32::MAX);
    evidence.age_ms = evidence.age_ms.saturating_add(held_ms);
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(outbox: &Outbox, sent: &mut Sent, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| outbox.next(sent, now))
            .map(|message| match message {
                Message::Hello(_) => "hello",
                Message::Ack(_) => "ack",
                Message::Director(_) => "director",
                Message::RealServer(_) => "real_server",
                Message::Evidence(_) => "evidence",
                Message::Clock(_) => "clock",
            })
            .collect()
    }

    #[test]
    fn the_newest_of_each_kind_is_sent_once_a_session_and_evidence_first() {
        let outbox = Outbox::new(1);
        let now = Instant::now();
        outbox.put_director(v1::DirectorObserved::default());
        outbox.put_ack(v1::PlanAck { reason: "old".to_owned(), ..v1::PlanAck::default() });
        outbox.put_ack(v1::PlanAck { reason: "new".to_owned(), ..v1::PlanAck::default() });
        outbox.put_evidence(v1::Evidence::default(), now);
        let mut first = Sent::default();
        assert!(outbox.has_newer(&first));
        assert_eq!(kinds(&outbox, &mut first, now), ["evidence", "ack", "director"]);
        assert!(!outbox.has_newer(&first));
        outbox.put_real_server(v1::RealServerObserved::default());
        assert_eq!(kinds(&outbox, &mut first, now), ["real_server"]);

        let mut second = Sent::default();
        outbox.next(&mut second, now);
        let Some(Message::Ack(ack)) = outbox.next(&mut second, now) else {
            panic!("the ack comes after the evidence");
        };
        assert_eq!(ack.reason, "new");
    }

    #[test]
    fn evidence_ages_until_it_is_sent() {
        let made = Instant::now();
        for (told_ms, held, expected) in [
            (0, Duration::ZERO, 0),
            (40, Duration::from_millis(60), 100),
            (u32::MAX, Duration::from_millis(1), u32::MAX),
            (1, Duration::from_hours(24 * 60), u32::MAX),
        ] {
            let outbox = Outbox::new(1);
            let evidence = v1::Evidence { age_ms: told_ms, ..v1::Evidence::default() };
            outbox.put_evidence(evidence, made);
            let Some(Message::Evidence(sent)) = outbox.next(&mut Sent::default(), made + held)
            else {
                panic!("evidence was put");
            };
            assert_eq!(sent.age_ms, expected);
        }
    }

    #[test]
    fn the_epoch_only_grows() {
        let outbox = Outbox::new(4);
        outbox.raise_epoch(3);
        assert_eq!(outbox.epoch(), 4);
        outbox.raise_epoch(9);
        assert_eq!(outbox.epoch(), 9);
    }
}
