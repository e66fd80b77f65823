//! The director's own door: a Unix socket that answers when no controller does.

use std::path::Path;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::director_local_service_server::{
    DirectorLocalService, DirectorLocalServiceServer,
};
pub use fulcrum_runtime::local_socket::{Socket, SocketError, bind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::ipvs::{IpvsHandle, table_to_wire};

mod connections;

use connections::Listings;

/// Questions that wait for the agent. A person asks one; the number lets a few tools ask at once.
const REQUESTS_CAPACITY: usize = 16;
/// Whoever asked and does not read, such as a pager, is not waited for longer when the agent ends.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);
/// The kernel's connection table, of the agent's network namespace.
const CONNECTIONS: &str = "/proc/net/ip_vs_conn";

/// Asks the agent what it knows.
#[derive(Debug)]
pub struct StatusRequest(oneshot::Sender<v1::GetDirectorStatusResponse>);

impl StatusRequest {
    /// Answers; whoever asked may be gone.
    pub fn answer(self, status: v1::GetDirectorStatusResponse) {
        let _ = self.0.send(status);
    }
}

/// The open door.
#[derive(Debug)]
pub struct Door {
    task: JoinHandle<()>,
}

impl Door {
    /// Waits until the last answer is given and the socket's file is gone, after the shutdown it was opened with.
    pub async fn closed(self) {
        // A panic of the task was reported by the runtime; nothing is left to do about it.
        let _ = self.task.await;
    }
}

/// Answers on the socket until `shutdown`. The agent answers the requests that come out; the kernel's table is read
/// for each answer.
pub fn serve(
    socket: Socket,
    ipvs: IpvsHandle,
    shutdown: CancellationToken,
) -> (Door, mpsc::Receiver<StatusRequest>) {
    let (requests, receiver) = mpsc::channel(REQUESTS_CAPACITY);
    let service = DirectorLocalServiceServer::new(Service {
        requests,
        ipvs,
        listings: Listings::new(Path::new(CONNECTIONS)),
    })
    // A table of 100,000 entries must be readable when no controller is there to ask.
    .max_encoding_message_size(usize::MAX);
    let Socket { listener, file } = socket;
    let serving = tonic::transport::Server::builder()
        .layer(fulcrum_runtime::trace::server_layer())
        .add_service(service)
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            shutdown.clone().cancelled_owned(),
        );
    let farewell_over = async move {
        shutdown.cancelled().await;
        tokio::time::sleep(LONGEST_FAREWELL).await;
    };
    let task = tokio::spawn(async move {
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "the local socket answers no longer");
                }
            }
            () = farewell_over => {}
        }
        drop(file);
    });
    (Door { task }, receiver)
}

struct Service {
    requests: mpsc::Sender<StatusRequest>,
    ipvs: IpvsHandle,
    listings: Listings,
}

#[tonic::async_trait]
impl DirectorLocalService for Service {
    async fn get_director_status(
        &self,
        _request: Request<v1::GetDirectorStatusRequest>,
    ) -> Result<Response<v1::GetDirectorStatusResponse>, Status> {
        let stopping = || Status::unavailable("the director is stopping");
        let (answer, answered) = oneshot::channel();
        self.requests.send(StatusRequest(answer)).await.map_err(|_| stopping())?;
        let mut status = answered.await.map_err(|_| stopping())?;
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
}
