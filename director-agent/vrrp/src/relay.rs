//! Relay of connections in flight to the router that was Active before.
//!
//! ```text
//!   none --Foreseen--> foreseen --Active--> serving --its time is over--> none
//! ```
//!
//! A router that leaves its role while alive still knows the connections that it forwards, and
//! lingers to forward them. Its successor sends it the packets of connections that it does not know
//! itself, for as long. The relay is asked for as soon as the take-over is foreseen, so that it is
//! in place before the first packet comes.

use std::net::IpAddr;
use std::time::Duration;

/// What it takes to put a relay in place, and for the predecessor to fall silent in ARP once it has
/// heard its successor. A successor answers ARP only after that, so that never both do; the
/// predecessor forwards meanwhile.
const LEAD: Duration = Duration::from_millis(50);

/// A relay that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The router that was Active before.
    pub predecessor: IpAddr,
    /// In place from then on.
    ready_at: Duration,
    /// Over then; none while we are Backup.
    until: Option<Duration>,
}

/// What happens to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayInput {
    /// We are Backup, and shall relieve this living router.
    Foreseen(Option<IpAddr>),
    /// We became Active, and relieved this living router; or we are Active, and it gives way.
    Active {
        /// That router.
        predecessor: Option<IpAddr>,
        /// How long it goes on forwarding.
        linger: Duration,
    },
    /// We are Active, and time has passed.
    Tick,
    /// We are neither.
    Down,
}

impl Relay {
    /// The relay after `input`.
    pub fn step(relay: Option<Self>, now: Duration, input: RelayInput) -> Option<Self> {
        let to = |predecessor: IpAddr, until: Option<Duration>| {
            let known = relay.filter(|relay| relay.predecessor == predecessor);
            let ready_at = match known {
                // Foreseen before, and ours from now on.
                Some(relay) if relay.until.is_none() && until.is_some() => now + LEAD,
                Some(relay) => relay.ready_at,
                None => now + LEAD,
            };
            Self { predecessor, ready_at, until }
        };
        match input {
            RelayInput::Foreseen(predecessor) => predecessor.map(|address| to(address, None)),
            RelayInput::Active { predecessor, linger } => {
                predecessor.map(|address| to(address, Some(now + linger)))
            }
            RelayInput::Tick => relay.filter(|relay| relay.until.is_some_and(|at| now < at)),
            RelayInput::Down => None,
        }
    }

    /// Whether it is in place.
    pub fn is_ready(&self, now: Duration) -> bool {
        now >= self.ready_at
    }

    /// When it next changes by itself.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        if self.is_ready(now) { self.until } else { Some(self.ready_at) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(101);
    const LINGER: Duration = Duration::from_secs(2);

    fn relay(predecessor: IpAddr, asked_at: Duration, until: Option<u64>) -> Relay {
        let until = until.map(Duration::from_secs);
        Relay { predecessor, ready_at: asked_at + LEAD, until }
    }

    #[test]
    fn every_phase_takes_every_input() {
        let active = |predecessor| RelayInput::Active { predecessor, linger: LINGER };
        let foreseen = Some(relay(A, NOW, None));
        let serving = Some(relay(A, NOW, Some(102)));
        for (before, input, after) in [
            (None, RelayInput::Foreseen(None), None),
            (None, RelayInput::Foreseen(Some(A)), Some(relay(A, LATER, None))),
            (None, active(None), None),
            (None, active(Some(A)), Some(relay(A, LATER, Some(103)))),
            (None, RelayInput::Tick, None),
            (None, RelayInput::Down, None),
            (foreseen, RelayInput::Foreseen(Some(A)), foreseen),
            (foreseen, RelayInput::Foreseen(Some(B)), Some(relay(B, LATER, None))),
            (foreseen, RelayInput::Foreseen(None), None),
            (foreseen, active(Some(A)), Some(relay(A, LATER, Some(103)))),
            (foreseen, active(None), None),
            (foreseen, RelayInput::Down, None),
            (serving, active(Some(A)), Some(relay(A, NOW, Some(103)))),
            (serving, RelayInput::Tick, serving),
            (Some(relay(A, NOW, Some(101))), RelayInput::Tick, None),
            (serving, RelayInput::Foreseen(None), None),
            (serving, RelayInput::Down, None),
        ] {
            assert_eq!(Relay::step(before, LATER, input), after, "{before:?} {input:?}");
        }
    }

    #[test]
    fn it_wakes_when_it_is_ready_and_when_it_is_over() {
        let serving = relay(A, NOW, Some(102));
        assert_eq!((serving.is_ready(NOW), serving.deadline(NOW)), (false, Some(NOW + LEAD)));
        let over = Some(Duration::from_secs(102));
        assert_eq!((serving.is_ready(LATER), serving.deadline(LATER)), (true, over));
    }
}
