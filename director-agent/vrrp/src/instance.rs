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
//!
//! A Backup that outranks a living Active may be told to wait with its take-over (`preempt_delay`,
//! [`Input::HoldPreemption`]): meanwhile it follows that Active as it would follow a stronger one.
//! It may also be told to take over at once ([`Config::take_over`], [`Input::TakeOver`]).

mod active;
mod backup;
mod packets;

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Priority;
use smallvec::{SmallVec, smallvec};

use crate::hmac::Authenticator;
use crate::timers::down_interval;
use crate::{Advert, Config, Discard};
use active::{Active, SILENT_INTERVALS, Verdict};
use backup::Backup;
use packets::Speakers;

/// One virtual router on one director.
#[derive(Clone, Debug)]
pub struct Instance {
    terms: Terms,
    state: State,
    authenticator: Option<Authenticator>,
    speakers: Speakers,
    /// Room for the advert that is being sent.
    packet: Vec<u8>,
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
    /// An advert that [`Instance::receive`] let through.
    Advert {
        /// Its sender.
        source: IpAddr,
        /// The advert.
        advert: &'a Advert<'a>,
    },
    /// Time has passed. Deliver the queued adverts first.
    Tick,
    /// A planned stop, or a fault while this host lives: priority 0 is sent.
    Shutdown,
    /// What we advertise and compare from now on, until the configured priority changes.
    Priority(Priority),
    /// While true, a Backup does not take over from a living Active of lower priority.
    HoldPreemption(bool),
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
    /// Send an advert to every destination ([`Instance::advertise`]).
    Advertise {
        /// Its priority; 0: we leave.
        priority: u8,
    },
    /// Send gratuitous ARP or unsolicited neighbour advertisements for every VIP, once they are
    /// set.
    Announce,
    /// Another Active is about to give way to us: it may know connections in flight.
    Relieve {
        /// That router.
        router: IpAddr,
    },
    /// Count the advert as discarded.
    Discard(Discard),
}

/// What is to be done about one input: three things at most, which need no allocation.
pub type Outputs = SmallVec<[Output; 4]>;

/// Why a take-over by choice waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For the end of [`Config::startup_delay`].
    StartUp {
        /// Time left.
        left: Duration,
    },
    /// For the end of [`Config::preempt_delay`].
    Delay {
        /// Time left.
        left: Duration,
    },
    /// By order ([`Input::HoldPreemption`]).
    Held,
}

