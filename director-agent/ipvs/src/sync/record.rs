//! Messages of the kernel's sync daemons, protocol version 1 (`net/netfilter/ipvs/ip_vs_sync.c`).
//!
//! ```text
//!   message: 0 | sync id | size (2) | records | version 1 | spare 0 (2) | record ...
//!   record:  type | protocol | size (2) | flags (4) | state (2) | client port (2) | virtual port (2)
//!            | destination port (2) | fwmark (4) | timeout in s (4) | client | virtual | destination
//!            | options ... | padding to 4 before the next record
//! ```
//!
//! Everything is big-endian. A record's size counts its options and not its padding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::listing::{Connection, Phase};
use crate::Forwarding;

/// Bytes of a message's header.
const HEADER: usize = 8;
/// Bytes of a record before its addresses.
const FIXED: usize = 24;
/// Protocol version in a message's header.
const VERSION: u8 = 1;
/// `STYPE_F_INET6`.
const TYPE_V6: u8 = 1;
/// `SVER_MASK`: the low twelve bits are the record's size, the others its version, 0.
const SIZE_MASK: u16 = 0x0fff;
/// Most records of a message: its count is a byte.
const MAX_RECORDS: usize = u8::MAX as usize;

/// `IP_VS_CONN_F_NOOUTPUT`: replies do not pass the director.
pub const NO_OUTPUT: u32 = 0x0080;
/// `IP_VS_CONN_F_INACTIVE`: counts among the inactive connections.
pub const INACTIVE: u32 = 0x0100;
/// `IP_VS_CONN_F_TEMPLATE`: a client's persistence rather than a connection.
pub const TEMPLATE: u32 = 0x1000;
/// `IP_VS_TCP_S_ESTABLISHED`.
pub const TCP_ESTABLISHED: u16 = 1;

/// A connection as sync messages tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// IANA protocol number.
    pub protocol: u8,
    /// `IP_VS_CONN_F_*`; the low three bits are the forwarding method.
    pub flags: u32,
    /// State, by protocol; of a template 1 when it is assured.
    pub state: u16,
    /// Firewall mark of its virtual server; 0 when it has an address.
    pub fwmark: u32,
    /// Its timeout in seconds, counted anew from its next packet; 0 for the state's own.
    pub timeout_s: u32,
    /// Client. All three addresses are of one family.
    pub client: SocketAddr,
    /// Virtual server.
    pub virtual_server: SocketAddr,
    /// Real server.
    pub destination: SocketAddr,
    /// Options (sequence numbers, data of a persistence engine), as they came.
    pub options: Vec<u8>,
}

/// A sync message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sync identifier of the sender.
    pub sync_id: u8,
    /// Its records.
    pub records: Vec<Record>,
}

/// Bytes that are no sync message of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed sync message: {what}")]
pub struct MalformedMessage {
    /// What is wrong.
    pub what: &'static str,
}

fn malformed(what: &'static str) -> MalformedMessage {
    MalformedMessage { what }
}

impl Record {
    /// The record that makes another kernel hold this connection. `forwarding` counts there only
    /// where the destination is not in the table: otherwise the entry takes its destination's
    /// method. A template lives as long as it takes part, so it comes with the virtual server's
    /// whole `persistence_timeout_s`; a connection with what is left of its own, and its next
    /// packet sets the state's.
    pub fn of(
        connection: &Connection,
        forwarding: Forwarding,
        persistence_timeout_s: u32,
    ) -> Option<Self> {
        let by_method = match forwarding {
            Forwarding::Masq => 0,
            Forwarding::Local | Forwarding::Tunnel(_) | Forwarding::Route | Forwarding::Bypass => {
                NO_OUTPUT
            }
        };
        let (by_phase, state, timeout_s) = match connection.phase {
            Phase::Established => (0, TCP_ESTABLISHED, connection.expires_s),
            Phase::Datagrams => (INACTIVE, 0, connection.expires_s),
            Phase::Template { assured } => {
                (INACTIVE | TEMPLATE, u16::from(assured), persistence_timeout_s)
            }
            Phase::Other => return None,
        };
        Some(Self {
            protocol: connection.transport.number(),
            flags: forwarding.number() | by_method | by_phase,
            state,
            fwmark: 0,
            // 0 would mean the state's own timeout, and the entry is about to end.
            timeout_s: timeout_s.max(1),
            client: connection.client,
            virtual_server: connection.virtual_server,
            destination: connection.destination,
            options: Vec::new(),
        })
    }

    fn is_v6(&self) -> bool {
        self.client.is_ipv6()
    }

    fn size(&self) -> usize {
        FIXED + 3 * if self.is_v6() { 16 } else { 4 } + self.options.len()
    }

