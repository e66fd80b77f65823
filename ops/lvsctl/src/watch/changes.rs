//! The difference of two states of an object, in words.

use std::collections::BTreeMap;

use fulcrum_proto::v1;

use super::{Key, Object};
use crate::status::{controller_role_word, verdict_word, vrrp_state_word};

/// What is new, a line each; none when nothing that matters to people is.
pub(super) fn lines(key: &Key, old: Option<&Object>, new: &Object) -> Vec<String> {
    match (key, old, new) {
        (Key::Controller(name), Some(Object::Controller(old)), Object::Controller(new)) => {
            controller(name, old, new)
        }
        (Key::Agent(name), Some(Object::Agent(old)), Object::Agent(new)) => agent(name, old, new),
        (Key::Evidence(agent), Some(Object::Evidence(old)), Object::Evidence(new)) => {
            evidence(agent, old, new)
        }
        (Key::Resource(name), Some(Object::Resource(old)), Object::Resource(new)) => {
            let revision = new.metadata.as_ref().map_or(0, |metadata| metadata.revision);
            if old == new {
                Vec::new()
            } else {
                vec![format!("{name} changed at revision {revision}")]
            }
        }
        (Key::Agent(name), _, Object::Agent(new)) => agent(name, &v1::AgentStatus::default(), new),
        (Key::Evidence(agent), _, Object::Evidence(new)) => {
            evidence(agent, &v1::Evidence::default(), new)
        }
        (
            Key::Controller(name) | Key::Resource(name) | Key::Agent(name) | Key::Evidence(name),
            _,
            _,
        ) => vec![format!("{name} is new")],
    }
}

/// `what: old → new`, where they differ.
fn moved<T: PartialEq + std::fmt::Display>(what: &str, old: T, new: T) -> Option<String> {
    (old != new).then(|| format!("{what} {old} → {new}"))
}

fn controller(name: &str, old: &v1::ControllerStatus, new: &v1::ControllerStatus) -> Vec<String> {
    let reach = |status: &v1::ControllerStatus| {
        if status.reachable { "in reach" } else { "out of reach" }
    };
    let role = |status: &v1::ControllerStatus| controller_role_word(status.role());
    let role = moved(name, role(old), role(new));
    let reach = moved(name, reach(old), reach(new));
    role.into_iter().chain(reach).collect()
}

fn agent(name: &str, old: &v1::AgentStatus, new: &v1::AgentStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if (old.attached, &old.controller) != (new.attached, &new.controller) {
        lines.push(if new.attached {
            format!("{name} attached to {}", new.controller)
        } else {
            format!("{name} not attached any more")
        });
    }
    if old.ack != new.ack
        && let Some(ack) = &new.ack
    {
        let revision = ack.version.as_ref().map_or(0, |version| version.revision);
        lines.push(if ack.applied {
            format!("{name} applied revision {revision}")
        } else {
            format!("{name} refuses revision {revision}: {}", ack.reason)
        });
    }
    let none = v1::DirectorObserved::default();
    let (was, is) =
        (old.director.as_ref().unwrap_or(&none), new.director.as_ref().unwrap_or(&none));
    lines.extend(vrrp(name, was, is));
    lines.extend(weights(name, was, is));
    let of_hosts = |status: &v1::AgentStatus| {
        status.real_server.as_ref().map(|observed| observed.problems.clone()).unwrap_or_default()
    };
    lines.extend(problems(name, &was.problems, &is.problems));
    lines.extend(problems(name, &of_hosts(old), &of_hosts(new)));
    lines
}

fn vrrp(name: &str, old: &v1::DirectorObserved, new: &v1::DirectorObserved) -> Vec<String> {
    let states: BTreeMap<&str, v1::VrrpState> =
        old.vrrp_instances.iter().map(|vrrp| (vrrp.instance.as_str(), vrrp.state())).collect();
    let changed = new.vrrp_instances.iter().filter_map(|vrrp| {
        let was = states.get(vrrp.instance.as_str()).copied().unwrap_or_default();
        let what = format!("{name} {}", vrrp.instance);
        moved(&what, vrrp_state_word(was), vrrp_state_word(vrrp.state()))
    });
    changed.collect()
}

fn weights(name: &str, old: &v1::DirectorObserved, new: &v1::DirectorObserved) -> Vec<String> {
    let key = |decision: &v1::WeightDecision| {
        (decision.virtual_server.clone(), decision.real_server.clone())
    };
    let before: BTreeMap<_, u32> =
        old.weights.iter().map(|decision| (key(decision), decision.weight)).collect();
    let changed = new.weights.iter().filter_map(|decision| {
        let why = decision.reasons.join("; ");
        let v1::WeightDecision { virtual_server, real_server, weight, .. } = decision;
        let what = format!("{name} {virtual_server} {real_server} weight");
        match before.get(&key(decision)) {
            Some(was) => moved(&what, was, weight).map(|line| format!("{line}: {why}")),
            None => Some(format!("{what} {weight}: {why}")),
        }
    });
    let gone = old.weights.iter().filter(|was| !new.weights.iter().any(|is| key(is) == key(was)));
    let gone = gone.map(|was| format!("{name} {} {} removed", was.virtual_server, was.real_server));
    changed.chain(gone).collect()
}

fn problems(name: &str, old: &[String], new: &[String]) -> Vec<String> {
    let begun = new.iter().filter(|problem| !old.contains(problem));
    let over = old.iter().filter(|problem| !new.contains(problem));
    let begun = begun.map(|problem| format!("{name} problem: {problem}"));
    begun.chain(over.map(|problem| format!("{name} solved: {problem}"))).collect()
}

fn evidence(agent: &str, old: &v1::Evidence, new: &v1::Evidence) -> Vec<String> {
    let verdicts: BTreeMap<&str, v1::Verdict> =
        old.servers.iter().map(|server| (server.real_server.as_str(), server.verdict())).collect();
    let servers = new.servers.iter().filter_map(|server| {
        let name = server.real_server.as_str();
        let was = verdicts.get(name).copied().unwrap_or_default();
        let line = moved(name, verdict_word(was), verdict_word(server.verdict()))?;
        Some(format!("{line}: {}", server.reasons.join("; ")))
    });
    let word = |vip: &v1::VipEvidence| match (vip.bound, vip.arp_safe) {
        (true, true) => "bound, safe",
        (true, false) => "bound, unsafe",
        (false, _) => "not bound",
    };
    let bound: BTreeMap<&str, &str> =
        old.vips.iter().map(|vip| (vip.vip.as_str(), word(vip))).collect();
    let vips = new.vips.iter().filter_map(|vip| {
        let was = bound.get(vip.vip.as_str()).copied().unwrap_or("not bound");
        moved(&format!("{agent} VIP {}", vip.vip), was, word(vip))
    });
    servers.chain(vips).collect()
}
