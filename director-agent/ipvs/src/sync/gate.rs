//! Whether a take-over by choice waits for connections.
//!
//! ```text
//!   apart --a living Active--> held --synchronised--> open ◀──────┐
//!     ▲                         ▲ │                   │  ▲        │ synchronised
//!     │ none                    │ └──too long──▶ overdue ┘        │
//!     └── from each             └──no longer, or a new wish───────┘
//! ```
//!
//! What is held is preemption of a living Active. Nobody waits when the Active is dead.

use std::time::Duration;

use fulcrum_model::vrrp::ConnectionSync;

/// A measurement older than this says nothing of now: three rounds of a Backup that is in no hurry.
pub const FRESH: Duration = Duration::from_secs(15);

/// How one round of the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// When this director's table was read for it.
    pub began: Duration,
    /// When it ended.
    pub at: Duration,
    /// Connections that this director lacked.
    pub missing: u32,
    /// Connections that were sent.
    pub sent: u32,
    /// Connections that the Active compared.
    pub compared: u32,
}

/// What a gate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateInput {
    /// This director is Backup, and hears an Active.
    pub is_backup_of_living: bool,
    /// It began to outrank the Active, or was ordered to take over, since the last step.
    pub is_new_wish: bool,
    /// The last round that was answered.
    pub measured: Option<Measured>,
}

/// Whether preemption waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It waits.
    Held,
    /// It may go ahead: the connections are known here.
    Synchronised,
    /// It may go ahead: it has waited long enough.
    Overdue,
}

/// The gate of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// There is no living Active whose Backup we are.
    #[default]
    Apart,
    /// Held since then.
    Held {
        /// Beginning.
        since: Duration,
    },
    /// The connections are known here.
    Open,
    /// Waited long enough.
    Overdue,
}

impl Gate {
    /// The gate after what is seen now.
    #[must_use]
    pub fn step(self, now: Duration, input: GateInput, options: &ConnectionSync) -> Self {
        if !input.is_backup_of_living {
            return Self::Apart;
        }
        let is_few = |since: Duration| {
            let fresh = input.measured.filter(|measured| measured.began >= since);
            fresh.is_some_and(|measured| measured.missing <= options.max_missing)
        };
        let recently = now.saturating_sub(FRESH);
        match (self, input.is_new_wish) {
            (Self::Apart, _) | (Self::Open | Self::Overdue, true) => Self::Held { since: now },
            (Self::Held { since }, _) if is_few(since) => Self::Open,
            (Self::Held { since }, _) if now.saturating_sub(since) >= options.wait => Self::Overdue,
            (Self::Held { since }, _) => Self::Held { since },
            (Self::Open, false) if is_few(recently) => Self::Open,
            (Self::Open, false) => Self::Held { since: now },
            (Self::Overdue, false) if is_few(recently) => Self::Open,
            (Self::Overdue, false) => Self::Overdue,
        }
    }

    /// What it says.
    pub fn hold(self) -> Hold {
        match self {
            Self::Apart | Self::Held { .. } => Hold::Held,
            Self::Open => Hold::Synchronised,
            Self::Overdue => Hold::Overdue,
        }
    }

    /// When it next changes by itself.
    pub fn deadline(self, options: &ConnectionSync) -> Option<Duration> {
        match self {
            Self::Held { since } => Some(since + options.wait),
            Self::Apart | Self::Open | Self::Overdue => None,
        }
    }
}
