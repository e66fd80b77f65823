//! What failed: told once for each change, and what is made for tunnels is tried again at growing distances. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::tunnels::Need;

/// First and longest distance between tries. Making a device that the kernel refuses loads modules and wakes every
/// follower of netlink, us among them.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// What failed at the newest try of each thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries {
    /// Why, by what could not be done.
    told: BTreeMap<String, String>,
    makings: BTreeMap<Need, Making>,
}

#[derive(Clone, Debug)]
struct Making {
    why: String,
    distance: Duration,
    next: Instant,
}

impl Retries {
    /// What could not be made and is not to be tried yet, each with why.
    pub(super) fn waiting(&self, now: Instant) -> BTreeMap<Need, String> {
        let waiting = self.makings.iter().filter(|(_, making)| now < making.next);
        waiting.map(|(need, making)| (*need, making.why.clone())).collect()
    }

    /// It could not be made.
    pub(super) fn not_made(&mut self, need: Need, why: &str, now: Instant) {
        let before = self.makings.get(&need).map(|making| making.distance * 2);
        let distance = before.unwrap_or(FIRST).min(LONGEST);
        let making = Making { why: why.to_owned(), distance, next: now + distance };
        self.makings.insert(need, making);
    }

    /// It was made.
    pub(super) fn made(&mut self, need: Need) {
        self.makings.remove(&need);
    }

    /// Only these are still needed.
    pub(super) fn keep(&mut self, is_needed: impl Fn(&Need) -> bool) {
        self.makings.retain(|need, _| is_needed(need));
    }

    /// Takes what failed in a turn, by what could not be done, and returns what is new of it.
    pub(super) fn news(&mut self, failed: BTreeMap<String, String>) -> Vec<(String, String)> {
        let is_new = |(what, why): &(&String, &String)| self.told.get(*what) != Some(*why);
        let owned = |(what, why): (&String, &String)| (what.clone(), why.clone());
        let news = failed.iter().filter(is_new).map(owned).collect();
        self.told = failed;
        news
    }
}

/// The needs alone.
pub(super) fn needs_of(waiting: &BTreeMap<Need, String>) -> BTreeSet<Need> {
    waiting.keys().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::tunnels::GuePort;

    #[test]
    fn tries_grow_apart_up_to_a_minute() {
        let need = Need::Port(GuePort { port: 6080, is_ipv6: false });
        let mut now = Instant::now();
        let mut retries = Retries::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            retries.not_made(need, "EPERM", now);
            let just_before = now + Duration::from_secs(expected) - Duration::from_millis(1);
            assert_eq!(retries.waiting(just_before), [(need, "EPERM".to_owned())].into());
            now += Duration::from_secs(expected);
            assert_eq!(retries.waiting(now), BTreeMap::new(), "after {expected} s");
        }
        retries.made(need);
        retries.not_made(need, "EPERM", now);
        assert_eq!(retries.waiting(now + FIRST), BTreeMap::new(), "it begins anew");
        retries.keep(|_| false);
        assert_eq!(retries.waiting(now), BTreeMap::new());
    }

    #[test]
    fn a_failure_is_news_once() {
        let failed = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(what, why)| ((*what).to_owned(), (*why).to_owned())).collect()
        };
        let mut retries = Retries::default();
        let turns: [(&[(&str, &str)], usize); 6] = [
            (&[("a", "EPERM")], 1),
            (&[("a", "EPERM")], 0),
            (&[("a", "EPERM"), ("b", "EPERM")], 1),
            (&[("a", "EEXIST"), ("b", "EPERM")], 1),
            (&[], 0),
            (&[("a", "EEXIST")], 1),
        ];
        for (pairs, expected) in turns {
            assert_eq!(retries.news(failed(pairs)).len(), expected, "{pairs:?}");
        }
    }
}
