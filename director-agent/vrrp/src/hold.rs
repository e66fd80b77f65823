//! Where the VIPs of an instance belong while its role is taken and left.
//!
//! ```text
//!   Absent --Active--> Held --Displaced--------------------> Lingering --linger is over--> Absent
//!     |                 |  \                                    ^
//!   Found               |   Yield--> Yielding --Heard-----------+
//!     v                 |                 \--nobody came--> Absent
//!   Adopted --Active----+ (or Heard, Displaced, Yield --> Lingering)
//! ```
//!
//! A router that leaves its role while alive goes on *forwarding* for a while, so that packets of
//! connections that are still sent to it are not lost, but stops *answering ARP*, so that
//! neighbours find its successor: the VIP moves from the interface to loopback. On a planned stop
//! it answers ARP until it has heard its successor.

use std::time::Duration;

use crate::{Change, Wire};

/// Where an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On no interface of this host.
    Nowhere,
    /// On the instance's interface: packets are accepted and ARP is answered.
    Interface,
    /// On loopback, ARP quiet: packets are accepted, ARP is not answered.
    Loopback,
}

/// How long each phase lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTimes {
    /// How long a router that left its role goes on forwarding.
    pub linger: Duration,
    /// How long a router that leaves on a planned stop waits for its successor's first advert.
    pub successor_wait: Duration,
    /// Lifetime that the kernel is given for a VIP on its interface, in whole seconds: it withdraws
    /// the VIP that long after the last refresh, so that a killed agent leaves none behind. Longer
    /// than a Backup needs to take over, for until then the VIP still serves.
    pub lifetime: Duration,
}

/// Connections of a few requests end within it, and neighbours have heard both announcements of the
/// successor (at once and after 1 s) before it is over.
const LINGER: Duration = Duration::from_secs(2);
/// What a successor may need beyond its skew to be heard: scheduling on a busy host.
const SUCCESSOR_MARGIN: Duration = Duration::from_millis(200);
/// Shortest lifetime of a VIP: room for two late refreshes and the kernel's whole seconds.
const LEAST_LIFETIME: Duration = Duration::from_secs(3);
/// Refreshes within one lifetime.
const REFRESHES: u32 = 3;
/// Longest time between refreshes: they tell a later life when this one was last Active.
const MOST_REFRESH: Duration = Duration::from_secs(1);

impl HoldTimes {
    /// The times for an instance: a successor takes over within its skew, which is below one
    /// interval in version 3 and below one second in version 2.
    pub fn of(wire: &Wire) -> Self {
        let interval = wire.interval();
        let greatest_skew = match wire {
            Wire::V2 { .. } => Duration::from_secs(1),
            Wire::V3 { .. } | Wire::V2AndV3 { .. } => interval,
        };
        // The kernel counts whole seconds: round up, and one more.
        let greatest_down = 3 * interval + greatest_skew;
        let begun = greatest_down.as_secs() + u64::from(greatest_down.subsec_nanos() > 0);
        let lifetime = Duration::from_secs(begun + 1).max(LEAST_LIFETIME);
        Self { linger: LINGER, successor_wait: greatest_skew + SUCCESSOR_MARGIN, lifetime }
    }

    /// Time between refreshes of a VIP's lifetime.
    pub fn refresh(self) -> Duration {
        (self.lifetime / REFRESHES).min(MOST_REFRESH)
    }
}

/// The phases of holding VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Not ours.
    Absent,
    /// Found on the interface at start, left by an earlier life: kept until we know who is Active.
    Adopted,
    /// Ours.
    Held,
    /// We have said that we leave: ours until the successor is heard.
    Yielding {
        /// Released then, if nobody comes.
        until: Duration,
    },
    /// Another router is Active: packets that still come are forwarded.
    Lingering {
        /// Released then.
        until: Duration,
    },
}

/// What happens to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldInput {
    /// The VIPs are on the interface although we are not Active.
    Found,
    /// We became Active.
    Active,
    /// A planned stop: priority 0 is sent.
    Yield,
    /// Another router relieved us.
    Displaced,
    /// An advert of another router, of a priority above 0, was heard.
    Heard,
    /// The interface is not usable: nothing comes or goes there.
    Down,
    /// Time has passed.
    Tick,
}

impl HoldInput {
    /// What a change of role means; `is_planned` when it follows from our own planned stop.
    pub fn of(change: Change, is_planned: bool) -> Option<Self> {
        match change {
            Change::Active { .. } => Some(Self::Active),
            Change::Backup { successor } => successor.map(|_| Self::Displaced),
            Change::Initialize if is_planned => Some(Self::Yield),
            Change::Initialize => Some(Self::Down),
        }
    }
}

