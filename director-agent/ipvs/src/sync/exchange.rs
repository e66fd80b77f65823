//! What directors tell each other to find the connections that one of them lacks.
//!
//! ```text
//!   Backup                                   Active
//!     │ Digest, in several datagrams           │
//!     │ ─────────────────────────────────────▶ │ compares with its own
//!     │                       Ask (buckets)    │ when they differ
//!     │ ◀───────────────────────────────────── │
//!     │ Hashes of those buckets                │
//!     │ ─────────────────────────────────────▶ │ finds what is missing, and sends it to the
//!     │            Report (missing, sent)      │ Backup's kernel in the kernel's own format
//!     │ ◀───────────────────────────────────── │
//! ```
//!
//! A frame is a datagram: `FLCS`, version 1, kind, sync id, VRID, family (4 or 6), three bytes 0,
//! the asker's nonce (4), round (4), then the body; big-endian. It is believed like the kernel's own
//! messages: by anybody on the segment, by no one beyond it.

use super::digest::{BUCKETS, Bucket, Buckets};
use crate::AddressFamily;

const MAGIC: [u8; 4] = *b"FLCS";
const VERSION: u8 = 1;
const HEADER: usize = 20;
const BUCKET_BYTES: usize = 12;
const HASH_BYTES: usize = 8;

/// Buckets of one datagram: 1,368 bytes.
pub const BUCKETS_IN_FRAME: usize = 112;
/// Hashes of one datagram: 1,320 bytes.
pub const HASHES_IN_FRAME: usize = 162;
/// Most datagrams of hashes in a round: those of 262,144 connections, which is what a table is
/// compared up to.
pub const MAX_PARTS: u16 = 1619;

/// Which connections are meant: those of an instance's VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Sync identifier, as the kernel's messages have it.
    pub sync_id: u8,
    /// The instance's virtual router identifier.
    pub vrid: u8,
    /// The instance's family.
    pub family: AddressFamily,
}

/// A datagram of the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which connections.
    pub scope: Scope,
    /// Names the Backup's life, so that two Backups' rounds are told apart.
    pub nonce: u32,
    /// Counts the Backup's rounds.
    pub round: u32,
    /// What it says.
    pub body: Body,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Backup: this is what I have.
    Digest {
        /// Index of the first bucket.
        first: u16,
        /// Buckets from there on.
        buckets: Vec<Bucket>,
    },
    /// Active: tell me more of these.
    Ask(Buckets),
    /// Backup: these are the connections in the buckets that you asked for.
    Hashes {
        /// Counts from 0.
        part: u16,
        /// Number of parts, 1 to [`MAX_PARTS`].
        parts: u16,
        /// Their hashes.
        hashes: Vec<u64>,
    },
    /// Active: this was missing, and was sent.
    Report {
        /// Connections at least [`super::OLD_AFTER`] old that the Backup lacked.
        missing: u32,
        /// Connections sent, with the younger ones.
        sent: u32,
        /// Connections compared.
        compared: u32,
    },
}

/// Bytes that are no frame of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame of the connection exchange: {what}")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { what }
}

impl Frame {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let family = match self.scope.family {
            AddressFamily::V4 => 4,
            AddressFamily::V6 => 6,
        };
        let mut bytes = Vec::with_capacity(super::MAX_PAYLOAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        let kind = self.body.kind();
        bytes.extend_from_slice(&[VERSION, kind, self.scope.sync_id, self.scope.vrid, family]);
        bytes.extend_from_slice(&[0; 3]);
        bytes.extend_from_slice(&self.nonce.to_be_bytes());
        bytes.extend_from_slice(&self.round.to_be_bytes());
        self.body.put(&mut bytes);
        bytes
    }

