//! handover, drain and undrain against a controller that obeys, or does not, as it is told.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use fulcrum_proto::v1;
use fulcrum_proto::v1::intent_service_server::{IntentService, IntentServiceServer};
use fulcrum_proto::v1::resource::Spec;
use fulcrum_proto::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use fulcrum_proto::v1::watch_topology_response::Event;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The revision that any write makes.
const REVISION: u64 = 13;

/// What a controller knows, and what it makes of an order.
#[derive(Clone)]
struct Controller {
    topology: v1::Topology,
    /// Who is Active after an order, director by director, step by step.
    steps: Vec<(&'static str, v1::VrrpState)>,
    /// What directors tell after that.
    later: Vec<v1::AgentStatus>,
    /// What was written.
    written: Arc<Mutex<Vec<v1::ApplyRequest>>>,
    refuses: bool,
}

#[tonic::async_trait]
impl IntentService for Controller {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        if self.refuses {
            let mut details = ErrorDetails::new();
            details.add_bad_request_violation("resources[0].spec.to", "\"d9\": is no member");
            return Err(Status::with_error_details(
                tonic::Code::InvalidArgument,
                "1 bad field",
                details,
            ));
        }
        let mut request = request.into_inner();
        assert!(!std::mem::take(&mut request.request_id).is_empty());
        self.written.lock().expect("not poisoned").push(request);
        Ok(Response::new(v1::ApplyResponse { revision: REVISION, ..Default::default() }))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list(
        &self,
        _: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn wait_converged(
        &self,
        _: Request<v1::WaitConvergedRequest>,
    ) -> Result<Response<v1::WaitConvergedResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_revisions(
        &self,
        _: Request<v1::ListRevisionsRequest>,
    ) -> Result<Response<v1::ListRevisionsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_revision(
        &self,
        _: Request<v1::GetRevisionRequest>,
    ) -> Result<Response<v1::GetRevisionResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn confirm(
        &self,
        _: Request<v1::ConfirmRequest>,
    ) -> Result<Response<v1::ConfirmResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn create_resource(
        &self,
        _: Request<v1::CreateResourceRequest>,
    ) -> Result<Response<v1::CreateResourceResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn update_resource(
        &self,
        _: Request<v1::UpdateResourceRequest>,
    ) -> Result<Response<v1::UpdateResourceResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
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
        Err(Status::unimplemented("not asked for here"))
    }

    type WatchResourcesStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::WatchResourcesResponse, Status>>>;

    async fn watch_resources(
        &self,
        _: Request<v1::WatchResourcesRequest>,
    ) -> Result<Response<Self::WatchResourcesStream>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

#[tonic::async_trait]
impl TopologyService for Controller {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let topology = Some(self.topology.clone());
        Ok(Response::new(v1::GetStatusResponse { topology }))
    }

    type WatchTopologyStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::WatchTopologyResponse, Status>>>;

