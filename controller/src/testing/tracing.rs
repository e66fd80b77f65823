//! One trace over all that an Apply sets going.

use fulcrum_proto::v1;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;

use super::agent::{self, Agent};
use super::cluster::Cluster;
use super::examples;

/// A single thread, whose subscriber is this test's own.
#[tokio::test]
async fn a_trace_runs_from_apply_over_the_leader_to_the_plan() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let cluster = Cluster::ready(2).await;
    let first = cluster.nodes[0].apply(examples::cluster()).await.revision;
    for node in &cluster.nodes {
        node.until("the intent", |topology| topology.revision == first).await;
    }
    let mut directors = Vec::new();
    for (node, name) in cluster.nodes.iter().zip(["d1", "d2"]) {
        let mut director = Agent::attach(node, agent::director(name)).await;
        director.plan().await;
        directors.push(director);
    }
    // Through the leader and through the follower.
    let writes = [
        (
            &cluster.nodes[0],
            examples::udp_virtual_server("dns"),
            "0af7651916cd43dd8448eb211c80319c",
        ),
        (
            &cluster.nodes[1],
            examples::web_by_least_connections(),
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
    ];
    for (node, resource, trace) in writes {
        let mut request = tonic::Request::new(v1::ApplyRequest {
            resources: vec![resource],
            ..Default::default()
        });
        let parent = format!("00-{trace}-b7ad6b7169203331-01").parse().expect("plain text");
        request.metadata_mut().insert("traceparent", parent);
        node.intent().apply(request).await.expect("it is taken");
        for director in &mut directors {
            let traceparent = director.plan().await.traceparent;
            assert!(traceparent.contains(trace), "{traceparent} is not of {trace}");
            assert!(
                !traceparent.contains("b7ad6b7169203331"),
                "{traceparent} is the caller's span"
            );
        }
    }
    cluster.stop().await;
}
