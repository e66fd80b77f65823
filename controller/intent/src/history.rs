//! What each revision changed, kept so that it can be told and undone.
//!
//! Each entry holds the resources as they were *before* its revision: the intent of any kept revision is the present one with the
//! newer entries undone, newest first. The oldest go first; what is older than one that cannot be undone is told, but not restored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fulcrum_model::Revision;
use fulcrum_model::resource::{Resource, ResourceKey};

use crate::{Change, ChangeAction};

/// Most revisions kept. At a change every ten minutes they reach back a week.
pub const MAX_REVISIONS: usize = 1000;
/// Most bytes that they take encoded: more than any one change of 110,000 resources undoes, some 25 MiB; below a record's bound,
/// `sled_store::MAX_VALUE_BYTES` of 48 MiB.
pub const MAX_BYTES: usize = 40 << 20;

/// Resources by kind and name, as an intent holds them.
pub type Resources = BTreeMap<ResourceKey, Resource>;

/// What undoes a revision in one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The resource.
    pub key: ResourceKey,
    /// What the revision did to it.
    pub action: ChangeAction,
    /// As it was before; none when the revision created it.
    pub before: Option<Resource>,
}

/// What made a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Resources were written.
    #[default]
    Apply,
    /// The intent of that revision was brought back.
    Rollback(Revision),
    /// The change of that revision, which waited, was confirmed. Nothing else was changed.
    Confirm(Revision),
    /// The change of that revision, which waited, was undone, for nobody confirmed it.
    Revert(Revision),
}

/// A revision that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub revision: Revision,
    /// The revision before it.
    pub base: Revision,
    /// When it was taken, by the leader's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who asked; empty when that is not known.
    pub who: String,
    /// Why; may be empty.
    pub reason: String,
    /// What made it.
    pub origin: Origin,
    /// How long it waits to be confirmed before it is undone, in milliseconds; 0 when it stays by itself.
    pub confirm_within_ms: u64,
    /// How many resources it changed.
    pub change_count: u64,
    /// What undoes it, ordered by kind and name; none when it was too large to be kept.
    pub undo: Option<Vec<Undo>>,
    /// What it takes encoded.
    pub bytes: usize,
}

impl Entry {
    /// Until when it is to be confirmed, in milliseconds since 1970, by the clock that stamped it.
    pub fn confirm_by_ms(&self) -> u64 {
        self.time_ms.saturating_add(self.confirm_within_ms)
    }
}

/// A resource before and after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the revision did.
    pub change: Change,
    /// As it was; none when it was created.
    pub before: Option<Resource>,
    /// As it became; none when it was deleted.
    pub after: Option<Resource>,
}

/// A revision that cannot be told or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {wanted} is not kept; the oldest that is kept is {oldest}, the newest {newest}")]
pub struct NotKept {
    /// The revision that was asked for.
    pub wanted: Revision,
    /// The oldest whose intent is kept.
    pub oldest: Revision,
    /// The newest.
    pub newest: Revision,
}

