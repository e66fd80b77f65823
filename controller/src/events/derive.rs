//! From conditions to events: what differs from what was told is told, once it has stood long enough, and not too often. Pure.
//!
//! What was told is a part of Raft's state, so that a new leader tells what the one before could not, and nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_proto::internal::v1::{EventChange, ToldCondition};
use fulcrum_proto::v1;
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};
use prost::Message as _;

use super::conditions::{self, Condition, Conditions, Ended, Told};
use super::log::MOST_TOLD;
use super::world::{Now, World};
use crate::raft::IntentState;

/// Most changes of one batch: what is more waits for the next one.
pub const MOST_CHANGES: usize = 256;
/// A thing is told of at most so often
const MOST_OFTEN: u32 = 5;
/// within this time, and then only
const WINDOW: Duration = Duration::from_mins(10);
/// when its condition has stood for so long,
const STAND: Duration = Duration::from_mins(1);
/// or when nothing was told of it for so long.
const REMIND: Duration = Duration::from_mins(5);
/// Longest event encoded, in bytes: one with more is told without its details.
const MOST_EVENT_BYTES: usize = 8192;
/// Longest text of an event, and of a reason, in bytes.
const MOST_TEXT_BYTES: usize = 1024;
/// Key of the event that not all is told.
const TOO_MANY: &str = "too-many";

/// What stands differently from what was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    /// What was told when it began.
    before: String,
    /// What it is now, and since when.
    value: String,
    since: Duration,
    /// This would be told were there not so much of it; and how many before it.
    is_left_out: bool,
    left_out: u32,
}

/// Decides what is told. One for each time that a controller leads.
#[derive(Debug, Default)]
pub struct Deriver {
    pending: BTreeMap<String, Pending>,
    /// What happened at a moment, and is no condition.
    moments: Vec<v1::Event>,
}

impl Deriver {
    /// Something happened that no condition tells, such as a write that was held. What is more than a batch takes is left.
    pub fn note(&mut self, event: v1::Event) {
        if self.moments.len() < MOST_CHANGES {
            self.moments.push(event);
        }
    }

    /// Whether something is to be told that only waits for its time.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty() || !self.moments.is_empty()
    }

    /// What is to be told now. Asked again before it was told it gives the same, but for moments.
    pub fn derive(
        &mut self,
        world: &World,
        state: &IntentState,
        now: Now,
        trace: impl Fn(&str) -> Option<String>,
    ) -> Vec<EventChange> {
        let told = state.events.told();
        let mut changes = Vec::new();
        for event in std::mem::take(&mut self.moments) {
            changes.push(change("", None, Some(finished(event, world, now, 0))));
        }
        for (revision, event) in conditions::untold_revisions(state, MOST_CHANGES) {
            let value = revision.to_string();
            let told = ToldCondition { value, told_ms: now.wall_ms, ..Default::default() };
            let event = finished(event, world, now, 0);
            changes.push(change(conditions::REVISION, Some(told), Some(event)));
        }
        let mut seen = conditions::all(world, state);
        forget(world, state, now, &mut seen, &mut changes);
        self.pending.retain(|key, _| seen.contains_key(key));
        let mut ordered: Vec<(&String, &Condition)> = seen.iter().collect();
        ordered.sort_by_key(|(key, condition)| (condition.rank, *key));
        for (key, condition) in ordered {
            if let Some((next, untold)) = self.due(key, condition, told, now) {
                let trace = condition.trace_of.as_deref().and_then(&trace);
                let event = condition.event.clone().map(|mut event| {
                    event.traceparent = trace.unwrap_or(event.traceparent);
                    if next.count == MOST_OFTEN {
                        event.text.push_str(
                            "; it changes often: from now on it is told when it has stood for 1m, or once in 5m",
                        );
                    }
                    finished(event, world, now, untold)
                });
                changes.push(change(key, Some(next), event));
            }
        }
        too_many(world, told, now, &mut changes);
        changes.truncate(MOST_CHANGES);
        changes
    }

    /// What to note as told of a condition, and how many changes were not told before, if it is to be told now.
    fn due(
        &mut self,
        key: &str,
        condition: &Condition,
        told: &Told,
        now: Now,
    ) -> Option<(ToldCondition, u32)> {
        let known = told.get(key);
        let before = known.map_or("", |known| known.value.as_str());
        if before == condition.value && !known.is_some_and(|known| is_damped(known, now)) {
            self.pending.remove(key);
            return None;
        }
        let fresh = || Pending {
            before: before.to_owned(),
            value: before.to_owned(),
            since: now.at,
            is_left_out: false,
            left_out: 0,
        };
        let pending = self.pending.entry(key.to_owned()).or_insert_with(fresh);
        if pending.before != before {
            // It was told since.
            *pending = fresh();
        }
        if pending.value != condition.value {
            pending.value.clone_from(&condition.value);
            pending.since = now.at;
            pending.left_out += u32::from(std::mem::take(&mut pending.is_left_out));
        }
        let stood = now.at.saturating_sub(pending.since);
        if before == condition.value || stood < condition.hold {
            return None;
        }
        let next = tell(&condition.value, known, stood, now);
        pending.is_left_out = next.is_none();
        Some((next?, pending.left_out))
    }
}

