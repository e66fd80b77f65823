//! The proof that a segment knows one holder of a VIP: what the answers to "who has it?" come to.
//!
//! Every director asks, by ARP probes (RFC 5227 §2.1.1), which change nobody's neighbour table. On a
//! Backup exactly one answer is right, the Active's; on the Active none, for it holds the VIP itself.
//! Whoever else answers takes clients away: most often a real server whose ARP is not quiet. What is
//! wrong is concluded, and taken back, only when two questions in a row say so: one answer alone may
//! be lost, or late from who has just handed over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Time between two questions for a VIP while nothing changes: found within it, and a broadcast of
/// 42 bytes is no load.
pub const EVERY: Duration = Duration::from_secs(10);
/// Time until the question that confirms what is new.
pub const CONFIRM: Duration = Duration::from_secs(1);
/// Nobody is asked for so long after a role has changed: a relieved Active forwards on for 2 s, and
/// adverts may come late.
pub const SETTLE: Duration = Duration::from_secs(3);
/// Questions in a row that must agree on what is wrong, and on that it is over.
const AGREE: u64 = 2;
/// Others that are kept of a VIP: more of them, such as forged ones, are no other news.
const MOST_OTHERS: usize = 16;

/// Where a director stands towards a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds it, and whoever it relieved has let go.
    Holds {
        /// The virtual router's MAC, where it answers with that.
        virtual_mac: Option<Mac>,
    },
    /// It is Backup and hears an Active.
    Hears {
        /// The Active's own address.
        active: IpAddr,
        /// The virtual router's MAC, where the instance has one.
        virtual_mac: Option<Mac>,
    },
    /// It cannot tell who should answer: it takes no part, or its role has just changed.
    Apart,
}

/// What the answers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The Active answers, and nobody else.
    Proven,
    /// Somebody else answers.
    Offended,
    /// Nobody answers although the Active lives on the segment.
    Unanswered,
    /// At most one host answers, and nobody can say here whether it is the Active: its own address is
    /// not on the segment.
    Undecided,
}

/// Who else claims a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Times it was heard.
    pub count: u64,
    /// When it was heard last.
    pub last_seen: Duration,
    /// It answered a question: `arp_ignore`. Otherwise it spoke in the VIP's name: `arp_announce`.
    pub answers: bool,
    /// Questions since then that it did not answer.
    missed: u64,
}

/// What stands of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The verdict.
    pub verdict: Verdict,
    /// When the question was asked whose answers it rests on.
    pub asked_at: Duration,
    /// The MAC that answers by rights; none where nobody does.
    pub answered_by: Option<Mac>,
}

/// What was heard after one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The MAC of the interface that asked.
    pub own: Mac,
    /// Each MAC that claimed the VIP, and whether by an answer.
    pub claims: BTreeMap<Mac, bool>,
    /// The MACs that answered for the Active's own address.
    pub active: BTreeSet<Mac>,
}

/// One VIP on one interface: when to ask, and what the answers came to.
#[derive(Clone, Debug)]
pub struct Proof {
    standing: Standing,
    next: Duration,
    asked_at: Option<Duration>,
    /// Questions in a row to which nobody answered although somebody should.
    silent: u64,
    others: BTreeMap<Mac, Other>,
    conclusion: Option<Conclusion>,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            standing: Standing::Apart,
            next: Duration::ZERO,
            asked_at: None,
            silent: 0,
            others: BTreeMap::new(),
            conclusion: None,
        }
    }
}

