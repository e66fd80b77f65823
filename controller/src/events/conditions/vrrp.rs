//! Who is Active in each VRRP instance, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_proto::v1::event::{Details, RoleDetails};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind, VrrpObserved, VrrpState};

use super::{Condition, Conditions, Ended, SILENCE_HOLD, Told, condition, event, told_value, with};
use crate::events::world::World;

/// The condition of an instance without an Active. A director's name has no such letter.
const NOBODY: &str = "(nobody)";
/// Stands between several that are Active.
const AND: &str = " and ";

pub(super) fn list(world: &World, told: &Told, conditions: &mut Conditions) {
    let mut seen: BTreeMap<&str, Vec<(&str, &VrrpObserved)>> = BTreeMap::new();
    for (key, _, observed) in world.directors() {
        for instance in &observed.vrrp_instances {
            seen.entry(&instance.instance).or_default().push((key.name.as_str(), instance));
        }
    }
    for (instance, views) in seen {
        let Some(wanted) = world.instance(instance) else { continue };
        let key = format!("vrrp/{instance}");
        let before = told_value(told, &key);
        let active: Vec<&str> = views
            .iter()
            .filter(|(_, view)| view.state() == VrrpState::Active)
            .map(|(director, _)| *director)
            .collect();
        let found = match active[..] {
            [director] => became_active(world, (instance, director), before, &views),
            [] if wanted.members.len() == views.len() => nobody(world, instance, before, &views),
            // A member that is not heard may be Active.
            [] => continue,
            [_, _, ..] => several(world, instance, before, &active),
        };
        conditions.insert(key, found);
    }
}

fn became_active(
    world: &World,
    (instance, director): (&str, &str),
    before: &str,
    views: &[(&str, &VrrpObserved)],
) -> Condition {
    let previous = before.split(AND).find(|name| *name != director && *name != NOBODY);
    let previous = previous.unwrap_or_default();
    let view = |name: &str| views.iter().find(|(known, _)| *known == name).map(|(_, view)| *view);
    let cause = match (previous, before) {
        ("", NOBODY) => "nobody was".to_owned(),
        ("", _) => String::new(),
        (previous, _) => why(world, (instance, director), previous, view(previous), view(director)),
    };
    let severity = if previous.is_empty() { EventSeverity::Info } else { EventSeverity::Warning };
    let text = format!("director {director} is Active in {instance}");
    let about = (EventSubjectKind::VrrpInstance, instance);
    let event = event(world, (EventKind::BecameActive, severity), about, text);
    let details = RoleDetails { active: vec![director.to_owned()], previous: previous.to_owned() };
    let mut event = with(event, cause, Details::Role(details));
    if world.handover(instance, director).is_some() {
        event.traceparent.clone_from(&world.planned.traceparent);
    }
    condition(director, 3, Duration::ZERO, event)
}

/// Why somebody else is Active than before, from what is known of both.
fn why(
    world: &World,
    (instance, director): (&str, &str),
    previous: &str,
    old: Option<&VrrpObserved>,
    new: Option<&VrrpObserved>,
) -> String {
    if let Some(order) = world.handover(instance, director) {
        let reason =
            if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
        return format!("ordered by {}{reason}", order.requested_by);
    }
    let Some(old) = old else {
        let name = previous.parse().ok();
        let known = name.and_then(|name| world.agent(&AgentId { role: AgentRole::Director, name }));
        return match known {
            Some(known) if !known.status.attached => {
                format!("director {previous} is not heard any more")
            }
            Some(_) => format!("director {previous} does not take part any more"),
            None => format!("nothing is heard of director {previous}"),
        };
    };
    if let Some(fault) = old.faults.first() {
        return format!("director {previous} must not be: {fault}");
    }
    if old.state() == VrrpState::Initialize {
        return format!("director {previous} has not begun: its interface is down, or it starts");
    }
    match new.map(|new| new.priority) {
        Some(priority) if priority > old.priority => {
            format!("its priority {priority} is above {} of director {previous}", old.priority)
        }
        Some(_) | None => format!("director {previous} gave it up"),
    }
}

fn nobody(
    world: &World,
    instance: &str,
    before: &str,
    views: &[(&str, &VrrpObserved)],
) -> Condition {
    let faults = views.iter().filter_map(|(name, view)| {
        view.faults.first().map(|fault| format!("director {name} must not be: {fault}"))
    });
    let cause = faults.collect::<Vec<_>>().join("; ");
    let what = (EventKind::NobodyActive, EventSeverity::Error);
    let text = format!("no director is Active in {instance}");
    let event = event(world, what, (EventSubjectKind::VrrpInstance, instance), text);
    let previous = if before == NOBODY { "" } else { before };
    let details = RoleDetails { active: Vec::new(), previous: previous.to_owned() };
    condition(NOBODY, 3, SILENCE_HOLD, with(event, cause, Details::Role(details)))
}

fn several(world: &World, instance: &str, before: &str, active: &[&str]) -> Condition {
    let names = active.join(AND);
    let what = (EventKind::SeveralActive, EventSeverity::Error);
    let text = format!("directors {names} are Active in {instance} at once");
    let event = event(world, what, (EventSubjectKind::VrrpInstance, instance), text);
    let cause = "they do not hear each other's adverts: look at what is between them".to_owned();
    let details = RoleDetails {
        active: active.iter().map(ToString::to_string).collect(),
        previous: before.to_owned(),
    };
    condition(&names, 3, SILENCE_HOLD, with(event, cause, Details::Role(details)))
}

pub(super) fn ended(world: &World, instance: &str) -> Ended {
    if world.instance(instance).is_some() { Ended::Unknown } else { Ended::Gone }
}
