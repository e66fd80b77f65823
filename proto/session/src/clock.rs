//! How far the clock of this host is from a controller's.
//!
//! Nothing is decided by wall clocks. But logs and traces are read by them, certificates and the HMAC
//! of adverts are judged by them, so that people are told where they are wrong. The exchange is NTP's
//! (RFC 5905 §8): the time on the way is measured, and halved into a bound of the error.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::v1;

/// Time between two comparisons: a clock that drifts by 500 ppm, the worst that NTP puts right, is off
/// by a second after half an hour.
const EVERY: Duration = Duration::from_mins(1);
/// A clock that is off by more than this, beyond doubt, is told of: traces and logs of two hosts no longer
/// read in order.
pub const MOST_SKEW: Duration = Duration::from_secs(1);
const NANOS_PER_MS: i128 = 1_000_000;

/// A comparison of two clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The controller whose clock it was.
    pub controller: String,
    /// How far its clock is ahead of this host's, in milliseconds; below zero when it is behind.
    pub ahead_ms: i64,
    /// The truth is no further than this from that: half the time that question and answer were under way.
    pub error: Duration,
}

impl ClockReading {
    /// What to tell people, where the clocks differ by more than [`MOST_SKEW`] whatever the error.
    pub fn finding(&self) -> Option<v1::Finding> {
        let off = Duration::from_millis(self.ahead_ms.unsigned_abs());
        if off.saturating_sub(self.error) <= MOST_SKEW {
            return None;
        }
        let Self { controller, ahead_ms, error } = self;
        let side = if *ahead_ms > 0 { "behind" } else { "ahead of" };
        Some(Code::ClockSkew.warning(
            "",
            format!(
                "this host's clock is {:.1} s {side} that of controller {controller}, give or take {} ms",
                off.as_secs_f64(),
                error.as_millis().max(1)
            ),
            format!(
                "`timedatectl` or `chronyc tracking`, on this host and on {controller}, shows which of them follows no \
                 NTP server: let it, and `chronyc makestep` sets it at once; where others find the same of {controller}, \
                 the wrong clock is there. Leases, health and VRRP do not depend on it; logs, certificates and auth_hmac do"
            ),
        ))
    }

    /// The finding, or that the comparison says too little: it may be as far off as nobody would know.
    fn look(&self) -> Look {
        let Self { controller, error, .. } = self;
        let findings: Vec<v1::Finding> = self.finding().into_iter().collect();
        let says_little = findings.is_empty() && *error > MOST_SKEW;
        let unchecked = says_little.then(|| {
            let ms = error.as_millis();
            Code::ClockSkew.unchecked(format!(
                "controller {controller} answers too slowly: give or take {ms} ms"
            ))
        });
        Look { findings, unchecked: unchecked.into_iter().collect() }
    }

    /// What the newest comparison with a controller came to; with `None` there was none yet.
    pub fn newest(reading: Option<&Self>) -> Look {
        reading.map_or_else(
            || {
                let why = "its clock was not compared with a controller's yet";
                Look { findings: Vec::new(), unchecked: vec![Code::ClockSkew.unchecked(why)] }
            },
            Self::look,
        )
    }
}

/// The comparisons with one controller: at most one question is open, and at most one is asked in [`EVERY`].
#[derive(Debug)]
pub struct Comparison {
    controller: String,
    due: Instant,
    open: Option<(v1::Clock, Instant)>,
}

impl Comparison {
    /// The first question is due at once.
    pub fn new(controller: &str, now: Instant) -> Self {
        Self { controller: controller.to_owned(), due: now, open: None }
    }

    /// When to ask next.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The next question. One that was never answered is given up: an older controller has no answer.
    pub fn ask(&mut self, wall: SystemTime, now: Instant) -> v1::Clock {
        let question = v1::Clock { asked_at: Some(wall.into()), ..v1::Clock::default() };
        self.due = now + EVERY;
        self.open = Some((question, now));
        question
    }

    /// Takes an answer; none where it is not the open question's, or not whole.
    pub fn hear(&mut self, answer: &v1::Clock, now: Instant) -> Option<ClockReading> {
        let (question, asked) = self.open.take_if(|(open, _)| open.asked_at == answer.asked_at)?;
        let nanos = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(since) => signed(since),
            Err(before) => -signed(before.duration()),
        };
        let asked_at = nanos(SystemTime::try_from(question.asked_at?).ok()?);
        let received_at = nanos(SystemTime::try_from(answer.received_at?).ok()?);
        let answered_at = nanos(SystemTime::try_from(answer.answered_at?).ok()?);
        let took = now.saturating_duration_since(asked);
        let (ahead, error) = compare(asked_at, received_at, answered_at, took);
        let ahead_ms = i64::try_from(ahead / NANOS_PER_MS).ok()?;
        Some(ClockReading { controller: self.controller.clone(), ahead_ms, error })
    }
}

