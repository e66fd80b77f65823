//! Reading: the topology at once, or thing by thing for those who follow it.

use std::sync::Arc;
use std::time::Instant;

use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::internal::v1::{PublishRequest, publish_request};
use fulcrum_proto::v1::watch_topology_response::{Change, Event};
use fulcrum_proto::{convert, v1};
use tonic::Status;

use super::{Hub, Inner, News};
use crate::outbox::{Next, Outbox};
use crate::sessions::plans::Planned;
use fulcrum_intent::AgentId;

/// Watchers served at once: each costs a key and a copy per change.
const MAX_WATCHERS: usize = 256;
/// Keys that wait for a watcher at most: every resource of the largest manifest set, as many agents, and their evidence.
const WATCHER_CAPACITY: usize = 300_000;

/// Someone who follows the topology. Dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    number: u64,
    outbox: Arc<Outbox<News>>,
}

impl Watcher {
    /// Begins with everything there is, then [`News::Synced`], then what changes.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` above 256 watchers, UNAVAILABLE when this controller is stopping.
    pub fn new(hub: &Arc<Hub>) -> Result<Self, Status> {
        if hub.lock().watchers.len() >= MAX_WATCHERS {
            let text =
                format!("{MAX_WATCHERS} watchers are served already: ask another controller");
            return Err(Status::resource_exhausted(text));
        }
        Self::of_this_controller(hub)
    }

    /// As [`Self::new`], for whom there is always a place.
    ///
    /// # Errors
    /// UNAVAILABLE when this controller is stopping.
    pub fn of_this_controller(hub: &Arc<Hub>) -> Result<Self, Status> {
        let mut inner = hub.lock();
        if let Some(status) = &inner.closed {
            return Err(status.clone());
        }
        let outbox = Arc::new(Outbox::new(WATCHER_CAPACITY));
        inner.everything().for_each(|news| outbox.push(news));
        outbox.push(News::Synced);
        inner.next_number += 1;
        let number = inner.next_number;
        inner.watchers.insert(number, Arc::clone(&outbox));
        drop(inner);
        Ok(Self { hub: Arc::clone(hub), number, outbox })
    }

    /// Waits for the next key. What it names is asked of the hub.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn news(&self) -> Result<News, Status> {
        self.outbox.next().await
    }

    /// The next key, if there is one already.
    pub fn take(&self) -> Next<News> {
        self.outbox.take()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too slow, UNAVAILABLE when this controller stops.
    pub async fn next(&self) -> Result<v1::WatchTopologyResponse, Status> {
        loop {
            let news = self.outbox.next().await?;
            if let Some(event) = self.hub.event(&news) {
                return Ok(v1::WatchTopologyResponse { event: Some(event) });
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.lock().watchers.remove(&self.number);
    }
}

impl Hub {
    /// The whole topology.
    pub fn topology(&self) -> v1::Topology {
        let inner = self.lock();
        let controllers = inner.controllers.values().map(|known| known.status.clone()).collect();
        let evidence = inner.registry.all_evidence(Instant::now());
        let mut agents: Vec<_> = inner
            .registry
            .agents()
            .map(|(key, status)| (key.clone(), Arc::clone(status)))
            .collect();
        let planned = Arc::clone(&inner.planned);
        let unheard = planned.named.iter().filter(|key| inner.registry.agent(key).is_none());
        agents.extend(unheard.map(|key| (key.clone(), Arc::new(never_attached(key)))));
        drop(inner);
        // The rest is copied without holding up the news.
        agents.sort_by(|(left, _), (right, _)| left.cmp(right));
        v1::Topology {
            revision: planned.version.revision,
            cluster_id: planned.version.cluster_id.clone(),
            controllers,
            agents: agents.into_iter().map(|(_, status)| Arc::unwrap_or_clone(status)).collect(),
            evidence,
            resources: planned
                .intent
                .resources
                .values()
                .map(convert::resource_to_watcher)
                .collect(),
            unconfirmed: planned.unconfirmed.clone(),
            // A matter of what Raft keeps, see the API.
            notifications: Vec::new(),
        }
    }

    /// A controller as it is known here.
    pub fn controller_status(&self, name: &str) -> Option<v1::ControllerStatus> {
        self.lock().controller(name)
    }

    /// An agent as it is known here, shared; none where nobody has heard of it.
    pub fn agent_status(&self, key: &AgentId) -> Option<Arc<v1::AgentStatus>> {
        self.lock().registry.agent(key).map(Arc::clone)
    }

    /// A thing as it is now, for a watcher; none when there is nothing to tell.
    fn event(&self, news: &News) -> Option<Event> {
        match news {
            News::Controller(name) => self.lock().controller(name).map(Event::Controller),
            News::Agent(key) => self.agent(key).map(Event::Agent),
            News::Evidence(agent) => self.evidence(agent).map(Event::Evidence),
            News::Resource(key) => Some(resource(&self.planned(), key)),
            News::Synced => {
                let revision = self.planned().version.revision;
                Some(Event::Synced(v1::Synced { revision }))
            }
        }
    }

    /// A thing as it is now, for a peer controller; none when there is nothing to tell it.
    pub fn publication(&self, news: &News) -> Option<PublishRequest> {
        use publish_request::News as Published;
        let news = match news {
            News::Controller(name) => self.lock().controller(name).map(Published::Controller),
            News::Agent(key) => {
                // An agent that has moved meanwhile is its new controller's to tell of.
                let is_mine = self.lock().registry.is_local(key);
                self.agent(key).filter(|_| is_mine).map(Published::Agent)
            }
            News::Evidence(agent) => self.evidence(agent).map(Published::Evidence),
            News::Resource(_) | News::Synced => None,
        };
        news.map(|news| PublishRequest { news: Some(news) })
    }

    fn agent(&self, key: &AgentId) -> Option<v1::AgentStatus> {
        let inner = self.lock();
        let is_named = inner.planned.named.contains(key);
        let known = inner.registry.agent(key).map(Arc::clone);
        // A director's table may be long: it is copied without holding up the news.
        drop(inner);
        known.map(Arc::unwrap_or_clone).or_else(|| is_named.then(|| never_attached(key)))
    }
}

impl Inner {
    fn everything(&self) -> impl Iterator<Item = News> {
        let controllers = self.controllers.keys().map(|name| News::Controller(name.clone()));
        let resources = self.planned.intent.resources.keys().cloned().map(News::Resource);
        let known = self.registry.agents().map(|(key, _)| key);
        let agents = known.chain(&self.planned.named).cloned().map(News::Agent);
        let evidence = self.registry.agents_with_evidence().cloned().map(News::Evidence);
        controllers.chain(resources).chain(agents).chain(evidence)
    }

    fn controller(&self, name: &str) -> Option<v1::ControllerStatus> {
        self.controllers.get(name).map(|known| known.status.clone())
    }
}

fn resource(planned: &Planned, key: &ResourceKey) -> Event {
    match planned.intent.resources.get(key) {
        Some(resource) => Event::Resource(convert::resource_to_watcher(resource)),
        None => Event::Deleted(Change {
            kind: convert::kind_to_wire(key.kind).into(),
            name: key.name.to_string(),
        }),
    }
}

/// An agent that the intent names and nobody has heard of.
fn never_attached(key: &AgentId) -> v1::AgentStatus {
    v1::AgentStatus {
        role: key.role.as_str().to_owned(),
        name: key.name.to_string(),
        ..Default::default()
    }
}
