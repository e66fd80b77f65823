//! What the leader knows of the cluster, as far as events are made of it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_model::resource::{Kind, Resource, ResourceKey, Spec, VirtualServer, VrrpInstance};
use fulcrum_proto::v1;

use crate::sessions::Planned;

/// Now: by the wall clock, which is told, and since the leader began, by the monotonic clock, which decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Since the leader began to look.
    pub at: Duration,
}

/// What the leader knows.
#[derive(Debug)]
pub struct World {
    /// The leader.
    pub me: String,
    /// The intent, and whom it names.
    pub planned: Arc<Planned>,
    /// The controllers, by name.
    pub controllers: BTreeMap<String, v1::ControllerStatus>,
    agents: BTreeMap<AgentId, Known>,
}

/// An agent, with what is looked at most often.
#[derive(Debug)]
pub struct Known {
    /// All that it told.
    pub status: Arc<v1::AgentStatus>,
    /// Real servers that it gives no weight, though they have one in the plan.
    pub out: Vec<OutOf>,
}

/// A real server without weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOf {
    /// It.
    pub real_server: String,
    /// Where.
    pub virtual_server: String,
    /// The director's evidence.
    pub reasons: Vec<String>,
}

impl World {
    /// Before anything else is known.
    pub fn new(me: &str, planned: Arc<Planned>) -> Self {
        let (controllers, agents) = (BTreeMap::new(), BTreeMap::new());
        Self { me: me.to_owned(), planned, controllers, agents }
    }

    /// An agent is new, changed, or gone.
    pub fn set_agent(&mut self, key: AgentId, status: Option<Arc<v1::AgentStatus>>) {
        match status {
            Some(status) => {
                let out = status.director.as_ref().map_or_else(Vec::new, out);
                self.agents.insert(key, Known { status, out });
            }
            None => _ = self.agents.remove(&key),
        }
    }

    /// The intent is another one: agents that it does not name and that are not attached are forgotten.
    pub fn set_planned(&mut self, planned: Arc<Planned>) {
        self.agents.retain(|key, known| known.status.attached || planned.named.contains(key));
        self.planned = planned;
    }

    /// What is known of an agent.
    pub fn agent(&self, key: &AgentId) -> Option<&Known> {
        self.agents.get(key)
    }

    /// The agents that are known, ordered by role and name.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &Known)> {
        self.agents.iter()
    }

    /// The directors that are attached and have told of themselves.
    pub fn directors(&self) -> impl Iterator<Item = (&AgentId, &Known, &v1::DirectorObserved)> {
        let directors = self
            .agents
            .iter()
            .filter(|(key, known)| key.role == AgentRole::Director && known.status.attached);
        directors.filter_map(|(key, known)| Some((key, known, known.status.director.as_ref()?)))
    }

    /// A resource by kind and name.
    pub fn resource(&self, kind: Kind, name: &str) -> Option<&Resource> {
        self.planned.intent.resources.get(&ResourceKey { kind, name: name.parse().ok()? })
    }

    /// A VRRP instance.
    pub fn instance(&self, name: &str) -> Option<&VrrpInstance> {
        let found = &self.resource(Kind::VrrpInstance, name)?.spec;
        if let Spec::VrrpInstance(instance) = found { Some(instance) } else { None }
    }

    /// A virtual server.
    pub fn virtual_server(&self, name: &str) -> Option<&VirtualServer> {
        let found = &self.resource(Kind::VirtualServer, name)?.spec;
        if let Spec::VirtualServer(server) = found { Some(server) } else { None }
    }

    /// The site of what an event is about; empty where it has none.
    pub fn site(&self, kind: v1::EventSubjectKind, name: &str) -> String {
        self.site_of(kind, name).unwrap_or_default()
    }

    fn site_of(&self, kind: v1::EventSubjectKind, name: &str) -> Option<String> {
        let (kind, name) = resource_of(kind, name)?;
        match &self.resource(kind, name)?.spec {
            Spec::Director(director) => Some(director.site.to_string()),
            Spec::VrrpInstance(instance) => Some(instance.site.to_string()),
            Spec::RealServer(server) => Some(server.site.to_string()),
            Spec::VirtualServer(server) => {
                Some(self.instance(server.vrrp_instance.as_str())?.site.to_string())
            }
            Spec::Site(_)
            | Spec::Pool(_)
            | Spec::Handover(_)
            | Spec::Drain(_)
            | Spec::Restart(_)
            | Spec::NotificationPolicy(_)
            | Spec::AccessRule(_)
            | Spec::JoinToken(_) => None,
        }
    }

    /// The order that a director shall be Active in an instance, if there is one.
    pub fn handover(&self, instance: &str, to: &str) -> Option<&fulcrum_model::resource::Handover> {
        // Orders are few, and asked for when somebody became Active.
        let orders = self.planned.intent.resources.values().filter_map(|resource| {
            if let Spec::Handover(order) = &resource.spec { Some(order) } else { None }
        });
        let mut ours = orders
            .filter(|order| order.vrrp_instance.as_str() == instance && order.to.as_str() == to);
        ours.next()
    }
}

/// The resource that an event's subject is, if it is one. An agent on real servers' host has the name of one of them by default.
pub fn resource_of(kind: v1::EventSubjectKind, name: &str) -> Option<(Kind, &str)> {
    match kind {
        v1::EventSubjectKind::Director => Some((Kind::Director, name)),
        v1::EventSubjectKind::RealServerAgent | v1::EventSubjectKind::RealServer => {
            Some((Kind::RealServer, name))
        }
        v1::EventSubjectKind::VrrpInstance => Some((Kind::VrrpInstance, name)),
        v1::EventSubjectKind::VirtualServer => Some((Kind::VirtualServer, name)),
        v1::EventSubjectKind::Notification => Some((
            Kind::NotificationPolicy,
            name.split_once('/').map_or(name, |(policy, _)| policy),
        )),
        v1::EventSubjectKind::Unspecified
        | v1::EventSubjectKind::Controller
        | v1::EventSubjectKind::Intent
        | v1::EventSubjectKind::Cluster => None,
    }
}

fn out(observed: &v1::DirectorObserved) -> Vec<OutOf> {
    let is_out = |decision: &&v1::WeightDecision| {
        // One that was not tried yet, as after a start, is neither in nor out.
        decision.weight == 0
            && decision.planned_weight > 0
            && decision.probe() != v1::ProbeResult::Pending
    };
    let out = observed.weights.iter().filter(is_out).map(|decision| OutOf {
        real_server: decision.real_server.clone(),
        virtual_server: decision.virtual_server.clone(),
        reasons: decision.reasons.iter().take(4).cloned().collect(),
    });
    out.collect()
}
