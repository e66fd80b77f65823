//! `TopologyService`: the cluster as it is, from what this controller knows. It answers without a leader, too.

use std::pin::Pin;
use std::sync::Arc;

use fulcrum_proto::v1;
use fulcrum_proto::v1::topology_service_server::TopologyService;
use futures::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::raft::IntentState;
use crate::sessions::Hub;
use crate::sessions::hub::Watcher;

/// Answers `TopologyService`.
#[derive(Clone, Debug)]
pub struct TopologyApi {
    /// What is known.
    pub hub: Arc<Hub>,
    /// What Raft keeps.
    pub states: watch::Receiver<Arc<IntentState>>,
}

#[tonic::async_trait]
impl TopologyService for TopologyApi {
    type WatchTopologyStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchTopologyResponse, Status>> + Send>>;

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let mut topology = self.hub.topology();
        let state = self.states.borrow().clone();
        topology.notifications = state.events.channels().values().cloned().collect();
        Ok(Response::new(v1::GetStatusResponse { topology: Some(topology) }))
    }

    async fn watch_topology(
        &self,
        _: Request<v1::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let watcher = Watcher::new(&self.hub)?;
        // The transport asks for the next event when it has room, so a slow watcher waits in its outbox.
        let events = futures::stream::unfold(Some(watcher), |watcher| async {
            let watcher = watcher?;
            let event = watcher.next().await;
            let watcher = event.is_ok().then_some(watcher);
            Some((event, watcher))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
