use fulcrum_model::resource::Kind;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::api::apply::decide::read;
use crate::api::revisions;
use crate::testing::examples;
use crate::testing::states::take;

/// Applies a set as the leader would, at the next index.
fn apply(state: &mut IntentState, index: u64, request: v1::ApplyRequest) {
    let intent = Intent { revision: state.revision, resources: state.resources.clone() };
    let ask = read(&request, "anna", &intent).expect("each resource is good");
    let decision = decide(&ask, &intent, None, std::convert::identity);
    let Decision::Write(write, _) = decision else { panic!("nothing is written: {decision:?}") };
    take(state, index, *write);
}

fn rollback(state: &IntentState, request: &v1::RollbackRequest) -> Decision {
    let intent = Intent { revision: state.revision, resources: state.resources.clone() };
    decide_rollback(request, "ben", state, &intent)
}

/// The example set at revision 5, another scheduler at 7, a drain at 9.
fn written() -> IntentState {
    let mut state = IntentState::default();
    let set = |resources| v1::ApplyRequest { resources, ..Default::default() };
    apply(&mut state, 5, set(examples::cluster()));
    apply(&mut state, 7, set(vec![examples::web_by_least_connections()]));
    let drain = v1::Drain { real_server: "web1".to_owned(), ..Default::default() };
    let metadata = Some(v1::Metadata { name: "now".to_owned(), ..Default::default() });
    let spec = Some(v1::resource::Spec::Drain(drain));
    let drain = v1::Resource { metadata, spec };
    let reason = "a new disk".to_owned();
    apply(&mut state, 9, v1::ApplyRequest { reason, ..set(vec![drain]) });
    state
}

#[test]
fn what_was_is_brought_back_but_for_orders_of_the_day() {
    let mut state = written();
    let request = v1::RollbackRequest { revision: 5, ..Default::default() };
    let dry = v1::RollbackRequest { validate_only: true, ..request.clone() };
    let Decision::Answer(told) = rollback(&state, &dry) else { panic!("a dry run writes") };
    assert_eq!((told.revision, told.changes.len(), told.agent_changes.len()), (9, 1, 2));
    let Decision::Write(write, _) = rollback(&state, &request) else { panic!("it differs") };
    assert_eq!((write.rollback_to, write.who.as_str(), write.base_revision), (5, "ben", 9));
    take(&mut state, 11, *write);
    let kept = state.history.resources_at(state.revision, &state.resources, Revision(5));
    let kept = kept.expect("it is kept");
    let is_config = |resource: &&Resource| resource.spec.kind() != Kind::Drain;
    let now: Vec<_> = state.resources.values().filter(is_config).collect();
    assert!(now.iter().zip(kept.values()).all(|(now, then)| now.wants_same_as(then)));
    assert_eq!((now.len(), kept.len(), state.resources.len()), (8, 8, 9));

    let list = revisions::list(&v1::ListRevisionsRequest::default(), &state).expect("it is told");
    let told: Vec<_> = list
        .revisions
        .iter()
        .map(|r| (r.revision, r.who.as_str(), r.reason.as_str(), r.origin_revision))
        .collect();
    let expected =
        [(11, "ben", "", 5), (9, "anna", "a new disk", 0), (7, "anna", "", 0), (5, "anna", "", 0)];
    // 0 can be asked of nobody.
    assert_eq!((told, list.oldest_revision), (expected.to_vec(), 5));
    // Nothing is left to bring back.
    let Decision::Answer(again) = rollback(&state, &request) else { panic!("it writes") };
    assert_eq!((again.revision, again.changes.len()), (11, 0));
}

#[test]
fn pages_and_single_revisions_tell_what_was_changed() {
    let state = written();
    let page = |page_token: &str| {
        let page_token = page_token.to_owned();
        let request = v1::ListRevisionsRequest { page_size: 2, page_token, stale: false };
        let page = revisions::list(&request, &state).expect("it is told");
        let numbers: Vec<u64> = page.revisions.iter().map(|r| r.revision).collect();
        (numbers, page.next_page_token)
    };
    assert_eq!(page(""), (vec![9, 7], "7".to_owned()));
    assert_eq!(page("7"), (vec![5], String::new()));
    let bad =
        v1::ListRevisionsRequest { page_size: 1001, page_token: "x".to_owned(), stale: false };
    let status = revisions::list(&bad, &state).expect_err("both are wrong");
    let details = status.get_error_details();
    assert_eq!(details.bad_request().expect("it names them").field_violations.len(), 2);

    let told = revisions::get(v1::GetRevisionRequest { revision: 7, stale: false }, &state)
        .expect("it is kept");
    let [difference] = &told.differences[..] else { panic!("one differs: {told:?}") };
    let scheduler = |resource: &Option<v1::Resource>| match resource.as_ref().map(|r| &r.spec) {
        Some(Some(v1::resource::Spec::VirtualServer(server))) => server.scheduler(),
        other => panic!("{other:?}"),
    };
    assert_ne!(scheduler(&difference.before), v1::Scheduler::Wlc);
    assert_eq!(scheduler(&difference.after), v1::Scheduler::Wlc);
    let status = revisions::get(v1::GetRevisionRequest { revision: 6, stale: false }, &state);
    assert_eq!(status.expect_err("there is none").code(), Code::OutOfRange);
    // As an older release leaves it.
    let state = IntentState { history: fulcrum_intent::history::History::default(), ..state };
    let status = revisions::get(v1::GetRevisionRequest { revision: 9, stale: false }, &state);
    let status = status.expect_err("its intent alone is kept");
    let expected =
        "revision 9: what it changed was not kept; its intent can be restored (Rollback)";
    assert_eq!((status.code(), status.message()), (Code::OutOfRange, expected));
}

#[test]
fn what_cannot_be_brought_back_says_why() {
    let mut state = written();
    let check = |state: &IntentState, revision: u64, code: Code, word: &str| {
        let request = v1::RollbackRequest { revision, ..Default::default() };
        let Decision::Refuse(status) = rollback(state, &request) else { panic!("{revision}") };
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(word), "{status:?}");
    };
    check(&state, 0, Code::InvalidArgument, "name a kept revision");
    check(&state, 6, Code::OutOfRange, "the oldest that is kept is 0, the newest 9");
    check(&state, 12, Code::OutOfRange, "is not kept");
    let mut sctp = examples::virtual_server("sctp", 80, "tomcats");
    if let Some(v1::resource::Spec::VirtualServer(spec)) = &mut sctp.spec {
        spec.set_protocol(v1::Protocol::Sctp);
    }
    let resources = vec![examples::udp_virtual_server("dns"), sctp];
    apply(&mut state, 13, v1::ApplyRequest { resources, ..Default::default() });
    check(&state, 9, Code::FailedPrecondition, "allow_drastic");
    let stale = v1::RollbackRequest { revision: 5, if_revision: 7, ..Default::default() };
    let Decision::Refuse(status) = rollback(&state, &stale) else { panic!("it is stale") };
    assert_eq!(status.code(), Code::Aborted);
}
