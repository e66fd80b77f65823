//! Pacing of retries.

use std::time::Duration;

/// Exponential backoff with full jitter: each delay is drawn evenly from zero to a limit that doubles up to `most`, so
/// that many programs that lost the same peer do not come back in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    limit: Duration,
}

impl Backoff {
    /// The first delay is at most `first`, and none is longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        let first = first.min(most);
        Self { first, most, limit: first }
    }

    /// The next delay.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless sequence of delays is no use as an iterator"
    )]
    pub fn next(&mut self) -> Duration {
        let limit = self.limit;
        self.limit = limit.saturating_mul(2).min(self.most);
        limit.mul_f64(rand::random::<f64>())
    }

    /// Begins again, after a success.
    pub fn reset(&mut self) {
        self.limit = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_up_to_the_most_and_begins_again() {
        let (first, most) = (Duration::from_millis(50), Duration::from_millis(180));
        let mut backoff = Backoff::new(first, most);
        for limit_ms in [50, 100, 180, 180] {
            assert!(backoff.next() <= Duration::from_millis(limit_ms));
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }

    #[test]
    fn delays_differ() {
        let hour = Duration::from_hours(1);
        let mut backoff = Backoff::new(hour, hour);
        assert_ne!(backoff.next(), backoff.next());
    }
}
