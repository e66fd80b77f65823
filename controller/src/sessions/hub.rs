//! What this controller knows and whom it tells: one lock, short steps, no waiting inside.
//!
//! News comes from sessions, from the mesh and from Raft. Each piece is merged into the registry and its key put into the
//! outbox of everyone concerned; they read the thing itself when they are ready to send it.

mod controllers;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use fulcrum_intent::AgentId;
use fulcrum_model::Name;
use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::v1;
use tokio::sync::watch;
use tonic::Status;

pub use controllers::PeerStream;
pub use topology::Watcher;

use super::convergence;
use super::key;
use super::plans::Planned;
use super::registry::{Admission, Merge, Newcomer, Registry, SessionStamp};
use crate::outbox::Outbox;

/// Names a thing of the topology that changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum News {
    /// A controller.
    Controller(String),
    /// An agent.
    Agent(AgentId),
    /// The evidence of a real-server agent.
    Evidence(Name),
    /// A resource.
    Resource(ResourceKey),
    /// A new watcher has everything.
    Synced,
}

/// Agents whose evidence a director is to be sent.
pub type SessionOutbox = Outbox<Name>;

/// What this controller knows and whom it tells.
#[derive(Debug)]
pub struct Hub {
    inner: Mutex<Inner>,
    /// Counts changes that can end a wait for convergence.
    steps: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    me: String,
    registry: Registry,
    sessions: BTreeMap<AgentId, Session>,
    /// Directors to tell of an agent's evidence. Kept beside `sessions` so that news finds them at once.
    directors_of: BTreeMap<Name, BTreeMap<AgentId, Arc<SessionOutbox>>>,
    watchers: BTreeMap<u64, Arc<Outbox<News>>>,
    /// One for each peer controller that is being published to.
    publishers: BTreeMap<String, Arc<Outbox<News>>>,
    controllers: BTreeMap<String, controllers::Controller>,
    planned: Arc<Planned>,
    next_number: u64,
    /// Set when this controller stops.
    closed: Option<Status>,
}

#[derive(Debug)]
struct Session {
    stamp: SessionStamp,
    outbox: Arc<SessionOutbox>,
    agents: BTreeSet<Name>,
}

/// How many agents are attached to this controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Directors.
    pub directors: u64,
    /// Real-server agents.
    pub real_servers: u64,
}

impl Hub {
    /// For controller `me` of `controllers` (itself included), starting from this intent.
    pub fn new(me: &str, controllers: &[crate::config::Controller], planned: Arc<Planned>) -> Self {
        let inner = Inner {
            me: me.to_owned(),
            registry: Registry::new(me),
            sessions: BTreeMap::new(),
            directors_of: BTreeMap::new(),
            watchers: BTreeMap::new(),
            publishers: BTreeMap::new(),
            controllers: controllers::all(me, controllers, planned.version.revision),
            planned,
            next_number: 0,
            closed: None,
        };
        Self { inner: Mutex::new(inner), steps: watch::Sender::new(0) }
    }

    /// An agent says hello. Where it is welcome, `outbox` is that of its newest session, and an older one here is closed.
    ///
    /// # Errors
    /// UNAVAILABLE when this controller is stopping.
    pub fn admit(
        &self,
        newcomer: &Newcomer,
        outbox: &Arc<SessionOutbox>,
    ) -> Result<Admission, Status> {
        let mut inner = self.lock();
        if let Some(status) = &inner.closed {
            return Err(status.clone());
        }
        let admission = inner.registry.admit(newcomer, wall_clock());
        if let Admission::Welcome { .. } = admission {
            let Newcomer { key, stamp, .. } = newcomer;
            inner.end_session(key, &superseded());
            let session =
                Session { stamp: *stamp, outbox: Arc::clone(outbox), agents: BTreeSet::new() };
            inner.sessions.insert(key.clone(), session);
            inner.tell_agent(key);
            drop(inner);
            self.step();
        }
        Ok(admission)
    }

    /// A session ended.
    pub fn leave(&self, key: &AgentId, stamp: SessionStamp) {
        let mut inner = self.lock();
        if inner.sessions.get(key).is_some_and(|session| session.stamp == stamp) {
            inner.end_session(key, &superseded());
        }
        if inner.registry.leave(key, stamp) {
            inner.tell_agent(key);
        }
        drop(inner);
        self.step();
    }

    /// An agent said something of itself, which `tell` writes down.
    pub fn hear(
        &self,
        key: &AgentId,
        stamp: SessionStamp,
        tell: impl FnOnce(&mut v1::AgentStatus),
    ) {
        let mut inner = self.lock();
        if inner.registry.hear(key, stamp, wall_clock(), tell) {
            inner.tell_agent(key);
            drop(inner);
            self.step();
        }
    }

    /// A real-server agent's evidence came over its session here.
    pub fn take_evidence(&self, key: &AgentId, stamp: SessionStamp, evidence: v1::Evidence) {
        let mut inner = self.lock();
        let is_current = inner.registry.hear(key, stamp, wall_clock(), |_| {});
        if is_current && inner.registry.take_evidence(&key.name, evidence, true, Instant::now()) {
            inner.tell_evidence(&key.name, true);
        }
    }

