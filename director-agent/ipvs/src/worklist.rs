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
    /// Which of them were handed out together last.
    piece: Range<usize>,
    /// Which of them were made since.
    made: Vec<Range<usize>>,
}

impl New {
    pub(crate) fn of_keys(keys: Vec<VirtualServerKey>) -> Self {
        Self { keys, ..Self::default() }
    }

    fn of(&self, piece: &Range<usize>) -> &[VirtualServerKey] {
        self.keys.get(piece.clone()).unwrap_or_default()
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

impl Worklist {
    /// Hands out the next new virtual servers as long as each `fits`; none while changes are left, which come first.
    pub fn next_new(
        &mut self,
        mut fits: impl FnMut(&VirtualServerKey) -> bool,
    ) -> &[VirtualServerKey] {
        let first = self.new.handed_out;
        if self.changes.len() == 0 {
            self.new.handed_out += self.new.left().iter().take_while(|key| fits(key)).count();
        }
        self.new.piece = first..self.new.handed_out;
        self.new.of(&self.new.piece)
    }

    /// Notes that those that [`Self::next_new`] handed out last were made.
    pub fn note_made(&mut self) {
        let piece = std::mem::take(&mut self.new.piece);
        match self.new.made.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            Some(_) | None => self.new.made.push(piece),
        }
    }

    /// The new virtual servers that were noted as made, piece by piece, in order.
    pub fn made(&self) -> impl Iterator<Item = &[VirtualServerKey]> {
        self.new.made.iter().map(|piece| self.new.of(piece))
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
