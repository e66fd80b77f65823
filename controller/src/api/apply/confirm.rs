//! What a confirmation means to the intent as it stands. Pure.

use fulcrum_intent::history::Origin;
use fulcrum_model::Revision;
use fulcrum_proto::{internal, v1};

use super::decide::{Decision, check_remarks};
use crate::api::errors;
use crate::raft::IntentState;

/// Decides on a confirmation: an empty write on top of the change that waits.
pub(super) fn decide_confirm(
    request: &v1::ConfirmRequest,
    who: &str,
    state: &IntentState,
) -> Decision {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    if request.revision == 0 {
        violations.push(errors::violation(
            "revision",
            "0: name the revision that waits; GetUnconfirmed tells it",
        ));
    }
    if !violations.is_empty() {
        return Decision::Refuse(errors::bad_request(&violations));
    }
    if let Some(revision) = state.answered(&request.request_id) {
        return Decision::Repeated(revision);
    }
    let revision = Revision(request.revision);
    if state.waiting().is_some_and(|waiting| waiting.revision == revision) {
        let write = internal::v1::WriteIntent {
            base_revision: revision.0,
            request_id: request.request_id.clone(),
            who: who.to_owned(),
            reason: request.reason.clone(),
            confirms: revision.0,
            ..Default::default()
        };
        return Decision::Write(Box::new(write), v1::ApplyResponse::default());
    }
    match state.history.successor(revision) {
        Some(next) if next.origin == Origin::Confirm(revision) => {
            let revision = next.revision.0;
            Decision::Answer(v1::ApplyResponse { revision, ..Default::default() })
        }
        next => Decision::Refuse(errors::not_waiting(revision, next, state.waiting())),
    }
}
