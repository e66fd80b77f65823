//! How many operations go to the kernel at once, so that they do not hold the CPU for long.
//!
//! The kernel works through all requests of one send before it returns, and where it is built
//! without preemption nothing else runs on that CPU meanwhile. What an operation takes differs by
//! its kind, the scheduler and the size of the table, so it is measured.

use std::time::Duration;

/// Longest that a batch may hold the CPU.
pub const LONGEST: Duration = Duration::from_millis(2);
/// What a batch aims at: the next one may be twice as slow as the last.
const AIM: Duration = Duration::from_millis(1);
/// Operations of the first batch, of which nothing is known.
const FIRST: usize = 8;
/// Most operations of a batch: about what [`AIM`] holds of the cheapest ones. Fewer would bound better what a batch of much
/// dearer ones takes, and make more of what each send costs.
const MOST: usize = 512;

/// The size of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    operations: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { operations: FIRST }
    }
}

impl Pace {
    /// Operations of the next batch, 1 at least.
    pub fn operations(self) -> usize {
        self.operations
    }

    /// The pace after a batch of so many operations that held the CPU for so long. It slows down at
    /// once, and at most doubles.
    #[must_use]
    pub fn after(self, operations: usize, took: Duration) -> Self {
        // A clock that stands still says nothing against more.
        let took = took.max(Duration::from_nanos(1));
        let fitting = AIM.as_nanos() * operations as u128 / took.as_nanos();
        let fitting = usize::try_from(fitting).unwrap_or(MOST);
        Self { operations: fitting.min(2 * self.operations).clamp(1, MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn batches_follow_what_operations_take() {
        for (before, operations, took, after) in [
            (8, 8, MICROS(8), 16),
            (64, 64, MICROS(640), 100),
            (100, 100, MICROS(1000), 100),
            (100, 100, MICROS(2000), 50),
            (100, 3, MICROS(30), 100),
            (100, 3, MICROS(3), 200),
            (512, 512, MICROS(1), 512),
            (128, 128, MICROS(50_000), 2),
            (2, 2, MICROS(50_000), 1),
            (1, 1, MICROS(10), 2),
            (8, 8, Duration::ZERO, 16),
            (8, 0, MICROS(5), 1),
            (128, 128, Duration::MAX, 1),
        ] {
            let pace = Pace { operations: before }.after(operations, took);
            assert_eq!(pace.operations(), after, "{before} {operations} {took:?}");
        }
    }

    #[test]
    fn batches_that_grow_dearer_by_twice_hold_the_cpu_no_longer_than_they_may() {
        let mut pace = Pace::default();
        let mut cost = MICROS(3);
        for turn in 0..1000_u32 {
            let operations = pace.operations();
            let took = cost * u32::try_from(operations).expect("few");
            assert!(took <= LONGEST, "turn {turn}: {operations} operations, {took:?}");
            pace = pace.after(operations, took);
            // Dearer, cheaper, and dearer again.
            cost = if turn % 20 < 8 { 2 * cost } else { (cost / 2).max(MICROS(3)) };
        }
    }
}
