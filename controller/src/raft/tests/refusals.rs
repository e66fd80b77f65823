//! What a node refuses of other controllers, by name and without harm.

use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::{
    AppendEntriesRequest, Envelope, InstallSnapshotRequest, LogEntry, SnapshotStart, Vote,
    VoteRequest,
};
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::nodes::{TestNode, write};
use crate::raft::checksum;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn envelope(to_node: u64, cluster_id: &str) -> Envelope {
    Envelope { from_node: 2, to_node, cluster_id: cluster_id.to_owned(), incarnation: 0 }
}

/// What a call was refused with.
fn refusal<T>(answer: Result<tonic::Response<T>, Status>) -> (Code, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

fn check(name: &str, found: (Code, String), code: Code, part: &str) {
    assert_eq!(found.0, code, "{name}: {}", found.1);
    assert!(found.1.contains(part), "{name}: {}", found.1);
}

#[tokio::test]
async fn messages_for_others_and_malformed_ones_are_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let mut intent = node.raft.state();
    let own = intent.wait_for(|state| !state.cluster_id.is_empty()).await?.cluster_id.clone();
    let mut client = node.client()?;

    let ask = |envelope| VoteRequest { envelope, vote: None, last_log_id: None };
    let cases = [
        ("no envelope", None, Code::InvalidArgument, "envelope is missing"),
        (
            "another node",
            Some(envelope(9, &own)),
            Code::FailedPrecondition,
            "this is controller 1, not 9",
        ),
        (
            "another cluster",
            Some(envelope(1, "other")),
            Code::FailedPrecondition,
            "to cluster other",
        ),
        ("no vote", Some(envelope(1, &own)), Code::InvalidArgument, "vote is missing"),
        (
            "no vote, cluster unknown",
            Some(envelope(1, "")),
            Code::InvalidArgument,
            "vote is missing",
        ),
    ];
    for (name, envelope, code, part) in cases {
        check(name, refusal(client.vote(ask(envelope)).await), code, part);
    }

    let entry = |index| LogEntry { term: 9, leader_node: 2, index, payload: None };
    let blank = |index| {
        let payload = fulcrum_proto::internal::v1::log_entry::Payload::Blank(
            fulcrum_proto::internal::v1::Blank {},
        );
        LogEntry { payload: Some(payload), ..entry(index) }.encode_to_vec()
    };
    let append = |entries: Vec<Vec<u8>>| AppendEntriesRequest {
        envelope: Some(envelope(1, &own)),
        vote: Some(Vote { term: 9, node: 2, committed: true }),
        previous: None,
        committed: None,
        entries,
    };
    let cases = [
        ("no entry", vec![b"\xff\xff".to_vec()], "a log entry cannot be decoded"),
        ("an unknown entry", vec![entry(0).encode_to_vec()], "newer release"),
        ("a gap before", vec![blank(3)], "entry 3 came where entry 0 was due"),
        ("a gap between", vec![blank(0), blank(2)], "entry 2 came where entry 1 was due"),
        ("twice the same", vec![blank(0), blank(0)], "entry 0 came where entry 1 was due"),
    ];
    for (name, entries, part) in cases {
        let found = refusal(client.append_entries(append(entries)).await);
        check(name, found, Code::InvalidArgument, part);
    }

    // None of it has done any harm.
    node.raft.write(write(0, "r1", "north")).await?;
    node.stop().await;
    Ok(())
}

async fn install(
    client: &mut RaftServiceClient<Channel>,
    start: Option<SnapshotStart>,
    chunks: Vec<Vec<u8>>,
) -> (Code, String) {
    let first = InstallSnapshotRequest { start, chunk: Vec::new() };
    let rest = chunks.into_iter().map(|chunk| InstallSnapshotRequest { start: None, chunk });
    let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
    refusal(client.install_snapshot(tokio_stream::iter(messages)).await)
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_was_announced_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = TestNode::alone(directory.path()).await?;
    let mut client = node.client()?;
    let start = |bytes: &[u8], size_bytes: u64| {
        Some(SnapshotStart {
            envelope: Some(envelope(1, "")),
            vote: Some(Vote { term: 9, node: 2, committed: true }),
            size_bytes,
            sha256: checksum::bytes(bytes).to_vec(),
        })
    };
    let text = vec![b'x'; 100];
    let large = vec![0; (1 << 20) + 1];
    let cases = [
        ("no start", None, vec![], Code::InvalidArgument, "start is missing"),
        ("huge", start(&text, 1 << 40), vec![], Code::ResourceExhausted, "larger than"),
        (
            "more than announced",
            start(&text, 50),
            vec![text.clone()],
            Code::InvalidArgument,
            "a chunk",
        ),
        (
            "a large chunk",
            start(&large, 2 << 20),
            vec![large.clone()],
            Code::InvalidArgument,
            "a chunk",
        ),
        (
            "less than announced",
            start(&text, 200),
            vec![text.clone()],
            Code::DataLoss,
            "as it was sent",
        ),
        ("changed", start(b"y", 100), vec![text.clone()], Code::DataLoss, "as it was sent"),
        ("no snapshot", start(&text, 100), vec![text.clone()], Code::InvalidArgument, "a snapshot"),
    ];
    for (name, start, chunks, code, part) in cases {
        check(name, install(&mut client, start, chunks).await, code, part);
    }
    node.raft.write(write(0, "r1", "north")).await?;
    node.stop().await;
    Ok(())
}
