//! Who owned an address by the word of ARP: what was asked, who answered, and what follows from it.

use std::time::{Duration, Instant};

use crate::net::mac::Mac;

/// One question to all hosts, with everybody who answered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// When it was asked.
    pub(crate) asked: Instant,
    /// Who answered, each once.
    pub(crate) owners: Vec<Mac>,
}

/// Questions in the order in which they were asked, each standing for the time until the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// The questions.
    pub(crate) questions: Vec<Question>,
    /// The end of the last one's time.
    pub(crate) to: Option<Instant>,
}

impl Watched {
    /// Time in which at least two hosts answered the same question.
    pub(crate) fn two_owners(&self) -> Duration {
        self.time_of(|owners| owners.len() > 1)
    }

    /// Time in which nobody answered.
    pub(crate) fn unowned(&self) -> Duration {
        self.time_of(<[Mac]>::is_empty)
    }

    /// When the last question was asked that the host answered.
    pub(crate) fn last_of(&self, host: Mac) -> Option<Instant> {
        self.questions.iter().rev().find(|q| q.owners.contains(&host)).map(|q| q.asked)
    }

    /// How often the address went from one sole owner to another.
    pub(crate) fn changes(&self) -> usize {
        let mut sole: Vec<Mac> =
            self.questions.iter().filter(|q| q.owners.len() == 1).map(|q| q.owners[0]).collect();
        sole.dedup();
        sole.len().saturating_sub(1)
    }

    fn time_of(&self, holds: impl Fn(&[Mac]) -> bool) -> Duration {
        let ends = self.questions.iter().skip(1).map(|next| next.asked).chain(self.to);
        self.questions
            .iter()
            .zip(ends)
            .filter(|(question, _)| holds(&question.owners))
            .map(|(question, end)| end.saturating_duration_since(question.asked))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    /// A question every 20 ms.
    fn watched(from: Instant, owners: &[&[Mac]]) -> Watched {
        let at =
            |index: usize| from + Duration::from_millis(20) * u32::try_from(index).expect("few");
        let questions = owners
            .iter()
            .enumerate()
            .map(|(index, owners)| Question { asked: at(index), owners: owners.to_vec() })
            .collect();
        Watched { questions, to: Some(at(owners.len())) }
    }

    #[test]
    fn time_is_told_by_who_answered() {
        // Owners of each question; then ms with two and with none; then changes.
        type Case = (&'static [&'static [Mac]], [u64; 2], usize);
        let cases: [Case; 6] = [
            (&[], [0, 0], 0),
            (&[&[A], &[A]], [0, 0], 0),
            (&[&[A], &[], &[], &[B]], [0, 40], 1),
            (&[&[A], &[A, B], &[B, A], &[B]], [40, 0], 1),
            (&[&[A], &[A, B], &[A]], [20, 0], 0),
            (&[&[A], &[B], &[A], &[A]], [0, 0], 2),
        ];
        for (owners, expected, changes) in cases {
            let watched = watched(Instant::now(), owners);
            let measured = [watched.two_owners(), watched.unowned()];
            assert_eq!(measured, expected.map(Duration::from_millis), "{owners:?}");
            assert_eq!(watched.changes(), changes, "{owners:?}");
        }
    }

    #[test]
    fn the_last_answer_of_a_host() {
        let from = Instant::now();
        let watched = watched(from, &[&[A], &[A, B], &[B]]);
        assert_eq!(watched.last_of(A), Some(from + Duration::from_millis(20)));
        assert_eq!(watched.last_of(Mac::BROADCAST), None);
    }
}
