//! A node's store: the log, the vote, the state machine and the high-water mark on disk, and their verification.
//!
//! Calls block on the disk; [`super::store_thread`] makes them. After an error the store must not be used any more.
//! The log's entries are records `e` + index, each its chain value and the encoded entry; see [`super::checksum`].

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fulcrum_proto::internal::v1;
use prost::Message as _;

use super::checksum::{self, CHAIN_START, Hash};
use super::codec::{decode_entry, encode_entry, log_id_to_wire, vote_to_wire};
use super::machine::{HEADER_KEY, Machine};
use super::mark::Mark;
use super::sled_store::{Changes, Database, Table};
use super::state::StateKey;
use super::steps::{Step, Steps};
use super::store_error::StoreError;
use super::types::{Entry, LogId, Vote};
use super::verify::{Bounds, VerifiedLog, VerifiedState};
use super::{snapshot, space};

pub(super) const IDENTITY_KEY: &[u8] = b"identity";
pub(super) const VOTE_KEY: &[u8] = b"vote";
pub(super) const BOUNDS_KEY: &[u8] = b"bounds";
/// Begins the keys of entries. No other key of the log begins with it.
pub(super) const ENTRY_PREFIX: &[u8] = b"e";

/// An open store.
pub(crate) struct Store {
    directory: PathBuf,
    database: Database,
    mark: Mark,
    mark_is_synced: bool,
    bounds: Bounds,
    /// Checksum of each record of the state, by key.
    state_checksums: BTreeMap<Vec<u8>, Hash>,
    state_digest: Hash,
    steps: Steps,
}

/// What an opened store holds.
pub(crate) struct Contents {
    /// UUID made with the store.
    pub(crate) store_id: String,
    /// The vote that was promised.
    pub(crate) vote: Option<Vote>,
    /// Last entry that was dropped.
    pub(crate) purged: Option<LogId>,
    /// The entries after it, each with its encoded length in bytes.
    pub(crate) entries: Vec<(Entry, usize)>,
    /// The state machine.
    pub(crate) machine: Machine,
    /// Last entry that the saved snapshot holds.
    pub(crate) snapshot_applied: Option<LogId>,
}

