//! The Internet checksum over VRRP messages.

use std::net::Ipv4Addr;

use crate::datagram::PROTOCOL;

/// The Internet checksum (RFC 1071) of `message` alone: version 2 (RFC 3768 §5.3.8), and version 3
/// over IPv4 as RFC 9568 §5.2.8 has it. Zero when `message` carries its right checksum.
pub fn plain(message: &[u8]) -> u16 {
    fold(sum(message))
}

/// The same with the IPv4 pseudo-header before it: version 3 as RFC 5798 is deployed.
/// Zero when `message` carries its right checksum.
pub fn with_pseudo_header(message: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo_header =
        sum(&source.octets()) + sum(&destination.octets()) + u32::from(PROTOCOL) + length;
    fold(pseudo_header + sum(message))
}

fn sum(bytes: &[u8]) -> u32 {
    // An IPv4 payload has at most 65,535 bytes: 32,768 words cannot overflow 32 bits.
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
