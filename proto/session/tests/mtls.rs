//! A session over TLS with certificates on both sides, read from files as the programs read them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use fulcrum_runtime::listener::{self, Limits};
use fulcrum_runtime::tls::{ClientCertificates, ServerTls, TlsFiles};
use fulcrum_session::{Session, SessionConfig, SessionEvent};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Welcomes everybody, and keeps the stream until the agent ends it.
struct Welcoming;

#[tonic::async_trait]
impl AgentService for Welcoming {
    type AttachStream = ReceiverStream<Result<v1::AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (responses, receiver) = mpsc::channel(1);
        let welcome = v1::attach_response::Message::Welcome(v1::Welcome::default());
        let welcome = v1::AttachResponse { message: Some(welcome) };
        responses.send(Ok(welcome)).await.map_err(|_| Status::cancelled("the agent left"))?;
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = requests.message().await {}
            drop(responses);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Writes NAME.pem and NAME.key, signed by `signer` for 127.0.0.1, beside the authority `trusted` as NAME-ca.pem.
fn identity(
    directory: &Path,
    name: &str,
    signer: &CertifiedIssuer<'static, KeyPair>,
    trusted: &CertifiedIssuer<'static, KeyPair>,
) -> Result<TlsFiles, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let files = TlsFiles {
        ca: directory.join(format!("{name}-ca.pem")),
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    std::fs::write(&files.ca, trusted.pem())?;
    std::fs::write(&files.cert, params.signed_by(&key, signer)?.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    Ok(files)
}

/// The first event of an agent with this identity at a controller with that one.
async fn first_event(
    controller: &TlsFiles,
    agent: Option<TlsFiles>,
) -> Result<Option<SessionEvent>, Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = listener.local_addr()?.to_string();
    let tls = Arc::new(ServerTls::load(controller, ClientCertificates::Required)?);
    let limits = Limits { connections: 8, per_address: 8 };
    let connections = listener::connections("test", listener, Some(tls), limits);
    let server =
        tonic::transport::Server::builder().add_service(AgentServiceServer::new(Welcoming));
    tokio::spawn(server.serve_with_incoming(connections));
    let config = SessionConfig {
        role: v1::AgentRole::Director,
        name: "d1".parse()?,
        epoch: 1,
        boot_id: "boot".to_owned(),
        program_version: "0".to_owned(),
        controllers: vec![endpoint],
        tls: agent,
    };
    let (_plan, version) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let (_handle, mut events) = Session::spawn(config, version, shutdown.clone());
    let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await?;
    shutdown.cancel();
    Ok(event)
}

#[tokio::test]
async fn both_sides_show_a_certificate_of_the_authority() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (ours, other) = (authority()?, authority()?);
    let controller = identity(directory.path(), "c1", &ours, &ours)?;
    let good = identity(directory.path(), "good", &ours, &ours)?;
    let unknown_agent = identity(directory.path(), "unknown", &other, &ours)?;
    let distrusting = identity(directory.path(), "distrusting", &ours, &other)?;
    let cases = [
        ("of the authority", Some(good), true),
        ("signed by another", Some(unknown_agent), false),
        ("that trusts another", Some(distrusting), false),
        ("in plain text", None, false),
    ];
    for (what, agent, is_welcome) in cases {
        match first_event(&controller, agent).await? {
            Some(SessionEvent::Attached { .. }) => assert!(is_welcome, "an agent {what} came in"),
            Some(SessionEvent::Detached { reason }) => {
                assert!(!is_welcome, "an agent {what} was refused: {reason}");
            }
            event => panic!("an agent {what}: {event:?}"),
        }
    }
    Ok(())
}