/// Adds what became of things that were told and are not listed any more.
fn forget(
    world: &World,
    state: &IntentState,
    now: Now,
    seen: &mut Conditions,
    changes: &mut Vec<EventChange>,
) {
    for (key, known) in state.events.told() {
        if seen.contains_key(key) || changes.len() >= MOST_CHANGES {
            continue;
        }
        match conditions::ended(world, state, key) {
            Ended::Well(condition) if !known.value.is_empty() || is_damped(known, now) => {
                seen.insert(key.clone(), *condition);
            }
            Ended::Unknown => {}
            Ended::Gone => changes.push(change(key, None, None)),
            // Well for so long that nothing needs to be remembered of it.
            Ended::Well(_) if now.wall_ms.saturating_sub(known.window_ms) > ms(WINDOW) => {
                changes.push(change(key, None, None));
            }
            Ended::Well(_) => {}
        }
    }
}

/// So much that is told of it stands at once that something is left out.
fn too_many(world: &World, told: &Told, now: Now, changes: &mut Vec<EventChange>) {
    let new = changes.iter().filter(|change| !told.contains_key(&change.key)).count();
    if told.len() + new < MOST_TOLD {
        return;
    }
    changes.retain(|change| change.key.is_empty() || told.contains_key(&change.key));
    if !told.contains_key(TOO_MANY) {
        let subject =
            v1::EventSubject { kind: EventSubjectKind::Cluster.into(), name: "cluster".to_owned() };
        let event = v1::Event {
            kind: EventKind::TooMany.into(),
            severity: EventSeverity::Error.into(),
            subject: Some(subject),
            text: format!("more than {MOST_TOLD} things are not well: new ones are not told"),
            ..Default::default()
        };
        let note =
            ToldCondition { value: "yes".to_owned(), told_ms: now.wall_ms, ..Default::default() };
        changes.insert(0, change(TOO_MANY, Some(note), Some(finished(event, world, now, 0))));
    }
}

/// Whether a thing was told of so often that it must stand before it is told of again.
fn is_damped(known: &ToldCondition, now: Now) -> bool {
    known.count >= MOST_OFTEN && now.wall_ms.saturating_sub(known.window_ms) < ms(WINDOW)
}

/// What to note where it is to be told.
fn tell(
    value: &str,
    known: Option<&ToldCondition>,
    stood: Duration,
    now: Now,
) -> Option<ToldCondition> {
    let fresh = ToldCondition {
        value: value.to_owned(),
        told_ms: now.wall_ms,
        window_ms: now.wall_ms,
        count: 1,
    };
    let Some(known) = known else { return Some(fresh) };
    if now.wall_ms.saturating_sub(known.window_ms) >= ms(WINDOW) {
        return Some(fresh);
    }
    let is_quiet = stood >= STAND || now.wall_ms.saturating_sub(known.told_ms) >= ms(REMIND);
    let count = known.count.saturating_add(1);
    let next = ToldCondition { window_ms: known.window_ms, count, ..fresh };
    (known.count < MOST_OFTEN || is_quiet).then_some(next)
}

fn change(key: &str, told: Option<ToldCondition>, event: Option<v1::Event>) -> EventChange {
    EventChange { key: key.to_owned(), told, event }
}

/// With what every event has alike, and within its bounds.
fn finished(event: v1::Event, world: &World, now: Now, untold: u32) -> v1::Event {
    let seconds = i64::try_from(now.wall_ms / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(now.wall_ms % 1000 * 1_000_000).unwrap_or(0);
    let event = v1::Event {
        time: Some(prost_types::Timestamp { seconds, nanos }),
        text: short(event.text),
        cause: short(event.cause),
        untold,
        told_by: world.me.clone(),
        ..event
    };
    // Agents' words may be long, and the log is kept by all.
    let is_short = event.encoded_len() <= MOST_EVENT_BYTES;
    v1::Event { details: event.details.filter(|_| is_short), ..event }
}

fn short(text: String) -> String {
    if text.len() <= MOST_TEXT_BYTES {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(MOST_TEXT_BYTES)])
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
