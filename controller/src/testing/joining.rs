//! Coming to a certificate by a token, and keeping it, over real sockets and with the code that agents run.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::to_hex;
use fulcrum_proto::v1;
use fulcrum_proto::v1::access_service_client::AccessServiceClient;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_proto::v1::topology_service_client::TopologyServiceClient;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::{authority, certificate, identity};
use fulcrum_session::credentials::{self, CredentialsError, Token};
use tonic::{Code, Status};

use super::cluster::SOON;
use super::guarded::Guarded;

impl Guarded {
    fn endpoints(&self) -> Vec<String> {
        self.cluster.nodes.iter().map(|node| node.api.clone()).collect()
    }

    /// Writes a token for an identity that ends so long from now, or ended so long ago.
    async fn token(&self, name: &str, holder: &str, ends: SystemTime) -> Token {
        let ca = authority::first_certificate(&self.admin.ca).expect("it is there");
        let token = Token {
            name: name.to_owned(),
            secret: authority::secret(),
            authority: authority::digest(&ca),
        };
        let spec = v1::JoinToken {
            identity: holder.to_owned(),
            secret_sha256: to_hex(&authority::digest(&token.secret)),
            expires: Some(ends.into()),
            addresses: Vec::new(),
        };
        let metadata = Some(v1::Metadata { name: name.to_owned(), ..Default::default() });
        let spec = Some(v1::resource::Spec::JoinToken(spec));
        let token_resource = v1::Resource { metadata, spec };
        self.apply(&self.admin, vec![token_resource]).await.expect("it is taken");
        token
    }