/// A change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Now Initialize.
    Initialize,
    /// Now Backup.
    Backup {
        /// The router that relieved us, when we were Active.
        successor: Option<IpAddr>,
    },
    /// Now Active.
    Active {
        /// The router that we relieve, when it is alive.
        predecessor: Option<IpAddr>,
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

/// What every state goes by.
#[derive(Clone, Debug)]
struct Terms {
    config: Config,
    /// Source of our adverts: the configured one, or what [`Instance::set_source`] says.
    source: IpAddr,
    /// What is advertised and compared.
    priority: Priority,
    is_held: bool,
    /// We only listen until then.
    listens_until: Duration,
}

impl Terms {
    /// `Active_Down_Interval` for an Active of this interval.
    fn down_interval(&self, active_interval: Duration) -> Duration {
        down_interval(&self.config.wire, self.priority, active_interval)
    }

    fn is_owner(&self) -> bool {
        self.priority == Priority::OWNER
    }
}

impl Instance {
    /// An instance in Initialize.
    pub fn new(config: Config) -> Self {
        let interval = config.interval();
        let authenticator =
            config.auth_hmac.clone().map(|settings| Authenticator::new(settings, interval));
        let terms = Terms {
            source: config.source,
            priority: config.priority,
            is_held: false,
            listens_until: Duration::ZERO,
            config,
        };
        Self {
            terms,
            state: State::Initialize,
            authenticator,
            speakers: Speakers::default(),
            packet: Vec::new(),
        }
    }

    /// The same, of an agent that was started at `at`: until its [`Config::startup_delay`] is over
    /// it only listens, unless it resumes an earlier life.
    #[must_use]
    pub fn started(mut self, at: Duration) -> Self {
        self.terms.listens_until = at + self.terms.config.startup_delay;
        self
    }

    /// What it is told.
    pub fn config(&self) -> &Config {
        &self.terms.config
    }

    /// Source of our adverts; unspecified while the interface's link-local address is awaited.
    pub fn source(&self) -> IpAddr {
        self.terms.source
    }

    /// Says which link-local address the interface has, for a configuration that leaves it open.
    /// To be said before [`Input::Up`].
    pub fn set_source(&mut self, source: IpAddr) {
        if self.terms.config.source.is_unspecified() {
            self.terms.source = source;
        }
    }

    /// What is advertised and compared.
    pub fn priority(&self) -> Priority {
        self.terms.priority
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
            State::Backup(backup) => Some(backup.deadline(self.terms.is_held)),
            State::Active(active) => Some(active.deadline()),
        }
    }

    /// Whether a Backup would become Active at a tick now.
    pub fn is_due(&self, now: Duration) -> bool {
        match &self.state {
            State::Backup(backup) => backup.is_due(now, self.terms.is_held),
            State::Initialize | State::Active(_) => false,
        }
    }

    /// The living router that a Backup is about to relieve: it has said that it leaves, or we
    /// outrank it.
    pub fn predecessor(&self, now: Duration) -> Option<IpAddr> {
        match &self.state {
            State::Backup(backup) => backup.living_predecessor(now),
            State::Initialize | State::Active(_) => None,
        }
    }

    /// The living Active that a Backup hears, whether it outranks us or not.
    pub fn living_active(&self, now: Duration) -> Option<IpAddr> {
        match &self.state {
            State::Backup(backup) => backup.living_active(now),
            State::Initialize | State::Active(_) => None,
        }
    }

    /// Why a Backup that outranks the living Active has not relieved it yet.
    pub fn waiting(&self, now: Duration) -> Option<Waiting> {
        let State::Backup(backup) = &self.state else { return None };
        backup.living_predecessor(now)?;
        let left = |until: Duration| Some(until.saturating_sub(now)).filter(|left| !left.is_zero());
        if let Some(left) = left(self.terms.listens_until) {
            return Some(Waiting::StartUp { left });
        }
        if self.terms.is_held {
            return Some(Waiting::Held);
        }
        backup.preempt_at().and_then(left).map(|left| Waiting::Delay { left })
    }

    /// Time between adverts of the router that is Active: learned from it while Backup, otherwise
    /// ours.
    pub fn active_interval(&self) -> Duration {
        match &self.state {
            State::Backup(backup) => backup.active_interval(),
            State::Initialize | State::Active(_) => self.terms.config.interval(),
        }
    }

    /// Whether an earlier life that was Active this long ago is still Active in the eyes of others:
    /// its last advert was sent an interval before that at worst.
    pub fn can_resume(&self, was_active_ago: Duration) -> bool {
        was_active_ago < (SILENT_INTERVALS - 1) * self.terms.config.interval()
    }

    /// Takes one input. `now` never goes back.
    pub fn step(&mut self, now: Duration, input: Input<'_>) -> Outputs {
        let terms = &self.terms;
        match (&mut self.state, input) {
            (State::Initialize, Input::Up) => self.start(now),
            (State::Initialize, Input::Resume) => self.become_active(now, None),
            (State::Initialize, Input::Advert { .. }) => {
                smallvec![Output::Discard(Discard::NotStarted)]
            }
            (
                State::Initialize,
                Input::Down | Input::Tick | Input::Shutdown | Input::TakeOver | Input::Wait { .. },
            )
            | (State::Backup(_) | State::Active(_), Input::Up | Input::Resume)
            | (State::Active(_), Input::TakeOver | Input::Wait { .. }) => Outputs::new(),
            (State::Backup(_), Input::Down | Input::Shutdown) | (State::Active(_), Input::Down) => {
                self.initialize()
            }
            (State::Active(_), Input::Shutdown) => {
                let mut outputs = smallvec![Output::Advertise { priority: 0 }];
                outputs.extend(self.initialize());
                outputs
            }
            (State::Backup(backup), Input::Advert { source, advert }) => {
                if backup.hear(now, terms, source, advert) {
                    return self.take_over(now);
                }
                Outputs::new()
            }
            (State::Backup(backup), Input::Tick) => {
                if backup.is_due(now, terms.is_held) {
                    let predecessor = backup.living_predecessor(now);
                    return self.become_active(now, predecessor);
                }
                Outputs::new()
            }
            (State::Backup(_), Input::TakeOver) => self.take_over(now),
            (State::Backup(backup), Input::Wait { until }) => {
                backup.wait(until);
                Outputs::new()
            }
            // RFC 9568 §7.1 with erratum 8298: an owner is right whatever others say.
            (State::Active(_), Input::Advert { .. }) if terms.is_owner() => {
                smallvec![Output::Discard(Discard::Owner)]
            }
            (State::Active(active), Input::Advert { source, advert }) => {
                match active.hear(now, terms, source, advert) {
                    Verdict::Stay(outputs) => outputs,
                    Verdict::Yield { is_outranked } => {
                        // A last losing advert: the other answers it and announces itself again
                        // (RFC 9568 §6.4.3), so that neighbours find it.
                        let priority = terms.priority.get();
                        let last_word = is_outranked.then_some(Output::Advertise { priority });
                        let heard = Some((source, advert.interval()));
                        last_word.into_iter().chain(self.become_backup(now, heard)).collect()
                    }
                }
            }
            (State::Active(active), Input::Tick) => active.tick(now, terms),
            (
                State::Initialize | State::Backup(_) | State::Active(_),
                Input::Priority(priority),
            ) => self.set_priority(now, priority),
            (
                State::Initialize | State::Backup(_) | State::Active(_),
                Input::HoldPreemption(is_held),
            ) => self.hold(now, is_held),
        }
    }

    /// Edits the instance in place: the role stays, and timers follow the new configuration. A
    /// priority that [`Input::Priority`] gave stays until the configured one changes.
    ///
    /// # Errors
    /// Gives `config` back when it is another virtual router ([`Config::is_same_router`]).
    pub fn reconfigure(&mut self, now: Duration, config: Config) -> Result<Outputs, Box<Config>> {
        if !self.terms.config.is_same_router(&config) {
            return Err(Box::new(config));
        }
        if self.terms.config == config {
            return Ok(Outputs::new());
        }
        let is_ordered = config.take_over && !self.terms.config.take_over;
        self.apply(config);
        let terms = &self.terms;
        let (is_owner, is_listening) = (terms.is_owner(), now < terms.listens_until);
        let interval = self.terms.config.interval();
        let down_at = (now + terms.down_interval(interval)).max(terms.listens_until);
        Ok(match &mut self.state {
            State::Initialize => Outputs::new(),
            State::Backup(_) if is_owner && !is_listening => self.become_active(now, None),
            State::Backup(_) if is_ordered && !self.terms.is_held => self.take_over(now),
            State::Backup(backup) => {
                backup.begin_anew(down_at, interval);
                Outputs::new()
            }
            State::Active(active) => {
                let terms = &self.terms;
                let mut outputs = active.advertise(now, terms);
                outputs.extend(active.request_announcement(now, terms));
                outputs
            }
        })
    }

    fn apply(&mut self, config: Config) {
        if config.priority != self.terms.config.priority {
            self.terms.priority = config.priority;
        }
        if config.source != self.terms.config.source {
            self.terms.source = config.source;
        }
        let interval = config.interval();
        self.authenticator = match (self.authenticator.take(), config.auth_hmac.clone()) {
            (Some(mut known), Some(settings)) => {
                known.set(settings, interval);
                Some(known)
            }
            (None, Some(settings)) => Some(Authenticator::new(settings, interval)),
            (Some(_) | None, None) => None,
        };
        self.terms.config = config;
    }

    fn set_priority(&mut self, now: Duration, priority: Priority) -> Outputs {
        let before = std::mem::replace(&mut self.terms.priority, priority);
        if before == priority {
            return Outputs::new();
        }
        let wire = self.terms.config.wire.clone();
        match &mut self.state {
            State::Initialize => Outputs::new(),
            State::Backup(backup) => {
                backup.change_priority(&wire, before, priority);
                Outputs::new()
            }
            State::Active(active) => {
                // At once: a Backup may outrank us now, or not any more.
                let terms = &self.terms;
                active.advertise(now, terms)
            }
        }
    }

    fn hold(&mut self, now: Duration, is_held: bool) -> Outputs {
        let was_held = std::mem::replace(&mut self.terms.is_held, is_held);
        match &self.state {
            State::Backup(_) if was_held && !is_held && self.terms.config.take_over => {
                self.take_over(now)
            }
            State::Backup(backup) if was_held && backup.is_due(now, is_held) => {
                let predecessor = backup.living_predecessor(now);
                self.become_active(now, predecessor)
            }
            State::Initialize | State::Backup(_) | State::Active(_) => Outputs::new(),
        }
    }

    fn take_over(&mut self, now: Duration) -> Outputs {
        let predecessor = self.predecessor(now).or_else(|| self.living_active(now));
        self.become_active(now, predecessor)
    }

    /// RFC 9568 §6.4.1.
    fn start(&mut self, now: Duration) -> Outputs {
        if self.terms.priority == Priority::OWNER && now >= self.terms.listens_until {
            self.become_active(now, None)
        } else {
            self.become_backup(now, None)
        }
    }

    fn initialize(&mut self) -> Outputs {
        self.state = State::Initialize;
        smallvec![Output::Role(Change::Initialize)]
    }

    fn become_active(&mut self, now: Duration, predecessor: Option<IpAddr>) -> Outputs {
        self.state = State::Active(Active::new(now, &self.terms.config));
        smallvec![
            Output::Role(Change::Active { predecessor }),
            Output::Advertise { priority: self.terms.priority.get() },
            Output::Announce,
        ]
    }

    /// `heard`: the Active router and its interval, when one relieved us.
    fn become_backup(&mut self, now: Duration, heard: Option<(IpAddr, Duration)>) -> Outputs {
        let successor = heard.map(|(source, _)| source);
        self.state = State::Backup(Backup::new(now, &self.terms, heard));
        smallvec![Output::Role(Change::Backup { successor })]
    }
}

#[cfg(test)]
mod tests;
