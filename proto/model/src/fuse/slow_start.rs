//! Slow start: a real server that comes back rises to its weight.

use std::time::Duration;

use super::settle::Settled;
use super::{PoolEvidence, earlier};
use crate::Weight;

/// Steps from the first connection to the whole weight. Each is an edit of the kernel's table, at most.
const STEPS: u32 = 10;

/// A real server's part in the rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// It takes no connections.
    #[default]
    Out,
    /// It takes connections.
    In {
        /// Since when; none when since before the director's start.
        since: Option<Duration>,
        /// It is on its way to its weight.
        is_rising: bool,
    },
}

impl Service {
    /// Since before the director's start.
    pub(super) const ADOPTED: Self = Self::In { since: None, is_rising: false };

    /// It has taken connections for so long that it can bear more than its share.
    fn is_warm(self, now: Duration, slow_start: Duration) -> bool {
        match self {
            Self::Out => false,
            Self::In { since, .. } => since.is_none_or(|since| since + slow_start <= now),
        }
    }
}

/// Moves each real server's service on, and lowers the weights of those that rise. Answers with when the next one
/// takes a step.
///
/// One rises only while another is warm: those of a pool that starts are all as cold, and a rise would put the
/// whole load on whichever came first.
pub(super) fn rise(
    now: Duration,
    pool: &PoolEvidence<'_>,
    members: &mut [Settled],
) -> Option<Duration> {
    let slow_start = pool.slow_start.unwrap_or_default();
    let is_in = |settled: &Settled| settled.weight > Weight::ZERO;
    let some_warm = members.iter().any(|m| is_in(m) && m.service.is_warm(now, slow_start));
    let mut next_look = None;
    for member in members {
        member.service = match (member.service, is_in(member)) {
            (_, false) => Service::Out,
            (Service::Out, true) => {
                let is_rising = some_warm && !slow_start.is_zero();
                Service::In { since: Some(now), is_rising }
            }
            (warm @ Service::In { since: None, .. }, true) => warm,
            (Service::In { since: Some(since), is_rising }, true) => {
                let is_rising = is_rising && some_warm && now < since + slow_start;
                Service::In { since: Some(since), is_rising }
            }
        };
        if let Service::In { since: Some(since), is_rising: true } = member.service
            && !member.is_held
        {
            let (share, next) = step(now.saturating_sub(since), slow_start);
            next_look = earlier(next_look, Some(since + next));
            member.lower(share, slow_start);
        }
    }
    next_look
}

/// The step that is reached after `elapsed`, below [`STEPS`], and when the next one is.
fn step(elapsed: Duration, slow_start: Duration) -> (u32, Duration) {
    let begins = |step: u32| slow_start * step / STEPS;
    let reached = (1..STEPS).rev().find(|step| begins(*step) <= elapsed).unwrap_or(0);
    (reached, begins(reached + 1))
}

impl Settled {
    /// Lowers the weight to so many of [`STEPS`], and not to zero.
    fn lower(&mut self, step: u32, slow_start: Duration) {
        let whole = u64::from(self.weight.get());
        let weight = Weight::new((whole * u64::from(step) / u64::from(STEPS)).max(1));
        let weight = weight.unwrap_or(self.weight).min(self.weight);
        if weight < self.weight {
            let reason =
                format!("slow start: the weight rises to {} within {slow_start:?}", self.weight);
            self.reasons.insert(0, reason);
            self.weight = weight;
        }
    }
}
