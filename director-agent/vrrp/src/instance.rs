//! The state machine of one virtual router on one director.
//!
//! ```text
//!                         Up, priority 255: advertise, announce
//!              +-------------------------------------------------------------+
//!              |        (or Resume: an earlier life was Active just now)      v
//!        +------------+  Up   +--------+  silence: advertise, announce  +--------+
//!        | Initialize |------>| Backup |------------------------------->| Active |
//!        +------------+       +--------+                                +--------+
//!           ^      ^              |  ^    a router that beats us, or        |  |
//!           |      +--------------+  +----any router after our own silence--+  |
//!           |        Down, Shutdown                                            |
//!           +------------------- Down; Shutdown: advertise priority 0 ---------+
//! ```
//!
//! RFC 9568 §6.4, with a few additions. After a silence of our own that was long enough for a
//! Backup to take over (the process was paused), any other router's advert makes us Backup; so the
//! caller delivers what is queued before it ticks. An Active that answers a losing advert announces
//! its addresses again, because the loser has announced them. A Backup believes a farewell
//! (priority 0) only of the router that it takes for Active, and knows whom it relieves while that
//! router is alive, so that connections in flight can be handed over.

mod steer;

use std::net::Ipv4Addr;
use std::time::Duration;

use fulcrum_model::Priority;

use crate::timers::{down_interval, skew};
use crate::{Advert, Body, Config, Discard};

/// After an announcement it is repeated once, for neighbours that lost the first.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);
/// Least time between announcements: losing adverts must not make us flood the segment.
const ANNOUNCE_GAP: Duration = Duration::from_millis(100);
/// Least part of the interval between adverts that answer losing ones: a flood is answered 8 times
/// an interval at most.
const ASSERTS_PER_INTERVAL: u32 = 8;
/// No Backup takes over before this many intervals without an advert of ours: less than any
/// `Active_Down_Interval`.
const SILENT_INTERVALS: u32 = 3;

/// One virtual router on one director.
#[derive(Clone, Debug)]
pub struct Instance {
    config: Config,
    state: State,
}

/// The states of RFC 9568 §6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Waits for its interface.
    Initialize,
    /// Listens to the Active.
    Backup,
    /// Holds the VIPs.
    Active,
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The interface is usable and has the source address.
    Up,
    /// The same, and an earlier life of ours was Active so lately that no other router can have
    /// taken over ([`Instance::can_resume`]): we still are.
    Resume,
    /// The interface is not usable any more: nothing can be sent.
    Down,
    /// An advert that [`Config::receive`] let through.
    Advert {
        /// Its sender.
        source: Ipv4Addr,
        /// The advert.
        advert: &'a Advert,
    },
    /// Time has passed. Deliver the queued adverts first.
    Tick,
    /// A planned stop, or a fault while this host lives: priority 0 is sent.
    Shutdown,
    /// What we advertise and compare from now on.
    Priority(Priority),
    /// Become Active at once, whoever is.
    TakeOver,
    /// Stay Backup until then at least, although timers run out.
    Wait {
        /// When timers count again.
        until: Duration,
    },
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The role changed.
    Role(Change),
    /// Send an advert to every destination.
    Advertise {
        /// Its priority; 0: we leave.
        priority: u8,
    },
    /// Send gratuitous ARP for every VIP, once they are set.
    Announce,
    /// Another Active is about to give way to us: it may know connections in flight.
    Relieve {
        /// That router.
        router: Ipv4Addr,
    },
    /// Count the advert as discarded.
    Discard(Discard),
}

/// A change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Now Initialize.
    Initialize,
    /// Now Backup.
    Backup {
        /// The router that relieved us, when we were Active.
        successor: Option<Ipv4Addr>,
    },
    /// Now Active.
    Active {
        /// The router that we relieve, when it is alive.
        predecessor: Option<Ipv4Addr>,
    },
}

