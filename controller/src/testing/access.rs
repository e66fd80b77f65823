//! One test for each rule of access, over real sockets.

use std::io::{Read as _, Write as _};

use fulcrum_proto::internal::v1::IdentifyRequest;
use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::v1;
use fulcrum_proto::v1::access_service_client::AccessServiceClient;
use fulcrum_proto::v1::agent_service_client::AgentServiceClient;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_proto::v1::topology_service_client::TopologyServiceClient;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::connect_lazy;
use tonic::{Code, Status};

use super::cluster::{Cluster, SOON};
use super::examples;
use super::guarded::Guarded;
use super::pki::Pki;

impl Guarded {
    async fn status(&self, tls: Option<&TlsFiles>) -> Result<v1::Topology, Status> {
        let channel = self.channel(tls);
        let answer = TopologyServiceClient::new(channel).get_status(v1::GetStatusRequest {}).await;
        answer.map(|answer| answer.into_inner().topology.unwrap_or_default())
    }

    /// What an agent's hello is answered with.
    async fn attach(&self, tls: &TlsFiles, role: v1::AgentRole, name: &str) -> Result<(), Status> {
        let hello = v1::Hello {
            role: role.into(),
            name: name.to_owned(),
            epoch: 1,
            session: 1,
            ..Default::default()
        };
        let message = Some(v1::attach_request::Message::Hello(hello));
        let requests = tokio_stream::iter([v1::AttachRequest { message }]);
        let mut client = AgentServiceClient::new(self.channel(Some(tls)));
        let mut answers = client.attach(requests).await?.into_inner();
        answers.message().await.map(drop)
    }
}

/// The code, and a part of what is said.
fn assert_refused<T>(what: &str, answer: Result<T, Status>, code: Code, part: &str) {
    let Err(status) = answer else { panic!("{what} was let in") };
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert!(status.message().contains(part), "{what}: {}", status.message());
}

