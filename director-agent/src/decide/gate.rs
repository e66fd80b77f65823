//! Holds VRRP back until the kernel's table can serve: an Active with an empty table serves nobody.

use std::time::Duration;

/// Longest wait after the start, until checks and agents have told what the first weights need: several of their
/// default intervals. After it a director with nobody to serve takes part all the same, for it may be the only one.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait for a later plan. Its table is programmed within milliseconds, or refused for good.
pub const LATER_WAIT: Duration = Duration::from_secs(2);

/// The VRRP instances of the newest plan, until they may take part.
#[derive(Debug)]
pub struct Gate<T> {
    waiting: Option<Waiting<T>>,
    has_opened: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    orders: T,
    generation: u64,
    is_programmed: bool,
    not_after: Duration,
}

/// Why orders were let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The kernel has the table.
    Ready,
    /// The longest wait is over.
    Overdue,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self { waiting: None, has_opened: false }
    }
}

impl<T> Gate<T> {
    /// Holds the orders that belong to the table of this generation, in place of any that still wait.
    pub fn hold(&mut self, now: Duration, generation: u64, orders: T) {
        let wait = if self.has_opened { LATER_WAIT } else { FIRST_WAIT };
        // A stream of plans must not put the first one off for ever.
        let not_after = self.waiting.as_ref().map_or(now + wait, |waiting| waiting.not_after);
        self.waiting = Some(Waiting { orders, generation, is_programmed: false, not_after });
    }

    /// The kernel has the table of this generation.
    pub fn programmed(&mut self, generation: u64) {
        if let Some(waiting) = &mut self.waiting {
            waiting.is_programmed |= generation >= waiting.generation;
        }
    }

    /// The orders, when they may go. `is_settled` tells whether every virtual server has someone to serve it, or nobody
    /// to wait for; it is asked only when it matters.
    pub fn open(
        &mut self,
        now: Duration,
        is_settled: impl FnOnce() -> bool,
    ) -> Option<(T, Opened)> {
        let waiting = self.waiting.as_ref()?;
        let is_ready = waiting.is_programmed && (self.has_opened || is_settled());
        if !is_ready && now < waiting.not_after {
            return None;
        }
        self.has_opened = true;
        let opened = if is_ready { Opened::Ready } else { Opened::Overdue };
        self.waiting.take().map(|waiting| (waiting.orders, opened))
    }

    /// When [`Self::open`] opens whatever happens.
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn the_first_plan_waits_for_table_and_weights() {
        let cases = [
            ("nothing yet", 1, false, false, None),
            ("programmed, weights unknown", 1, true, false, None),
            ("weights known, not programmed", 1, false, true, None),
            ("both", 1, true, true, Some(Opened::Ready)),
            ("overdue", 5, true, false, Some(Opened::Overdue)),
            ("overdue and never programmed", 5, false, true, Some(Opened::Overdue)),
        ];
        for (what, now, is_programmed, is_settled, expected) in cases {
            let mut gate = Gate::default();
            gate.hold(S(0), 7, "orders");
            if is_programmed {
                gate.programmed(7);
            }
            let opened = gate.open(S(now), || is_settled).map(|(_, opened)| opened);
            assert_eq!(opened, expected, "{what}");
        }
    }

    #[test]
    fn later_plans_wait_for_their_table_alone() {
        let mut gate = Gate::default();
        assert_eq!(gate.open(S(100), || true), None);
        gate.hold(S(0), 1, "first");
        gate.programmed(1);
        assert_eq!(gate.open(S(1), || true), Some(("first", Opened::Ready)));
        assert_eq!(gate.deadline(), None);

        gate.hold(S(10), 2, "second");
        gate.hold(S(11), 3, "third");
        assert_eq!(gate.deadline(), Some(S(12)), "newer plans do not put it off");
        gate.programmed(2);
        assert_eq!(gate.open(S(11), || false), None, "an older table");
        gate.programmed(4);
        assert_eq!(gate.open(S(11), || false), Some(("third", Opened::Ready)));
    }
}
