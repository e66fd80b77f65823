//! Nodes for tests: a store in a temporary directory, a listener on loopback, commands to write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::{
    Command, EventBatch, EventChange, ToldCondition, WriteIntent, command::Command as Wire,
};
use fulcrum_proto::v1;
use fulcrum_runtime::transport::{self, TransportError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::raft::{
    Answered, Asker, ForwardHandler, Forwarded, Member, Pace, Raft, RaftConfig, RaftTiming, Role,
    StartError, Steps, Transferred,
};

/// Longest wait of a test for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A node with its listener.
pub(super) struct TestNode {
    pub(super) raft: Raft,
    pub(super) shutdown: CancellationToken,
    address: SocketAddr,
    unplugged: CancellationToken,
    server: JoinHandle<()>,
}

/// Refuses every forwarded write by name.
struct Refusing;

#[tonic::async_trait]
impl ForwardHandler for Refusing {
    async fn forward(&self, write: Forwarded, by: Asker) -> Result<Answered, Status> {
        let who = by.who;
        match write {
            Forwarded::Apply(apply) => {
                Err(Status::aborted(format!("refused {} of {who}", apply.request_id)))
            }
            Forwarded::Rollback(_) => Err(Status::aborted("refused a rollback")),
            Forwarded::Confirm(confirm) => {
                Err(Status::aborted(format!("refused to confirm {}", confirm.revision)))
            }
            Forwarded::Create(_) | Forwarded::Update(_) | Forwarded::Delete(_) => {
                Err(Status::aborted("refused a single resource"))
            }
        }
    }

    async fn transfer(&self, to: Option<u64>, who: String) -> Result<Transferred, Status> {
        Err(Status::aborted(format!("refused a transfer to {to:?} of {who}")))
    }
}

/// Members of ids 1 and up at the addresses.
pub(super) fn members(addresses: &[SocketAddr]) -> BTreeMap<u64, Member> {
    (1..)
        .zip(addresses)
        .map(|(id, address)| {
            let member = Member {
                name: format!("c{id}"),
                api: format!("127.0.0.1:{}", 7000 + id),
                raft: address.to_string(),
            };
            (id, member)
        })
        .collect()
}

pub(super) fn config(node_id: u64, data_dir: &Path, members: &BTreeMap<u64, Member>) -> RaftConfig {
    RaftConfig {
        node_id,
        name: format!("c{node_id}"),
        data_dir: data_dir.to_owned(),
        members: members.clone(),
        tls: None,
        // Patient enough for a loaded machine, where three nodes share a core with other tests.
        timing: RaftTiming {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(800),
            election_max: Duration::from_millis(1200),
        },
        pace: Pace::default(),
        steps: Steps::default(),
    }
}

impl TestNode {
    /// Starts a node that is served on a listener.
    pub(super) async fn start(
        config: RaftConfig,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr().expect("a bound listener has an address");
        let shutdown = CancellationToken::new();
        let raft = Raft::start(config, shutdown.clone()).await?;
        let service = raft.service(Arc::new(Refusing));
        let unplugged = CancellationToken::new();
        let server =
            tonic::transport::Server::builder().add_service(service).serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                unplugged.clone().cancelled_owned(),
            );
        let server = tokio::spawn(async move { server.await.expect("loopback serves") });
        Ok(Self { raft, shutdown, address, unplugged, server })
    }

    /// Starts the only node of a cluster, and waits until it leads.
    pub(super) async fn alone(data_dir: &Path) -> Result<Self, StartError> {
        let listener = listen().await;
        let address = listener.local_addr().expect("a bound listener has an address");
        let node = Self::start(config(1, data_dir, &members(&[address])), listener).await?;
        node.wait_for_role(Role::Leader).await;
        Ok(node)
    }

    pub(super) async fn wait_for_role(&self, role: Role) {
        let mut leadership = self.raft.leadership();
        tokio::time::timeout(PATIENCE, leadership.wait_for(|now| now.role == role))
            .await
            .expect("the role comes in time")
            .expect("the node runs");
    }

    /// A client as another controller is one.
    pub(super) fn client(&self) -> Result<RaftServiceClient<Channel>, TransportError> {
        let channel = transport::connect_lazy(&self.address.to_string(), None)?;
        Ok(RaftServiceClient::new(channel))
    }

    /// Stops as planned.
    pub(super) async fn stop(self) {
        self.raft.stop().await;
        self.unplugged.cancel();
        self.server.await.expect("the server ends");
    }

    /// Cuts it off and stops it, with no farewell to the others.
    pub(super) async fn kill(self) {
        self.unplugged.cancel();
        let node = self.raft.node;
        *node.stopped.lock().await = true;
        node.raft.shutdown().await.expect("Raft stops");
        node.store.stop().await;
        self.server.await.expect("the server ends");
    }
}

pub(super) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port")
}

/// Writes a site of that name at a base revision.
pub(in crate::raft) fn write(base_revision: u64, request_id: &str, site: &str) -> Command {
    write_all(base_revision, request_id, vec![site_resource(site, "")])
}

pub(in crate::raft) fn site_resource(name: &str, description: &str) -> v1::Resource {
    v1::Resource {
        metadata: Some(v1::Metadata { name: name.to_owned(), ..v1::Metadata::default() }),
        spec: Some(v1::resource::Spec::Site(v1::Site { description: description.to_owned() })),
    }
}

pub(in crate::raft) fn write_all(
    base_revision: u64,
    request_id: &str,
    put: Vec<v1::Resource>,
) -> Command {
    let request_id = request_id.to_owned();
    let write = WriteIntent { base_revision, request_id, put, ..WriteIntent::default() };
    Command { command: Some(Wire::WriteIntent(write)), time_ms: 0, traceparent: String::new() }
}

/// A batch with an event of that text, told once, and a channel of that name.
pub(in crate::raft) fn happened(text: &str) -> Command {
    let told = ToldCondition { value: "out".to_owned(), ..ToldCondition::default() };
    let event = v1::Event { text: text.to_owned(), ..v1::Event::default() };
    let change = EventChange { key: text.to_owned(), told: Some(told), event: Some(event) };
    let channel = v1::NotificationStatus { policy: text.to_owned(), ..Default::default() };
    let batch = EventBatch { changes: vec![change], channels: vec![channel], ..Default::default() };
    let write =
        WriteIntent { base_revision: u64::MAX, events: Some(batch), ..WriteIntent::default() };
    Command { command: Some(Wire::WriteIntent(write)), time_ms: 0, traceparent: String::new() }
}
