//! What matters to an order of a topology that is told object by object.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;
use fulcrum_proto::v1::watch_topology_response::Event;

/// Role of a director agent in [`v1::AgentStatus`].
const DIRECTOR: &str = "director";

/// Directors, what they serve, and orders, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) directors: BTreeSet<String>,
    /// Director agents.
    pub(crate) agents: BTreeMap<String, v1::AgentStatus>,
    pub(crate) instances: BTreeMap<String, v1::VrrpInstance>,
    pub(crate) handovers: BTreeMap<String, v1::Handover>,
    pub(crate) real_servers: BTreeMap<String, v1::RealServer>,
    pub(crate) pools: BTreeMap<String, v1::Pool>,
    pub(crate) virtual_servers: BTreeMap<String, v1::VirtualServer>,
    pub(crate) drains: BTreeMap<String, v1::Drain>,
    pub(crate) restarts: BTreeMap<String, v1::Restart>,
    /// Of drains and restarts.
    metadata: BTreeMap<(i32, String), v1::Metadata>,
    /// By agent.
    evidence: BTreeMap<String, v1::Evidence>,
    /// The snapshot is complete.
    pub(crate) is_synced: bool,
}

impl Cluster {
    pub(crate) fn new(topology: &v1::Topology) -> Self {
        let mut cluster = Self { is_synced: true, ..Self::default() };
        for resource in &topology.resources {
            cluster.put(resource);
        }
        for agent in &topology.agents {
            cluster.agent(agent);
        }
        for evidence in &topology.evidence {
            cluster.evidence.insert(evidence.agent.clone(), evidence.clone());
        }
        cluster
    }

