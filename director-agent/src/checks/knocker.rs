//! The thread that makes all tries by TCP alone.
//!
//! Such a try is three packets, so what it costs is its system calls, and the wake-ups of the program for it. A task for each, with
//! timers of its own, takes several times as many of both. So one thread keeps the book of all: it reads the clock once a turn, begins
//! together what is due together, and looks at all of that in one call.
//!
//! ```text
//!   due ──its time──▶ young ──a moment later──▶ ended ──▶ due
//!                       └── no answer yet ──▶ late ──notice, or its timeout──▶ ended
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fulcrum_model::ProbeKind;
use nix::poll::PollFlags;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::error::TrySendError;

use super::knock::{Knock, MOMENT, seen_now};
use super::watched::Watched;
use super::{Outcome, Shared, endpoint, timed_out};
use crate::decide::check::{CheckKey, CheckNews};
use crate::vrrp::wake::{Inbox, Outbox, mailbox};

/// Notices taken in one turn; what is left comes in the next.
const NOTICES: usize = 256;
/// What cannot go on, because all slots are taken or nobody reads the news, is tried again so much later.
const AGAIN: Duration = Duration::from_millis(10);
/// Longest time between two turns: nothing depends on it.
const LONGEST_TURN: Duration = Duration::from_mins(1);
/// Stands for the mailbox among the checks' numbers.
const MAILBOX: u64 = 0;

/// Whether a check is one of the thread's. A way through a VIP may have to be waited for.
pub(super) fn takes(key: &CheckKey) -> bool {
    key.via.is_none() && matches!(key.check.probe, ProbeKind::Tcp(None))
}

/// Gives the thread its checks; it ends when dropped.
pub(super) struct Knocker(Outbox<Change>);

impl std::fmt::Debug for Knocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knocker").finish_non_exhaustive()
    }
}

struct Change {
    begun: Vec<CheckKey>,
    ended: Vec<CheckKey>,
}

impl Knocker {
    /// Starts the thread.
    pub(super) fn start(shared: Shared) -> io::Result<Self> {
        let (outbox, changes) = mailbox()?;
        let notices = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&notices, &changes, EventData::new_u64(MAILBOX), EventFlags::IN)?;
        let book = Book {
            shared,
            changes,
            notices,
            numbers: BTreeMap::new(),
            last_number: MAILBOX,
            checks: BTreeMap::new(),
            due: BTreeSet::new(),
            held_until: Duration::ZERO,
            young: VecDeque::new(),
            late: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            untold: VecDeque::new(),
        };
        let body = move || {
            if catch_unwind(AssertUnwindSafe(|| book.run())).is_err() {
                // Nobody would be tried any more, and nobody would know. Started again, the director finds its table and its VIPs.
                tracing::error!("the thread that tries real servers by TCP has failed: stopping");
                std::process::abort();
            }
        };
        std::thread::Builder::new().name("checks-tcp".to_owned()).spawn(body)?;
        Ok(Self(outbox))
    }

    /// Begins checks, with their first try at once, and ends others.
    pub(super) fn change(&self, begun: Vec<CheckKey>, ended: Vec<CheckKey>) {
        if begun.is_empty() && ended.is_empty() {
            return;
        }
        if self.0.send(Change { begun, ended }).is_err() {
            tracing::error!("checks by TCP hang, and do not follow the plan: restart the director");
        }
    }
}

/// A check and what it waits for.
struct Running {
    watched: Watched,
    /// When its next try is; none while one is under way.
    due: Option<Duration>,
}

/// A try under way.
struct Flight {
    number: u64,
    knock: Knock,
    started: Duration,
    until: Duration,
    _slot: OwnedSemaphorePermit,
}

