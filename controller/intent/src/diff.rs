//! What a change of intent means to each agent.

use std::collections::BTreeMap;

use fulcrum_model::Name;
use fulcrum_model::plan::{HOST_KEY, RealServerHostPlan};

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
pub fn diff_agents(before: &Intent, after: &Intent) -> Vec<AgentDiff> {
    let (old, new) = (Planner::new(before), Planner::new(after));
    let (old_agents, new_agents) = (old.agents(), new.agents());
    old_agents
        .union(&new_agents)
        .map(|agent| {
            let (changed, removed) = match agent.role {
                AgentRole::Director => diff_director(&old, &new, &agent.name),
                AgentRole::RealServer => diff(
                    host(&old, old_agents.contains(agent), &agent.name),
                    host(&new, new_agents.contains(agent), &agent.name),
                ),
            };
            AgentDiff { agent: agent.clone(), changed, removed }
        })
        .filter(|diff| !diff.changed.is_empty() || !diff.removed.is_empty())
        .collect()
}

/// The only object of a real-server agent, if the intent names the agent.
fn host(planner: &Planner<'_>, named: bool, agent: &Name) -> BTreeMap<String, RealServerHostPlan> {
    named.then(|| (HOST_KEY.to_owned(), planner.real_server(agent))).into_iter().collect()
}

fn diff_director(old: &Planner<'_>, new: &Planner<'_>, name: &Name) -> (Vec<String>, Vec<String>) {
    let (old, new) = (old.director(name), new.director(name));
    let servers = diff(
        old.virtual_servers.into_values().map(|plan| (plan.key(), plan)).collect(),
        new.virtual_servers.into_values().map(|plan| (plan.key(), plan)).collect(),
    );
    let instances = diff(
        old.vrrp_instances.into_values().map(|plan| (plan.key(), plan)).collect(),
        new.vrrp_instances.into_values().map(|plan| (plan.key(), plan)).collect(),
    );
    // virtual-server/… stands before vrrp/….
    ([servers.0, instances.0].concat(), [servers.1, instances.1].concat())
}

/// Keys that are new or differ, and keys that go.
fn diff<T: PartialEq>(
    old: BTreeMap<String, T>,
    new: BTreeMap<String, T>,
) -> (Vec<String>, Vec<String>) {
    let changed = new
        .iter()
        .filter(|(key, object)| old.get(*key) != Some(object))
        .map(|(key, _)| key.clone())
        .collect();
    let removed = old.into_keys().filter(|key| !new.contains_key(key)).collect();
    (changed, removed)
}
