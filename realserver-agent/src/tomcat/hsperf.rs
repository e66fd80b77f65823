//! The JVM's own counters, read from the file that HotSpot keeps of them: `hsperfdata_USER/PID`. Pure.
//!
//! The format is that of HotSpot's `src/hotspot/share/runtime/perfMemory.hpp`, version 2: a head of 32 bytes, then entries, each
//! with a head of 20 bytes, a name that ends with NUL, and a value. The JVM writes while we read, so nothing in it is trusted.

use std::collections::VecDeque;
use std::time::Duration;

/// Largest file that is read: HotSpot's default is 32 KiB (`PerfDataMemorySize`).
pub const MAX_FILE: u64 = 1 << 20;
/// Most entries that are looked at; a JVM has some 200.
const MAX_ENTRIES: usize = 4096;
/// Time over which the share of the collectors is told.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Most readings that are kept of it: readings every 500 ms need 21.
const MAX_READINGS: usize = 64;
/// Share of their time, in thousandths, from which collectors keep a JVM from its work, and below which they no longer do. The JVM's
/// own bound is 980 (`GCTimeLimit`), of its own time between full collections; of the clock's time it never comes to that.
const HINDERED: (u64, u64) = (800, 500);
/// Share of its old generation, in thousandths, from which it is full, and below which it no longer is: the JVM's own bound is 2 %
/// free (`GCHeapFreeLimit`).
const FULL: (u64, u64) = (980, 950);
/// Full collections that must have left it full: after a single one the program may let go of more.
const FULL_COLLECTIONS: u64 = 2;
/// Shortest time over which that is concluded.
const LEAST_TIME: Duration = Duration::from_secs(5);

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];
const LITTLE_ENDIAN: u8 = 1;
const VERSION: u8 = 2;
const HEAD: usize = 32;
const ENTRY_HEAD: usize = 20;
/// `T_LONG` as the JVM writes types (JVM specification §4.3.2).
const LONG: u8 = b'J';

/// What a collector did since the JVM's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collector {
    /// Collections, each a pause.
    pub invocations: u64,
    /// Time spent in them.
    pub time: Duration,
}

/// A reading of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Time since the JVM's start, brought up to date every 50 ms while the process runs. JDK 25 keeps none any more.
    pub uptime: Option<Duration>,
    /// Collections of the young generation.
    pub young: Collector,
    /// Collections of the old generation, or of the whole heap.
    pub old: Collector,
    /// Pauses of a collector that works beside the program (G1, Z).
    pub concurrent: Collector,
    /// Times that every thread was halted, for whatever reason.
    pub safepoints: u64,
    /// Time that they were halted.
    pub safepoint_time: Duration,
    /// Threads that live.
    pub live_threads: u32,
    /// Bytes of the old generation that are taken; as its last collection left it, or a little newer.
    pub old_used: u64,
    /// Bytes that it has room for as it is now. Those of a JVM without generations are 0.
    pub old_capacity: u64,
}

impl Counters {
    /// How full the old generation is, in thousandths.
    fn old_permille(&self) -> u64 {
        self.old_used.saturating_mul(1000).checked_div(self.old_capacity).unwrap_or(0)
    }

    /// All collectors together.
    pub fn collections(&self) -> Collector {
        let all = [self.young, self.old, self.concurrent];
        Collector {
            invocations: all.iter().fold(0, |sum, one| sum.saturating_add(one.invocations)),
            time: all.iter().fold(Duration::ZERO, |sum, one| sum.saturating_add(one.time)),
        }
    }
}

/// Why a file tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HsperfError {
    /// It is none.
    #[error("no hsperfdata: it does not begin with cafec0c0")]
    Magic,
    /// Another version than 2.
    #[error("hsperfdata of version {0}, of which nothing is known here")]
    Version(u8),
    /// The JVM is still writing its first entries.
    #[error("the JVM has not finished its hsperfdata")]
    Unfinished,
    /// An entry lies outside of the file.
    #[error("hsperfdata ends within entry {0}")]
    Cut(usize),
    /// It does not tell what its times are counted in.
    #[error("hsperfdata without sun.os.hrt.frequency")]
    Unit,
}

