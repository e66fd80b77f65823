//! Whether whoever asks may write what a decision would. Pure.
//!
//! The leader judges, for it alone knows what a write changes: a set, a mask or a rollback names more, or other things.

use std::collections::BTreeMap;

use fulcrum_intent::access::{Grants, Lookup};
use fulcrum_intent::history::Undo;
use fulcrum_model::resource::{Resource, ResourceKey};
use fulcrum_proto::convert;
use fulcrum_proto::internal::v1::WriteIntent;
use fulcrum_runtime::identity::{Identity, Program};

use super::decide::Decision;
use crate::access::decide::{Refused, denied};
use crate::raft::IntentState;

/// Refuses what the identity is not granted. Without an identity nothing is asked of the caller, so nothing is refused.
pub(super) fn guard(
    decision: Decision,
    identity: Option<&Identity>,
    state: &IntentState,
    admins: &[String],
) -> Decision {
    match (decision, identity) {
        (Decision::Write(write, response), Some(identity)) => {
            match check(&write, identity, state, admins) {
                Ok(()) => Decision::Write(write, response),
                Err(refused) => Decision::Refuse(refused.status()),
            }
        }
        (decision, _) => decision,
    }
}

fn check(
    write: &WriteIntent,
    identity: &Identity,
    state: &IntentState,
    admins: &[String],
) -> Result<(), Refused> {
    if identity.program != Program::Operator {
        let message = format!("{} may not write intent, which is for operators", identity.path());
        return Err(Refused::Denied { message });
    }
    let grants = Grants::of(&identity.name, &state.resources, admins);
    if grants.is_admin_everywhere() {
        return Ok(());
    }
    let (before, after) = if write.confirms == 0 {
        (BTreeMap::new(), written(write))
    } else {
        // To keep a change is to make it: the resources as it found them, and as they are.
        let undo = state.waiting().and_then(|entry| entry.undo.as_deref()).unwrap_or_default();
        (undo.iter().map(found).collect(), BTreeMap::new())
    };
    let (before, after) = (
        Lookup { resources: &state.resources, otherwise: &before },
        Lookup { resources: &state.resources, otherwise: &after },
    );
    let keys = before.otherwise.keys().chain(after.otherwise.keys());
    let changes = keys.map(|key| (before.get(key), after.get(key)));
    grants
        .check(changes, &before, &after)
        .map_err(|refused| denied(&identity.name, &grants, &refused))
}

/// What a write puts, and what it deletes.
fn written(write: &WriteIntent) -> BTreeMap<ResourceKey, Option<Resource>> {
    let read = |wire| convert::resource_from_wire(0, wire, &mut Vec::new());
    let put = write.put.iter().filter_map(read).map(|it| (it.key(), Some(it)));
    let deleted = write.delete.iter().filter_map(|wire| {
        let kind = convert::kind_from_wire(wire.kind)?;
        Some((ResourceKey { kind, name: wire.name.parse().ok()? }, None))
    });
    put.chain(deleted).collect()
}

fn found(undo: &Undo) -> (ResourceKey, Option<Resource>) {
    (undo.key.clone(), undo.before.clone())
}

#[cfg(test)]
mod tests;
