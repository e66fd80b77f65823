//! The program against a controller and a director that answer as they are told: exit codes and words.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use fulcrum_proto::v1;
use fulcrum_proto::v1::director_local_service_server::{
    DirectorLocalService, DirectorLocalServiceServer,
};
use fulcrum_proto::v1::intent_service_server::{IntentService, IntentServiceServer};
use fulcrum_proto::v1::real_server_local_service_server::{
    RealServerLocalService, RealServerLocalServiceServer,
};
use fulcrum_proto::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Nothing listens on port 1 of loopback.
const NOWHERE: &str = "127.0.0.1:1";

/// What `if_revision` asks the fake for.
const STALE: u64 = 101;
const HELD: u64 = 102;
const BAD: u64 = 103;
const NO_QUORUM: u64 = 104;
const DENIED: u64 = 105;
/// A revision that waits to be confirmed.
const WAITS: u64 = 12;
/// A revision that no agent ever applies.
const NEVER: u64 = 999;

struct Controller;

fn refusal(code: Code, message: &str, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(
        reason,
        "fulcrum",
        [("current_revision".to_owned(), "12".to_owned())],
    );
    Status::with_error_details(code, message, details)
}

#[tonic::async_trait]
impl IntentService for Controller {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let request = request.into_inner();
        assert!(!request.request_id.is_empty());
        let action = match request.delete[..] {
            [] => v1::ChangeAction::Create,
            [..] => v1::ChangeAction::Delete,
        };
        match request.if_revision {
            STALE => Err(refusal(Code::Aborted, "the intent has moved on", "STALE_REVISION")),
            HELD => Err(refusal(Code::FailedPrecondition, "it deletes 2 of 2", "PLAN_HELD")),
            NO_QUORUM => Err(refusal(Code::Unavailable, "no leader", "NO_QUORUM")),
            DENIED => Err(Status::permission_denied("this certificate may only read")),
            BAD => {
                let mut details = ErrorDetails::new();
                details
                    .add_bad_request_violation("resources[0].spec.site", "\"mian\": no such site");
                details.add_bad_request_violation("VirtualServer/web.spec.pool", "\"a\": none");
                Err(Status::with_error_details(Code::InvalidArgument, "2 bad fields", details))
            }
            _ => Ok(Response::new(v1::ApplyResponse {
                revision: 12,
                changes: vec![v1::Change {
                    kind: v1::Kind::Director.into(),
                    name: "d1".to_owned(),
                    action: action.into(),
                }],
                agent_changes: Vec::new(),
                confirm_by: request
                    .confirm_within
                    .map(|wait| prost_types::Timestamp { seconds: wait.seconds, nanos: 0 }),
            })),
        }
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        match request.get_ref().name.as_str() {
            "d1" => Ok(Response::new(v1::GetResponse::default())),
            _ => Err(Status::not_found("there is no Pool \"a\"")),
        }
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let (name, next) = match request.page_token.as_str() {
            // Without a selector there is nothing.
            "" if request.label_selector.is_empty() => {
                return Ok(Response::new(v1::ListResponse::default()));
            }
            "" => ("east", "2"),
            _ => ("west", ""),
        };
        let labels = [("rack".to_owned(), "a1".to_owned())].into();
        let metadata = v1::Metadata { name: name.to_owned(), labels, ..Default::default() };
        let spec = Some(v1::resource::Spec::Site(v1::Site::default()));
        let resources = vec![v1::Resource { metadata: Some(metadata), spec }];
        let next_page_token = next.to_owned();
        Ok(Response::new(v1::ListResponse { resources, next_page_token, ..Default::default() }))
    }

    async fn wait_converged(
        &self,
        request: Request<v1::WaitConvergedRequest>,
    ) -> Result<Response<v1::WaitConvergedResponse>, Status> {
        let revision = request.into_inner().revision;
        let laggard = v1::Laggard {
            agent: "director/d1".to_owned(),
            applied_revision: 11,
            reason: "not attached".to_owned(),
        };
        Ok(Response::new(v1::WaitConvergedResponse {
            converged: revision != NEVER,
            revision,
            laggards: if revision == NEVER { vec![laggard] } else { Vec::new() },
        }))
    }

    async fn list_revisions(
        &self,
        request: Request<v1::ListRevisionsRequest>,
    ) -> Result<Response<v1::ListRevisionsResponse>, Status> {
        assert_eq!(request.get_ref().page_size, 2);
        let revision = v1::Revision { revision: 12, who: "anna".to_owned(), ..Default::default() };
        let revisions = vec![revision];
        Ok(Response::new(v1::ListRevisionsResponse { revisions, ..Default::default() }))
    }

    async fn get_revision(
        &self,
        _: Request<v1::GetRevisionRequest>,
    ) -> Result<Response<v1::GetRevisionResponse>, Status> {
        Err(refusal(Code::OutOfRange, "revision 3 is not kept", "REVISION_NOT_KEPT"))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let request = request.into_inner();
        assert!(!request.request_id.is_empty());
        if !request.allow_drastic {
            return Err(refusal(Code::FailedPrecondition, "it deletes 2 of 2", "PLAN_HELD"));
        }
        assert_eq!((request.revision, request.reason.as_str()), (11, "it was better"));
        let changes = vec![v1::Change {
            kind: v1::Kind::Director.into(),
            name: "d1".to_owned(),
            action: v1::ChangeAction::Delete.into(),
        }];
        Ok(Response::new(v1::RollbackResponse { revision: 13, changes, ..Default::default() }))
    }

    async fn confirm(
        &self,
        request: Request<v1::ConfirmRequest>,
    ) -> Result<Response<v1::ConfirmResponse>, Status> {
        let request = request.into_inner();
        assert!(!request.request_id.is_empty());
        match request.revision {
            WAITS => Ok(Response::new(v1::ConfirmResponse { revision: 13 })),
            other => {
                let text = format!("revision {other} does not wait to be confirmed");
                Err(refusal(Code::FailedPrecondition, &text, "NOT_WAITING"))
            }
        }
    }

    async fn create_resource(
        &self,
        _: Request<v1::CreateResourceRequest>,
    ) -> Result<Response<v1::CreateResourceResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn update_resource(
        &self,
        request: Request<v1::UpdateResourceRequest>,
    ) -> Result<Response<v1::UpdateResourceResponse>, Status> {
        let request = request.into_inner();
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let resource = request.resource.unwrap_or_default();
        assert!(matches!(resource.spec, Some(v1::resource::Spec::RealServer(_))));
        let v1::Metadata { name, labels, .. } = resource.metadata.unwrap_or_default();
        if name != "web1" {
            return Err(Status::not_found(format!("there is no RealServer {name}")));
        }
        assert_eq!(paths, ["metadata.labels.`rack`", "metadata.labels.`room`"]);
        assert_eq!(labels, [("rack".to_owned(), "a1".to_owned())].into());
        let change = v1::Change {
            kind: v1::Kind::RealServer.into(),
            name,
            action: v1::ChangeAction::Update.into(),
        };
        let changes = vec![change];
        Ok(Response::new(v1::UpdateResourceResponse {
            revision: 14,
            changes,
            ..Default::default()
        }))
    }

    async fn delete_resource(
        &self,
        _: Request<v1::DeleteResourceRequest>,
    ) -> Result<Response<v1::DeleteResourceResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_unconfirmed(
        &self,
        _: Request<v1::GetUnconfirmedRequest>,
    ) -> Result<Response<v1::GetUnconfirmedResponse>, Status> {
        let revision = Some(v1::Revision { revision: WAITS, ..Default::default() });
        Ok(Response::new(v1::GetUnconfirmedResponse { revision }))
    }

    type WatchResourcesStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::WatchResourcesResponse, Status>>>;

    async fn watch_resources(
        &self,
        request: Request<v1::WatchResourcesRequest>,
    ) -> Result<Response<Self::WatchResourcesStream>, Status> {
        let request = request.into_inner();
        assert_eq!(request.labels, [("rack".to_owned(), "a".to_owned())].into());
        Err(Status::permission_denied("watching is not for this certificate"))
    }
}

