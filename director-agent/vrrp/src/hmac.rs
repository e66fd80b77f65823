//! The HMAC-SHA256 trailer of keepalived 2.4 (`auth_hmac`), byte for byte.
//!
//! ```text
//!  0                   1                   2                   3
//!  +---------------+---------------+-------------------------------+
//!  | scheme = 1    | key           | 0                             |
//!  +---------------+---------------+-------------------------------+
//!  | seconds since 1970 of the sender's wall clock                 |
//!  +-------------------------------+-------------------------------+
//!  | 1/65536 of a second           | counter                       |
//!  +-------------------------------+-------------------------------+
//!  | the first 16 bytes of the HMAC                                |
//!  +---------------------------------------------------------------+
//! ```
//!
//! It follows the message. The HMAC covers a pseudo-header (family, version, VRID, 0, and 16 bytes
//! of source address), the message with its checksum read as zero, the trailer's first 12 bytes,
//! and 16 zeroes. Neither TTL nor destination is covered. The message's checksum covers the trailer
//! over IPv6 alone.
//!
//! Clocks. A sequence number is a time, so that a router which restarts needs no memory. The wall
//! clocks of directors must agree to within the window when they first hear each other. After that
//! a step of a clock does not deafen anybody: a sender counts on from where it was by the monotonic
//! clock, until it hears a router whose clock says that its own is wrong; and a receiver also
//! believes an advert that is as new, beside the sender's last one, as the monotonic clock says it
//! must be. A sequence number that does not grow is never believed.

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Vrid;
use fulcrum_model::vrrp::{AuthHmac, HmacMode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Discard, Family};

/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 28;
/// Bytes of the truncated HMAC.
const HMAC_BYTES: usize = 16;
/// Bytes of the trailer before the HMAC.
const PREFIX_BYTES: usize = TRAILER_BYTES - HMAC_BYTES;
/// HMAC-SHA256, truncated.
const SCHEME: u8 = 1;
/// Position of the checksum in the message.
const CHECKSUM: std::ops::Range<usize> = 6..8;
/// Shortest window that is derived from the advert interval, and the longest of all.
const LEAST_WINDOW_S: u64 = 5;
const MOST_WINDOW_S: u64 = 300;
/// Routers whose sequence is known. More than a virtual router has; forged senders cannot fill it,
/// for only verified adverts do. The longest unheard gives way.
const SENDERS: usize = 16;

/// A reading of the wall clock: the time since 1970, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock(pub Duration);

impl WallClock {
    /// As a sequence number whose counter is zero.
    fn sequence(self) -> u64 {
        let fraction = (u64::from(self.0.subsec_nanos()) << 16) / 1_000_000_000;
        // The seconds wrap in 2106; sequence numbers are compared as RFC 1982 compares them.
        (self.0.as_secs() & 0xffff_ffff) << 32 | fraction << 16
    }
}

/// What an HMAC binds a message to beside its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The version of the message.
    pub version: u8,
    /// Virtual router.
    pub vrid: Vrid,
    /// Sender.
    pub source: IpAddr,
}

/// Signs and verifies the adverts of one virtual router.
#[derive(Clone, Debug)]
pub struct Authenticator {
    settings: AuthHmac,
    window: Duration,
    sender: Sender,
    senders: Vec<Known>,
}

/// Our sequence.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    last: Option<u64>,
    /// Both clocks when we began to count.
    anchor: Option<(Duration, WallClock)>,
}

/// A router that was verified.
#[derive(Clone, Copy, Debug)]
struct Known {
    source: IpAddr,
    /// Its last sequence number.
    sequence: u64,
    /// When that came.
    at: Duration,
}

impl Authenticator {
    /// With the window that `settings` say, or else of three advert intervals, 5 s to 300 s.
    pub fn new(settings: AuthHmac, interval: Duration) -> Self {
        let derived = || (3 * interval.as_secs()).clamp(LEAST_WINDOW_S, MOST_WINDOW_S);
        let window = settings.window.unwrap_or_else(|| Duration::from_secs(derived()));
        Self { settings, window, sender: Sender::default(), senders: Vec::new() }
    }