impl Hold {
    /// Where the VIPs belong.
    pub fn place(self) -> Place {
        match self {
            Self::Absent => Place::Nowhere,
            Self::Adopted | Self::Held | Self::Yielding { .. } => Place::Interface,
            Self::Lingering { .. } => Place::Loopback,
        }
    }

    /// When the next [`HoldInput::Tick`] is due.
    pub fn deadline(self) -> Option<Duration> {
        match self {
            Self::Absent | Self::Adopted | Self::Held => None,
            Self::Yielding { until } | Self::Lingering { until } => Some(until),
        }
    }

    /// Whether a planned stop is over.
    pub fn is_released(self) -> bool {
        self == Self::Absent
    }

    /// The next phase.
    #[must_use]
    pub fn step(self, now: Duration, times: HoldTimes, input: HoldInput) -> Self {
        let lingering = Self::Lingering { until: now + times.linger };
        match (self, input) {
            (_, HoldInput::Active) => Self::Held,
            (_, HoldInput::Down) => Self::Absent,
            (Self::Absent, HoldInput::Found) => Self::Adopted,
            (
                Self::Absent,
                HoldInput::Yield | HoldInput::Displaced | HoldInput::Heard | HoldInput::Tick,
            ) => Self::Absent,
            (Self::Adopted, HoldInput::Yield | HoldInput::Displaced | HoldInput::Heard) => {
                lingering
            }
            (Self::Adopted, HoldInput::Found | HoldInput::Tick) => self,
            (Self::Held, HoldInput::Yield) => Self::Yielding { until: now + times.successor_wait },
            (Self::Held, HoldInput::Displaced) => lingering,
            (Self::Held, HoldInput::Found | HoldInput::Heard | HoldInput::Tick) => self,
            (Self::Yielding { .. }, HoldInput::Heard | HoldInput::Displaced) => lingering,
            (Self::Yielding { until } | Self::Lingering { until }, HoldInput::Tick)
                if now >= until =>
            {
                Self::Absent
            }
            (Self::Yielding { .. }, HoldInput::Found | HoldInput::Yield | HoldInput::Tick)
            | (
                Self::Lingering { .. },
                HoldInput::Found
                | HoldInput::Yield
                | HoldInput::Displaced
                | HoldInput::Heard
                | HoldInput::Tick,
            ) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: HoldTimes = HoldTimes {
        linger: Duration::from_secs(2),
        successor_wait: Duration::from_millis(300),
        lifetime: Duration::from_secs(3),
    };
    const NOW: Duration = Duration::from_secs(100);
    const YIELDING: Hold = Hold::Yielding { until: Duration::from_millis(100_300) };
    const LINGERING: Hold = Hold::Lingering { until: Duration::from_secs(102) };

    #[test]
    fn every_phase_takes_every_input() {
        use Hold::{Absent, Adopted, Held};
        let due = |hold| match hold {
            Hold::Yielding { .. } => Hold::Yielding { until: NOW },
            Hold::Lingering { .. } => Hold::Lingering { until: NOW },
            Absent | Adopted | Held => hold,
        };
        // Columns: Found, Active, Yield, Displaced, Heard, Down, Tick.
        let table = [
            (Absent, [Adopted, Held, Absent, Absent, Absent, Absent, Absent]),
            (Adopted, [Adopted, Held, LINGERING, LINGERING, LINGERING, Absent, Adopted]),
            (Held, [Held, Held, YIELDING, LINGERING, Held, Absent, Held]),
            (YIELDING, [YIELDING, Held, YIELDING, LINGERING, LINGERING, Absent, YIELDING]),
            (LINGERING, [LINGERING, Held, LINGERING, LINGERING, LINGERING, Absent, LINGERING]),
            (
                due(YIELDING),
                [due(YIELDING), Held, due(YIELDING), LINGERING, LINGERING, Absent, Absent],
            ),
            (
                due(LINGERING),
                [
                    due(LINGERING),
                    Held,
                    due(LINGERING),
                    due(LINGERING),
                    due(LINGERING),
                    Absent,
                    Absent,
                ],
            ),
        ];
        let inputs = [
            HoldInput::Found,
            HoldInput::Active,
            HoldInput::Yield,
            HoldInput::Displaced,
            HoldInput::Heard,
            HoldInput::Down,
            HoldInput::Tick,
        ];
        for (hold, row) in table {
            for (input, expected) in inputs.into_iter().zip(row) {
                assert_eq!(hold.step(NOW, TIMES, input), expected, "{hold:?} {input:?}");
            }
        }
    }
}
