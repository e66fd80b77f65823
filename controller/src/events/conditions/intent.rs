//! What was written. Its condition is the newest revision that was told.

use std::time::Duration;

use fulcrum_intent::history::{Entry, Origin};
use fulcrum_model::Revision;
use fulcrum_proto::convert::duration_to_text;
use fulcrum_proto::v1;
use fulcrum_proto::v1::event::{Details, IntentDetails};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::{Condition, Conditions, told_value};
use crate::raft::IntentState;

/// What is told of revisions.
pub(in crate::events) const KEY: &str = "revision";

/// A cluster with so few revisions is new: all of them are told.
const FEW: usize = 8;

/// Notes the present revision where none was noted: after an upgrade history is not told once more.
pub(super) fn list(state: &IntentState, conditions: &mut Conditions) {
    if told_value(state.events.told(), KEY).is_empty() {
        let is_whole = state.history.oldest(state.revision) == Revision(0);
        let is_new = is_whole && state.history.oldest_first().count() <= FEW;
        let value = if is_new { 0 } else { state.revision.0 }.to_string();
        let (hold, rank) = (Duration::ZERO, 0);
        let noted = Condition { value, hold, event: None, rank, trace_of: None };
        conditions.insert(KEY.to_owned(), noted);
    }
}

/// The kept revisions that were not told, oldest first, at most `most`, each with its event.
pub(in crate::events) fn untold(
    state: &IntentState,
    most: usize,
) -> impl Iterator<Item = (u64, v1::Event)> {
    let told = told_value(state.events.told(), KEY).parse().ok();
    let newer = state.history.oldest_first();
    newer
        .filter(move |entry| told.is_some_and(|told: u64| entry.revision.0 > told))
        .take(most)
        .map(|entry| (entry.revision.0, event(entry)))
}

fn event(entry: &Entry) -> v1::Event {
    let who = if entry.who.is_empty() { "somebody" } else { &entry.who };
    let changed = match entry.change_count {
        1 => "1 resource".to_owned(),
        count => format!("{count} resources"),
    };
    let revision = entry.revision;
    let (kind, severity, origin, text) = match entry.origin {
        Origin::Apply if entry.confirm_within_ms > 0 => {
            let within = duration_to_text(Duration::from_millis(entry.confirm_within_ms));
            let text = format!(
                "{who} changed {changed} in revision {revision}, to be confirmed within {within}"
            );
            (EventKind::ChangeWaits, EventSeverity::Info, 0, text)
        }
        Origin::Apply => {
            let text = format!("{who} changed {changed} in revision {revision}");
            (EventKind::IntentChanged, EventSeverity::Info, 0, text)
        }
        Origin::Rollback(to) => {
            let text =
                format!("{who} brought revision {to} back in revision {revision}: {changed}");
            (EventKind::RolledBack, EventSeverity::Warning, to.0, text)
        }
        Origin::Confirm(of) => {
            let text = format!("{who} confirmed revision {of}");
            (EventKind::ChangeConfirmed, EventSeverity::Info, of.0, text)
        }
        Origin::Revert(of) => {
            let text = format!("revision {of} was undone by revision {revision}: {changed}");
            (EventKind::ChangeReverted, EventSeverity::Warning, of.0, text)
        }
    };
    let name = revision.to_string();
    v1::Event {
        kind: kind.into(),
        severity: severity.into(),
        subject: Some(v1::EventSubject { kind: EventSubjectKind::Intent.into(), name }),
        text,
        cause: entry.reason.clone(),
        details: Some(Details::Intent(IntentDetails {
            revision: revision.0,
            origin_revision: origin,
            who: entry.who.clone(),
            reason: entry.reason.clone(),
            change_count: entry.change_count,
        })),
        ..Default::default()
    }
}
