//! The controllers, and what peers tell of their agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fulcrum_proto::finding::{Code, HostRole, Look};
use fulcrum_proto::v1;
use tonic::Status;

use super::{Hub, Inner, Merge, News};
use crate::config;
use crate::outbox::Outbox;
use crate::sessions::key;

/// Keys that wait for a peer at most: two for each of 100,000 agents. Beyond that the stream starts afresh.
const PUBLISHER_CAPACITY: usize = 200_000;

/// A controller as it is known here.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) status: v1::ControllerStatus,
    /// Number of the stream that it publishes on, the newest one.
    stream: Option<u64>,
}

/// A stream on which a peer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStream {
    /// The peer's name.
    pub controller: String,
    number: u64,
}

/// All controllers of the configuration: of the others nothing is known yet.
pub(super) fn all(
    me: &str,
    controllers: &[config::Controller],
    revision: u64,
) -> BTreeMap<String, Controller> {
    let known = controllers.iter().map(|controller| {
        let is_me = controller.name == me;
        let look = if is_me { before_the_first_look() } else { Look::default() };
        let status = v1::ControllerStatus {
            name: controller.name.clone(),
            endpoint: controller.api.clone(),
            role: v1::ControllerRole::Unspecified.into(),
            reachable: is_me,
            applied_revision: if is_me { revision } else { 0 },
            program_version: if is_me { env!("CARGO_PKG_VERSION") } else { "" }.to_owned(),
            findings: look.findings,
            unchecked: look.unchecked,
        };
        (controller.name.clone(), Controller { status, stream: None })
    });
    known.collect()
}

fn before_the_first_look() -> Look {
    let mut look = Look::not_yet(HostRole::Controller);
    look.unchecked
        .push(Code::ClockSkew.unchecked("no other controller was asked for the time yet"));
    look
}

impl Hub {
    /// What is found on this controller's host.
    pub fn set_my_look(&self, look: Look) {
        let mut inner = self.lock();
        let me = inner.controllers.get(&inner.me).map(|known| &known.status);
        let is_new = me.is_some_and(|status| {
            (&status.findings, &status.unchecked) != (&look.findings, &look.unchecked)
        });
        if is_new {
            inner.change_me(|status| {
                status.findings = look.findings;
                status.unchecked = look.unchecked;
            });
        }
    }

    /// This controller has another role in Raft.
    pub fn set_my_role(&self, role: v1::ControllerRole) {
        let mut inner = self.lock();
        inner.change_me(|status| status.set_role(role));
    }

    /// A stream that publishes to a peer begins: its outbox is given everything known of the agents attached here, and then
    /// what changes. A stream that there was before is let go.
    ///
    /// # Errors
    /// UNAVAILABLE when this controller is stopping.
    pub fn publish_to(&self, peer: &str) -> Result<Arc<Outbox<News>>, Status> {
        let mut inner = self.lock();
        if let Some(status) = &inner.closed {
            return Err(status.clone());
        }
        let outbox = Arc::new(Outbox::new(PUBLISHER_CAPACITY));
        outbox.push(News::Controller(inner.me.clone()));
        inner.registry.local_evidence().for_each(|a| outbox.push(News::Evidence(a.clone())));
        inner.registry.local_agents().for_each(|a| outbox.push(News::Agent(a.clone())));
        if let Some(old) = inner.publishers.insert(peer.to_owned(), Arc::clone(&outbox)) {
            old.close(Status::cancelled("the stream was begun anew"));
        }
        Ok(outbox)
    }

    /// A peer begins to publish.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a controller that the configuration does not list.
    pub fn peer_begins(&self, status: v1::ControllerStatus) -> Result<PeerStream, Status> {
        let mut inner = self.lock();
        inner.next_number += 1;
        let number = inner.next_number;
        let name = status.name.clone();
        let is_me = name == inner.me;
        let known = inner.controllers.get_mut(&name).filter(|_| !is_me);
        let Some(controller) = known else {
            return Err(Status::permission_denied(format!(
                "{name:?} is no peer of this controller: list it under [[controllers]] on every controller"
            )));
        };
        controller.stream = Some(number);
        inner.set_peer(status);
        Ok(PeerStream { controller: name, number })
    }

    /// A peer told something of itself.
    pub fn peer_tells(&self, stream: &PeerStream, status: v1::ControllerStatus) {
        let mut inner = self.lock();
        if inner.is_newest(stream) && status.name == stream.controller {
            inner.set_peer(status);
        }
    }

    /// A peer told something of an agent that is or was attached to it.
    pub fn peer_tells_agent(&self, stream: &PeerStream, status: v1::AgentStatus) {
        let mut inner = self.lock();
        let key = key::from_status(&status);
        let (true, Ok(key)) = (inner.is_newest(stream), key) else { return };
        match inner.registry.merge(&key, status) {
            Merge::Old => return,
            Merge::Taken => {}
            Merge::Moved { here: _ } => {
                let text = format!("this agent attached to controller {}", stream.controller);
                inner.end_session(&key, &Status::aborted(text));
            }
        }
        inner.tell_watchers(&News::Agent(key));
        drop(inner);
        self.step();
    }

    /// A peer passed evidence on.
    pub fn peer_tells_evidence(&self, evidence: v1::Evidence) {
        let Ok(agent) = evidence.agent.parse() else { return };
        let mut inner = self.lock();
        if inner.registry.take_evidence(&agent, evidence, false, Instant::now()) {
            inner.tell_evidence(&agent, false);
        }
    }

    /// A peer's stream ended.
    pub fn peer_ends(&self, stream: &PeerStream) {
        let mut inner = self.lock();
        if !inner.is_newest(stream) {
            return;
        }
        if let Some(controller) = inner.controllers.get_mut(&stream.controller) {
            controller.stream = None;
            controller.status.reachable = false;
            controller.status.set_role(v1::ControllerRole::Unspecified);
        }
        inner.tell_watchers(&News::Controller(stream.controller.clone()));
        for key in inner.registry.lose_controller(&stream.controller) {
            inner.tell_watchers(&News::Agent(key));
        }
        drop(inner);
        self.step();
    }
}

impl Inner {
    pub(super) fn set_my_revision(&mut self, revision: u64) {
        self.change_me(|status| status.applied_revision = revision);
    }

    fn change_me(&mut self, change: impl FnOnce(&mut v1::ControllerStatus)) {
        let me = self.me.clone();
        if let Some(controller) = self.controllers.get_mut(&me) {
            change(&mut controller.status);
        }
        for publisher in self.publishers.values() {
            publisher.push(News::Controller(me.clone()));
        }
        self.tell_watchers(&News::Controller(me));
    }

    fn set_peer(&mut self, status: v1::ControllerStatus) {
        let name = status.name.clone();
        if let Some(controller) = self.controllers.get_mut(&name) {
            // Where it is reached is ours to know.
            let endpoint = std::mem::take(&mut controller.status.endpoint);
            controller.status = v1::ControllerStatus { reachable: true, endpoint, ..status };
        }
        self.tell_watchers(&News::Controller(name));
    }

    fn is_newest(&self, stream: &PeerStream) -> bool {
        let newest = self.controllers.get(&stream.controller).and_then(|known| known.stream);
        newest == Some(stream.number)
    }
}
