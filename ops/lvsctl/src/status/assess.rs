//! What counts as unhealthy, each with its remedy:
//! a controller that is out of reach, or no leader; an agent that is not attached, behind or refusing; an instance
//! without an Active, with two, or with a director that takes no part; a real server out of rotation or judged not to
//! serve; a VIP that is not safe on a real server; and whatever agents call a problem themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use fulcrum_proto::v1;

use super::restarts;
use super::time::ago;
use super::view::{View, agent_role_word, verdict_word, vrrp_state_word};
use super::vrrp;

/// Everything unhealthy, worst first: what serves nobody before what is at risk.
pub(crate) fn problems(topology: &v1::Topology, now: SystemTime) -> Vec<String> {
    let view = View::new(topology);
    let mut problems = Vec::new();
    vrrp_instances(&view, &mut problems);
    rotation(&view, &mut problems);
    restarts::problems(&view, &mut problems);
    agents(&view, now, &mut problems);
    controllers(topology, &mut problems);
    notifications(topology, &mut problems);
    problems
}

fn notifications(topology: &v1::Topology, problems: &mut Vec<String>) {
    for status in topology.notifications.iter().filter(|status| status.failing_since_ms > 0) {
        let v1::NotificationStatus { policy, channel, error, .. } = status;
        problems.push(format!(
            "notifications by {policy}/{channel} fail: {error}; correct the policy or what it sends to"
        ));
    }
}

/// What is unhealthy at one director, by its own account.
pub(crate) fn director_problems(found: &v1::GetDirectorStatusResponse) -> Vec<String> {
    let observed = found.observed.clone().unwrap_or_default();
    let mut problems = Vec::new();
    if found.plan.is_none() {
        problems.push(
            "the director has no plan: name it in the intent and let it attach to a controller"
                .to_owned(),
        );
    } else if found.controller.is_empty() {
        problems.push(
            "the director is attached to no controller: it goes on by its last plan; check the \
             controllers and the network to them"
                .to_owned(),
        );
    }
    for seen in &observed.vrrp_instances {
        if !takes_part(seen.state()) && seen.faults.is_empty() {
            problems.push(format!("{} is in {}: {INITIALIZE}", seen.instance, state(seen)));
        }
        let told = vrrp::problems(seen).into_iter();
        problems.extend(told.map(|problem| format!("{}: {problem}", seen.instance)));
    }
    for decision in observed.weights.iter().filter(|decision| is_out(decision)) {
        problems.push(format!(
            "{} is out of rotation of {}: {}",
            decision.real_server,
            decision.virtual_server,
            reasons(decision)
        ));
    }
    problems.extend(observed.problems);
    problems
}

const INITIALIZE: &str = "its interface is down or has no address; check `ip address` there";

fn state(vrrp: &v1::VrrpObserved) -> &'static str {
    vrrp_state_word(vrrp.state())
}

fn takes_part(state: v1::VrrpState) -> bool {
    match state {
        v1::VrrpState::Active | v1::VrrpState::Backup => true,
        v1::VrrpState::Initialize | v1::VrrpState::Unspecified => false,
    }
}

/// Meant to take connections, and does not.
pub(super) fn is_out(decision: &v1::WeightDecision) -> bool {
    decision.weight == 0 && decision.planned_weight > 0
}

pub(super) fn reasons(decision: &v1::WeightDecision) -> String {
    decision.reasons.join("; ")
}

fn vrrp_instances(view: &View<'_>, problems: &mut Vec<String>) {
    for (name, instance) in &view.vrrp_instances {
        let told = |state: v1::VrrpState, attached: bool| -> Vec<&str> {
            let members = instance.members.iter().map(|member| member.director.as_str());
            members
                .filter(|director| view.is_attached(director) == attached)
                .filter(|director| {
                    view.vrrp(director, name).is_some_and(|vrrp| vrrp.state() == state)
                })
                .collect()
        };
        let active = told(v1::VrrpState::Active, true);
        let was_active = told(v1::VrrpState::Active, false);
        match (active.as_slice(), was_active.as_slice()) {
            ([_], _) => {}
            ([], []) => problems.push(format!(
                "{name} has no Active: nobody holds {}; check the directors of the instance",
                instance.vips.join(", ")
            )),
            ([], silent) => problems.push(format!(
                "{name} has no Active that is attached; {} was it when last heard",
                silent.join(", ")
            )),
            (several, _) => problems.push(format!(
                "{name} has {} Actives: {}; they do not hear each other's adverts: check the \
                 segment between them and firewalls for IP protocol 112",
                several.len(),
                several.join(", ")
            )),
        }
        for member in &instance.members {
            let director = member.director.as_str();
            let Some(agent) = view.directors.get(director).filter(|agent| agent.attached) else {
                continue;
            };
            match view.vrrp(director, name) {
                Some(seen) => {
                    if !takes_part(seen.state()) && seen.faults.is_empty() {
                        let state = state(seen);
                        problems.push(format!("{name} is in {state} on {director}: {INITIALIZE}"));
                    }
                    let told = vrrp::problems(seen).into_iter();
                    problems.extend(told.map(|problem| format!("{name} on {director}: {problem}")));
                }
                // One that has not applied the plan yet is told of as behind.
                None if is_behind(agent, view.topology.revision).is_some() => {}
                None => problems.push(format!("{director} tells nothing of {name}")),
            }
        }
    }
}

