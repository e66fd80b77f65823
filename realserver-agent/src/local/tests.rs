//! The door over a real Unix socket, with a stand-in for the agent.

use fulcrum_proto::v1::real_server_local_service_client::RealServerLocalServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Endpoint, Uri};

use super::*;

/// Answers with what it was asked.
async fn stand_in(mut requests: mpsc::Receiver<LocalRequest>) {
    while let Some(request) = requests.recv().await {
        // The test that asked may have failed.
        match request {
            LocalRequest::Status(reply) => {
                let name = "web1".to_owned();
                drop(reply.send(v1::GetRealServerStatusResponse { name, ..Default::default() }));
            }
            LocalRequest::Freeze(wish, reply) => {
                let warnings = vec![wish.owner];
                drop(reply.send(Ok(v1::FreezeHostResponse { warnings, ..Default::default() })));
            }
            LocalRequest::Thaw(release, reply) => {
                drop(reply.send(Err(Status::failed_precondition(release.owner))));
            }
            LocalRequest::Drain(name, wish, reply) => {
                let warnings = vec![format!("{name} by {}", wish.owner)];
                let answer = v1::DrainServerResponse { warnings, ..Default::default() };
                drop(reply.send(Ok(answer)));
            }
            LocalRequest::Undrain(_, _, reply) => {
                drop(reply.send(Ok(v1::UndrainServerResponse::default())));
            }
        }
    }
}

#[tokio::test]
async fn requests_come_in_by_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("realserver.sock");
    let shutdown = CancellationToken::new();
    let socket = local_socket::bind(&path).unwrap();
    let (door, requests) = serve(socket, Writers::of_this_program().unwrap(), shutdown.clone());
    let agent = tokio::spawn(stand_in(requests));
    let to = path.clone();
    let connect = tower::service_fn(move |_: Uri| {
        let path = to.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://realserver.local");
    let channel = endpoint.connect_with_connector(connect).await.unwrap();
    let mut client = RealServerLocalServiceClient::new(channel);

    let status = client.get_real_server_status(v1::GetRealServerStatusRequest {}).await;
    assert_eq!(status.unwrap().into_inner().name, "web1");
    let order = Some(v1::LocalOrder {
        owner: "ann".to_owned(),
        reason: "tests".to_owned(),
        ..Default::default()
    });
    let frozen = client.freeze_host(v1::FreezeHostRequest { order: order.clone() }).await;
    assert_eq!(frozen.unwrap().into_inner().warnings, ["ann"]);
    let drain = v1::DrainServerRequest { real_server: "web1".to_owned(), order };
    let drained = client.drain_server(drain).await.unwrap().into_inner();
    assert_eq!(drained.warnings, ["web1 by ann"]);
    let release = Some(v1::LocalRelease { owner: "bob".to_owned(), force: false });
    let refused = client.thaw_host(v1::ThawHostRequest { release }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "bob"));
    let bad = client.undrain_server(v1::UndrainServerRequest::default()).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().contains("real_server") && bad.message().contains("release.owner"));

    shutdown.cancel();
    door.closed().await;
    assert!(!path.exists());
    drop(client);
    agent.await.unwrap();
}
