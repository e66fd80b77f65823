//! In what condition each thing is that events tell of. Pure.
//!
//! A thing has a key, and a condition: a word, empty when all is well. What is not well is listed; of what was told and is not listed any
//! more [`ended`] says whether it is well again, or merely not known now.

mod agents;
mod channels;
mod findings;
mod intent;
mod serving;
mod vrrp;

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_model::resource::Kind;
use fulcrum_proto::internal::v1::ToldCondition;
use fulcrum_proto::v1;
use fulcrum_proto::v1::event::Details;
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::log::MOST_TOLD;
use super::world::World;
use crate::raft::IntentState;

/// Before something new is told, so that what is over at once is not told.
const SHORT_HOLD: Duration = Duration::from_secs(2);
/// Before silence is told: agents and controllers find each other again within it when one of them is restarted or leads no more.
const SILENCE_HOLD: Duration = Duration::from_secs(5);
/// Before it is told of an agent that nobody has heard since the leader began.
const NEVER_HOLD: Duration = Duration::from_mins(1);

pub(super) use intent::{KEY as REVISION, untold as untold_revisions};

/// A thing's condition, with what is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// It; empty when all is well.
    pub value: String,
    /// How long it must stand before it is told.
    pub hold: Duration,
    /// What is told; nothing where it is only noted.
    pub event: Option<v1::Event>,
    /// Causes are told before their effects: the least first.
    pub rank: u8,
    /// The real-server agent whose evidence has the trace of it.
    pub trace_of: Option<String>,
}

/// What became of a thing that was told and is not listed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is well.
    Well(Box<Condition>),
    /// It cannot be told now.
    Unknown,
    /// It is no more.
    Gone,
}

/// All conditions, by key.
pub type Conditions = BTreeMap<String, Condition>;

/// What is told, by key.
pub type Told = BTreeMap<String, ToldCondition>;

/// Everything that is not well, and what is told whether it is well or not.
pub fn all(world: &World, state: &IntentState) -> Conditions {
    let told = state.events.told();
    let mut conditions = Conditions::new();
    agents::list(world, told, &mut conditions);
    vrrp::list(world, told, &mut conditions);
    serving::list(world, told, &mut conditions);
    findings::list(world, &mut conditions);
    intent::list(state, &mut conditions);
    channels::list(world, state, &mut conditions);
    conditions
}

/// What became of what was told with this key.
pub fn ended(world: &World, state: &IntentState, key: &str) -> Ended {
    let (family, rest) = key.split_once('/').unwrap_or((key, ""));
    match family {
        "agent" | "plan" => agents::ended(world, family, rest),
        "controller" => agents::controller_ended(world, rest),
        "vrrp" => vrrp::ended(world, rest),
        "real-server" => serving::real_server_ended(world, rest),
        "quorum" => serving::quorum_ended(world, rest),
        "finding" => findings::ended(world, rest),
        "notification" | "given-up" => channels::ended(world, state, family, rest),
        "drift" if world.resource(Kind::Director, rest).is_none() => Ended::Gone,
        "too-many" if state.events.told().len() < MOST_TOLD / 10 * 9 => Ended::Gone,
        // Noted without an end, or by a newer release.
        _ => Ended::Unknown,
    }
}

/// The value that was told of a key; empty when none was.
fn told_value<'a>(told: &'a Told, key: &str) -> &'a str {
    told.get(key).map_or("", |told| &told.value)
}

/// An event of what is told here: the rest is filled in by who tells it.
fn event(
    world: &World,
    (kind, severity): (EventKind, EventSeverity),
    (subject, name): (EventSubjectKind, &str),
    text: String,
) -> v1::Event {
    v1::Event {
        kind: kind.into(),
        severity: severity.into(),
        subject: Some(v1::EventSubject { kind: subject.into(), name: name.to_owned() }),
        site: world.site(subject, name),
        text,
        ..Default::default()
    }
}

fn condition(value: &str, rank: u8, hold: Duration, event: v1::Event) -> Condition {
    Condition { value: value.to_owned(), hold, event: Some(event), rank, trace_of: None }
}

fn with(event: v1::Event, cause: String, details: Details) -> v1::Event {
    v1::Event { cause, details: Some(details), ..event }
}
