//! A damaged store is refused, or holds everything that was promised.

use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use openraft::CommittedLeaderId;
use prost::Message as _;
use tempfile::TempDir;

use super::nodes::write;
use crate::raft::StartError;
use crate::raft::machine::Machine;
use crate::raft::sled_store::{Changes, Database, Table};
use crate::raft::snapshot;
use crate::raft::store::{BOUNDS_KEY, Contents, IDENTITY_KEY, Store, VOTE_KEY, entry_key};
use crate::raft::store_error::StoreError;
use crate::raft::types::{Entry, EntryPayload, LogId, Proposal, Vote};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const ENTRIES: u64 = 40;

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1 + index / 10, 1), index)
}

/// Entries that write a site each.
fn entries(indexes: std::ops::Range<u64>) -> Vec<Entry> {
    indexes
        .map(|index| {
            let commands = vec![write(index.saturating_sub(1), "", &format!("s{index}"))];
            let encoded = fulcrum_proto::internal::v1::Commands { commands }.encode_to_vec();
            Entry { log_id: log_id(index), payload: EntryPayload::Normal(Proposal(encoded.into())) }
        })
        .collect()
}

/// The state after the entries.
fn applied(entries: &[Entry]) -> Machine {
    let mut machine = Machine::default();
    for entry in entries {
        machine.apply(entry, &mut Vec::new()).expect("sites can be applied");
    }
    machine
}

/// A store with entries 1 to 40, of which 30 are applied and 10 dropped behind a snapshot of the first 20.
fn filled() -> Result<(TempDir, PathBuf), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("raft");
    let (mut store, _) = Store::open(&path, 7, "store".to_owned())?;
    store.save_vote(Vote::new_committed(5, 7))?;
    for index in 1..=ENTRIES {
        store.append(entries(index..index + 1))?;
    }
    snapshot::write(&path, &snapshot::encode(&applied(&entries(1..21))).1)?;
    store.replace_state(&applied(&entries(1..31)))?;
    store.purge(log_id(10))?;
    store.sync()?;
    Ok((directory, path))
}

/// Opens as a node does: sled panics on some damage.
fn open(path: &Path) -> Result<(Store, Contents), StoreError> {
    catch_unwind(AssertUnwindSafe(|| Store::open(path, 7, "new".to_owned())))
        .unwrap_or_else(|_| Err(StoreError::Damaged("the database cannot be opened".to_owned())))
}

/// Whether the store holds all that was promised. It may hold entries that had been dropped, and an older state: the log
/// makes it new again.
fn is_whole(contents: &Contents) -> bool {
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    let (purged, state) = (index(contents.purged), index(contents.machine.applied));
    let indexes: Vec<u64> = contents.entries.iter().map(|(entry, _)| entry.log_id.index).collect();
    contents.vote == Some(Vote::new_committed(5, 7))
        && purged <= 10
        && indexes == (purged + 1..=ENTRIES).collect::<Vec<_>>()
        && (purged..=30).contains(&state)
        && contents.machine.intent.get() == applied(&entries(1..state + 1)).intent.get()
}

#[test]
fn an_undamaged_store_opens_again() -> TestResult {
    let (_directory, path) = filled()?;
    for _ in 0..3 {
        let (_, contents) = open(&path)?;
        assert!(is_whole(&contents));
        assert_eq!(contents.store_id, "store");
    }
    Ok(())
}

/// The keys of the whole state: the header, and for each of the 30 writes a resource and a kept revision.
fn state_keys() -> Vec<Vec<u8>> {
    let resources = (1..=30).map(|n| format!("r\x01s{n}").into_bytes());
    let revisions = (1..=30_u64).map(|n| [&b"v"[..], &n.to_be_bytes()].concat());
    resources.chain(revisions).chain([b"h".to_vec()]).collect()
}

/// What is done to a store's records, and what the error then says.
type Damage = (&'static str, fn(&Path) -> TestResult, &'static str);

