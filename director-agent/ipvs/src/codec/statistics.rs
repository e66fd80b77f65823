//! Traffic of an entry. Read apart from the entries themselves: a table is compared often, and its counters are looked at
//! seldom.

use super::attribute::{Attributes, Malformed, array};
use super::decode::{DecodeError, nested};
use super::{
    command_attribute, dest_attribute as dest, service_attribute as service,
    stats_attribute as stats,
};

/// Traffic as the kernel counts it in 64 bits (`struct ip_vs_kstats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients, where replies pass the director.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Connections per second, as the kernel estimates.
    pub connections_per_s: u64,
    /// Packets from clients per second.
    pub packets_in_per_s: u64,
    /// Packets to clients per second.
    pub packets_out_per_s: u64,
    /// Bytes from clients per second.
    pub bytes_in_per_s: u64,
    /// Bytes to clients per second.
    pub bytes_out_per_s: u64,
}

/// The traffic of a virtual server, from the attributes of an answer to `GET_SERVICE`; none where the kernel does not count in
/// 64 bits (before 4.1).
///
/// # Errors
/// [`DecodeError`] when its bytes do not hold together.
pub fn virtual_server_statistics(attributes: &[u8]) -> Result<Option<Statistics>, DecodeError> {
    let entry = nested(attributes, command_attribute::SERVICE, "IPVS_CMD_ATTR_SERVICE")?;
    Ok(find(entry, service::STATS64)?)
}

/// The traffic of a real server, from the attributes of an answer to `GET_DEST`.
///
/// # Errors
/// As [`virtual_server_statistics`].
pub fn destination_statistics(attributes: &[u8]) -> Result<Option<Statistics>, DecodeError> {
    let entry = nested(attributes, command_attribute::DEST, "IPVS_CMD_ATTR_DEST")?;
    Ok(find(entry, dest::STATS64)?)
}

fn find(entry: &[u8], wanted: u16) -> Result<Option<Statistics>, Malformed> {
    for attribute in Attributes::new(entry) {
        let (kind, value) = attribute?;
        if kind == wanted {
            return read(value).map(Some);
        }
    }
    Ok(None)
}

fn read(bytes: &[u8]) -> Result<Statistics, Malformed> {
    let mut read = Statistics::default();
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        let counter = match kind {
            stats::CONNS => &mut read.connections,
            stats::INPKTS => &mut read.packets_in,
            stats::OUTPKTS => &mut read.packets_out,
            stats::INBYTES => &mut read.bytes_in,
            stats::OUTBYTES => &mut read.bytes_out,
            stats::CPS => &mut read.connections_per_s,
            stats::INPPS => &mut read.packets_in_per_s,
            stats::OUTPPS => &mut read.packets_out_per_s,
            stats::INBPS => &mut read.bytes_in_per_s,
            stats::OUTBPS => &mut read.bytes_out_per_s,
            // Padding, and what a later kernel adds.
            _ => continue,
        };
        *counter = u64::from_ne_bytes(array(value, 0)?);
    }
    Ok(read)
}
