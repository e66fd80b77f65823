//! The controllers as a cluster, by their API: stale reads, who leads, backup and a new cluster from it.

use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::backup_response::Part;
use fulcrum_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::agent::{self, Agent, revision};
use super::cluster::{Cluster, Node};
use super::examples;
use crate::raft;

impl Node {
    fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }

    async fn controllers(&self) -> v1::GetClusterResponse {
        let answer = self.cluster().get_cluster(v1::GetClusterRequest {}).await;
        answer.expect("it answers without anybody").into_inner()
    }

    async fn transfer(&self, to: &str) -> Result<v1::TransferLeadershipResponse, tonic::Status> {
        let request = v1::TransferLeadershipRequest { to: to.to_owned() };
        self.cluster().transfer_leadership(request).await.map(tonic::Response::into_inner)
    }

    /// A whole backup, and its beginning and end.
    async fn backup(&self) -> (v1::BackupStart, Vec<u8>, v1::BackupSummary) {
        let stream = self.cluster().backup(v1::BackupRequest { stale: false }).await;
        let mut stream = stream.expect("it begins").into_inner();
        let (mut start, mut bytes) = (v1::BackupStart::default(), Vec::new());
        loop {
            let message = stream.message().await.expect("it goes on").expect("it has an end");
            match message.part.expect("every message has a part") {
                Part::Start(first) => start = first,
                Part::Chunk(chunk) => bytes.extend(chunk),
                Part::End(summary) => return (start, bytes, summary),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_what_is_there_is_read_by_request_alone() {
    let mut cluster = Cluster::ready(3).await;
    let written = cluster.nodes[0].apply(vec![examples::site("east")]).await.revision;
    for node in &cluster.nodes {
        node.until("the write", |topology| topology.revision == written).await;
    }
    for _ in 0..2 {
        cluster.nodes.remove(0).stop().await;
    }
    let alone = &cluster.nodes[0];
    let get =
        |stale| v1::GetRequest { kind: v1::Kind::Site.into(), name: "east".to_owned(), stale };
    let begun = std::time::Instant::now();
    let status = alone.intent().get(get(false)).await.expect_err("nobody leads");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("lvsctl --stale"), "{}", status.message());
    let info = status.get_details_error_info().expect("it says why");
    assert!(["NOT_LEADER", "NO_QUORUM"].contains(&info.reason.as_str()), "{info:?}");

    let got = alone.intent().get(get(true)).await.expect("it needs nobody").into_inner();
    assert_eq!(got.resource.and_then(|r| r.metadata).map(|m| m.revision), Some(written));
    let list = v1::ListRequest { stale: true, ..Default::default() };
    let listed = alone.intent().list(list).await.expect("it needs nobody").into_inner();
    assert_eq!((listed.revision, listed.resources.len()), (written, 1));
    let revisions = v1::ListRevisionsRequest { stale: true, ..Default::default() };
    let kept = alone.intent().list_revisions(revisions).await.expect("it needs nobody");
    assert_eq!(kept.into_inner().revisions.len(), 1);
    let one = v1::GetRevisionRequest { revision: written, stale: true };
    alone.intent().get_revision(one).await.expect("it needs nobody");
    let follow = v1::WatchResourcesRequest { stale: true, ..Default::default() };
    let followed = alone.intent().watch_resources(follow).await.expect("it needs nobody");
    assert!(followed.into_inner().message().await.expect("it goes on").is_some());

    let told = alone.controllers().await;
    let problems: Vec<bool> = told.members.iter().map(|m| m.problem.is_empty()).collect();
    assert_eq!(problems, [false, false, true], "{told:#?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_controller_tells_of_all_and_has_another_one_lead() {
    let cluster = Cluster::ready(3).await;
    cluster.nodes[0].apply(vec![examples::site("east")]).await;
    let told = cluster.nodes[0].controllers().await;
    assert_eq!((told.members.len(), told.quorum, told.asked.as_str()), (3, 2, "c1"));
    for member in &told.members {
        assert!(member.reachable && member.configured, "{member:?}");
        assert_eq!(
            (member.problem.as_str(), member.program_version.as_str()),
            ("", env!("CARGO_PKG_VERSION"))
        );
        assert!(member.store_bytes > 0 && member.free_bytes > 0, "{member:?}");
        assert!(member.behind_entries.is_some(), "{member:?}");
    }
    let leads = |m: &&v1::Member| m.role() == v1::MemberRole::Leader;
    let leader = told.members.iter().find(leads).expect("somebody leads").name.clone();
    assert_eq!(told.leader, leader);

    // A follower passes it on; the third one is to lead.
    let others: Vec<usize> = (0..3).filter(|index| format!("c{}", index + 1) != leader).collect();
    let to = format!("c{}", others[1] + 1);
    let moved = cluster.nodes[others[0]].transfer(&to).await.expect("it is elected");
    assert_eq!((moved.from, moved.to.as_str()), (leader, to.as_str()));
    assert!(moved.gap.is_some() && moved.term > told.term, "{:?} {}", moved.gap, moved.term);
    let again = cluster.nodes[others[0]].transfer(&to).await.expect("it leads already");
    assert_eq!((again.from, again.to), (to.clone(), to));
    let unknown = cluster.nodes[0].transfer("c9").await.expect_err("there is none");
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("c1, c2, c3"), "{}", unknown.message());
    cluster.nodes[0].apply(vec![examples::site("west")]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_writes_begins_a_new_cluster_whose_plans_agents_take() {
    let (old, first) = Cluster::one_with_intent().await;
    let node = &old.nodes[0];
    let had = {
        let mut d1 = Agent::attach(node, agent::director("d1")).await;
        d1.plan().await.version.expect("it has one")
    };
    let writes = async {
        for number in 0..20 {
            node.apply(vec![examples::site(&format!("during-{number}"))]).await;
        }
    };
    let ((start, bytes, end), ()) = tokio::join!(node.backup(), writes);
    assert!(start.revision >= first, "{start:?}");
    assert_eq!((end.size_bytes, start.controller.as_str()), (bytes.len() as u64, "c1"));
    let newest = node.apply(vec![examples::site("after")]).await.revision;
    assert!(newest > start.revision);
    let kept = node.intent().list_revisions(v1::ListRevisionsRequest::default()).await;
    let kept = kept.expect("it answers").into_inner().revisions;
    old.stop().await;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("backup");
    std::fs::write(&file, bytes).expect("a writable directory");
    assert_eq!(raft::check_backup(&file).expect("it is whole").revision, start.revision);
    let new = Cluster::start_with(1, |config| {
        std::fs::create_dir_all(&config.data_dir).expect("a writable directory");
        let id = config.me().id;
        raft::restore(&file, &config.data_dir, id, SystemTime::now()).expect("it is whole");
    })
    .await;
    let node = &new.nodes[0];
    node.until_serving().await;
    let list = node.intent().list(v1::ListRequest::default()).await.expect("it answers");
    let list = list.into_inner();
    assert_eq!((list.revision, list.resources.len() as u64), (start.revision, end.resources));
    // The history goes with it, and can be rolled back to.
    let told = node.intent().list_revisions(v1::ListRevisionsRequest::default()).await;
    let told = told.expect("it answers").into_inner().revisions;
    let expected: Vec<_> = kept.into_iter().filter(|r| r.revision <= start.revision).collect();
    assert_eq!(told, expected);
    let request = v1::RollbackRequest { revision: first, ..Default::default() };
    node.intent().rollback(request).await.expect("it is kept");

    // An agent that had plans of after the backup takes what comes now: of the same cluster, and a later incarnation.
    let ahead = v1::PlanVersion { revision: newest, ..had.clone() };
    let hello = v1::Hello { session: 2, plan: Some(ahead), ..agent::director("d1") };
    let mut d1 = Agent::attach(node, hello).await;
    let plan = d1.plan().await;
    let version = plan.version.clone().expect("it has one");
    assert_eq!(version.cluster_id, had.cluster_id);
    assert!(
        version.incarnation > had.incarnation && revision(&plan) >= start.revision,
        "{version:?}"
    );
    assert!(plan.whole, "it is of another history");
    new.stop().await;
}
