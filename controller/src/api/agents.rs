//! `AgentService`: the agents' door.

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status, Streaming};

use crate::sessions::attach::{Attacher, Responses};

/// Answers `AgentService`.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Serves the sessions.
    pub attacher: Attacher,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type AttachStream = Responses;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Responses>, Status> {
        self.attacher.attach(request.into_inner()).await.map(Response::new)
    }
}
