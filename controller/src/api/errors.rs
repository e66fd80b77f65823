//! Errors of the API, with the google.rpc details that it documents.

use std::collections::HashMap;
use std::time::Duration;

use fulcrum_intent::history::{Entry, NotKept, Origin};
use fulcrum_model::Revision;
use fulcrum_model::resource::{Kind, ResourceKey};
use fulcrum_proto::convert::{self, FieldViolation};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::apply::unconfirmed;
use crate::events::log::EventsNotKept;
use crate::raft::{ReadError, TransferError};

/// Domain of every `ErrorInfo`.
pub const DOMAIN: &str = "fulcrum";

/// Reason of what is held as too drastic.
const HELD: &str = "PLAN_HELD";

/// How long a caller waits before it tries again, where that helps: an election is over by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Every bad field at once.
pub fn bad_request(violations: &[FieldViolation]) -> Status {
    let mut details = ErrorDetails::new();
    for FieldViolation { field, description } in violations {
        details.add_bad_request_violation(field, description);
    }
    let first = violations.first().map(ToString::to_string).unwrap_or_default();
    let message = match violations.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    };
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// A field that is refused: the value found, a colon, and the remedy.
pub fn violation(field: &str, description: impl Into<String>) -> FieldViolation {
    FieldViolation { field: field.to_owned(), description: description.into() }
}

/// The kind that a request names; an error tells what to give instead.
pub fn read_kind(kind: i32) -> Result<Kind, String> {
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    convert::kind_from_wire(kind).ok_or_else(|| format!("{kind}: give one of {kinds}"))
}

/// The history does not reach so far, or never had that revision.
pub fn not_kept(error: &NotKept) -> Status {
    out_of_history(error, format!("{error}: ListRevisions tells which are"))
}

/// The history begins after that revision.
pub fn changes_not_kept(error: &NotKept) -> Status {
    let wanted = error.wanted;
    let message = format!(
        "revision {wanted}: what it changed was not kept; its intent can be restored (Rollback)"
    );
    out_of_history(error, message)
}

fn out_of_history(error: &NotKept, message: String) -> Status {
    let NotKept { wanted, oldest, newest } = error;
    let metadata = [
        ("revision", wanted.to_string()),
        ("oldest_revision", oldest.to_string()),
        ("newest_revision", newest.to_string()),
    ];
    with_info(Code::OutOfRange, message, "REVISION_NOT_KEPT", metadata, None)
}

/// Events after a sequence are no longer kept.
pub fn events_not_kept(error: &EventsNotKept) -> Status {
    let EventsNotKept { wanted, oldest } = error;
    let message = format!(
        "event {wanted}: those after it are kept from {oldest} on alone: go on from there, or begin without"
    );
    let metadata = [("sequence", wanted.to_string()), ("oldest_sequence", oldest.to_string())];
    with_info(Code::OutOfRange, message, "EVENTS_NOT_KEPT", metadata, None)
}

/// The leader runs a release that does not know what is asked.
pub fn old_leader(what: &str) -> Status {
    let message = format!("the leader runs an older release, which knows no {what}: upgrade it");
    with_info(Code::FailedPrecondition, message, "OLD_LEADER", [], None)
}

/// The intent is not at the revision that the caller named.
pub fn stale_revision(if_revision: u64, revision: Revision) -> Status {
    with_info(
        Code::Aborted,
        format!(
            "if_revision is {if_revision}, but the intent is at revision {revision}: read it again"
        ),
        "STALE_REVISION",
        [("if_revision", if_revision.to_string()), ("revision", revision.to_string())],
        None,
    )
}

/// Others wrote all the time, so that this write never got its turn.
pub fn contended(revision: Revision) -> Status {
    with_info(
        Code::Aborted,
        format!("other writes came first each time, the last made revision {revision}: try again"),
        "STALE_REVISION",
        [("revision", revision.to_string())],
        Some(RETRY_AFTER),
    )
}

/// Held as too drastic.
pub fn plan_held(reason: String, release: &str) -> Status {
    let message = format!("{reason}; {release} releases it");
    let metadata = [("reason", reason), ("override", release.to_owned())];
    with_info(Code::FailedPrecondition, message, HELD, metadata, None)
}

/// Whether a write was held as too drastic.
pub fn is_held(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == HELD)
}

/// Another change waits to be confirmed.
pub fn change_waits(waiting: &Entry) -> Status {
    let Entry { revision, base, who, reason, .. } = waiting;
    let until = unconfirmed::confirm_by(waiting).map(|time| time.to_string()).unwrap_or_default();
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let message = format!(
        "revision {revision} by {who}{why} waits to be confirmed until {until}, and is undone then: confirm it, roll back to revision \
         {base}, or wait"
    );
    let metadata =
        [("revision", revision.to_string()), ("who", who.clone()), ("confirm_by", until)];
    with_info(Code::FailedPrecondition, message, "CHANGE_WAITS", metadata, None)
}

/// The change of a revision does not wait to be confirmed; `next` came after it, and `waiting` does wait.
pub fn not_waiting(revision: Revision, next: Option<&Entry>, waiting: Option<&Entry>) -> Status {
    let fate = match (next, waiting) {
        (Some(next), _) if next.origin == Origin::Revert(revision) => {
            format!(
                "nobody confirmed it in time, so revision {} undid it: apply it again",
                next.revision
            )
        }
        (Some(next), _) => format!("revision {} came after it", next.revision),
        (None, Some(waiting)) => format!("revision {} does", waiting.revision),
        (None, None) => "no change does".to_owned(),
    };
    let message = format!("revision {revision} does not wait to be confirmed; {fate}");
    let metadata = [("revision", revision.to_string())];
    with_info(Code::FailedPrecondition, message, "NOT_WAITING", metadata, None)
}

