//! The director's own door: a Unix socket that answers when no controller does.

use std::path::Path;

use fulcrum_model::{LocalRelease, LocalWish, Name};
use fulcrum_proto::convert::{
    local_drain_from_wire, local_release_from_wire, local_undrain_from_wire, local_wish_from_wire,
};
use fulcrum_proto::v1;
use fulcrum_proto::v1::director_local_service_server::{
    DirectorLocalService, DirectorLocalServiceServer,
};
use fulcrum_runtime::local_socket::{self, Asking, Writers};
pub use fulcrum_runtime::local_socket::{Door, Reply, Socket, SocketError, bind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::ipvs::{IpvsHandle, table_to_wire};

mod connections;

use connections::Listings;

/// The kernel's connection table, of the agent's network namespace.
const CONNECTIONS: &str = "/proc/net/ip_vs_conn";

/// What is asked of the agent. Of orders the fields are sound, and whoever gives them may.
#[derive(Debug)]
pub enum LocalRequest {
    /// What it knows.
    Status(Reply<v1::GetDirectorStatusResponse>),
    /// To let everything stay as it is.
    Freeze(LocalWish, Reply<Result<v1::FreezeResponse, Status>>),
    /// To go on.
    Thaw(LocalRelease, Reply<Result<v1::ThawResponse, Status>>),
    /// To drain a real server.
    Drain(Name, LocalWish, Reply<Result<v1::DrainLocallyResponse, Status>>),
    /// To use it again.
    Undrain(Name, LocalRelease, Reply<Result<v1::UndrainLocallyResponse, Status>>),
}

/// Answers on the socket until `shutdown`. The agent answers the requests that come out; the kernel's table is read
/// for each status.
pub fn serve(
    socket: Socket,
    writers: Writers,
    ipvs: IpvsHandle,
    shutdown: CancellationToken,
) -> (Door, mpsc::Receiver<LocalRequest>) {
    let (asking, receiver) = Asking::new(writers);
    let listings = Listings::new(Path::new(CONNECTIONS));
    let service = DirectorLocalServiceServer::new(Service { asking, ipvs, listings })
        // A table of 100,000 entries must be readable when no controller is there to ask.
        .max_encoding_message_size(usize::MAX);
    (local_socket::serve(socket, Routes::new(service), shutdown), receiver)
}

struct Service {
    asking: Asking<LocalRequest>,
    ipvs: IpvsHandle,
    listings: Listings,
}

#[tonic::async_trait]
impl DirectorLocalService for Service {
    async fn get_director_status(
        &self,
        _request: Request<v1::GetDirectorStatusRequest>,
    ) -> Result<Response<v1::GetDirectorStatusResponse>, Status> {
        let mut status = self.asking.ask(LocalRequest::Status).await?;
        let read = self.ipvs.read().await.map_err(|error| {
            Status::internal(format!("cannot read the kernel's table: {error}"))
        })?;
        let observed = status.observed.get_or_insert_default();
        observed.ipvs = table_to_wire(&read.table, &read.traffic, read.wanted.as_deref());
        Ok(Response::new(status))
    }

    type ListIpvsConnectionsStream =
        ReceiverStream<Result<v1::ListIpvsConnectionsResponse, Status>>;

    async fn list_ipvs_connections(
        &self,
        _request: Request<v1::ListIpvsConnectionsRequest>,
    ) -> Result<Response<Self::ListIpvsConnectionsStream>, Status> {
        self.listings.start().map(Response::new)
    }

    async fn freeze(
        &self,
        request: Request<v1::FreezeRequest>,
    ) -> Result<Response<v1::FreezeResponse>, Status> {
        let read = |wire: &v1::FreezeRequest| local_wish_from_wire(wire.order.as_ref());
        self.asking.order(request, read, LocalRequest::Freeze).await
    }

    async fn thaw(
        &self,
        request: Request<v1::ThawRequest>,
    ) -> Result<Response<v1::ThawResponse>, Status> {
        let read = |wire: &v1::ThawRequest| local_release_from_wire(wire.release.as_ref());
        self.asking.order(request, read, LocalRequest::Thaw).await
    }

    async fn drain_locally(
        &self,
        request: Request<v1::DrainLocallyRequest>,
    ) -> Result<Response<v1::DrainLocallyResponse>, Status> {
        let read = |wire: &v1::DrainLocallyRequest| {
            local_drain_from_wire(&wire.real_server, wire.order.as_ref())
        };
        let order = |(name, wish), reply| LocalRequest::Drain(name, wish, reply);
        self.asking.order(request, read, order).await
    }

    async fn undrain_locally(
        &self,
        request: Request<v1::UndrainLocallyRequest>,
    ) -> Result<Response<v1::UndrainLocallyResponse>, Status> {
        let read = |wire: &v1::UndrainLocallyRequest| {
            local_undrain_from_wire(&wire.real_server, wire.release.as_ref())
        };
        let order = |(name, release), reply| LocalRequest::Undrain(name, release, reply);
        self.asking.order(request, read, order).await
    }
}

#[cfg(test)]
mod tests;
