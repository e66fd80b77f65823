//! The Backup state.

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Priority;

use super::Terms;
use crate::timers::skew;
use crate::{Advert, Body, Wire};

#[derive(Clone, Debug)]
pub(super) struct Backup {
    /// `Active_Down_Timer`.
    down_at: Duration,
    /// `Active_Adver_Interval`.
    active_interval: Duration,
    /// Sender of the last advert of a priority above 0.
    active_router: Option<IpAddr>,
    /// It lives until then, as far as its last advert says: none of two adverts came since.
    lives_until: Duration,
    /// The living router that we shall relieve, and until when its last word counts.
    predecessor: Option<(IpAddr, Duration)>,
    /// When we take over from a living router that we outrank, and have waited to relieve.
    preempt_at: Option<Duration>,
    /// The strongest router heard, by priority and address, and until when it counts as Active.
    strongest: Option<((u8, IpAddr), Duration)>,
}

impl Backup {
    /// `heard`: the Active router and its interval, when one relieved us.
    pub(super) fn new(now: Duration, terms: &Terms, heard: Option<(IpAddr, Duration)>) -> Self {
        let interval = heard.map_or(terms.config.interval(), |(_, interval)| interval);
        // An owner waits for nobody (RFC 9568 §6.4.1), but for its own start.
        let down = if terms.is_owner() { Duration::ZERO } else { terms.down_interval(interval) };
        Self {
            down_at: (now + down).max(terms.listens_until),
            active_interval: interval,
            active_router: heard.map(|(source, _)| source),
            lives_until: heard.map_or(Duration::ZERO, |(_, interval)| now + 2 * interval),
            predecessor: None,
            preempt_at: None,
            strongest: None,
        }
    }

    pub(super) fn begin_anew(&mut self, down_at: Duration, interval: Duration) {
        self.down_at = down_at;
        self.active_interval = interval;
        self.predecessor = None;
        self.preempt_at = None;
        self.strongest = None;
    }

    pub(super) fn active_interval(&self) -> Duration {
        self.active_interval
    }

    /// RFC 9568 §6.4.2. Says whether to take over at once.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        terms: &Terms,
        source: IpAddr,
        advert: &Advert<'_>,
    ) -> bool {
        if advert.priority == 0 {
            self.hear_farewell(now, terms, source);
            return false;
        }
        self.active_router = Some(source);
        self.lives_until = now + 2 * advert.interval();
        let config = &terms.config;
        let is_outranked = advert.priority < terms.priority.get();
        if !is_outranked || !(config.preempt || config.take_over) {
            self.follow(now, terms, source, advert);
            self.predecessor = None;
            self.preempt_at = None;
            return false;
        }
        self.predecessor = Some((source, now + 2 * advert.interval()));
        if config.take_over && !terms.is_held && now >= terms.listens_until {
            return true;
        }
        let waits = terms.is_held || !config.preempt_delay.is_zero();
        if waits || !config.preempt {
            // Nothing is gained by waiting less than for a silent Active.
            let at = (now + config.preempt_delay).max(self.down_at);
            self.preempt_at.get_or_insert(at);
            self.follow(now, terms, source, advert);
        }
        false
    }

    fn hear_farewell(&mut self, now: Duration, terms: &Terms, source: IpAddr) {
        self.strongest = self.strongest.filter(|((_, strongest), _)| *strongest != source);
        // The word of a router that another one has relieved already arrives late: it decides
        // nothing.
        if self.active_router.is_some_and(|active| active != source) {
            return;
        }
        // Never later than it was: repeated packets must not hold us off.
        let wire = &terms.config.wire;
        let skew = skew(wire, terms.priority, self.active_interval);
        self.down_at = self.down_at.min((now + skew).max(terms.listens_until));
        self.lives_until = Duration::ZERO;
        self.preempt_at = None;
        self.predecessor = Some((source, now + terms.down_interval(self.active_interval)));
    }

    /// Learns the interval and waits for the next advert.
    ///
    /// When two became Active at once, the weaker one's adverts may arrive after the stronger one's.
    /// If its interval is the shorter, waiting for its next one would take over from the stronger
    /// one: so what a weaker router says never shortens the wait for a stronger one.
    fn follow(&mut self, now: Duration, terms: &Terms, source: IpAddr, advert: &Advert<'_>) {
        // Version 2 has let through only our own interval.
        self.active_interval = match advert.body {
            Body::V2 { .. } => terms.config.interval(),
            Body::V3 { interval } => interval.duration(),
        };
        let down = terms.down_interval(self.active_interval);
        let rank = (advert.priority, source);
        let stronger = self.strongest.filter(|(strongest, until)| {
            strongest.1 != source && now < *until && *strongest > rank
        });
        if stronger.is_none() {
            self.strongest = Some((rank, now + down));
        }
        let until = stronger.map_or(Duration::ZERO, |(_, until)| until);
        self.down_at = (now + down).max(until).max(terms.listens_until);
    }

    /// The timer goes by another skew.
    pub(super) fn change_priority(&mut self, wire: &Wire, before: Priority, after: Priority) {
        let skew = |priority| skew(wire, priority, self.active_interval);
        self.down_at = (self.down_at + skew(after)).saturating_sub(skew(before));
    }

    pub(super) fn wait(&mut self, until: Duration) {
        self.down_at = self.down_at.max(until);
        self.preempt_at = self.preempt_at.map(|at| at.max(until));
    }

    /// When it is due, if nothing is heard.
    pub(super) fn deadline(&self, is_held: bool) -> Duration {
        if is_held {
            return self.down_at.max(self.lives_until);
        }
        let preempt_at = self.preempt_at.filter(|at| *at < self.lives_until);
        preempt_at.map_or(self.down_at, |at| at.min(self.down_at))
    }

    pub(super) fn is_due(&self, now: Duration, is_held: bool) -> bool {
        now >= self.deadline(is_held)
    }

    pub(super) fn living_predecessor(&self, now: Duration) -> Option<IpAddr> {
        self.predecessor.filter(|(_, until)| now <= *until).map(|(address, _)| address)
    }

    pub(super) fn preempt_at(&self) -> Option<Duration> {
        self.preempt_at
    }

    pub(super) fn living_active(&self, now: Duration) -> Option<IpAddr> {
        self.active_router.filter(|_| now < self.lives_until)
    }
}
