//! The IP packet around an advert.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Discard, Family, checksum};

/// IP protocol number of VRRP (RFC 9568 §5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// IPv4 multicast group of VRRP (RFC 9568 §5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// IPv6 multicast group of VRRP (RFC 9568 §5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// TTL and hop limit of our adverts, and the only one that counts on a segment: such a packet has
/// crossed no router (RFC 9568 §5.1.1.3, §5.1.2.3).
pub const TTL: u8 = 255;

/// Bytes of an IPv4 header without options.
const HEADER_BYTES: usize = 20;
/// Precedence "internetwork control", as routing protocols send.
const TYPE_OF_SERVICE: u8 = 0xc0;
/// More fragments, and the fragment offset.
const FRAGMENT_MASK: u16 = 0x3fff;

/// A received IP packet of protocol 112. Over IPv6 the kernel delivers no header: then the caller
/// makes it of what the kernel says beside the message (RFC 3542 §6.2, §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The VRRP message.
    pub message: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a packet that begins with its IPv4 header, as IPv4 raw sockets deliver it.
    ///
    /// # Errors
    /// [`Discard::IpHeader`] when it is no whole IPv4 packet of protocol 112.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Discard> {
        let header = packet.first_chunk::<HEADER_BYTES>().ok_or(Discard::IpHeader)?;
        let header_bytes = usize::from(header[0] & 0x0f) * 4;
        let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_MASK;
        let is_version_4 = header[0] >> 4 == 4;
        if !is_version_4
            || header_bytes < HEADER_BYTES
            || total_bytes < header_bytes
            || fragment != 0
            || header[9] != PROTOCOL
        {
            return Err(Discard::IpHeader);
        }
        let message = packet.get(header_bytes..total_bytes).ok_or(Discard::IpHeader)?;
        Ok(Self {
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
            ttl: header[8],
            message,
        })
    }

    /// An IPv6 packet, of what the kernel says of it.
    pub fn of_ipv6(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
        message: &'a [u8],
    ) -> Self {
        Self { source: source.into(), destination: destination.into(), ttl: hop_limit, message }
    }

    /// The family of the packet.
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// The VRID that the message names, to find its instance; none when it is too short to name
    /// one.
    pub fn vrid(&self) -> Option<u8> {
        self.message.get(1).copied()
    }
}

/// Appends the IPv4 header before a message of `message_bytes`. Identification is 0: the kernel fills
/// it in for a socket with `IP_HDRINCL`.
pub(crate) fn append_header(
    bytes: &mut Vec<u8>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    message_bytes: usize,
) {
    let total = u16::try_from(HEADER_BYTES + message_bytes).unwrap_or(u16::MAX);
    let mut header = [0; HEADER_BYTES];
    header[..2].copy_from_slice(&[0x45, TYPE_OF_SERVICE]);
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[8..10].copy_from_slice(&[TTL, PROTOCOL]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let sum = checksum::plain(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend_from_slice(&header);
}
