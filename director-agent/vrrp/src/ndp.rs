//! Unsolicited neighbour advertisements.

use std::net::{IpAddr, Ipv6Addr};

use crate::checksum;

/// Bytes of an `ICMPv6` neighbour advertisement with the target's link-layer address.
pub const MESSAGE_BYTES: usize = 32;
/// Bytes of the Ethernet frame around it.
pub const FRAME_BYTES: usize = 14 + 40 + MESSAGE_BYTES;
/// Every node on the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The Ethernet address of [`ALL_NODES`] (RFC 2464 §7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_ICMPV6: u8 = 58;
/// Neighbour discovery counts with this hop limit alone (RFC 4861 §7.1.2).
const HOP_LIMIT: u8 = 255;
/// Type 136, code 0.
const NEIGHBOUR_ADVERTISEMENT: [u8; 2] = [136, 0];
/// Router and Override set, Solicited not: R=1, S=0, O=1 (RFC 9568 §6.4.2, §8.2.2).
const FLAGS: u8 = 0b1010_0000;
/// Option 2, target link-layer address, one unit of 8 bytes (RFC 4861 §4.6.1).
const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];

/// The frame that tells every node of a segment that `vip` is now at `mac`, sent from `vip` itself:
/// nodes that know it take the new address from it. It goes out by a packet socket, because the
/// kernel does not send from an address that is still tentative.
pub fn announcement(mac: [u8; 6], vip: Ipv6Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);
    // Version 6, traffic class and flow label 0.
    frame[14] = 0x60;
    frame[18..20].copy_from_slice(&[0, 32]);
    frame[20] = PROTOCOL_ICMPV6;
    frame[21] = HOP_LIMIT;
    frame[22..38].copy_from_slice(&vip.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    frame[54..].copy_from_slice(&message(mac, vip));
    frame
}

/// The `ICMPv6` message alone, from `vip` to [`ALL_NODES`].
pub fn message(mac: [u8; 6], vip: Ipv6Addr) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[0..2].copy_from_slice(&NEIGHBOUR_ADVERTISEMENT);
    message[4] = FLAGS;
    message[8..24].copy_from_slice(&vip.octets());
    message[24..26].copy_from_slice(&TARGET_LINK_LAYER_ADDRESS);
    message[26..32].copy_from_slice(&mac);
    let (source, destination) = (IpAddr::V6(vip), IpAddr::V6(ALL_NODES));
    let sum = checksum::of_protocol(PROTOCOL_ICMPV6, &message, source, destination);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_frame_that_the_standards_describe() {
        let vip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x64);
        let mac = [0x02, 0, 0, 0, 0, 1];
        let frame = announcement(mac, vip);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58], 0xa0, "R=1 S=0 O=1");
        assert_eq!(frame[62..78], vip.octets());
        let (source, destination) = (IpAddr::V6(vip), IpAddr::V6(ALL_NODES));
        assert_eq!(checksum::of_protocol(58, &frame[54..], source, destination), 0);
    }
}
