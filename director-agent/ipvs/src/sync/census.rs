//! The Active's side of the exchange: what it has, and what a Backup lacks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::digest::{BUCKETS, Buckets, Digest, bucket_of};
use super::exchange::{Body, Frame, HASHES_IN_FRAME, MAX_PARTS, Scope};
use super::listing::Connection;

/// A connection counts as missing from this age on. Younger ones are sent all the same; but there
/// are always some under way on a busy director, and no take-over shall wait for those.
pub const OLD_AFTER: Duration = Duration::from_secs(1);
/// A census that is older tells nothing of the age of what it does not have.
const RECENT: Duration = Duration::from_secs(2);
/// Rounds that are open at a time: several Backups of several instances. More push out the oldest.
const MAX_ROUNDS: usize = 16;
/// Most hashes of a round, as many as a table is compared up to.
const MAX_HASHES: usize = HASHES_IN_FRAME * MAX_PARTS as usize;

/// The connections of a scope at a moment.
#[derive(Clone, Debug, Default)]
pub struct Census {
    at: Duration,
    /// By hash.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    connection: Connection,
    /// When it was first seen; none when it was there before anybody looked.
    since: Option<Duration>,
}

/// What a Backup lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    /// All of it.
    pub connections: Vec<Connection>,
    /// How many of them are old enough to count.
    pub counted: u32,
}

impl Census {
    /// The census after `previous`, which tells how old connections are.
    pub fn take(
        now: Duration,
        connections: impl IntoIterator<Item = Connection>,
        previous: Option<&Self>,
    ) -> Self {
        let recent = previous.filter(|previous| now.saturating_sub(previous.at) <= RECENT);
        let entry = |connection: Connection| {
            let hash = connection.hash();
            let known = recent.map(|recent| recent.find(hash));
            let since = known.and_then(|known| known.map_or(Some(now), |entry| entry.since));
            Entry { hash, connection, since }
        };
        let mut entries: Vec<Entry> = connections.into_iter().map(entry).collect();
        // The kernel's listing may tell an entry twice while the table changes.
        entries.sort_unstable_by_key(|entry| entry.hash);
        entries.dedup_by_key(|entry| entry.hash);
        Self { at: now, entries }
    }

    /// When it was taken.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Connections in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Told short.
    pub fn digest(&self) -> Digest {
        self.hashes().collect()
    }

    /// The hashes of its connections.
    pub fn hashes(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.hash)
    }

    /// Its connections.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.entries.iter().map(|entry| &entry.connection)
    }

    /// What is in `asked` here and not among `theirs`.
    pub fn lack(&self, asked: &Buckets, theirs: &BTreeSet<u64>) -> Lack {
        let mut lack = Lack::default();
        for entry in &self.entries {
            if !asked.contains(bucket_of(entry.hash)) || theirs.contains(&entry.hash) {
                continue;
            }
            lack.connections.push(entry.connection);
            if entry.since.is_none_or(|since| self.at.saturating_sub(since) >= OLD_AFTER) {
                lack.counted = lack.counted.saturating_add(1);
            }
        }
        lack
    }

    fn find(&self, hash: u64) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&hash, |entry| entry.hash).ok()?;
        self.entries.get(index)
    }
}

/// Which round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoundKey {
    /// Which connections.
    pub scope: Scope,
    /// Which Backup.
    pub nonce: u32,
    /// Which of its rounds.
    pub round: u32,
}

impl RoundKey {
    /// A frame of that round.
    pub fn frame(self, body: Body) -> Frame {
        Frame { scope: self.scope, nonce: self.nonce, round: self.round, body }
    }
}

/// What is whole now and needs the table to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Nothing.
    Nothing,
    /// A Backup's digest: compare it.
    Compare(RoundKey, Digest),
    /// A Backup's hashes in these buckets: find what it lacks.
    Find(RoundKey, Buckets, BTreeSet<u64>),
}

