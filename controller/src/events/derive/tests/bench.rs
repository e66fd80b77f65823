//! A cluster as a leader sees it, and time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_intent::{AgentId, AgentRole, Intent};
use fulcrum_model::Revision;
use fulcrum_proto::convert::resource_from_wire;
use fulcrum_proto::internal::v1::EventBatch;
use fulcrum_proto::v1;

use crate::events::derive::Deriver;
use crate::events::world::{Now, World};
use crate::raft::IntentState;
use crate::sessions::Planned;
use crate::testing::examples;

/// Directors d1 (Active) and d2, real servers web1 and web2, and controllers c1 (which leads) and c2.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) state: IntentState,
    pub(super) deriver: Deriver,
    agents: BTreeMap<AgentId, v1::AgentStatus>,
    now: Now,
    index: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut state = IntentState { revision: Revision(3), ..IntentState::default() };
        for wire in examples::cluster() {
            let resource = resource_from_wire(0, &wire, &mut Vec::new()).expect("it is good");
            state.resources.insert(resource.key(), resource);
        }
        let mut bench = Self {
            world: World::new("c1", planned(&state)),
            state,
            deriver: Deriver::default(),
            agents: BTreeMap::new(),
            now: Now { wall_ms: 1_000_000_000, at: Duration::ZERO },
            index: 10,
        };
        for name in ["c1", "c2"] {
            bench.controller(name, |status| status.reachable = true);
        }
        for key in ["director/d1", "director/d2", "realserver/web1", "realserver/web2"] {
            bench.agent(key, |status| {
                (status.attached, status.epoch) = (true, 1);
                status.controller = "c1".to_owned();
            });
        }
        for (name, state) in [("d1", v1::VrrpState::Active), ("d2", v1::VrrpState::Backup)] {
            bench.vrrp(name, state);
        }
        bench
    }

    /// Tells what a leader tells at first.
    pub(super) fn settle(&mut self) {
        let told = self.after(0);
        assert_eq!(
            told,
            [
                "LeaderChanged Info controller c1 leads",
                "BecameActive Info director d1 is Active in vi-1",
            ]
        );
    }

    /// What is told in the next seconds, compared twice a second as the recorder does, each as `KIND SEVERITY TEXT because CAUSE`.
    pub(super) fn after(&mut self, seconds: u64) -> Vec<String> {
        let mut told = self.tick(Duration::ZERO);
        for _ in 0..seconds * 2 {
            told.extend(self.tick(Duration::from_millis(500)));
        }
        told
    }

    fn tick(&mut self, step: Duration) -> Vec<String> {
        self.now.at += step;
        self.now.wall_ms += u64::try_from(step.as_millis()).expect("it is short");
        let trace = |agent: &str| Some(format!("trace-{agent}"));
        let changes = self.deriver.derive(&self.world, &self.state, self.now, trace);
        let told = changes.iter().filter_map(|change| change.event.as_ref()).map(words).collect();
        let after_sequence = self.state.events.newest();
        let batch = EventBatch { after_sequence, changes, ..Default::default() };
        self.index += 1;
        self.state.events.take(self.index, &batch, &mut Vec::new());
        told
    }

    pub(super) fn change_leader(&mut self, name: &str) {
        let mut world = World::new(name, Arc::clone(&self.world.planned));
        world.controllers = std::mem::take(&mut self.world.controllers);
        for (key, status) in &self.agents {
            world.set_agent(key.clone(), Some(Arc::new(status.clone())));
        }
        (self.world, self.deriver) = (world, Deriver::default());
        self.now.at = Duration::ZERO;
    }

    pub(super) fn controller(&mut self, name: &str, edit: fn(&mut v1::ControllerStatus)) {
        let status = self.world.controllers.entry(name.to_owned()).or_default();
        name.clone_into(&mut status.name);
        edit(status);
    }

    pub(super) fn agent(&mut self, key: &str, edit: impl FnOnce(&mut v1::AgentStatus)) {
        let key = id(key);
        let status = self.agents.entry(key.clone()).or_insert_with(|| v1::AgentStatus {
            role: key.role.as_str().to_owned(),
            name: key.name.to_string(),
            ..Default::default()
        });
        edit(status);
        self.world.set_agent(key, Some(Arc::new(status.clone())));
    }

    pub(super) fn forget_agent(&mut self, key: &str) {
        let key = id(key);
        self.agents.remove(&key);
        self.world.set_agent(key, None);
    }

    pub(super) fn director(&mut self, name: &str, edit: impl FnOnce(&mut v1::DirectorObserved)) {
        self.agent(&format!("director/{name}"), |status| {
            edit(status.director.get_or_insert_default());
        });
    }

    /// A director tells of its part in `vi-1`.
    pub(super) fn vrrp(&mut self, name: &str, state: v1::VrrpState) {
        let priority = if name == "d1" { 100 } else { 90 };
        self.director(name, |observed| {
            let instance = "vi-1".to_owned();
            let state = state.into();
            observed.vrrp_instances =
                vec![v1::VrrpObserved { instance, state, priority, ..Default::default() }];
        });
    }

    pub(super) fn finding(&mut self, director: &str, is_there: bool) {
        let finding = v1::Finding {
            code: "disk-space".to_owned(),
            severity: v1::Severity::Warning.into(),
            found: "1 % is free".to_owned(),
            ..Default::default()
        };
        self.director(director, |observed| {
            observed.findings = if is_there { vec![finding] } else { Vec::new() };
        });
    }

    /// The intent is another one.
    pub(super) fn intent(&mut self, edit: impl FnOnce(&mut Vec<v1::Resource>)) {
        let mut wires = examples::cluster();
        edit(&mut wires);
        self.state.resources = wires
            .iter()
            .map(|wire| resource_from_wire(0, wire, &mut Vec::new()).expect("it is good"))
            .map(|resource| (resource.key(), resource))
            .collect();
        self.world.planned = planned(&self.state);
    }
}

fn id(key: &str) -> AgentId {
    let (role, name) = key.split_once('/').expect("a role and a name");
    let role = if role == "director" { AgentRole::Director } else { AgentRole::RealServer };
    AgentId { role, name: name.parse().expect("a good name") }
}

fn planned(state: &IntentState) -> Arc<Planned> {
    let intent = Intent { revision: state.revision, resources: state.resources.clone() };
    Arc::new(Planned::new("cluster".to_owned(), 1, intent, "trace-intent".to_owned(), None))
}

fn words(event: &v1::Event) -> String {
    let because =
        if event.cause.is_empty() { String::new() } else { format!(" because {}", event.cause) };
    let untold =
        if event.untold == 0 { String::new() } else { format!(" (untold {})", event.untold) };
    format!("{:?} {:?} {}{because}{untold}", event.kind(), event.severity(), event.text)
}