    /// Takes other settings, and goes on with what it knows of sequences.
    pub(crate) fn set(&mut self, settings: AuthHmac, interval: Duration) {
        let Self { sender, senders, .. } = std::mem::replace(self, Self::new(settings, interval));
        self.sender = sender;
        self.senders = senders;
    }

    /// What it was told.
    pub fn settings(&self) -> &AuthHmac {
        &self.settings
    }

    /// How old or new an advert may be.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// The sequence number of the next advert; none when ours have no trailer.
    pub fn next_sequence(&mut self, now: Duration, wall: WallClock) -> Option<u64> {
        match self.settings.mode {
            HmacMode::ReceiveOnly => None,
            HmacMode::Permissive | HmacMode::Enforce => Some(self.sender.next(now, wall)),
        }
    }

    /// Appends the trailer to the message that ends `bytes`, and begins at `start`.
    pub fn append_trailer(&self, bytes: &mut Vec<u8>, start: usize, bound: Bound, sequence: u64) {
        let key_id = self.settings.active_key;
        bytes.extend_from_slice(&[SCHEME, key_id, 0, 0]);
        bytes.extend_from_slice(&sequence.to_be_bytes());
        let covered = bytes.get(start..).unwrap_or_default();
        // Without the key the HMAC is zero, which no receiver believes.
        let digest = self.mac(key_id, bound, covered).map(|mac| mac.finalize().into_bytes());
        let digest = digest.map_or([0; 32], Into::into);
        bytes.extend_from_slice(&digest[..HMAC_BYTES]);
    }

    /// Verifies the trailer after the first `length` bytes of `message`, in constant time, and
    /// notes its sequence.
    ///
    /// # Errors
    /// The reason to discard the advert.
    pub fn check(
        &mut self,
        now: Duration,
        wall: WallClock,
        bound: Bound,
        message: &[u8],
        length: usize,
    ) -> Result<(), Discard> {
        let Some((before, trailer)) = split(message, length) else {
            return match self.settings.mode {
                HmacMode::Enforce => Err(Discard::HmacMissing),
                HmacMode::ReceiveOnly | HmacMode::Permissive => Ok(()),
            };
        };
        let (prefix, digest) = trailer.split_at(PREFIX_BYTES);
        let [SCHEME, key_id, 0, 0, sequence @ ..] = prefix else {
            return Err(Discard::HmacMalformed);
        };
        let sequence = <[u8; 8]>::try_from(sequence).map_err(|_| Discard::HmacMalformed)?;
        let sequence = u64::from_be_bytes(sequence);
        let known = self.senders.iter().position(|known| known.source == bound.source);
        let last = known.and_then(|index| self.senders.get(index)).copied();
        // Before the HMAC, so that a flood of old packets costs nothing. It only refuses.
        let is_timely = self.is_near(sequence, wall.sequence());
        let follows = last.is_some_and(|last| self.is_near(sequence, last.expected(now)));
        if !is_timely && !follows {
            return Err(Discard::HmacStale);
        }
        let mac = self.mac(*key_id, bound, before).ok_or(Discard::HmacUnknownKey)?;
        mac.verify_truncated_left(digest).map_err(|_| Discard::HmacInvalid)?;
        if let Some(last) = last {
            // A last number outside the window orders nothing: its sender's clock was wrong then.
            let still_counts = follows || self.is_near(last.sequence, wall.sequence());
            if still_counts && !is_after(sequence, last.sequence) {
                return Err(Discard::HmacReplay);
            }
        }
        self.note(Known { source: bound.source, sequence, at: now });
        if !is_timely || !self.is_near(sequence, self.sender.steady(now, wall)) {
            self.sender.doubt(self.window, now, wall, sequence);
        }
        Ok(())
    }