    fn put(&self, buffer: &mut Vec<u8>) {
        let size = u16::try_from(self.size()).unwrap_or(SIZE_MASK) & SIZE_MASK;
        buffer.extend_from_slice(&[if self.is_v6() { TYPE_V6 } else { 0 }, self.protocol]);
        buffer.extend_from_slice(&size.to_be_bytes());
        buffer.extend_from_slice(&self.flags.to_be_bytes());
        buffer.extend_from_slice(&self.state.to_be_bytes());
        for end in [self.client, self.virtual_server, self.destination] {
            buffer.extend_from_slice(&end.port().to_be_bytes());
        }
        buffer.extend_from_slice(&self.fwmark.to_be_bytes());
        buffer.extend_from_slice(&self.timeout_s.to_be_bytes());
        for end in [self.client, self.virtual_server, self.destination] {
            match end.ip() {
                IpAddr::V4(address) => buffer.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => buffer.extend_from_slice(&address.octets()),
            }
        }
        buffer.extend_from_slice(&self.options);
    }

    fn read(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let cut_off = || malformed("a record is cut off");
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(cut_off)?;
        let is_v6 = match fixed[0] {
            0 => false,
            TYPE_V6 => true,
            _ => return Err(malformed("a record has a type that is neither IPv4 nor IPv6")),
        };
        let width = if is_v6 { 16 } else { 4 };
        let addresses = bytes.get(FIXED..FIXED + 3 * width).ok_or_else(cut_off)?;
        let end = |index: usize| {
            let part = &addresses[index * width..(index + 1) * width];
            let address = match <[u8; 4]>::try_from(part) {
                Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
                Err(_) => IpAddr::V6(Ipv6Addr::from(
                    <[u8; 16]>::try_from(part).expect("it is 4 or 16 bytes wide"),
                )),
            };
            SocketAddr::new(address, u16_at(fixed, 10 + 2 * index))
        };
        Ok(Self {
            protocol: fixed[1],
            flags: u32_at(fixed, 4),
            state: u16_at(fixed, 8),
            fwmark: u32_at(fixed, 16),
            timeout_s: u32_at(fixed, 20),
            client: end(0),
            virtual_server: end(1),
            destination: end(2),
            options: bytes[FIXED + 3 * width..].to_vec(),
        })
    }
}

fn u16_at(fixed: &[u8; FIXED], offset: usize) -> u16 {
    u16::from_be_bytes([fixed[offset], fixed[offset + 1]])
}

fn u32_at(fixed: &[u8; FIXED], offset: usize) -> u32 {
    u32::from_be_bytes([fixed[offset], fixed[offset + 1], fixed[offset + 2], fixed[offset + 3]])
}

impl Message {
    /// The message in `bytes`, which is a whole datagram.
    ///
    /// # Errors
    /// [`MalformedMessage`] says what is wrong: lengths, types and versions that do not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let header: &[u8; HEADER] =
            bytes.first_chunk().ok_or_else(|| malformed("the header is cut off"))?;
        let [zero, sync_id, size_high, size_low, count, version, spare @ ..] = *header;
        if usize::from(u16::from_be_bytes([size_high, size_low])) != bytes.len() {
            return Err(malformed("its size is not the datagram's"));
        }
        if zero != 0 || version != VERSION || spare != [0, 0] {
            return Err(malformed("it is not of version 1"));
        }
        let mut rest = &bytes[HEADER..];
        let mut records = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let head: &[u8; 4] =
                rest.first_chunk().ok_or_else(|| malformed("a record is cut off"))?;
            let size = u16::from_be_bytes([head[2], head[3]]);
            if size & !SIZE_MASK != 0 {
                return Err(malformed("a record is not of version 0"));
            }
            let record = rest.get(..usize::from(size));
            records.push(Record::read(record.ok_or_else(|| malformed("a record is cut off"))?)?);
            rest = rest.get(usize::from(size).next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(Self { sync_id, records })
    }

    /// The messages that tell of these records, none longer than `max_bytes`, in order. A record
    /// that fits in none is left out.
    pub fn encode_all(sync_id: u8, records: &[Record], max_bytes: usize) -> Vec<Vec<u8>> {
        let max_bytes = max_bytes.min(usize::from(u16::MAX));
        let mut messages = Vec::new();
        let mut current = Draft::new(sync_id);
        for record in records {
            let size = record.size();
            if HEADER + size > max_bytes || size > usize::from(SIZE_MASK) {
                continue;
            }
            if current.bytes.len().next_multiple_of(4) + size > max_bytes
                || usize::from(current.count) == MAX_RECORDS
            {
                let full = std::mem::replace(&mut current, Draft::new(sync_id));
                messages.extend(full.finish());
            }
            current.push(record);
        }
        messages.extend(current.finish());
        messages
    }
}

/// A message in the making.
struct Draft {
    bytes: Vec<u8>,
    count: u8,
}

impl Draft {
    fn new(sync_id: u8) -> Self {
        Self { bytes: vec![0, sync_id, 0, 0, 0, VERSION, 0, 0], count: 0 }
    }

    fn push(&mut self, record: &Record) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        record.put(&mut self.bytes);
        self.count += 1;
    }

    /// The bytes; none when there is no record.
    fn finish(mut self) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let size = u16::try_from(self.bytes.len()).expect("a message is at most 65,535 bytes");
        self.bytes[2..4].copy_from_slice(&size.to_be_bytes());
        self.bytes[4] = self.count;
        Some(self.bytes)
    }
}
