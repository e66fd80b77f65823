//! What a change of intent means to each agent.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::Name;
use fulcrum_model::plan::{HOST_KEY, IPVS_KEY, VirtualServerPlan};
use fulcrum_model::resource::{Kind, Pool, ResourceKey, VirtualServer};

use crate::Intent;
use crate::catalog::Catalog;
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

/// The agents whose plans differ between two intents, ordered by role and name. Where there are plans to make of the intents
/// besides, [`Planner::diff_since`] saves a reading.
pub fn diff_agents(before: &Intent, after: &Intent) -> Vec<AgentDiff> {
    let changed = after.changed_since(before);
    Planner::new(after).diff_since(&Planner::new(before), &changed)
}

impl Planner<'_> {
    /// The agents whose plans differ from those at `before`, ordered by role and name. `changed` names every resource that
    /// differs.
    ///
    /// Plans are made only of what a changed resource touches: a change of one virtual server among ten thousand plans that one.
    pub fn diff_since(&self, before: &Planner<'_>, changed: &[ResourceKey]) -> Vec<AgentDiff> {
        let (old, new) = (before, self);
        let (old_agents, new_agents) = (old.agents(), new.agents());
        let touched = Touched::of(old, new, changed);
        let differing = touched.virtual_servers.into_iter().filter(|name| {
            let plan = |planner: &Planner<'_>| {
                let server = planner.catalog.virtual_servers.get(name)?;
                planner.virtual_server(name, server)
            };
            plan(old) != plan(new)
        });
        let differing: BTreeSet<&Name> = differing.collect();
        let mut diffs = Vec::new();
        for agent in old_agents.union(&new_agents) {
            let mut diff =
                AgentDiff { agent: agent.clone(), changed: Vec::new(), removed: Vec::new() };
            match agent.role {
                AgentRole::Director => {
                    if !new_agents.contains(agent) {
                        diff.removed.push(IPVS_KEY.to_owned());
                    } else if !old_agents.contains(agent)
                        || old.ipvs_of(&agent.name) != new.ipvs_of(&agent.name)
                    {
                        diff.changed.push(IPVS_KEY.to_owned());
                    }
                    diff_virtual_servers(old, new, &differing, &mut diff);
                    diff_vrrp_instances(old, new, &mut diff);
                }
                AgentRole::RealServer => {
                    if !new_agents.contains(agent) {
                        diff.removed.push(HOST_KEY.to_owned());
                    } else if !old_agents.contains(agent) || host_differs(old, new, &agent.name) {
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
}

/// What changed resources may make another plan of.
#[derive(Default)]
struct Touched<'a> {
    virtual_servers: BTreeSet<&'a Name>,
    pools: BTreeSet<&'a Name>,
    real_servers: BTreeSet<&'a Name>,
    instances: BTreeSet<&'a Name>,
}

impl<'a> Touched<'a> {
    fn of(old: &'a Planner<'_>, new: &'a Planner<'_>, changed: &'a [ResourceKey]) -> Self {
        let mut touched = Self::default();
        for ResourceKey { kind, name } in changed {
            match kind {
                Kind::VirtualServer => _ = touched.virtual_servers.insert(name),
                Kind::Pool => _ = touched.pools.insert(name),
                Kind::RealServer => _ = touched.real_servers.insert(name),
                Kind::VrrpInstance => _ = touched.instances.insert(name),
                Kind::Drain => {
                    let drains = [old, new].map(|planner| planner.catalog.drains.get(name));
                    let drained = drains.into_iter().flatten().map(|drain| &drain.real_server);
                    touched.real_servers.extend(drained);
                }
                // It concerns the agent of its host alone, or no agent.
                Kind::Site
                | Kind::Director
                | Kind::Handover
                | Kind::Restart
                | Kind::NotificationPolicy
                | Kind::AccessRule
                | Kind::JoinToken => {}
            }
        }
        for planner in [old, new] {
            touched.follow(&planner.catalog);
        }
        touched
    }

    /// Who uses what is touched.
    fn follow(&mut self, catalog: &Catalog<'a>) {
        let Self { virtual_servers, pools, real_servers, instances } = self;
        if !real_servers.is_empty() {
            let has_touched = |pool: &Pool| {
                let members = pool.members.iter().map(|member| &member.real_server);
                members.chain(&pool.sorry_server).any(|name| real_servers.contains(name))
            };
            let users = catalog.pools.iter().filter(|(_, pool)| has_touched(pool));
            pools.extend(users.map(|(name, _)| *name));
        }
        if pools.is_empty() && instances.is_empty() {
            return;
        }
        let is_touched = |server: &VirtualServer| {
            // Under a firewall mark the VIPs are the instance's.
            pools.contains(&server.pool)
                || (server.listen.vip().is_none() && instances.contains(&server.vrrp_instance))
        };
        let users = catalog.virtual_servers.iter().filter(|(_, server)| is_touched(server));
        virtual_servers.extend(users.map(|(name, _)| *name));
    }
}

fn host_differs(old: &Planner<'_>, new: &Planner<'_>, agent: &Name) -> bool {
    old.host_ingredients(agent) != new.host_ingredients(agent)
        && old.real_server(agent) != new.real_server(agent)
}

/// `differing` are the virtual servers whose plans are new, gone or other than they were, whoever has them.
fn diff_virtual_servers(
    old: &Planner<'_>,
    new: &Planner<'_>,
    differing: &BTreeSet<&Name>,
    diff: &mut AgentDiff,
) {
    let director = diff.agent.name.clone();
    let (before, after) = (old.instances_of(&director), new.instances_of(&director));
    let mut candidates = differing.clone();
    for instance in before.symmetric_difference(&after) {
        let servers = [old, new].map(|planner| planner.servers_at(instance));
        candidates.extend(servers.into_iter().flatten().map(|(name, _)| *name));
    }
    for name in candidates {
        let key = || VirtualServerPlan::key_of(name);
        match (has(old, &before, name), has(new, &after, name)) {
            (true, true) if !differing.contains(name) => {}
            (_, true) => diff.changed.push(key()),
            (true, false) => diff.removed.push(key()),
            (false, false) => {}
        }
    }
}

/// Whether a planner's intent has that virtual server at one of these VRRP instances.
fn has(planner: &Planner<'_>, instances: &BTreeSet<&Name>, name: &Name) -> bool {
    let server = planner.catalog.virtual_servers.get(name);
    server.is_some_and(|server| {
        instances.contains(&server.vrrp_instance)
            && planner.catalog.pools.contains_key(&server.pool)
    })
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
