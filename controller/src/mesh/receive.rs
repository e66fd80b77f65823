//! Hears from peers.

use std::sync::Arc;
use std::time::SystemTime;

use fulcrum_proto::internal::v1::mesh_service_server::MeshService;
use fulcrum_proto::internal::v1::publish_request::News;
use fulcrum_proto::internal::v1::{
    CompareClocksRequest, CompareClocksResponse, PublishRequest, PublishResponse,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::access::decide::may_speak_for;
use crate::api::who::caller;
use crate::host::clocks;
use crate::sessions::Hub;
use crate::sessions::hub::PeerStream;

/// Answers `MeshService`.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// What is known, and whom to tell.
    pub hub: Arc<Hub>,
    /// Ends the streams.
    pub shutdown: CancellationToken,
}

#[tonic::async_trait]
impl MeshService for Mesh {
    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<PublishResponse>, Status> {
        let caller = caller(&request);
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(News::Controller(controller)) = first.and_then(|request| request.news) else {
            return Err(Status::invalid_argument("the first message says who publishes"));
        };
        may_speak_for(&caller, &controller.name).map_err(|refused| refused.status())?;
        let stream = self.hub.peer_begins(controller)?;
        tracing::info!(peer = stream.controller, "peer controller heard");
        let listening = Listening { hub: &self.hub, stream };
        let ended = tokio::select! {
            () = self.shutdown.cancelled() => {
                Err(Status::unavailable("this controller is stopping"))
            }
            ended = listening.hear(requests) => ended,
        };
        ended.map(|()| Response::new(PublishResponse {}))
    }

    async fn compare_clocks(
        &self,
        request: Request<CompareClocksRequest>,
    ) -> Result<Response<CompareClocksResponse>, Status> {
        let received = SystemTime::now();
        let question = request.into_inner().question;
        let question = question
            .filter(|question| question.asked_at.is_some())
            .ok_or_else(|| Status::invalid_argument("question.asked_at: say when it was asked"))?;
        let answer = Some(clocks::answer(question, received));
        Ok(Response::new(CompareClocksResponse { answer }))
    }
}

/// A stream being heard. Dropping it, in whatever way it ends, tells the hub.
struct Listening<'a> {
    hub: &'a Hub,
    stream: PeerStream,
}

impl Listening<'_> {
    async fn hear(&self, mut requests: Streaming<PublishRequest>) -> Result<(), Status> {
        while let Some(request) = requests.message().await? {
            match request.news {
                Some(News::Controller(status)) => self.hub.peer_tells(&self.stream, status),
                Some(News::Agent(status)) => self.hub.peer_tells_agent(&self.stream, status),
                Some(News::Evidence(evidence)) => self.hub.peer_tells_evidence(evidence),
                // What a newer peer tells beyond this version.
                None => {}
            }
        }
        Ok(())
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        tracing::info!(peer = self.stream.controller, "peer controller no longer heard");
        self.hub.peer_ends(&self.stream);
    }
}