/// This controller does not lead, and the leader, if it is known, is at this endpoint.
pub fn not_leader(leader: Option<&str>) -> Status {
    let message = match leader {
        Some(endpoint) => {
            format!("the leader is {endpoint}, and it did not answer in time: try again")
        }
        None => "no controller leads now: try again".to_owned(),
    };
    let metadata = leader.map(|endpoint| ("leader", endpoint.to_owned()));
    with_info(Code::Unavailable, message, "NOT_LEADER", metadata, Some(RETRY_AFTER))
}

/// Whether whoever was asked did nothing because it does not lead.
pub fn is_not_leader(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "NOT_LEADER")
}

/// Nothing sure can be read, for it is not known who leads.
pub fn unread(error: &ReadError) -> Status {
    let message = format!(
        "{error}: try again, or ask for what one controller has, which may be old (`stale`, lvsctl --stale)"
    );
    let (reason, leader) = match error {
        ReadError::NoLeader { leader } => ("NOT_LEADER", leader.as_ref()),
        ReadError::NoQuorum => ("NO_QUORUM", None),
        ReadError::OldLeader | ReadError::Stopped => ("NOT_LEADER", None),
    };
    let metadata = leader.map(|leader| ("leader", leader.api.clone()));
    with_info(Code::Unavailable, message, reason, metadata, Some(RETRY_AFTER))
}

/// The controller that was to lead does not.
pub fn not_transferred(error: &TransferError) -> Status {
    let message = error.to_string();
    match error {
        TransferError::NotLeader { leader } => {
            not_leader(leader.as_ref().map(|leader| leader.api.as_str()))
        }
        TransferError::NotAVoter { .. } => {
            with_info(Code::FailedPrecondition, message, "NOT_A_VOTER", [], None)
        }
        TransferError::Busy => {
            with_info(Code::FailedPrecondition, message, "TRANSFER_BUSY", [], None)
        }
        TransferError::Behind { .. } => {
            with_info(Code::FailedPrecondition, message, "TRANSFER_BEHIND", [], None)
        }
        TransferError::Refused { .. } => {
            with_info(Code::Aborted, message, "TRANSFER_FAILED", [], None)
        }
    }
}

/// There is no controller of that name.
pub fn no_controller(name: &str, known: &[String]) -> Status {
    let message = format!("there is no controller {name:?}: name one of {}", known.join(", "));
    with_info(Code::NotFound, message, "NOT_FOUND", [("name", name.to_owned())], None)
}

/// A majority of the controllers is out of reach.
pub fn no_quorum(message: impl Into<String>) -> Status {
    with_info(Code::Unavailable, message, "NO_QUORUM", [], Some(RETRY_AFTER))
}

/// The disk cannot take more.
pub fn storage_full(message: impl Into<String>) -> Status {
    with_info(Code::ResourceExhausted, message, "STORAGE_FULL", [], None)
}

/// There is no such resource.
pub fn not_found(key: &ResourceKey) -> Status {
    let metadata = [("kind", key.kind.to_string()), ("name", key.name.to_string())];
    with_info(Code::NotFound, format!("there is no {key}"), "NOT_FOUND", metadata, None)
}

/// There is such a resource.
pub fn already_exists(key: &ResourceKey, revision: Revision) -> Status {
    let metadata = [
        ("kind", key.kind.to_string()),
        ("name", key.name.to_string()),
        ("revision", revision.to_string()),
    ];
    let message =
        format!("there is a {key} already, last changed by revision {revision}: update it instead");
    with_info(Code::AlreadyExists, message, "ALREADY_EXISTS", metadata, None)
}

/// A resource has changed since it was read.
pub fn stale_etag(key: &ResourceKey, given: &str, found: Option<(Revision, String)>) -> Status {
    let (message, etag) = match found {
        Some((revision, etag)) => (
            format!(
                "{key} has changed since etag {given:?} was read, last by revision {revision}: read it again"
            ),
            etag,
        ),
        None => (format!("{key} is gone since etag {given:?} was read"), String::new()),
    };
    let metadata = [("given", given.to_owned()), ("etag", etag)];
    with_info(Code::Aborted, message, "STALE_ETAG", metadata, None)
}

/// A call that its caller may not make.
pub fn access(code: Code, message: &str, reason: &str) -> Status {
    with_info(code, message, reason, [], None)
}

/// This controller gives no certificates.
pub fn no_authority() -> Status {
    let message = "this controller has no authority ([access] ca_key in controller.toml): ask another one, or use your own PKI";
    access(Code::FailedPrecondition, message, "NO_AUTHORITY")
}

/// A caller that calls too much.
pub fn too_much(who: &str, exceeded: &str) -> Status {
    let message = format!("{who}: {exceeded}");
    with_info(Code::ResourceExhausted, message, "TOO_MANY_CALLS", [], Some(RETRY_AFTER))
}

fn with_info(
    code: Code,
    message: impl Into<String>,
    reason: &str,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    retry_after: Option<Duration>,
) -> Status {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, message, details)
}
