//! The backup: the intent with its history in one file, written part by part from a state that does not change meanwhile.
//!
//! It begins with [`MAGIC`]; each part is an encoded `BackupPart` after its length. The last part counts the others and has the SHA-256 of all before it,
//! so that a file that was cut off or changed anywhere is known. What concerns the controllers themselves (members, votes, stores) is not in it.

mod read;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use fulcrum_model::resource::ResourceKey;
use fulcrum_proto::convert::resource_to_wire;
use fulcrum_proto::internal::v1::backup_part::Part;
use fulcrum_proto::internal::v1::{AnsweredRequest, BackupEnd, BackupHead, BackupPart};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

pub use read::{BackupError, BackupInfo};
pub(crate) use read::{Loaded, load};

use super::revisions;
use super::state::IntentState;

/// Begins the file; the last digit is the format's version.
const MAGIC: &[u8; 8] = b"FULCBAK1";
/// Bytes of a chunk.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Largest part: as the largest record of a store.
const MAX_PART_BYTES: usize = super::sled_store::MAX_VALUE_BYTES;

/// Makes a backup's bytes, chunk by chunk. Holds a chunk and the largest record.
#[derive(Debug)]
pub struct BackupWriter {
    state: Arc<IntentState>,
    next: Next,
    /// Bytes that are encoded and not yet given.
    pending: Vec<u8>,
    hash: Sha256,
    end: BackupEnd,
    size_bytes: u64,
}

/// What is encoded next.
#[derive(Debug)]
enum Next {
    Head(BackupHead),
    /// Resources after this one.
    Resources(Option<ResourceKey>),
    /// Revisions from this place on.
    Revisions(usize),
    /// Requests from this place on.
    Requests(usize),
    End,
    Nothing,
}

/// What a whole backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Vec<u8>,
    /// Resources in it.
    pub resources: u64,
    /// Kept revisions in it.
    pub revisions: u64,
}

impl BackupWriter {
    /// Of a state, as controller `name` has it.
    pub fn new(state: Arc<IntentState>, name: &str, now: SystemTime) -> Self {
        let taken = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let head = BackupHead {
            cluster_id: state.cluster_id.clone(),
            incarnation: state.incarnation,
            revision: state.revision.0,
            time_ms: state.time_ms,
            controller: name.to_owned(),
            taken_ms: u64::try_from(taken.as_millis()).unwrap_or(u64::MAX),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut writer = Self {
            state,
            next: Next::Head(head),
            pending: Vec::new(),
            hash: Sha256::new(),
            end: BackupEnd::default(),
            size_bytes: 0,
        };
        writer.put(MAGIC);
        writer
    }

    /// The next bytes of the file, at most [`CHUNK_BYTES`]; `None` when there are no more.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        while self.pending.len() < CHUNK_BYTES {
            match self.part() {
                Some(part) => self.put_part(part),
                None if self.pending.is_empty() => return None,
                None => break,
            }
        }
        let rest = self.pending.split_off(self.pending.len().min(CHUNK_BYTES));
        Some(std::mem::replace(&mut self.pending, rest))
    }

    /// What it was, once there are no more chunks.
    pub fn summary(&self) -> Summary {
        Summary {
            size_bytes: self.size_bytes,
            sha256: self.hash.clone().finalize().to_vec(),
            resources: self.end.resources,
            revisions: self.end.revisions,
        }
    }

    fn part(&mut self) -> Option<Part> {
        let state = Arc::clone(&self.state);
        loop {
            match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Head(head) => {
                    self.next = Next::Resources(None);
                    return Some(Part::Head(head));
                }
                Next::Resources(told) => {
                    let from = told.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                    let mut rest =
                        state.resources.range::<ResourceKey, _>((from, Bound::Unbounded));
                    let Some((key, resource)) = rest.next() else {
                        self.next = Next::Revisions(0);
                        continue;
                    };
                    self.next = Next::Resources(Some(key.clone()));
                    self.end.resources += 1;
                    return Some(Part::Resource(resource_to_wire(resource)));
                }
                Next::Revisions(place) => {
                    let Some(entry) = state.history.oldest_first().nth(place) else {
                        self.next = Next::Requests(0);
                        continue;
                    };
                    self.next = Next::Revisions(place + 1);
                    self.end.revisions += 1;
                    return Some(Part::Revision(revisions::to_wire(entry)));
                }
                Next::Requests(place) => {
                    let Some((id, revision)) = state.requests.at(place) else {
                        self.next = Next::End;
                        continue;
                    };
                    self.next = Next::Requests(place + 1);
                    self.end.requests += 1;
                    let request_id = id.to_owned();
                    return Some(Part::Request(AnsweredRequest {
                        request_id,
                        revision: revision.0,
                    }));
                }
                Next::End => {
                    let sha256 = self.hash.clone().finalize().to_vec();
                    return Some(Part::End(BackupEnd { sha256, ..self.end.clone() }));
                }
                Next::Nothing => return None,
            }
        }
    }

    fn put_part(&mut self, part: Part) {
        let encoded = BackupPart { part: Some(part) }.encode_to_vec();
        // What a store holds fits a record, which is far smaller.
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        self.put(&length.to_be_bytes());
        self.put(&encoded);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
    }
}
