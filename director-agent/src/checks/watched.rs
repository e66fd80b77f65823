//! One check from try to try, whoever makes them.

use std::time::Duration;

use super::{Outcome, Shared};
use crate::decide::check::{CheckKey, CheckNews, CheckState, Tried, gathered};

/// A check, and what its tries came to.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) key: CheckKey,
    state: CheckState,
    is_fault_logged: bool,
}

impl Watched {
    /// Before its first try.
    pub(super) fn new(key: CheckKey) -> Self {
        Self { key, state: CheckState::new(rand::random()), is_fault_logged: false }
    }

    /// When a try that is due is made.
    pub(super) fn time_of(&self, now: Duration, due: Duration) -> Duration {
        let late = self.key.check.jitter.mul_f64(rand::random());
        gathered(now, due + late)
    }

    /// Takes in how a try went. Answers with when the next one is due, and with what is to be told.
    pub(super) fn ended(
        &mut self,
        shared: &Shared,
        (started, ended): (Duration, Duration),
        outcome: Outcome,
    ) -> (Duration, Option<CheckNews>) {
        let Self { key, state, is_fault_logged } = self;
        shared.metrics.checked(&key.check.probe, &outcome, ended.saturating_sub(started));
        let is_answered = !matches!(outcome, Outcome::Silent(_));
        let outcome = match outcome {
            Outcome::Passed => Ok(None),
            Outcome::Remarked(remark) => Ok(Some(remark)),
            Outcome::Failed(seen) | Outcome::Silent(seen) => Err(seen),
            Outcome::NotTried(fault) => {
                if !*is_fault_logged {
                    tracing::warn!(rip = %key.rip, port = %key.port, fault, "check not possible");
                }
                *is_fault_logged = true;
                return (ended + key.check.interval, None);
            }
        };
        *is_fault_logged = false;
        let (before, tries) = (state.probe().clone(), state.tries());
        let due = state.step(&key.check, Tried { started, ended, outcome, is_answered });
        let turns = tries.silence.is_some() != state.tries().silence.is_some();
        if turns {
            shared.attention.call(ended);
        }
        let is_told = turns || *state.probe() != before || shared.attention.is_called(ended);
        let news = is_told.then(|| CheckNews {
            key: key.clone(),
            probe: state.probe().clone(),
            tries: state.tries(),
        });
        (due, news)
    }
}