    /// Where a program would keep what it gets.
    fn files(&self, name: &str) -> TlsFiles {
        let path = |end: &str| self.directory.path().join(name).join(end);
        TlsFiles { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") }
    }

    async fn join(&self, token: &Token, files: &TlsFiles) -> Result<String, CredentialsError> {
        credentials::join(token, &self.endpoints(), files).await
    }

    async fn who(&self, tls: &TlsFiles) -> Result<v1::GetCallerResponse, Status> {
        let mut client = AccessServiceClient::new(self.channel(Some(tls)));
        client.get_caller(v1::GetCallerRequest {}).await.map(tonic::Response::into_inner)
    }
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_hours(1)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_a_certificate_once_whoever_is_asked() {
    let issuing = Guarded::issuing(3).await;
    let token = issuing.token("t1", "director/d1", in_an_hour()).await;
    let files = issuing.files("d1");
    // Several with the same token, at all controllers: one of them has it.
    let more = ["a", "b", "c"].map(|name| issuing.files(name));
    let endpoints = issuing.endpoints();
    let attempts = more.iter().zip(&endpoints).map(|(files, endpoint)| {
        let (token, endpoint) = (&token, vec![endpoint.clone()]);
        async move { credentials::join(token, &endpoint, files).await.is_ok() }
    });
    let joined = futures::future::join_all(attempts).await;
    assert_eq!(joined.iter().filter(|joined| **joined).count(), 1, "{joined:?}");
    let replayed = issuing.join(&token, &files).await.expect_err("it was used").to_string();
    assert!(replayed.contains("PermissionDenied: the join token is not good"), "{replayed}");
    assert!(!files.cert.exists());
    let winner = &more[joined.iter().position(|it| *it).expect("one has it")];
    assert_eq!((mode(&winner.key), mode(&winner.cert)), (0o600, 0o600));
    let who = issuing.who(winner).await.expect("it is let in");
    assert_eq!(who.identity, "spiffe://fulcrum/director/d1");
    // The history tells who joined, and no secret is anywhere.
    let mut intent = IntentServiceClient::new(issuing.channel(Some(&issuing.admin)));
    let told = intent.list_revisions(v1::ListRevisionsRequest::default()).await;
    let newest = told.expect("it answers").into_inner().revisions.remove(0);
    assert_eq!(newest.who, "spiffe://fulcrum/director/d1 by join token t1");
    let told = intent.get_revision(v1::GetRevisionRequest::default()).await.expect("it answers");
    assert!(!format!("{told:?}").contains(&to_hex(&token.secret)));
    issuing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_forged_and_misled() {
    let issuing = Guarded::issuing(1).await;
    let ended = issuing.token("t1", "director/d1", SystemTime::now()).await;
    let good = issuing.token("t2", "director/d1", in_an_hour()).await;
    let bad = [
        ended,
        Token { secret: [7; 32], ..good.clone() },
        Token { name: "t9".to_owned(), ..good.clone() },
    ];
    for token in bad {
        let text = issuing.join(&token, &issuing.files("x")).await.expect_err("bad").to_string();
        assert!(text.contains("the join token is not good"), "{token:?}: {text}");
    }
    // Why is for those who look.
    let mut access = AccessServiceClient::new(issuing.channel(Some(&issuing.admin)));
    let told = access.list_refusals(v1::ListRefusalsRequest {}).await.expect("it answers");
    let reasons: Vec<String> = told.into_inner().refusals.into_iter().map(|it| it.reason).collect();
    for part in ["has expired", "the secret is not", "there is no join token"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    // The secret is not sent to who has another authority.
    let misled = Token { authority: [1; 32], ..good.clone() };
    let error = issuing.join(&misled, &issuing.files("x")).await.expect_err("another authority");
    assert!(matches!(error, CredentialsError::AnotherAuthority { .. }), "{error}");
    assert!(issuing.join(&good, &issuing.files("d1")).await.is_ok(), "it was not used up");
    // Without a certificate there is nothing but joining.
    let ca = authority::first_certificate(&issuing.admin.ca).expect("it is there");
    let config = fulcrum_runtime::tls::ClientTls::without_certificate(&ca).expect("it is good");
    let endpoint = &issuing.endpoints()[0];
    let channel = fulcrum_runtime::transport::connect_once(endpoint, config.into()).expect("good");
    let mut topology = TopologyServiceClient::new(channel.clone());
    let answer = topology.get_status(v1::GetStatusRequest {}).await.expect_err("nobody asks");
    assert_eq!(answer.code(), Code::Unauthenticated);
    let answer = AccessServiceClient::new(channel).renew(v1::RenewRequest::default()).await;
    assert_eq!(answer.expect_err("there is nothing to renew").code(), Code::Unauthenticated);
    issuing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_who_has_a_part() {
    let issuing = Guarded::issuing(1).await;
    let token = issuing.token("t1", "director/d1", in_an_hour()).await;
    let files = issuing.files("d1");
    issuing.join(&token, &files).await.expect("it is good");
    let read = |path: &Path| authority::first_certificate(path).expect("it is there");
    let (before, key) = (read(&files.cert), std::fs::read(&files.key).expect("it is there"));
    let renewed = credentials::renew(&issuing.endpoints(), &files).await.expect("it is renewed");
    assert_eq!(renewed, "spiffe://fulcrum/director/d1");
    let after = read(&files.cert);
    assert_ne!(before, after);
    assert_eq!(std::fs::read(&files.key).expect("it is there"), key, "the key stays");
    assert!(certificate::end_of(&after) >= certificate::end_of(&before));
    // A controller's keeps its addresses.
    let c1 = issuing.pki.issue("controller/c1");
    credentials::renew(&issuing.endpoints(), &c1).await.expect("it is renewed");
    assert_eq!(identity::addresses(&read(&c1.cert)), ["127.0.0.1"]);
    // Who has no part any more lets his certificate end.
    for path in ["director/d9", "controller/c9", "operator/eve"] {
        let files = issuing.pki.issue(path);
        let text = credentials::renew(&issuing.endpoints(), &files).await.expect_err(path);
        assert!(text.to_string().contains("its certificate is not renewed"), "{text}");
    }
    issuing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_used_without_a_gap() {
    let issuing = Guarded::issuing(1).await;
    let endpoint = issuing.endpoints().remove(0);
    // Open before, and served all the time.
    let mut before = TopologyServiceClient::new(issuing.channel(Some(&issuing.admin)));
    let watched = before.watch_topology(v1::WatchTopologyRequest {}).await;
    let mut events = watched.expect("it is watched").into_inner();
    let mine = issuing.pki.issue("controller/c1");
    let first = authority::first_certificate(&mine.cert).expect("it is there");
    // The controller's own files were just replaced: new connections see the new one.
    let shown = async {
        loop {
            let any = fulcrum_runtime::any_certificate::AnyCertificate::new();
            let config = std::sync::Arc::new(any.client().expect("it has a version"));
            let stream = tokio::net::TcpStream::connect(&endpoint).await.expect("it listens");
            let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("an address");
            let _ = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            if any.leaf().is_some_and(|leaf| leaf.as_ref() == first) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, shown).await.expect("the new one is shown");
    assert!(before.get_status(v1::GetStatusRequest {}).await.is_ok());
    assert!(events.message().await.is_ok_and(|event| event.is_some()), "the stream goes on");
    issuing.stop().await;
}
