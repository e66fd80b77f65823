//! Kept revisions as records of store.proto and back.

use fulcrum_intent::ChangeAction;
use fulcrum_intent::history::{Entry, Origin, Undo};
use fulcrum_model::Revision;
use fulcrum_proto::convert::{kind_to_wire, resource_to_wire};
use fulcrum_proto::internal::v1;
use prost::Message as _;

use super::machine::{MachineError, resource_from_state};
use super::state::key_from_wire;

/// The entry of a write that is about to be applied.
pub(crate) fn entry(
    revision: Revision,
    write: &v1::WriteIntent,
    time_ms: u64,
    undo: Vec<Undo>,
) -> Entry {
    let mut entry = Entry {
        revision,
        base: Revision(write.base_revision),
        time_ms,
        who: write.who.clone(),
        reason: write.reason.clone(),
        origin: origin(write.rollback_to, write.confirms, write.reverts),
        confirm_within_ms: write.confirm_within_ms,
        change_count: undo.len() as u64,
        undo: Some(undo),
        bytes: 0,
    };
    entry.bytes = to_wire(&entry).encoded_len();
    entry
}

fn origin(rollback_to: u64, confirms: u64, reverts: u64) -> Origin {
    match (rollback_to, confirms, reverts) {
        (_, _, reverts) if reverts != 0 => Origin::Revert(Revision(reverts)),
        (_, confirms, _) if confirms != 0 => Origin::Confirm(Revision(confirms)),
        (0, _, _) => Origin::Apply,
        (to, _, _) => Origin::Rollback(Revision(to)),
    }
}

/// As it is stored.
pub(crate) fn to_wire(entry: &Entry) -> v1::RevisionRecord {
    let (rollback_to, confirms, reverts) = match entry.origin {
        Origin::Apply => (0, 0, 0),
        Origin::Rollback(to) => (to.0, 0, 0),
        Origin::Confirm(of) => (0, of.0, 0),
        Origin::Revert(of) => (0, 0, of.0),
    };
    let undo = entry.undo.iter().flatten().map(|undo| v1::RevisionUndo {
        key: Some(v1::ResourceKey {
            kind: kind_to_wire(undo.key.kind).into(),
            name: undo.key.name.to_string(),
        }),
        before: undo.before.as_ref().map(resource_to_wire),
        is_deleted: undo.action == ChangeAction::Delete,
    });
    v1::RevisionRecord {
        revision: entry.revision.0,
        base_revision: entry.base.0,
        time_ms: entry.time_ms,
        who: entry.who.clone(),
        reason: entry.reason.clone(),
        rollback_to,
        confirm_within_ms: entry.confirm_within_ms,
        confirms,
        reverts,
        undo: undo.collect(),
        change_count: entry.change_count,
        is_dropped: entry.undo.is_none(),
    }
}

/// As it was stored. What this release cannot read of what undoes it is as good as dropped: history decides nothing that is
/// applied, so that it must not keep a controller from starting.
pub(crate) fn from_wire(wire: &v1::RevisionRecord) -> Entry {
    let undo: Result<Vec<Undo>, MachineError> = wire.undo.iter().map(undo_from_wire).collect();
    let undo = undo.ok().filter(|_| !wire.is_dropped);
    Entry {
        revision: Revision(wire.revision),
        base: Revision(wire.base_revision),
        time_ms: wire.time_ms,
        who: wire.who.clone(),
        reason: wire.reason.clone(),
        origin: origin(wire.rollback_to, wire.confirms, wire.reverts),
        confirm_within_ms: wire.confirm_within_ms,
        change_count: wire.change_count,
        bytes: if undo.is_some() { wire.encoded_len() } else { 0 },
        undo,
    }
}

fn undo_from_wire(wire: &v1::RevisionUndo) -> Result<Undo, MachineError> {
    let key = wire.key.as_ref().ok_or(MachineError::Record)?;
    let key = key_from_wire(key).map_err(|_| MachineError::Record)?;
    let before = wire.before.as_ref().map(resource_from_state).transpose()?;
    let action = match (before.is_some(), wire.is_deleted) {
        (false, _) => ChangeAction::Create,
        (true, false) => ChangeAction::Update,
        (true, true) => ChangeAction::Delete,
    };
    Ok(Undo { key, action, before })
}