impl Store {
    /// Opens and verifies the store in a directory, or makes it. May panic where sled does, on a damaged file.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of a damaged store is used.
    pub(crate) fn open(
        directory: &Path,
        node_id: u64,
        new_store_id: String,
    ) -> Result<(Self, Contents), StoreError> {
        let io_error = |error: &std::io::Error| StoreError::from_io(directory, error);
        // The intent holds secrets, such as PASS texts.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| space::release_reserve(directory))
            .map_err(|error| io_error(&error))?;
        let mark_path = directory.join("mark");
        let mark = Mark::open(&mark_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                StoreError::Damaged(format!("neither slot of {} can be read", mark_path.display()))
            }
            // Of the many other kinds of std's own enum none is handled in a way of its own.
            _ => StoreError::from_io(&mark_path, &error),
        })?;
        let database = Database::open(&directory.join("db"))?;
        let found = VerifiedLog::read(&database)?;
        let identity = match (&found.identity, &mark) {
            (Some(identity), _) => identity.clone(),
            (None, None) => v1::StoreIdentity { node_id, store_id: new_store_id },
            (None, Some(_)) => {
                return Err(StoreError::Damaged(format!(
                    "{} holds no database, but its high-water mark is there",
                    directory.display()
                )));
            }
        };
        if identity.node_id != node_id {
            return Err(StoreError::OtherNode { expected: node_id, found: identity.node_id });
        }
        if found.identity.is_none() {
            let mut changes = Changes::default();
            changes.put(IDENTITY_KEY, identity.encode_to_vec());
            database.write(Table::Log, &changes)?;
            database.sync()?;
        }
        let mark = match mark {
            Some(mark) => mark,
            None if found.is_empty() => {
                let value =
                    v1::HighWaterMark { identity: Some(identity.clone()), ..Default::default() };
                Mark::create(&mark_path, value).map_err(|error| io_error(&error))?
            }
            None => {
                return Err(StoreError::Damaged(format!("{} is missing", mark_path.display())));
            }
        };
        found.check_mark(mark.value(), &identity)?;
        Self::with_state(directory, database, mark, found, identity)
    }

    fn with_state(
        directory: &Path,
        database: Database,
        mark: Mark,
        found: VerifiedLog,
        identity: v1::StoreIdentity,
    ) -> Result<(Self, Contents), StoreError> {
        let state = VerifiedState::read(&database)?;
        let snapshot = snapshot::load(directory)?;
        let mut store = Self {
            directory: directory.to_owned(),
            database,
            mark,
            mark_is_synced: true,
            bounds: found.bounds,
            state_checksums: state.checksums,
            state_digest: state.digest,
            steps: Steps::default(),
        };
        let mut machine = state.machine;
        let snapshot_applied = snapshot.as_ref().and_then(|snapshot| snapshot.applied);
        if let Some(snapshot) = snapshot
            && snapshot.applied > machine.applied
        {
            // The snapshot was saved, and the process ended before the state was replaced by it.
            store.replace_state(&snapshot)?;
            machine = snapshot;
        }
        let purged = store.bounds.purged.map(|(id, _)| id);
        if purged > machine.applied {
            return Err(StoreError::Damaged(format!(
                "the log begins after entry {}, but the state has only {}",
                purged.map_or(0, |id| id.index),
                machine.applied.map_or("none".to_owned(), |id| format!("entry {}", id.index)),
            )));
        }
        let contents = Contents {
            store_id: identity.store_id,
            vote: found.vote,
            purged,
            entries: found.entries,
            machine,
            snapshot_applied,
        };
        Ok((store, contents))
    }

    /// Has each step of its work told from now on.
    pub(crate) fn tell(&mut self, steps: Steps) {
        self.steps = steps;
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds entries, on stable storage when this returns, and gives them back with their encoded lengths. What is older
    /// than the log's beginning is skipped: a snapshot has it.
    ///
    /// # Errors
    /// [`StoreError`]; also when the entries do not follow the last one.
    pub(crate) fn append(
        &mut self,
        entries: Vec<Entry>,
    ) -> Result<Vec<(Entry, usize)>, StoreError> {
        let purged = self.bounds.purged.map(|(id, _)| id.index);
        let mut bounds = self.bounds.clone();
        let mut changes = Changes::default();
        let mut stored = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged) {
            let index = entry.log_id.index;
            let last = bounds.end().map(|(id, _)| id.index);
            if last.is_some_and(|last| last + 1 != index) {
                let last = last.unwrap_or_default();
                return Err(StoreError::Damaged(format!(
                    "entry {index} does not follow entry {last}"
                )));
            }
            let encoded = encode_entry(&entry);
            let chain = checksum::chain(&bounds.chain(), &encoded);
            changes.put(&entry_key(index), [&chain[..], &encoded].concat());
            if bounds.last.is_none() {
                bounds.first_index = index;
            }
            bounds.last = Some((entry.log_id, chain));
            stored.push((entry, encoded.len()));
        }
        changes.put(BOUNDS_KEY, bounds.to_wire().encode_to_vec());
        self.steps.at(Step::AppendBegins);
        self.database.write(Table::Log, &changes)?;
        self.steps.at(Step::AppendWritten);
        self.database.sync()?;
        self.steps.at(Step::AppendSynced);
        self.bounds = bounds;
        self.move_mark()?;
        self.steps.at(Step::AppendMarked);
        Ok(stored)
    }

    /// Notes the vote, on stable storage when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn save_vote(&mut self, vote: Vote) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        changes.put(VOTE_KEY, vote_to_wire(vote).encode_to_vec());
        self.database.write(Table::Log, &changes)?;
        self.steps.at(Step::VoteWritten);
        self.database.sync()?;
        self.steps.at(Step::VoteSynced);
        self.change_mark(|mark| mark.vote = Some(vote_to_wire(vote)))
    }

    /// Removes the entries from an index on, which another leader has replaced. Gives the last one that remains or was
    /// dropped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn truncate(&mut self, from_index: u64) -> Result<Option<LogId>, StoreError> {
        let end = |bounds: &Bounds| bounds.end().map(|(id, _)| id);
        let Some((last, _)) = self.bounds.last.filter(|(last, _)| from_index <= last.index) else {
            return Ok(end(&self.bounds));
        };
        let mut bounds = self.bounds.clone();
        bounds.last = if from_index > bounds.first_index {
            Some(self.entry_end(from_index - 1)?)
        } else {
            None
        };
        let before = std::mem::replace(&mut self.bounds, bounds);
        // The mark must never ask for what is gone, so it goes first.
        self.move_mark()?;
        self.sync_mark()?;
        self.steps.at(Step::TruncateMarked);
        self.remove_entries(from_index.max(before.first_index)..last.index + 1)?;
        Ok(end(&self.bounds))
    }

    /// Drops the entries up to one that a durable snapshot has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn purge(&mut self, upto: LogId) -> Result<(), StoreError> {
        if self.bounds.purged.is_some_and(|(purged, _)| purged >= upto) {
            return Ok(());
        }
        self.steps.at(Step::PurgeBegins);
        let first = self.bounds.first_index;
        if self.bounds.last.is_none_or(|(last, _)| upto >= last) {
            return self.purge_all(upto);
        }
        self.bounds.purged = if upto.index >= first {
            Some(self.entry_end(upto.index)?)
        } else if upto.index + 1 == first && self.bounds.purged.is_none() {
            Some((upto, CHAIN_START))
        } else {
            return Err(StoreError::Damaged(format!(
                "entry {} cannot be dropped from a log that begins with {first}",
                upto.index
            )));
        };
        self.bounds.first_index = upto.index + 1;
        self.remove_entries(first..upto.index + 1)
    }

    /// Drops the whole log: it ends at `upto`, or before it or otherwise where a snapshot was installed.
    fn purge_all(&mut self, upto: LogId) -> Result<(), StoreError> {
        let Bounds { first_index, last, .. } = self.bounds;
        let purged = last.filter(|(last, _)| *last == upto).unwrap_or((upto, CHAIN_START));
        if last != Some(purged) {
            // The mark must never ask for what is gone, so it goes first.
            self.bounds = Bounds::default();
            self.move_mark()?;
            self.sync_mark()?;
        }
        self.bounds = Bounds { purged: Some(purged), first_index: upto.index + 1, last: None };
        self.remove_entries(first_index..last.map_or(first_index, |(last, _)| last.index + 1))?;
        self.move_mark()
    }

    /// Writes what a batch of entries changed in the state. On stable storage with the next append or vote: until then
    /// the log has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn write_state(
        &mut self,
        header: v1::StateHeader,
        records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        // A key may be there twice; its value is the newest both times.
        let records: BTreeMap<_, _> = records.into_iter().collect();
        for (key, value) in records {
            if let Some(old) = self.state_checksums.remove(&key) {
                checksum::toggle(&mut self.state_digest, &old);
            }
            match value {
                Some(value) => {
                    let checksum = checksum::record(&key, &value);
                    checksum::toggle(&mut self.state_digest, &checksum);
                    self.state_checksums.insert(key.clone(), checksum);
                    changes.put.push((key, value));
                }
                None => changes.delete.push(key),
            }
        }
        let header = v1::StateHeader {
            records: self.state_checksums.len() as u64,
            digest: self.state_digest.to_vec(),
            ..header
        };
        changes.put(HEADER_KEY, header.encode_to_vec());
        self.steps.at(Step::ApplyBegins);
        self.database.write(Table::State, &changes)?;
        self.steps.at(Step::ApplyWritten);
        Ok(())
    }

    /// Replaces the whole state, on stable storage when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn replace_state(&mut self, machine: &Machine) -> Result<(), StoreError> {
        let mut records: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
            self.state_checksums.keys().map(|key| (key.clone(), None)).collect();
        records.extend(machine.keys().iter().map(|key: &StateKey| machine.record(key)));
        self.write_state(machine.header(), records.into_iter().collect())?;
        self.steps.at(Step::InstallWritten);
        self.sync()
    }

    /// Entries `from..to`, as many of them as fit `max_bytes` and at least one, verified.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some((last, _)) = self.bounds.last else { return Ok(Vec::new()) };
        let from = from.max(self.bounds.first_index);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in from..to.min(last.index + 1) {
            let record = self.entry_record(index)?;
            bytes += record.len();
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(decode_entry(&record[32..])?);
        }
        Ok(entries)
    }

    /// Returns when everything is on stable storage, the mark included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.database.sync()?;
        self.sync_mark()
    }

    /// Whether the mark would lose its newest value by power loss.
    pub(crate) fn is_mark_behind(&self) -> bool {
        !self.mark_is_synced
    }

    /// Returns when the mark is on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn sync_mark(&mut self) -> Result<(), StoreError> {
        if !self.mark_is_synced {
            self.mark.sync().map_err(|error| StoreError::from_io(&self.directory, &error))?;
            self.mark_is_synced = true;
        }
        Ok(())
    }

    fn remove_entries(&mut self, indexes: Range<u64>) -> Result<(), StoreError> {
        let mut changes = Changes { put: Vec::new(), delete: indexes.map(entry_key).collect() };
        changes.put(BOUNDS_KEY, self.bounds.to_wire().encode_to_vec());
        self.database.write(Table::Log, &changes)?;
        self.steps.at(Step::PurgeWritten);
        Ok(self.database.sync()?)
    }

    /// Log id and chain value of a stored entry.
    fn entry_end(&self, index: u64) -> Result<(LogId, Hash), StoreError> {
        let record = self.entry_record(index)?;
        let (chain, encoded) = record.split_at(32);
        let chain = checksum::from_slice(chain).unwrap_or(CHAIN_START);
        Ok((decode_entry(encoded)?.log_id, chain))
    }

    fn entry_record(&self, index: u64) -> Result<Vec<u8>, StoreError> {
        let record = self.database.get(Table::Log, &entry_key(index))?;
        record
            .filter(|record| record.len() >= 32)
            .ok_or_else(|| StoreError::Damaged(format!("entry {index} of the log is missing")))
    }

    fn move_mark(&mut self) -> Result<(), StoreError> {
        let end = self.bounds.end();
        self.change_mark(|mark| {
            mark.last = end.map(|(id, _)| log_id_to_wire(id));
            mark.last_chain = end.map_or_else(Vec::new, |(_, chain)| chain.to_vec());
        })
    }

    fn change_mark(
        &mut self,
        change: impl FnOnce(&mut v1::HighWaterMark),
    ) -> Result<(), StoreError> {
        self.mark_is_synced = false;
        self.mark.change(change).map_err(|error| StoreError::from_io(&self.directory, &error))
    }
}

/// Key of an entry's record.
pub(super) fn entry_key(index: u64) -> Vec<u8> {
    [ENTRY_PREFIX, &index.to_be_bytes()].concat()
}