/// Puts a Backup's datagrams together.
#[derive(Debug, Default)]
pub struct Answerer {
    /// By Backup and scope: a Backup has one round at a time.
    rounds: BTreeMap<(Scope, u32), Round>,
    /// Counts frames, to know the oldest round.
    clock: u64,
}

#[derive(Debug)]
struct Round {
    number: u32,
    touched: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Digest { digest: Digest, seen: Buckets },
    Compared,
    Hashes { asked: Buckets, parts: Option<u16>, seen: BTreeSet<u16>, hashes: BTreeSet<u64> },
    Over,
}

impl Answerer {
    /// Takes in a frame of a Backup. Its parts may come in any order and more than once.
    pub fn hear(&mut self, frame: &Frame) -> Answers {
        let key = RoundKey { scope: frame.scope, nonce: frame.nonce, round: frame.round };
        match &frame.body {
            Body::Digest { first, buckets } => self.digest(key, usize::from(*first), buckets),
            Body::Hashes { part, parts, hashes } => self.hashes(key, *part, *parts, hashes),
            // Another Active's.
            Body::Ask(_) | Body::Report { .. } => Answers::Nothing,
        }
    }

    /// Asks for these buckets.
    pub fn ask(&mut self, key: RoundKey, asked: Buckets) -> Frame {
        if let Some(round) = self.round(key) {
            let (seen, hashes) = (BTreeSet::new(), BTreeSet::new());
            round.stage = Stage::Hashes { asked: asked.clone(), parts: None, seen, hashes };
        }
        key.frame(Body::Ask(asked))
    }

    fn round(&mut self, key: RoundKey) -> Option<&mut Round> {
        let known = self.rounds.get_mut(&(key.scope, key.nonce));
        known.filter(|known| known.number == key.round)
    }

    fn digest(
        &mut self,
        key: RoundKey,
        first: usize,
        buckets: &[super::digest::Bucket],
    ) -> Answers {
        self.clock += 1;
        let touched = self.clock;
        if self.round(key).is_none() {
            let stage = Stage::Digest {
                digest: Digest::default(),
                seen: Buckets::from_bits([0; BUCKETS / 8]),
            };
            self.rounds.insert((key.scope, key.nonce), Round { number: key.round, touched, stage });
            self.forget_oldest();
        }
        let Some(round) = self.round(key) else { return Answers::Nothing };
        round.touched = touched;
        let Stage::Digest { digest, seen } = &mut round.stage else { return Answers::Nothing };
        if !digest.set(first, buckets) {
            return Answers::Nothing;
        }
        let range = first..first + buckets.len();
        *seen =
            (0..BUCKETS).filter(|index| range.contains(index) || seen.contains(*index)).collect();
        if !(0..BUCKETS).all(|index| seen.contains(index)) {
            return Answers::Nothing;
        }
        let digest = std::mem::take(digest);
        round.stage = Stage::Compared;
        Answers::Compare(key, digest)
    }

    fn hashes(&mut self, key: RoundKey, part: u16, of: u16, told: &[u64]) -> Answers {
        self.clock += 1;
        let touched = self.clock;
        let Some(round) = self.round(key) else { return Answers::Nothing };
        round.touched = touched;
        let Stage::Hashes { asked, parts, seen, hashes } = &mut round.stage else {
            return Answers::Nothing;
        };
        if *parts.get_or_insert(of) != of || !seen.insert(part) {
            return Answers::Nothing;
        }
        hashes.extend(told.iter().take(MAX_HASHES.saturating_sub(hashes.len())));
        if seen.len() < usize::from(of) {
            return Answers::Nothing;
        }
        let (asked, hashes) = (asked.clone(), std::mem::take(hashes));
        round.stage = Stage::Over;
        Answers::Find(key, asked, hashes)
    }

    fn forget_oldest(&mut self) {
        if self.rounds.len() <= MAX_ROUNDS {
            return;
        }
        let oldest = self.rounds.iter().min_by_key(|(_, round)| round.touched);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.rounds.remove(&key);
        }
    }
}
