//! Who is heard: agents, controllers, and who leads; and agents that refuse their plans.

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_proto::v1;
use fulcrum_proto::v1::event::{AgentDetails, Details};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::{
    Condition, Conditions, Ended, NEVER_HOLD, SHORT_HOLD, SILENCE_HOLD, Told, condition, event,
    told_value, with,
};
use crate::events::world::World;

const LEADER: &str = "leader";

pub(super) fn list(world: &World, told: &Told, conditions: &mut Conditions) {
    conditions.insert(LEADER.to_owned(), leader(world, told_value(told, LEADER)));
    for (name, controller) in &world.controllers {
        if !controller.reachable {
            let what = (EventKind::ControllerLost, EventSeverity::Warning);
            let about = (EventSubjectKind::Controller, name.as_str());
            let text = format!("controller {name} is not reached by {}", world.me);
            let lost = condition("lost", 1, SILENCE_HOLD, event(world, what, about, text));
            conditions.insert(format!("controller/{name}"), lost);
        }
    }
    for key in &world.planned.named {
        let known = world.agent(key).map(|known| &*known.status);
        match known.filter(|status| status.epoch > 0) {
            Some(status) if status.attached => refusal(world, key, status, conditions),
            Some(status) => {
                let text = format!("{} is attached to no controller", words(key));
                let event = with(lost(world, key, text), String::new(), details(status, 0));
                conditions
                    .insert(format!("agent/{key}"), condition("lost", 2, SILENCE_HOLD, event));
            }
            // It may come yet, and it was told already where it was lost before.
            None => {
                let text = format!("{} was not heard since {} leads", words(key), world.me);
                let event = lost(world, key, text);
                conditions.insert(format!("agent/{key}"), condition("lost", 2, NEVER_HOLD, event));
            }
        }
    }
}

fn leader(world: &World, before: &str) -> Condition {
    let text = match before {
        "" => format!("controller {} leads", world.me),
        before => format!("controller {} leads, {before} did", world.me),
    };
    let what = (EventKind::LeaderChanged, EventSeverity::Info);
    let event = event(world, what, (EventSubjectKind::Controller, &world.me), text);
    condition(&world.me, 0, std::time::Duration::ZERO, event)
}

fn lost(world: &World, key: &AgentId, text: String) -> v1::Event {
    let severity = match key.role {
        AgentRole::Director => EventSeverity::Error,
        AgentRole::RealServer => EventSeverity::Warning,
    };
    event(world, (EventKind::AgentLost, severity), (subject(key), key.name.as_str()), text)
}

fn refusal(world: &World, key: &AgentId, status: &v1::AgentStatus, conditions: &mut Conditions) {
    let Some(ack) = status.ack.as_ref().filter(|ack| !ack.applied && !ack.reason.is_empty()) else {
        return;
    };
    let revision = ack.version.as_ref().map_or(0, |version| version.revision);
    let text = format!("{} holds its plan of revision {revision}", words(key));
    let what = (EventKind::PlanRefused, EventSeverity::Error);
    let event = event(world, what, (subject(key), key.name.as_str()), text);
    let event = with(event, ack.reason.clone(), details(status, revision));
    conditions.insert(format!("plan/{key}"), condition("refused", 8, SHORT_HOLD, event));
}

pub(super) fn controller_ended(world: &World, name: &str) -> Ended {
    if !world.controllers.contains_key(name) {
        return Ended::Gone;
    }
    let what = (EventKind::ControllerBack, EventSeverity::Info);
    let about = (EventSubjectKind::Controller, name);
    let text = format!("controller {name} is reached again by {}", world.me);
    Ended::Well(Box::new(condition("", 1, SHORT_HOLD, event(world, what, about, text))))
}

/// Of `agent/director/a` and `plan/director/a`.
pub(super) fn ended(world: &World, family: &str, rest: &str) -> Ended {
    let Some(key) = read(rest) else { return Ended::Gone };
    if !world.planned.named.contains(&key) {
        return Ended::Gone;
    }
    let Some(status) = world.agent(&key).map(|known| &*known.status) else { return Ended::Unknown };
    if !status.attached {
        return Ended::Unknown;
    }
    let about = (subject(&key), key.name.as_str());
    if family == "agent" {
        let text = format!("{} is attached to {} again", words(&key), status.controller);
        let back = event(world, (EventKind::AgentBack, EventSeverity::Info), about, text);
        let back = with(back, String::new(), details(status, 0));
        return Ended::Well(Box::new(condition("", 2, SHORT_HOLD, back)));
    }
    let Some(ack) = status.ack.as_ref().filter(|ack| ack.applied) else { return Ended::Unknown };
    let revision = ack.version.as_ref().map_or(0, |version| version.revision);
    let text = format!("{} applied its plan of revision {revision}", words(&key));
    let taken = event(world, (EventKind::PlanTaken, EventSeverity::Info), about, text);
    let taken = with(taken, String::new(), details(status, revision));
    Ended::Well(Box::new(condition("", 8, SHORT_HOLD, taken)))
}

fn details(status: &v1::AgentStatus, revision: u64) -> Details {
    let controller = status.controller.clone();
    Details::Agent(AgentDetails { controller, last_heard: status.last_heard, revision })
}

/// The agent whose key is `director/NAME` or `realserver/NAME`.
pub(super) fn read(text: &str) -> Option<AgentId> {
    let (role, name) = text.split_once('/')?;
    let roles = [AgentRole::Director, AgentRole::RealServer];
    let role = roles.into_iter().find(|known| known.as_str() == role)?;
    Some(AgentId { role, name: name.parse().ok()? })
}

pub(super) fn subject(key: &AgentId) -> EventSubjectKind {
    match key.role {
        AgentRole::Director => EventSubjectKind::Director,
        AgentRole::RealServer => EventSubjectKind::RealServerAgent,
    }
}

pub(super) fn words(key: &AgentId) -> String {
    match key.role {
        AgentRole::Director => format!("director {}", key.name),
        AgentRole::RealServer => format!("the real-server agent {}", key.name),
    }
}
