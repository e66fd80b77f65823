//! One node: writes, restarts, refusals.

use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::{Command, ResourceKey, WriteIntent, command::Command as Wire};

use super::nodes::{TestNode, config, listen, members, write};
use crate::raft::{CommandOutcome, Raft, Role, StartError, WriteError};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn names(raft: &Raft) -> Vec<String> {
    raft.state().borrow().resources.keys().map(|key| key.name.to_string()).collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let mut intent = node.raft.state();
    intent.wait_for(|state| !state.cluster_id.is_empty()).await?;
    let first = node.raft.write(write(0, "r1", "north")).await?;
    let CommandOutcome::Applied(revision) = first else { panic!("{first:?}") };
    assert_eq!(names(&node.raft), ["north"]);
    assert_eq!(node.raft.write(write(0, "r2", "south")).await?, CommandOutcome::Stale(revision));
    assert_eq!(node.raft.write(write(0, "r1", "north")).await?, CommandOutcome::Repeated(revision));
    let second = node.raft.write(write(revision.0, "r3", "south")).await?;
    assert!(matches!(second, CommandOutcome::Applied(second) if second > revision), "{second:?}");
    node.raft.read_barrier().await?;
    let before = intent.borrow().clone();
    let kept: Vec<_> = before.history.oldest_first().map(|entry| entry.revision).collect();
    assert_eq!(kept, [revision, second.revision()]);
    node.stop().await;

    let node = TestNode::alone(directory.path()).await?;
    node.raft.read_barrier().await?;
    assert_eq!(*node.raft.state().borrow(), before);
    assert_eq!(names(&node.raft), ["north", "south"]);
    assert_eq!(node.raft.write(write(0, "r1", "north")).await?, CommandOutcome::Repeated(revision));
    let delete = WriteIntent {
        base_revision: second.revision().0,
        delete: vec![ResourceKey { kind: 1, name: "north".to_owned() }],
        ..WriteIntent::default()
    };
    let delete = Command { command: Some(Wire::WriteIntent(delete)), ..Command::default() };
    node.raft.write(delete).await?;
    assert_eq!(names(&node.raft), ["south"]);
    node.stop().await;
    Ok(())
}

#[tokio::test]
async fn concurrent_writes_are_all_answered() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let writes = (0..200).map(|number| {
        let raft = node.raft.clone();
        async move {
            let site = format!("s{number}");
            let mut base = Revision(0);
            loop {
                match raft.write(write(base.0, &site, &site)).await? {
                    CommandOutcome::Applied(revision) => return Ok::<_, WriteError>(revision),
                    CommandOutcome::Stale(revision) => base = revision,
                    CommandOutcome::Repeated(revision) => panic!("{site} twice, at {revision}"),
                }
            }
        }
    });
    let revisions = futures::future::try_join_all(writes).await?;
    let distinct: std::collections::BTreeSet<_> = revisions.iter().collect();
    assert_eq!((distinct.len(), names(&node.raft).len()), (200, 200));
    node.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_write_that_replicas_could_not_apply_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let error = node.raft.write(write(0, "r1", "Not A Name")).await.expect_err("a bad name");
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("Not A Name"), "{error}");
    node.shutdown.cancel();
    node.wait_for_role(Role::Stopped).await;
    let error = node.raft.write(write(0, "r1", "north")).await.expect_err("it was stopped");
    assert!(matches!(error, WriteError::Stopped { .. }), "{error}");
    node.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_store_is_refused_to_another_node_and_a_second_process() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let (one, two) = (listen().await, listen().await);
    let members = members(&[one.local_addr()?, two.local_addr()?]);
    let start = |id| TestNode::start(config(id, directory.path(), &members), listen_again());
    let text = |result: Result<TestNode, StartError>| {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let in_use = text(start(1).await);
    assert!(in_use.contains("another fulcrum-controller runs with the same data_dir"), "{in_use}");
    node.stop().await;
    let other = text(start(2).await);
    assert!(
        other.contains("belongs to controller 1, but the configuration says id = 2"),
        "{other}"
    );
    let absent = text(start(3).await);
    assert!(absent.contains("add an entry with id = 3"), "{absent}");
    Ok(())
}

fn listen_again() -> tokio::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    tokio::net::TcpListener::from_std(listener).expect("inside a runtime")
}
