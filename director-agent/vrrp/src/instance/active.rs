//! The Active state.

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::vrrp::Announce;
use smallvec::smallvec;

use super::{Output, Outputs, Terms};
use crate::{Advert, Config};

/// Least time between announcements: losing adverts must not make us flood the segment.
const ANNOUNCE_GAP: Duration = Duration::from_millis(100);
/// Least part of the interval between adverts that answer losing ones: a flood is answered 8 times
/// an interval at most.
const ASSERTS_PER_INTERVAL: u32 = 8;
/// No Backup takes over before this many intervals without an advert of ours: less than any
/// `Active_Down_Interval`.
pub(super) const SILENT_INTERVALS: u32 = 3;

/// After a pause we listen for this long, an interval at most, before we speak again: a machine that
/// was paused wakes its programs before it has taken in what came meanwhile.
pub(super) const LISTENS: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Active {
    /// `Adver_Timer`.
    advert_at: Duration,
    /// When we last advertised.
    sent_at: Duration,
    /// We have been silent, and listen until `advert_at`.
    listens: bool,
    /// No answer to losing adverts before.
    assert_from: Duration,
    /// When we last announced.
    announced_at: Duration,
    /// The next announcement.
    announce_at: Option<Duration>,
    /// Announcements of this burst that are still to come.
    announces_left: u8,
}

/// What an Active does about an advert.
pub(super) enum Verdict {
    Stay(Outputs),
    /// Another router is Active by rights.
    Yield {
        /// It outranks us, and may not know of us: after a healed partition it has been Active all
        /// along, and neighbours have last heard us.
        is_outranked: bool,
    },
}

impl Active {
    /// One that has just advertised and announced.
    pub(super) fn new(now: Duration, config: &Config) -> Self {
        let mut active = Self {
            advert_at: now + config.interval(),
            sent_at: now,
            listens: false,
            assert_from: now,
            announced_at: now,
            announce_at: None,
            announces_left: config.announce.repeat,
        };
        active.note_announcement(now, config.announce);
        active
    }

    pub(super) fn deadline(&self) -> Duration {
        let announce_at = self.announce_at.filter(|_| !self.listens);
        announce_at.map_or(self.advert_at, |at| at.min(self.advert_at))
    }

    /// RFC 9568 §6.4.3.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        terms: &Terms,
        source: IpAddr,
        advert: &Advert<'_>,
    ) -> Verdict {
        let is_silent = self.is_silent(now, &terms.config);
        if advert.priority == 0 {
            // After our own silence others may follow in the queue: the tick decides.
            let outputs = if is_silent { Outputs::new() } else { self.advertise(now, terms) };
            return Verdict::Stay(outputs);
        }
        let ours = (terms.priority.get(), terms.source);
        if is_silent || (advert.priority, source) > ours {
            return Verdict::Yield { is_outranked: !is_silent && (advert.priority, source) > ours };
        }
        if now < self.assert_from {
            return Verdict::Stay(Outputs::new());
        }
        self.assert_from = now + terms.config.interval() / ASSERTS_PER_INTERVAL;
        self.sent_at = now;
        let priority = terms.priority.get();
        let mut outputs: Outputs =
            smallvec![Output::Advertise { priority }, Output::Relieve { router: source }];
        outputs.extend(self.request_announcement(now, terms));
        Verdict::Stay(outputs)
    }

    pub(super) fn tick(&mut self, now: Duration, terms: &Terms) -> Outputs {
        let mut outputs = Outputs::new();
        if now >= self.advert_at {
            let was_silent = self.is_silent(now, &terms.config);
            if was_silent && !self.listens {
                self.listens = true;
                self.advert_at = now + terms.config.interval().min(LISTENS);
                return outputs;
            }
            outputs.extend(self.advertise(now, terms));
            if was_silent {
                outputs.extend(self.request_announcement(now, terms));
            }
        }
        if !self.listens && self.announce_at.is_some_and(|at| now >= at) {
            self.note_announcement(now, terms.config.announce);
            outputs.push(Output::Announce);
        }
        outputs
    }

    pub(super) fn advertise(&mut self, now: Duration, terms: &Terms) -> Outputs {
        self.advert_at = now + terms.config.interval();
        self.sent_at = now;
        self.listens = false;
        smallvec![Output::Advertise { priority: terms.priority.get() }]
    }

    /// Announces now, or as soon as the gap allows, and again as at the beginning.
    pub(super) fn request_announcement(&mut self, now: Duration, terms: &Terms) -> Option<Output> {
        self.announces_left = terms.config.announce.repeat;
        let allowed_at = self.announced_at + ANNOUNCE_GAP;
        if now < allowed_at {
            self.announce_at = Some(allowed_at);
            return None;
        }
        self.note_announcement(now, terms.config.announce);
        Some(Output::Announce)
    }

    fn note_announcement(&mut self, now: Duration, announce: Announce) {
        self.announced_at = now;
        self.announces_left = self.announces_left.saturating_sub(1);
        let repeated = (self.announces_left > 0).then_some(announce.repeat_after);
        let next = repeated.or(announce.refresh);
        self.announce_at = next.map(|after| now + after.max(ANNOUNCE_GAP));
    }

    /// Whether we have sent nothing for so long that a Backup may have taken over.
    fn is_silent(&self, now: Duration, config: &Config) -> bool {
        now.saturating_sub(self.sent_at) >= SILENT_INTERVALS * config.interval()
    }
}