impl Proof {
    /// Takes where the director stands now. Where that is new, what was concluded counts no more.
    pub fn stand(&mut self, now: Duration, standing: Standing) {
        if self.standing != standing {
            *self = Self { standing, next: now + SETTLE, ..Self::default() };
        }
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Asks soon, because something has changed on the segment.
    pub fn hasten(&mut self, now: Duration) {
        // Not while a change of roles settles, nor more often than what is new is confirmed.
        if let Some(asked_at) = self.asked_at {
            self.next = self.next.min(now.max(asked_at + CONFIRM));
        }
    }

    /// It could not be asked now: later then.
    pub fn postpone(&mut self, now: Duration) {
        self.next = now + EVERY;
    }

    /// When to ask next; none while nobody knows who should answer.
    pub fn due(&self) -> Option<Duration> {
        match self.standing {
            Standing::Holds { .. } | Standing::Hears { .. } => Some(self.next),
            Standing::Apart => None,
        }
    }

    /// Takes what was heard after the question of `asked_at`, which was asked at that standing.
    pub fn hear(&mut self, asked_at: Duration, standing: Standing, heard: &Heard) {
        if self.standing != standing || standing == Standing::Apart {
            // It was asked of another Active.
            return;
        }
        self.asked_at = Some(asked_at);
        let judged = judge(standing, heard);
        self.note_others(asked_at, heard, &judged.others);
        self.silent = if judged.is_silent { self.silent + 1 } else { 0 };
        let is_silent_again = (1..AGREE).contains(&self.silent);
        let is_new = |other: &Other| other.count < AGREE || other.missed > 0;
        let waits = is_silent_again || self.others.values().any(is_new);
        self.next = asked_at + if waits { CONFIRM } else { EVERY };

        let verdict = if self.offenders().next().is_some() {
            Verdict::Offended
        } else if self.silent >= AGREE {
            Verdict::Unanswered
        } else if waits {
            // What stood stands until the next question, but for an offence whose offenders are gone.
            self.conclusion.take_if(|stood| stood.verdict == Verdict::Offended);
            return;
        } else if judged.is_sure {
            Verdict::Proven
        } else {
            Verdict::Undecided
        };
        let answered_by = judged.answered_by;
        self.conclusion = Some(Conclusion { verdict, asked_at, answered_by });
    }

    /// What stands; none before the first question was answered or not.
    pub fn conclusion(&self) -> Option<&Conclusion> {
        self.conclusion.as_ref()
    }

    /// Those who answer and must not.
    pub fn offenders(&self) -> impl Iterator<Item = (Mac, &Other)> {
        self.others
            .iter()
            .filter(|(_, other)| other.count >= AGREE)
            .map(|(mac, other)| (*mac, other))
    }

    /// Whether anybody is to be found out by MAC.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    fn note_others(&mut self, now: Duration, heard: &Heard, others: &BTreeSet<Mac>) {
        for (mac, other) in &mut self.others {
            other.missed = if others.contains(mac) { 0 } else { other.missed + 1 };
        }
        // Who was heard once and then not has let go; who was heard more often must be missed as often.
        self.others.retain(|_, other| other.missed < other.count.min(AGREE));
        for mac in others {
            let answers = heard.claims.get(mac).copied().unwrap_or_default();
            if !self.others.contains_key(mac) && self.others.len() >= MOST_OTHERS {
                continue;
            }
            let fresh = Other { count: 0, last_seen: now, answers, missed: 0 };
            let other = self.others.entry(*mac).or_insert(fresh);
            *other = Other { count: other.count + 1, last_seen: now, answers, missed: 0 };
        }
    }
}

/// What one question's answers say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judged {
    answered_by: Option<Mac>,
    /// Those who must not answer.
    others: BTreeSet<Mac>,
    /// Somebody should have answered.
    is_silent: bool,
    /// Whoever answered is the Active beyond doubt.
    is_sure: bool,
}

fn judge(standing: Standing, heard: &Heard) -> Judged {
    let all = || heard.claims.keys().copied();
    let by_rights = match standing {
        Standing::Holds { virtual_mac } => {
            let mac = virtual_mac.unwrap_or(heard.own);
            let others = all().filter(|other| *other != mac).collect();
            return Judged { answered_by: Some(mac), others, is_silent: false, is_sure: true };
        }
        Standing::Hears { virtual_mac: Some(mac), .. } => BTreeSet::from([mac]),
        Standing::Hears { virtual_mac: None, .. } => heard.active.clone(),
        Standing::Apart => BTreeSet::new(),
    };
    let answered_by = all().find(|mac| by_rights.contains(mac));
    if by_rights.is_empty() {
        // Which of several is the Active cannot be told, and all but one are wrong.
        let others = if heard.claims.len() > 1 { all().collect() } else { BTreeSet::new() };
        return Judged { answered_by: all().next(), others, is_silent: false, is_sure: false };
    }
    let others: BTreeSet<Mac> = all().filter(|mac| !by_rights.contains(mac)).collect();
    let lives_here = !heard.active.is_empty();
    let is_silent = answered_by.is_none() && others.is_empty() && lives_here;
    Judged { answered_by, others, is_silent, is_sure: answered_by.is_some() }
}

#[cfg(test)]
mod tests;
