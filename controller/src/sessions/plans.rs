//! Turns each new state of the intent into what the sessions need to plan from it.

use std::collections::BTreeSet;

use fulcrum_intent::{AgentId, AgentRole, Intent, Planner};
use fulcrum_model::Name;
use fulcrum_model::plan::VirtualServerPlan;
use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::{convert, v1};

use super::update::Objects;

/// The intent at a revision, and which agents it names and concerns.
#[derive(Debug)]
pub struct Planned {
    /// The version of every plan made from it.
    pub version: v1::PlanVersion,
    /// The intent.
    pub intent: Intent,
    /// The agents that it names.
    pub named: BTreeSet<AgentId>,
    /// Trace of the newest write, W3C traceparent; empty when none.
    pub traceparent: String,
    /// The version that `changed` and `concerned` are relative to.
    previous: v1::PlanVersion,
    /// Agents whose plans differ from those at `previous`.
    concerned: BTreeSet<AgentId>,
}

/// An agent's plan as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentPlan {
    /// Its objects.
    pub objects: Objects,
    /// A director's: the agents that it names, whose evidence the director needs.
    pub agents: BTreeSet<Name>,
}

impl Planned {
    /// The intent of a cluster and incarnation, with what it was before, where that is known.
    pub fn new(
        cluster_id: String,
        incarnation: u64,
        intent: Intent,
        traceparent: String,
        before: Option<&Self>,
    ) -> Self {
        let version = v1::PlanVersion { cluster_id, incarnation, revision: intent.revision.0 };
        let named = fulcrum_intent::agents(&intent);
        let concerned = match before {
            Some(before) => fulcrum_intent::diff_agents(&before.intent, &intent)
                .into_iter()
                .map(|diff| diff.agent)
                .collect(),
            None => named.clone(),
        };
        let previous = before.map(|before| before.version.clone()).unwrap_or_default();
        Self { version, intent, named, traceparent, previous, concerned }
    }

    /// Whether the plan of an agent is what it was at version `since`, for certain.
    pub fn leaves_alone(&self, key: &AgentId, since: &v1::PlanVersion) -> bool {
        self.previous == *since && !self.concerned.contains(key)
    }

    /// An agent's plan, by the planner of this intent. An agent that the intent does not name has an empty one.
    pub fn plan(&self, planner: &Planner<'_>, key: &AgentId) -> AgentPlan {
        let (objects, agents) = match key.role {
            AgentRole::Director => {
                let plan = planner.director(&key.name);
                let servers =
                    plan.virtual_servers.values().flat_map(VirtualServerPlan::all_destinations);
                let agents = servers.map(|destination| destination.agent.clone()).collect();
                (convert::director_plan_to_objects(&plan), agents)
            }
            // One that is no longer named is left nothing, not an order to have nothing.
            AgentRole::RealServer if !self.named.contains(key) => (Vec::new(), BTreeSet::new()),
            AgentRole::RealServer => {
                let plan = planner.real_server(&key.name);
                (convert::real_server_plan_to_objects(&plan), BTreeSet::new())
            }
        };
        let objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        AgentPlan { objects, agents }
    }

    /// Resources that are new, replaced or gone since `before`.
    pub fn changed_since(&self, before: &Self) -> Vec<ResourceKey> {
        let (old, new) = (&before.intent.resources, &self.intent.resources);
        let gone = old.keys().filter(|key| !new.contains_key(key));
        let fresh = new.iter().filter(|(key, resource)| old.get(key) != Some(resource));
        gone.chain(fresh.map(|(key, _)| key)).cloned().collect()
    }
}
