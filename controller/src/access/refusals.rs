//! Calls that were refused lately, for whoever wants to know. Of this controller alone, and in memory: what is refused changes nothing,
//! and must not fill a disk.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Most that are kept.
const KEPT: usize = 1000;

/// A refused call, or several in a row that were alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When the last of them was refused.
    pub time: SystemTime,
    /// Who asked.
    pub who: String,
    /// From where, without the port.
    pub address: String,
    /// The method.
    pub method: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Refusal>>);

impl Refusals {
    /// Notes one, and says it once in the log for those in a row that are alike.
    pub fn note(&self, refusal: Refusal) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = kept.back_mut().filter(|last| {
            let Refusal { time: _, who, address, method, reason, count: _ } = &refusal;
            (&last.who, &last.address, &last.method, &last.reason) == (who, address, method, reason)
        });
        if let Some(last) = alike {
            last.time = refusal.time;
            last.count += refusal.count;
            return;
        }
        let Refusal { who, address, method, reason, .. } = &refusal;
        tracing::warn!(who, address, method, reason, "a call was refused");
        kept.push_back(refusal);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// All that are kept, newest first.
    pub fn newest_first(&self) -> Vec<Refusal> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_alike_are_one_and_the_oldest_go() {
        let refusals = Refusals::default();
        let refusal = |who: &str| Refusal {
            time: SystemTime::UNIX_EPOCH,
            who: who.to_owned(),
            address: "192.0.2.1".to_owned(),
            method: "m".to_owned(),
            reason: "r".to_owned(),
            count: 1,
        };
        for who in ["a", "a", "b", "a"] {
            refusals.note(refusal(who));
        }
        let told = |refusals: &Refusals| -> Vec<(String, u64)> {
            refusals.newest_first().into_iter().map(|it| (it.who, it.count)).collect()
        };
        let of = |who: &str, count| (who.to_owned(), count);
        assert_eq!(told(&refusals), [of("a", 1), of("b", 1), of("a", 2)]);
        for number in 0..KEPT {
            refusals.note(refusal(&number.to_string()));
        }
        assert_eq!(told(&refusals).len(), KEPT);
        assert_eq!(told(&refusals)[0], of(&(KEPT - 1).to_string(), 1));
    }
}
