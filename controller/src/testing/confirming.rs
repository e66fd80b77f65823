//! Changes that wait to be confirmed, over the API.

use fulcrum_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::cluster::{Cluster, Node};
use super::examples;

fn within(seconds: i64, site: &str) -> v1::ApplyRequest {
    v1::ApplyRequest {
        resources: vec![examples::site(site)],
        confirm_within: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

impl Node {
    async fn unconfirmed(&self) -> Option<u64> {
        let answer = self.intent().get_unconfirmed(v1::GetUnconfirmedRequest {}).await;
        answer.expect("it answers").into_inner().revision.map(|revision| revision.revision)
    }

    async fn confirm(&self, revision: u64) -> Result<u64, tonic::Status> {
        let request = v1::ConfirmRequest { revision, ..Default::default() };
        self.intent().confirm(request).await.map(|answer| answer.into_inner().revision)
    }

    /// The reason why a write of a site is refused; none when it is taken.
    async fn refusal(&self, site: &str) -> Option<String> {
        let request =
            v1::ApplyRequest { resources: vec![examples::site(site)], ..Default::default() };
        let status = self.try_apply(request).await.err()?;
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        Some(details.error_info().expect("it says why").reason.clone())
    }

    async fn sites(&self) -> Vec<String> {
        let kind = v1::Kind::Site.into();
        let list = self.intent().list(v1::ListRequest { kind, ..Default::default() }).await;
        let resources = list.expect("it answers").into_inner().resources;
        resources.into_iter().filter_map(|site| site.metadata.map(|it| it.name)).collect()
    }
}

async fn leader_of(cluster: &Cluster) -> usize {
    for (index, node) in cluster.nodes.iter().enumerate() {
        if node.is_leader(&format!("c{}", index + 1)).await {
            return index;
        }
    }
    panic!("nobody leads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_whoever_leads_until_it_is_confirmed() {
    let mut cluster = Cluster::ready(3).await;
    // Whoever is asked passes it on.
    for (index, site) in ["a", "b", "c"].into_iter().enumerate() {
        let node = &cluster.nodes[index];
        let answer = node.try_apply(within(3600, site)).await.expect("it is taken");
        assert!(answer.confirm_by.is_some());
        for node in &cluster.nodes {
            assert_eq!(node.unconfirmed().await, Some(answer.revision));
            assert_eq!(node.refusal("other").await.as_deref(), Some("CHANGE_WAITS"));
            let dry = v1::ApplyRequest { validate_only: true, ..within(60, "other") };
            node.try_apply(dry).await.expect("it changes nothing");
        }
        let topology = node.status().await;
        let told = topology.unconfirmed.map(|revision| revision.revision);
        // The hub follows what Raft has applied.
        node.until("the change", |now| now.unconfirmed.is_some() || told.is_some()).await;
        if index == 2 {
            break;
        }
        let other = &cluster.nodes[index + 1];
        let confirmed = other.confirm(answer.revision).await.expect("it waits");
        assert_eq!(node.confirm(answer.revision).await.expect("it is confirmed"), confirmed);
        assert_eq!(node.unconfirmed().await, None);
    }
    let leader = leader_of(&cluster).await;
    cluster.nodes.remove(leader).stop().await;
    let node = &cluster.nodes[0];
    node.until_serving().await;
    let waits = node.unconfirmed().await.expect("the next leader knows of it");
    assert_eq!(node.refusal("other").await.as_deref(), Some("CHANGE_WAITS"));
    node.confirm(waits).await.expect("it waits");
    assert_eq!(cluster.nodes[1].refusal("d").await, None);
    assert_eq!(node.sites().await, ["a", "b", "c", "d"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_confirms_is_undone_also_after_a_restart() {
    let mut cluster = Cluster::one().await;
    let node = &cluster.nodes[0];
    let before = node.apply(vec![examples::site("a")]).await.revision;
    let answer = node.try_apply(within(1, "b")).await.expect("it is taken");
    let node = cluster.nodes.remove(0).restart().await;
    // It waits anew for a second of the real clock, and perhaps not at all where the machine was slow before.
    node.until("the change undone", |topology| topology.revision > answer.revision).await;
    assert_eq!((node.sites().await, node.unconfirmed().await), (vec!["a".to_owned()], None));
    let told = node.intent().get_revision(v1::GetRevisionRequest::default()).await;
    let told = told.expect("it is kept").into_inner().revision.expect("it is told");
    assert_eq!(
        (told.origin(), told.origin_revision),
        (v1::RevisionOrigin::Revert, answer.revision)
    );
    assert_eq!(told.base_revision, answer.revision);
    let status = node.confirm(answer.revision).await.expect_err("it is too late");
    assert_eq!(status.code(), Code::FailedPrecondition);

    // A rollback answers the question, too.
    let answer = node.try_apply(within(3600, "c")).await.expect("it is taken");
    let rollback = v1::RollbackRequest { revision: before, ..Default::default() };
    let waits = prost_types::Duration { seconds: 60, nanos: 0 };
    let two = v1::RollbackRequest { confirm_within: Some(waits), ..rollback.clone() };
    let status = node.intent().rollback(two).await.expect_err("one waits already");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let back = node.intent().rollback(rollback).await.expect("it is let in").into_inner();
    assert!(back.revision > answer.revision && back.confirm_by.is_none());
    assert_eq!((node.sites().await, node.unconfirmed().await), (vec!["a".to_owned()], None));
    cluster.nodes.push(node);
    cluster.stop().await;
}
