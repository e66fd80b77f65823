//! When to tell what is observed: soon after a change, not too often, and now and then in any case.

use std::time::Duration;

/// Shortest time between two reports: a person sees no difference, and a flapping rack makes five a second.
pub const SHORTEST: Duration = Duration::from_millis(200);

/// Longest time between two reports, so that counters and connections stay current.
pub const LONGEST: Duration = Duration::from_secs(5);

/// Making reports may take one part in so many of the time: those of a large table are made less often.
const SHARE: u32 = 20;

/// Paces reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    is_changed: bool,
    last: Option<Duration>,
    took: Duration,
}

impl Pacer {
    /// There is something new to tell.
    pub fn changed(&mut self) {
        self.is_changed = true;
    }

    /// When the next report is due; zero before the first.
    pub fn due(&self) -> Duration {
        let gap = if self.is_changed { SHORTEST } else { LONGEST };
        let gap = gap.max(self.took.saturating_mul(SHARE));
        self.last.map_or(Duration::ZERO, |last| last + gap)
    }

    /// Whether a report is due; if so, it counts as made.
    pub fn take(&mut self, now: Duration) -> bool {
        let is_due = now >= self.due();
        if is_due {
            *self = Self { is_changed: false, last: Some(now), took: Duration::ZERO };
        }
        is_due
    }

    /// Making the report took this long.
    pub fn took(&mut self, time: Duration) {
        self.took = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costly_reports_are_rare() {
        let ms = Duration::from_millis;
        let mut pacer = Pacer::default();
        assert!(pacer.take(ms(0)));
        pacer.took(ms(100));
        pacer.changed();
        assert_eq!(pacer.due(), ms(2_000));
        assert!(pacer.take(ms(2_000)));
        pacer.took(ms(1));
        pacer.changed();
        assert_eq!(pacer.due(), ms(2_200));
    }

    #[test]
    fn soon_but_not_too_often() {
        let ms = Duration::from_millis;
        let mut pacer = Pacer::default();
        assert!(pacer.take(ms(0)), "the first is due at once");
        assert!(!pacer.take(ms(4_999)));
        pacer.changed();
        assert!(pacer.take(ms(4_999)), "a change after a quiet time goes at once");
        pacer.changed();
        assert!(!pacer.take(ms(5_198)));
        assert_eq!(pacer.due(), ms(5_199));
        assert!(pacer.take(ms(5_199)));
        assert!(!pacer.take(ms(10_198)));
        assert!(pacer.take(ms(10_199)), "now and then in any case");
    }
}
