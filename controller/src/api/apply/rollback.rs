//! What a rollback means to the intent as it stands. Pure.

use fulcrum_intent::history::Origin;
use fulcrum_intent::{Intent, Violation, restore};
use fulcrum_model::Revision;
use fulcrum_model::resource::Resource;
use fulcrum_proto::v1;

use super::decide::{Decision, ask, check_remarks, decide};
use super::unconfirmed;
use crate::api::errors;
use crate::raft::IntentState;

/// Decides on a rollback: as the Apply that would bring the kept intent back, through the same validation and holds.
pub(super) fn decide_rollback(
    request: &v1::RollbackRequest,
    who: &str,
    state: &IntentState,
    current: &Intent,
) -> Decision {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    if request.revision == 0 {
        violations.push(errors::violation(
            "revision",
            "0: name a kept revision; ListRevisions tells them",
        ));
    }
    let confirm_within = unconfirmed::read(request.confirm_within.as_ref(), &mut violations);
    if !violations.is_empty() {
        return Decision::Refuse(errors::bad_request(&violations));
    }
    let to = Revision(request.revision);
    let wanted = match state.history.resources_at(state.revision, &state.resources, to) {
        Ok(wanted) => wanted,
        Err(not_kept) => {
            // What was answered before its revision was dropped is answered again.
            return match state.answered(&request.request_id) {
                Some(revision) if !request.validate_only => Decision::Repeated(revision),
                Some(_) | None => Decision::Refuse(errors::not_kept(&not_kept)),
            };
        }
    };
    let (set, removal) = restore(current, &wanted);
    let resources: Vec<Resource> = set.iter().map(|(_, resource)| resource.clone()).collect();
    let ask = ask!(request, who, { set, removal, origin: Origin::Rollback(to), confirm_within });
    let name = |violation| named(violation, &resources);
    decide(&ask, current, state.answered(&request.request_id), name)
}

/// `resources[3].spec.pool` of a set that nobody sent, as `VirtualServer/web.spec.pool`.
fn named(violation: Violation, resources: &[Resource]) -> Violation {
    let Violation { field, description } = violation;
    let renamed = || {
        let (index, rest) = field.strip_prefix("resources[")?.split_once(']')?;
        let key = resources.get(index.parse::<usize>().ok()?)?.key();
        Some(format!("{}/{}{rest}", key.kind, key.name))
    };
    let field = renamed().unwrap_or(field.clone());
    Violation { field, description }
}

#[cfg(test)]
mod tests;
