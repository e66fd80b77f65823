//! Records in a sled database. The one file that names sled.
//!
//! What sled is trusted with is little: it may lose what was not synced, and a damaged file may open with records missing
//! or make it panic. So every record carries its own checksum, [`Database::sync`] goes on to the disk itself (sled's flush
//! is no barrier against power loss), and whoever stores several records checks that none is missing. Values are cut
//! into pieces, for sled puts what does not fit a quarter of a segment into files that it never syncs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::checksum::{self, Hash};

/// Bytes of a piece. A leaf of sled holds up to 17 records, and must stay below 128 KiB.
const PIECE_BYTES: usize = 4096;
/// Bytes of the number that ends a piece's key.
const PIECE_NUMBER_BYTES: usize = 4;
/// Length and checksum before the value, in its first piece.
const HEADER_BYTES: usize = 8 + 32;
/// Largest value: bounds what a damaged length can make us read.
pub(crate) const MAX_VALUE_BYTES: usize = 48 << 20;
/// sled's page cache. What is read often is kept decoded above.
const CACHE_BYTES: u64 = 32 << 20;
/// What was not synced on purpose (the applied state) is written out this often.
const FLUSH_EVERY_MS: u64 = 500;

/// A file that is still locked after this long is used by another process.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks at the lock.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why the database did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// No room on the file system.
    #[error("no room on the file system of {path}", path = path.display())]
    Full {
        /// The database's directory.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{path} is open in another process", path = path.display())]
    InUse {
        /// The database's directory.
        path: PathBuf,
    },
    /// Records are damaged or missing.
    #[error("{0}")]
    Damaged(String),
    /// The file system fails.
    #[error("{path}: {reason}", path = path.display())]
    Io {
        /// The database's directory.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
}

/// What is kept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The Raft log, with the vote.
    Log,
    /// The state machine.
    State,
}

/// Records to write and to remove, all or none of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Keys and values.
    pub(crate) put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys.
    pub(crate) delete: Vec<Vec<u8>>,
}

impl Changes {
    /// Adds a record to write.
    pub(crate) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.put.push((key.to_vec(), value));
    }
}

/// An open database.
pub(crate) struct Database {
    path: PathBuf,
    db: sled::Db,
    log: sled::Tree,
    state: sled::Tree,
    /// A second handle on sled's file, to sync it.
    file: File,
}

impl Database {
    /// Opens the database in a directory, which is made if it is missing. May panic on a damaged file.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let io_error = |error: &io::Error| from_io(path, error);
        let is_new = !path.exists();
        let db = open_unlocked(path)?;
        let file = File::open(path.join("db")).map_err(|error| io_error(&error))?;
        let tree = |name: &str| db.open_tree(name).map_err(|error| from_sled(path, error));
        let database =
            Self { path: path.to_owned(), log: tree("log")?, state: tree("state")?, db, file };
        database.sync()?;
        if is_new {
            for directory in [Some(path), path.parent()].into_iter().flatten() {
                File::open(directory)
                    .and_then(|directory| directory.sync_all())
                    .map_err(|error| io_error(&error))?;
            }
        }
        Ok(database)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`] when it is there but not as it was written.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DatabaseError> {
        let tree = self.tree(table);
        let Some(first) = tree.get(piece_key(key, 0)).map_err(|e| from_sled(&self.path, e))? else {
            return Ok(None);
        };
        let mut reader = Reader::new(table, key, &first)?;
        for number in 1..reader.pieces {
            let piece = tree
                .get(piece_key(key, number))
                .map_err(|error| from_sled(&self.path, error))?
                .ok_or_else(|| reader.damaged("lacks a piece"))?;
            reader.add(&piece)?;
        }
        reader.finish().map(|(value, _)| Some(value))
    }

    /// All records whose keys begin with `prefix`, by key: key, value and checksum go to `each`.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`] at the first record that is not as it was written, and what `each` returns.
    pub(crate) fn scan<E: From<DatabaseError>>(
        &self,
        table: Table,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], Vec<u8>, Hash) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader: Option<Reader> = None;
        for piece in self.tree(table).scan_prefix(prefix) {
            let (piece_key, piece) = piece.map_err(|error| from_sled(&self.path, error))?;
            let (key, number) = split_key(table, &piece_key)?;
            let current = match reader.take() {
                None if number == 0 => Reader::new(table, key, &piece)?,
                Some(mut current) if current.key == key && number == current.next => {
                    current.add(&piece)?;
                    current
                }
                Some(current) => return Err(current.damaged("lacks a piece").into()),
                None => return Err(damaged(table, key, "lacks its beginning").into()),
            };
            if current.next == current.pieces {
                let key = current.key.clone();
                let (value, checksum) = current.finish()?;
                each(&key, value, checksum)?;
            } else {
                reader = Some(current);
            }
        }
        match reader {
            Some(reader) => Err(reader.damaged("lacks a piece").into()),
            None => Ok(()),
        }
    }

    /// Writes and removes, all or nothing. Not on stable storage before [`Self::sync`]. Gives the checksums of the
    /// written records, in their order.
    ///
    /// # Errors
    /// [`DatabaseError`]; then the database must not be used any more.
    pub(crate) fn write(
        &self,
        table: Table,
        changes: &Changes,
    ) -> Result<Vec<Hash>, DatabaseError> {
        let tree = self.tree(table);
        let mut batch = sled::Batch::default();
        let mut checksums = Vec::with_capacity(changes.put.len());
        for (key, value) in &changes.put {
            let old_pieces = self.pieces_of(tree, key)?;
            let checksum = checksum::record(key, value);
            let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
            bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
            bytes.extend_from_slice(&checksum);
            bytes.extend_from_slice(value);
            let pieces = pieces(value.len());
            for (number, piece) in (0..pieces).zip(bytes.chunks(PIECE_BYTES)) {
                batch.insert(piece_key(key, number), piece);
            }
            for number in pieces..old_pieces {
                batch.remove(piece_key(key, number));
            }
            checksums.push(checksum);
        }
        for key in &changes.delete {
            for number in 0..self.pieces_of(tree, key)? {
                batch.remove(piece_key(key, number));
            }
        }
        tree.apply_batch(batch).map_err(|error| from_sled(&self.path, error))?;
        Ok(checksums)
    }

    /// Returns when everything written is on stable storage.
    ///
    /// # Errors
    /// [`DatabaseError`]; then the database must not be used any more.
    pub(crate) fn sync(&self) -> Result<(), DatabaseError> {
        self.db.flush().map_err(|error| from_sled(&self.path, error))?;
        // sled's flush ends in sync_file_range, which reaches neither the file's length nor the disk's cache.
        self.file.sync_data().map_err(|error| from_io(&self.path, &error))
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        match table {
            Table::Log => &self.log,
            Table::State => &self.state,
        }
    }

    /// How many pieces a record has; 0 when there is none.
    fn pieces_of(&self, tree: &sled::Tree, key: &[u8]) -> Result<u32, DatabaseError> {
        let first = tree.get(piece_key(key, 0)).map_err(|error| from_sled(&self.path, error))?;
        Ok(first.and_then(|piece| stored_length(&piece)).map_or(0, pieces))
    }
}

