//! The newest evidence of each agent.
//!
//! Merging is commutative and idempotent: whatever the order, and however often a report arrives, the same evidence
//! stands in the end.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use fulcrum_model::{Evidence, Name};

/// The newest evidence of each agent, with the time until which it counts.
#[derive(Clone, Debug, Default)]
pub struct EvidenceStore {
    agents: BTreeMap<Name, Held>,
    /// When each ceases to count, in order: with ten thousand agents nobody looks through them all for the next one.
    expiries: BTreeMap<Duration, BTreeSet<Name>>,
}

#[derive(Clone, Debug)]
struct Held {
    evidence: Evidence,
    expires: Duration,
}

/// Most agents whose evidence is kept: ten times the agents that one controller is made for, so that only a broken
/// controller meets it, and then memory stays bounded.
pub const MAX_AGENTS: usize = 100_000;

/// What became of evidence that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It is the agent's newest.
    News,
    /// It was there already.
    Repeated,
    /// Newer evidence was there already.
    Older,
    /// [`MAX_AGENTS`] others are kept already.
    Full,
}

impl EvidenceStore {
    /// Takes evidence that was received at `now`.
    ///
    /// The same report by two ways counts until the earlier of the two ends, as an age only ever comes out too low.
    pub fn receive(&mut self, now: Duration, evidence: Evidence) -> Receipt {
        let mut expires = now.saturating_add(evidence.remaining());
        let Some(held) = self.agents.get_mut(&evidence.agent) else {
            if self.agents.len() >= MAX_AGENTS {
                return Receipt::Full;
            }
            self.expiries.entry(expires).or_default().insert(evidence.agent.clone());
            self.agents.insert(evidence.agent.clone(), Held { evidence, expires });
            return Receipt::News;
        };
        let receipt = match evidence.stamp.cmp(&held.evidence.stamp) {
            Ordering::Less => return Receipt::Older,
            Ordering::Equal => {
                expires = expires.min(held.expires);
                Receipt::Repeated
            }
            Ordering::Greater => Receipt::News,
        };
        if let Some(agents) = self.expiries.get_mut(&held.expires) {
            agents.remove(&evidence.agent);
            if agents.is_empty() {
                self.expiries.remove(&held.expires);
            }
        }
        self.expiries.entry(expires).or_default().insert(evidence.agent.clone());
        held.expires = expires;
        if receipt == Receipt::News {
            held.evidence = evidence;
        }
        receipt
    }

    /// The agent's evidence, if it still counts at `now`.
    pub fn fresh(&self, now: Duration, agent: &Name) -> Option<&Evidence> {
        self.agents.get(agent).filter(|held| now < held.expires).map(|held| &held.evidence)
    }

    /// The newest evidence of an agent, whether it still counts or not.
    pub fn newest(&self, agent: &Name) -> Option<&Evidence> {
        self.agents.get(agent).map(|held| &held.evidence)
    }

    /// Agents whose evidence ceased to count after `before`, up to `now`.
    pub fn expired(&self, before: Duration, now: Duration) -> impl Iterator<Item = &Name> {
        // A range may not end before it begins.
        let now = now.max(before);
        self.expiries
            .range((Bound::Excluded(before), Bound::Included(now)))
            .flat_map(|(_, agents)| agents)
    }

    /// When the next evidence ceases to count, after `now`.
    pub fn next_expiry(&self, now: Duration) -> Option<Duration> {
        let later = (Bound::Excluded(now), Bound::Unbounded);
        self.expiries.range(later).next().map(|(expires, _)| *expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_model::EvidenceStamp;

    fn evidence(epoch: u64, sequence: u64, age_ms: u64) -> Evidence {
        Evidence {
            agent: "web1".parse().expect("a valid name"),
            stamp: EvidenceStamp { epoch, sequence },
            age: Duration::from_millis(age_ms),
            valid_for: Duration::from_secs(1),
            boot_id: "boot".to_owned(),
            servers: Vec::new(),
            vips: Vec::new(),
            traceparent: String::new(),
        }
    }

    /// Name, the stamps of two reports, what the second meets, the stamp that stands.
    type Case = (&'static str, [(u64, u64); 2], Receipt, (u64, u64));

    #[test]
    fn the_greatest_stamp_wins() {
        let cases: [Case; 5] = [
            ("a later sequence", [(1, 1), (1, 2)], Receipt::News, (1, 2)),
            ("an earlier sequence", [(1, 2), (1, 1)], Receipt::Older, (1, 2)),
            ("the same", [(1, 2), (1, 2)], Receipt::Repeated, (1, 2)),
            ("a later epoch starts at 1 again", [(1, 9), (2, 1)], Receipt::News, (2, 1)),
            ("an earlier epoch", [(2, 1), (1, 9)], Receipt::Older, (2, 1)),
        ];
        for (what, [first, second], receipt, stands) in cases {
            let mut store = EvidenceStore::default();
            let now = Duration::from_secs(5);
            assert_eq!(store.receive(now, evidence(first.0, first.1, 0)), Receipt::News, "{what}");
            assert_eq!(store.receive(now, evidence(second.0, second.1, 0)), receipt, "{what}");
            let agent = "web1".parse().expect("a valid name");
            let newest = store.newest(&agent).map(|e| (e.stamp.epoch, e.stamp.sequence));
            assert_eq!(newest, Some(stands), "{what}");
        }
    }

    #[test]
    fn evidence_expires_by_our_clock() {
        let agent: Name = "web1".parse().expect("a valid name");
        let mut store = EvidenceStore::default();
        let ms = Duration::from_millis;
        store.receive(ms(10_000), evidence(1, 1, 400));
        assert_eq!(store.next_expiry(ms(10_000)), Some(ms(10_600)));
        assert!(store.fresh(ms(10_599), &agent).is_some());
        assert!(store.fresh(ms(10_600), &agent).is_none());
        assert_eq!(store.expired(ms(10_000), ms(10_599)).count(), 0);
        assert_eq!(store.expired(ms(10_599), ms(10_600)).count(), 1);
        assert_eq!(store.expired(ms(10_600), ms(20_000)).count(), 0);
        assert_eq!(store.next_expiry(ms(10_600)), None);
        // The same report by a slower way does not live longer; expired evidence still bars older.
        assert_eq!(store.receive(ms(10_700), evidence(1, 1, 400)), Receipt::Repeated);
        assert!(store.fresh(ms(10_700), &agent).is_none());
        assert_eq!(store.receive(ms(10_700), evidence(1, 0, 0)), Receipt::Older);
    }
}
