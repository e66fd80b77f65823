//! Writes per second and their latency through Raft: nodes in one process, on loopback, with every sync that a controller makes.
//!
//! `cargo run --release -p fulcrum-controller --example raft_bench -- --nodes 3 --clients 1,64,256`
//! prints one JSON line for each number of clients. The entries are as large as asked and change nothing. With `--reads` clients read at a follower
//! instead, each read confirmed by a majority.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use fulcrum_controller::raft::{
    Answered, Asker, ForwardHandler, Forwarded, Member, Pace, Raft, RaftConfig, RaftTiming, Role,
    Steps, Transferred,
};
use fulcrum_proto::internal::v1::{Command, FormCluster, command::Command as Wire};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

#[derive(Debug, Parser)]
struct Arguments {
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Clients that write at once, each its next write when the last is acknowledged.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    clients: Vec<usize>,
    /// Read at a follower instead of writing.
    #[arg(long)]
    reads: bool,
    /// Bytes of a write.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Seconds for each number of clients.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the nodes keep their stores: a directory on the disk that is to be measured.
    #[arg(long)]
    data_dir: PathBuf,
}

struct Nobody;

#[tonic::async_trait]
impl ForwardHandler for Nobody {
    async fn forward(&self, _: Forwarded, _: Asker) -> Result<Answered, Status> {
        Err(Status::unimplemented("the benchmark forwards nothing"))
    }

    async fn transfer(&self, _: Option<u64>, _: String) -> Result<Transferred, Status> {
        Err(Status::unimplemented("the benchmark forwards nothing"))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let nodes = start(&arguments).await?;
    let leader = leader(&nodes).await?;
    let follower = nodes.iter().find(|node| node.leadership().borrow().role == Role::Follower);
    let asked = if arguments.reads { follower.context("no node follows")? } else { &leader };
    let what = if arguments.reads { "reads_per_s" } else { "writes_per_s" };
    for clients in &arguments.clients {
        let mut latencies = measure(asked, *clients, &arguments).await?;
        latencies.sort_unstable();
        let at = |share: usize| {
            latencies.get(latencies.len() * share / 100).map_or(0, Duration::as_micros)
        };
        let line = serde_json::json!({
            "nodes": arguments.nodes,
            "clients": clients,
            "bytes": arguments.bytes,
            what: latencies.len() as u64 / arguments.seconds.max(1),
            "p50_us": u64::try_from(at(50))?,
            "p99_us": u64::try_from(at(99))?,
        });
        println!("{line}");
    }
    for node in nodes {
        node.stop().await;
    }
    Ok(())
}

async fn start(arguments: &Arguments) -> anyhow::Result<Vec<Raft>> {
    let mut members = BTreeMap::new();
    let mut listeners = Vec::new();
    for id in 1..=arguments.nodes {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let raft = listener.local_addr()?.to_string();
        members.insert(id, Member { name: format!("c{id}"), api: raft.clone(), raft });
        listeners.push(listener);
    }
    let mut nodes = Vec::new();
    for (id, listener) in (1..).zip(listeners) {
        let config = RaftConfig {
            node_id: id,
            name: format!("c{id}"),
            data_dir: arguments.data_dir.join(id.to_string()),
            members: members.clone(),
            tls: None,
            timing: RaftTiming::default(),
            pace: Pace::default(),
            steps: Steps::default(),
        };
        let raft = Raft::start(config, CancellationToken::new()).await?;
        let router =
            tonic::transport::Server::builder().add_service(raft.service(Arc::new(Nobody)));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        nodes.push(raft);
    }
    Ok(nodes)
}

/// The node that leads once the cluster has its name: until then several may stand for election.
async fn leader(nodes: &[Raft]) -> anyhow::Result<Raft> {
    for node in nodes {
        node.state().wait_for(|state| !state.cluster_id.is_empty()).await?;
    }
    let leading = nodes.iter().map(|node| {
        Box::pin(async {
            node.leadership().wait_for(|now| now.role == Role::Leader).await.map(|_| node.clone())
        })
    });
    futures::future::select_all(leading).await.0.context("the node stopped")
}

async fn measure(
    asked: &Raft,
    clients: usize,
    arguments: &Arguments,
) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let (bytes, reads) = (arguments.bytes, arguments.reads);
    let tasks = (0..clients).map(|_| {
        let asked = asked.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                // The cluster has its id, so this changes nothing.
                let form = FormCluster { cluster_id: "x".repeat(bytes) };
                let command =
                    Command { command: Some(Wire::FormCluster(form)), ..Command::default() };
                let begun = Instant::now();
                if reads {
                    asked.read_index().await?;
                } else {
                    asked.write(command).await?;
                }
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.append(&mut task.await??);
    }
    Ok(latencies)
}
