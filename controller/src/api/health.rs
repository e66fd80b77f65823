//! grpc.health.v1: a controller serves while it knows a leader.

use fulcrum_proto::v1::access_service_server::AccessServiceServer;
use fulcrum_proto::v1::agent_service_server::AgentServiceServer;
use fulcrum_proto::v1::cluster_service_server::ClusterServiceServer;
use fulcrum_proto::v1::event_service_server::EventServiceServer;
use fulcrum_proto::v1::intent_service_server::IntentServiceServer;
use fulcrum_proto::v1::topology_service_server::TopologyServiceServer;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::access::AccessApi;
use super::agents::Agents;
use super::cluster::ClusterApi;
use super::events::EventApi;
use super::intent::IntentApi;
use super::topology::TopologyApi;

/// The whole server, and each service by its name. All of them share one fate.
pub const SERVICES: [&str; 7] = [
    "",
    IntentServiceServer::<IntentApi>::NAME,
    TopologyServiceServer::<TopologyApi>::NAME,
    ClusterServiceServer::<ClusterApi>::NAME,
    AgentServiceServer::<Agents>::NAME,
    EventServiceServer::<EventApi>::NAME,
    AccessServiceServer::<AccessApi>::NAME,
];

/// Tells whoever asks or watches.
pub async fn report(reporter: &HealthReporter, is_serving: bool) {
    let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
