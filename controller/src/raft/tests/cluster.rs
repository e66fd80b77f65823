//! Three nodes in one process, on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fulcrum_proto::internal::v1::forward_write_request::Write;
use fulcrum_proto::internal::v1::{ForwardApplyRequest, ForwardWriteRequest};
use fulcrum_proto::v1::{self, ApplyRequest};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::nodes::{PATIENCE, TestNode, config, listen, members, site_resource, write, write_all};
use crate::raft::{CommandOutcome, Member, ReadError, Role, StartError, WriteError};

pub(super) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Three members, of which some run.
pub(super) struct Cluster {
    pub(super) directory: TempDir,
    addresses: Vec<SocketAddr>,
    members: BTreeMap<u64, Member>,
    pub(super) running: BTreeMap<u64, TestNode>,
}

impl Cluster {
    /// Starts the nodes of those ids.
    pub(super) async fn start(ids: &[u64]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut listeners = BTreeMap::new();
        let mut addresses = Vec::new();
        for id in 1..=3 {
            let listener = listen().await;
            addresses.push(listener.local_addr()?);
            listeners.insert(id, listener);
        }
        let members = members(&addresses);
        let directory = tempfile::tempdir()?;
        let mut cluster = Self { directory, addresses, members, running: BTreeMap::new() };
        for id in ids {
            let listener = listeners.remove(id).expect("ids are 1 to 3");
            cluster.start_on(*id, listener).await?;
        }
        Ok(cluster)
    }

    async fn start_on(&mut self, id: u64, listener: TcpListener) -> Result<(), StartError> {
        let data_dir = self.directory.path().join(id.to_string());
        let node = TestNode::start(config(id, &data_dir, &self.members), listener).await?;
        self.running.insert(id, node);
        Ok(())
    }