    /// A director's plan names these agents: it is told of their evidence from now on, and at once of what is held of those
    /// that are new to it.
    pub fn follow_evidence(&self, director: &AgentId, stamp: SessionStamp, agents: BTreeSet<Name>) {
        let mut inner = self.lock();
        inner.follow_evidence(director, stamp, agents);
    }

    /// An agent's evidence with its age as of now; none when there is none that still counts.
    pub fn evidence(&self, agent: &Name) -> Option<v1::Evidence> {
        self.lock().registry.evidence(agent, Instant::now())
    }

    /// The intent has a new revision.
    pub fn intent_changed(&self, planned: Arc<Planned>) {
        let changed = planned.changed_since(&self.planned());
        let mut inner = self.lock();
        let newly_named: Vec<AgentId> =
            planned.named.difference(&inner.planned.named).cloned().collect();
        let revision = planned.version.revision;
        inner.registry.forget_unnamed(&planned.named);
        inner.planned = Arc::clone(&planned);
        for key in changed.iter().cloned() {
            inner.tell_watchers(&News::Resource(key));
        }
        for key in newly_named {
            inner.tell_watchers(&News::Agent(key));
        }
        inner.set_my_revision(revision);
        drop(inner);
        self.step();
    }

    /// The intent as the sessions plan from it.
    pub fn planned(&self) -> Arc<Planned> {
        Arc::clone(&self.lock().planned)
    }

    /// Whether this controller has reached the revision, without which it cannot name every agent, and the agents named by
    /// the intent that have not applied it.
    pub fn laggards(&self, revision: u64) -> (bool, Vec<v1::Laggard>) {
        let inner = self.lock();
        let reached = inner.planned.version.revision >= revision;
        let version = v1::PlanVersion { revision, ..inner.planned.version.clone() };
        (reached, convergence::laggards(&inner.registry, &inner.planned.named, &version))
    }

    /// Changes whenever a wait for convergence may have ended.
    pub fn steps(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// How many agents are attached here.
    pub fn attached(&self) -> Attached {
        let inner = self.lock();
        let directors = inner.sessions.keys().filter(|key| key::is_director(key)).count() as u64;
        Attached { directors, real_servers: inner.sessions.len() as u64 - directors }
    }

    /// Lets everyone go and admits nobody any more, with this status. Agents' streams end in good order instead: an agent
    /// that is let go so goes to the next controller at once.
    pub fn close(&self, status: &Status) {
        let mut inner = self.lock();
        inner.closed = Some(status.clone());
        let good = Status::ok(status.message());
        inner.sessions.values().for_each(|session| session.outbox.close(good.clone()));
        inner.watchers.values().for_each(|watcher| watcher.close(status.clone()));
        inner.publishers.values().for_each(|publisher| publisher.close(status.clone()));
    }

    fn step(&self) {
        self.steps.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here panics half-way through a change; and if it did, one agent's news would be late, not wrong.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end_session(&mut self, key: &AgentId, status: &Status) {
        let Some(session) = self.sessions.remove(key) else { return };
        session.outbox.close(status.clone());
        for agent in &session.agents {
            self.drop_director(agent, key);
        }
    }

    fn drop_director(&mut self, agent: &Name, director: &AgentId) {
        if let Some(directors) = self.directors_of.get_mut(agent) {
            directors.remove(director);
            if directors.is_empty() {
                self.directors_of.remove(agent);
            }
        }
    }

    fn follow_evidence(&mut self, key: &AgentId, stamp: SessionStamp, agents: BTreeSet<Name>) {
        let Some(session) = self.sessions.get_mut(key).filter(|session| session.stamp == stamp)
        else {
            return;
        };
        let outbox = Arc::clone(&session.outbox);
        let before = std::mem::replace(&mut session.agents, agents.clone());
        for gone in before.difference(&agents) {
            self.drop_director(gone, key);
        }
        for new in agents.difference(&before) {
            let directors = self.directors_of.entry(new.clone()).or_default();
            directors.insert(key.clone(), Arc::clone(&outbox));
            if self.registry.evidence(new, Instant::now()).is_some() {
                outbox.push(new.clone());
            }
        }
    }

    /// Tells those concerned of new evidence: directors first, for there it becomes a weight.
    fn tell_evidence(&mut self, agent: &Name, is_local: bool) {
        if let Some(directors) = self.directors_of.get(agent) {
            for outbox in directors.values() {
                outbox.push(agent.clone());
            }
        }
        if is_local {
            for publisher in self.publishers.values() {
                publisher.push_urgent(News::Evidence(agent.clone()));
            }
        }
        self.tell_watchers(&News::Evidence(agent.clone()));
    }

    /// Tells of an agent that is or was attached to this controller.
    fn tell_agent(&mut self, key: &AgentId) {
        for publisher in self.publishers.values() {
            publisher.push(News::Agent(key.clone()));
        }
        self.tell_watchers(&News::Agent(key.clone()));
    }

    fn tell_watchers(&self, news: &News) {
        self.watchers.values().for_each(|watcher| watcher.push(news.clone()));
    }
}

fn superseded() -> Status {
    Status::aborted("a newer session of this agent took over")
}

fn wall_clock() -> prost_types::Timestamp {
    SystemTime::now().into()
}
