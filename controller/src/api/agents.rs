//! `AgentService`: the agents' door.

use std::sync::Arc;

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_server::AgentService;
use fulcrum_runtime::listener::Peer;
use tonic::{Request, Response, Status, Streaming};

use super::who::caller;
use crate::access::{Gate, decide};
use crate::sessions::attach::{Attacher, Responses};

/// Answers `AgentService`.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Serves the sessions.
    pub attacher: Attacher,
    /// Notes who attaches as another.
    pub gate: Arc<Gate>,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type AttachStream = Responses;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let caller = caller(&request);
        let peer = request.extensions().get::<Peer>().cloned();
        let may_be = |agent: &fulcrum_intent::AgentId| {
            decide::may_be(&caller, agent).map_err(|refused| {
                let status = refused.status();
                let method = "fulcrum.v1.AgentService/Attach";
                self.gate.note(&caller, peer.as_ref(), method, status.message());
                status
            })
        };
        self.attacher.attach(request.into_inner(), may_be).await.map(Response::new)
    }
}
