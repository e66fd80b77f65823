//! Laws of history: what was can be had again, and only so much is kept.

use std::collections::BTreeSet;

use fulcrum_model::Revision;
use fulcrum_model::resource::{Resource, ResourceKey, Site, Spec};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{drain, indexed, intent, resource, restart, seed};
use crate::history::{
    Entry, History, MAX_BYTES, MAX_REVISIONS, NotKept, Origin, Resources, undo_of,
};
use crate::{ChangeAction, Intent, prepare, restore, revert};

/// A history beside the intents that it tells of.
#[derive(Clone, Debug, Default)]
struct Kept {
    history: History,
    intent: Intent,
    past: Vec<Intent>,
}

impl Kept {
    /// Writes as the state machine does. Gives the revisions whose entries changed.
    fn write(
        &mut self,
        put: Vec<Resource>,
        delete: Vec<ResourceKey>,
        bytes: usize,
    ) -> Vec<Revision> {
        // Revisions have gaps, as the log's other entries take indexes too.
        let revision = Revision(self.intent.revision.0 + 3);
        let touched = put.iter().map(Resource::key).chain(delete.iter().cloned()).collect();
        let deleted: BTreeSet<ResourceKey> = delete.iter().cloned().collect();
        let undo = undo_of(&self.intent.resources, &touched, &deleted);
        let entry = Entry {
            revision,
            base: self.intent.revision,
            time_ms: 0,
            who: String::new(),
            reason: String::new(),
            origin: Origin::Apply,
            confirm_within_ms: 0,
            change_count: undo.len() as u64,
            undo: Some(undo),
            bytes,
        };
        self.past.push(self.intent.clone());
        self.intent.apply(revision, put, delete);
        let mut changed = vec![revision];
        changed.extend(self.history.note(entry));
        changed
    }

    fn at(&self, revision: u64) -> Result<Resources, NotKept> {
        let Intent { revision: current, resources } = &self.intent;
        self.history.resources_at(*current, resources, Revision(revision))
    }
}

fn described(text: &str, description: u8) -> Resource {
    resource(text, Spec::Site(Site { description: description.to_string() }))
}

fn key(text: &str) -> ResourceKey {
    described(text, 0).key()
}

/// Edits, and whether they are too large to be kept.
type Write = (Vec<(u8, Option<u8>)>, bool);

/// What writes do: sites by number with a description, or deleted.
fn writes() -> impl Strategy<Value = Vec<Write>> {
    let edit = (0_u8..6, proptest::option::of(0_u8..4));
    vec((vec(edit, 0..5), proptest::bool::weighted(0.05)), 1..40)
}

fn written(writes: &[Write]) -> Kept {
    let mut kept = Kept::default();
    for (edits, is_huge) in writes {
        kept.write_edits(edits, *is_huge);
    }
    kept
}

