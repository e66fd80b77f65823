//! Writing and reading intent through one controller.

use fulcrum_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::cluster::Cluster;
use super::examples;

fn request(resources: Vec<v1::Resource>) -> v1::ApplyRequest {
    v1::ApplyRequest { resources, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_written_read_changed_and_pruned() {
    let cluster = Cluster::one().await;
    let node = &cluster.nodes[0];
    let dry = v1::ApplyRequest { validate_only: true, ..request(examples::cluster()) };
    let dry = node.try_apply(dry).await.expect("a good set");
    assert_eq!((dry.revision, dry.changes.len(), dry.agent_changes.len()), (0, 8, 4));

    let first = node.apply(examples::cluster()).await;
    assert!(first.revision > 0);
    assert_eq!((&first.changes, &first.agent_changes), (&dry.changes, &dry.agent_changes));
    let again = node.apply(examples::cluster()).await;
    assert_eq!((again.revision, again.changes.len()), (first.revision, 0));

    let get =
        v1::GetRequest { kind: v1::Kind::Pool.into(), name: "tomcats".to_owned(), stale: false };
    let pool = node.intent().get(get).await.expect("it is there").into_inner().resource;
    let metadata = pool.and_then(|pool| pool.metadata).expect("it has its name");
    assert_eq!((metadata.name.as_str(), metadata.revision), ("tomcats", first.revision));

    let mut smaller = examples::cluster();
    smaller.retain(|r| r.metadata.as_ref().is_some_and(|m| m.name != "web2"));
    smaller.retain(|r| r.metadata.as_ref().is_some_and(|m| m.name != "tomcats"));
    smaller.push(examples::pool("tomcats", &["web1"]));
    let pruned = node.try_apply(v1::ApplyRequest { prune: true, ..request(smaller) }).await;
    let pruned = pruned.expect("one real server less is nothing drastic");
    let changes: Vec<_> = pruned.changes.iter().map(|c| (c.name.as_str(), c.action())).collect();
    let expected = [("web2", v1::ChangeAction::Delete), ("tomcats", v1::ChangeAction::Update)];
    assert_eq!(changes, expected);
    let list = v1::ListRequest { kind: v1::Kind::RealServer.into(), ..Default::default() };
    let list = node.intent().list(list).await.expect("it answers").into_inner();
    assert_eq!((list.revision, list.resources.len()), (pruned.revision, 1));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do_and_change_nothing() {
    let (cluster, revision) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let mut bad = vec![
        examples::virtual_server("a", 70_000, "tomcats"),
        examples::virtual_server("b", 81, "nowhere"),
    ];
    bad.push(examples::site("Bad_Name"));
    let cases = [
        (request(bad), Code::InvalidArgument),
        (v1::ApplyRequest { if_revision: revision + 1, ..Default::default() }, Code::Aborted),
        (v1::ApplyRequest { prune: true, ..Default::default() }, Code::FailedPrecondition),
        (
            v1::ApplyRequest { request_id: "x".repeat(65), ..Default::default() },
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in cases {
        let status = node.try_apply(request.clone()).await.expect_err("it is refused");
        assert_eq!(status.code(), code, "{request:?}: {status:?}");
        let details = status.get_error_details();
        match code {
            Code::InvalidArgument => {
                let violations = &details.bad_request().expect("it names them").field_violations;
                let expected = if request.resources.is_empty() { 1 } else { 3 };
                assert_eq!(violations.len(), expected, "{violations:?}");
            }
            _ => assert_eq!(details.error_info().expect("it says why").domain, "fulcrum"),
        }
    }
    let get = v1::GetRequest { kind: v1::Kind::Pool.into(), name: "none".to_owned(), stale: false };
    let status = node.intent().get(get).await.expect_err("there is none");
    assert_eq!(status.code(), Code::NotFound);
    let get = v1::GetRequest { kind: 99, name: "none".to_owned(), stale: false };
    let status = node.intent().get(get).await.expect_err("there is no such kind");
    assert_eq!(status.code(), Code::InvalidArgument);
    let all = node.intent().list(v1::ListRequest::default()).await.expect("it answers");
    assert_eq!(all.into_inner().revision, revision);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_answers_as_the_first_time() {
    let (cluster, revision) = Cluster::one_with_intent().await;
    let node = &cluster.nodes[0];
    let asked = v1::ApplyRequest {
        request_id: "add-east".to_owned(),
        if_revision: revision,
        ..request(vec![examples::site("east")])
    };
    let first = node.try_apply(asked.clone()).await.expect("it is taken");
    let other = node.apply(vec![examples::site("west")]).await;
    assert!(other.revision > first.revision);
    // Its if_revision is long stale, but it was answered when it was not.
    assert_eq!(node.try_apply(asked).await.expect("it is repeated"), first);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_come_together_are_all_taken() {
    let cluster = Cluster::one().await;
    let node = &cluster.nodes[0];
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let writes = names.iter().map(|name| node.apply(vec![examples::site(name)]));
    let mut revisions: Vec<u64> =
        futures::future::join_all(writes).await.into_iter().map(|r| r.revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), names.len());
    let all = node.intent().list(v1::ListRequest::default()).await.expect("it answers");
    assert_eq!(all.into_inner().resources.len(), names.len());
    cluster.stop().await;
}
