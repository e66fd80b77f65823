//! History and rollback over the API, with several controllers.

use fulcrum_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::cluster::{Cluster, Node};
use super::examples;

impl Node {
    async fn revisions(&self) -> Vec<v1::Revision> {
        let answer = self.intent().list_revisions(v1::ListRevisionsRequest::default()).await;
        answer.expect("it answers").into_inner().revisions
    }

    async fn rollback(&self, request: v1::RollbackRequest) -> Result<v1::RollbackResponse, Status> {
        self.intent().rollback(request).await.map(tonic::Response::into_inner)
    }

    async fn resources(&self) -> Vec<v1::Resource> {
        let list = self.intent().list(v1::ListRequest::default()).await;
        list.expect("it answers").into_inner().resources
    }
}

/// Without the revisions, which a rollback makes anew.
fn wanted(mut resources: Vec<v1::Resource>) -> Vec<v1::Resource> {
    for metadata in resources.iter_mut().filter_map(|resource| resource.metadata.as_mut()) {
        metadata.revision = 0;
        metadata.etag.clear();
    }
    resources
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_told_and_brought_back_whoever_leads() {
    let mut cluster = Cluster::ready(3).await;
    let set = v1::ApplyRequest {
        resources: examples::cluster(),
        reason: "the first set".to_owned(),
        ..Default::default()
    };
    let first = cluster.nodes[0].try_apply(set).await.expect("a good set").revision;
    let then = cluster.nodes[1].resources().await;
    let changed = vec![examples::web_by_least_connections(), examples::site("east")];
    let second = cluster.nodes[1].apply(changed).await.revision;
    let told = cluster.nodes[2].revisions().await;
    let lines: Vec<_> = told
        .iter()
        .map(|r| (r.revision, r.base_revision, r.who.as_str(), r.reason.as_str(), r.change_count))
        .collect();
    let expected =
        [(second, first, "anonymous", "", 2), (first, 0, "anonymous", "the first set", 8)];
    assert_eq!(lines, expected);
    assert!(told.iter().all(|revision| revision.time.is_some()));
    for node in &cluster.nodes {
        assert_eq!(node.revisions().await, told);
    }

    // A follower passes the rollback on; the leader stops meanwhile.
    let request = v1::RollbackRequest {
        revision: first,
        reason: "it was better".to_owned(),
        request_id: "back".to_owned(),
        ..Default::default()
    };
    let dry = v1::RollbackRequest { validate_only: true, ..request.clone() };
    for node in &cluster.nodes {
        let told = node.rollback(dry.clone()).await.expect("it can be brought back");
        assert_eq!((told.revision, told.changes.len(), told.agent_changes.len()), (second, 2, 2));
    }
    let mut leader = None;
    for (index, node) in cluster.nodes.iter().enumerate() {
        if node.is_leader(&format!("c{}", index + 1)).await {
            leader = Some(index);
        }
    }
    let stopping = cluster.nodes.remove(leader.expect("one leads"));
    let (back, ()) = tokio::join!(cluster.nodes[0].rollback(request.clone()), stopping.stop());
    let back = back.expect("the next leader takes it");
    assert!(back.revision > second);
    // Asked once more of the other controller, it is written once.
    let again = cluster.nodes[1].rollback(request).await.expect("it is repeated");
    assert_eq!(again.revision, back.revision);
    for node in &cluster.nodes {
        assert_eq!(wanted(node.resources().await), wanted(then.clone()));
        let newest = node.revisions().await.remove(0);
        assert_eq!(newest.origin(), v1::RevisionOrigin::Rollback);
        assert_eq!((newest.revision, newest.origin_revision), (back.revision, first));
        assert_eq!(newest.reason, "it was better");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_revision_shows_what_it_changed_without_secrets() {
    let cluster = Cluster::one().await;
    let node = &cluster.nodes[0];
    let mut set = examples::cluster();
    let with_pass = |pass: &str| {
        let mut instance = examples::vrrp_instance("vi-1", &["d1", "d2"]);
        if let Some(v1::resource::Spec::VrrpInstance(spec)) = &mut instance.spec {
            spec.set_version(v1::VrrpVersion::V2);
            spec.auth_pass = pass.to_owned();
        }
        instance
    };
    set[3] = with_pass("geheim");
    let first = node.apply(set).await.revision;
    node.apply(vec![with_pass("anders")]).await;
    let told = node.intent().get_revision(v1::GetRevisionRequest::default()).await;
    let told = told.expect("the newest is kept").into_inner();
    let text = format!("{told:?}");
    assert!(text.contains("(not shown)") && !text.contains("geheim") && !text.contains("anders"));
    let [difference] = &told.differences[..] else { panic!("one differs: {told:?}") };
    assert!(difference.before.is_some() && difference.after.is_some());

    let status =
        node.rollback(v1::RollbackRequest { revision: first + 1000, ..Default::default() });
    let status = status.await.expect_err("there is none");
    assert_eq!(status.code(), Code::OutOfRange);
    let details = status.get_error_details();
    let info = details.error_info().expect("it says why");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("fulcrum", "REVISION_NOT_KEPT"));
    assert_eq!(info.metadata.get("oldest_revision").map(String::as_str), Some("0"));
    cluster.stop().await;
}