    async fn watch_topology(
        &self,
        _: Request<v1::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let resources = self.topology.resources.iter().cloned().map(Event::Resource);
        let agents = self.topology.agents.iter().cloned().map(Event::Agent);
        let synced = Event::Synced(v1::Synced { revision: REVISION });
        let steps =
            self.steps.iter().map(|(name, state)| Event::Agent(agent(name, *state, REVISION)));
        let later = self.later.iter().cloned().map(Event::Agent);
        let events = resources.chain(agents).chain([synced]).chain(steps).chain(later);
        let events: Vec<_> =
            events.map(|event| Ok(v1::WatchTopologyResponse { event: Some(event) })).collect();
        Ok(Response::new(tokio_stream::iter(events)))
    }
}

fn resource(name: &str, spec: Spec) -> v1::Resource {
    let metadata = v1::Metadata { name: name.to_owned(), ..v1::Metadata::default() };
    v1::Resource { metadata: Some(metadata), spec: Some(spec) }
}

fn agent(name: &str, state: v1::VrrpState, revision: u64) -> v1::AgentStatus {
    let vrrp = v1::VrrpObserved {
        instance: "vi-1".to_owned(),
        state: state.into(),
        ..v1::VrrpObserved::default()
    };
    let version = v1::PlanVersion { revision, ..v1::PlanVersion::default() };
    v1::AgentStatus {
        role: "director".to_owned(),
        name: name.to_owned(),
        attached: true,
        ack: Some(v1::PlanAck { version: Some(version), applied: true, reason: String::new() }),
        director: Some(v1::DirectorObserved {
            vrrp_instances: vec![vrrp],
            ..v1::DirectorObserved::default()
        }),
        ..v1::AgentStatus::default()
    }
}

fn handover(to: &str, reason: &str, requested_by: &str) -> v1::Handover {
    v1::Handover {
        vrrp_instance: "vi-1".to_owned(),
        to: to.to_owned(),
        reason: reason.to_owned(),
        requested_by: requested_by.to_owned(),
    }
}

/// d1 Active, d2 Backup, and an order if one stands.
fn controller(order: Option<v1::Handover>) -> Controller {
    let member = |director: &str, priority| v1::VrrpMember {
        director: director.to_owned(),
        priority,
        interface: String::new(),
    };
    let instance = v1::VrrpInstance {
        members: vec![member("d1", 100), member("d2", 90)],
        ..v1::VrrpInstance::default()
    };
    let mut resources = vec![
        resource("d1", Spec::Director(v1::Director::default())),
        resource("d2", Spec::Director(v1::Director::default())),
        resource("vi-1", Spec::VrrpInstance(instance)),
    ];
    resources.extend(order.map(|order| resource("vi-1", Spec::Handover(order))));
    let agents =
        vec![agent("d1", v1::VrrpState::Active, 12), agent("d2", v1::VrrpState::Backup, 12)];
    let topology = v1::Topology { agents, resources, ..v1::Topology::default() };
    let (steps, later, written) = (Vec::new(), Vec::new(), Arc::default());
    Controller { topology, steps, later, written, refuses: false }
}

fn obeying(order: Option<v1::Handover>) -> Controller {
    let steps = vec![
        ("d1", v1::VrrpState::Active),
        ("d2", v1::VrrpState::Active),
        ("d1", v1::VrrpState::Backup),
    ];
    Controller { steps, ..controller(order) }
}

async fn listen(controller: Controller) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = Server::builder()
        .add_service(IntentServiceServer::new(controller.clone()))
        .add_service(TopologyServiceServer::new(controller));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn lvsctl(endpoint: SocketAddr, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_lvsctl"))
        .env_clear()
        .args(["--endpoint", &endpoint.to_string()])
        .args(arguments)
        .output()
        .await
        .expect("lvsctl was built")
}

/// Runs, compares the exit code, looks for words on both outputs, and returns what was written.
async fn check(
    controller: Controller,
    arguments: &[&str],
    code: i32,
    words: &[&str],
) -> Vec<v1::ApplyRequest> {
    let written = Arc::clone(&controller.written);
    let output = lvsctl(listen(controller).await, arguments).await;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?} tells {word:?}: {told}");
    }
    let written = written.lock().expect("not poisoned");
    written.clone()
}

fn putting(order: v1::Handover) -> v1::ApplyRequest {
    let resources = vec![resource("vi-1", Spec::Handover(order))];
    v1::ApplyRequest { resources, ..v1::ApplyRequest::default() }
}

fn deleting() -> v1::ApplyRequest {
    let kind = v1::Kind::Handover.into();
    let delete = vec![v1::ResourceName { kind, name: "vi-1".to_owned() }];
    v1::ApplyRequest { delete, ..v1::ApplyRequest::default() }
}

