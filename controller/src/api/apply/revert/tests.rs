use fulcrum_intent::history::{Origin, Undo};
use fulcrum_model::resource::{Resource, ResourceKey};
use fulcrum_proto::v1;

use super::*;
use crate::testing::examples;

#[test]
fn a_change_is_due_when_it_was_seen_for_so_long() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let change = |revision, seconds| Some((Revision(revision), Duration::from_secs(seconds)));
    let mut seen = FirstSeen::default();
    let steps = [
        (0, None, None),
        (10, change(4, 60), Some(70)),
        (69, change(4, 60), Some(70)),
        (80, change(4, 60), Some(70)),
        // It was confirmed, and another one waits.
        (81, change(9, 5), Some(86)),
        (82, None, None),
        // As after the snapshot of another controller.
        (83, change(9, 5), Some(88)),
    ];
    for (now, waiting, due) in steps {
        assert_eq!(seen.due(waiting, at(now)), due.map(at), "{now} {waiting:?}");
    }
}

#[test]
fn undoing_is_told_and_takes_effect_only_on_top_of_the_change() {
    let read = |wire: &v1::Resource| -> Resource {
        fulcrum_proto::convert::resource_from_wire(0, wire, &mut Vec::new()).expect("a good one")
    };
    let (old, new) = (read(&examples::site("old")), read(&examples::site("new")));
    let undo = |key: ResourceKey, action, before| Undo { key, action, before };
    let entry = Entry {
        revision: Revision(9),
        base: Revision(7),
        time_ms: 1,
        who: "anna".to_owned(),
        reason: String::new(),
        origin: Origin::Apply,
        confirm_within_ms: 300_000,
        change_count: 2,
        undo: Some(vec![
            undo(new.key(), fulcrum_intent::ChangeAction::Create, None),
            undo(old.key(), fulcrum_intent::ChangeAction::Delete, Some(old)),
        ]),
        bytes: 0,
    };
    let write = write(&entry);
    assert_eq!((write.base_revision, write.reverts, write.rollback_to), (9, 9, 7));
    assert_eq!((write.put.len(), write.delete.len()), (1, 1));
    assert_eq!(write.delete[0].name, "new");
    assert_eq!(write.reason, "nobody confirmed it within 300s");
}
