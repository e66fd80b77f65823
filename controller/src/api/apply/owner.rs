//! Whose set a resource came with: two owners' sets do not delete each other's. Pure.

use fulcrum_intent::{Intent, OWNER_LABEL, owner_of};
use fulcrum_model::Name;
use fulcrum_model::resource::Resource;
use fulcrum_proto::convert::FieldViolation;

use crate::api::errors;

/// Most labels of a resource, as its conversion has it.
const MAX_LABELS: usize = 64;

/// Adds what is wrong with an owner; none is good.
pub(super) fn check(owner: &str, violations: &mut Vec<FieldViolation>) {
    if !owner.is_empty()
        && let Err(error) = owner.parse::<Name>()
    {
        violations.push(errors::violation("owner", format!("{owner:?}: {error}")));
    }
}

/// Labels a resource of the set with its owner, if one is given; or adds why it cannot be theirs.
pub(super) fn mark(
    index: usize,
    resource: &mut Resource,
    owner: &str,
    current: &Intent,
    violations: &mut Vec<FieldViolation>,
) {
    if owner.is_empty() {
        return;
    }
    let key = resource.key();
    let mut refuse = |field: &str, description: String| {
        violations
            .push(FieldViolation { field: format!("resources[{index}].{field}"), description });
    };
    let known = current.resources.get(&key).and_then(owner_of).filter(|other| *other != owner);
    if let Some(other) = owner_of(resource).filter(|other| *other != owner) {
        let text = format!(
            "{OWNER_LABEL}={other}: the set is applied for {owner}; leave the label out, or apply it for {other}"
        );
        refuse("labels", text);
    } else if let Some(other) = known {
        let text = format!(
            "{:?}: {key} is of owner {other}; leave it out, or hand it over by its label {OWNER_LABEL}={owner} first",
            key.name.as_str()
        );
        refuse("name", text);
    } else if resource.labels.len() >= MAX_LABELS && owner_of(resource).is_none() {
        let text = format!("{MAX_LABELS}: leave room for {OWNER_LABEL}, which an owner needs");
        refuse("labels", text);
    } else {
        resource.labels.insert(OWNER_LABEL.to_owned(), owner.to_owned());
    }
}
