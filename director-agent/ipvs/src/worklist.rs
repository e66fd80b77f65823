//! What is to be written, in order.

use std::ops::Range;
use std::vec::IntoIter;

use crate::{Operation, VirtualServerKey};

/// What [`Reconciler::plan`](crate::Reconciler::plan) found to be written and
/// [`Reconciler::take`](crate::Reconciler::take) has not handed out yet.
///
/// New virtual servers are only named: their operations are made when their turn comes, for there may be a hundred thousand.
#[derive(Debug, Default)]
pub struct Worklist {
    /// To virtual servers that are there and stay.
    pub(crate) changes: IntoIter<Operation>,
    pub(crate) new: New,
    /// To virtual servers that leave.
    pub(crate) retirements: IntoIter<Operation>,
}

/// New virtual servers, each named once in order.
#[derive(Debug, Default)]
pub(crate) struct New {
    keys: Vec<VirtualServerKey>,
    /// Of so many the operations were made.
    handed_out: usize,
    /// Of these, those that are done and that nobody was told of.
    done: Range<usize>,
}

impl New {
    pub(crate) fn of_keys(keys: Vec<VirtualServerKey>) -> Self {
        Self { keys, handed_out: 0, done: 0..0 }
    }

    fn left(&self) -> &[VirtualServerKey] {
        self.keys.get(self.handed_out..).unwrap_or_default()
    }
}

impl Iterator for New {
    type Item = VirtualServerKey;

    fn next(&mut self) -> Option<VirtualServerKey> {
        let key = self.left().first().copied()?;
        self.handed_out += 1;
        Some(key)
    }
}

/// How far a [`Worklist`] was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    others_left: usize,
    handed_out: usize,
}

impl Worklist {
    /// How far it was handed out.
    pub fn mark(&self) -> Mark {
        let others_left = self.changes.len() + self.retirements.len();
        Mark { others_left, handed_out: self.new.handed_out }
    }

    /// Notes that all that was handed out since `mark` is done, where that is only new virtual servers: [`Self::done`] names them.
    /// False where it is not, and nothing is noted.
    pub fn note_done(&mut self, mark: Mark) -> bool {
        let now = self.mark();
        let follows = self.new.done.is_empty() || self.new.done.end == mark.handed_out;
        let is_noted = now.others_left == mark.others_left && follows;
        if is_noted {
            let first =
                if self.new.done.is_empty() { mark.handed_out } else { self.new.done.start };
            self.new.done = first..now.handed_out;
        }
        is_noted
    }

    /// New virtual servers that were noted as done, in order.
    pub fn done(&self) -> &[VirtualServerKey] {
        self.new.keys.get(self.new.done.clone()).unwrap_or_default()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.least() == 0
    }

    /// Operations that are left at least: a new virtual server counts as one.
    pub fn least(&self) -> usize {
        self.changes.len() + self.new.left().len() + self.retirements.len()
    }

    /// The virtual server of all that is left, where that is one.
    pub fn only(&self) -> Option<&VirtualServerKey> {
        let [changes, retirements] = [&self.changes, &self.retirements].map(IntoIter::as_slice);
        let written = changes.iter().chain(retirements).map(Operation::virtual_server);
        let mut all = self.new.left().iter().chain(written);
        let first = all.next()?;
        all.all(|key| key == first).then_some(first)
    }
}
