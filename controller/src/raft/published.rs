//! The intent twice: one copy that readers hold, and one that is edited next.
//!
//! Readers keep what they were given for as long as they like, so it must not change under them; and a whole copy for each
//! write would cost more than all else of it once there are many thousand resources. When the readers have gone on to a
//! newer one, the older is brought up to date by the few resources that it lacks, and edited.

use std::sync::Arc;

use super::state::{IntentState, StateKey};

/// Changes that are followed one by one. More than that, and a whole copy is as cheap.
const MAX_BEHIND: usize = 4096;

/// The intent, for one writer and many readers.
#[derive(Debug, Default)]
pub(crate) struct Published {
    newest: Arc<IntentState>,
    /// The one before, which lacks what `behind` names.
    older: Option<Arc<IntentState>>,
    behind: Vec<StateKey>,
}

impl Clone for Published {
    /// The newest alone: a clone is read, and must not keep the older one from being edited.
    fn clone(&self) -> Self {
        Self { newest: Arc::clone(&self.newest), older: None, behind: Vec::new() }
    }
}

impl Published {
    /// For readers.
    pub(crate) fn get(&self) -> &Arc<IntentState> {
        &self.newest
    }

    /// For edits, the keys of which must be told to [`Self::note`].
    pub(crate) fn edit(&mut self) -> &mut IntentState {
        if Arc::get_mut(&mut self.newest).is_none() {
            let mut next = match self.older.take() {
                Some(mut older) => match Arc::get_mut(&mut older) {
                    Some(state) => {
                        state.follow(&self.newest, &self.behind);
                        older
                    }
                    // A slow reader has it still.
                    None => Arc::new(IntentState::clone(&self.newest)),
                },
                None => Arc::new(IntentState::clone(&self.newest)),
            };
            std::mem::swap(&mut next, &mut self.newest);
            self.older = Some(next);
            self.behind.clear();
        }
        Arc::make_mut(&mut self.newest)
    }

    /// Notes what was edited.
    pub(crate) fn note(&mut self, changed: &[StateKey]) {
        self.behind.extend_from_slice(changed);
        if self.behind.len() > MAX_BEHIND {
            self.older = None;
            self.behind.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raft::tests::nodes::{happened, write};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever readers hold, the edited intent is the one that a whole copy for each write would be.
        #[test]
        fn edits_add_up_whatever_readers_hold(
            writes in proptest::collection::vec((0_u8..6, any::<bool>(), 0_usize..4), 1..40),
        ) {
            let mut published = Published::default();
            let mut copied = IntentState::default();
            let mut held = Vec::new();
            for (index, (site, has_id, hold)) in (1..).zip(writes) {
                let id = if has_id { format!("r{index}") } else { String::new() };
                let command = write(copied.revision.0, &id, &format!("s{site}"));
                let mut changed = Vec::new();
                let outcome = published.edit().apply(index, &command, &mut changed);
                published.note(&changed);
                prop_assert_eq!(outcome, copied.apply(index, &command, &mut Vec::new()));
                let mut changed = Vec::new();
                let event = happened(&format!("s{site}"));
                let outcome = published.edit().apply(index, &event, &mut changed);
                published.note(&changed);
                prop_assert_eq!(outcome, copied.apply(index, &event, &mut Vec::new()));
                prop_assert_eq!(&**published.get(), &copied);
                held.push((Arc::clone(published.get()), copied.clone()));
                // Readers let go of all but the newest few.
                held.drain(..held.len().saturating_sub(hold));
                for (read, then) in &held {
                    prop_assert_eq!(&**read, then);
                }
            }
        }
    }

    #[test]
    fn a_write_copies_nothing_once_readers_have_moved_on() {
        let mut published = Published::default();
        let mut copies = std::collections::BTreeSet::new();
        let mut reader = Arc::clone(published.get());
        for index in 1..20 {
            let mut changed = Vec::new();
            let command = write(index - 1, "", &format!("s{index}"));
            published.edit().apply(index, &command, &mut changed).expect("a site can be applied");
            published.note(&changed);
            reader.clone_from(published.get());
            copies.insert(Arc::as_ptr(&reader) as usize);
        }
        assert_eq!((copies.len(), reader.resources.len()), (2, 19));
    }
}
