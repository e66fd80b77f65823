//! Which controller is next, and after what delay.

use std::time::Duration;

use fulcrum_runtime::backoff::Backoff;

/// Most that the first attempt after a loss waits; short, for agents serve traffic.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Most that any attempt waits: after this long at the latest, a controller that came back is found.
const MOST_DELAY: Duration = Duration::from_secs(2);
/// A session this long was a good one. Shorter ones are paced like failures, lest a controller that welcomes and closes at
/// once be called in a tight loop.
const GOOD_SESSION: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The agent's epoch was raised, and the same controller is to hear it.
    Raised,
    /// The controller ended the session in good order, after this long.
    Closed(Duration),
    /// The session broke, after this long.
    Broke(Duration),
    /// No session came about.
    Refused,
}

/// Goes round the controllers. After a session it begins again at the head of the list, where the own site's controllers
/// are, and comes to the one that was lost last of all.
#[derive(Debug)]
pub(crate) struct Rotation {
    order: Vec<usize>,
    at: usize,
    backoff: Backoff,
}

impl Rotation {
    /// Of `count` controllers.
    pub(crate) fn new(count: usize) -> Self {
        Self { order: (0..count).collect(), at: 0, backoff: Backoff::new(FIRST_DELAY, MOST_DELAY) }
    }

    /// The controller to try now; none when there is none at all.
    pub(crate) fn current(&self) -> Option<usize> {
        self.order.get(self.at).copied()
    }

    /// Moves on, and tells how long to wait before the next attempt.
    pub(crate) fn after(&mut self, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Raised => Duration::ZERO,
            Outcome::Closed(lasted) if lasted >= GOOD_SESSION => {
                self.begin_again();
                self.backoff.reset();
                Duration::ZERO
            }
            Outcome::Broke(lasted) if lasted >= GOOD_SESSION => {
                self.begin_again();
                self.backoff.reset();
                self.backoff.next()
            }
            Outcome::Closed(_) | Outcome::Broke(_) | Outcome::Refused => {
                self.at = if self.at + 1 < self.order.len() { self.at + 1 } else { 0 };
                self.backoff.next()
            }
        }
    }

    fn begin_again(&mut self) {
        let Some(lost) = self.current() else { return };
        let count = self.order.len();
        self.order = (0..count).filter(|index| *index != lost).chain([lost]).collect();
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(10);

    /// After each outcome: the controller that is tried next, and the most that is waited.
    #[test]
    fn controllers_are_tried_in_order_from_the_head() {
        let mut rotation = Rotation::new(3);
        assert_eq!(rotation.current(), Some(0));
        let steps = [
            (Outcome::Refused, 1, 50),
            (Outcome::Refused, 2, 100),
            (Outcome::Refused, 0, 200),
            (Outcome::Raised, 0, 0),
            (Outcome::Broke(LONG), 1, 50),
            (Outcome::Refused, 2, 100),
            (Outcome::Refused, 0, 200),
            (Outcome::Refused, 1, 400),
            (Outcome::Closed(LONG), 0, 0),
            (Outcome::Closed(SHORT), 2, 50),
            (Outcome::Broke(SHORT), 1, 100),
            (Outcome::Closed(LONG), 0, 0),
        ];
        for (step, (outcome, next, most_ms)) in steps.into_iter().enumerate() {
            let delay = rotation.after(outcome);
            assert_eq!(rotation.current(), Some(next), "step {step}: {outcome:?}");
            assert!(delay <= Duration::from_millis(most_ms), "step {step}: {outcome:?}, {delay:?}");
        }
    }

    #[test]
    fn one_controller_is_tried_again_and_none_is_none() {
        let mut one = Rotation::new(1);
        for outcome in [Outcome::Refused, Outcome::Closed(LONG), Outcome::Broke(SHORT)] {
            one.after(outcome);
            assert_eq!(one.current(), Some(0));
        }
        let mut none = Rotation::new(0);
        none.after(Outcome::Closed(LONG));
        assert_eq!(none.current(), None);
    }
}