impl Change {
    /// The new role.
    pub fn role(self) -> Role {
        match self {
            Self::Initialize => Role::Initialize,
            Self::Backup { .. } => Role::Backup,
            Self::Active { .. } => Role::Active,
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    Initialize,
    Backup(Backup),
    Active(Active),
}

#[derive(Clone, Debug)]
struct Backup {
    /// `Active_Down_Timer`.
    down_at: Duration,
    /// `Active_Adver_Interval`.
    active_interval: Duration,
    /// Sender of the last advert of a priority above 0.
    active_router: Option<Ipv4Addr>,
    /// The living router that we shall relieve, and until when its last word counts.
    predecessor: Option<(Ipv4Addr, Duration)>,
}

#[derive(Clone, Debug)]
struct Active {
    /// `Adver_Timer`.
    advert_at: Duration,
    /// When we last advertised.
    sent_at: Duration,
    /// No answer to losing adverts before.
    assert_from: Duration,
    /// When we last announced.
    announced_at: Duration,
    /// The next announcement, and whether one more follows it.
    announce: Option<(Duration, bool)>,
}

impl Instance {
    /// An instance in Initialize.
    pub fn new(config: Config) -> Self {
        Self { config, state: State::Initialize }
    }

    /// What it is told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The role.
    pub fn role(&self) -> Role {
        match self.state {
            State::Initialize => Role::Initialize,
            State::Backup(_) => Role::Backup,
            State::Active(_) => Role::Active,
        }
    }

    /// When the next [`Input::Tick`] is due; none in Initialize.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Initialize => None,
            State::Backup(backup) => Some(backup.down_at),
            State::Active(active) => {
                let announce_at = active.announce.map_or(active.advert_at, |(at, _)| at);
                Some(active.advert_at.min(announce_at))
            }
        }
    }

    /// What is advertised and compared.
    pub fn priority(&self) -> Priority {
        self.config.priority
    }

    /// Whether a Backup would become Active at a tick now.
    pub fn is_due(&self, now: Duration) -> bool {
        match &self.state {
            State::Backup(backup) => now >= backup.down_at,
            State::Initialize | State::Active(_) => false,
        }
    }

    /// The living router that a Backup is about to relieve: it has said that it leaves, or we
    /// outrank it.
    pub fn predecessor(&self, now: Duration) -> Option<Ipv4Addr> {
        match &self.state {
            State::Backup(backup) => backup.living_predecessor(now),
            State::Initialize | State::Active(_) => None,
        }
    }

    /// Time between adverts of the router that is Active: learned from it while Backup, otherwise
    /// ours.
    pub fn active_interval(&self) -> Duration {
        match &self.state {
            State::Backup(backup) => backup.active_interval,
            State::Initialize | State::Active(_) => self.config.interval(),
        }
    }

    /// Whether an earlier life that was Active this long ago is still Active in the eyes of others:
    /// its last advert was sent an interval before that at worst.
    pub fn can_resume(&self, was_active_ago: Duration) -> bool {
        was_active_ago < (SILENT_INTERVALS - 1) * self.config.interval()
    }

