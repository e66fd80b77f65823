//! What is to be written, in order.

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
    pub(crate) new: IntoIter<VirtualServerKey>,
    /// To virtual servers that leave.
    pub(crate) retirements: IntoIter<Operation>,
}

impl Worklist {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.least() == 0
    }

    /// Operations that are left at least: a new virtual server counts as one.
    pub fn least(&self) -> usize {
        self.changes.len() + self.new.len() + self.retirements.len()
    }

    /// The virtual server of all that is left, where that is one.
    pub fn only(&self) -> Option<&VirtualServerKey> {
        let [changes, retirements] = [&self.changes, &self.retirements].map(IntoIter::as_slice);
        let written = changes.iter().chain(retirements).map(Operation::virtual_server);
        let mut all = self.new.as_slice().iter().chain(written);
        let first = all.next()?;
        all.all(|key| key == first).then_some(first)
    }
}