#[tonic::async_trait]
impl TopologyService for Controller {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let director = v1::AgentStatus {
            role: "director".to_owned(),
            name: "d1".to_owned(),
            director: Some(v1::DirectorObserved::default()),
            ..v1::AgentStatus::default()
        };
        let topology = v1::Topology { agents: vec![director], ..v1::Topology::default() };
        Ok(Response::new(v1::GetStatusResponse { topology: Some(topology) }))
    }

    type WatchTopologyStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::WatchTopologyResponse, Status>>>;

    async fn watch_topology(
        &self,
        _: Request<v1::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        Err(Status::permission_denied("watching is not for this certificate"))
    }
}

struct Director;

#[tonic::async_trait]
impl DirectorLocalService for Director {
    async fn get_director_status(
        &self,
        _: Request<v1::GetDirectorStatusRequest>,
    ) -> Result<Response<v1::GetDirectorStatusResponse>, Status> {
        Ok(Response::new(v1::GetDirectorStatusResponse {
            name: "d1".to_owned(),
            plan: Some(v1::PlanVersion {
                cluster_id: "c".to_owned(),
                incarnation: 1,
                revision: 12,
                ..Default::default()
            }),
            controller: "c1".to_owned(),
            observed: Some(v1::DirectorObserved::default()),
        }))
    }

