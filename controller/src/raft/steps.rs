//! The steps of a store's work between which a process can die. Whoever tests that kills it there.

use std::fmt;
use std::sync::Arc;

/// A place in the store's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Entries are about to be written.
    AppendBegins,
    /// Entries are written, and not synced.
    AppendWritten,
    /// Entries are synced; the mark does not know of them.
    AppendSynced,
    /// The mark knows of them, and the leader does not.
    AppendMarked,
    /// A vote is written, and not synced.
    VoteWritten,
    /// A vote is synced; the mark does not know of it.
    VoteSynced,
    /// What entries changed is about to be written.
    ApplyBegins,
    /// It is written, and not synced.
    ApplyWritten,
    /// A snapshot is about to be saved.
    SnapshotBegins,
    /// A snapshot is saved.
    SnapshotSaved,
    /// The state is replaced by that of an installed snapshot, and not synced.
    InstallWritten,
    /// Entries are about to be dropped behind a snapshot.
    PurgeBegins,
    /// They are dropped, and that is not synced.
    PurgeWritten,
    /// The mark no longer asks for entries that another leader replaces.
    TruncateMarked,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AppendBegins,
        Self::AppendWritten,
        Self::AppendSynced,
        Self::AppendMarked,
        Self::VoteWritten,
        Self::VoteSynced,
        Self::ApplyBegins,
        Self::ApplyWritten,
        Self::SnapshotBegins,
        Self::SnapshotSaved,
        Self::InstallWritten,
        Self::PurgeBegins,
        Self::PurgeWritten,
        Self::TruncateMarked,
    ];
}

/// Is told of each step before the next one is taken; nobody by default.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl Steps {
    /// Has each step told.
    pub fn told_to(told: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    /// Tells of a step.
    pub(crate) fn at(&self, step: Step) {
        if let Some(told) = &self.0 {
            told(step);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Steps(told)" } else { "Steps" })
    }
}
