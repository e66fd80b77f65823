//! What a write of a single resource means to the intent as it stands: as the Apply of that one. Pure.

use std::collections::BTreeSet;

use fulcrum_intent::history::Origin;
use fulcrum_intent::{Intent, Removal, Violation};
use fulcrum_model::resource::{Resource, ResourceKey};
use fulcrum_proto::convert::{self, FieldViolation};
use fulcrum_proto::v1;
use tonic::Status;

use super::decide::{Decision, ask, check_remarks, decide};
use super::unconfirmed;
use crate::api::{errors, etag, mask};
use crate::raft::{Forwarded, IntentState};

/// Decides on a resource to create.
pub(super) fn decide_create(
    request: &v1::CreateResourceRequest,
    who: &str,
    state: &IntentState,
    current: &Intent,
) -> Decision {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    let confirm_within = unconfirmed::read(request.confirm_within.as_ref(), &mut violations);
    let resource = read(request.resource.as_ref(), state, &mut violations);
    let Some(resource) = resource.filter(|_| violations.is_empty()) else {
        return Decision::Refuse(errors::bad_request(&violations));
    };
    let answered = state.answered(&request.request_id);
    let key = resource.key();
    if answered.is_none()
        && let Some(known) = current.resources.get(&key)
    {
        return Decision::Refuse(errors::already_exists(&key, known.revision));
    }
    let (set, removal) = (vec![(0, resource)], Removal::default());
    let ask = ask!(request, who, { set, removal, origin: Origin::Apply, confirm_within });
    decide(&ask, current, answered, named)
}

/// Decides on fields of a resource to change.
pub(super) fn decide_update(
    request: &v1::UpdateResourceRequest,
    who: &str,
    state: &IntentState,
    current: &Intent,
) -> Decision {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    let confirm_within = unconfirmed::read(request.confirm_within.as_ref(), &mut violations);
    if !violations.is_empty() {
        return Decision::Refuse(errors::bad_request(&violations));
    }
    let answered = state.answered(&request.request_id).filter(|_| !request.validate_only);
    if let Some(revision) = answered {
        return Decision::Repeated(revision);
    }
    let resource = match updated(request, state) {
        Ok(resource) => resource,
        Err(status) => return Decision::Refuse(status),
    };
    let (set, removal) = (vec![(0, resource)], Removal::default());
    let ask = ask!(request, who, { set, removal, origin: Origin::Apply, confirm_within });
    decide(&ask, current, None, named)
}

/// Decides on a resource to delete.
pub(super) fn decide_delete(
    request: &v1::DeleteResourceRequest,
    who: &str,
    state: &IntentState,
    current: &Intent,
) -> Decision {
    let mut violations = Vec::new();
    check_remarks(&request.request_id, &request.reason, &mut violations);
    let confirm_within = unconfirmed::read(request.confirm_within.as_ref(), &mut violations);
    let kind = errors::read_kind(request.kind)
        .map_err(|fault| violations.push(errors::violation("kind", fault)));
    let name = request.name.parse().map_err(|error| {
        violations.push(errors::violation("name", format!("{:?}: {error}", request.name)));
    });
    let (Ok(kind), Ok(name), true) = (kind, name, violations.is_empty()) else {
        return Decision::Refuse(errors::bad_request(&violations));
    };
    let answered = state.answered(&request.request_id).filter(|_| !request.validate_only);
    if let Some(revision) = answered {
        return Decision::Repeated(revision);
    }
    let key = ResourceKey { kind, name };
    let found = current.resources.get(&key);
    if let Err(status) = check_etag(&key, &request.etag, found, state) {
        return Decision::Refuse(status);
    }
    if found.is_none() && !request.allow_missing {
        return Decision::Refuse(errors::not_found(&key));
    }
    let removal = Removal { named: BTreeSet::from([key]), ..Removal::default() };
    let ask =
        ask!(request, who, { set: Vec::new(), removal, origin: Origin::Apply, confirm_within });
    decide(&ask, current, None, named)
}

/// The resource that a write of one is about, if it can be read.
pub(super) fn key_of(write: &Forwarded) -> Option<ResourceKey> {
    match write {
        Forwarded::Create(create) => convert::resource_key_from_wire(create.resource.as_ref()?),
        Forwarded::Update(update) => convert::resource_key_from_wire(update.resource.as_ref()?),
        Forwarded::Delete(delete) => {
            let kind = convert::kind_from_wire(delete.kind)?;
            Some(ResourceKey { kind, name: delete.name.parse().ok()? })
        }
        Forwarded::Apply(_) | Forwarded::Rollback(_) | Forwarded::Confirm(_) => None,
    }
}

