//! Silence together: real servers that stop answering at the same time are seldom dead all at once. More often it is the
//! director that has lost its way to them.
//!
//! A try can be answered as it should, be answered otherwise (a refusal, a wrong page), or get no answer at all. Any answer shows that
//! the way there is open, so only those without one tell of the way. What follows is no verdict on a real server, but patience
//! with several at once, which ends as soon as there is better evidence:
//!
//! ```text
//!  several fall silent, nobody ──> held: each stays as it is ──┬─ one that was well all the time answers: it is them
//!  was heard of since                                          ├─ one of them answers: asked once more, then it is them
//!                                                              ├─ nobody is left: laws 5 and 9
//!                                                              └─ HOLD is over: it is them
//! ```

use std::time::Duration;

use super::standing::{self, Standing};
use super::{Candidate, OwnProbe, PoolEvidence};
use crate::Verdict;

/// Longest time that silence together is held: by then every check has tried often, and whoever could be heard was.
pub const HOLD: Duration = Duration::from_secs(30);
/// Those whose silence begins within two intervals of their check fall silent together, or within this.
pub const LEAST_WINDOW: Duration = Duration::from_secs(3);

/// How the tries of a check were answered of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tries {
    /// When the newest try ended that was answered at all.
    pub heard: Option<Duration>,
    /// The tries since then, where none of them was answered.
    pub silence: Option<Silence>,
    /// The silence that ended last.
    pub ended: Option<EndedSilence>,
}

/// Tries in a row without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Silence {
    /// When the first of them ended.
    pub since: Duration,
    /// When the newest of them was begun.
    pub asked: Duration,
    /// When they had made the probe fail.
    pub fell: Option<Duration>,
}

/// A silence that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedSilence {
    /// When the first try without an answer ended.
    pub since: Duration,
    /// When a try was answered again.
    pub until: Duration,
}

impl Tries {
    /// A try was answered, and ended at `now`.
    pub fn answered(&mut self, now: Duration) {
        self.heard = Some(now);
        if let Some(silence) = self.silence.take() {
            self.ended = Some(EndedSilence { since: silence.since, until: now });
        }
    }

    /// A try that was begun at `began` got no answer until `now`.
    pub fn unanswered(&mut self, began: Duration, now: Duration) {
        let silence = self.silence.get_or_insert(Silence { since: now, asked: began, fell: None });
        silence.asked = began;
    }

    /// The probe has come to fail by what it did not hear.
    pub fn fell(&mut self, now: Duration) {
        if let Some(silence) = &mut self.silence {
            silence.fell = Some(now);
        }
    }
}

/// It is held because others fell silent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// How many fell silent together.
    pub silent: usize,
    /// Of so many in the pool.
    pub of: usize,
    /// Within this time.
    pub within: Duration,
    /// It ends then at the latest.
    pub until: Duration,
}

/// Turns those that fall silent together into what is held.
pub(super) fn hold(now: Duration, pool: &PoolEvidence<'_>, standings: &mut [Standing]) {
    let fails = |member: &Candidate<'_>| matches!(member.probe, OwnProbe::Failing(_));
    if pool.members.iter().all(fails) {
        return;
    }
    for (place, standing) in standings.iter_mut().enumerate() {
        let Standing::ProbeFails(reason) = standing else { continue };
        if let Some(hold) = held(now, pool, place) {
            *standing = Standing::Silent { reason: std::mem::take(reason), hold };
        }
    }
}

/// Whether the member at that place is held.
fn held(now: Duration, pool: &PoolEvidence<'_>, place: usize) -> Option<Hold> {
    let member = pool.members.get(place)?;
    let silence = member.tries.silence?;
    let fell = silence.fell?;
    // Whoever stands beside it knows better than anybody far away.
    let agent = standing::heard_agent(pool.requirement, member);
    if agent.is_some_and(|said| said.verdict == Verdict::Down) {
        return None;
    }
    let window = LEAST_WINDOW.max(pool.check_interval * 2);
    let is_with = |since: Duration| since.abs_diff(silence.since) <= window;
    let mut hold = Hold { silent: 1, of: pool.members.len(), within: Duration::ZERO, until: fell };
    let others = pool.members.iter().enumerate().filter(|(other, _)| *other != place);
    for (_, Candidate { tries, .. }) in others {
        let ended = tries
            .ended
            .filter(|ended| is_with(ended.since) && ended.until > silence.since)
            // Its newer silence says more.
            .filter(|_| tries.silence.is_none());
        let was_heard = tries.heard.is_some_and(|heard| heard > silence.since);
        match ended {
            // The way is open again: the next try tells.
            Some(ended) if silence.asked > ended.until => return None,
            Some(ended) => hold.join(silence, ended.since, ended.until),
            None if was_heard => return None,
            None => {
                if let Some(other) = tries.silence.filter(|other| is_with(other.since)) {
                    hold.join(silence, other.since, fell);
                }
            }
        }
    }
    hold.until += HOLD;
    (hold.silent > 1 && now < hold.until).then_some(hold)
}

impl Hold {
    fn join(&mut self, silence: Silence, since: Duration, from: Duration) {
        self.silent += 1;
        self.within = self.within.max(since.abs_diff(silence.since));
        self.until = self.until.max(from);
    }
}
