//! Why a store cannot be opened or used.

use std::path::{Path, PathBuf};

use super::codec::DecodeError;
use super::machine::MachineError;
use super::sled_store::DatabaseError;
use super::snapshot::SnapshotError;

/// Why a store cannot be opened or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// No room.
    #[error("no room on the file system of {path}", path = path.display())]
    Full {
        /// A path on it.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{path} is open in another process", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Something is damaged or missing.
    #[error("{0}")]
    Damaged(String),
    /// The store belongs to another node.
    #[error("the store belongs to node {found}, not to node {expected}")]
    OtherNode {
        /// Node of the configuration.
        expected: u64,
        /// Node that the store was made for.
        found: u64,
    },
    /// What is stored is not known to this release.
    #[error(transparent)]
    Unreadable(#[from] MachineError),
    /// The file system fails.
    #[error("{path}: {reason}", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
    /// An earlier failure.
    #[error("the store has stopped after an earlier error")]
    Stopped,
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full { path } => Self::Full { path },
            DatabaseError::InUse { path } => Self::InUse { path },
            DatabaseError::Damaged(what) => Self::Damaged(what),
            DatabaseError::Io { path, reason } => Self::Io { path, reason },
        }
    }
}

impl From<DecodeError> for StoreError {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable(MachineError::Decode(error))
    }
}

impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Damaged(what) => Self::Damaged(what),
            SnapshotError::Unreadable(error) => Self::Unreadable(error),
            SnapshotError::Io { path, source } => Self::from_io(&path, &source),
        }
    }
}

impl StoreError {
    /// What the file system said about a path.
    pub(crate) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.to_owned() }
            }
            // Of the many other kinds of std's own enum none is handled in a way of its own.
            _ => Self::Io { path: path.to_owned(), reason: error.to_string() },
        }
    }
}
