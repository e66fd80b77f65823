//! Who may talk to a controller's listeners, and what they offer.

use std::path::Path;

use fulcrum_proto::internal::v1::mesh_service_client::MeshServiceClient;
use fulcrum_proto::internal::v1::{PublishRequest, publish_request};
use fulcrum_proto::v1;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_proto::v1::topology_service_client::TopologyServiceClient;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::connect_lazy;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tonic::Code;

use super::cluster::{Cluster, listen};
use crate::config::Config;
use crate::serve;

/// An authority with a certificate for 127.0.0.1, as files.
fn certificates(directory: &Path) -> TlsFiles {
    std::fs::create_dir_all(directory).expect("a writable directory");
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).expect("it signs").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    leaf.distinguished_name.push(DnType::CommonName, "anna");
    let leaf = leaf.signed_by(&key, &issuer).expect("it signs");
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    };
    TlsFiles {
        ca: write("ca.pem", authority_pem),
        cert: write("cert.pem", leaf.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}

async fn asks(endpoint: &str, tls: Option<&TlsFiles>) -> Result<(), Code> {
    let channel = connect_lazy(endpoint, tls).expect("a good endpoint");
    let answer = TopologyServiceClient::new(channel).get_status(v1::GetStatusRequest {}).await;
    answer.map(drop).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_only_certificates_of_the_authority_are_served() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ours = certificates(&directory.path().join("ours"));
    let theirs = certificates(&directory.path().join("theirs"));
    // Trusts our authority, but shows a certificate of another one.
    let stranger = TlsFiles { ca: ours.ca.clone(), ..theirs.clone() };
    let cluster = Cluster::start_with(2, |config| config.tls = Some(ours.clone())).await;
    let api = cluster.nodes[0].api.clone();
    assert_eq!(asks(&api, Some(&ours)).await, Ok(()));
    for refused in [None, Some(&stranger), Some(&theirs)] {
        assert!(asks(&api, refused).await.is_err(), "{refused:?}");
    }
    // The controllers reach each other, so their own listener takes such certificates, too.
    let mut topology =
        TopologyServiceClient::new(connect_lazy(&api, Some(&ours)).expect("a good endpoint"));
    let watched = topology.watch_topology(v1::WatchTopologyRequest {}).await;
    let mut events = watched.expect("it is watched").into_inner();
    let reached = tokio::time::timeout(super::cluster::SOON, async {
        loop {
            let event = events.message().await.expect("it goes on").and_then(|e| e.event);
            if let Some(v1::watch_topology_response::Event::Controller(controller)) = event
                && controller.name == "c2"
                && controller.reachable
            {
                return;
            }
        }
    });
    reached.await.expect("c2 is heard");
    // Whoever is asked tells the leader whose certificate it saw.
    for (node, site) in cluster.nodes.iter().zip(["east", "west"]) {
        let channel = connect_lazy(&node.api, Some(&ours)).expect("a good endpoint");
        let mut intent = IntentServiceClient::new(channel);
        let resources = vec![super::examples::site(site)];
        let request = v1::ApplyRequest { resources, ..Default::default() };
        intent.apply(request).await.expect("it is taken");
        let told = intent.list_revisions(v1::ListRevisionsRequest::default()).await;
        let newest = told.expect("it answers").into_inner().revisions.remove(0);
        assert_eq!((newest.who.as_str(), newest.changes[0].name.as_str()), ("anna", site));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_own_listener_refuses_strangers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ours = certificates(&directory.path().join("ours"));
    let (raft, endpoint) = listen().await;
    let (api, _) = listen().await;
    let mut config = Config::dev(directory.path().join("data"));
    config.tls = Some(ours.clone());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let listeners = serve::Listeners { api, raft };
    let served = tokio::spawn(serve::run(config, listeners, shutdown.clone()));
    let publish = async |tls: Option<&TlsFiles>| {
        let controller = v1::ControllerStatus { name: "c9".to_owned(), ..Default::default() };
        let news = Some(publish_request::News::Controller(controller));
        let stream = tokio_stream::once(PublishRequest { news });
        let channel = connect_lazy(&endpoint, tls).expect("a good endpoint");
        let answer = MeshServiceClient::new(channel).publish(stream).await;
        answer.err().map(|status| status.code())
    };
    // With a certificate it is heard, and refused for what it is.
    assert_eq!(publish(Some(&ours)).await, Some(Code::PermissionDenied));
    assert_ne!(publish(None).await, Some(Code::PermissionDenied));
    shutdown.cancel();
    served.await.expect("it does not panic").expect("it served");
}

#[tokio::test]
async fn plain_text_beyond_loopback_must_be_allowed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::dev(directory.path().to_owned());
    // An address of documentation, which no machine has: where plain text is allowed, listening fails.
    config.controllers[0].api = "192.0.2.1:7400".to_owned();
    let refused = serve::bind(&config).await.expect_err("it is beyond loopback").to_string();
    assert!(refused.contains("--insecure") && refused.contains("192.0.2.1:7400"), "{refused}");
    config.insecure = true;
    let refused = serve::bind(&config).await.expect_err("nobody has it").to_string();
    assert!(refused.contains("cannot listen on 192.0.2.1:7400"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_the_public_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let cluster = Cluster::start(1).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(cluster.nodes[0].channel());
    let answer = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answer.expect("it answers").into_inner().message().await;
    let answer = answer.expect("it answers").and_then(|response| response.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let expected = [
        "fulcrum.v1.AccessService",
        "fulcrum.v1.AgentService",
        "fulcrum.v1.ClusterService",
        "fulcrum.v1.EventService",
        "fulcrum.v1.IntentService",
        "fulcrum.v1.TopologyService",
        "grpc.health.v1.Health",
    ];
    assert_eq!(names, expected);
    cluster.stop().await;
}
