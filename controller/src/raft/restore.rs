//! Makes a store of a backup: the only one of a new cluster, which the other controllers then join.
//!
//! The restored cluster keeps its UUID, so that agents go on with it, and gets a greater incarnation, so that they take its plans although the revisions
//! begin further back, and so that no controller with a store from before takes part. Its log goes on after the revision that was restored.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openraft::CommittedLeaderId;

use super::backup::{self, BackupError, BackupInfo, Loaded};
use super::machine::Machine;
use super::snapshot;
use super::store::Store;
use super::store_error::StoreError;
use super::types::{LogId, Membership, StoredMembership, Vote};

/// Term of the last entry that a restored store claims. The first election is for the next one.
const TERM: u64 = 1;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup is of.
    pub backup: BackupInfo,
    /// The incarnation that begins.
    pub incarnation: u64,
    /// The store.
    pub directory: PathBuf,
}

/// Why nothing was restored. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is a store already.
    #[error(
        "{directory} exists: a backup is restored where no store is. Stop the controller, move {directory} away, and restore again; nothing \
         was changed",
        directory = directory.display()
    )]
    NotEmpty {
        /// The store.
        directory: PathBuf,
    },
    /// The store cannot be made.
    #[error("cannot make the store {directory}: {reason}; nothing was restored", directory = directory.display())]
    Store {
        /// The store.
        directory: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Verifies a backup and tells what it is of.
///
/// # Errors
/// [`BackupError`].
pub fn check_backup(file: &Path) -> Result<BackupInfo, BackupError> {
    backup::load(file).map(|loaded| loaded.info)
}

/// Makes the store of node `node_id` in `raft` below `data_dir`, with that node as the only voter. It is there whole or not at all.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    file: &Path,
    data_dir: &Path,
    node_id: u64,
    now: SystemTime,
) -> Result<Restored, RestoreError> {
    let directory = data_dir.join("raft");
    if directory.symlink_metadata().is_ok() {
        return Err(RestoreError::NotEmpty { directory });
    }
    let Loaded { info, intent } = backup::load(file)?;
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The clock makes those of two restores of one backup differ.
    let incarnation = seconds.max(intent.incarnation + 1);
    let mut machine = Machine::default();
    *machine.intent.edit() = intent;
    machine.intent.edit().incarnation = incarnation;
    let applied = LogId::new(CommittedLeaderId::new(TERM, node_id), info.revision.max(1));
    machine.applied = Some(applied);
    let membership = Membership::new(vec![BTreeSet::from([node_id])], None);
    machine.membership = StoredMembership::new(Some(applied), membership);

    let unfinished = data_dir.join("raft.restoring");
    make(&unfinished, node_id, &machine)
        .and_then(|()| {
            publish(&unfinished, &directory).map_err(|e| StoreError::from_io(&directory, &e))
        })
        .map_err(|error| {
            // What is left of it is no store, and goes with the next attempt if not now.
            let _ = fs::remove_dir_all(&unfinished);
            RestoreError::Store { directory: directory.clone(), reason: error.to_string() }
        })?;
    Ok(Restored { backup: info, incarnation, directory })
}

fn make(directory: &Path, node_id: u64, machine: &Machine) -> Result<(), StoreError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::from_io(directory, &error)),
    }
    let (mut store, _) = Store::open(directory, node_id, uuid::Uuid::new_v4().to_string())?;
    store.save_vote(Vote::new(TERM, node_id))?;
    store.replace_state(machine)?;
    snapshot::write(directory, &snapshot::encode(machine).1)?;
    if let Some(applied) = machine.applied {
        store.purge(applied)?;
    }
    store.sync()
}

fn publish(unfinished: &Path, directory: &Path) -> io::Result<()> {
    fs::rename(unfinished, directory)?;
    match directory.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
