//! The agent's own door: a Unix socket that answers when no controller does.

use fulcrum_model::{LocalRelease, LocalWish, Name};
use fulcrum_proto::convert::{
    local_drain_from_wire, local_release_from_wire, local_undrain_from_wire, local_wish_from_wire,
};
use fulcrum_proto::v1;
use fulcrum_proto::v1::real_server_local_service_server::{
    RealServerLocalService, RealServerLocalServiceServer,
};
use fulcrum_runtime::local_socket::{self, Asking, Door, Reply, Socket, Writers};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What is asked of the agent. Of orders the fields are sound, and whoever gives them may.
#[derive(Debug)]
pub enum LocalRequest {
    /// What it knows.
    Status(Reply<v1::GetRealServerStatusResponse>),
    /// To let the host stay as it is.
    Freeze(LocalWish, Reply<Result<v1::FreezeHostResponse, Status>>),
    /// To go on.
    Thaw(LocalRelease, Reply<Result<v1::ThawHostResponse, Status>>),
    /// To tell a server to be draining.
    Drain(Name, LocalWish, Reply<Result<v1::DrainServerResponse, Status>>),
    /// To tell it as it is.
    Undrain(Name, LocalRelease, Reply<Result<v1::UndrainServerResponse, Status>>),
}

/// Answers on the socket until `shutdown`. The agent answers the requests that come out.
pub fn serve(
    socket: Socket,
    writers: Writers,
    shutdown: CancellationToken,
) -> (Door, mpsc::Receiver<LocalRequest>) {
    let (asking, receiver) = Asking::new(writers);
    let service = RealServerLocalServiceServer::new(Service { asking });
    (local_socket::serve(socket, Routes::new(service), shutdown), receiver)
}

struct Service {
    asking: Asking<LocalRequest>,
}

#[tonic::async_trait]
impl RealServerLocalService for Service {
    async fn get_real_server_status(
        &self,
        _request: Request<v1::GetRealServerStatusRequest>,
    ) -> Result<Response<v1::GetRealServerStatusResponse>, Status> {
        self.asking.ask(LocalRequest::Status).await.map(Response::new)
    }

    async fn freeze_host(
        &self,
        request: Request<v1::FreezeHostRequest>,
    ) -> Result<Response<v1::FreezeHostResponse>, Status> {
        let read = |wire: &v1::FreezeHostRequest| local_wish_from_wire(wire.order.as_ref());
        self.asking.order(request, read, LocalRequest::Freeze).await
    }

    async fn thaw_host(
        &self,
        request: Request<v1::ThawHostRequest>,
    ) -> Result<Response<v1::ThawHostResponse>, Status> {
        let read = |wire: &v1::ThawHostRequest| local_release_from_wire(wire.release.as_ref());
        self.asking.order(request, read, LocalRequest::Thaw).await
    }

    async fn drain_server(
        &self,
        request: Request<v1::DrainServerRequest>,
    ) -> Result<Response<v1::DrainServerResponse>, Status> {
        let read = |wire: &v1::DrainServerRequest| {
            local_drain_from_wire(&wire.real_server, wire.order.as_ref())
        };
        let order = |(name, wish), reply| LocalRequest::Drain(name, wish, reply);
        self.asking.order(request, read, order).await
    }

    async fn undrain_server(
        &self,
        request: Request<v1::UndrainServerRequest>,
    ) -> Result<Response<v1::UndrainServerResponse>, Status> {
        let read = |wire: &v1::UndrainServerRequest| {
            local_undrain_from_wire(&wire.real_server, wire.release.as_ref())
        };
        let order = |(name, release), reply| LocalRequest::Undrain(name, release, reply);
        self.asking.order(request, read, order).await
    }
}

#[cfg(test)]
mod tests;