struct Book {
    shared: Shared,
    changes: Inbox<Change>,
    /// The kernel's list of what wakes the thread.
    notices: OwnedFd,
    /// Checks have numbers, which are never given twice.
    numbers: BTreeMap<CheckKey, u64>,
    last_number: u64,
    checks: BTreeMap<u64, Running>,
    due: BTreeSet<(Duration, u64)>,
    /// Until then nothing is begun, for all slots were taken.
    held_until: Duration,
    /// Not looked at yet, the first begun first.
    young: VecDeque<Flight>,
    /// Looked at, and not answered.
    late: BTreeMap<u64, Flight>,
    /// Of those.
    timeouts: BTreeSet<(Duration, u64)>,
    /// News that found no room, with when the next try is due: it waits for them.
    untold: VecDeque<(u64, Duration, CheckNews)>,
}

impl Book {
    /// Until nobody gives it checks any more.
    fn run(mut self) {
        let mut now = self.shared.clock.now();
        loop {
            let noticed = self.wait(now);
            now = self.shared.clock.now();
            if noticed.contains(&MAILBOX) {
                let Some(changes) = self.changes.take() else { return };
                for change in changes {
                    self.change(now, change);
                }
            }
            self.look_at_young(now);
            for number in noticed {
                self.look_at_late(now, number);
            }
            self.give_up(now);
            self.begin(now);
            if !self.tell(now) {
                return;
            }
        }
    }

    /// Waits for a notice, or until there is something to do.
    fn wait(&self, now: Duration) -> Vec<u64> {
        let first = |set: &BTreeSet<(Duration, u64)>| set.first().map(|(moment, _)| *moment);
        let look = self.young.front().map(|flight| flight.started + MOMENT);
        let again = (!self.untold.is_empty()).then_some(now + AGAIN);
        let due = first(&self.due).map(|due| due.max(self.held_until));
        let next = [due, first(&self.timeouts), look, again];
        let next = next.into_iter().flatten().fold(now + LONGEST_TURN, Duration::min);
        // It is at most a minute, so it fits.
        let rest = Timespec::try_from(next.saturating_sub(now)).ok();
        let mut events = Vec::<Event>::with_capacity(NOTICES);
        match epoll::wait(&self.notices, rustix::buffer::spare_capacity(&mut events), rest.as_ref())
        {
            Ok(_) => events.iter().map(|event| event.data.u64()).collect(),
            // An interrupted wait is a turn with nothing to do.
            Err(_) => Vec::new(),
        }
    }

    fn change(&mut self, now: Duration, Change { begun, ended }: Change) {
        for key in ended {
            self.forget(&key);
        }
        for key in begun {
            self.forget(&key);
            self.last_number += 1;
            self.numbers.insert(key.clone(), self.last_number);
            let running = Running { watched: Watched::new(key), due: None };
            self.checks.insert(self.last_number, running);
            self.schedule(now, self.last_number, now);
        }
    }

    /// A try of it that is under way is let go: a young one when it is looked at.
    fn forget(&mut self, key: &CheckKey) {
        let Some(number) = self.numbers.remove(key) else { return };
        if let Some(due) = self.checks.remove(&number).and_then(|running| running.due) {
            self.due.remove(&(due, number));
        }
        if let Some(flight) = self.late.remove(&number) {
            self.timeouts.remove(&(flight.until, number));
        }
        self.untold.retain(|(untold, _, _)| *untold != number);
    }

    /// The next try of that check is due then.
    fn schedule(&mut self, now: Duration, number: u64, due: Duration) {
        let Some(running) = self.checks.get_mut(&number) else { return };
        let moment = running.watched.time_of(now, due);
        running.due = Some(moment);
        self.due.insert((moment, number));
    }

    /// Begins what is due, as long as there are slots.
    fn begin(&mut self, now: Duration) {
        while now >= self.held_until
            && let Some((_, number)) = self.due.first().copied().filter(|(due, _)| *due <= now)
        {
            let Ok(slot) = self.shared.slots.clone().try_acquire_owned() else {
                self.held_until = now + AGAIN;
                return;
            };
            self.due.pop_first();
            let Some(running) = self.checks.get_mut(&number) else { continue };
            running.due = None;
            let check = &running.watched.key;
            let until = now + check.check.timeout;
            match endpoint(check).and_then(|endpoint| endpoint.knock(&self.shared.means.idle)) {
                Ok(knock) => {
                    self.young.push_back(Flight {
                        number,
                        knock,
                        started: now,
                        until,
                        _slot: slot,
                    });
                }
                Err(outcome) => self.ended(now, number, now, outcome),
            }
        }
    }

