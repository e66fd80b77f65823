//! Kept revisions as the API tells them. Pure.

use std::time::{Duration, UNIX_EPOCH};

use fulcrum_intent::Change;
use fulcrum_intent::history::{Difference, Entry, Origin};
use fulcrum_model::Revision;
use fulcrum_proto::convert::{self, FieldViolation};
use fulcrum_proto::v1;
use tonic::Status;

use super::apply::decide::change_to_wire;
use super::apply::unconfirmed::confirm_by;
use super::errors;
use crate::raft::IntentState;

/// Revisions of a page when not given, and the most of one.
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1000;
/// Changes of a revision that a list tells, so that a page stays small.
const LISTED_CHANGES: usize = 20;

/// A page of the kept revisions.
///
/// # Errors
/// `INVALID_ARGUMENT` with every bad field.
pub fn list(
    request: &v1::ListRevisionsRequest,
    state: &IntentState,
) -> Result<v1::ListRevisionsResponse, Status> {
    let mut violations: Vec<FieldViolation> = Vec::new();
    let size = match request.page_size {
        0 => DEFAULT_PAGE,
        size if size <= MAX_PAGE => size,
        size => {
            let text = format!("{size}: a page has at most {MAX_PAGE} revisions");
            violations.push(errors::violation("page_size", text));
            MAX_PAGE
        }
    };
    let before = match request.page_token.as_str() {
        "" => u64::MAX,
        token => token.parse().unwrap_or_else(|_| {
            let text = format!("{token:?}: give next_page_token of the answer before, or none");
            violations.push(errors::violation("page_token", text));
            0
        }),
    };
    if !violations.is_empty() {
        return Err(errors::bad_request(&violations));
    }
    let mut older =
        state.history.newest_first().skip_while(|entry| entry.revision.0 >= before).peekable();
    let mut revisions = Vec::new();
    while revisions.len() < size as usize
        && let Some(entry) = older.next()
    {
        revisions.push(revision(entry, LISTED_CHANGES, state));
    }
    let next = older.peek().and(revisions.last()).map(|last| last.revision.to_string());
    let oldest = match state.history.oldest(state.revision) {
        // Before the first write there is nothing that could be restored.
        Revision(0) => {
            state.history.oldest_first().next().map_or(Revision(0), |entry| entry.revision)
        }
        oldest => oldest,
    };
    Ok(v1::ListRevisionsResponse {
        revisions,
        next_page_token: next.unwrap_or_default(),
        oldest_revision: oldest.0,
    })
}

/// A kept revision with all that it changed, without secrets.
///
/// # Errors
/// `OUT_OF_RANGE` when it is not kept, or its intent alone is.
pub fn get(
    request: v1::GetRevisionRequest,
    state: &IntentState,
) -> Result<v1::GetRevisionResponse, Status> {
    let wanted = if request.revision == 0 { state.revision } else { Revision(request.revision) };
    let found = state.history.differences(state.revision, &state.resources, wanted);
    let (entry, differences) = found.map_err(|error| {
        let is_kept = wanted != Revision(0) && state.history.check(state.revision, wanted).is_ok();
        if is_kept { errors::changes_not_kept(&error) } else { errors::not_kept(&error) }
    })?;
    Ok(v1::GetRevisionResponse {
        revision: Some(revision(entry, usize::MAX, state)),
        differences: differences.iter().map(difference).collect(),
    })
}

/// The change that waits to be confirmed, if one does.
pub fn unconfirmed(state: &IntentState) -> Option<v1::Revision> {
    state.waiting().map(|entry| revision(entry, LISTED_CHANGES, state))
}

fn revision(entry: &Entry, most_changes: usize, state: &IntentState) -> v1::Revision {
    let change = |undo: &fulcrum_intent::history::Undo| {
        change_to_wire(&Change { key: undo.key.clone(), action: undo.action })
    };
    let (origin, of) = match entry.origin {
        Origin::Apply => (v1::RevisionOrigin::Apply, Revision(0)),
        Origin::Rollback(to) => (v1::RevisionOrigin::Rollback, to),
        Origin::Confirm(of) => (v1::RevisionOrigin::Confirm, of),
        Origin::Revert(of) => (v1::RevisionOrigin::Revert, of),
    };
    let waits = state.waiting().is_some_and(|waiting| waiting.revision == entry.revision);
    let within = Some(entry.confirm_within_ms).filter(|within| *within > 0);
    v1::Revision {
        revision: entry.revision.0,
        base_revision: entry.base.0,
        time: (UNIX_EPOCH.checked_add(Duration::from_millis(entry.time_ms))).map(Into::into),
        who: entry.who.clone(),
        reason: entry.reason.clone(),
        origin: origin.into(),
        origin_revision: of.0,
        changes: entry.undo.iter().flatten().take(most_changes).map(change).collect(),
        change_count: entry.change_count,
        changes_dropped: entry.undo.is_none(),
        confirm_within: within.map(|ms| convert::duration_to_wire(Duration::from_millis(ms))),
        confirm_by: if waits { confirm_by(entry) } else { None },
    }
}

fn difference(difference: &Difference) -> v1::ResourceDifference {
    v1::ResourceDifference {
        before: difference.before.as_ref().map(convert::resource_to_watcher),
        after: difference.after.as_ref().map(convert::resource_to_watcher),
    }
}
