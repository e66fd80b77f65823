//! Reads at any node, leadership that moves as asked, and a cluster that begins with a backup.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cluster::{Cluster, TestResult};
use super::nodes::{PATIENCE, TestNode, config, listen, members, write};
use crate::raft::backup::BackupWriter;
use crate::raft::store::Store;
use crate::raft::types::Vote;
use crate::raft::{IntentState, ReadError, RestoreError, Role, TransferError, restore};

/// A backup of a state, in a file of the directory.
fn backup(directory: &std::path::Path, state: Arc<IntentState>) -> std::path::PathBuf {
    let mut writer = BackupWriter::new(state, "c1", SystemTime::now());
    let bytes: Vec<u8> = std::iter::from_fn(|| writer.next_chunk()).flatten().collect();
    let path = directory.join("backup");
    std::fs::write(&path, bytes).expect("a writable directory");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_at_every_node() -> TestResult {
    let cluster = Cluster::start(&[1, 2, 3]).await?;
    for number in 0..20 {
        let revision = cluster.write(&format!("s{number}")).await;
        for (id, node) in &cluster.running {
            // An election on a loaded machine is no error of the read.
            let index = tokio::time::timeout(PATIENCE, async {
                loop {
                    match node.raft.read_index().await {
                        Ok(index) => return index.0,
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            });
            assert!(index.await? >= revision, "controller {id}");
        }
    }
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_sure_is_read() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.agreed_leader().await;
    let follower = (1..=3).find(|id| *id != leader).expect("there are three");
    for id in 1..=3 {
        if id != follower {
            cluster.kill(id).await;
        }
    }
    let alone = &cluster.running[&follower].raft;
    let found = tokio::time::timeout(PATIENCE, alone.read_index()).await?;
    assert!(matches!(found, Err(ReadError::NoLeader { .. } | ReadError::NoQuorum)), "{found:?}");
    // What it has can be told all the same.
    assert_eq!(alone.state().borrow().resources.len(), 1);
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_as_asked_while_writes_go_on() -> TestResult {
    let cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let mut expected = BTreeSet::from(["north".to_owned()]);
    for round in 0..3 {
        let leader = cluster.agreed_leader().await;
        let to = if leader == 3 { 1 } else { leader + 1 };
        let writes = async {
            let mut written = Vec::new();
            for number in 0..10 {
                let site = format!("s{round}{number}");
                cluster.write(&site).await;
                written.push(site);
            }
            written
        };
        let moved = async {
            // Another leader may have been elected before it is asked.
            match cluster.running[&leader].raft.transfer(Some(to)).await {
                Ok(moved) => {
                    assert_eq!((moved.from, moved.to), (leader, to));
                    assert!(moved.gap < Duration::from_secs(3), "{moved:?}");
                }
                Err(TransferError::NotLeader { .. } | TransferError::Refused { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let (written, ()) = tokio::join!(writes, moved);
        expected.extend(written);
    }
    let revision = cluster.write("south").await;
    expected.insert("south".to_owned());
    for id in 1..=3 {
        let names: BTreeSet<String> = cluster.names_at(id, revision).await.into_iter().collect();
        assert_eq!(names, expected, "controller {id}");
    }
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_does_not_move_where_it_cannot() -> TestResult {
    let mut cluster = Cluster::start(&[1, 2, 3]).await?;
    cluster.write("north").await;
    let leader = cluster.agreed_leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let raft = cluster.running[&leader].raft.clone();
    let unknown = raft.transfer(Some(9)).await;
    assert!(matches!(unknown, Err(TransferError::NotAVoter { .. })), "{unknown:?}");
    let itself = raft.transfer(Some(leader)).await?;
    assert_eq!((itself.from, itself.to, itself.gap), (leader, leader, Duration::ZERO));
    let follower = cluster.running[&others[0]].raft.transfer(None).await;
    assert!(matches!(follower, Err(TransferError::NotLeader { .. })), "{follower:?}");

    cluster.kill(others[0]).await;
    // So that the dead one lacks more than what is sent at once.
    for number in 0..70 {
        cluster.write(&format!("s{number}")).await;
    }
    let leader = cluster.leader().await;
    let dead = cluster.running[&leader].raft.transfer(Some(others[0])).await;
    let Err(TransferError::Behind { controller }) = &dead else { panic!("{dead:?}") };
    assert_eq!(*controller, format!("c{} ({})", others[0], others[0]));
    cluster.write("south").await;
    cluster.stop_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_begins_a_new_cluster_that_others_join() -> TestResult {
    let mut old = Cluster::start(&[1, 2, 3]).await?;
    for number in 0..5 {
        old.write(&format!("s{number}")).await;
    }
    let leader = old.leader().await;
    let mut named = old.running[&leader].raft.state();
    tokio::time::timeout(PATIENCE, named.wait_for(|state| state.stores.len() == 3)).await??;
    let before = old.running[&leader].raft.state().borrow().clone();
    let file = backup(old.directory.path(), Arc::clone(&before));
    old.write("lost").await;
    for id in [1, 2, 3] {
        old.kill(id).await;
    }

    // Controller 1 begins anew, 2 has an empty directory, 3 its old store.
    std::fs::rename(old.directory.path().join("1"), old.directory.path().join("away"))?;
    std::fs::remove_dir_all(old.directory.path().join("2"))?;
    std::fs::create_dir(old.directory.path().join("1"))?;
    let restored = restore(&file, &old.directory.path().join("1"), 1, SystemTime::now())?;
    assert_eq!(restored.backup.revision, before.revision.0);
    assert!(restored.incarnation > before.incarnation, "{restored:?}");
    old.restart(1).await?;
    old.running[&1].wait_for_role(Role::Leader).await;
    let first = old.running[&1].raft.state().borrow().clone();
    assert_eq!((&first.resources, first.revision), (&before.resources, before.revision));
    assert_eq!((&first.history, &first.cluster_id), (&before.history, &before.cluster_id));

    let revision = old.write("new").await;
    assert!(revision > before.revision.0, "{revision}");
    let expected = ["new", "s0", "s1", "s2", "s3", "s4"];
    assert_eq!(old.names_at(1, revision).await, expected);

    // The one with the old store is left out, also by one that has nothing yet, and changes nothing.
    old.restart(3).await?;
    old.restart(2).await?;
    let answer = old.running[&1].raft.cluster().await;
    let third = &answer.members[2];
    assert!(third.problem.contains("a backup was restored in between"), "{third:?}");
    assert_eq!(old.names_at(1, revision).await, expected);

    // With an empty directory it is taken in, and the three vote.
    old.kill(3).await;
    std::fs::remove_dir_all(old.directory.path().join("3"))?;
    old.restart(3).await?;
    // On the way there the voters are two sets, and a majority of each is needed.
    let all = vec![BTreeSet::from([1, 2, 3])];
    for id in [1, 2, 3] {
        let mut metrics = old.running[&id].raft.node.raft.metrics();
        let all_vote =
            metrics.wait_for(|now| *now.membership_config.membership().get_joint_config() == all);
        tokio::time::timeout(PATIENCE, all_vote).await??;
    }
    old.kill(1).await;
    let revision = old.write("without-1").await;
    for id in [2, 3] {
        let names = old.names_at(id, revision).await;
        assert_eq!(names, ["new", "s0", "s1", "s2", "s3", "s4", "without-1"], "controller {id}");
        let state = old.running[&id].raft.state().borrow().clone();
        assert_eq!(
            (&state.cluster_id, state.incarnation),
            (&before.cluster_id, restored.incarnation)
        );
    }
    old.stop_all().await;
    Ok(())
}

#[tokio::test]
async fn a_restored_controller_serves_alone() -> TestResult {
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("one");
    let node = TestNode::alone(&data_dir).await?;
    node.raft.state().wait_for(|state| !state.cluster_id.is_empty()).await?;
    node.raft.write(write(0, "r1", "north")).await?;
    let before = node.raft.state().borrow().clone();
    node.stop().await;
    let file = backup(directory.path(), before.clone());

    let refused = restore(&file, &data_dir, 1, SystemTime::now()).expect_err("there is a store");
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
    assert!(refused.to_string().contains("move"), "{refused}");

    let to = directory.path().join("two");
    std::fs::create_dir(&to)?;
    // What a restore that was cut off left behind is no store, and in nobody's way.
    std::fs::create_dir(to.join("raft.restoring"))?;
    std::fs::write(to.join("raft.restoring/mark"), "half")?;
    let first = restore(&file, &to, 1, SystemTime::now())?;
    let (store, contents) = Store::open(&first.directory, 1, String::new())?;
    assert_eq!(contents.vote, Some(Vote::new(1, 1)));
    assert_eq!(contents.purged, contents.machine.applied);
    drop(store);
    let node = TestNode::alone(&to).await?;
    let state = node.raft.state().borrow().clone();
    assert_eq!((state.revision, state.incarnation), (before.revision, first.incarnation));
    node.raft.read_barrier().await?;
    // A request that the backup knows is answered as it was.
    let again = node.raft.write(write(0, "r1", "north")).await?;
    assert_eq!(again.revision(), before.revision);
    let next = node.raft.write(write(before.revision.0, "r2", "south")).await?;
    assert!(next.revision() > before.revision);
    node.stop().await;
    // And what was written since is there after another start.
    let node = TestNode::alone(&to).await?;
    assert_eq!(node.raft.state().borrow().resources.len(), 2);
    node.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_later_restore_has_a_greater_incarnation() -> TestResult {
    let directory = tempfile::tempdir()?;
    let state = IntentState { cluster_id: "one".to_owned(), incarnation: 7, ..Default::default() };
    let file = backup(directory.path(), Arc::new(state));
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    // A clock that is far behind does not make it less than what the backup had.
    let cases = [("a", 0, 8), ("b", 100, 100), ("c", 200, 200)];
    for (name, seconds, expected) in cases {
        let data_dir = directory.path().join(name);
        std::fs::create_dir(&data_dir)?;
        assert_eq!(restore(&file, &data_dir, 1, at(seconds))?.incarnation, expected);
    }
    // It is node 1's store, and no other's.
    let address = listen().await.local_addr()?;
    let members = members(&[address, listen().await.local_addr()?]);
    let data_dir = directory.path().join("a");
    let error = TestNode::start(config(2, &data_dir, &members), listen().await).await;
    let error = error.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("belongs to controller 1"), "{error}");
    Ok(())
}