    type ListIpvsConnectionsStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::ListIpvsConnectionsResponse, Status>>>;

    async fn list_ipvs_connections(
        &self,
        _: Request<v1::ListIpvsConnectionsRequest>,
    ) -> Result<Response<Self::ListIpvsConnectionsStream>, Status> {
        let page = |client_port| {
            let connection = v1::IpvsConnection {
                protocol: "TCP".to_owned(),
                client: "10.0.0.9".to_owned(),
                client_port,
                state: "ESTABLISHED".to_owned(),
                expires_s: 899,
                ..v1::IpvsConnection::default()
            };
            Ok(v1::ListIpvsConnectionsResponse { connections: vec![connection] })
        };
        let pages = vec![page(1), page(2), Err(Status::internal("the module is gone"))];
        Ok(Response::new(tokio_stream::iter(pages)))
    }

    async fn freeze(
        &self,
        request: Request<v1::FreezeRequest>,
    ) -> Result<Response<v1::FreezeResponse>, Status> {
        let order = request.into_inner().order.expect("whose, why and how long");
        assert_eq!(order.duration.map(|duration| duration.seconds), Some(900), "the default");
        let frozen = v1::Freeze {
            owner: order.owner,
            reason: order.reason,
            held_edits: 3,
            ..v1::Freeze::default()
        };
        Ok(Response::new(v1::FreezeResponse {
            frozen: Some(frozen),
            warnings: vec!["not saved".to_owned()],
        }))
    }

    async fn thaw(
        &self,
        request: Request<v1::ThawRequest>,
    ) -> Result<Response<v1::ThawResponse>, Status> {
        match request.into_inner().release.expect("who asks") {
            v1::LocalRelease { force: true, .. } => Ok(Response::new(v1::ThawResponse::default())),
            _ => Err(Status::failed_precondition("frozen by ann")),
        }
    }

    async fn drain_locally(
        &self,
        request: Request<v1::DrainLocallyRequest>,
    ) -> Result<Response<v1::DrainLocallyResponse>, Status> {
        let v1::DrainLocallyRequest { real_server, order } = request.into_inner();
        let order = order.expect("whose, why and how long");
        if !order.force {
            return Err(Status::permission_denied("user 7 may ask, and give no orders"));
        }
        let v1::LocalOrder { owner, reason, .. } = order;
        Ok(Response::new(v1::DrainLocallyResponse {
            drain: Some(v1::LocalDrain { real_server, owner, reason, ..Default::default() }),
            virtual_servers: vec!["mail".to_owned(), "web".to_owned()],
            warnings: Vec::new(),
        }))
    }

    async fn undrain_locally(
        &self,
        _: Request<v1::UndrainLocallyRequest>,
    ) -> Result<Response<v1::UndrainLocallyResponse>, Status> {
        Ok(Response::new(v1::UndrainLocallyResponse::default()))
    }
}

struct RealServer;

#[tonic::async_trait]
impl RealServerLocalService for RealServer {
    async fn get_real_server_status(
        &self,
        _: Request<v1::GetRealServerStatusRequest>,
    ) -> Result<Response<v1::GetRealServerStatusResponse>, Status> {
        Ok(Response::new(v1::GetRealServerStatusResponse {
            name: "web1".to_owned(),
            plan: Some(v1::PlanVersion::default()),
            controller: "c1".to_owned(),
            ..Default::default()
        }))
    }

