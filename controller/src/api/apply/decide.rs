//! What an Apply means to the intent as it stands. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_intent::history::Origin;
use fulcrum_intent::{
    AgentDiff, Change, ChangeAction, Intent, Prepared, Rejected, Removal, Violation,
};
use fulcrum_model::Revision;
use fulcrum_model::resource::{Resource, ResourceKey};
use fulcrum_proto::convert::{self, FieldViolation};
use fulcrum_proto::{internal, v1};
use tonic::Status;

use super::{owner, unconfirmed};
use crate::api::errors;

/// Most resources of a set. More is another tool's job, and would not fit a message.
const MAX_RESOURCES: usize = 100_000;
/// Longest request id in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest reason in bytes, as of the orders of the intent.
const MAX_REASON_BYTES: usize = 255;

/// A request whose every resource could be read.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The resources, each with its index in the request.
    pub(super) set: Vec<(usize, Resource)>,
    pub(super) validate_only: bool,
    pub(super) if_revision: u64,
    pub(super) removal: Removal,
    pub(super) allow_drastic: bool,
    /// Empty when none was given.
    pub(super) request_id: String,
    pub(super) who: String,
    pub(super) reason: String,
    pub(super) origin: Origin,
    /// How long it waits to be confirmed; none when it stays by itself.
    pub(super) confirm_within: Option<Duration>,
}

/// An [`Ask`] from the fields that all requests to write have alike, and those that are its own.
macro_rules! ask {
    ($request:expr, $who:expr, { $($own:tt)* }) => {
        $crate::api::apply::decide::Ask {
            validate_only: $request.validate_only,
            if_revision: $request.if_revision,
            allow_drastic: $request.allow_drastic,
            request_id: $request.request_id.clone(),
            who: $who.to_owned(),
            reason: $request.reason.clone(),
            $($own)*
        }
    };
}
pub(super) use ask;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// This request was answered before, with this revision.
    Repeated(Revision),
    /// Nothing is to be written.
    Answer(v1::ApplyResponse),
    /// It cannot be done.
    Refuse(Status),
    /// Write this; then answer so, with the revision that it makes.
    Write(Box<internal::v1::WriteIntent>, v1::ApplyResponse),
}

/// Reads a request. What can be told of the whole set against `current` is told with what is wrong in single resources.
///
/// # Errors
/// `INVALID_ARGUMENT` with every bad field at once, in the request's order.
pub(super) fn read(request: &v1::ApplyRequest, who: &str, current: &Intent) -> Result<Ask, Status> {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    if request.resources.len() > MAX_RESOURCES {
        let count = request.resources.len();
        let text = format!("{count}: a set has at most {MAX_RESOURCES}; apply it in parts");
        violations.push(errors::violation("resources", text));
        return Err(errors::bad_request(&violations));
    }
    owner::check(&request.owner, &mut violations);
    let mut set = Vec::new();
    let mut broken: BTreeSet<ResourceKey> = BTreeSet::new();
    let resources = convert::allot_vrids(&request.resources, current.resources.values());
    for (index, wire) in resources.iter().enumerate() {
        match convert::resource_from_wire(index, wire, &mut violations) {
            Some(mut resource) => {
                owner::mark(index, &mut resource, &request.owner, current, &mut violations);
                set.push((index, resource));
            }
            None => broken.extend(convert::resource_key_from_wire(wire)),
        }
    }
    let removal = removal(request, &mut violations);
    let confirm_within = unconfirmed::read(request.confirm_within.as_ref(), &mut violations);
    if !violations.is_empty() {
        let found = fulcrum_intent::examine(current, &set, &broken, &removal);
        violations.extend(found.into_iter().map(from_intent));
        violations.sort_by_key(|violation| place(&violation.field));
        return Err(errors::bad_request(&violations));
    }
    Ok(ask!(request, who, { set, removal, origin: Origin::Apply, confirm_within }))
}

/// Adds what is wrong with a request's id and reason.
pub(super) fn check_remarks(request_id: &str, reason: &str, violations: &mut Vec<FieldViolation>) {
    let bytes = request_id.len();
    if bytes > MAX_REQUEST_ID_BYTES {
        let text = format!("{bytes} bytes: a request id has at most {MAX_REQUEST_ID_BYTES}");
        violations.push(errors::violation("request_id", text));
    }
    if reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        let bytes = reason.len();
        let text = format!("{bytes} bytes: use one line of at most {MAX_REASON_BYTES} bytes");
        violations.push(errors::violation("reason", text));
    }
}

