//! The two listeners: one for the API and the agents, one for the other controllers.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::FILE_DESCRIPTOR_SET;
use fulcrum_proto::internal::v1::mesh_service_server::MeshServiceServer;
use fulcrum_proto::v1::agent_service_server::AgentServiceServer;
use fulcrum_proto::v1::cluster_service_server::ClusterServiceServer;
use fulcrum_proto::v1::event_service_server::EventServiceServer;
use fulcrum_proto::v1::intent_service_server::IntentServiceServer;
use fulcrum_proto::v1::topology_service_server::TopologyServiceServer;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::{tls, trace};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::layer::util::{Identity, Stack};

use super::ServeError;
use crate::api::agents::Agents;
use crate::api::apply::Applier;
use crate::api::cluster::ClusterApi;
use crate::api::events::EventApi;
use crate::api::intent::IntentApi;
use crate::api::topology::TopologyApi;
use crate::api::{MAX_MESSAGE_BYTES, health};
use crate::mesh::receive::Mesh;
use crate::raft::Raft;
use crate::sessions::Hub;
use crate::sessions::attach::Attacher;

/// A silent client is asked for a sign of life this often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// and let go when none comes for this long, so that an agent whose host died is known to be gone within 3 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls open at once on one connection: an agent needs one, a console a few.
const MAX_STREAMS: u32 = 256;

type Layers = Stack<trace::ServerLayer, Identity>;

/// TLS of both listeners; plain text when absent.
pub(super) struct Tls(Option<ServerTlsConfig>);

impl Tls {
    pub(super) fn load(files: Option<&TlsFiles>) -> Result<Self, ServeError> {
        Ok(Self(files.map(tls::server_config).transpose()?))
    }

    fn server(&self) -> Result<Server<Layers>, ServeError> {
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(MAX_STREAMS);
        let server = match &self.0 {
            Some(tls) => server.tls_config(tls.clone()).map_err(ServeError::TlsSetup)?,
            None => server,
        };
        Ok(server.layer(trace::server_layer()))
    }
}

/// What answers the API and the agents.
pub(super) struct Api {
    pub(super) attacher: Attacher,
    pub(super) raft: Raft,
    pub(super) applier: Applier,
    pub(super) hub: Arc<Hub>,
}

/// Serves the API and the agents until `shutdown`, and then what is open to its end.
pub(super) fn serve_api(
    listener: TcpListener,
    tls: &Tls,
    api: Api,
    health: HealthServer<impl Health>,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, ServeError> {
    let Api { attacher, raft, applier, hub } = api;
    let states = applier.states();
    let cluster = ClusterApi::new(&attacher.controller, raft, applier.clone(), shutdown.clone());
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        // The empty name is the server's own. What controllers say to each other is nobody's to call.
        let public = health::SERVICES.into_iter().filter(|name| !name.is_empty());
        public.fold(builder, tonic_reflection::server::Builder::with_service_name)
    };
    let intent =
        IntentServiceServer::new(IntentApi::new(applier, Arc::clone(&hub), shutdown.clone()));
    let events = EventServiceServer::new(EventApi::new(states.clone(), shutdown.clone()));
    let router = tls
        .server()?
        .add_service(events)
        .add_service(intent.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(TopologyServiceServer::new(TopologyApi { hub, states }))
        .add_service(ClusterServiceServer::new(cluster))
        .add_service(
            AgentServiceServer::new(Agents { attacher })
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(spawn("api", router, listener, shutdown))
}

/// What answers the other controllers.
pub(super) struct Peers {
    pub(super) raft: Raft,
    pub(super) applier: Applier,
    pub(super) hub: Arc<Hub>,
}

/// Serves the other controllers until `shutdown`.
pub(super) fn serve_peers(
    listener: TcpListener,
    tls: &Tls,
    peers: Peers,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, ServeError> {
    let Peers { raft, applier, hub } = peers;
    let mesh = Mesh { hub, shutdown: shutdown.clone() };
    let router = tls
        .server()?
        .add_service(raft.service(Arc::new(applier)))
        .add_service(MeshServiceServer::new(mesh).max_decoding_message_size(MAX_MESSAGE_BYTES));
    Ok(spawn("raft", router, listener, shutdown))
}

fn spawn(
    name: &'static str,
    router: Router<Layers>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(async move {
        let served = router.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(listener = name, %error, "a listener failed");
        }
    })
}