    async fn freeze_host(
        &self,
        _: Request<v1::FreezeHostRequest>,
    ) -> Result<Response<v1::FreezeHostResponse>, Status> {
        Ok(Response::new(v1::FreezeHostResponse::default()))
    }

    async fn thaw_host(
        &self,
        _: Request<v1::ThawHostRequest>,
    ) -> Result<Response<v1::ThawHostResponse>, Status> {
        Ok(Response::new(v1::ThawHostResponse::default()))
    }

    async fn drain_server(
        &self,
        request: Request<v1::DrainServerRequest>,
    ) -> Result<Response<v1::DrainServerResponse>, Status> {
        let v1::DrainServerRequest { real_server, .. } = request.into_inner();
        Ok(Response::new(v1::DrainServerResponse {
            drain: Some(v1::LocalDrain { real_server, ..Default::default() }),
            warnings: vec!["no controller is attached".to_owned()],
        }))
    }

    async fn undrain_server(
        &self,
        _: Request<v1::UndrainServerRequest>,
    ) -> Result<Response<v1::UndrainServerResponse>, Status> {
        Ok(Response::new(v1::UndrainServerResponse::default()))
    }
}

async fn controller() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = Server::builder()
        .add_service(IntentServiceServer::new(Controller))
        .add_service(TopologyServiceServer::new(Controller));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn lvsctl(directory: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_lvsctl"))
        .current_dir(directory)
        .env_clear()
        .args(arguments)
        .output()
        .await
        .expect("lvsctl was built")
}

const MANIFEST: &str = "\
kind: Director
name: d1
spec:
  site: mian
  dip: 192.168.1.135
  interface: eth0
";

/// Runs with a dead controller before the living one; compares the exit code and looks for words on both outputs.
async fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(directory.path().join("d1.yaml"), MANIFEST).expect("writable");
    let endpoints = format!("{NOWHERE},{}", controller().await);
    let arguments = [&["--endpoint", &endpoints], arguments].concat();
    let output = lvsctl(directory.path(), &arguments).await;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?} tells {word:?}: {told}");
    }
}

async fn check_apply(if_revision: u64, code: i32, words: &[&str]) {
    let if_revision = if_revision.to_string();
    check(&["apply", "-f", "d1.yaml", "--if-revision", &if_revision], code, words).await;
}

#[tokio::test]
async fn lists_are_asked_for_page_by_page() {
    let told = ["name: east\n", "---\nkind: Site\nname: west\n"];
    check(&["get", "sites", "--selector", "rack in (a1),!row"], 0, &told).await;
    check(&["get", "sites", "--selector", "rack of a1"], 2, &["\"rack of a1\": write key"]).await;
}

#[tokio::test]
async fn labels_are_changed_alone() {
    let told = ["updated RealServer web1\n", "revision 14\n"];
    check(&["label", "real-server", "web1", "rack=a1", "room-"], 0, &told).await;
    check(&["label", "real-servers", "web9", "rack=a1"], 4, &["there is no RealServer web9"]).await;
    check(&["label", "all", "web1", "rack=a1"], 2, &["labels are of one resource"]).await;
    check(&["label", "pool", "web1", "rack"], 2, &["such as rack-"]).await;
}

#[tokio::test]
async fn a_change_that_waits_is_told_and_confirmed() {
    let waits =
        ["revision 12\n", "until 00:05:00Z, and is undone then: `lvsctl confirm 12` keeps it\n"];
    check(&["apply", "-f", "d1.yaml", "--confirm-within", "5m"], 0, &waits).await;
    check(&["apply", "-f", "d1.yaml", "--confirm-within", "25h"], 2, &["1s to 24h"]).await;
    check(&["confirm"], 0, &["revision 12 stays: confirmed by revision 13\n"]).await;
    check(&["confirm", "12", "-o", "json"], 0, &["\"revision\": 13"]).await;
    check(&["confirm", "7"], 5, &["nothing was confirmed: revision 7 does not wait"]).await;
    check(&["confirm", "0"], 2, &["0 is not in 1.."]).await;
}

