use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::WriteIntent;
use fulcrum_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::api::apply::confirm::decide_confirm;
use crate::api::revisions;
use crate::raft::IntentState;
use crate::testing::examples;
use crate::testing::states::take;

/// A site at revision 3, and another one at 5 that waits for five minutes.
fn waiting() -> IntentState {
    let mut state = IntentState::default();
    take(&mut state, 3, WriteIntent { put: vec![examples::site("a")], ..WriteIntent::default() });
    let write = WriteIntent {
        base_revision: 3,
        put: vec![examples::site("b")],
        who: "anna".to_owned(),
        reason: "a new site".to_owned(),
        confirm_within_ms: 300_000,
        ..WriteIntent::default()
    };
    take(&mut state, 5, write);
    state
}

fn confirm(state: &IntentState, revision: u64) -> Decision {
    decide_confirm(&v1::ConfirmRequest { revision, ..Default::default() }, "ben", state)
}

fn refused(decision: Decision) -> Status {
    match decision {
        Decision::Refuse(status) => status,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn waits_have_bounds() {
    let cases = [
        (0, 999_999_999, false),
        (1, 0, true),
        (86_400, 0, true),
        (86_400, 1, false),
        (-5, 0, false),
    ];
    for (seconds, nanos, is_good) in cases {
        let mut violations = Vec::new();
        let wire = prost_types::Duration { seconds, nanos };
        let read = read(Some(&wire), &mut violations);
        assert_eq!((read.is_some(), violations.is_empty()), (is_good, is_good), "{wire:?}");
        assert!(violations.iter().all(|violation| violation.field == "confirm_within"));
    }
    assert_eq!(super::read(None, &mut Vec::new()), None);
}

#[test]
fn others_are_told_whose_change_waits_and_until_when() {
    let state = waiting();
    let within = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let rollback = |confirm_within| {
        Forwarded::Rollback(v1::RollbackRequest { confirm_within, ..Default::default() })
    };
    let writes = [
        (Forwarded::Apply(v1::ApplyRequest::default()), false),
        (rollback(None), true),
        (rollback(within), false),
        (Forwarded::Confirm(v1::ConfirmRequest::default()), true),
    ];
    for (write, is_let_in) in writes {
        let written = || Decision::Write(Box::default(), v1::ApplyResponse::default());
        let guarded = guard(written(), &write, state.waiting());
        assert_eq!(matches!(guarded, Decision::Write(..)), is_let_in, "{write:?}");
        assert!(matches!(guard(written(), &write, None), Decision::Write(..)));
        // A dry run changes nothing.
        let dry = guard(Decision::Answer(v1::ApplyResponse::default()), &write, state.waiting());
        assert!(matches!(dry, Decision::Answer(_)));
        if let Decision::Refuse(status) = guarded {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(
                status.message(),
                "revision 5 by anna (a new site) waits to be confirmed until 1970-01-01T00:05:00.005Z, and is undone then: \
                 confirm it, roll back to revision 3, or wait"
            );
            let details = status.get_error_details();
            assert_eq!(details.error_info().expect("it says why").reason, "CHANGE_WAITS");
        }
    }
}

#[test]
fn a_change_is_confirmed_by_an_empty_write_and_once() {
    let mut state = waiting();
    let told = revisions::unconfirmed(&state).expect("it waits");
    assert_eq!((told.revision, told.who.as_str(), told.change_count), (5, "anna", 1));
    assert_eq!(told.confirm_by, Some(prost_types::Timestamp { seconds: 300, nanos: 5_000_000 }));
    let status = refused(confirm(&state, 0));
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = refused(confirm(&state, 3));
    let told = "revision 3 does not wait to be confirmed; revision 5 came after it";
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, told));
    let status = refused(confirm(&state, 4));
    assert!(status.message().ends_with("; revision 5 does"), "{status:?}");

    let Decision::Write(write, _) = confirm(&state, 5) else { panic!("it waits") };
    assert_eq!((write.base_revision, write.confirms, write.put.len()), (5, 5, 0));
    take(&mut state, 8, *write);
    assert_eq!((state.revision, state.resources.len(), state.waiting()), (Revision(8), 2, None));
    assert_eq!(revisions::unconfirmed(&state), None);
    // Whoever asks again is told the same.
    let Decision::Answer(again) = confirm(&state, 5) else { panic!("it is confirmed") };
    assert_eq!(again.revision, 8);
    let list = revisions::list(&v1::ListRevisionsRequest::default(), &state).expect("it is told");
    let told: Vec<_> =
        list.revisions.iter().map(|r| (r.revision, r.origin(), r.origin_revision)).collect();
    let (apply, confirm) = (v1::RevisionOrigin::Apply, v1::RevisionOrigin::Confirm);
    assert_eq!(told, [(8, confirm, 5), (5, apply, 0), (3, apply, 0)]);
    assert!(list.revisions[1].confirm_within.is_some() && list.revisions[1].confirm_by.is_none());
}

#[test]
fn what_was_undone_cannot_be_confirmed() {
    let mut state = waiting();
    let write = crate::api::apply::revert::write(state.waiting().expect("it waits"));
    take(&mut state, 8, write);
    assert_eq!((state.resources.len(), state.waiting()), (1, None));
    let status = refused(confirm(&state, 5));
    let told = "revision 5 does not wait to be confirmed; nobody confirmed it in time, so revision 8 undid it: apply it again";
    assert_eq!(status.message(), told);
    let status = refused(confirm(&state, 8));
    assert!(status.message().ends_with("; no change does"), "{status:?}");
    let list = revisions::list(&v1::ListRevisionsRequest::default(), &state).expect("it is told");
    let newest = &list.revisions[0];
    assert_eq!((newest.origin(), newest.origin_revision), (v1::RevisionOrigin::Revert, 5));
}

#[test]
fn what_one_command_cannot_undo_does_not_wait() {
    let mut site = examples::site("x");
    let labels = (0..64).map(|number| (format!("label-{number}"), "v".repeat(255)));
    site.metadata.get_or_insert_default().labels = labels.collect();
    let site = convert::resource_from_wire(0, &site, &mut Vec::new()).expect("a good one");
    let mut intent = Intent::default();
    for number in 0..1800 {
        let name = format!("s{number}").parse().expect("a name");
        let site = fulcrum_model::resource::Resource { name, ..site.clone() };
        intent.resources.insert(site.key(), site);
    }
    let change = |key: &fulcrum_model::resource::ResourceKey| Change {
        key: key.clone(),
        action: fulcrum_intent::ChangeAction::Delete,
    };
    let changes: Vec<Change> = intent.resources.keys().map(change).collect();
    assert!(check_size(&intent, &changes[..1000]).is_ok());
    let status = check_size(&intent, &changes).expect_err("it is some 30 MiB");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("confirm_within: undoing it takes "), "{status:?}");
    // What is new takes a key each.
    assert!(check_size(&Intent::default(), &changes).is_ok());
}