    /// Starts a node again at its old address.
    pub(super) async fn restart(&mut self, id: u64) -> TestResult {
        let address = self.addresses[usize::try_from(id)? - 1];
        let listener = tokio::time::timeout(PATIENCE, async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    // The aborted server's task has not been dropped yet.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Ok(self.start_on(id, listener.await?).await?)
    }

    /// Id of the leader, once a running node leads.
    pub(super) async fn leader(&self) -> u64 {
        let watched = self.running.iter().map(|(id, node)| {
            Box::pin(async move {
                let mut leadership = node.raft.leadership();
                if leadership.wait_for(|now| now.role == Role::Leader).await.is_err() {
                    // It has stopped.
                    std::future::pending::<()>().await;
                }
                *id
            })
        });
        let elected = tokio::time::timeout(PATIENCE, futures::future::select_all(watched));
        elected.await.expect("a leader is elected in time").0
    }

    /// Id of the leader, once every running node names the same.
    ///
    /// A loaded machine elects again at any time, and a leader of before may not know yet.
    pub(super) async fn agreed_leader(&self) -> u64 {
        let agreed = tokio::time::timeout(PATIENCE, async {
            loop {
                let leader = self.leader().await;
                let mut watched: Vec<_> =
                    self.running.values().map(|node| node.raft.leadership()).collect();
                let is_agreed =
                    watched.iter_mut().all(|w| w.borrow_and_update().leader_id == Some(leader));
                if is_agreed {
                    return leader;
                }
                let changes = watched.iter_mut().map(|w| Box::pin(w.changed()));
                futures::future::select_all(changes).await.0.expect("the node runs");
            }
        });
        agreed.await.expect("the nodes agree in time")
    }

    /// Writes at whichever revision the intent is, on whichever node leads, until it is applied.
    pub(super) async fn write(&self, site: &str) -> u64 {
        self.write_all(site, &[site_resource(site, "")]).await
    }

    async fn write_all(&self, request_id: &str, put: &[v1::Resource]) -> u64 {
        let mut base = 0;
        let written = tokio::time::timeout(PATIENCE, async {
            loop {
                let leader = &self.running[&self.leader().await].raft;
                let command = write_all(base, request_id, put.to_vec());
                match leader.write(command).await {
                    Ok(CommandOutcome::Applied(revision) | CommandOutcome::Repeated(revision)) => {
                        return revision.0;
                    }
                    Ok(CommandOutcome::Stale(revision)) => base = revision.0,
                    // It lost its leadership; the next one is asked.
                    Err(WriteError::NotLeader { .. } | WriteError::NoQuorum { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{request_id}: {error}"),
                }
            }
        });
        written.await.expect("the write is acknowledged in time")
    }

    /// Waits until a node has applied a revision, and gives the names of its resources.
    pub(super) async fn names_at(&self, id: u64, revision: u64) -> Vec<String> {
        let mut intent = self.running[&id].raft.state();
        let state = tokio::time::timeout(PATIENCE, intent.wait_for(|s| s.revision.0 >= revision))
            .await
            .expect("the revision comes in time")
            .expect("the node runs");
        state.resources.keys().map(|key| key.name.to_string()).collect()
    }

    pub(super) async fn kill(&mut self, id: u64) {
        self.running.remove(&id).expect("it runs").kill().await;
    }

    pub(super) async fn stop_all(self) {
        for (_, node) in self.running {
            node.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_leaders_die() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    let mut expected = Vec::new();
    for round in 0..2 {
        for number in 0..5 {
            let site = format!("s{round}{number}");
            cluster.write(&site).await;
            expected.push(site);
        }
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        let site = format!("s{round}x");
        let revision = cluster.write(&site).await;
        expected.push(site);
        cluster.restart(leader).await?;
        for id in 1..=3 {
            assert_eq!(cluster.names_at(id, revision).await, expected, "controller {id}");
        }
    }
    let states: Vec<_> =
        cluster.running.values().map(|node| node.raft.state().borrow().clone()).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[1], states[2]);
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_form_the_cluster_and_the_third_joins() -> TestResult {
    let mut cluster = Cluster::start(&[1, 3]).await?;
    let revision = cluster.write("north").await;
    cluster.restart(2).await?;
    assert_eq!(cluster.names_at(2, revision).await, ["north"]);
    let cluster_ids: std::collections::BTreeSet<String> = cluster
        .running
        .values()
        .map(|node| node.raft.state().borrow().cluster_id.clone())
        .collect();
    assert_eq!(cluster_ids.len(), 1, "{cluster_ids:?}");
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_names_the_leader_and_forwards() -> TestResult {
    let cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.agreed_leader().await;
    assert!(cluster.running[&leader].raft.leader_client().is_none());
    let follower = cluster.running.iter().find(|(id, _)| **id != leader);
    let (_, follower) = follower.expect("there are three");
    let known = follower.raft.leadership().borrow().clone();
    assert_eq!(known.leader.as_ref(), cluster.members.get(&leader));
    assert_eq!(known.voters.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let error = follower.raft.write(write(0, "r", "x")).await.expect_err("it follows");
    let expected = format!("does not lead; c{leader} does, at 127.0.0.1:{}", 7000 + leader);
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(matches!(follower.raft.read_barrier().await, Err(ReadError::NoLeader { .. })));
    let mut client = follower.raft.leader_client().expect("the leader is known");
    let apply = ApplyRequest { request_id: "r7".to_owned(), ..ApplyRequest::default() };
    let status = client
        .forward_apply(ForwardApplyRequest {
            apply: Some(apply),
            who: "ops".to_owned(),
            identity: String::new(),
        })
        .await
        .expect_err("the test's handler refuses");
    assert_eq!(status.message(), "refused r7 of ops");
    let confirm = Write::Confirm(v1::ConfirmRequest { revision: 3, ..Default::default() });
    let cases = [
        (Some(confirm), "refused to confirm 3"),
        // As one of a newer release.
        (None, "this release does not know such a write"),
    ];
    for (write, told) in cases {
        let request = ForwardWriteRequest { write, who: "ops".to_owned(), identity: String::new() };
        let status = client.forward_write(request).await.expect_err("it is refused");
        assert_eq!(status.message(), told);
    }
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_hands_over_at_once() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.agreed_leader().await;
    let stopping = cluster.running.remove(&leader).expect("it runs");
    stopping.stop().await;
    // Without a handover the others would wait for the lease, and then for their patience to end.
    let roles: Vec<Role> =
        cluster.running.values().map(|node| node.raft.leadership().borrow().role).collect();
    assert!(roles.contains(&Role::Leader), "{roles:?}");
    let revision = cluster.write("south").await;
    for id in cluster.running.keys() {
        assert_eq!(cluster.names_at(*id, revision).await, ["north", "south"]);
    }
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_store_is_refused_its_old_id() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    for id in 1..=3 {
        // The leader has noted every node's store.
        let mut intent = cluster.running[&id].raft.state();
        tokio::time::timeout(PATIENCE, intent.wait_for(|state| state.stores.len() == 3)).await??;
    }
    cluster.kill(2).await;
    std::fs::remove_dir_all(cluster.directory.path().join("2"))?;
    cluster.restart(2).await?;
    let error = tokio::time::timeout(PATIENCE, cluster.running[&2].raft.failed()).await?;
    assert!(matches!(error, StartError::OtherStore { node_id: 2, .. }), "{error}");
    assert!(error.to_string().contains("give this controller a new id"), "{error}");
    cluster.running[&2].wait_for_role(Role::Stopped).await;
    cluster.write("south").await;
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_acknowledges_nothing() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.agreed_leader().await;
    for id in 1..=3 {
        if id != leader {
            cluster.kill(id).await;
        }
    }
    let alone = &cluster.running[&leader].raft;
    let base = alone.state().borrow().revision.0;
    let error = alone.write(write(base, "r", "south")).await.expect_err("no majority");
    assert!(matches!(error, WriteError::NoQuorum { .. }), "{error}");
    assert_eq!(alone.read_barrier().await, Err(ReadError::NoQuorum));
    assert_eq!(alone.state().borrow().revision.0, base);
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_larger_than_a_heartbeat_carries_is_replicated() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    let text = "x".repeat(1000);
    let sites: Vec<_> = (0..3000).map(|n| site_resource(&format!("s{n:04}"), &text)).collect();
    let revision = cluster.write_all("large", &sites).await;
    for id in 1..=3 {
        assert_eq!(cluster.names_at(id, revision).await.len(), sites.len());
    }
    let blobs = cluster.directory.path().join("1/raft/db/blobs");
    assert_eq!(std::fs::read_dir(blobs)?.count(), 0, "sled never syncs its blobs");
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let revision = cluster.write("south").await;
    cluster.restart(leader).await?;
    assert_eq!(cluster.names_at(leader, revision).await.len(), sites.len() + 1);
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_controller_comes_back_under_a_new_id() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    cluster.kill(2).await;
    std::fs::remove_dir_all(cluster.directory.path().join("2"))?;
    // As the error of the lost controller says: a new id on every controller, which are restarted one by one.
    let listener = listen().await;
    let address = listener.local_addr()?;
    let lost = cluster.members.remove(&2).expect("it was a member");
    cluster.members.insert(4, Member { raft: address.to_string(), ..lost });
    for id in [1, 3] {
        cluster.kill(id).await;
        cluster.restart(id).await?;
        cluster.write(&format!("during-{id}")).await;
    }
    cluster.start_on(4, listener).await?;
    for node in cluster.running.values() {
        let mut leadership = node.raft.leadership();
        let aligned = leadership.wait_for(|now| now.voters.iter().eq(&[1, 3, 4]));
        tokio::time::timeout(PATIENCE, aligned).await??;
    }
    let leader = cluster.leader().await;
    cluster.kill(if leader == 1 { 3 } else { 1 }).await;
    let revision = cluster.write("south").await;
    assert_eq!(cluster.names_at(4, revision).await, ["during-1", "during-3", "north", "south"]);
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_for_long_gets_a_snapshot() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.leader().await;
    let away = (1..=3).find(|id| *id != leader).expect("there are three");
    cluster.kill(away).await;
    let text = "x".repeat(1000);
    let sites: Vec<_> = (0..2000).map(|n| site_resource(&format!("s{n:04}"), &text)).collect();
    let revision = cluster.write_all("many", &sites).await;
    let leader = cluster.leader().await;
    let raft = &cluster.running[&leader].raft.node.raft;
    raft.trigger().snapshot().await?;
    let is_built = |metrics: &openraft::RaftMetrics<u64, openraft::EmptyNode>| {
        metrics.snapshot.is_some_and(|id| id.index >= revision)
    };
    raft.wait(Some(PATIENCE)).metrics(is_built, "built").await?;
    raft.trigger().purge_log(revision).await?;
    let is_purged = |metrics: &openraft::RaftMetrics<u64, openraft::EmptyNode>| {
        metrics.purged.is_some_and(|id| id.index >= revision)
    };
    raft.wait(Some(PATIENCE)).metrics(is_purged, "purged").await?;
    cluster.restart(away).await?;
    assert_eq!(cluster.names_at(away, revision).await.len(), sites.len() + 1);
    let revision = cluster.write("south").await;
    assert_eq!(cluster.names_at(away, revision).await.len(), sites.len() + 2);
    let kept = |id: u64| cluster.running[&id].raft.state().borrow().history.clone();
    let of_leader = cluster.names_at(leader, revision).await.len();
    assert_eq!((kept(away), of_leader), (kept(leader), sites.len() + 2));
    assert_eq!(kept(away).oldest_first().count(), 3);
    // What was installed is on disk, and the log goes on after it.
    let before = cluster.running[&away].raft.state().borrow().clone();
    cluster.kill(away).await;
    cluster.restart(away).await?;
    cluster.names_at(away, revision).await;
    let mut after = cluster.running[&away].raft.state();
    tokio::time::timeout(PATIENCE, after.wait_for(|state| **state == *before)).await??;
    cluster.stop_all().await;
    Ok(())
}
