//! Damping: a real server that goes up and down again and again has to stay well for a while before it is trusted.
//!
//! As routers damp routes that flap (RFC 2439): each fall adds to a penalty, which halves with time. A real server that falls for
//! the first time in a while comes back at once.

use std::time::Duration;

/// What one fall adds.
const FALL: u64 = 1000;
/// Time in which the penalty halves.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// Above this a real server is held when it comes back: a second fall within some half a minute.
const TOLERATED: u64 = 1500;
/// Greatest penalty: what many falls leave behind is forgotten within some minutes.
const MOST: u64 = 8 * FALL;
/// Hold of one fall more than is tolerated; each further one doubles it.
const SHORTEST_HOLD: Duration = Duration::from_secs(2);
/// Longest hold.
const LONGEST_HOLD: Duration = Duration::from_mins(1);

/// How often a real server has fallen of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flaps {
    /// The penalty, as it was at `at`.
    penalty: u64,
    at: Duration,
    held: Option<Held>,
}

/// It is well, and is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    /// So long in all.
    pub(super) hold: Duration,
    pub(super) until: Duration,
}

impl Flaps {
    /// It has fallen.
    pub(super) fn fell(self, now: Duration) -> Self {
        Self { penalty: (self.penalty(now) + FALL).min(MOST), at: now, held: None }
    }

    /// It is well again.
    pub(super) fn rose(self, now: Duration) -> Self {
        let penalty = self.penalty(now);
        let held = (penalty > TOLERATED).then(|| {
            let hold = hold(penalty);
            Held { hold, until: now + hold }
        });
        Self { held, ..self }
    }

    /// Whether it is held.
    pub(super) fn held(self, now: Duration) -> Option<Held> {
        self.held.filter(|held| now < held.until)
    }

    fn penalty(self, now: Duration) -> u64 {
        let age = now.saturating_sub(self.at);
        let halvings = age.as_millis() / HALF_LIFE.as_millis();
        let Some(halved) = u32::try_from(halvings).ok().and_then(|n| self.penalty.checked_shr(n))
        else {
            return 0;
        };
        // A straight line between two halvings.
        let part = u64::try_from(age.as_millis() % HALF_LIFE.as_millis()).unwrap_or(0);
        let whole = u64::try_from(HALF_LIFE.as_millis()).unwrap_or(u64::MAX);
        halved - halved * part / (2 * whole)
    }
}

fn hold(penalty: u64) -> Duration {
    let more = u32::try_from(penalty.div_ceil(FALL).saturating_sub(2)).unwrap_or(u32::MAX);
    SHORTEST_HOLD.saturating_mul(2_u32.saturating_pow(more)).min(LONGEST_HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// Falls at these seconds, and what the hold is when it rises one second after the last.
    fn hold_after(falls: &[u64]) -> Option<u64> {
        let mut flaps = Flaps::default();
        for second in falls {
            flaps = flaps.fell(S(*second));
        }
        let now = S(falls.last().copied().unwrap_or(0) + 1);
        flaps.rose(now).held(now).map(|held| held.hold.as_secs())
    }

    #[test]
    fn falls_close_together_are_held_longer_and_longer() {
        let cases: [(&[u64], Option<u64>); 9] = [
            (&[10], None),
            (&[10, 20], Some(2)),
            (&[10, 80], None),
            (&[10, 20, 30], Some(4)),
            (&[10, 20, 30, 40], Some(8)),
            (&[10, 20, 30, 40, 50], Some(16)),
            (&[10, 11, 12, 13, 14, 15], Some(32)),
            (&[10, 11, 12, 13, 14, 15, 16, 17, 18, 19], Some(60)),
            (&[10, 20, 30, 40, 600], None),
        ];
        for (falls, expected) in cases {
            assert_eq!(hold_after(falls), expected, "{falls:?}");
        }
    }

    #[test]
    fn a_hold_ends_and_a_fall_ends_it() {
        let flaps = Flaps::default().fell(S(10)).fell(S(11)).rose(S(12));
        assert_eq!(flaps.held(S(13)), Some(Held { hold: S(2), until: S(14) }));
        assert_eq!(flaps.held(S(14)), None);
        assert_eq!(flaps.fell(S(13)).held(S(13)), None);
    }
}