    fn note(&mut self, known: Known) {
        self.senders.retain(|other| other.source != known.source);
        if self.senders.len() >= SENDERS {
            let oldest = self.senders.iter().enumerate().min_by_key(|(_, known)| known.at);
            if let Some(index) = oldest.map(|(index, _)| index) {
                self.senders.swap_remove(index);
            }
        }
        self.senders.push(known);
    }

    fn is_near(&self, sequence: u64, other: u64) -> bool {
        is_within(self.window, sequence, other)
    }

    /// The HMAC so far of `before`: the message and the trailer's prefix. None without the key.
    fn mac(&self, key_id: u8, bound: Bound, before: &[u8]) -> Option<Hmac<Sha256>> {
        let key = self.settings.keys.iter().find(|key| key.id() == key_id)?;
        // Every length of key is allowed.
        let mut mac = Hmac::<Sha256>::new_from_slice(key.secret()).ok()?;
        mac.update(&pseudo_header(bound));
        mac.update(before.get(..CHECKSUM.start)?);
        mac.update(&[0; 2]);
        mac.update(before.get(CHECKSUM.end..)?);
        mac.update(&[0; HMAC_BYTES]);
        Some(mac)
    }
}

impl Sender {
    /// What our clock would say had it not been set since.
    fn steady(&self, now: Duration, wall: WallClock) -> u64 {
        let anchored = |(at, wall): (Duration, WallClock)| {
            WallClock(wall.0 + now.saturating_sub(at)).sequence()
        };
        self.anchor.map_or(wall.sequence(), anchored)
    }

    fn next(&mut self, now: Duration, wall: WallClock) -> u64 {
        let steady = self.steady(now, wall);
        // A clock that is slewed drifts from the monotonic one: follow it in small steps.
        let is_set = !is_within(Duration::from_secs(1), steady, wall.sequence());
        let clock = if is_set { steady } else { wall.sequence() };
        if !is_set {
            self.anchor = Some((now, wall));
        }
        let next = match self.last {
            Some(last) if !is_after(clock, last) => last.wrapping_add(1),
            Some(_) | None => clock,
        };
        self.last = Some(next);
        next
    }

    /// A verified router's time differs from ours: when the wall clock is with it, ours was wrong.
    fn doubt(&mut self, window: Duration, now: Duration, wall: WallClock, theirs: u64) {
        if is_within(window, theirs, wall.sequence()) {
            self.anchor = Some((now, wall));
            // Numbers that nobody else can have believed need not be exceeded.
            self.last = self.last.filter(|last| is_within(window, *last, wall.sequence()));
        }
    }
}

impl Known {
    /// Where its clock must be now.
    fn expected(&self, now: Duration) -> u64 {
        let passed = WallClock(now.saturating_sub(self.at)).sequence();
        self.sequence.wrapping_add(passed)
    }
}

/// The message with the trailer's prefix, and the whole trailer. A trailer is told by the length,
/// as keepalived tells it: padding is never that long.
fn split(message: &[u8], length: usize) -> Option<(&[u8], &[u8; TRAILER_BYTES])> {
    let trailer = message.get(length..)?;
    let trailer = <&[u8; TRAILER_BYTES]>::try_from(trailer).ok()?;
    Some((message.get(..length + PREFIX_BYTES)?, trailer))
}

fn pseudo_header(bound: Bound) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[0] = match Family::of(bound.source) {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    bytes[1] = bound.version;
    bytes[2] = bound.vrid.get();
    match bound.source {
        IpAddr::V4(address) => bytes[4..8].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[4..20].copy_from_slice(&address.octets()),
    }
    bytes
}

/// RFC 1982 §3.2 with 64 bits.
fn is_after(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// Whether two numbers are times at most `window` apart, in whole seconds.
fn is_within(window: Duration, a: u64, b: u64) -> bool {
    let seconds = |sequence: u64| u32::try_from(sequence >> 32).unwrap_or_default();
    let apart = seconds(a).wrapping_sub(seconds(b)).cast_signed().unsigned_abs();
    u64::from(apart) <= window.as_secs()
}

#[cfg(test)]
mod tests;
