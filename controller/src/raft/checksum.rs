//! Checksums of what is stored, and the chain that ties each log entry to all before it.
//!
//! A database that was damaged can open with entries missing. Each entry's chain value is the SHA-256 of the previous
//! entry's chain value and its own bytes, so that a missing, changed or exchanged entry breaks every value after it.

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The chain value before the first entry, and after a snapshot has replaced the log.
pub(crate) const CHAIN_START: Hash = [0; 32];

/// The chain value of an entry.
pub(crate) fn chain(previous: &Hash, entry: &[u8]) -> Hash {
    Sha256::new().chain_update(previous).chain_update(entry).finalize().into()
}

/// The checksum of a record under its key.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Hash {
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(key).chain_update(value).finalize().into()
}

/// The checksum of bytes that stand alone.
pub(crate) fn bytes(value: &[u8]) -> Hash {
    Sha256::digest(value).into()
}

/// Adds a record to a digest over a set of records, or takes it out again: the order does not matter.
pub(crate) fn toggle(digest: &mut Hash, record: &Hash) {
    for (sum, byte) in digest.iter_mut().zip(record) {
        *sum ^= byte;
    }
}

/// A hash from the disk or the wire; `None` unless it has 32 bytes.
pub(crate) fn from_slice(slice: &[u8]) -> Option<Hash> {
    slice.try_into().ok()
}
