//! What a client saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::page::Failure;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When its connection was begun.
    pub(crate) started: Instant,
    /// Time from then to its end, of whatever kind.
    pub(crate) took: Duration,
    /// Which web server answered, or why none did.
    pub(crate) answer: Result<String, Failure>,
}

/// The requests that began within a stretch of time, ordered by their start.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The stretch's begin.
    pub(crate) from: Instant,
    /// The stretch's end.
    pub(crate) to: Instant,
    /// The requests.
    pub(crate) requests: Vec<Request>,
}

impl Window {
    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.requests.len()
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        self.requests.iter().filter(|request| request.answer.is_err()).count()
    }

    /// The time that 99 of 100 requests took at most, those that failed included; `None` when there were none.
    pub(crate) fn p99(&self) -> Option<Duration> {
        let mut took: Vec<Duration> = self.requests.iter().map(|request| request.took).collect();
        took.sort_unstable();
        took.get((took.len() * 99).div_ceil(100).checked_sub(1)?).copied()
    }

    /// The longest time between two successes' starts; `None` when there were fewer than two, or when the page did not
    /// come back before the stretch's end, so that its outage cannot be told.
    pub(crate) fn outage(&self) -> Option<Duration> {
        let starts: Vec<Instant> = self.successes().collect();
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max()?;
        (self.gap_to_end() < super::TIMEOUT).then_some(longest)
    }

    /// Time from the last success's start to the stretch's end.
    pub(crate) fn gap_to_end(&self) -> Duration {
        self.to.duration_since(self.successes().last().unwrap_or(self.from))
    }

    /// How often each way to fail was seen, with the seconds from the stretch's begin to the first and the last, and how
    /// many failed in each of those seconds.
    pub(crate) fn failures(&self) -> String {
        let mut kinds: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
        for request in &self.requests {
            if let Err(failure) = &request.answer {
                let at = request.started.duration_since(self.from).as_secs_f64();
                let kind = kinds.entry(failure.to_string()).or_insert((0, at, at));
                kind.0 += 1;
                kind.2 = at;
            }
        }
        if kinds.is_empty() {
            return "no failure".to_owned();
        }
        let texts: Vec<String> = kinds
            .iter()
            .map(|(kind, (count, first, last))| {
                format!("{count} x {kind} (from {first:.2} s to {last:.2} s)")
            })
            .collect();
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        for request in self.requests.iter().filter(|request| request.answer.is_err()) {
            *seconds.entry(request.started.duration_since(self.from).as_secs()).or_default() += 1;
        }
        let seconds: Vec<String> =
            seconds.iter().map(|(second, count)| format!("{second}:{count}")).collect();
        format!("{}; in second: {}", texts.join(", "), seconds.join(" "))
    }

    fn successes(&self) -> impl Iterator<Item = Instant> {
        self.requests.iter().filter(|request| request.answer.is_ok()).map(|request| request.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: Instant, to_ms: u64, requests: &[(u64, bool)]) -> Window {
        let requests = requests
            .iter()
            .map(|(at, ok)| Request {
                started: from + Duration::from_millis(*at),
                took: Duration::from_millis(*at),
                answer: if *ok { Ok("web1".to_owned()) } else { Err(Failure::TimedOut) },
            })
            .collect();
        Window { from, to: from + Duration::from_millis(to_ms), requests }
    }

    type Requests = &'static [(u64, bool)];

    #[test]
    fn outage_is_between_the_starts_of_successes() {
        let from = Instant::now();
        let cases: [(u64, Requests, Option<u64>); 4] = [
            (50, &[(0, true), (10, true), (20, true)], Some(10)),
            (50, &[(0, true), (10, false), (20, false), (30, true), (40, true)], Some(30)),
            (50, &[(0, true)], None),
            (5000, &[(0, true), (10, true), (20, false)], None),
        ];
        for (to, requests, expected) in cases {
            let outage = window(from, to, requests).outage();
            assert_eq!(outage, expected.map(Duration::from_millis), "{requests:?}");
        }
    }

    #[test]
    fn p99_leaves_one_of_a_hundred_out() {
        let requests: Vec<_> = (1..=200).map(|at| (at, true)).collect();
        let p99 = |requests| window(Instant::now(), 0, requests).p99();
        assert_eq!(p99(&requests), Some(Duration::from_millis(198)));
        assert_eq!(p99(&requests[..1]), Some(Duration::from_millis(1)));
        assert_eq!(p99(&[]), None);
    }

    #[test]
    fn counts() {
        let window = window(Instant::now(), 50, &[(0, true), (10, false), (20, true)]);
        assert_eq!((window.count(), window.failed()), (3, 1));
        assert_eq!(
            window.failures(),
            "1 x no answer in time (from 0.01 s to 0.01 s); in second: 0:1"
        );
    }
}
