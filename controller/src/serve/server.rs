//! The two listeners: one for the API and the agents, one for the other controllers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::FILE_DESCRIPTOR_SET;
use fulcrum_proto::internal::v1::mesh_service_server::MeshServiceServer;
use fulcrum_proto::v1::access_service_server::AccessServiceServer;
use fulcrum_proto::v1::agent_service_server::AgentServiceServer;
use fulcrum_proto::v1::cluster_service_server::ClusterServiceServer;
use fulcrum_proto::v1::event_service_server::EventServiceServer;
use fulcrum_proto::v1::intent_service_server::IntentServiceServer;
use fulcrum_proto::v1::topology_service_server::TopologyServiceServer;
use fulcrum_runtime::listener::{self, Connection, Limits};
use fulcrum_runtime::tls::{ClientCertificates, ServerTls, TlsFiles};
use fulcrum_runtime::trace;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::layer::util::{Identity, Stack};

use super::ServeError;
use crate::access::layer::GateLayer;
use crate::access::{Gate, methods};
use crate::api::access::AccessApi;
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

/// Connections of the API's listener: twice as many agents as one controller serves, and all of them may be behind one address.
const API_LIMITS: Limits = Limits { connections: 20_000, per_address: 12_000 };
/// Connections of the other controllers: each has a few.
const PEER_LIMITS: Limits = Limits { connections: 256, per_address: 64 };

type Layers = Stack<GateLayer, Stack<trace::ServerLayer, Identity>>;

/// TLS of both listeners; plain text when absent.
pub(super) struct Tls {
    api: Option<Arc<ServerTls>>,
    peers: Option<Arc<ServerTls>>,
}

impl Tls {
    /// With `newcomers`, the API's listener takes clients that have no certificate yet; the gate lets them join, and no more.
    pub(super) fn load(files: Option<&TlsFiles>, newcomers: bool) -> Result<Self, ServeError> {
        let load = |clients| files.map(|files| ServerTls::load(files, clients)).transpose();
        let clients =
            if newcomers { ClientCertificates::Optional } else { ClientCertificates::Required };
        let (api, peers) = (load(clients)?, load(ClientCertificates::Required)?);
        Ok(Self { api: api.map(Arc::new), peers: peers.map(Arc::new) })
    }
}

fn server(gate: GateLayer) -> Server<Layers> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .layer(trace::server_layer())
        .layer(gate)
}

/// What answers the API and the agents.
pub(super) struct Api {
    pub(super) attacher: Attacher,
    pub(super) raft: Raft,
    pub(super) applier: Applier,
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Arc<Gate>,
    pub(super) access: AccessApi,
}

/// Serves the API and the agents until `shutdown`, and then what is open to its end.
pub(super) fn serve_api(
    listener: TcpListener,
    tls: &Tls,
    api: Api,
    health: HealthServer<impl Health>,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, ServeError> {
    let Api { attacher, raft, applier, hub, gate, access } = api;
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
    let intent = IntentServiceServer::new(IntentApi::new(
        applier,
        Arc::clone(&hub),
        shutdown.clone(),
        Arc::clone(&gate),
    ));
    let events = EventServiceServer::new(EventApi::new(states.clone(), shutdown.clone()));
    let agents = Agents { attacher, gate: Arc::clone(&gate) };
    let router = server(GateLayer::new(gate, methods::API, true))
        .add_service(events)
        .add_service(intent.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(TopologyServiceServer::new(TopologyApi { hub, states }))
        .add_service(ClusterServiceServer::new(cluster))
        .add_service(AgentServiceServer::new(agents).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(AccessServiceServer::new(access))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let connections = listener::connections("api", listener, tls.api.clone(), API_LIMITS);
    Ok(spawn("api", router, connections, shutdown))
}

/// What answers the other controllers.
pub(super) struct Peers {
    pub(super) raft: Raft,
    pub(super) applier: Applier,
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Arc<Gate>,
}

/// Serves the other controllers until `shutdown`.
pub(super) fn serve_peers(
    listener: TcpListener,
    tls: &Tls,
    peers: Peers,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    let Peers { raft, applier, hub, gate } = peers;
    let mesh = Mesh { hub, shutdown: shutdown.clone() };
    let router = server(GateLayer::new(gate, methods::PEERS, false))
        .add_service(raft.service(Arc::new(applier)))
        .add_service(MeshServiceServer::new(mesh).max_decoding_message_size(MAX_MESSAGE_BYTES));
    let connections = listener::connections("raft", listener, tls.peers.clone(), PEER_LIMITS);
    spawn("raft", router, connections, shutdown)
}

fn spawn(
    name: &'static str,
    router: Router<Layers>,
    connections: ReceiverStream<io::Result<Connection>>,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let served = router.serve_with_incoming_shutdown(connections, shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(listener = name, %error, "a listener failed");
        }
    })
}