/// Opens sled's file once it is unlocked: sled unlocks it a moment after it was closed.
fn open_unlocked(path: &Path) -> Result<sled::Db, DatabaseError> {
    let begun = Instant::now();
    loop {
        let opened = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .print_profile_on_drop(false)
            .open()
            .map_err(|error| from_sled(path, error));
        match opened {
            Err(DatabaseError::InUse { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
            }
            Ok(_) | Err(_) => return opened,
        }
    }
}

/// Puts a record together from its pieces.
struct Reader {
    table: Table,
    key: Vec<u8>,
    length: usize,
    checksum: Hash,
    pieces: u32,
    next: u32,
    value: Vec<u8>,
}

impl Reader {
    fn new(table: Table, key: &[u8], first: &[u8]) -> Result<Self, DatabaseError> {
        let damaged = || damaged(table, key, "has no header");
        let length = stored_length(first).ok_or_else(damaged)?;
        let header = first.get(..HEADER_BYTES).ok_or_else(damaged)?;
        let checksum = checksum::from_slice(&header[8..]).ok_or_else(damaged)?;
        let value = first[HEADER_BYTES..].to_vec();
        let pieces = pieces(length);
        Ok(Self { table, key: key.to_vec(), length, checksum, pieces, next: 1, value })
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), DatabaseError> {
        if self.value.len() + piece.len() > self.length {
            return Err(self.damaged("is longer than its header says"));
        }
        self.value.extend_from_slice(piece);
        self.next += 1;
        Ok(())
    }

    fn finish(self) -> Result<(Vec<u8>, Hash), DatabaseError> {
        if self.value.len() != self.length {
            return Err(self.damaged("has not the length that its header says"));
        }
        if checksum::record(&self.key, &self.value) != self.checksum {
            return Err(self.damaged("does not match its checksum"));
        }
        Ok((self.value, self.checksum))
    }

    fn damaged(&self, what: &str) -> DatabaseError {
        damaged(self.table, &self.key, what)
    }
}

fn damaged(table: Table, key: &[u8], what: &str) -> DatabaseError {
    DatabaseError::Damaged(format!("record {} of the {table:?} table {what}", hex(key)))
}

/// The length that a first piece tells, if it can be one.
fn stored_length(first: &[u8]) -> Option<usize> {
    let bytes: [u8; 8] = first.get(..8)?.try_into().ok()?;
    usize::try_from(u64::from_be_bytes(bytes)).ok().filter(|length| *length <= MAX_VALUE_BYTES)
}

/// Pieces of a value of that many bytes.
fn pieces(length: usize) -> u32 {
    u32::try_from((HEADER_BYTES + length).div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

fn split_key(table: Table, piece_key: &[u8]) -> Result<(&[u8], u32), DatabaseError> {
    let at = piece_key.len().saturating_sub(PIECE_NUMBER_BYTES);
    let (key, number) = piece_key.split_at(at);
    let number = number.try_into().map_err(|_| damaged(table, piece_key, "has no key"))?;
    Ok((key, u32::from_be_bytes(number)))
}

fn from_sled(path: &Path, error: sled::Error) -> DatabaseError {
    match error {
        sled::Error::Io(error) => from_io(path, &error),
        sled::Error::Corruption { .. } => {
            DatabaseError::Damaged(format!("{} is damaged: {error}", path.display()))
        }
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => {
            DatabaseError::Io { path: path.to_owned(), reason: error.to_string() }
        }
    }
}

fn from_io(path: &Path, error: &io::Error) -> DatabaseError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DatabaseError::Full { path },
        io::ErrorKind::WouldBlock => DatabaseError::InUse { path },
        // Of the many other kinds of std's own enum none is handled in a way of its own.
        _ if error.to_string().contains("could not acquire lock") => DatabaseError::InUse { path },
        _ => DatabaseError::Io { path, reason: error.to_string() },
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