#[tokio::test]
async fn a_hand_over_is_written_and_waited_for() {
    let arguments =
        ["handover", "vi-1", "--to", "d2", "--reason", "new kernel", "--requested-by", "ann"];
    let told = [
        "vi-1: d1 is Active; waiting for d1 to apply revision 13, d2 to apply revision 13, d2 to become Active",
        "vi-1: d1 and d2 are Active; waiting for d1 to become Backup\n",
        "vi-1: d2 is Active\ndone after ",
    ];
    let written = check(obeying(None), &arguments, 0, &told).await;
    assert_eq!(written, [putting(handover("d2", "new kernel", "ann"))]);

    let standing = handover("d1", "", "bob");
    let arguments = ["handover", "vi-1", "--to", "d2", "--no-wait"];
    let told = ["vi-1: ordered at revision 13\n"];
    let written = check(controller(Some(standing)), &arguments, 0, &told).await;
    assert_eq!(written, [putting(handover("d2", "", "lvsctl"))], "in its place");

    let json = ["handover", "vi-1", "--to", "d2", "-o", "json"];
    let told = ["{\n  \"done\": true,\n", "\"active\": [\n        \"d2\"\n      ]"];
    check(obeying(None), &json, 0, &told).await;
}

#[tokio::test]
async fn a_hand_over_that_does_not_come_says_why() {
    let arguments = ["handover", "vi-1", "--to", "d2", "--timeout", "300ms"];
    let told = [
        "not done after 300ms:\n  vi-1: waits for d1 to apply revision 13",
        "The order stands; `lvsctl status` tells more.",
    ];
    check(controller(None), &arguments, 7, &told).await;
    let told = ["there is no VRRP instance \"vi-9\"; there are vi-1"];
    assert_eq!(check(controller(None), &["handover", "vi-9", "--to", "d2"], 4, &told).await, []);
    let refusing = Controller { refuses: true, ..controller(None) };
    let told = ["cannot hand vi-1 over; nothing was changed:\n  spec.to: \"d9\": is no member\n"];
    check(refusing, &["handover", "vi-1", "--to", "d9"], 2, &told).await;
    check(controller(None), &["handover", "vi-1"], 2, &["--to"]).await;
    check(controller(None), &["handover", "vi-1", "--to", "d2", "--back"], 2, &["--back"]).await;
}

#[tokio::test]
async fn an_order_is_taken_back() {
    let mut back = controller(Some(handover("d2", "", "ann")));
    back.topology.agents =
        vec![agent("d1", v1::VrrpState::Backup, 12), agent("d2", v1::VrrpState::Active, 12)];
    back.steps = vec![("d2", v1::VrrpState::Backup), ("d1", v1::VrrpState::Active)];
    let told = ["vi-1: nobody is Active; waiting for", "vi-1: d1 is Active\ndone after "];
    assert_eq!(check(back, &["handover", "vi-1", "--back"], 0, &told).await, [deleting()]);
}

#[tokio::test]
async fn a_director_is_drained_and_used_again() {
    let told = ["vi-1: d2 is Active\ndone after "];
    let written = check(obeying(None), &["drain", "d1", "--reason", "upgrade"], 0, &told).await;
    assert_eq!(written, [putting(handover("d2", "upgrade", "drain/d1"))]);

    let told = ["d2 is Active nowhere, and would not be; nothing to do\n"];
    assert_eq!(check(controller(None), &["drain", "d2"], 0, &told).await, []);
    assert_eq!(
        check(controller(None), &["drain", "d9"], 4, &["no real server or director \"d9\""]).await,
        []
    );
    let mut alone = controller(None);
    alone.topology.agents[1].attached = false;
    let told = ["no other director can be Active in vi-1: "];
    assert_eq!(check(alone, &["drain", "d1"], 5, &told).await, []);

    let mut drained = controller(Some(handover("d2", "", "drain/d1")));
    drained.steps = vec![("d2", v1::VrrpState::Backup), ("d1", v1::VrrpState::Active)];
    let told = ["vi-1: d1 is Active\ndone after "];
    assert_eq!(check(drained, &["undrain", "d1"], 0, &told).await, [deleting()]);
    let told = ["nothing was drained from d1\n"];
    let by_hand = controller(Some(handover("d2", "", "ann")));
    assert_eq!(check(by_hand, &["undrain", "d1"], 0, &told).await, []);
}

