//! What a store must be before it is used: the log whole and chained, the state as it was counted, nothing below the mark.

use std::collections::BTreeMap;

use fulcrum_proto::internal::v1;

use super::checksum::{self, CHAIN_START, Hash};
use super::codec::{decode, decode_entry, log_id_from_wire, log_id_to_wire, vote_from_wire};
use super::machine::{HEADER_KEY, Machine};
use super::sled_store::{Database, Table};
use super::store::{BOUNDS_KEY, ENTRY_PREFIX, IDENTITY_KEY, VOTE_KEY, entry_key};
use super::store_error::StoreError;
use super::types::{Entry, LogId, Vote};

/// Both ends of the stored log.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    /// Last entry that was dropped, with its chain value.
    pub(super) purged: Option<(LogId, Hash)>,
    /// Index of the first entry; only with `last`.
    pub(super) first_index: u64,
    /// Last entry, with its chain value.
    pub(super) last: Option<(LogId, Hash)>,
}

impl Bounds {
    /// The chain value that the next entry builds on.
    pub(super) fn chain(&self) -> Hash {
        self.last.or(self.purged).map_or(CHAIN_START, |(_, chain)| chain)
    }

    /// The last entry that there ever was.
    pub(super) fn end(&self) -> Option<(LogId, Hash)> {
        self.last.or(self.purged)
    }

    pub(super) fn to_wire(&self) -> v1::LogBounds {
        let id = |end: Option<(LogId, Hash)>| end.map(|(id, _)| log_id_to_wire(id));
        let chain = |end: Option<(LogId, Hash)>| end.map_or_else(Vec::new, |(_, c)| c.to_vec());
        v1::LogBounds {
            purged: id(self.purged),
            purged_chain: chain(self.purged),
            first_index: self.first_index,
            last: id(self.last),
            last_chain: chain(self.last),
        }
    }

    fn from_wire(wire: &v1::LogBounds) -> Option<Self> {
        let end = |id: Option<v1::LogId>, chain: &[u8]| match id {
            None => Some(None),
            Some(id) => Some(Some((log_id_from_wire(id), checksum::from_slice(chain)?))),
        };
        Some(Self {
            purged: end(wire.purged, &wire.purged_chain)?,
            first_index: wire.first_index,
            last: end(wire.last, &wire.last_chain)?,
        })
    }
}

/// The log table, read and found to be whole.
pub(super) struct VerifiedLog {
    /// Whose store it is; absent in a new one.
    pub(super) identity: Option<v1::StoreIdentity>,
    /// The promised vote.
    pub(super) vote: Option<Vote>,
    /// Both ends.
    pub(super) bounds: Bounds,
    /// All entries, each with its encoded length.
    pub(super) entries: Vec<(Entry, usize)>,
    chains: BTreeMap<u64, Hash>,
}

impl VerifiedLog {
    /// # Errors
    /// [`StoreError::Damaged`] when anything is missing or changed.
    pub(super) fn read(database: &Database) -> Result<Self, StoreError> {
        let identity = match database.get(Table::Log, IDENTITY_KEY)? {
            Some(bytes) => Some(decode("the store's identity", &bytes)?),
            None => None,
        };
        let vote = match database.get(Table::Log, VOTE_KEY)? {
            Some(bytes) => Some(vote_from_wire(decode("the vote", &bytes)?)),
            None => None,
        };
        let bounds = match database.get(Table::Log, BOUNDS_KEY)? {
            Some(bytes) => Bounds::from_wire(&decode("the log's bounds", &bytes)?)
                .ok_or_else(|| StoreError::Damaged("the log's bounds lack a chain value".into()))?,
            None => Bounds::default(),
        };
        let mut found =
            Self { identity, vote, bounds, entries: Vec::new(), chains: BTreeMap::new() };
        let mut chain = found.bounds.purged.map_or(CHAIN_START, |(_, chain)| chain);
        database.scan(Table::Log, ENTRY_PREFIX, |key, record, _| {
            chain = found.add_entry(&chain, key, &record)?;
            Ok::<(), StoreError>(())
        })?;
        let end = found.entries.last().map(|(entry, _)| (entry.log_id, chain));
        if end == found.bounds.last {
            return Ok(found);
        }
        let last = found.bounds.last.map_or(0, |(id, _)| id.index);
        Err(StoreError::Damaged(format!(
            "entries {} to {last} of the log are missing",
            found.next_index()
        )))
    }

