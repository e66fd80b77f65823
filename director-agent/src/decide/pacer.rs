//! When to tell what is observed: soon after a change, not too often, and now and then in any case. And when to take news.

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

/// Making a wanted table may take one part in so many of the time, while news of checks comes in.
const TABLE_SHARE: u32 = 10;
/// Longest time that news waits for more. A large table takes the kernel's writer longer to look through than to write.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// Paces news of checks: what comes within a moment after a large table was wanted is decided together. A small table costs
/// nothing that is worth to be waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gap {
    until: Duration,
}

impl Gap {
    /// When news is taken again.
    pub fn until(self) -> Duration {
        self.until
    }

    /// A table was made at `now`, which took this long.
    pub fn took(&mut self, now: Duration, time: Duration) {
        self.until = now + time.saturating_mul(TABLE_SHARE).min(LONGEST_GAP);
    }

    /// Takes no news before then.
    pub fn hold(&mut self, until: Duration) {
        self.until = until;
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

    #[test]
    fn news_waits_for_more_where_tables_are_costly() {
        let mut gap = Gap::default();
        for (took, until) in
            [(0, 1_000_000), (50, 1_000_500), (2_000, 1_020_000), (900_000, 1_100_000)]
        {
            gap.took(Duration::from_secs(1), Duration::from_micros(took));
            assert_eq!(gap.until(), Duration::from_micros(until), "{took} µs");
        }
    }
}
