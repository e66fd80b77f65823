//! The door over a real Unix socket, with a stand-in for the agent.

use std::path::PathBuf;
use std::time::Duration;

use fulcrum_model::local_order::{LocalOrders, LocalRefusal};
use fulcrum_proto::convert::{freeze_to_wire, local_drain_to_wire, local_refusal_to_text};
use fulcrum_proto::v1::director_local_service_client::DirectorLocalServiceClient;
use fulcrum_session::local_orders;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use super::*;

/// Answers orders by the same book as the agent.
async fn stand_in(mut requests: mpsc::Receiver<LocalRequest>) {
    let mut orders = LocalOrders::default();
    let refuse =
        |refusal: LocalRefusal| Status::failed_precondition(local_refusal_to_text(&refusal));
    while let Some(request) = requests.recv().await {
        let now = local_orders::now();
        // The test that asked may have failed.
        match request {
            LocalRequest::Status(reply) => {
                drop(reply.send(v1::GetDirectorStatusResponse::default()));
            }
            LocalRequest::Freeze(wish, reply) => {
                let frozen = orders.freeze(now, &wish).map(|order| freeze_to_wire(order, 3));
                let answer = frozen.map(|frozen| v1::FreezeResponse {
                    frozen: Some(frozen),
                    warnings: Vec::new(),
                });
                drop(reply.send(answer.map_err(refuse)));
            }
            LocalRequest::Thaw(release, reply) => {
                let ended = orders.thaw(&release).map_err(refuse);
                let wire = |order| v1::ThawResponse { ended: Some(freeze_to_wire(&order, 3)) };
                drop(reply.send(ended.map(|ended| ended.map(wire).unwrap_or_default())));
            }
            LocalRequest::Drain(name, wish, reply) => {
                let drain = orders.drain(now, &name, &wish).map_err(refuse);
                let answer = drain.map(|order| v1::DrainLocallyResponse {
                    drain: Some(local_drain_to_wire(&name, order)),
                    ..Default::default()
                });
                drop(reply.send(answer));
            }
            LocalRequest::Undrain(name, release, reply) => {
                let ended = orders.undrain(&name, &release).map_err(refuse);
                let wire = |order| v1::UndrainLocallyResponse {
                    ended: Some(local_drain_to_wire(&name, &order)),
                };
                drop(reply.send(ended.map(|ended| ended.map(wire).unwrap_or_default())));
            }
        }
    }
}

async fn client(path: PathBuf) -> DirectorLocalServiceClient<Channel> {
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://director.local");
    let channel = endpoint.connect_with_connector(connect).await.expect("the door is open");
    DirectorLocalServiceClient::new(channel)
}

fn order(owner: &str, minutes: u64) -> v1::LocalOrder {
    v1::LocalOrder {
        owner: owner.to_owned(),
        reason: "tests".to_owned(),
        duration: Some(fulcrum_proto::convert::duration_to_wire(Duration::from_mins(minutes))),
        force: false,
    }
}

fn release(owner: &str, force: bool) -> v1::LocalRelease {
    v1::LocalRelease { owner: owner.to_owned(), force }
}

#[tokio::test]
async fn orders_are_given_by_the_socket() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("director.sock");
    let shutdown = CancellationToken::new();
    let writers = Writers::of_this_program().expect("the kernel tells");
    // A driver that has ended: orders do not ask it.
    let (ipvs, _, _) = IpvsHandle::open();
    let socket = bind(&path).expect("a fresh path");
    let (door, requests) = serve(socket, writers, ipvs, shutdown.clone());
    let agent = tokio::spawn(stand_in(requests));
    let mut client = client(path.clone()).await;

    let bad =
        v1::DrainLocallyRequest { real_server: "Web 1".to_owned(), order: Some(order("", 9_999)) };
    let refused = client.drain_locally(bad).await.expect_err("three bad fields");
    assert_eq!(refused.code(), Code::InvalidArgument);
    for field in ["real_server", "order.owner", "order.duration"] {
        assert!(refused.message().contains(field), "{refused}");
    }

    let name = || "web1".to_owned();
    let drain = v1::DrainLocallyRequest { real_server: name(), order: Some(order("bob", 20)) };
    let drained = client.drain_locally(drain.clone()).await.expect("taken").into_inner();
    assert_eq!(drained.drain.expect("told").owner, "bob");
    let freeze = |owner| v1::FreezeRequest { order: Some(order(owner, 10)) };
    let frozen = client.freeze(freeze("ann")).await.expect("taken").into_inner();
    assert_eq!(frozen.frozen.expect("told").held_edits, 3);
    for refused in [
        client.freeze(freeze("bob")).await.map(drop),
        client.thaw(v1::ThawRequest { release: Some(release("bob", false)) }).await.map(drop),
        client.drain_locally(drain).await.map(drop),
    ] {
        let refused = refused.expect_err("frozen by ann");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("frozen by ann until "), "{refused}");
    }
    let thawed = client.thaw(v1::ThawRequest { release: Some(release("bob", true)) }).await;
    assert_eq!(thawed.expect("forced").into_inner().ended.expect("one").owner, "ann");
    let undrain =
        v1::UndrainLocallyRequest { real_server: name(), release: Some(release("bob", false)) };
    let undrained = client.undrain_locally(undrain).await.expect("his").into_inner();
    assert_eq!(undrained.ended.expect("one").reason, "tests");
    client
        .get_director_status(v1::GetDirectorStatusRequest {})
        .await
        .expect_err("no kernel to read");

    shutdown.cancel();
    door.closed().await;
    assert!(!path.exists());
    drop(client);
    agent.await.expect("it ends with the door");
}
