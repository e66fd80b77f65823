//! From a kept intent to the change that brings it back, and from a change that nobody confirmed to the one that undoes it.

use std::collections::BTreeSet;

use fulcrum_model::resource::{Drain, Kind, Resource, ResourceKey, Restart, Spec};

use crate::history::{Resources, Undo};
use crate::{ChangeAction, Intent, Removal};

/// What is to be put and deleted so that `current` becomes `wanted` again, for [`prepare`](crate::prepare).
///
/// Orders of the day stay as they are today, as with `prune`, but for those whose subject goes: a restart that was ordered last week must not
/// be obeyed again, nor a real server that is drained now be used because it was used then. Nor does who may do what change, nor is a
/// token good again that was used since.
pub fn restore(current: &Intent, wanted: &Resources) -> (Vec<(usize, Resource)>, Removal) {
    let differs = |resource: &&Resource| {
        let now = current.resources.get(&resource.key());
        !now.is_some_and(|now| now.wants_same_as(resource))
    };
    let is_restored = |resource: &&Resource| !is_of_access(resource.spec.kind());
    let set = wanted.values().filter(|resource| subject(&resource.spec).is_none());
    let set = set.filter(is_restored);
    let set: Vec<(usize, Resource)> = set.filter(differs).cloned().enumerate().collect();
    let goes = |resource: &&Resource| match subject(&resource.spec) {
        Some(subject) => !wanted.contains_key(&subject),
        None => !wanted.contains_key(&resource.key()),
    };
    let named: BTreeSet<ResourceKey> =
        current.resources.values().filter(is_restored).filter(goes).map(Resource::key).collect();
    (set, Removal { named, ..Removal::default() })
}

/// What is to be put and deleted to undo a change, ordered by kind and name. All of it is undone, orders of the day too, for nobody
/// wrote since; but an order to restart, which would be obeyed once more, is not brought back, nor is a token to join.
pub fn revert(undo: &[Undo]) -> (Vec<Resource>, Vec<ResourceKey>) {
    let (mut put, mut delete) = (Vec::new(), Vec::new());
    for Undo { key, action, before } in undo {
        match (key.kind, action, before) {
            (Kind::Restart | Kind::JoinToken, ChangeAction::Delete, _) => {}
            (Kind::Restart, ChangeAction::Create | ChangeAction::Update, _) | (_, _, None) => {
                delete.push(key.clone());
            }
            (_, _, Some(before)) => put.push(before.clone()),
        }
    }
    (put, delete)
}

/// What an order of the day is about; none when the spec is no such order.
pub(crate) fn subject(spec: &Spec) -> Option<ResourceKey> {
    match spec {
        Spec::Handover(handover) => {
            let name = handover.vrrp_instance.clone();
            Some(ResourceKey { kind: Kind::VrrpInstance, name })
        }
        Spec::Drain(Drain { real_server, .. }) | Spec::Restart(Restart { real_server, .. }) => {
            Some(ResourceKey { kind: Kind::RealServer, name: real_server.clone() })
        }
        Spec::Site(_)
        | Spec::Director(_)
        | Spec::VrrpInstance(_)
        | Spec::RealServer(_)
        | Spec::Pool(_)
        | Spec::VirtualServer(_)
        | Spec::NotificationPolicy(_)
        | Spec::AccessRule(_)
        | Spec::JoinToken(_) => None,
    }
}

/// Whether resources of that kind say who may do what: they are in no file of what the cluster balances, and stay when that is
/// brought back or pruned.
pub(crate) fn is_of_access(kind: Kind) -> bool {
    match kind {
        Kind::AccessRule | Kind::JoinToken => true,
        Kind::Site
        | Kind::Director
        | Kind::VrrpInstance
        | Kind::RealServer
        | Kind::Pool
        | Kind::VirtualServer
        | Kind::NotificationPolicy
        | Kind::Handover
        | Kind::Drain
        | Kind::Restart => false,
    }
}
