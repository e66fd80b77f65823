//! The Internet checksum over VRRP messages.

use std::net::IpAddr;

use crate::datagram::PROTOCOL;

/// The Internet checksum (RFC 1071) of `message` alone: version 2 (RFC 3768 §5.3.8), and version 3
/// over IPv4 as RFC 9568 §5.2.8 has it. Zero when `message` carries its right checksum.
pub fn plain(message: &[u8]) -> u16 {
    fold(sum(message))
}

/// The same with a pseudo-header before it: version 3 over IPv6 (RFC 9568 §5.2.8, RFC 8200 §8.1),
/// and over IPv4 as RFC 5798 is deployed. Zero when `message` carries its right checksum.
pub fn with_pseudo_header(message: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
    of_protocol(PROTOCOL, message, source, destination)
}

/// The same of another protocol's message.
pub fn of_protocol(protocol: u8, message: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    // Both families' pseudo-headers have the same sum: addresses, length and protocol.
    let (high, low) = (length >> 16, length & 0xffff);
    let pseudo_header = of(source) + of(destination) + u32::from(protocol) + high + low;
    fold(pseudo_header + sum(message))
}

fn of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

fn sum(bytes: &[u8]) -> u32 {
    // An IP payload has at most 65,535 bytes: 32,768 words cannot overflow 32 bits.
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
