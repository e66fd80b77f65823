//! Changes that wait to be confirmed, and what that means to others. Pure.

use std::time::{Duration, UNIX_EPOCH};

use fulcrum_intent::history::Entry;
use fulcrum_intent::{Change, Intent};
use fulcrum_proto::convert::{self, FieldViolation};
use prost::Message as _;
use tonic::Status;

use super::decide::Decision;
use crate::api::errors;
use crate::raft::Forwarded;

/// Shortest and longest wait, as the API documents: who waits for longer than a day has forgotten it, and holds all others up.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_hours(24);
/// Most bytes that undoing may take: less than one command may, `peers::MAX_COMMAND_BYTES` of 32 MiB.
const MAX_UNDO_BYTES: usize = 28 << 20;
/// Most bytes that a resource takes there beside itself: its key, of which a name has 63 at most.
const KEY_BYTES: usize = 80;

/// Reads how long a change waits to be confirmed; what is wrong is added to `violations`.
pub(super) fn read(
    wire: Option<&prost_types::Duration>,
    violations: &mut Vec<FieldViolation>,
) -> Option<Duration> {
    let wire = *wire?;
    let wait = Duration::try_from(wire).ok().filter(|wait| (MIN_WAIT..=MAX_WAIT).contains(wait));
    if wait.is_none() {
        let text = format!("{}s: a change waits 1s to 24h to be confirmed", wire.seconds);
        violations.push(errors::violation("confirm_within", text));
    }
    wait
}

/// As a command holds it.
pub(super) fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// Until when an entry is to be confirmed, by the leader's wall clock when it was taken.
pub(crate) fn confirm_by(entry: &Entry) -> Option<prost_types::Timestamp> {
    UNIX_EPOCH.checked_add(Duration::from_millis(entry.confirm_by_ms())).map(Into::into)
}

/// # Errors
/// `INVALID_ARGUMENT` when the change replaces and deletes so much that one command cannot undo it.
pub(super) fn check_size(current: &Intent, changes: &[Change]) -> Result<(), Status> {
    let bytes = |change: &Change| {
        let before = current.resources.get(&change.key).map(convert::resource_to_wire);
        KEY_BYTES + before.map_or(0, |wire| wire.encoded_len())
    };
    let bytes: usize = changes.iter().map(bytes).sum();
    if bytes <= MAX_UNDO_BYTES {
        return Ok(());
    }
    let text = format!(
        "undoing it takes {bytes} bytes, and at most {MAX_UNDO_BYTES} can be kept for that: apply it in parts"
    );
    Err(errors::bad_request(&[errors::violation("confirm_within", text)]))
}

/// Refuses to write while another change waits, but for what answers the question.
pub(super) fn guard(decision: Decision, write: &Forwarded, waiting: Option<&Entry>) -> Decision {
    let is_answer = match write {
        Forwarded::Confirm(_) => true,
        // What it would be undone to is what waits.
        Forwarded::Rollback(rollback) => rollback.confirm_within.is_none(),
        Forwarded::Apply(_)
        | Forwarded::Create(_)
        | Forwarded::Update(_)
        | Forwarded::Delete(_) => false,
    };
    match (decision, waiting) {
        (Decision::Write(..), Some(waiting)) if !is_answer => {
            Decision::Refuse(errors::change_waits(waiting))
        }
        (decision, _) => decision,
    }
}

#[cfg(test)]
mod tests;
