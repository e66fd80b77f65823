//! Starts a node: opens the store, starts openraft, and takes part in the cluster.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fulcrum_proto::internal::v1::Command;
use openraft::{Config, SnapshotPolicy};
use prost::Message as _;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::config::RaftConfig;
use super::error::StartError;
use super::leadership::{Leadership, Role};
use super::log_store::{LogCache, LogStore};
use super::network::Network;
use super::peers::{Lineage, Peers};
use super::reads::Reads;
use super::service::Identity;
use super::space::Room;
use super::state_machine::StateMachine;
use super::store::{Contents, Store};
use super::store_error::StoreError;
use super::store_thread::{StoreHandle, panic_text};
use super::types::Openraft;
use super::{Node, Raft, forming, leadership, proposals, space};

impl Raft {
    /// Opens and verifies the store, starts openraft, and forms the cluster from the configuration or takes part in it, without manual
    /// steps. Returns when the node runs; wait on [`Self::leadership`] for a leader. The [`Self::service`] must be
    /// served for others to reach it. Ends as [`Self::stop`] does when `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`StartError`] tells what to do. What is found out later is told by [`Self::failed`].
    pub async fn start(
        config: RaftConfig,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        if !config.members.contains_key(&config.node_id) {
            return Err(StartError::NotAMember { node_id: config.node_id });
        }
        let openraft_config = Arc::new(openraft_config(&config)?);
        let directory = config.directory();
        let (mut store, contents) = open(&config).await?;
        store.tell(config.steps.clone());
        let store = StoreHandle::spawn(store)
            .map_err(|error| StartError::Storage { reason: error.to_string() })?;
        let identity = Arc::new(Identity {
            node_id: config.node_id,
            store_id: contents.store_id,
            members: config.members.keys().copied().collect(),
        });
        let cache = LogCache::new(contents.vote, contents.purged, contents.entries);
        let log = LogStore::new(store.clone(), cache);
        let is_new = log.is_empty();
        let (machine, intent) = StateMachine::new(
            contents.machine,
            directory.clone(),
            contents.snapshot_applied,
            store.clone(),
            config.steps.clone(),
        );
        let peers = Arc::new(Peers::new(&config, follow_lineage(intent.clone()))?);
        let network = Network::new(Arc::clone(&peers));
        let raft = Openraft::new(config.node_id, openraft_config, network, log.clone(), machine)
            .await
            .map_err(|error| StartError::Raft { reason: error.to_string() })?;
        let members = Arc::new(config.members);
        let (published, leadership) = watch::channel(Leadership::default());
        tokio::spawn(leadership::follow(raft.metrics(), published, Arc::clone(&members)));
        let (proposals, arrived) = mpsc::channel(proposals::QUEUE);
        let in_flight = proposals::room();
        tokio::spawn(proposals::run(raft.clone(), arrived, Arc::clone(&in_flight)));
        let reads =
            Reads::spawn(raft.clone(), Arc::clone(&peers), leadership.clone(), intent.clone());
        let room = Room::look(&directory).unwrap_or_default();
        let (admitted, is_admitted) = watch::channel(!is_new);
        let node = Arc::new(Node {
            directory,
            members,
            identity,
            raft,
            log,
            store,
            peers,
            proposals,
            in_flight,
            reads,
            intent,
            leadership,
            is_admitted,
            joined: watch::Sender::new(0),
            failure: watch::Sender::new(None),
            is_stopping: watch::Sender::new(false),
            is_handing_over: watch::Sender::new(false),
            handing_over: Mutex::new(()),
            lease: config.timing.election_max,
            is_space_low: watch::Sender::new(false),
            room: watch::Sender::new(room),
            stopped: Mutex::new(false),
        });
        let started = Self { node };
        started.spawn_watchers(admitted, shutdown);
        Ok(started)
    }

    fn spawn_watchers(&self, admitted: watch::Sender<bool>, shutdown: CancellationToken) {
        tokio::spawn(take_part(Arc::clone(&self.node), admitted));
        tokio::spawn(watch_failure(Arc::clone(&self.node)));
        tokio::spawn(watch_space(Arc::clone(&self.node)));
        let raft = self.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            raft.stop().await;
        });
    }
}

async fn open(config: &RaftConfig) -> Result<(Store, Contents), StartError> {
    let (node_id, directory) = (config.node_id, config.directory());
    let opened_directory = directory.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let store_id = uuid::Uuid::new_v4().to_string();
        // sled panics on some damage.
        catch_unwind(AssertUnwindSafe(|| Store::open(&opened_directory, node_id, store_id)))
            .unwrap_or_else(|panic| {
                let text = panic_text(&*panic);
                Err(StoreError::Damaged(format!("the database cannot be opened: {text}")))
            })
    });
    opened
        .await
        .map_err(|error| StartError::Storage { reason: error.to_string() })?
        .map_err(|error| StartError::from_store(node_id, directory, error))
}

