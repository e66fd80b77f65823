//! openraft's log storage: the store on disk, with the newest entries in memory.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader, StorageIOError};

use super::store_error::StoreError;
use super::store_thread::StoreHandle;
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};

/// Entries in memory, as encoded. What is older is read from the disk.
const CACHE_BYTES: usize = 32 << 20;
/// Entries sent to a follower at once, as encoded: a follower must take them well within a heartbeat.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The log. Cheap to clone: a clone reads for a replication task.
#[derive(Clone)]
pub(crate) struct LogStore {
    store: StoreHandle,
    cache: Arc<Mutex<LogCache>>,
}

/// What of the log is in memory: its ends, the vote, and the newest entries.
#[derive(Debug, Default)]
pub(crate) struct LogCache {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Consecutive, the newest last, each with its encoded length.
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl LogCache {
    /// As an opened store has it.
    pub(crate) fn new(
        vote: Option<Vote>,
        purged: Option<LogId>,
        entries: Vec<(Entry, usize)>,
    ) -> Self {
        let mut cache = Self { vote, purged, last: purged, ..Self::default() };
        for (entry, length) in entries {
            cache.push(entry, length);
        }
        cache
    }

    fn push(&mut self, entry: Entry, length: usize) {
        self.last = Some(entry.log_id);
        self.bytes += length;
        self.entries.push_back((entry, length));
        while self.bytes > CACHE_BYTES && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, length)) = self.entries.pop_front() {
            self.bytes -= length;
        }
    }

    fn truncate(&mut self, from_index: u64, before: Option<LogId>) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= from_index) {
            if let Some((_, length)) = self.entries.pop_back() {
                self.bytes -= length;
            }
        }
        self.last = before;
    }

    fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id <= upto) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
    }

    /// The entries of the range, up to `max_bytes` and at least one; `None` when some are on disk only.
    fn get(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front().map_or(u64::MAX, |(entry, _)| entry.log_id.index);
        if from < first {
            return (from >= to).then(Vec::new);
        }
        let skip = usize::try_from(from - first).ok()?;
        let count = usize::try_from(to.saturating_sub(from)).ok()?;
        let mut bytes = 0;
        let fitting = self.entries.iter().skip(skip).take(count).take_while(|(_, length)| {
            let is_first = bytes == 0;
            bytes += length;
            is_first || bytes <= max_bytes
        });
        Some(fitting.map(|(entry, _)| entry.clone()).collect())
    }
}

impl LogStore {
    pub(crate) fn new(store: StoreHandle, cache: LogCache) -> Self {
        Self { store, cache: Arc::new(Mutex::new(cache)) }
    }

    /// Whether there is, or was, an entry.
    pub(crate) fn has_entries(&self) -> bool {
        self.cache().last.is_some()
    }

    /// Whether nothing was ever stored.
    pub(crate) fn is_empty(&self) -> bool {
        let cache = self.cache();
        cache.vote.is_none() && cache.last.is_none()
    }

    fn cache(&self) -> MutexGuard<'_, LogCache> {
        // No step under the lock leaves the cache half-changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let (from, to, cached) = {
            let cache = self.cache();
            let first = cache.purged.map_or(0, |purged| purged.index + 1);
            let (from, to) = (from.max(first), to.min(cache.last.map_or(0, |last| last.index + 1)));
            (from, to, cache.get(from, to, max_bytes))
        };
        match cached {
            Some(entries) => Ok(entries),
            None => self
                .store
                .run(move |store| store.read(from, to, max_bytes))
                .await
                .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Read, &error)),
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, MAX_BATCH_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let cache = self.cache();
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id: cache.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.store
            .run(move |store| store.save_vote(vote))
            .await
            .map_err(|error| storage_error(ErrorSubject::Vote, ErrorVerb::Write, &error))?;
        self.cache().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.cache().vote)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let appended = self
            .store
            .run(move |store| store.append(entries))
            .await
            .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Write, &error))?;
        {
            let mut cache = self.cache();
            for (entry, length) in appended {
                cache.push(entry, length);
            }
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let before = self
            .store
            .run(move |store| store.truncate(log_id.index))
            .await
            .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))?;
        self.cache().truncate(log_id.index, before);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.store
            .run(move |store| store.purge(log_id))
            .await
            .map_err(|error| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))?;
        self.cache().purge(log_id);
        Ok(())
    }
}

/// What openraft is told. It stops the node; why is kept by the store's thread.
pub(crate) fn storage_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &StoreError,
) -> StorageError {
    StorageError::IO { source: StorageIOError::new(subject, verb, AnyError::new(error)) }
}