#[tokio::test]
async fn apply_ends_as_the_controllers_answer() {
    check_apply(0, 0, &["created Director d1\n", "revision 12\n"]).await;
    check_apply(STALE, 5, &["the intent has moved on (current_revision 12)", "apply again"]).await;
    check_apply(HELD, 5, &["it deletes 2 of 2", "--allow-drastic"]).await;
    check_apply(NO_QUORUM, 3, &["127.0.0.1:1: Connection refused", ": no leader"]).await;
    check_apply(DENIED, 6, &["this certificate may only read"]).await;
    let told = [
        "lvsctl: 2 mistakes in the manifests; nothing was changed\n",
        "d1.yaml:4:9: spec.site: \"mian\": no such site\n",
        "VirtualServer/web.spec.pool: \"a\": none\n",
    ];
    check_apply(BAD, 2, &told).await;
    check(&["apply", "-f", "d1.yaml", "--dry-run"], 1, &["would create Director d1"]).await;
    let waits = ["apply", "-f", "d1.yaml", "--wait=5s"];
    check(&waits, 0, &["every agent has applied revision 12"]).await;
}

#[tokio::test]
async fn the_other_verbs_end_as_the_controllers_answer() {
    check(&["get", "pool", "a"], 4, &["cannot get a: there is no Pool"]).await;
    check(&["get"], 0, &[]).await;
    check(&["wait", "--revision", "12"], 0, &["every agent has applied revision 12"]).await;
    let late = ["director/d1 (at revision 11): not attached"];
    check(&["wait", "--revision", "999", "--timeout", "10ms"], 7, &late).await;
    let delete = ["delete", "director", "d1"];
    check(&[&delete[..], &["a"]].concat(), 4, &["nothing was deleted: there is no Pool"]).await;
    check(&delete, 0, &["deleted Director d1\n", "revision 12\n"]).await;
    check(&[&delete[..], &["--dry-run"]].concat(), 1, &["would delete Director d1\n"]).await;
    let held = HELD.to_string();
    let held = [&delete[..], &["--if-revision", &held]].concat();
    check(&held, 5, &["it deletes 2 of 2", "--allow-drastic"]).await;
    check(&["delete", "all", "d1"], 2, &["name one kind"]).await;
    check(&["get", "pools", "-l", "rack=a", "--watch"], 6, &["cannot watch: watching is not"])
        .await;
    check(&["get", "pool", "a", "--watch"], 2, &["leave the name out"]).await;
    check(&["get", "pools", "-l", "rack"], 2, &["KEY=VALUE"]).await;
    check(&["history", "--limit", "2"], 0, &["REVISION", "12", "anna"]).await;
    check(&["history", "3"], 2, &["revision 3 is not kept"]).await;
    check(&["rollback", "11"], 5, &["it deletes 2 of 2", "--allow-drastic"]).await;
    let back = ["rollback", "11", "--allow-drastic", "--reason", "it was better"];
    check(&back, 0, &["deleted Director d1\n", "revision 13\n"]).await;
    check(&[&back[..], &["--dry-run"]].concat(), 1, &["would delete Director d1\n"]).await;
    check(&["status"], 1, &["director/d1 was never heard: start fulcrum-director"]).await;
    check(&["status", "-o", "json"], 1, &["\"problems\": ["]).await;
    check(&["ipvs"], 0, &["director d1\nProt LocalAddress:Port", "is not attached"]).await;
    check(&["ipvs", "--director", "d3"], 4, &["there are d1"]).await;
    check(&["ipvs", "--save"], 0, &[]).await;
    let remedy =
        ["connections are read on the director itself", "--socket /run/fulcrum/director.sock"];
    check(&["ipvs", "-c"], 2, &remedy).await;
    check(&["watch"], 6, &["cannot watch: watching is not for this certificate"]).await;
}

#[tokio::test]
async fn a_director_is_asked_by_its_socket() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let listener = UnixListener::bind(directory.path().join("d.sock")).expect("a socket");
    let server = Server::builder().add_service(DirectorLocalServiceServer::new(Director));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    for (verb, expected) in [
        ("status", "director d1, attached to c1, plan of revision 12: healthy\n"),
        ("ipvs", "Prot LocalAddress:Port Scheduler Flags\n"),
    ] {
        let output = lvsctl(directory.path(), &["--socket", "d.sock", verb]).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.starts_with(expected), "{told}");
    }
    // What came before a failure is printed.
    let output =
        lvsctl(directory.path(), &["--socket", "d.sock", "ipvs", "-c", "-o", "json"]).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let ports: Vec<bool> = told.lines().map(|line| line.contains("\"client_port\":")).collect();
    assert_eq!(ports, [true, true], "{told}");
    assert_eq!(output.status.code(), Some(1));
    let failure = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(failure.contains("cannot list the connections: the module is gone"), "{failure}");
}