fn change(path: &Path, table: Table, changes: &Changes) -> TestResult {
    let database = Database::open(&path.join("db"))?;
    database.write(table, changes)?;
    Ok(database.sync()?)
}

fn remove(path: &Path, table: Table, keys: &[Vec<u8>]) -> TestResult {
    change(path, table, &Changes { put: Vec::new(), delete: keys.to_vec() })
}

/// Puts one record's value under another's key.
fn copy(path: &Path, from: &[u8], to: &[u8]) -> TestResult {
    let database = Database::open(&path.join("db"))?;
    let value = database.get(Table::Log, from)?.ok_or("no such record")?;
    database.write(Table::Log, &Changes { put: vec![(to.to_vec(), value)], delete: Vec::new() })?;
    Ok(database.sync()?)
}

fn flip(file: &Path, offset: u64) -> TestResult {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    Ok(file.write_all_at(&[byte[0] ^ 0x20], offset)?)
}

/// Takes the whole log table back to an earlier moment, as a database does that lost its newest segment.
fn roll_back(path: &Path) -> TestResult {
    let (mut earlier, _) = Store::open(&path.with_extension("earlier"), 7, "store".to_owned())?;
    earlier.save_vote(Vote::new_committed(5, 7))?;
    earlier.append(entries(1..36))?;
    earlier.purge(log_id(10))?;
    drop(earlier);
    let from = Database::open(&path.with_extension("earlier").join("db"))?;
    let bounds = from.get(Table::Log, BOUNDS_KEY)?.ok_or("no bounds")?;
    let keys: Vec<_> = (36..=ENTRIES).map(entry_key).collect();
    change(path, Table::Log, &Changes { put: vec![(BOUNDS_KEY.to_vec(), bounds)], delete: keys })
}

const DAMAGES: [Damage; 16] = [
    (
        "an entry is gone",
        |path| remove(path, Table::Log, &[entry_key(20)]),
        "entry 20 of the log is missing",
    ),
    (
        "the first entry is gone",
        |path| remove(path, Table::Log, &[entry_key(11)]),
        "entry 11 of the log is missing",
    ),
    (
        "the last entry is gone",
        |path| remove(path, Table::Log, &[entry_key(40)]),
        "entries 40 to 40 of the log are missing",
    ),
    (
        "all entries are gone",
        |path| remove(path, Table::Log, &(11..=40).map(entry_key).collect::<Vec<_>>()),
        "entries 11 to 40 of the log are missing",
    ),
    (
        "an entry is there twice",
        |path| copy(path, &entry_key(20), &entry_key(21)),
        "entry 21 of the log does not follow from those before it",
    ),
    (
        "an entry comes after the end",
        |path| copy(path, &entry_key(40), &entry_key(41)),
        "entry 41 of the log does not follow",
    ),
    (
        "the bounds are gone",
        |path| remove(path, Table::Log, &[BOUNDS_KEY.to_vec()]),
        "the log has entries but no end",
    ),
    ("the log is an earlier one", roll_back, "entries 36 to 40 of the log are missing"),
    (
        "the vote is gone",
        |path| remove(path, Table::Log, &[VOTE_KEY.to_vec()]),
        "the promised vote",
    ),
    (
        "the identity is gone",
        |path| remove(path, Table::Log, &[IDENTITY_KEY.to_vec()]),
        "its high-water mark is there",
    ),
    (
        "a resource is gone",
        |path| remove(path, Table::State, &[b"r\x01s15".to_vec()]),
        "the state should have 60 records",
    ),
    ("the state is gone", |path| remove(path, Table::State, &state_keys()), ""),
    ("the mark is gone", |path| Ok(std::fs::remove_file(path.join("mark"))?), "mark is missing"),
    (
        "the database is gone",
        |path| Ok(std::fs::remove_dir_all(path.join("db"))?),
        "its high-water mark is there",
    ),
    (
        "the mark is damaged",
        |path| {
            flip(&path.join("mark"), 20)?;
            flip(&path.join("mark"), 4096 + 20)
        },
        "neither slot",
    ),
    (
        "the snapshot is damaged",
        |path| flip(&path.join("snapshot"), 100),
        "does not match its checksum",
    ),
];