/// Real servers that do not serve: by the directors' weights, or else by their agents' word.
fn rotation(view: &View<'_>, problems: &mut Vec<String>) {
    let mut out: BTreeMap<(&str, &str, String), Vec<&str>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (director, agent) in view.directors.iter().filter(|(_, agent)| agent.attached) {
        let observed = agent.director.as_ref();
        let weights = observed.map(|observed| observed.weights.as_slice()).unwrap_or_default();
        for decision in weights.iter().filter(|decision| is_out(decision)) {
            let key = (
                decision.real_server.as_str(),
                decision.virtual_server.as_str(),
                reasons(decision),
            );
            told.insert(decision.real_server.as_str());
            out.entry(key).or_default().push(director);
        }
    }
    for ((real_server, virtual_server, reasons), directors) in out {
        problems.push(format!(
            "{real_server} is out of rotation of {virtual_server} on {}: {reasons}",
            directors.join(", ")
        ));
    }
    for evidence in view.evidence.values() {
        for server in &evidence.servers {
            let serves = match server.verdict() {
                v1::Verdict::Up | v1::Verdict::Saturated => true,
                // Meant by whoever told it to.
                v1::Verdict::Draining => true,
                // A silent agent is told of as not attached.
                v1::Verdict::Unknown | v1::Verdict::Unspecified => true,
                v1::Verdict::Stopping | v1::Verdict::Down => false,
            };
            let real_server = server.real_server.as_str();
            if !serves && !told.contains(real_server) && view.real_servers.contains_key(real_server)
            {
                problems.push(format!(
                    "{real_server} is {}: {}",
                    verdict_word(server.verdict()),
                    server.reasons.join("; ")
                ));
            }
        }
        for vip in evidence.vips.iter().filter(|vip| !vip.bound || !vip.arp_safe) {
            let lack = if vip.bound { "is not safe from ARP" } else { "is not bound" };
            let detail =
                if vip.detail.is_empty() { String::new() } else { format!(": {}", vip.detail) };
            problems.push(format!("VIP {} {lack} on {}{detail}", vip.vip, evidence.agent));
        }
    }
}

fn agents(view: &View<'_>, now: SystemTime, problems: &mut Vec<String>) {
    for agent in &view.topology.agents {
        let who = agent_role_word(agent);
        if !agent.attached {
            let unit =
                if agent.role == "director" { "fulcrum-director" } else { "fulcrum-realserver" };
            problems.push(match agent.last_heard {
                None => format!("{who} was never heard: start {unit} on its host"),
                Some(heard) => format!(
                    "{who} is not attached, last heard {} ago: it goes on by its last plan if it runs; \
                     check `systemctl status {unit}` on its host and the network to the controllers",
                    ago(heard, now)
                ),
            });
        } else if let Some(behind) = is_behind(agent, view.topology.revision) {
            problems.push(format!("{who} {behind}"));
        }
        let director = agent.director.iter().flat_map(|observed| &observed.problems);
        let real_server = agent.real_server.iter().flat_map(|observed| &observed.problems);
        problems.extend(director.chain(real_server).map(|problem| format!("{who}: {problem}")));
    }
}

/// Why an attached agent does not run on the intent's revision.
fn is_behind(agent: &v1::AgentStatus, revision: u64) -> Option<String> {
    let Some(ack) = &agent.ack else {
        // Without intent there is nothing to acknowledge.
        return (revision > 0).then(|| "has not answered any plan yet".to_owned());
    };
    let acked = ack.version.as_ref().map_or(0, |version| version.revision);
    if !ack.applied {
        return Some(format!("refuses the plan of revision {acked}: {}", ack.reason));
    }
    (acked < revision).then(|| format!("is at revision {acked} of {revision}"))
}

fn controllers(topology: &v1::Topology, problems: &mut Vec<String>) {
    for controller in topology.controllers.iter().filter(|controller| !controller.reachable) {
        problems.push(format!(
            "controller {} ({}) is out of reach: check `systemctl status fulcrum-controller` there \
             and the network to it",
            controller.name, controller.endpoint
        ));
    }
    let leads = topology
        .controllers
        .iter()
        .any(|controller| controller.reachable && controller.role() == v1::ControllerRole::Leader);
    if !leads && !topology.controllers.is_empty() {
        problems.push(format!(
            "no controller leads, so nothing can be written: {} of {} must be able to reach each other",
            topology.controllers.len() / 2 + 1,
            topology.controllers.len()
        ));
    }
}