#[tokio::test]
async fn orders_are_given_by_the_socket_of_either_agent() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let listen = |name: &str| UnixListener::bind(directory.path().join(name)).expect("a socket");
    let director = Server::builder().add_service(DirectorLocalServiceServer::new(Director));
    tokio::spawn(director.serve_with_incoming(UnixListenerStream::new(listen("d.sock"))));
    let agent = Server::builder().add_service(RealServerLocalServiceServer::new(RealServer));
    tokio::spawn(agent.serve_with_incoming(UnixListenerStream::new(listen("w.sock"))));
    let cases: [(&str, &[&str], i32, &[&str]); 14] = [
        (
            "d.sock",
            &["freeze", "--owner", "ann", "--reason", "new disk"],
            0,
            &["frozen by ann, ends in 0s: new disk (3 edits are held back)\n", "  ! not saved\n"],
        ),
        ("d.sock", &["freeze", "--reason", "x", "-o", "json"], 0, &["\"owner\": \"lvsctl\""]),
        ("d.sock", &["freeze"], 2, &["--reason"]),
        ("d.sock", &["thaw"], 5, &["cannot thaw: frozen by ann"]),
        ("d.sock", &["thaw", "--force"], 0, &["it was not frozen\n"]),
        ("d.sock", &["drain", "web1", "--reason", "slow"], 6, &["user 7 may ask"]),
        (
            "d.sock",
            &["drain", "real-server/web1", "--reason", "slow", "--force", "--owner", "bob"],
            0,
            &["web1 drained by bob, ends in 0s: slow\n  in mail, web\n"],
        ),
        ("d.sock", &["drain", "director/d1"], 2, &["a director is drained by intent"]),
        ("d.sock", &["drain", "web1", "--of", "web"], 2, &["--of and --grace are of the intent"]),
        ("d.sock", &["undrain", "web1"], 0, &["web1 was not drained here\n"]),
        ("w.sock", &["status"], 0, &["real server's agent web1, attached to c1"]),
        (
            "w.sock",
            &["drain", "web1", "--for", "1h", "--reason", "slow"],
            0,
            &["web1 drained by", "  ! no controller is attached\n"],
        ),
        ("w.sock", &["undrain", "web1", "-o", "json"], 0, &["{}"]),
        ("w.sock", &["freeze", "--reason", "x"], 0, &[]),
    ];
    for (socket, arguments, code, words) in cases {
        let arguments = [&["--socket", socket], arguments].concat();
        let output = lvsctl(directory.path(), &arguments).await;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        for word in words {
            assert!(told.contains(word), "{arguments:?} tells {word:?}: {told}");
        }
    }
    for (arguments, words) in [
        (&["freeze", "--reason", "x"][..], "one agent is meant"),
        (&["thaw"], "one agent is meant"),
        (&["drain", "web1", "--for", "1h"], "--for is of orders at an agent"),
    ] {
        check(arguments, 2, &[words]).await;
    }
}

#[tokio::test]
async fn rules_are_imported_without_any_controller() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let rules = "-A -t 10.0.1.1:80 -s rr\n-a -t 10.0.1.1:80 -r 10.0.0.2:80 -m\n";
    let import = ["import", "ipvsadm", "rules", "--site", "main", "--vrrp-instance", "vi1"];
    for (rules, code, words) in [
        (rules.to_owned(), 0, vec!["kind: RealServer\nname: 10.0.0.2-80\n", "agent: none"]),
        (
            format!("{rules}-x\n"),
            1,
            vec!["lvsctl: rules:3: --u-threshold needs", "lvsctl: 1 thing"],
        ),
        (String::new(), 2, vec!["no rule in rules"]),
    ] {
        std::fs::write(directory.path().join("rules"), &rules).expect("writable");
        let output = lvsctl(directory.path(), &import).await;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert_eq!(output.status.code(), Some(code), "{rules}: {told}");
        for word in words {
            assert!(told.contains(word), "{rules}: {told}");
        }
    }
}