/// d1, which forwards, with this weight and these connections of web1.
fn counting(weight: u32, active: u64, inactive: u64) -> v1::AgentStatus {
    let web1 = v1::IpvsDestination {
        address: "10.0.0.1".to_owned(),
        port: 80,
        weight,
        active_connections: active,
        inactive_connections: inactive,
        ..v1::IpvsDestination::default()
    };
    let entry = v1::IpvsVirtualServer {
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        destinations: vec![web1],
        ..v1::IpvsVirtualServer::default()
    };
    let mut agent = agent("d1", v1::VrrpState::Active, REVISION);
    agent.director.get_or_insert_default().ipvs = vec![entry];
    agent
}

/// With web1 behind virtual server web, and d1 telling of it step by step.
fn serving(later: Vec<v1::AgentStatus>) -> Controller {
    let mut serving = controller(None);
    let web1 = v1::RealServer { rip: "10.0.0.1".to_owned(), port: 80, ..v1::RealServer::default() };
    let member = v1::PoolMember { real_server: "web1".to_owned(), ..v1::PoolMember::default() };
    let server = v1::VirtualServer {
        vrrp_instance: "vi-1".to_owned(),
        vip: "192.168.1.150".to_owned(),
        port: 80,
        protocol: v1::Protocol::Tcp.into(),
        pool: "tomcats".to_owned(),
        ..v1::VirtualServer::default()
    };
    serving.topology.resources.extend([
        resource("web1", Spec::RealServer(web1)),
        resource("tomcats", Spec::Pool(v1::Pool { members: vec![member], ..v1::Pool::default() })),
        resource("web", Spec::VirtualServer(server)),
    ]);
    serving.steps = vec![("d2", v1::VrrpState::Backup)];
    Controller { later, ..serving }
}

#[tokio::test]
async fn a_real_server_is_drained_and_used_again() {
    let later = vec![counting(1, 3, 0), counting(0, 3, 1), counting(0, 0, 0)];
    let arguments = ["drain", "web1", "--reason", "new JDK", "--requested-by", "ann"];
    let told = [
        "web1: web on d1: weight 0, connections 3 active, 1 inactive, 0 persistent\n",
        "web1: web on d1: weight 0, connections 0 active, 0 inactive, 0 persistent\nweb1: safe to stop: no active connection, no request under way\ndone after ",
    ];
    let written = check(serving(later), &arguments, 0, &told).await;
    let order = v1::Drain {
        real_server: "web1".to_owned(),
        reason: "new JDK".to_owned(),
        requested_by: "ann".to_owned(),
        ..v1::Drain::default()
    };
    let resources = vec![resource("web1", Spec::Drain(order.clone()))];
    assert_eq!(written, [v1::ApplyRequest { resources, ..v1::ApplyRequest::default() }]);

    let busy = serving(vec![counting(0, 3, 1)]);
    let told =
        ["not done after 300ms:\n  waits for 3 active and 1 inactive connections of web on d1"];
    check(busy, &["drain", "web1", "--timeout", "300ms"], 7, &told).await;
    let told = ["--of and --grace are of real servers, and d1 is a director"];
    assert_eq!(check(serving(Vec::new()), &["drain", "d1", "--of", "web"], 2, &told).await, []);

    let mut drained = serving(vec![counting(0, 0, 0), counting(1, 0, 0)]);
    drained.topology.resources.push(resource("web1", Spec::Drain(order)));
    let told = ["web1: web on d1: weight 1, connections 0 active, 0 inactive, 0 persistent\ndone"];
    let kind = v1::Kind::Drain.into();
    let delete = vec![v1::ResourceName { kind, name: "web1".to_owned() }];
    let expected = v1::ApplyRequest { delete, ..v1::ApplyRequest::default() };
    assert_eq!(check(drained, &["undrain", "web1"], 0, &told).await, [expected]);
    let told = ["web1 was not drained\n"];
    assert_eq!(check(serving(Vec::new()), &["undrain", "web1"], 0, &told).await, []);
}
