//! What a change of intent means to each agent.

use std::collections::BTreeMap;

use fulcrum_model::Name;
use fulcrum_model::plan::{HOST_KEY, IPVS_KEY};

use crate::Intent;
use crate::planner::{AgentId, AgentRole, Planner};

/// The difference in one agent's plan, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDiff {
    /// The agent.
    pub agent: AgentId,
    /// Keys of plan objects that are new or differ, ordered.
    pub changed: Vec<String>,
    /// Keys of plan objects that go, ordered.
    pub removed: Vec<String>,
}

/// The agents whose plans differ between two intents, ordered by role and name.
///
/// Plans are made only where something that they are made of differs: a change of one virtual server among ten thousand
/// plans that one.
pub fn diff_agents(before: &Intent, after: &Intent) -> Vec<AgentDiff> {
    let (old, new) = (Planner::new(before), Planner::new(after));
    let (old_agents, new_agents) = (old.agents(), new.agents());
    let mut diffs = Vec::new();
    for agent in old_agents.union(&new_agents) {
        let mut diff = AgentDiff { agent: agent.clone(), changed: Vec::new(), removed: Vec::new() };
        match agent.role {
            AgentRole::Director => {
                if !new_agents.contains(agent) {
                    diff.removed.push(IPVS_KEY.to_owned());
                } else if !old_agents.contains(agent)
                    || old.ipvs_of(&agent.name) != new.ipvs_of(&agent.name)
                {
                    diff.changed.push(IPVS_KEY.to_owned());
                }
                diff_virtual_servers(&old, &new, &mut diff);
                diff_vrrp_instances(&old, &new, &mut diff);
            }
            AgentRole::RealServer => {
                if !new_agents.contains(agent) {
                    diff.removed.push(HOST_KEY.to_owned());
                } else if !old_agents.contains(agent) || host_differs(&old, &new, &agent.name) {
                    diff.changed.push(HOST_KEY.to_owned());
                }
            }
        }
        if !diff.changed.is_empty() || !diff.removed.is_empty() {
            diffs.push(diff);
        }
    }
    diffs
}

fn host_differs(old: &Planner<'_>, new: &Planner<'_>, agent: &Name) -> bool {
    old.host_ingredients(agent) != new.host_ingredients(agent)
        && old.real_server(agent) != new.real_server(agent)
}

fn diff_virtual_servers(old: &Planner<'_>, new: &Planner<'_>, diff: &mut AgentDiff) {
    let director = diff.agent.name.clone();
    let (before, after) = (old.virtual_servers_of(&director), new.virtual_servers_of(&director));
    for (name, server) in &after {
        let is_same = before.get(name).is_some_and(|before| {
            old.ingredients(name, before) == new.ingredients(name, server)
                || old.virtual_server(name, before) == new.virtual_server(name, server)
        });
        if !is_same {
            diff.changed.extend(new.virtual_server(name, server).map(|plan| plan.key()));
        }
    }
    for (name, server) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        diff.removed.extend(old.virtual_server(name, server).map(|plan| plan.key()));
    }
}

fn diff_vrrp_instances(old: &Planner<'_>, new: &Planner<'_>, diff: &mut AgentDiff) {
    let director = diff.agent.name.clone();
    let before: BTreeMap<_, _> = old.vrrp_instances_of(&director);
    let after: BTreeMap<_, _> = new.vrrp_instances_of(&director);
    let changed = after.iter().filter(|(name, plan)| before.get(*name) != Some(*plan));
    diff.changed.extend(changed.map(|(_, plan)| plan.key()));
    let removed = before.iter().filter(|(name, _)| !after.contains_key(*name));
    diff.removed.extend(removed.map(|(_, plan)| plan.key()));
}