    /// Takes one input. `now` never goes back.
    pub fn step(&mut self, now: Duration, input: Input<'_>) -> Vec<Output> {
        match (&mut self.state, input) {
            (State::Initialize, Input::Up) => self.start(now),
            (State::Initialize, Input::Resume) => self.become_active(now, None),
            (State::Initialize, Input::Advert { .. }) => {
                vec![Output::Discard(Discard::NotStarted)]
            }
            (_, Input::Priority(priority)) => self.set_priority(now, priority),
            (State::Backup(_), Input::TakeOver) => self.take_over(now),
            (State::Backup(backup), Input::Wait { until }) => {
                backup.down_at = backup.down_at.max(until);
                Vec::new()
            }
            (State::Initialize | State::Active(_), Input::TakeOver | Input::Wait { .. }) => {
                Vec::new()
            }
            (State::Initialize, Input::Down | Input::Tick | Input::Shutdown) => Vec::new(),
            (State::Backup(_) | State::Active(_), Input::Up | Input::Resume) => Vec::new(),
            (State::Backup(_), Input::Down | Input::Shutdown) | (State::Active(_), Input::Down) => {
                self.initialize()
            }
            (State::Active(_), Input::Shutdown) => {
                let mut outputs = vec![Output::Advertise { priority: 0 }];
                outputs.extend(self.initialize());
                outputs
            }
            (State::Backup(backup), Input::Advert { source, advert }) => {
                backup.hear(now, &self.config, source, advert);
                Vec::new()
            }
            (State::Backup(backup), Input::Tick) => {
                if now < backup.down_at {
                    return Vec::new();
                }
                let predecessor = backup.living_predecessor(now);
                self.become_active(now, predecessor)
            }
            // RFC 9568 §7.1 with erratum 8298: an owner is right whatever others say.
            (State::Active(_), Input::Advert { .. }) if self.config.priority == Priority::OWNER => {
                vec![Output::Discard(Discard::Owner)]
            }
            (State::Active(active), Input::Advert { source, advert }) => {
                match active.hear(now, &self.config, source, advert) {
                    Verdict::Stay(outputs) => outputs,
                    Verdict::Yield => self.become_backup(now, Some((source, advert.interval()))),
                }
            }
            (State::Active(active), Input::Tick) => active.tick(now, &self.config),
        }
    }

    /// Edits the instance in place: the role stays, and timers follow the new configuration.
    ///
    /// # Errors
    /// Gives `config` back when it is another virtual router ([`Config::is_same_router`]).
    pub fn reconfigure(&mut self, now: Duration, config: Config) -> Result<Vec<Output>, Config> {
        if !self.config.is_same_router(&config) {
            return Err(config);
        }
        if self.config == config {
            return Ok(Vec::new());
        }
        self.config = config;
        Ok(match &mut self.state {
            State::Initialize => Vec::new(),
            State::Backup(_) if self.config.priority == Priority::OWNER => {
                self.become_active(now, None)
            }
            State::Backup(backup) => {
                let (interval, wire) = (self.config.interval(), &self.config.wire);
                let down_at = now + down_interval(wire, self.config.priority, interval);
                backup.down_at = down_at;
                backup.active_interval = interval;
                backup.predecessor = None;
                Vec::new()
            }
            State::Active(active) => {
                let mut outputs = active.advertise(now, &self.config);
                outputs.extend(active.request_announcement(now));
                outputs
            }
        })
    }

    /// RFC 9568 §6.4.1.
    fn start(&mut self, now: Duration) -> Vec<Output> {
        if self.config.priority == Priority::OWNER {
            self.become_active(now, None)
        } else {
            self.become_backup(now, None)
        }
    }

    fn initialize(&mut self) -> Vec<Output> {
        self.state = State::Initialize;
        vec![Output::Role(Change::Initialize)]
    }

    fn become_active(&mut self, now: Duration, predecessor: Option<Ipv4Addr>) -> Vec<Output> {
        let advert_at = now + self.config.interval();
        self.state = State::Active(Active {
            advert_at,
            sent_at: now,
            assert_from: now,
            announced_at: now,
            announce: Some((now + ANNOUNCE_AGAIN, false)),
        });
        vec![
            Output::Role(Change::Active { predecessor }),
            Output::Advertise { priority: self.config.priority.get() },
            Output::Announce,
        ]
    }

    /// `heard`: the Active router and its interval, when one relieved us.
    fn become_backup(&mut self, now: Duration, heard: Option<(Ipv4Addr, Duration)>) -> Vec<Output> {
        let active_interval = heard.map_or(self.config.interval(), |(_, interval)| interval);
        let down = down_interval(&self.config.wire, self.config.priority, active_interval);
        let down_at = now + down;
        let active_router = heard.map(|(source, _)| source);
        let predecessor = None;
        self.state = State::Backup(Backup { down_at, active_interval, active_router, predecessor });
        vec![Output::Role(Change::Backup { successor: active_router })]
    }
}