fn removal(request: &v1::ApplyRequest, violations: &mut Vec<FieldViolation>) -> Removal {
    let mut refuse = |field: String, description: String| {
        violations.push(FieldViolation { field, description });
    };
    let owner = Some(request.owner.clone()).filter(|owner| !owner.is_empty());
    let mut removal = Removal { prune: request.prune, owner, named: BTreeSet::new() };
    if request.delete.len() > MAX_RESOURCES {
        let description =
            format!("{}: at most {MAX_RESOURCES}; delete in parts", request.delete.len());
        refuse("delete".to_owned(), description);
        return removal;
    }
    for (index, wire) in request.delete.iter().enumerate() {
        let kind = errors::read_kind(wire.kind)
            .map_err(|fault| refuse(format!("delete[{index}].kind"), fault));
        let name = wire.name.parse().map_err(|error| {
            refuse(format!("delete[{index}].name"), format!("{:?}: {error}", wire.name));
        });
        if let (Ok(kind), Ok(name)) = (kind, name) {
            removal.named.insert(ResourceKey { kind, name });
        }
    }
    removal
}

/// Decides on a request, given the intent and the revision that a request of this id was answered with, if it was. Violations are
/// told as `name` has them.
pub(super) fn decide(
    ask: &Ask,
    current: &Intent,
    answered: Option<Revision>,
    name: impl Fn(Violation) -> Violation,
) -> Decision {
    if let Some(revision) = answered.filter(|_| !ask.validate_only) {
        return Decision::Repeated(revision);
    }
    if ask.if_revision != 0 && ask.if_revision != current.revision.0 {
        return Decision::Refuse(errors::stale_revision(ask.if_revision, current.revision));
    }
    let prepared =
        fulcrum_intent::prepare(current, ask.set.clone(), &ask.removal, ask.allow_drastic);
    let Prepared { put, delete, changes, after } = match prepared {
        Ok(prepared) => prepared,
        Err(Rejected::Invalid(violations)) => {
            let violations: Vec<_> =
                violations.into_iter().map(|found| from_intent(name(found))).collect();
            return Decision::Refuse(errors::bad_request(&violations));
        }
        Err(Rejected::Held { reason, override_flag }) => {
            return Decision::Refuse(errors::plan_held(reason, override_flag));
        }
    };
    let agents = fulcrum_intent::diff_agents(current, &after);
    let response = v1::ApplyResponse {
        revision: current.revision.0,
        changes: changes.iter().map(change_to_wire).collect(),
        agent_changes: agents.into_iter().map(agent_change_to_wire).collect(),
        confirm_by: None,
    };
    if ask.confirm_within.is_some()
        && let Err(status) = unconfirmed::check_size(current, &changes)
    {
        return Decision::Refuse(status);
    }
    if ask.validate_only || changes.is_empty() {
        return Decision::Answer(response);
    }
    let write = internal::v1::WriteIntent {
        base_revision: current.revision.0,
        request_id: ask.request_id.clone(),
        put: put.iter().map(convert::resource_to_wire).collect(),
        delete: delete.iter().map(key_to_wire).collect(),
        who: ask.who.clone(),
        reason: ask.reason.clone(),
        rollback_to: match ask.origin {
            Origin::Rollback(to) => to.0,
            Origin::Apply | Origin::Confirm(_) | Origin::Revert(_) => 0,
        },
        confirm_within_ms: ask.confirm_within.map_or(0, unconfirmed::milliseconds),
        ..Default::default()
    };
    Decision::Write(Box::new(write), response)
}

fn from_intent(violation: Violation) -> FieldViolation {
    let Violation { field, description } = violation;
    FieldViolation { field, description }
}

/// Orders `resources[10].spec.port` after `resources[9].spec.vip`, and what is in no resource of the request first.
fn place(field: &str) -> Option<usize> {
    field.strip_prefix("resources[")?.split_once(']')?.0.parse().ok()
}

pub(crate) fn change_to_wire(change: &Change) -> v1::Change {
    let action = match change.action {
        ChangeAction::Create => v1::ChangeAction::Create,
        ChangeAction::Update => v1::ChangeAction::Update,
        ChangeAction::Delete => v1::ChangeAction::Delete,
    };
    v1::Change {
        kind: convert::kind_to_wire(change.key.kind).into(),
        name: change.key.name.to_string(),
        action: action.into(),
    }
}

fn agent_change_to_wire(diff: AgentDiff) -> v1::AgentChange {
    let AgentDiff { agent, changed, removed } = diff;
    v1::AgentChange { agent: agent.to_string(), changed, removed }
}

fn key_to_wire(key: &ResourceKey) -> internal::v1::ResourceKey {
    internal::v1::ResourceKey {
        kind: convert::kind_to_wire(key.kind).into(),
        name: key.name.to_string(),
    }
}

#[cfg(test)]
mod tests;