/// The resource that was created or changed, as it is in `state`; after a dry run, as it would be.
pub(super) fn outcome(write: &Forwarded, state: &IntentState) -> Option<v1::Resource> {
    let resource = match write {
        Forwarded::Create(create) if create.validate_only => {
            read(create.resource.as_ref(), state, &mut Vec::new())?
        }
        Forwarded::Update(update) if update.validate_only => updated(update, state).ok()?,
        Forwarded::Create(_) | Forwarded::Update(_) => {
            state.resources.get(&key_of(write)?)?.clone()
        }
        Forwarded::Apply(_)
        | Forwarded::Rollback(_)
        | Forwarded::Confirm(_)
        | Forwarded::Delete(_) => return None,
    };
    Some(convert::resource_to_wire(&resource))
}

/// The resource with the fields that are to change.
fn updated(request: &v1::UpdateResourceRequest, state: &IntentState) -> Result<Resource, Status> {
    let mut violations = Vec::new();
    let given = request.resource.clone().unwrap_or_default();
    let Some(key) = convert::resource_key_from_wire(&given) else {
        if given.spec.is_none() {
            let text =
                "none: set the spec of the resource's kind, empty where no field of it changes";
            violations.push(errors::violation("resource.spec", text));
        }
        let name = given.metadata.as_ref().map_or("", |metadata| &metadata.name);
        if let Err(error) = name.parse::<fulcrum_model::Name>() {
            violations.push(errors::violation("resource.name", format!("{name:?}: {error}")));
        }
        return Err(errors::bad_request(&violations));
    };
    let found = state.resources.get(&key);
    let etag = given.metadata.as_ref().map_or("", |metadata| &metadata.etag);
    check_etag(&key, etag, found, state)?;
    let wire = match found {
        Some(found) => {
            let paths = request.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
            let current = convert::resource_to_wire(found);
            mask::merge(&current, &given, paths).map_err(|faults| errors::bad_request(&faults))?
        }
        None if request.allow_missing => given,
        None => return Err(errors::not_found(&key)),
    };
    let read = read(Some(&wire), state, &mut violations);
    let mut resource = read.ok_or_else(|| errors::bad_request(&violations))?;
    // What is told of a resource that does not change.
    resource.revision = found
        .filter(|found| found.wants_same_as(&resource))
        .map_or_else(Default::default, |found| found.revision);
    Ok(resource)
}

fn read(
    wire: Option<&v1::Resource>,
    state: &IntentState,
    violations: &mut Vec<FieldViolation>,
) -> Option<Resource> {
    let Some(wire) = wire else {
        violations.push(errors::violation("resource", "none: give the resource"));
        return None;
    };
    let mut found = Vec::new();
    let allotted = convert::allot_vrids(std::slice::from_ref(wire), state.resources.values());
    let resource = convert::resource_from_wire(0, allotted.first()?, &mut found);
    violations.extend(found.into_iter().map(|FieldViolation { field, description }| {
        FieldViolation { field: of_resource(&field), description }
    }));
    resource.map(|resource| Resource { revision: fulcrum_model::Revision(0), ..resource })
}

fn check_etag(
    key: &ResourceKey,
    given: &str,
    found: Option<&Resource>,
    state: &IntentState,
) -> Result<(), Status> {
    let found = found.map(|it| (it.revision, etag::of(state.incarnation, it.revision)));
    let holds = given.is_empty() || found.as_ref().is_some_and(|(_, etag)| etag == given);
    if holds { Ok(()) } else { Err(errors::stale_etag(key, given, found)) }
}

/// `resources[0].spec.pool` of a set that nobody sent, as `resource.spec.pool`.
fn named(violation: Violation) -> Violation {
    let Violation { field, description } = violation;
    Violation { field: of_resource(&field), description }
}

fn of_resource(field: &str) -> String {
    match field.strip_prefix("resources[0]") {
        Some(rest) => format!("resource{rest}"),
        None => field.to_owned(),
    }
}

#[cfg(test)]
mod tests;