fn openraft_config(config: &RaftConfig) -> Result<Config, StartError> {
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let pace = config.pace;
    Config {
        cluster_name: "fulcrum".to_owned(),
        heartbeat_interval: ms(config.timing.heartbeat),
        election_timeout_min: ms(config.timing.election_min),
        election_timeout_max: ms(config.timing.election_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(pace.snapshot_entries),
        max_in_snapshot_log_to_keep: pace.kept_entries,
        replication_lag_threshold: pace.lag_entries,
        purge_batch_size: pace.purge_entries,
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::Timing { reason: error.to_string() })
}

/// Of which cluster the node is, alone, for it is read with every message.
fn follow_lineage(
    mut intent: watch::Receiver<Arc<super::IntentState>>,
) -> watch::Receiver<Lineage> {
    let lineage = |state: &super::IntentState| Lineage {
        cluster_id: state.cluster_id.clone(),
        incarnation: state.incarnation,
    };
    let (published, receiver) = watch::channel(lineage(&intent.borrow()));
    tokio::spawn(async move {
        while published.borrow().cluster_id.is_empty() && intent.changed().await.is_ok() {
            published.send_replace(lineage(&intent.borrow_and_update()));
        }
        // Receivers read the last value after the sender is gone.
    });
    receiver
}

/// Finds out whether the node may vote, forms the cluster if there is none, and keeps it in order.
async fn take_part(node: Arc<Node>, admitted: watch::Sender<bool>) {
    if !*admitted.borrow() {
        let joined = forming::admit(&node.raft, &node.peers, &node.identity).await;
        if let Some(joined) = joined {
            node.joined.send_replace(joined);
        } else {
            let error = StartError::OtherStore {
                node_id: node.identity.node_id,
                directory: node.directory.clone(),
            };
            fail(&node, error).await;
            return;
        }
        admitted.send_replace(true);
    }
    let proposer = Arc::clone(&node);
    let propose = move |command: Command| {
        let node = Arc::clone(&proposer);
        async move {
            let bytes = command.encoded_len();
            node.propose(command, bytes).await.is_ok()
        }
    };
    let (peers, identity) = (Arc::clone(&node.peers), Arc::clone(&node.identity));
    let (leadership, intent) = (node.leadership.clone(), node.intent.clone());
    forming::keep_order(node.raft.clone(), peers, identity, leadership, intent, propose).await;
}

/// Looks after the room on the disk: with little of it no writes are taken, and another node had better lead.
async fn watch_space(node: Arc<Node>) {
    let mut leadership = node.leadership.clone();
    let mut has_reserve = false;
    loop {
        let is_stopped = leadership.wait_for(|now| now.role == Role::Stopped);
        if tokio::time::timeout(space::LOOK_INTERVAL, is_stopped).await.is_ok() {
            return;
        }
        let was_low = *node.is_space_low.borrow();
        let directory = node.directory.clone();
        let looked = tokio::task::spawn_blocking(move || Room::look(&directory)).await;
        let free = match looked.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(room) => {
                node.room.send_replace(room);
                room.free_bytes
            }
            Err(error) => {
                tracing::warn!(%error, "the room on the disk cannot be told");
                continue;
            }
        };
        let is_low = space::is_low(was_low, free);
        if !is_low && !has_reserve {
            let directory = node.directory.clone();
            // Left out if it fails: it has said so.
            let _ = tokio::task::spawn_blocking(move || space::make_reserve(&directory)).await;
            has_reserve = true;
        }
        if is_low == was_low {
            continue;
        }
        node.is_space_low.send_replace(is_low);
        let directory = node.directory.display();
        if is_low {
            // It was given up if this node was started on a full disk.
            has_reserve = false;
            tracing::error!(free_bytes = free, %directory, "little room on the disk: no writes are taken; make room");
            if leadership.borrow().role == Role::Leader {
                node.hand_over().await;
            }
        } else {
            tracing::info!(free_bytes = free, %directory, "enough room on the disk again");
        }
    }
}

/// Stops the node when its store or openraft has failed: it neither votes nor serves then.
async fn watch_failure(node: Arc<Node>) {
    let mut failure = node.store.failure();
    let mut metrics = node.raft.metrics();
    let error = loop {
        if let Some(error) = failure.borrow_and_update().clone() {
            break StartError::from_store(node.identity.node_id, node.directory.clone(), error);
        }
        let state = metrics.borrow_and_update().running_state.clone();
        match state {
            Ok(()) => {}
            Err(openraft::error::Fatal::Stopped) => return,
            Err(error) => {
                // The store tells better what has happened, a moment later.
                tokio::task::yield_now().await;
                let reason = error.to_string();
                match failure.borrow().clone() {
                    Some(error) => {
                        let id = node.identity.node_id;
                        break StartError::from_store(id, node.directory.clone(), error);
                    }
                    None => break StartError::Raft { reason },
                }
            }
        }
        tokio::select! {
            changed = failure.changed() => if changed.is_err() && failure.borrow().is_none() { return },
            changed = metrics.changed() => if changed.is_err() { return },
        }
    };
    fail(&node, error).await;
}

async fn fail(node: &Node, error: StartError) {
    tracing::error!(%error, "this controller takes no part in Raft any more");
    node.failure.send_replace(Some(error));
    if let Err(error) = node.raft.shutdown().await {
        tracing::error!(%error, "Raft did not stop in order");
    }
}
