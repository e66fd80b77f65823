//! `lvsctl controller` and `lvsctl backup` against a controller that answers as it is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use fulcrum_proto::v1;
use fulcrum_proto::v1::backup_response::Part;
use fulcrum_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How a backup ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    CutOff,
    Changed,
    Broken,
}

struct Controller {
    ending: Ending,
}

#[tonic::async_trait]
impl ClusterService for Controller {
    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let c1 = v1::Member { id: 1, name: "c1".to_owned(), reachable: true, ..Default::default() };
        let c2 = v1::Member {
            id: 2,
            name: "c2".to_owned(),
            problem: "does not answer".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(v1::GetClusterResponse { members: vec![c1, c2], ..Default::default() }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        match request.get_ref().to.as_str() {
            "c9" => Err(Status::not_found("there is no controller \"c9\"")),
            "c3" => Err(Status::failed_precondition("c3 lacks entries of the log")),
            to => Ok(Response::new(v1::TransferLeadershipResponse {
                from: "c1".to_owned(),
                to: if to.is_empty() { "c2" } else { to }.to_owned(),
                term: 7,
                gap: Some(prost_types::Duration { seconds: 0, nanos: 21_000_000 }),
            })),
        }
    }

    type BackupStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::BackupResponse, Status>>>;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let part = |part| Ok(v1::BackupResponse { part: Some(part) });
        let start = v1::BackupStart { revision: 12, ..Default::default() };
        let mut sha256 = Sha256::digest(b"onetwo").to_vec();
        if matches!(self.ending, Ending::Changed) {
            sha256[0] ^= 1;
        }
        let end = v1::BackupSummary { size_bytes: 6, sha256, resources: 3, revisions: 2 };
        let mut parts = vec![
            part(Part::Start(start)),
            part(Part::Chunk(b"one".to_vec())),
            part(Part::Chunk(b"two".to_vec())),
        ];
        match self.ending {
            Ending::Whole | Ending::Changed => parts.push(part(Part::End(end))),
            Ending::CutOff => {}
            Ending::Broken => parts.push(Err(Status::unavailable("this controller is stopping"))),
        }
        Ok(Response::new(tokio_stream::iter(parts)))
    }
}

async fn serve(ending: Ending) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = listener.local_addr().expect("it is bound").to_string();
    let service = ClusterServiceServer::new(Controller { ending });
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(served);
    endpoint
}

async fn lvsctl(endpoint: &str, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_lvsctl"))
        .args(["--endpoint", endpoint])
        .args(arguments)
        .output()
        .await
        .expect("it runs")
}

/// Runs it, and compares the exit code and a part of what it says.
async fn check(endpoint: &str, arguments: &[&str], code: i32, part: &str) {
    let output = lvsctl(endpoint, arguments).await;
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(part), "{arguments:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_told_and_told_to_lead() {
    let endpoint = serve(Ending::Whole).await;
    let cases: [(&[&str], i32, &str); 9] = [
        (&["controller", "list"], 0, "does not answer"),
        (&["controller", "status"], 1, "does not answer"),
        (&["controller", "status", "c1"], 0, "c1 (1)"),
        (&["controller", "status", "c7"], 4, "name one of c1, c2"),
        (&["-o", "json", "controller", "list"], 0, "\"members\""),
        (&["controller", "transfer"], 0, "c2 leads in term 7, after c1: writes waited for 21ms"),
        (&["-o", "json", "controller", "transfer", "c2"], 0, "\"gap\": \"21ms\""),
        (&["controller", "transfer", "c9"], 4, "there is no controller"),
        (&["controller", "transfer", "c3"], 5, "c3 lacks entries"),
    ];
    for (arguments, code, part) in cases {
        check(&endpoint, arguments, code, part).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_there_whole_or_not_at_all() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("backup");
    let path = file.to_str().expect("a plain path");
    let cases = [
        (Ending::CutOff, 1, "broke off before its end"),
        (Ending::Changed, 1, "did not arrive as it was sent"),
        (Ending::Broken, 3, "this controller is stopping"),
    ];
    std::fs::write(&file, "older").expect("a writable directory");
    for (ending, code, part) in cases {
        let endpoint = serve(ending).await;
        check(&endpoint, &["backup", path], code, part).await;
        assert_eq!(std::fs::read(&file).expect("it stays"), b"older", "{ending:?}");
        assert_eq!(files(directory.path()), 1, "{ending:?}");
    }
    let endpoint = serve(Ending::Whole).await;
    check(&endpoint, &["backup", path], 0, "revision 12 with 3 resources").await;
    assert_eq!(std::fs::read(&file).expect("it is there"), b"onetwo");
    let mode = file.metadata().expect("it is there").permissions().mode();
    assert_eq!((mode & 0o777, files(directory.path())), (0o600, 1));
    check(&endpoint, &["-o", "json", "backup", path], 0, "\"revision\": 12").await;
    check(&endpoint, &["backup", "/nowhere/backup"], 1, "cannot write /nowhere/backup").await;
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("it is there").count()
}
