//! openraft's state machine: applies committed entries, publishes the intent, builds and installs snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, StorageIOError,
};
use tokio::sync::{Mutex, watch};

use super::log_store::storage_error;
use super::machine::Machine;
use super::snapshot::{self, SnapshotError};
use super::state::{CommandOutcome, IntentState};
use super::steps::{Step, Steps};
use super::store_thread::StoreHandle;
use super::types::{
    Entry, LogId, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};

/// The state machine of a node.
pub(crate) struct StateMachine {
    machine: Machine,
    store: StoreHandle,
    published: watch::Sender<Arc<IntentState>>,
    file: Arc<SnapshotFile>,
}

/// The snapshot's file. A snapshot may be built while another is installed: the newer one stays.
struct SnapshotFile {
    directory: PathBuf,
    /// Last entry that the saved snapshot holds.
    saved: Mutex<Option<LogId>>,
    steps: Steps,
}

impl SnapshotFile {
    /// Saves a snapshot, on stable storage when this returns, unless the saved one is newer.
    async fn save(
        &self,
        applied: Option<LogId>,
        encoded: Arc<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let mut saved = self.saved.lock().await;
        if *saved > applied {
            return Ok(());
        }
        let directory = self.directory.clone();
        self.steps.at(Step::SnapshotBegins);
        blocking(ErrorVerb::Write, move || snapshot::write(&directory, &encoded)).await?;
        self.steps.at(Step::SnapshotSaved);
        *saved = applied;
        Ok(())
    }
}

impl StateMachine {
    /// A state machine as an opened store has it.
    pub(crate) fn new(
        machine: Machine,
        directory: PathBuf,
        snapshot_applied: Option<LogId>,
        store: StoreHandle,
        steps: Steps,
    ) -> (Self, watch::Receiver<Arc<IntentState>>) {
        let (published, receiver) = watch::channel(Arc::clone(machine.intent.get()));
        let saved = Mutex::new(snapshot_applied);
        let file = Arc::new(SnapshotFile { directory, saved, steps });
        (Self { machine, store, published, file }, receiver)
    }

    fn publish(&self) {
        let intent = self.machine.intent.get();
        self.published.send_if_modified(|published| {
            let is_new = !Arc::ptr_eq(published, intent);
            published.clone_from(intent);
            is_new
        });
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.machine.applied, self.machine.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<CommandOutcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let mut changed = Vec::new();
        for entry in entries {
            let applied = self.machine.apply(&entry, &mut changed).map_err(|error| {
                tracing::error!(%error, index = entry.log_id.index, "a committed entry cannot be applied");
                StorageIOError::apply(entry.log_id, AnyError::new(&error))
            })?;
            outcomes.push(applied);
        }
        let header = self.machine.header();
        let records = changed.iter().map(|key| self.machine.record(key)).collect();
        self.store.post(move |store| store.write_state(header, records));
        self.publish();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder { machine: self.machine.clone(), file: Arc::clone(&self.file) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let encoded = Arc::new(*snapshot);
        let parsed = Arc::clone(&encoded);
        let (_, machine) = blocking(ErrorVerb::Read, move || snapshot::parse(&parsed)).await?;
        if machine.applied != meta.last_log_id {
            let error = SnapshotError::Damaged("the snapshot is not the announced one".to_owned());
            return Err(snapshot_error(ErrorVerb::Read, &error));
        }
        self.file.save(machine.applied, encoded).await?;
        let state = machine.clone();
        self.store
            .run(move |store| store.replace_state(&state))
            .await
            .map_err(|error| storage_error(ErrorSubject::StateMachine, ErrorVerb::Write, &error))?;
        self.machine = machine;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let directory = self.file.directory.clone();
        blocking(ErrorVerb::Read, move || {
            let Some(encoded) = snapshot::read(&directory)? else { return Ok(None) };
            let (meta, _) = snapshot::parse(&encoded)?;
            Ok(Some(Snapshot { meta, snapshot: Box::new(encoded) }))
        })
        .await
    }
}

/// Builds a snapshot of the state as it was when the builder was made.
pub(crate) struct SnapshotBuilder {
    machine: Machine,
    file: Arc<SnapshotFile>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let machine = self.machine.clone();
        let (meta, encoded) =
            blocking(ErrorVerb::Write, move || Ok(snapshot::encode(&machine))).await?;
        let encoded = Arc::new(encoded);
        self.file.save(meta.last_log_id, Arc::clone(&encoded)).await?;
        let index = meta.last_log_id.map(|id| id.index);
        tracing::info!(index, bytes = encoded.len(), "snapshot saved");
        let encoded = Arc::unwrap_or_clone(encoded);
        Ok(Snapshot { meta, snapshot: Box::new(encoded) })
    }
}

async fn blocking<T: Send + 'static>(
    verb: ErrorVerb,
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, StorageError> {
    let joined = tokio::task::spawn_blocking(work).await;
    let result = joined.map_err(|error| {
        let error = SnapshotError::Damaged(format!("the snapshot broke off: {error}"));
        snapshot_error(verb, &error)
    })?;
    result.map_err(|error| snapshot_error(verb, &error))
}

fn snapshot_error(verb: ErrorVerb, error: &SnapshotError) -> StorageError {
    tracing::error!(%error, "the snapshot has failed");
    let source = StorageIOError::new(ErrorSubject::Snapshot(None), verb, AnyError::new(error));
    StorageError::IO { source }
}
