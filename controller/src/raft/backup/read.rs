//! Reads a backup: first whether it is whole, then what it holds.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::backup_part::Part;
use fulcrum_proto::internal::v1::{BackupEnd, BackupHead, BackupPart};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{MAGIC, MAX_PART_BYTES};
use crate::raft::machine::{MachineError, resource_from_state};
use crate::raft::revisions;
use crate::raft::state::IntentState;

/// Why a backup cannot be used. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another file.
    #[error("{path} is no backup of Fulcrum: give a file that `lvsctl backup` wrote", path = path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// Not as it was written.
    #[error("{path} is damaged: {what}. Use another backup; nothing was restored", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer release wrote it.
    #[error(
        "{path} is whole, but this release cannot read it: {reason}. Restore it with the release that wrote it ({version}) or a newer one",
        path = path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The release that wrote it.
        version: String,
        /// What cannot be read.
        reason: String,
    },
    /// The file system fails.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a whole backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The cluster.
    pub cluster_id: String,
    /// Its incarnation then.
    pub incarnation: u64,
    /// Revision of the intent.
    pub revision: u64,
    /// Name of the controller that it was taken from.
    pub controller: String,
    /// When, in milliseconds since 1970.
    pub taken_ms: u64,
    /// Resources.
    pub resources: u64,
    /// Kept revisions.
    pub revisions: u64,
}

/// What it holds.
pub(crate) struct Loaded {
    pub(crate) info: BackupInfo,
    pub(crate) intent: IntentState,
}

/// Verifies a backup and reads it.
///
/// # Errors
/// [`BackupError`]. Nothing of a file that is not whole is used.
pub(crate) fn load(path: &Path) -> Result<Loaded, BackupError> {
    let io_error = |source| BackupError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io_error)?);
    let (head, end) = verify(&mut file, path)?;
    file.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let info = BackupInfo {
        cluster_id: head.cluster_id.clone(),
        incarnation: head.incarnation,
        revision: head.revision,
        controller: head.controller.clone(),
        taken_ms: head.taken_ms,
        resources: end.resources,
        revisions: end.revisions,
    };
    let mut parts = Parts::begin(&mut file, path)?;
    let mut intent = IntentState {
        cluster_id: head.cluster_id,
        incarnation: head.incarnation,
        revision: Revision(head.revision),
        time_ms: head.time_ms,
        ..IntentState::default()
    };
    let mut requests = 0;
    while let Some(part) = parts.next()? {
        let is_last = matches!(part, Part::End(_));
        add(&mut intent, part, &mut requests).map_err(|error| BackupError::Unreadable {
            path: path.to_owned(),
            version: head.program_version.clone(),
            reason: error.to_string(),
        })?;
        if is_last {
            break;
        }
    }
    Ok(Loaded { info, intent })
}

fn add(intent: &mut IntentState, part: Part, requests: &mut u64) -> Result<(), MachineError> {
    match part {
        Part::Head(_) | Part::End(_) => {}
        Part::Resource(wire) => {
            let resource = resource_from_state(&wire)?;
            intent.resources.insert(resource.key(), resource);
        }
        Part::Revision(wire) => {
            intent.history.restore(revisions::from_wire(&wire));
        }
        Part::Request(wire) => {
            intent.requests.restore(*requests, wire.request_id, Revision(wire.revision));
            *requests += 1;
        }
    }
    Ok(())
}

/// Reads the whole file without using what it holds.
fn verify(file: &mut impl Read, path: &Path) -> Result<(BackupHead, BackupEnd), BackupError> {
    let damaged =
        |what: &str| BackupError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let mut parts = Parts::begin(file, path)?;
    let Some(Part::Head(head)) = parts.next()? else {
        return Err(damaged("it does not begin with what it is of"));
    };
    let mut counted = BackupEnd::default();
    let end = loop {
        let before = parts.hash.clone();
        match parts.next()? {
            Some(Part::Resource(_)) => counted.resources += 1,
            Some(Part::Revision(_)) => counted.revisions += 1,
            Some(Part::Request(_)) => counted.requests += 1,
            Some(Part::End(end)) => {
                counted.sha256 = before.finalize().to_vec();
                break end;
            }
            Some(Part::Head(_)) => return Err(damaged("it begins twice")),
            None => return Err(damaged("its end is missing: it was cut off")),
        }
    };
    if counted.sha256 != end.sha256 {
        return Err(damaged("it does not match its checksum"));
    }
    if counted != end {
        return Err(damaged("it has not as many parts as it says"));
    }
    let mut rest = [0];
    match parts.file.read(&mut rest) {
        Ok(0) => Ok((head, end)),
        Ok(_) => Err(damaged("something follows its end")),
        Err(source) => Err(BackupError::Io { path: path.to_owned(), source }),
    }
}

/// The parts of a file, one after the other.
struct Parts<'a, R> {
    file: &'a mut R,
    path: &'a Path,
    /// Of all bytes read so far.
    hash: Sha256,
    number: u64,
}

impl<'a, R: Read> Parts<'a, R> {
    fn begin(file: &'a mut R, path: &'a Path) -> Result<Self, BackupError> {
        let mut magic = [0; 8];
        let is_read = read_all(file, &mut magic);
        let is_read =
            is_read.map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
        if !is_read || magic != *MAGIC {
            return Err(BackupError::NoBackup { path: path.to_owned() });
        }
        Ok(Self { file, path, hash: Sha256::new_with_prefix(magic), number: 0 })
    }

    /// The next part; `None` at the end of the file, even within a part.
    fn next(&mut self) -> Result<Option<Part>, BackupError> {
        let io_error = |source| BackupError::Io { path: self.path.to_owned(), source };
        let damaged = |what: String| BackupError::Damaged { path: self.path.to_owned(), what };
        let mut prefix = [0; 4];
        if !read_all(self.file, &mut prefix).map_err(io_error)? {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if length > MAX_PART_BYTES {
            return Err(damaged(format!("part {number} claims {length} bytes")));
        }
        // Grows with what is there, not with what is announced.
        let mut bytes = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        self.file.by_ref().take(limit).read_to_end(&mut bytes).map_err(io_error)?;
        if bytes.len() < length {
            return Ok(None);
        }
        self.hash.update(prefix);
        self.hash.update(&bytes);
        let part = BackupPart::decode(&*bytes).ok().and_then(|part| part.part);
        part.map(Some).ok_or_else(|| damaged(format!("part {number} cannot be read")))
    }
}

/// Fills the buffer; `false` when the file ends before.
fn read_all(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