fn rule(name: &str, operator: &str, role: v1::AccessRole, sites: &[&str]) -> v1::Resource {
    let rule = v1::AccessRule {
        operators: vec![operator.to_owned()],
        role: role.into(),
        sites: sites.iter().map(ToString::to_string).collect(),
    };
    let metadata = Some(v1::Metadata { name: name.to_owned(), ..Default::default() });
    v1::Resource { metadata, spec: Some(v1::resource::Spec::AccessRule(rule)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_role() {
    let guarded = Guarded::start(1).await;
    let issue = |path: &str| guarded.pki.issue(path);
    let (vera, eve, d1) = (issue("operator/vera"), issue("operator/eve"), issue("director/d1"));
    let rule = rule("looks", "vera", v1::AccessRole::Viewer, &[]);
    let mut instance = examples::vrrp_instance("vi-1", &["d1", "d2"]);
    if let Some(v1::resource::Spec::VrrpInstance(spec)) = &mut instance.spec {
        spec.version = v1::VrrpVersion::V2.into();
        spec.auth_pass = "1111".to_owned();
    }
    guarded.apply(&guarded.admin, vec![rule, instance]).await.expect("it is taken");
    // She reads, but no secrets, and writes nothing.
    assert!(guarded.status(Some(&vera)).await.is_ok());
    let change = || vec![examples::web_by_least_connections()];
    let denied = Code::PermissionDenied;
    assert_refused("a viewer", guarded.apply(&vera, change()).await, denied, "granted viewer");
    assert_refused("nobody", guarded.status(Some(&eve)).await, denied, "granted nothing");
    assert_refused("an agent", guarded.status(Some(&d1)).await, denied, "director/d1 may not call");
    assert_refused("an agent", guarded.apply(&d1, change()).await, denied, "for operator/NAME");
    let secret = async |tls: &TlsFiles| {
        let request = v1::GetRequest {
            kind: v1::Kind::VrrpInstance.into(),
            name: "vi-1".to_owned(),
            stale: false,
        };
        let mut client = IntentServiceClient::new(guarded.channel(Some(tls)));
        let got = client.get(request).await.expect("it is there").into_inner().resource;
        match got.and_then(|resource| resource.spec) {
            Some(v1::resource::Spec::VrrpInstance(instance)) => instance.auth_pass,
            spec => panic!("{spec:?}"),
        }
    };
    assert_eq!(secret(&vera).await, "(not shown)");
    assert_eq!(secret(&guarded.admin).await, "1111");
    // Refused calls are told to those who may read.
    let mut access = AccessServiceClient::new(guarded.channel(Some(&vera)));
    let told = access.list_refusals(v1::ListRefusalsRequest {}).await.expect("it answers");
    let refusals = told.into_inner().refusals;
    let of = |who: &str, method: &str| {
        refusals.iter().any(|it| it.who == who && it.method == method && !it.address.is_empty())
    };
    assert!(
        of("spiffe://fulcrum/operator/eve", "fulcrum.v1.TopologyService/GetStatus"),
        "{refusals:?}"
    );
    assert!(of("spiffe://fulcrum/operator/vera", "fulcrum.v1.IntentService/Apply"), "{refusals:?}");
    let who = access.get_caller(v1::GetCallerRequest {}).await.expect("it answers").into_inner();
    assert_eq!(
        (who.identity.as_str(), who.unrestricted),
        ("spiffe://fulcrum/operator/vera", false)
    );
    assert_eq!((who.grants.len(), who.grants[0].rule.as_str()), (1, "looks"));
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_site_and_a_follower_that_passes_on() {
    let guarded = Guarded::start(3).await;
    let otto = guarded.pki.issue("operator/otto");
    let rules = vec![examples::site("west"), rule("far", "otto", v1::AccessRole::Admin, &["west"])];
    guarded.apply(&guarded.admin, rules).await.expect("it is taken");
    for node in &guarded.cluster.nodes {
        // Whoever is asked, the leader judges, and the history names the identity.
        let channel = connect_lazy(&node.api, Some(&otto)).expect("a good endpoint");
        let mut client = IntentServiceClient::new(channel);
        let resources = vec![examples::web_by_least_connections()];
        let request = v1::ApplyRequest { resources, ..Default::default() };
        let answer = client.apply(request).await;
        assert_refused(
            "another site",
            answer,
            Code::PermissionDenied,
            "VirtualServer web needs admin of site",
        );
        let mut west = examples::site("west");
        if let Some(v1::resource::Spec::Site(site)) = &mut west.spec {
            site.description = format!("by {}", node.api);
        }
        let request = v1::ApplyRequest { resources: vec![west], ..Default::default() };
        client.apply(request).await.expect("it is his site");
        let told = client.list_revisions(v1::ListRevisionsRequest::default()).await;
        let newest = told.expect("it answers").into_inner().revisions.remove(0);
        assert_eq!(newest.who, "spiffe://fulcrum/operator/otto");
    }
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_node() {
    let guarded = Guarded::start(1).await;
    let (director, real_server) = (v1::AgentRole::Director, v1::AgentRole::RealServer);
    let d1 = guarded.pki.issue("director/d1");
    assert!(guarded.attach(&d1, director, "d1").await.is_ok());
    for (role, name) in
        [(director, "d2"), (real_server, "web1"), (real_server, "d1"), (director, "d9")]
    {
        let answer = guarded.attach(&d1, role, name).await;
        assert_refused(name, answer, Code::PermissionDenied, "director/d1 may not attach as");
    }
    let web1 = guarded.pki.issue("realserver/web1");
    assert!(guarded.attach(&web1, real_server, "web1").await.is_ok());
    let answer = guarded.attach(&guarded.admin, director, "d1").await;
    assert_refused("an operator", answer, Code::PermissionDenied, "which is for director/NAME");
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_listener_is_for_controllers() {
    let guarded = Guarded::start(1).await;
    let raft = guarded.node().raft();
    let identify = async |tls: &TlsFiles| {
        let channel = connect_lazy(&raft, Some(tls)).expect("a good endpoint");
        RaftServiceClient::new(channel).identify(IdentifyRequest { envelope: None }).await
    };
    for path in ["operator/admin", "director/d1", "realserver/web1"] {
        let answer = identify(&guarded.pki.issue(path)).await;
        assert_refused(path, answer, Code::PermissionDenied, "which is for controller/NAME");
    }
    // Let in, and then refused for what it says.
    let answer = identify(&guarded.pki.issue("controller/c2")).await;
    assert_ne!(answer.expect_err("it names no node").code(), Code::PermissionDenied);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_and_one_of_another_domain() {
    let guarded = Guarded::start(1).await;
    let made = |holder: &str, uris: &[&str]| guarded.pki.made(holder, uris);
    let cases = [
        (guarded.pki.unnamed("anna"), "anna has no identity"),
        (
            made("two", &["spiffe://fulcrum/operator/admin", "spiffe://fulcrum/operator/b"]),
            "2 identities",
        ),
        (made("old", &["spiffe://fulcrum/admin"]), "is not spiffe://TRUST-DOMAIN/PROGRAM/NAME"),
        (made("far", &["spiffe://example.org/operator/admin"]), "another trust domain"),
    ];
    for (tls, part) in cases {
        // Not by our own client, which would not speak to a controller of another domain.
        let mut client = TopologyServiceClient::new(guarded.careless(&tls));
        let answer = client.get_status(v1::GetStatusRequest {});
        assert_refused(part, answer.await, Code::Unauthenticated, part);
    }
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_identities_all_is_as_before() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pki = Pki::new(directory.path());
    // As `make-certificates` wrote them before there were identities.
    let (old, named) = (pki.made("c1", &["spiffe://fulcrum/c1"]), pki.issue("director/d1"));
    let cluster = Cluster::start_with(1, |config| config.tls = Some(old.clone())).await;
    let node = &cluster.nodes[0];
    node.until_serving_by(&old).await;
    let status = async |tls: &TlsFiles| {
        let channel = connect_lazy(&node.api, Some(tls)).expect("a good endpoint");
        TopologyServiceClient::new(channel).get_status(v1::GetStatusRequest {}).await
    };
    for tls in [&old, &pki.unnamed("anna")] {
        assert!(status(tls).await.is_ok());
    }
    // Who has an identity is held to it.
    assert_refused("an agent", status(&named).await, Code::PermissionDenied, "director/d1");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_other_authority_and_plain_text() {
    let guarded = Guarded::start(1).await;
    // A name of its own, for the files of who is let in stay.
    let ended = guarded.pki.ended("operator/ada");
    let other = Pki::new(&guarded.directory.path().join("theirs"));
    let forged = other.issue("operator/admin");
    // Trusts our authority, but shows a certificate of another one.
    let forged = TlsFiles { ca: guarded.admin.ca.clone(), ..forged };
    for (what, tls) in [("ended", Some(&ended)), ("forged", Some(&forged)), ("plain text", None)] {
        // They get no further than the handshake, which is no answer of the controller's.
        let status = guarded.status(tls).await.expect_err(what);
        assert!(std::error::Error::source(&status).is_some(), "{what}: {status:?}");
    }
    // Not a byte of an answer to plain text.
    let api = guarded.node().api.clone();
    let answered = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(api).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a socket's option");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .expect("it is sent");
        let mut answer = Vec::new();
        // A reset says no less than an end.
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    let answered = answered.await.expect("it does not panic");
    assert!(!answered.starts_with(b"\0\0"), "HTTP/2 settings came: {answered:?}");
    assert!(guarded.status(Some(&guarded.admin)).await.is_ok());
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_message() {
    let guarded = Guarded::start(1).await;
    let mut site = examples::site("west");
    if let Some(v1::resource::Spec::Site(spec)) = &mut site.spec {
        spec.description = "x".repeat(crate::api::MAX_MESSAGE_BYTES + 1);
    }
    let answer = guarded.apply(&guarded.admin, vec![site]).await;
    assert_refused("64 MiB and more", answer, Code::OutOfRange, "message");
    // To those who may not even write it is not read at all.
    let request = v1::ListRequest { name_prefix: "x".repeat(8 << 20), ..Default::default() };
    let d1 = guarded.pki.issue("director/d1");
    let answer = IntentServiceClient::new(guarded.channel(Some(&d1))).list(request).await;
    assert_eq!(answer.expect_err("it is refused").code(), Code::PermissionDenied);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hold_a_bounded_number_of_answers() {
    let guarded = Guarded::start(1).await;
    let slow = guarded.pki.issue("operator/slow");
    let rule = rule("slow", "*", v1::AccessRole::Viewer, &[]);
    guarded.apply(&guarded.admin, vec![rule]).await.expect("it is taken");
    // Streams whose answers nobody takes, over as many connections as there are of them.
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..80 {
        let mut client = TopologyServiceClient::new(guarded.channel(Some(&slow)));
        match client.watch_topology(v1::WatchTopologyRequest {}).await {
            Ok(stream) => open.push((client, stream)),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert!(
                    status.message().contains("operator/slow: 64 calls are open"),
                    "{status:?}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (64, 16));
    // Others are served, and so is that one when it lets go.
    assert!(guarded.status(Some(&guarded.admin)).await.is_ok());
    open.clear();
    let again = tokio::time::timeout(SOON, async {
        while guarded.status(Some(&slow)).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("its calls are over");
    guarded.stop().await;
}