    /// Index of the entry that must come next.
    fn next_index(&self) -> u64 {
        self.entries.last().map_or(self.bounds.first_index, |(entry, _)| entry.log_id.index + 1)
    }

    /// Checks an entry against those before it, and gives its chain value.
    fn add_entry(&mut self, chain: &Hash, key: &[u8], record: &[u8]) -> Result<Hash, StoreError> {
        let damaged = |what: String| Err(StoreError::Damaged(what));
        let expected = self.next_index();
        if self.bounds.last.is_none() {
            return damaged("the log has entries but no end".to_owned());
        }
        if *key != entry_key(expected) {
            return damaged(format!("entry {expected} of the log is missing"));
        }
        let broken = format!("entry {expected} of the log does not follow from those before it");
        let Some((stored, encoded)) = record.split_at_checked(32) else { return damaged(broken) };
        let chain = checksum::chain(chain, encoded);
        let entry = decode_entry(encoded)?;
        if stored != chain || entry.log_id.index != expected {
            return damaged(broken);
        }
        self.chains.insert(expected, chain);
        self.entries.push((entry, encoded.len()));
        Ok(chain)
    }

    /// Whether nothing was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        self.vote.is_none() && self.bounds.end().is_none()
    }

    /// Checks that the database holds at least what the mark says.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it does not.
    pub(super) fn check_mark(
        &self,
        mark: &v1::HighWaterMark,
        identity: &v1::StoreIdentity,
    ) -> Result<(), StoreError> {
        let damaged = |what: String| Err(StoreError::Damaged(what));
        if mark.identity.as_ref() != Some(identity) {
            return damaged(
                "the database and the high-water mark belong to different stores".into(),
            );
        }
        let promised = mark.vote.map(vote_from_wire);
        if let Some(promised) = promised
            && !self.vote.is_some_and(|vote| vote >= promised)
        {
            return damaged(format!("the promised vote {promised} is missing"));
        }
        let Some(marked) = mark.last.map(log_id_from_wire) else { return Ok(()) };
        let end = self.bounds.end().map(|(id, _)| id.index);
        if end.is_none_or(|end| end < marked.index) {
            let from = end.map_or(0, |end| end + 1);
            return damaged(format!("entries {from} to {} of the log are missing", marked.index));
        }
        let chain = match self.bounds.purged {
            Some((purged, _)) if purged.index > marked.index => return Ok(()),
            Some((purged, chain)) if purged.index == marked.index => Some(chain),
            Some(_) | None => self.chains.get(&marked.index).copied(),
        };
        if chain.is_none_or(|chain| chain[..] != mark.last_chain[..]) {
            return damaged(format!(
                "entry {} of the log is not the one that the high-water mark names",
                marked.index
            ));
        }
        Ok(())
    }
}

/// The state table, read and found to be whole.
pub(super) struct VerifiedState {
    /// The state machine.
    pub(super) machine: Machine,
    /// Checksum of each record, by key.
    pub(super) checksums: BTreeMap<Vec<u8>, Hash>,
    /// Exclusive-or of the checksums.
    pub(super) digest: Hash,
}

impl VerifiedState {
    /// # Errors
    /// [`StoreError::Damaged`] when anything is missing or changed.
    pub(super) fn read(database: &Database) -> Result<Self, StoreError> {
        let mut header = v1::StateHeader::default();
        let mut machine = Machine::default();
        let mut checksums = BTreeMap::new();
        let mut digest = Hash::default();
        database.scan(Table::State, b"", |key, value, checksum| {
            if key == HEADER_KEY {
                header = decode("the state's header", &value)?;
            } else {
                checksum::toggle(&mut digest, &checksum);
                checksums.insert(key.to_vec(), checksum);
                machine.set_record(key, &value)?;
            }
            Ok::<(), StoreError>(())
        })?;
        let is_new = checksums.is_empty() && header.digest.is_empty();
        if checksums.len() as u64 != header.records || !(is_new || digest[..] == header.digest[..])
        {
            return Err(StoreError::Damaged(format!(
                "the state should have {} records; it has {}, or not those that it should",
                header.records,
                checksums.len()
            )));
        }
        machine.set_header(&header);
        Ok(Self { machine, checksums, digest })
    }
}
