//! A topology, to look up what belongs together.

use std::collections::BTreeMap;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

/// The intent by kind and the agents by role, borrowed from a topology.
pub(super) struct View<'a> {
    pub(super) topology: &'a v1::Topology,
    pub(super) vrrp_instances: BTreeMap<&'a str, &'a v1::VrrpInstance>,
    pub(super) virtual_servers: BTreeMap<&'a str, &'a v1::VirtualServer>,
    pub(super) pools: BTreeMap<&'a str, &'a v1::Pool>,
    pub(super) real_servers: BTreeMap<&'a str, &'a v1::RealServer>,
    /// By the VRRP instance that each moves.
    pub(super) handovers: BTreeMap<&'a str, &'a v1::Handover>,
    /// In the order of their names.
    pub(super) drains: Vec<&'a v1::Drain>,
    pub(super) directors: BTreeMap<&'a str, &'a v1::AgentStatus>,
    pub(super) real_server_agents: BTreeMap<&'a str, &'a v1::AgentStatus>,
    pub(super) evidence: BTreeMap<&'a str, &'a v1::Evidence>,
}

/// Role of a director agent in [`v1::AgentStatus`].
const DIRECTOR: &str = "director";

impl<'a> View<'a> {
    pub(super) fn new(topology: &'a v1::Topology) -> Self {
        let mut view = Self {
            topology,
            vrrp_instances: BTreeMap::new(),
            virtual_servers: BTreeMap::new(),
            pools: BTreeMap::new(),
            real_servers: BTreeMap::new(),
            handovers: BTreeMap::new(),
            drains: Vec::new(),
            directors: BTreeMap::new(),
            real_server_agents: BTreeMap::new(),
            evidence: topology.evidence.iter().map(|e| (e.agent.as_str(), e)).collect(),
        };
        for resource in &topology.resources {
            let name = resource.metadata.as_ref().map_or("", |metadata| &metadata.name);
            match &resource.spec {
                Some(Spec::VrrpInstance(spec)) => _ = view.vrrp_instances.insert(name, spec),
                Some(Spec::VirtualServer(spec)) => _ = view.virtual_servers.insert(name, spec),
                Some(Spec::Pool(spec)) => _ = view.pools.insert(name, spec),
                Some(Spec::RealServer(spec)) => _ = view.real_servers.insert(name, spec),
                Some(Spec::Handover(spec)) => _ = view.handovers.insert(&spec.vrrp_instance, spec),
                Some(Spec::Drain(spec)) => view.drains.push(spec),
                Some(
                    Spec::Site(_)
                    | Spec::Director(_)
                    | Spec::Restart(_)
                    | Spec::NotificationPolicy(_)
                    | Spec::AccessRule(_)
                    | Spec::JoinToken(_),
                )
                | None => {}
            }
        }
        for agent in &topology.agents {
            let agents = if agent.role == DIRECTOR {
                &mut view.directors
            } else {
                &mut view.real_server_agents
            };
            agents.insert(agent.name.as_str(), agent);
        }
        view
    }

    /// What a director told of an instance last.
    pub(super) fn vrrp(&self, director: &str, instance: &str) -> Option<&'a v1::VrrpObserved> {
        let observed = self.directors.get(director)?.director.as_ref()?;
        observed.vrrp_instances.iter().find(|vrrp| vrrp.instance == instance)
    }

    /// A director's decision on a real server of a virtual server.
    pub(super) fn weight(
        &self,
        director: &str,
        virtual_server: &str,
        real_server: &str,
    ) -> Option<&'a v1::WeightDecision> {
        let observed = self.directors.get(director)?.director.as_ref()?;
        observed.weights.iter().find(|decision| {
            decision.virtual_server == virtual_server && decision.real_server == real_server
        })
    }

    /// The orders that real servers of a virtual server take no new connections.
    pub(super) fn drains_of(&self, name: &str, server: &v1::VirtualServer) -> Vec<&'a v1::Drain> {
        let pool = self.pools.get(server.pool.as_str());
        let members = pool.map(|pool| pool.members.as_slice()).unwrap_or_default();
        let concerns = |drain: &&&v1::Drain| {
            let of = &drain.virtual_server;
            (of.is_empty() || of == name)
                && members.iter().any(|member| member.real_server == drain.real_server)
        };
        self.drains.iter().filter(concerns).copied().collect()
    }

    pub(super) fn is_attached(&self, director: &str) -> bool {
        self.directors.get(director).is_some_and(|agent| agent.attached)
    }

    /// The directors that program a virtual server, by name.
    pub(super) fn directors_of(&self, virtual_server: &v1::VirtualServer) -> Vec<&'a str> {
        let instance = self.vrrp_instances.get(virtual_server.vrrp_instance.as_str());
        let members = instance.map(|instance| instance.members.as_slice()).unwrap_or_default();
        let mut names: Vec<&str> = members.iter().map(|member| member.director.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// `director/d1` or `realserver/web1`.
pub(crate) fn agent_role_word(agent: &v1::AgentStatus) -> String {
    format!("{}/{}", agent.role, agent.name)
}

/// For people.
pub(crate) fn vrrp_state_word(state: v1::VrrpState) -> &'static str {
    match state {
        v1::VrrpState::Unspecified => "unknown",
        v1::VrrpState::Initialize => "Initialize",
        v1::VrrpState::Backup => "Backup",
        v1::VrrpState::Active => "Active",
    }
}

/// For people.
pub(crate) fn controller_role_word(role: v1::ControllerRole) -> &'static str {
    match role {
        v1::ControllerRole::Unspecified => "unknown",
        v1::ControllerRole::Leader => "leader",
        v1::ControllerRole::Follower => "follower",
        v1::ControllerRole::Candidate => "candidate",
        v1::ControllerRole::Learner => "learner",
    }
}

/// For people.
pub(crate) fn verdict_word(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Unspecified | v1::Verdict::Unknown => "unknown",
        v1::Verdict::Up => "up",
        v1::Verdict::Saturated => "saturated",
        v1::Verdict::Draining => "draining",
        v1::Verdict::Stopping => "stopping",
        v1::Verdict::Down => "down",
    }
}
