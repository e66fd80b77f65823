//! Turns each new state of the intent into what the sessions need to plan from it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fulcrum_intent::{AgentDiff, AgentId, AgentRole, Intent, Planner};
use fulcrum_model::Name;
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
    /// The change that waits to be confirmed.
    pub unconfirmed: Option<v1::Revision>,
    /// How it came about, where that is known.
    step: Option<Step>,
}

/// From one version of the intent to the next.
#[derive(Debug)]
struct Step {
    /// The version before.
    from: v1::PlanVersion,
    /// Resources that are new, replaced or gone.
    changed: Vec<ResourceKey>,
    /// How plans differ, of agents whose plans do.
    diffs: BTreeMap<AgentId, AgentDiff>,
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
        let version = v1::PlanVersion {
            cluster_id,
            incarnation,
            revision: intent.revision.0,
            planner: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let planner = Planner::new(&intent);
        let named = planner.agents();
        let step = before.map(|before| {
            let changed = intent.changed_since(&before.intent);
            let diffs = planner.diff_since(&Planner::new(&before.intent), &changed);
            let diffs = diffs.into_iter().map(|diff| (diff.agent.clone(), diff)).collect();
            Step { from: before.version.clone(), changed, diffs }
        });
        Self { version, intent, named, traceparent, unconfirmed: None, step }
    }

    /// Whether the plan of an agent is what it was at version `since`, for certain.
    pub fn leaves_alone(&self, key: &AgentId, since: &v1::PlanVersion) -> bool {
        self.step_from(since).is_some_and(|step| !step.diffs.contains_key(key))
    }

    /// How the plan of an agent differs from that at version `since`. None where it does not, and where that is not known.
    pub fn diff_since(&self, key: &AgentId, since: &v1::PlanVersion) -> Option<&AgentDiff> {
        self.step_from(since)?.diffs.get(key)
    }

    fn step_from(&self, since: &v1::PlanVersion) -> Option<&Step> {
        self.step.as_ref().filter(|step| step.from == *since)
    }

    /// An agent's plan, by the planner of this intent. An agent that the intent does not name has an empty one.
    pub fn plan(&self, planner: &Planner<'_>, key: &AgentId) -> AgentPlan {
        let objects = match key.role {
            AgentRole::Director => convert::director_plan_to_objects(&planner.director(&key.name)),
            AgentRole::RealServer => self.real_server_objects(planner, key),
        };
        let objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        AgentPlan { objects, agents: agents_of(planner, key) }
    }

    /// What `diff` changes in an agent's plan.
    pub fn change(&self, planner: &Planner<'_>, diff: &AgentDiff) -> Vec<v1::PlanObject> {
        let key = &diff.agent;
        let keys: BTreeSet<&str> = diff.changed.iter().map(String::as_str).collect();
        let mut objects = match key.role {
            AgentRole::Director => {
                convert::director_plan_to_objects(&planner.director_part(&key.name, &keys))
            }
            AgentRole::RealServer => self.real_server_objects(planner, key),
        };
        objects.retain(|object| keys.contains(object.key.as_str()));
        objects
    }

    /// One that is no longer named is left nothing, not an order to have nothing.
    fn real_server_objects(&self, planner: &Planner<'_>, key: &AgentId) -> Vec<v1::PlanObject> {
        if self.named.contains(key) {
            convert::real_server_plan_to_objects(&planner.real_server(&key.name))
        } else {
            Vec::new()
        }
    }

    /// Resources that are new, replaced or gone since `before`.
    pub fn changed_since(&self, before: &Self) -> Cow<'_, [ResourceKey]> {
        match self.step_from(&before.version) {
            Some(step) => Cow::Borrowed(&step.changed),
            None => Cow::Owned(self.intent.changed_since(&before.intent)),
        }
    }
}

/// The agents whose evidence an agent needs: a director those of its real servers, others none.
pub fn agents_of(planner: &Planner<'_>, key: &AgentId) -> BTreeSet<Name> {
    match key.role {
        AgentRole::Director => planner.agents_of(&key.name),
        AgentRole::RealServer => BTreeSet::new(),
    }
}