    /// The frame in `bytes`, which is a whole datagram.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; HEADER] =
            bytes.first_chunk().ok_or_else(|| malformed("the header is cut off"))?;
        let [
            magic @ ..,
            version,
            kind,
            sync_id,
            vrid,
            family,
            _,
            _,
            _,
            n0,
            n1,
            n2,
            n3,
            r0,
            r1,
            r2,
            r3,
        ] = header;
        if *magic != MAGIC || *version != VERSION {
            return Err(malformed("it is not of version 1"));
        }
        let family = match family {
            4 => AddressFamily::V4,
            6 => AddressFamily::V6,
            _ => return Err(malformed("its family is neither 4 nor 6")),
        };
        Ok(Self {
            scope: Scope { sync_id: *sync_id, vrid: *vrid, family },
            nonce: u32::from_be_bytes([*n0, *n1, *n2, *n3]),
            round: u32::from_be_bytes([*r0, *r1, *r2, *r3]),
            body: Body::read(*kind, &bytes[HEADER..])?,
        })
    }
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Digest { .. } => 1,
            Self::Ask(_) => 2,
            Self::Hashes { .. } => 3,
            Self::Report { .. } => 4,
        }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Digest { first, buckets } => {
                bytes.extend_from_slice(&first.to_be_bytes());
                for bucket in buckets.iter().take(BUCKETS_IN_FRAME) {
                    bytes.extend_from_slice(&bucket.count.to_be_bytes());
                    bytes.extend_from_slice(&bucket.xor.to_be_bytes());
                }
            }
            Self::Ask(buckets) => bytes.extend_from_slice(buckets.bits()),
            Self::Hashes { part, parts, hashes } => {
                bytes.extend_from_slice(&part.to_be_bytes());
                bytes.extend_from_slice(&parts.to_be_bytes());
                for hash in hashes.iter().take(HASHES_IN_FRAME) {
                    bytes.extend_from_slice(&hash.to_be_bytes());
                }
            }
            Self::Report { missing, sent, compared } => {
                for number in [missing, sent, compared] {
                    bytes.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
    }

    fn read(kind: u8, bytes: &[u8]) -> Result<Self, Malformed> {
        match kind {
            1 => Self::read_digest(bytes),
            2 => {
                let bits = <[u8; BUCKETS / 8]>::try_from(bytes);
                bits.map(|bits| Self::Ask(Buckets::from_bits(bits)))
                    .map_err(|_| malformed("a set of buckets has another length"))
            }
            3 => Self::read_hashes(bytes),
            4 => {
                let (numbers, rest) = bytes.as_chunks::<4>();
                let ([missing, sent, compared], []) = (numbers, rest) else {
                    return Err(malformed("a report has another length"));
                };
                let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
                let (missing, sent) = (number(missing), number(sent));
                Ok(Self::Report { missing, sent, compared: number(compared) })
            }
            _ => Err(malformed("its kind is unknown")),
        }
    }

    fn read_digest(bytes: &[u8]) -> Result<Self, Malformed> {
        let (first, rest) =
            bytes.split_first_chunk().ok_or_else(|| malformed("a digest is cut off"))?;
        let first = u16::from_be_bytes(*first);
        let (buckets, rest) = rest.as_chunks::<BUCKET_BYTES>();
        if !rest.is_empty() || buckets.is_empty() || buckets.len() > BUCKETS_IN_FRAME {
            return Err(malformed("a digest has another length"));
        }
        if usize::from(first) + buckets.len() > BUCKETS {
            return Err(malformed("a digest has more buckets than there are"));
        }
        let bucket = |bytes: &[u8; BUCKET_BYTES]| {
            let [c0, c1, c2, c3, xor @ ..] = *bytes;
            Bucket { count: u32::from_be_bytes([c0, c1, c2, c3]), xor: u64::from_be_bytes(xor) }
        };
        Ok(Self::Digest { first, buckets: buckets.iter().map(bucket).collect() })
    }

    fn read_hashes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (head, rest): (&[u8; 4], _) =
            bytes.split_first_chunk().ok_or_else(|| malformed("hashes are cut off"))?;
        let [p0, p1, n0, n1] = *head;
        let (part, parts) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([n0, n1]));
        let (hashes, rest) = rest.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.len() > HASHES_IN_FRAME {
            return Err(malformed("hashes have another length"));
        }
        if part >= parts || parts > MAX_PARTS {
            return Err(malformed("hashes have a part that is not of theirs"));
        }
        let hashes = hashes.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        Ok(Self::Hashes { part, parts, hashes })
    }
}