/// How far the other clock is ahead, in nanoseconds, and the bound of the error. The end is counted from
/// the beginning by the monotonic clock, so that a step of ours in between spoils nothing.
fn compare(
    asked_at: i128,
    received_at: i128,
    answered_at: i128,
    took: Duration,
) -> (i128, Duration) {
    let heard_at = asked_at + signed(took);
    let ahead = i128::midpoint(received_at - asked_at, answered_at - heard_at);
    // A step of the other clock in between makes nonsense of the time that it held the question.
    let held =
        u64::try_from(answered_at - received_at).map_or(Duration::ZERO, Duration::from_nanos);
    (ahead, took.saturating_sub(held.min(took)) / 2)
}

fn signed(time: Duration) -> i128 {
    // Far from the ends of the type: a duration has 94 bits of nanoseconds.
    time.as_nanos().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = NANOS_PER_MS;

    /// What it is, the controller's two times and the time it took in ms, expected offset and error in ms.
    type Case = (&'static str, i128, i128, u64, i128, u64);

    #[test]
    fn the_way_is_taken_out() {
        let cases: [Case; 7] = [
            ("equal clocks, a way of 5 ms each", 1005, 1005, 10, 0, 5),
            ("held for 90 ms there", 1005, 1095, 100, 0, 5),
            ("ahead by 3 s", 4005, 4005, 10, 3000, 5),
            ("behind by 3 s", -1995, -1995, 10, -3000, 5),
            ("all of the way there", 1010, 1010, 10, 5, 5),
            ("its clock steps back while it holds", 1005, 5, 10, -500, 5),
            ("its clock steps on while it holds", 1005, 9005, 10, 4000, 0),
        ];
        for (what, received, answered, took, ahead, error) in cases {
            let (found, bound) =
                compare(1000 * MS, received * MS, answered * MS, Duration::from_millis(took));
            assert_eq!((found / MS, bound), (ahead, Duration::from_millis(error)), "{what}");
        }
    }

    #[test]
    fn told_only_beyond_doubt() {
        for (ahead_ms, error_ms, expected) in [
            (0, 0, None),
            (1_000, 0, None),
            (1_001, 0, Some("1.0 s behind that of controller c1, give or take 1 ms")),
            (-3_200, 40, Some("3.2 s ahead of that of controller c1, give or take 40 ms")),
            (3_000, 2_000, None),
            (i64::MIN, 1, Some("ahead of")),
        ] {
            let error = Duration::from_millis(error_ms);
            let reading = ClockReading { controller: "c1".to_owned(), ahead_ms, error };
            let found = reading.finding().map(|finding| finding.found);
            let holds = match (&found, expected) {
                (Some(found), Some(part)) => found.contains(part),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(holds, "{ahead_ms} ms: {found:?}");
        }
    }

    #[test]
    fn only_the_open_question_is_answered() {
        let (wall, now) = (UNIX_EPOCH + Duration::from_secs(1_000), Instant::now());
        let mut clocks = Comparison::new("c1", now);
        assert!(clocks.due() <= now);
        let first = clocks.ask(wall, now);
        assert_eq!(clocks.due(), now + EVERY);
        let answer = |question: v1::Clock, at: SystemTime| v1::Clock {
            received_at: Some(at.into()),
            answered_at: Some(at.into()),
            ..question
        };
        let ahead = wall + Duration::from_secs(5);
        let second = clocks.ask(wall + EVERY, now + EVERY);
        assert_eq!(clocks.hear(&answer(first, ahead), now + EVERY), None, "it was given up");
        let reading = clocks.hear(&answer(second, ahead + EVERY), now + EVERY);
        assert_eq!(reading.map(|reading| reading.ahead_ms), Some(5_000));
        assert_eq!(clocks.hear(&answer(second, ahead), now + EVERY), None, "twice");

        let third = clocks.ask(wall, now);
        assert_eq!(clocks.hear(&third, now), None, "an echo is no answer");
    }
}
