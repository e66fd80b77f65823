//! How late a thread woke after the times that it asked for.

use std::time::Duration;

/// Buckets for each doubling: what is told is at most an eighth too great.
const PARTS: usize = 8;
/// Times below this many microseconds have a bucket each.
const FINE: u64 = 8;
/// Doublings from [`FINE`] microseconds on: up to half an hour.
const DOUBLINGS: usize = 28;
const BUCKETS: usize = PARTS + DOUBLINGS * PARTS;

/// A histogram of fixed size: nothing is allocated when a time is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    counts: [u64; BUCKETS],
    wakes: u64,
    max: Duration,
}

/// What a [`Lateness`] comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatenessSummary {
    /// Times the thread woke.
    pub wakes: u64,
    /// 999 of 1,000 were no later than this.
    pub p999: Duration,
    /// The latest.
    pub max: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], wakes: 0, max: Duration::ZERO }
    }
}

impl Lateness {
    /// Adds a time.
    pub fn add(&mut self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.wakes += 1;
        self.max = self.max.max(late);
    }

    /// What all times come to.
    pub fn summary(&self) -> LatenessSummary {
        let wanted = self.wakes - self.wakes / 1000;
        let mut seen = 0;
        let p999 = self.counts.iter().position(|count| {
            seen += count;
            self.wakes > 0 && seen >= wanted
        });
        let p999 = p999.map_or(Duration::ZERO, |bucket| Duration::from_micros(end(bucket)));
        LatenessSummary { wakes: self.wakes, p999: p999.min(self.max), max: self.max }
    }
}

fn bucket(micros: u64) -> usize {
    if micros < FINE {
        return usize::try_from(micros).unwrap_or_default();
    }
    let doubling = 60 - usize::try_from(micros.leading_zeros()).unwrap_or_default();
    // The three bits after the first one.
    let part = usize::try_from(micros >> doubling & 7).unwrap_or_default();
    (PARTS + doubling * PARTS + part).min(BUCKETS - 1)
}

/// Greatest number of microseconds of a bucket.
fn end(bucket: usize) -> u64 {
    let parts = PARTS as u64;
    let bucket = bucket as u64;
    if bucket < parts {
        return bucket;
    }
    let (doubling, part) = ((bucket - parts) / parts, (bucket - parts) % parts);
    ((parts + part + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        let mut last = 0;
        for micros in (0..5_000).chain([1 << 20, (1 << 30) + 12_345]) {
            let found = bucket(micros);
            assert!(found >= last, "{micros}");
            last = found;
            assert!(micros <= end(found), "{micros}");
            assert!(end(found) <= micros + micros / 8 + 1, "{micros}: {}", end(found));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_thousandth_is_left_out() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.summary(), LatenessSummary::default());
        for _ in 0..999 {
            lateness.add(Duration::from_micros(100));
        }
        lateness.add(Duration::from_millis(50));
        let found = lateness.summary();
        assert_eq!((found.wakes, found.max), (1000, Duration::from_millis(50)));
        assert!((100..=112).contains(&found.p999.as_micros()), "{found:?}");
        lateness.add(Duration::from_millis(60));
        assert_eq!(lateness.summary().wakes, 1001);
        assert!(lateness.summary().p999 > Duration::from_millis(49));
    }
}