    /// Takes an event of a stream that began with its snapshot.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Agent(agent) => self.agent(agent),
            Event::Resource(resource) => self.put(resource),
            Event::Deleted(deleted) => self.delete(deleted.kind(), &deleted.name),
            Event::Synced(_) => self.is_synced = true,
            Event::Evidence(evidence) => {
                self.evidence.insert(evidence.agent.clone(), evidence.clone());
            }
            Event::Controller(_) => {}
        }
    }

    fn agent(&mut self, agent: &v1::AgentStatus) {
        if agent.role == DIRECTOR {
            self.agents.insert(agent.name.clone(), agent.clone());
        }
    }

    fn put(&mut self, resource: &v1::Resource) {
        let name = resource.metadata.as_ref().map_or("", |metadata| &metadata.name).to_owned();
        match &resource.spec {
            Some(Spec::Director(_)) => _ = self.directors.insert(name),
            Some(Spec::VrrpInstance(spec)) => _ = self.instances.insert(name, spec.clone()),
            Some(Spec::Handover(spec)) => _ = self.handovers.insert(name, spec.clone()),
            Some(Spec::RealServer(spec)) => _ = self.real_servers.insert(name, spec.clone()),
            Some(Spec::Pool(spec)) => _ = self.pools.insert(name, spec.clone()),
            Some(Spec::VirtualServer(spec)) => _ = self.virtual_servers.insert(name, spec.clone()),
            Some(Spec::Drain(spec)) => {
                self.note(v1::Kind::Drain, resource);
                self.drains.insert(name, spec.clone());
            }
            Some(Spec::Restart(spec)) => {
                self.note(v1::Kind::Restart, resource);
                self.restarts.insert(name, spec.clone());
            }
            Some(
                Spec::Site(_)
                | Spec::NotificationPolicy(_)
                | Spec::AccessRule(_)
                | Spec::JoinToken(_),
            )
            | None => {}
        }
    }

    fn delete(&mut self, kind: v1::Kind, name: &str) {
        match kind {
            v1::Kind::Director => _ = self.directors.remove(name),
            v1::Kind::VrrpInstance => _ = self.instances.remove(name),
            v1::Kind::Handover => _ = self.handovers.remove(name),
            v1::Kind::RealServer => _ = self.real_servers.remove(name),
            v1::Kind::Pool => _ = self.pools.remove(name),
            v1::Kind::VirtualServer => _ = self.virtual_servers.remove(name),
            v1::Kind::Drain => _ = self.drains.remove(name),
            v1::Kind::Restart => _ = self.restarts.remove(name),
            v1::Kind::Unspecified
            | v1::Kind::Site
            | v1::Kind::NotificationPolicy
            | v1::Kind::AccessRule
            | v1::Kind::JoinToken => {}
        }
    }

    fn note(&mut self, kind: v1::Kind, resource: &v1::Resource) {
        if let Some(metadata) = &resource.metadata {
            self.metadata.insert((kind.into(), metadata.name.clone()), metadata.clone());
        }
    }

    /// Labels and revision of a drain or a restart.
    pub(crate) fn metadata(&self, kind: v1::Kind, name: &str) -> Option<&v1::Metadata> {
        self.metadata.get(&(kind.into(), name.to_owned()))
    }

    /// What the agent of a real server's host told of it last.
    pub(crate) fn evidence_of(&self, real_server: &str) -> Option<&v1::ServerEvidence> {
        let agent = &self.real_servers.get(real_server)?.agent;
        let agent = if agent.is_empty() { real_server } else { agent };
        let servers = &self.evidence.get(agent)?.servers;
        servers.iter().find(|server| server.real_server == real_server)
    }

    /// The identity of an order to restart, as its agent spells it.
    pub(crate) fn restart_id(&self, name: &str) -> String {
        let revision = self.metadata(v1::Kind::Restart, name).map_or(0, |it| it.revision);
        format!("{name}@{revision}")
    }

    /// What the agent told of an order to restart, if it told of this one.
    pub(crate) fn restart_of(&self, name: &str) -> Option<&v1::RestartEvidence> {
        let order = self.restarts.get(name)?;
        let told = self.evidence_of(&order.real_server)?.restart.as_ref()?;
        (told.id == self.restart_id(name)).then_some(told)
    }

    /// What a director told of an instance last.
    pub(crate) fn vrrp(&self, director: &str, instance: &str) -> Option<&v1::VrrpObserved> {
        let observed = self.agents.get(director)?.director.as_ref()?;
        observed.vrrp_instances.iter().find(|vrrp| vrrp.instance == instance)
    }

    /// Why a director does not have the plan of a revision yet, if it does not.
    pub(crate) fn behind(&self, director: &str, wanted: u64) -> Option<String> {
        let ack = self.agents.get(director).and_then(|agent| agent.ack.as_ref());
        let revision =
            ack.and_then(|ack| ack.version.as_ref()).map_or(0, |version| version.revision);
        match ack {
            Some(ack) if !ack.applied => {
                Some(format!("{director}, which refuses revision {revision}: {}", ack.reason))
            }
            _ if revision < wanted => Some(format!("{director} to apply revision {wanted}")),
            Some(_) | None => None,
        }
    }

    pub(crate) fn is_attached(&self, director: &str) -> bool {
        self.agents.get(director).is_some_and(|agent| agent.attached)
    }

    /// Whether the director was Active in the instance when it was heard last.
    pub(crate) fn is_active(&self, director: &str, instance: &str) -> bool {
        self.vrrp(director, instance).is_some_and(|vrrp| vrrp.state() == v1::VrrpState::Active)
    }

    /// An instance with those that move with it: its sync group in its site.
    pub(crate) fn moved_with(&self, name: &str) -> Vec<(&str, &v1::VrrpInstance)> {
        let Some(instance) = self.instances.get(name) else { return Vec::new() };
        self.instances
            .iter()
            .filter(|(other_name, other)| {
                let (site, group) = (&instance.site, &instance.sync_group);
                *other_name == name
                    || !group.is_empty() && (&other.site, &other.sync_group) == (site, group)
            })
            .map(|(name, instance)| (name.as_str(), instance))
            .collect()
    }
}