impl Backup {
    /// RFC 9568 §6.4.2.
    fn hear(&mut self, now: Duration, config: &Config, source: Ipv4Addr, advert: &Advert) {
        if advert.priority == 0 {
            // The word of a router that another one has relieved already arrives late: it decides
            // nothing.
            if self.active_router.is_some_and(|active| active != source) {
                return;
            }
            // Never later than it was: repeated packets must not hold us off.
            let skew = skew(&config.wire, config.priority, self.active_interval);
            self.down_at = self.down_at.min(now + skew);
            let word_counts = down_interval(&config.wire, config.priority, self.active_interval);
            self.predecessor = Some((source, now + word_counts));
            return;
        }
        self.active_router = Some(source);
        if !config.preempt || advert.priority >= config.priority.get() {
            // Version 2 has let through only our own interval.
            self.active_interval = match advert.body {
                Body::V2 { .. } => config.interval(),
                Body::V3 { interval } => interval.duration(),
            };
            let down = down_interval(&config.wire, config.priority, self.active_interval);
            self.down_at = now + down;
            self.predecessor = None;
        } else {
            self.predecessor = Some((source, now + 2 * advert.interval()));
        }
    }

    fn living_predecessor(&self, now: Duration) -> Option<Ipv4Addr> {
        self.predecessor.filter(|(_, until)| now <= *until).map(|(address, _)| address)
    }
}

/// What an Active does about an advert.
enum Verdict {
    Stay(Vec<Output>),
    Yield,
}

impl Active {
    /// RFC 9568 §6.4.3.
    fn hear(
        &mut self,
        now: Duration,
        config: &Config,
        source: Ipv4Addr,
        advert: &Advert,
    ) -> Verdict {
        let is_silent = self.is_silent(now, config);
        if advert.priority == 0 {
            // After our own silence others may follow in the queue: the tick decides.
            let outputs = if is_silent { Vec::new() } else { self.advertise(now, config) };
            return Verdict::Stay(outputs);
        }
        let ours = (config.priority.get(), config.source);
        if is_silent || (advert.priority, source) > ours {
            return Verdict::Yield;
        }
        if now < self.assert_from {
            return Verdict::Stay(Vec::new());
        }
        self.assert_from = now + config.interval() / ASSERTS_PER_INTERVAL;
        self.sent_at = now;
        let priority = config.priority.get();
        let mut outputs = vec![Output::Advertise { priority }, Output::Relieve { router: source }];
        outputs.extend(self.request_announcement(now));
        Verdict::Stay(outputs)
    }

    fn tick(&mut self, now: Duration, config: &Config) -> Vec<Output> {
        let mut outputs = Vec::new();
        if now >= self.advert_at {
            let was_silent = self.is_silent(now, config);
            outputs.extend(self.advertise(now, config));
            if was_silent {
                outputs.extend(self.request_announcement(now));
            }
        }
        if let Some((at, is_repeated)) = self.announce
            && now >= at
        {
            self.announced_at = now;
            self.announce = is_repeated.then_some((now + ANNOUNCE_AGAIN, false));
            outputs.push(Output::Announce);
        }
        outputs
    }

    fn advertise(&mut self, now: Duration, config: &Config) -> Vec<Output> {
        self.advert_at = now + config.interval();
        self.sent_at = now;
        vec![Output::Advertise { priority: config.priority.get() }]
    }

    /// Announces now, or as soon as the gap allows, and once more later.
    fn request_announcement(&mut self, now: Duration) -> Option<Output> {
        let allowed_at = self.announced_at + ANNOUNCE_GAP;
        if now < allowed_at {
            self.announce = Some((allowed_at, true));
            return None;
        }
        self.announced_at = now;
        self.announce = Some((now + ANNOUNCE_AGAIN, false));
        Some(Output::Announce)
    }

    /// Whether we have sent nothing for so long that a Backup may have taken over.
    fn is_silent(&self, now: Duration, config: &Config) -> bool {
        now.saturating_sub(self.sent_at) >= SILENT_INTERVALS * config.interval()
    }
}

#[cfg(test)]
mod tests;
