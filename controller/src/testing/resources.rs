//! Following resources over the API.

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_resources_response::Event;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::cluster::{Cluster, Node, SOON};
use super::examples;

/// A watcher and what it was told last.
struct Following(Streaming<v1::WatchResourcesResponse>);

impl Following {
    async fn of(node: &Node, request: v1::WatchResourcesRequest) -> Result<Self, Status> {
        let stream = node.intent().watch_resources(request).await?;
        Ok(Self(stream.into_inner()))
    }

    async fn event(&mut self) -> Result<Event, Status> {
        let message = tokio::time::timeout(SOON, self.0.message()).await.expect("it comes soon")?;
        Ok(message.and_then(|message| message.event).expect("the stream goes on"))
    }

    /// Names of what changed, with `-` before those that went, until the bookmark of that revision or a later one.
    async fn until(&mut self, revision: u64) -> (Vec<String>, u64) {
        let mut names = Vec::new();
        loop {
            match self.event().await.expect("it goes on") {
                Event::Resource(resource) => {
                    names.push(resource.metadata.expect("it has its name").name);
                }
                Event::Deleted(gone) => names.push(format!("-{}", gone.name)),
                Event::Bookmark(bookmark) if bookmark.revision >= revision => {
                    return (names, bookmark.revision);
                }
                Event::Bookmark(_) => {}
            }
        }
    }
}

fn all_after(from_revision: u64) -> v1::WatchResourcesRequest {
    v1::WatchResourcesRequest { from_revision, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_goes_on_at_another_controller_from_its_bookmark() {
    let mut cluster = Cluster::ready(3).await;
    let first = cluster.nodes[0].apply(examples::cluster()).await.revision;
    let stopping = cluster.nodes.pop().expect("there are three");
    let mut following = Following::of(&stopping, all_after(0)).await.expect("it is served");
    let (names, bookmark) = following.until(first).await;
    assert_eq!((names.len(), bookmark), (8, first));
    let second = cluster.nodes[0].apply(vec![examples::site("east")]).await.revision;
    let (names, bookmark) = following.until(second).await;
    assert_eq!((names, bookmark), (vec!["east".to_owned()], second));

    // The controller stops, perhaps as the leader; others change things meanwhile.
    let (status, ()) = tokio::join!(
        async {
            loop {
                if let Err(status) = following.event().await {
                    return status;
                }
            }
        },
        stopping.stop(),
    );
    assert_eq!(status.code(), Code::Unavailable);
    let delete = vec![v1::ResourceName { kind: v1::Kind::Site.into(), name: "east".to_owned() }];
    let resources = vec![examples::site("west")];
    let request = v1::ApplyRequest { resources, delete, ..Default::default() };
    let third = cluster.nodes[0].try_apply(request).await.expect("it is taken").revision;
    for node in &cluster.nodes {
        let mut following = Following::of(node, all_after(bookmark)).await.expect("it is kept");
        let (names, _) = following.until(third).await;
        assert_eq!(names, ["-east", "west"]);
    }
    let mut none = Following::of(&cluster.nodes[0], all_after(third)).await.expect("it is kept");
    assert_eq!(none.until(third).await, (Vec::new(), third));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_what_it_asks_for_and_what_it_cannot_have() {
    let (cluster, revision) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let request = v1::WatchResourcesRequest {
        kind: v1::Kind::RealServer.into(),
        name_prefix: "web".to_owned(),
        ..Default::default()
    };
    let mut following = Following::of(node, request.clone()).await.expect("it is served");
    assert_eq!(following.until(revision).await.0, ["web1", "web2"]);
    let quiet = node.apply(vec![examples::site("east")]).await.revision;
    assert_eq!(following.until(quiet).await, (Vec::new(), quiet));
    let list = v1::ListRequest {
        kind: request.kind,
        name_prefix: "web2".to_owned(),
        ..Default::default()
    };
    let list = node.intent().list(list).await.expect("it answers").into_inner();
    assert_eq!(list.resources.len(), 1);

    let status = Following::of(node, all_after(quiet + 7)).await.map(|_| ());
    let status = status.expect_err("there is no such revision");
    assert_eq!(status.code(), Code::OutOfRange);
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("it says why").reason, "REVISION_NOT_KEPT");
    let bad = v1::WatchResourcesRequest { kind: 99, name_prefix: "x".repeat(64), ..all_after(0) };
    let status = Following::of(node, bad).await.map(|_| ()).expect_err("two things are wrong");
    let details = status.get_error_details();
    assert_eq!(details.bad_request().expect("it names them").field_violations.len(), 2);
    cluster.stop().await;
}
