//! Tells an operator once when another controller is out of reach, and once when it is back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;

/// Calls fail now and then on a busy machine; a controller that answers none for this long is away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether one controller answers.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Since when every call has failed.
    failing_since: Option<Instant>,
    is_away: bool,
}

/// What is worth telling.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Away,
    Back,
}

impl State {
    fn step(&mut self, now: Instant, has_answered: bool) -> Option<News> {
        if has_answered {
            self.failing_since = None;
            return std::mem::take(&mut self.is_away).then_some(News::Back);
        }
        let since = *self.failing_since.get_or_insert(now);
        if self.is_away || now.duration_since(since) < PATIENCE {
            return None;
        }
        self.is_away = true;
        Some(News::Away)
    }
}

impl Reach {
    /// Notes how a call to the controller ended, and logs what has changed.
    pub(crate) fn note(&self, controller: &str, error: Option<&Status>) {
        let news = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.step(Instant::now(), error.is_none())
        };
        match news {
            Some(News::Away) => {
                let error = error.map_or("", Status::message);
                tracing::warn!(controller, error, "another controller is out of reach");
            }
            Some(News::Back) => tracing::info!(controller, "another controller is back"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let begun = Instant::now();
        let mut state = State::default();
        let steps = [
            (0, true, None),
            (100, false, None),
            (1000, false, None),
            (1100, false, Some(News::Away)),
            (3000, false, None),
            (3100, true, Some(News::Back)),
            (3200, true, None),
            (3300, false, None),
            (4200, false, None),
            (4250, true, None),
            (4300, false, None),
            (5299, false, None),
            (5300, false, Some(News::Away)),
        ];
        for (at_ms, has_answered, expected) in steps {
            let now = begun + Duration::from_millis(at_ms);
            assert_eq!(state.step(now, has_answered), expected, "at {at_ms} ms");
        }
    }
}
