//! Whole controllers on loopback.

use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::agent_service_client::AgentServiceClient;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_proto::v1::topology_service_client::TopologyServiceClient;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::connect_lazy;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::examples;
use crate::config::{Access, Config, Controller, RaftTimes};
use crate::serve::{self, Listeners, ServeError};

/// No test waits longer for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Controllers c1, c2, … in one process.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    directory: tempfile::TempDir,
}

/// A controller.
pub(crate) struct Node {
    pub(crate) api: String,
    config: Config,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Cluster {
    /// Starts this many and waits until each knows a leader.
    pub(crate) async fn start(count: u64) -> Self {
        Self::start_with(count, |_| {}).await
    }

    /// Starts this many, each with its configuration changed so.
    pub(crate) async fn start_with(count: u64, change: impl Fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut listeners, mut controllers) = (Vec::new(), Vec::new());
        for id in 1..=count {
            let (api, api_endpoint) = listen().await;
            let (raft, raft_endpoint) = listen().await;
            listeners.push(Listeners { api, raft });
            controllers.push(Controller {
                id,
                name: format!("c{id}"),
                api: api_endpoint,
                raft: raft_endpoint,
            });
        }
        let mut nodes = Vec::new();
        for (controller, listeners) in controllers.iter().zip(listeners) {
            let mut config = Config {
                name: controller.name.clone(),
                site: None,
                data_dir: directory.path().join(&controller.name),
                insecure: false,
                controllers: controllers.clone(),
                tls: None,
                // Many tests share few cores: an election because of a late heartbeat would only confuse. And yet two
                // elections fit into the time that a write waits for a leader.
                raft: RaftTimes { heartbeat_ms: 50, election_min_ms: 250, election_max_ms: 500 },
                notifications: crate::events::notify::Home::default(),
                access: Access::default(),
            };
            change(&mut config);
            nodes.push(Node::start(config, listeners));
        }
        Self { nodes, directory }
    }

    /// One controller that leads.
    pub(crate) async fn one() -> Self {
        Self::ready(1).await
    }

    /// This many that know a leader.
    pub(crate) async fn ready(count: u64) -> Self {
        let cluster = Self::start(count).await;
        for node in &cluster.nodes {
            node.until_serving().await;
        }
        cluster
    }

    /// One controller with the example set applied, and the revision that made.
    pub(crate) async fn one_with_intent() -> (Self, u64) {
        let cluster = Self::one().await;
        let node = &cluster.nodes[0];
        let revision = node.apply(examples::cluster()).await.revision;
        node.until("the intent", |topology| topology.revision == revision).await;
        (cluster, revision)
    }

    /// Stops all of them, in order.
    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
        self.directory.close().expect("nobody writes there any more");
    }
}

impl Node {
    fn start(config: Config, listeners: Listeners) -> Self {
        let (api, shutdown) = (config.me().api.clone(), CancellationToken::new());
        let served = tokio::spawn(serve::run(config.clone(), listeners, shutdown.clone()));
        Self { api, config, shutdown, served }
    }

    /// Stops and starts again with what is on its disk, at its old addresses.
    pub(crate) async fn restart(self) -> Self {
        let config = self.config.clone();
        self.stop().await;
        let listeners = tokio::time::timeout(SOON, async {
            loop {
                match serve::bind(&config).await {
                    Ok(listeners) => return listeners,
                    // Connections of before are not closed yet.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let listeners = listeners.await.expect("its addresses are free");
        let node = Self::start(config, listeners);
        node.until_serving().await;
        node
    }

    pub(crate) fn channel(&self) -> Channel {
        connect_lazy(&self.api, None).expect("a good endpoint")
    }

    pub(crate) fn intent(&self) -> IntentServiceClient<Channel> {
        IntentServiceClient::new(self.channel())
    }

    pub(crate) fn topology(&self) -> TopologyServiceClient<Channel> {
        TopologyServiceClient::new(self.channel())
    }

    pub(crate) fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel())
    }

    /// Applies a set that must be taken.
    pub(crate) async fn apply(&self, resources: Vec<v1::Resource>) -> v1::ApplyResponse {
        self.try_apply(v1::ApplyRequest { resources, ..Default::default() })
            .await
            .expect("it is taken")
    }

    pub(crate) async fn try_apply(
        &self,
        request: v1::ApplyRequest,
    ) -> Result<v1::ApplyResponse, Status> {
        self.intent().apply(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn status(&self) -> v1::Topology {
        status_at(self.channel()).await
    }

    /// Follows the topology until it is as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&v1::Topology) -> bool) {
        until_at(self.channel(), what, is_so).await;
    }

    /// Over TLS, by whoever has these files, until agents are served by that revision.
    pub(crate) async fn until_planned_by(&self, tls: &TlsFiles, revision: u64) {
        let channel = connect_lazy(&self.api, Some(tls)).expect("a good endpoint");
        until_at(channel, "the intent", |topology| topology.revision >= revision).await;
    }

    /// Its listener for other controllers.
    pub(crate) fn raft(&self) -> String {
        self.config.me().raft.clone()
    }

    pub(crate) async fn until_serving(&self) {
        self.until_served(self.channel()).await;
    }

    /// Over TLS, by whoever has these files.
    pub(crate) async fn until_serving_by(&self, tls: &TlsFiles) {
        self.until_served(connect_lazy(&self.api, Some(tls)).expect("a good endpoint")).await;
    }

    async fn until_served(&self, channel: Channel) {
        let served = tokio::time::timeout(SOON, async {
            let mut states = loop {
                let request = HealthCheckRequest { service: String::new() };
                match HealthClient::new(channel.clone()).watch(request).await {
                    Ok(watched) => break watched.into_inner(),
                    // Over TLS the other end must answer before there is a connection, and it is still opening its store.
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
                }
            };
            while let Ok(Some(state)) = states.message().await {
                if state.status() == ServingStatus::Serving {
                    return;
                }
            }
            panic!("the health stream ended");
        });
        served.await.expect("a leader is elected");
    }

    pub(crate) async fn is_leader(&self, name: &str) -> bool {
        let topology = self.status().await;
        let me = topology.controllers.iter().find(|controller| controller.name == name);
        me.is_some_and(|me| me.role() == v1::ControllerRole::Leader)
    }

    /// As SIGTERM would.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let served = tokio::time::timeout(SOON, self.served).await.expect("it stops");
        served.expect("it does not panic").expect("it served");
    }
}

async fn status_at(channel: Channel) -> v1::Topology {
    let response = TopologyServiceClient::new(channel).get_status(v1::GetStatusRequest {}).await;
    response.expect("it answers").into_inner().topology.expect("it is set")
}

async fn until_at(channel: Channel, what: &str, is_so: impl Fn(&v1::Topology) -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        let mut client = TopologyServiceClient::new(channel.clone());
        let watched = client.watch_topology(v1::WatchTopologyRequest {}).await;
        let mut events = watched.expect("it is watched").into_inner();
        while !is_so(&status_at(channel.clone()).await) {
            events.message().await.expect("it goes on").expect("it does not end");
        }
    });
    let came = waited.await.is_ok();
    assert!(came, "{what} did not come: {:#?}", status_at(channel).await);
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = listener.local_addr().expect("it has an address").to_string();
    (listener, endpoint)
}
