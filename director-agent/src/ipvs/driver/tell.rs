//! What the driver tells of itself.

use std::sync::Arc;

use super::{DRIFT_TOLD, Driver, Problems};
use crate::ipvs::error::IpvsRefused;

impl Driver {
    /// Tells those who wait for a generation.
    pub(super) fn tell_progress(&mut self) {
        let Some(wish) = &self.wish else { return };
        let generation = wish.generation;
        let refused = self.refusal();
        if self.reconciler.held_back(self.start.elapsed()) > 0 {
            // It comes with the thaw.
            return;
        }
        if refused.is_none() && !self.reconciler.stale().is_empty() {
            // Whether the kernel has it all is found at the next look.
            return;
        }
        self.progress.send_if_modified(|progress| {
            let before = (progress.settled, progress.refused.clone());
            if refused.is_none() {
                progress.settled = generation;
            }
            progress.refused = refused.map(|refused| (generation, refused));
            before != (progress.settled, progress.refused.clone())
        });
    }

    /// Why the wanted table is not in the kernel, if it is not.
    fn refusal(&self) -> Option<IpvsRefused> {
        if let Some(reason) = &self.problems.writing {
            return Some(IpvsRefused::Unreachable { reason: reason.clone() });
        }
        let refused = self.reconciler.refusals().next()?;
        Some(IpvsRefused::of(&refused.operation, &refused.refusal))
    }

    /// Tells what changed. The table is copied only when it did.
    pub(super) fn publish(&mut self) {
        let problems = self.problems();
        let generation = self.progress.borrow().settled;
        let changes = self.reconciler.changes();
        let held_edits = self.reconciler.held_back(self.start.elapsed());
        let is_same_table = self.published == Some(changes);
        self.published = Some(changes);
        self.snapshots.send_if_modified(|told| {
            let known = (told.edits, told.generation, &told.kernel);
            let is_same = known == (self.edits, generation, &self.kernel_state)
                && (told.held_edits, &told.problems) == (held_edits, &problems)
                && Arc::ptr_eq(&told.traffic, &self.traffic)
                && Arc::ptr_eq(&told.drift, &self.drift);
            if !is_same_table {
                told.table = self.reconciler.held().clone();
            }
            (told.edits, told.generation) = (self.edits, generation);
            told.kernel.clone_from(&self.kernel_state);
            told.problems = problems;
            told.held_edits = held_edits;
            // No news by itself.
            told.round = self.round.took();
            told.traffic = Arc::clone(&self.traffic);
            told.drift = Arc::clone(&self.drift);
            told.wanted = self.reconciler.wanted().cloned();
            !(is_same && is_same_table)
        });
    }

    fn problems(&self) -> Vec<String> {
        let fixed = &self.problems;
        let refused = self.reconciler.refusals().chain(self.reconciler.refusals_apart());
        let refused = refused.map(|r| IpvsRefused::of(&r.operation, &r.refusal).to_string());
        let first = fixed.writing.iter().chain(&fixed.reading).cloned();
        let others = fixed.journal.iter().cloned().chain(self.settings.problems());
        let others = others.chain(fixed.entries.iter().cloned());
        first.chain(refused).chain(others).chain(fixed.recent_drift()).collect()
    }
}

impl Problems {
    fn recent_drift(&self) -> Option<String> {
        let (seen, words) = self.drift.as_ref()?;
        (seen.elapsed() < DRIFT_TOLD).then(|| words.clone())
    }
}