impl Kept {
    fn write_edits(&mut self, edits: &[(u8, Option<u8>)], is_huge: bool) -> Vec<Revision> {
        let edits: std::collections::BTreeMap<u8, Option<u8>> = edits.iter().copied().collect();
        let text = |number: &u8| format!("s{number}");
        let put = edits.iter().filter_map(|(number, to)| Some(described(&text(number), (*to)?)));
        let gone =
            edits.iter().filter(|(_, to)| to.is_none()).map(|(number, _)| key(&text(number)));
        let bytes = if is_huge { MAX_BYTES + 1 } else { MAX_BYTES / 12 };
        self.write(put.collect(), gone.collect(), bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every kept revision gives exactly the intent of then, with each resource's own revision; every other is refused.
    #[test]
    fn a_kept_revision_gives_the_intent_of_then(writes in writes()) {
        let kept = written(&writes);
        let oldest = kept.history.oldest(kept.intent.revision);
        for past in kept.past.iter().chain([&kept.intent]) {
            let found = kept.at(past.revision.0);
            if past.revision < oldest {
                prop_assert_eq!(found.map_err(|error| error.oldest), Err(oldest));
            } else {
                prop_assert_eq!(found.as_ref(), Ok(&past.resources));
            }
            // A number between two revisions is none.
            prop_assert!(kept.at(past.revision.0 + 1).is_err());
        }
        let bytes: usize = kept.history.oldest_first().map(|entry| entry.bytes).sum();
        prop_assert!(bytes <= MAX_BYTES);
    }

    /// Differences, replayed onto the intent before, give the intent after.
    #[test]
    fn replaying_what_differs_gives_the_next_intent(writes in writes()) {
        let kept = written(&writes);
        let Intent { revision: current, resources } = &kept.intent;
        let whole: Vec<&Entry> =
            kept.history.oldest_first().filter(|entry| entry.undo.is_some()).collect();
        for entry in whole {
            let mut replayed = kept.at(entry.base.0).expect("the base of a whole entry is kept");
            let (_, differences) =
                kept.history.differences(*current, resources, entry.revision).expect("it is kept");
            for difference in differences {
                let key = difference.change.key;
                prop_assert_eq!(replayed.get(&key), difference.before.as_ref());
                let action = match (difference.before, difference.after) {
                    (None, Some(after)) => {
                        replayed.insert(key, after);
                        ChangeAction::Create
                    }
                    (Some(_), Some(after)) => {
                        replayed.insert(key, after);
                        ChangeAction::Update
                    }
                    (Some(_), None) => {
                        replayed.remove(&key);
                        ChangeAction::Delete
                    }
                    (None, None) => return Err(TestCaseError::fail("nothing differs")),
                };
                prop_assert_eq!(difference.change.action, action);
            }
            prop_assert_eq!(Ok(replayed), kept.at(entry.revision.0));
        }
    }

    /// The newest change can be undone as a whole.
    #[test]
    fn undoing_the_newest_change_gives_the_intent_before(writes in writes()) {
        let mut kept = written(&writes);
        let entry = kept.history.newest_first().next().expect("something was written").clone();
        let Some(undo) = entry.undo else { return Ok(()) };
        let (put, delete) = revert(&undo);
        let before = kept.past.pop().expect("something was written");
        kept.intent.apply(Revision(entry.revision.0 + 1), put, delete);
        prop_assert_eq!(kept.intent.resources.len(), before.resources.len());
        for (now, then) in kept.intent.resources.values().zip(before.resources.values()) {
            prop_assert!(now.wants_same_as(then), "{:?} {:?}", now, then);
        }
    }

    /// What changed since a revision is what differs from it, and perhaps what changed to and fro.
    #[test]
    fn what_changed_since_holds_all_that_differs(writes in writes()) {
        let kept = written(&writes);
        for past in &kept.past {
            let Ok(changed) = kept.history.changed_since(kept.intent.revision, past.revision) else {
                prop_assert!(past.revision < kept.history.oldest(kept.intent.revision));
                continue;
            };
            let differs = kept.intent.changed_since(past);
            prop_assert!(differs.iter().all(|key| changed.contains(key)));
        }
    }

    /// A copy that is told the keys alone, some writes at a time, becomes the same.
    #[test]
    fn a_copy_follows_by_keys(writes in writes(), step in 1_usize..7) {
        let mut kept = Kept::default();
        let mut copy = History::default();
        let mut changed = Vec::new();
        for (index, (edits, is_huge)) in writes.iter().enumerate() {
            changed.extend(kept.write_edits(edits, *is_huge));
            if index % step == 0 {
                for revision in changed.drain(..) {
                    copy.follow(&kept.history, revision);
                }
                prop_assert_eq!(&copy, &kept.history);
            }
        }
    }
}

#[test]
fn only_so_many_revisions_are_kept() {
    let mut kept = Kept::default();
    for number in 0..MAX_REVISIONS + 5 {
        let description = u8::try_from(number % 250).expect("a small number");
        kept.write(vec![described("a", description)], Vec::new(), 1);
    }
    assert_eq!(kept.history.oldest_first().count(), MAX_REVISIONS);
    assert_eq!(kept.history.oldest(kept.intent.revision), Revision(15));
    assert_eq!(kept.at(15).as_ref(), Ok(&kept.past[5].resources));
    let error = kept.at(12).expect_err("it was dropped");
    let newest = kept.intent.revision;
    assert_eq!(error, NotKept { wanted: Revision(12), oldest: Revision(15), newest });
}

#[test]
fn a_change_too_large_to_keep_is_told_but_ends_what_can_be_restored() {
    let mut kept = Kept::default();
    kept.write(vec![described("a", 1)], Vec::new(), 1);
    kept.write(vec![described("a", 2)], Vec::new(), MAX_BYTES + 1);
    kept.write(vec![described("a", 3)], Vec::new(), 1);
    let told: Vec<_> = kept
        .history
        .newest_first()
        .map(|entry| (entry.revision.0, entry.change_count, entry.undo.is_some()))
        .collect();
    assert_eq!(told, [(9, 1, true), (6, 1, false), (3, 1, false)]);
    assert!(kept.at(3).is_err());
    assert_eq!(kept.at(6).as_ref(), Ok(&kept.past[2].resources));
}

#[test]
fn what_was_stored_with_a_gap_is_told_but_not_restored_beyond_it() {
    let mut kept = Kept::default();
    for description in 1..=4 {
        kept.write(vec![described("a", description)], Vec::new(), 1);
    }
    let mut read = History::default();
    for entry in kept.history.oldest_first().filter(|entry| entry.revision != Revision(6)) {
        read.restore(entry.clone());
    }
    kept.history = read;
    assert_eq!(kept.history.oldest(kept.intent.revision), Revision(6));
    assert!(kept.at(3).is_err());
    assert_eq!(kept.at(6).as_ref(), Ok(&kept.past[2].resources));
    let (line, differences) = kept
        .history
        .differences(kept.intent.revision, &kept.intent.resources, Revision(3))
        .expect("it is told");
    assert_eq!((line.change_count, differences), (1, Vec::new()));
}

#[test]
fn restoring_leaves_orders_of_the_day_unless_their_subject_goes() {
    let before = intent(seed());
    let mut now = before.clone();
    let orders = [drain("d", "web1", None), restart("r", "web2")];
    let fresh = super::real_server("web3", "192.168.1.140", 80);
    let (on_old, on_new) = (orders.to_vec(), vec![fresh, drain("e", "web3", None)]);
    now.apply(Revision(2), on_old.into_iter().chain(on_new), []);
    let (set, removal) = restore(&now, &before.resources);
    assert_eq!(set, indexed(Vec::new()));
    let gone: Vec<String> = removal.named.iter().map(ToString::to_string).collect();
    assert_eq!(gone, ["RealServer web3", "Drain e"]);
    let restored = prepare(&now, set, &removal, false).expect("it was valid then").after;
    assert_eq!(restored.resources.len(), before.resources.len() + 2);
    // And forward again: the orders of then are not given anew.
    let (set, removal) = restore(&before, &now.resources);
    let put: Vec<String> = set.iter().map(|(_, resource)| resource.key().to_string()).collect();
    assert_eq!((put, removal.named.len()), (vec!["RealServer web3".to_owned()], 0));
}

#[test]
fn undoing_brings_orders_of_the_day_back_but_for_restarts() {
    let mut kept = Kept::default();
    kept.write(seed(), Vec::new(), 1);
    let orders = vec![drain("d", "web1", None), restart("old", "web1"), restart("kept", "web2")];
    kept.write(orders.clone(), Vec::new(), 1);
    let gone: Vec<ResourceKey> = orders[..2].iter().map(Resource::key).collect();
    let given = vec![restart("new", "web2"), restart("kept", "web1"), drain("e", "web2", None)];
    kept.write(given, gone, 1);
    let newest = kept.history.newest_first().next().expect("it was written");
    let (put, delete) = revert(newest.undo.as_deref().expect("it is small"));
    let names =
        |keys: Vec<ResourceKey>| -> Vec<String> { keys.iter().map(ToString::to_string).collect() };
    assert_eq!(names(put.iter().map(Resource::key).collect()), ["Drain d"]);
    // An order that was replaced was obeyed, or is void: neither of the two is left.
    assert_eq!(names(delete), ["Drain e", "Restart kept", "Restart new"]);
}

#[test]
fn the_newest_change_alone_can_wait_to_be_confirmed() {
    let mut kept = Kept::default();
    kept.write(vec![described("a", 1)], Vec::new(), 1);
    let waits = |kept: &Kept| kept.history.waiting(kept.intent.revision).map(|e| e.revision.0);
    let ask = |kept: &mut Kept| {
        let mut history = History::default();
        let newest = kept.intent.revision;
        for entry in kept.history.oldest_first() {
            let confirm_within_ms = if entry.revision == newest { 5 } else { 0 };
            history.restore(Entry { confirm_within_ms, time_ms: 7, ..entry.clone() });
        }
        kept.history = history;
    };
    assert_eq!(waits(&kept), None);
    ask(&mut kept);
    assert_eq!(waits(&kept), Some(3));
    let entry = kept.history.waiting(Revision(3)).expect("it waits");
    assert_eq!((entry.confirm_by_ms(), kept.history.successor(Revision(3))), (12, None));
    kept.write(vec![described("a", 2)], Vec::new(), 1);
    assert_eq!(waits(&kept), None);
    let next = kept.history.successor(Revision(3)).map(|entry| entry.revision.0);
    assert_eq!((next, kept.history.successor(Revision(4))), (Some(6), None));
    // One that cannot be undone does not wait.
    kept.write(vec![described("a", 3)], Vec::new(), MAX_BYTES + 1);
    ask(&mut kept);
    assert_eq!(waits(&kept), None);
}