    /// The first look, at all that have had their moment.
    fn look_at_young(&mut self, now: Duration) {
        let count = self.young.partition_point(|flight| flight.started + MOMENT <= now);
        if count == 0 {
            return;
        }
        let looked: Vec<Flight> = self.young.drain(..count).collect();
        let knocks: Vec<&Knock> = looked.iter().map(|flight| &flight.knock).collect();
        // Who was not seen is waited for.
        let seen = seen_now(&knocks).unwrap_or_else(|_| vec![PollFlags::empty(); knocks.len()]);
        for (flight, flags) in looked.into_iter().zip(seen) {
            let number = flight.number;
            match flight.knock.answer(flags) {
                Some(answer) => {
                    let Flight { knock, started, .. } = flight;
                    let outcome = knock.ended(answer, Some(&self.shared.means.idle));
                    self.ended(now, number, started, outcome.err().unwrap_or(Outcome::Passed));
                }
                None if self.checks.contains_key(&number) => self.keep_late(now, flight),
                None => {}
            }
        }
    }

    fn keep_late(&mut self, now: Duration, flight: Flight) {
        let Flight { number, started, until, .. } = flight;
        let wanted = EventFlags::OUT;
        match epoll::add(&self.notices, &flight.knock, EventData::new_u64(number), wanted) {
            Ok(()) => {
                self.timeouts.insert((until, number));
                self.late.insert(number, flight);
            }
            Err(errno) => {
                let fault = format!("the answer cannot be waited for: {errno}");
                self.ended(now, number, started, Outcome::NotTried(fault));
            }
        }
    }

    /// A late answer has come. Its socket is closed, so that the kernel's list has it no longer.
    fn look_at_late(&mut self, now: Duration, number: u64) {
        let Some(flight) = self.late.remove(&number) else { return };
        let flags = seen_now(&[&flight.knock]);
        let answer = flags.ok().and_then(|flags| flight.knock.answer(flags[0]));
        let Some(answer) = answer else {
            self.late.insert(number, flight);
            return;
        };
        self.timeouts.remove(&(flight.until, number));
        let Flight { knock, started, .. } = flight;
        let outcome = knock.ended(answer, None);
        self.ended(now, number, started, outcome.err().unwrap_or(Outcome::Passed));
    }

    /// Ends tries that have had no answer within their timeout.
    fn give_up(&mut self, now: Duration) {
        while let Some((until, number)) =
            self.timeouts.first().copied().filter(|(until, _)| *until <= now)
        {
            // What came while the thread was away counts.
            self.look_at_late(now, number);
            if !self.timeouts.remove(&(until, number)) {
                continue;
            }
            let (Some(flight), Some(running)) =
                (self.late.remove(&number), self.checks.get(&number))
            else {
                continue;
            };
            let silent = Outcome::Silent(timed_out(&running.watched.key));
            self.ended(now, number, flight.started, silent);
        }
    }

    /// A try has ended.
    fn ended(&mut self, now: Duration, number: u64, started: Duration, outcome: Outcome) {
        let Some(running) = self.checks.get_mut(&number) else { return };
        let (due, news) = running.watched.ended(&self.shared, (started, now), outcome);
        match news {
            None => self.schedule(now, number, due),
            Some(news) => self.untold.push_back((number, due, news)),
        }
    }

    /// Tells news, and lets those go on whose news found room. False when nobody reads them any more.
    fn tell(&mut self, now: Duration) -> bool {
        while let Some((number, due, news)) = self.untold.pop_front() {
            match self.shared.news.try_send(news) {
                Ok(()) => self.schedule(now, number, due),
                Err(TrySendError::Full(news)) => {
                    self.untold.push_front((number, due, news));
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