/// The revisions that are kept, oldest first. A copy shares the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl History {
    /// Takes the entry of a new revision. Gives the older revisions whose entries changed or are no longer kept for it.
    pub fn note(&mut self, entry: Entry) -> Vec<Revision> {
        let mut entry = entry;
        if entry.bytes > MAX_BYTES {
            // Still told, but it cannot be undone, nor can what is before it.
            entry.undo = None;
            entry.bytes = 0;
        }
        let mut changed = self.restore(entry);
        while self.entries.len() > MAX_REVISIONS || self.bytes > MAX_BYTES {
            changed.extend(self.drop_oldest());
        }
        changed
    }

    /// Adds an entry as it was stored. Revisions must rise. Gives the older ones that can no longer be undone: all, when it does
    /// not follow the last or cannot be undone itself.
    pub fn restore(&mut self, entry: Entry) -> Vec<Revision> {
        let follows = self.entries.back().is_none_or(|last| last.revision == entry.base);
        let is_end = !follows || entry.undo.is_none();
        let changed = if is_end { self.forget_undo() } else { Vec::new() };
        self.add(Arc::new(entry));
        changed
    }

    /// Follows a newer history in the revision, which was added, changed or dropped there. Revisions come in the order in which
    /// they changed.
    pub fn follow(&mut self, newer: &Self, revision: Revision) {
        let at = self.entries.binary_search_by_key(&revision, |entry| entry.revision).ok();
        match (newer.shared(revision), at.and_then(|at| self.entries.get_mut(at))) {
            (Some(entry), None) => self.add(Arc::clone(entry)),
            (Some(entry), Some(known)) => {
                self.bytes = self.bytes - known.bytes + entry.bytes;
                known.clone_from(entry);
            }
            (None, Some(_)) if at == Some(0) => {
                self.drop_oldest();
            }
            (None, Some(_) | None) => {}
        }
    }

    /// The entry of a revision.
    pub fn get(&self, revision: Revision) -> Option<&Entry> {
        self.shared(revision).map(AsRef::as_ref)
    }

    /// The change that waits to be confirmed while the intent is at `current`, if one does: the newest, for whatever comes after it
    /// has answered the question.
    pub fn waiting(&self, current: Revision) -> Option<&Entry> {
        let newest = self.entries.back().filter(|entry| entry.revision == current)?;
        (newest.confirm_within_ms > 0 && newest.undo.is_some()).then_some(newest)
    }

    /// The revision that came after that one, where it is kept.
    pub fn successor(&self, revision: Revision) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.revision <= revision);
        self.entries.get(at).map(AsRef::as_ref).filter(|entry| entry.base == revision)
    }

    /// All entries, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().map(AsRef::as_ref)
    }

    /// All entries, oldest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(AsRef::as_ref)
    }

    /// The oldest revision whose intent is kept, while the intent is at `current`.
    pub fn oldest(&self, current: Revision) -> Revision {
        let mut oldest = current;
        for entry in self.newest_first() {
            if entry.revision != oldest || entry.undo.is_none() {
                break;
            }
            oldest = entry.base;
        }
        oldest
    }

    /// The resources as they were at a revision, with those of `current` at hand.
    ///
    /// # Errors
    /// [`NotKept`], also for a number between two revisions.
    pub fn resources_at(
        &self,
        current: Revision,
        resources: &Resources,
        wanted: Revision,
    ) -> Result<Resources, NotKept> {
        self.check(current, wanted)?;
        let mut resources = resources.clone();
        for undo in self.newer_than(wanted).flat_map(|entry| entry.undo.iter().flatten()) {
            match &undo.before {
                Some(before) => resources.insert(undo.key.clone(), before.clone()),
                None => resources.remove(&undo.key),
            };
        }
        Ok(resources)
    }

    /// What a revision changed, ordered by kind and name; nothing of one whose changes are not kept.
    ///
    /// # Errors
    /// [`NotKept`].
    pub fn differences(
        &self,
        current: Revision,
        resources: &Resources,
        revision: Revision,
    ) -> Result<(&Entry, Vec<Difference>), NotKept> {
        let entry = self.get(revision).ok_or_else(|| self.not_kept(current, revision))?;
        // The oldest of the newer entries that changed it says how this one left it.
        let mut later: BTreeMap<&ResourceKey, Option<&Resource>> = BTreeMap::new();
        for undo in self.newer_than(revision).flat_map(|entry| entry.undo.iter().flatten()) {
            later.insert(&undo.key, undo.before.as_ref());
        }
        let difference = |undo: &Undo| {
            let after = later.get(&undo.key).copied();
            Difference {
                change: Change { key: undo.key.clone(), action: undo.action },
                before: undo.before.clone(),
                after: after.unwrap_or_else(|| resources.get(&undo.key)).cloned(),
            }
        };
        Ok((entry, entry.undo.iter().flatten().map(difference).collect()))
    }

    /// Which resources changed after a revision.
    ///
    /// # Errors
    /// [`NotKept`], also for a number between two revisions.
    pub fn changed_since(
        &self,
        current: Revision,
        revision: Revision,
    ) -> Result<BTreeSet<ResourceKey>, NotKept> {
        self.check(current, revision)?;
        let undone = self.newer_than(revision).flat_map(|entry| entry.undo.iter().flatten());
        Ok(undone.map(|undo| undo.key.clone()).collect())
    }

    /// Whether the intent of a revision is kept, while it is at `current`.
    ///
    /// # Errors
    /// [`NotKept`], also for a number between two revisions.
    pub fn check(&self, current: Revision, wanted: Revision) -> Result<(), NotKept> {
        let oldest = self.oldest(current);
        if wanted == current || wanted == oldest {
            return Ok(());
        }
        let is_kept = wanted > oldest && self.shared(wanted).is_some();
        if is_kept { Ok(()) } else { Err(self.not_kept(current, wanted)) }
    }

    fn not_kept(&self, current: Revision, wanted: Revision) -> NotKept {
        NotKept { wanted, oldest: self.oldest(current), newest: current }
    }

    /// Newest first.
    fn newer_than(&self, revision: Revision) -> impl Iterator<Item = &Entry> {
        self.newest_first().take_while(move |entry| entry.revision > revision)
    }

    fn shared(&self, revision: Revision) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by_key(&revision, |entry| entry.revision).ok()?;
        self.entries.get(at)
    }

    fn add(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// Keeps no more of the entries than a line each. Gives those that changed.
    fn forget_undo(&mut self) -> Vec<Revision> {
        self.bytes = 0;
        let whole = self.entries.iter_mut().filter(|entry| entry.undo.is_some());
        whole
            .map(|entry| {
                let line = Entry {
                    undo: None,
                    bytes: 0,
                    who: entry.who.clone(),
                    reason: entry.reason.clone(),
                    ..**entry
                };
                *entry = Arc::new(line);
                entry.revision
            })
            .collect()
    }

    fn drop_oldest(&mut self) -> Option<Revision> {
        let gone = self.entries.pop_front()?;
        self.bytes -= gone.bytes;
        Some(gone.revision)
    }
}

/// What undoes a change of `before`, ordered by kind and name: each resource that it touches, as it was. Those `deleted` are
/// gone afterwards, the others there.
pub fn undo_of(
    before: &Resources,
    touched: &BTreeSet<ResourceKey>,
    deleted: &BTreeSet<ResourceKey>,
) -> Vec<Undo> {
    let undo = |key: &ResourceKey| {
        let was = before.get(key);
        let action = match (was.is_some(), deleted.contains(key)) {
            (false, false) => ChangeAction::Create,
            (true, false) => ChangeAction::Update,
            (true, true) => ChangeAction::Delete,
            // It was not there to be deleted.
            (false, true) => return None,
        };
        Some(Undo { key: key.clone(), action, before: was.cloned() })
    };
    touched.iter().filter_map(undo).collect()
}