#[test]
fn every_damage_is_refused_by_name() -> TestResult {
    for (name, damage, expected) in DAMAGES {
        let (_directory, path) = filled()?;
        damage(&path).map_err(|error| format!("{name}: {error}"))?;
        match open(&path) {
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged(_)), "{name}: {error}");
                assert!(
                    error.to_string().contains(expected) && !expected.is_empty(),
                    "{name}: {error}"
                );
            }
            // The log and the snapshot make the state again.
            Ok((_, contents)) => {
                assert!(expected.is_empty(), "{name} was not noticed");
                assert_eq!(contents.machine.applied, Some(log_id(20)), "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_log_that_begins_after_the_state_is_refused() -> TestResult {
    let (_directory, path) = filled()?;
    std::fs::remove_file(path.join("snapshot"))?;
    remove(&path, Table::State, &state_keys())?;
    let error = open(&path).err().ok_or("it opened")?;
    assert_eq!(error.to_string(), "the log begins after entry 10, but the state has only none");
    let told = StartError::from_store(7, path, error).to_string();
    for part in
        ["must not vote again under id 7", "give this controller a new id", "restore a backup"]
    {
        assert!(told.contains(part), "{told}");
    }
    Ok(())
}

#[test]
fn a_crash_between_any_two_steps_of_a_change_leaves_a_store_that_opens() -> TestResult {
    let (_directory, path) = filled()?;
    // A follower's log is cut where the new leader's differs, and goes on otherwise.
    let (mut store, _) = open(&path)?;
    assert_eq!(store.truncate(35)?, Some(log_id(34)));
    drop(store);
    let (mut store, contents) = open(&path)?;
    assert_eq!(contents.entries.last().map(|(entry, _)| entry.log_id.index), Some(34));
    store.append(entries(35..38))?;
    drop(store);
    let (mut store, contents) = open(&path)?;
    assert_eq!(contents.entries.len(), 27);
    assert!(store.append(entries(39..40)).is_err(), "a gap");
    drop(store);
    // A snapshot from the leader replaces it all.
    snapshot::write(&path, &snapshot::encode(&applied(&entries(1..61))).1)?;
    let (mut store, contents) = open(&path)?;
    assert_eq!(contents.machine.applied, Some(log_id(60)));
    store.purge(log_id(60))?;
    drop(store);
    let (mut store, contents) = open(&path)?;
    assert_eq!((contents.purged, contents.entries.len()), (Some(log_id(60)), 0));
    store.append(entries(61..63))?;
    assert_eq!(store.read(0, u64::MAX, usize::MAX)?.len(), 2);
    drop(store);
    assert_eq!(open(&path)?.1.entries.len(), 2);
    Ok(())
}

#[test]
fn flipped_and_cut_files_never_open_with_anything_missing() -> TestResult {
    let (_directory, path) = filled()?;
    drop(open(&path)?);
    let file = path.join("db/db");
    let whole = std::fs::read(&file)?;
    let used = whole.iter().rposition(|byte| *byte != 0).ok_or("an empty file")? + 1;
    let mut refused = 0;
    for step in 0..12 {
        let cut = used * step / 12;
        let mut flipped = whole.clone();
        // A different bit each time, away from the multiples of the page.
        flipped[cut + 17 * step] ^= 1 << (step % 8);
        for bytes in [&flipped[..], &whole[..cut]] {
            std::fs::write(&file, bytes)?;
            // What sled keeps beside its file would hide the damage from a process that has just begun.
            for entry in std::fs::read_dir(path.join("db"))? {
                let entry = entry?.path();
                if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap."))
                {
                    std::fs::remove_file(entry)?;
                }
            }
            match open(&path) {
                Ok((_, contents)) => {
                    assert!(is_whole(&contents), "step {step}: opened with a loss");
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 6, "only {refused} of 24 were refused");
    Ok(())
}