/// Reads a file.
///
/// # Errors
/// [`HsperfError`]; entries of unknown names and other types are passed over.
pub fn parse(file: &[u8]) -> Result<Counters, HsperfError> {
    if file.get(..4) != Some(&MAGIC) {
        return Err(HsperfError::Magic);
    }
    let bytes = Bytes { file, is_little: file.get(4) == Some(&LITTLE_ENDIAN) };
    let cut = HsperfError::Cut(0);
    match bytes.byte(5).ok_or(cut)? {
        VERSION => {}
        other => return Err(HsperfError::Version(other)),
    }
    if bytes.byte(7).ok_or(cut)? == 0 {
        return Err(HsperfError::Unfinished);
    }
    let mut at = bytes.size(24).filter(|at| *at >= HEAD).ok_or(cut)?;
    let entries = bytes.size(28).ok_or(cut)?.min(MAX_ENTRIES);
    let mut raw = Raw::default();
    for index in 0..entries {
        at = bytes.entry(at, &mut raw).ok_or(HsperfError::Cut(index))?;
    }
    raw.counters().ok_or(HsperfError::Unit)
}

/// The values as they stand in the file; times in ticks.
#[derive(Default)]
struct Raw {
    frequency: u64,
    ticks: u64,
    invocations: [u64; 3],
    times: [u64; 3],
    safepoints: u64,
    safepoint_time: u64,
    live_threads: u64,
    old_used: u64,
    old_capacity: u64,
}

impl Raw {
    fn slot(&mut self, name: &[u8]) -> Option<&mut u64> {
        Some(match name {
            b"sun.os.hrt.frequency" => &mut self.frequency,
            b"sun.os.hrt.ticks" => &mut self.ticks,
            b"sun.gc.collector.0.invocations" => &mut self.invocations[0],
            b"sun.gc.collector.1.invocations" => &mut self.invocations[1],
            b"sun.gc.collector.2.invocations" => &mut self.invocations[2],
            b"sun.gc.collector.0.time" => &mut self.times[0],
            b"sun.gc.collector.1.time" => &mut self.times[1],
            b"sun.gc.collector.2.time" => &mut self.times[2],
            b"sun.rt.safepoints" => &mut self.safepoints,
            b"sun.rt.safepointTime" => &mut self.safepoint_time,
            b"java.threads.live" => &mut self.live_threads,
            b"sun.gc.generation.1.space.0.used" => &mut self.old_used,
            b"sun.gc.generation.1.space.0.capacity" => &mut self.old_capacity,
            _ => return None,
        })
    }

    /// None without a unit of time.
    fn counters(&self) -> Option<Counters> {
        let frequency = u128::from(self.frequency);
        let time = |ticks: u64| {
            let nanos = (u128::from(ticks) * 1_000_000_000).checked_div(frequency)?;
            Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
        };
        let collector = |which: usize| {
            let time = time(self.times[which])?;
            Some(Collector { invocations: self.invocations[which], time })
        };
        Some(Counters {
            // A JVM that has written its entries has run for a while.
            uptime: Some(time(self.ticks)?).filter(|uptime| !uptime.is_zero()),
            young: collector(0)?,
            old: collector(1)?,
            concurrent: collector(2)?,
            safepoints: self.safepoints,
            safepoint_time: time(self.safepoint_time)?,
            live_threads: u32::try_from(self.live_threads).unwrap_or(u32::MAX),
            old_used: self.old_used,
            old_capacity: self.old_capacity,
        })
    }
}

#[derive(Clone, Copy)]
struct Bytes<'a> {
    file: &'a [u8],
    is_little: bool,
}

impl Bytes<'_> {
    fn byte(self, at: usize) -> Option<u8> {
        self.file.get(at).copied()
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.file.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    /// A length or an offset: a `jint` that is not negative.
    fn size(self, at: usize) -> Option<usize> {
        let bytes = self.array::<4>(at)?;
        let value =
            if self.is_little { i32::from_le_bytes(bytes) } else { i32::from_be_bytes(bytes) };
        usize::try_from(value).ok()
    }

    /// A count or a time; one that is negative counts as none.
    fn long(self, at: usize) -> Option<u64> {
        let bytes = self.array::<8>(at)?;
        let value =
            if self.is_little { i64::from_le_bytes(bytes) } else { i64::from_be_bytes(bytes) };
        Some(u64::try_from(value).unwrap_or(0))
    }

    /// Takes in the entry at `at`; answers where the next one begins.
    fn entry(self, at: usize, into: &mut Raw) -> Option<usize> {
        let length = self.size(at)?;
        let end = at.checked_add(length)?;
        if length < ENTRY_HEAD || end > self.file.len() {
            return None;
        }
        let name = at.checked_add(self.size(at + 4)?)?;
        let is_long = self.byte(at + 12)? == LONG && self.size(at + 8)? == 0;
        let value = at.checked_add(self.size(at + 16)?)?;
        let name = self.file.get(name..end)?.split(|byte| *byte == 0).next()?;
        if let Some(slot) = into.slot(name).filter(|_| is_long) {
            *slot = self.long(value)?;
        }
        Some(end)
    }
}

