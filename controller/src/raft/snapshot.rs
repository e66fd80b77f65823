//! The snapshot: the whole state in one file, from which the log may be dropped and a follower brought up to date.

use std::io;
use std::path::{Path, PathBuf};

use fulcrum_proto::internal::v1;
use prost::Message as _;

use super::checksum;
use super::codec::{DecodeError, decode};
use super::machine::{Machine, MachineError};
use super::types::SnapshotMeta;

/// Largest encoded snapshot: bounds what a peer can make us hold. A hundred thousand resources are some 20 MiB.
pub(crate) const MAX_SNAPSHOT_BYTES: usize = 256 << 20;
/// Begins the file; the last digit is the format's version.
const MAGIC: &[u8; 8] = b"FULCSNP1";
/// Magic and checksum.
const HEADER_BYTES: usize = 8 + 32;

/// Why a snapshot cannot be saved or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// Not as it was written.
    #[error("{0}")]
    Damaged(String),
    /// This release does not know what it holds.
    #[error(transparent)]
    Unreadable(#[from] MachineError),
    /// The file system fails.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<DecodeError> for SnapshotError {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable(MachineError::Decode(error))
    }
}

/// Reads the state from the snapshot in a store's directory; `None` when there is none.
///
/// # Errors
/// [`SnapshotError`].
pub(crate) fn load(directory: &Path) -> Result<Option<Machine>, SnapshotError> {
    let Some(encoded) = read(directory)? else { return Ok(None) };
    Ok(Some(Machine::from_snapshot(&decode("a snapshot", &encoded)?)?))
}

/// Reads the encoded snapshot in a store's directory; `None` when there is none.
///
/// # Errors
/// [`SnapshotError`] when it is not as it was written.
pub(crate) fn read(directory: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    let path = path(directory);
    let mut bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SnapshotError::Io { path, source }),
    };
    let damaged = |what: &str| SnapshotError::Damaged(format!("{} {what}", path.display()));
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC[..] {
        return Err(damaged("is no snapshot"));
    }
    let encoded = bytes.split_off(HEADER_BYTES);
    if checksum::bytes(&encoded) != bytes[8..] {
        return Err(damaged("does not match its checksum"));
    }
    Ok(Some(encoded))
}

/// Replaces the snapshot in a store's directory, on stable storage when this returns.
///
/// # Errors
/// [`SnapshotError::Io`]; the old snapshot then still stands.
pub(crate) fn write(directory: &Path, encoded: &[u8]) -> Result<(), SnapshotError> {
    let path = path(directory);
    let bytes = [&MAGIC[..], &checksum::bytes(encoded), encoded].concat();
    fulcrum_runtime::durable::write_atomic(&path, &bytes)
        .map_err(|source| SnapshotError::Io { path, source })
}

/// Decodes a snapshot and tells openraft what it is.
///
/// # Errors
/// [`SnapshotError`] when this release cannot read it.
pub(crate) fn parse(encoded: &[u8]) -> Result<(SnapshotMeta, Machine), SnapshotError> {
    let wire: v1::Snapshot = decode("a snapshot", encoded)?;
    let machine = Machine::from_snapshot(&wire)?;
    Ok((meta(&machine, wire.snapshot_id), machine))
}

/// Encodes the state as a snapshot of a new id.
pub(crate) fn encode(machine: &Machine) -> (SnapshotMeta, Vec<u8>) {
    let snapshot_id = uuid::Uuid::new_v4().to_string();
    let encoded = machine.to_snapshot(snapshot_id.clone()).encode_to_vec();
    (meta(machine, snapshot_id), encoded)
}

fn meta(machine: &Machine, snapshot_id: String) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: machine.applied,
        last_membership: machine.membership.clone(),
        snapshot_id,
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("snapshot")
}