/// What became of a JVM between readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Share of the last seconds spent in collectors' pauses, in thousandths.
    pub gc_share_permille: u32,
    /// Pauses of the collectors since the reading before.
    pub pauses: u64,
    /// Time of these, together.
    pub pause_time: Duration,
    /// The process has surely run since the reading before.
    pub ran: bool,
    /// Threads that live.
    pub live_threads: u32,
    /// Full collections take most of its time and leave its old generation full: it throws `OutOfMemoryError`, or is about to.
    pub is_exhausted: bool,
}

/// The readings of the last [`WINDOW`].
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Each with its time.
    kept: VecDeque<(Duration, Counters)>,
    is_exhausted: bool,
}

impl Readings {
    /// Takes in a reading, made at `at` by our own clock. The JVM's own time is the clock, where it tells it.
    pub fn push(&mut self, at: Duration, now: Counters) -> Pace {
        let at = now.uptime.unwrap_or(at);
        let (ended, is_another) =
            (now.collections(), |(before, counters): &(Duration, Counters)| {
                *before > at || counters.collections().invocations > now.collections().invocations
            });
        // Another process has the number, or the file was torn: what is kept says nothing of it.
        if self.kept.back().is_some_and(is_another) {
            *self = Self::default();
        }
        let (_, before) = self.kept.back().copied().unwrap_or((at, now));
        self.kept.push_back((at, now));
        let is_old = |(read, _): &(Duration, Counters)| at.saturating_sub(*read) > WINDOW;
        while self.kept.len() > MAX_READINGS || (self.kept.len() > 2 && is_old(&self.kept[0])) {
            self.kept.pop_front();
        }
        let share = self.share_permille();
        self.is_exhausted = self.exhausted(share);
        let began = before.collections();
        Pace {
            gc_share_permille: u32::try_from(share).unwrap_or(1000),
            pauses: ended.invocations.saturating_sub(began.invocations),
            pause_time: ended.time.saturating_sub(began.time),
            ran: now.uptime > before.uptime,
            live_threads: now.live_threads,
            is_exhausted: self.is_exhausted,
        }
    }

    /// Share of the time that collectors took, in thousandths.
    fn share_permille(&self) -> u64 {
        let (Some((from, first)), Some((to, last))) = (self.kept.front(), self.kept.back()) else {
            return 0;
        };
        let spent = last.collections().time.saturating_sub(first.collections().time).as_nanos();
        let passed = to.saturating_sub(*from).as_nanos();
        let share = (spent * 1000).checked_div(passed).unwrap_or(0).min(1000);
        u64::try_from(share).unwrap_or(1000)
    }

    /// Whether full collections leave the old generation full, as HotSpot's "GC overhead limit" means it, of whatever collector.
    fn exhausted(&self, share_permille: u64) -> bool {
        let (Some((from, first)), Some((to, last))) = (self.kept.front(), self.kept.back()) else {
            return false;
        };
        let (hindered, unhindered) = HINDERED;
        let (full, no_longer_full) = FULL;
        if self.is_exhausted {
            return share_permille >= unhindered && last.old_permille() >= no_longer_full;
        }
        let full_collections = last.old.invocations.saturating_sub(first.old.invocations);
        // What was there before the first of them is no word on what it left.
        let mut after =
            self.kept.iter().filter(|(_, one)| one.old.invocations > first.old.invocations);
        to.saturating_sub(*from) >= LEAST_TIME
            && full_collections >= FULL_COLLECTIONS
            && share_permille >= hindered
            && after.all(|(_, one)| one.old_permille() >= full)
    }
}

#[cfg(test)]
mod tests;
