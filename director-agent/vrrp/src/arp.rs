//! Gratuitous ARP.

use std::net::Ipv4Addr;

/// Bytes of an Ethernet frame with an ARP packet, without padding.
pub const FRAME_BYTES: usize = 42;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4, operation request.
const ETHERNET_IPV4_REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];

/// The broadcast frame that tells a segment that `vip` is now at `mac`: an ARP announcement (RFC
/// 5227 §3), which is the gratuitous ARP request of RFC 9568 §8.1.2. Neighbours that know the VIP
/// take the new address from it.
pub fn announcement(mac: [u8; 6], vip: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[0..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
    frame[14..22].copy_from_slice(&ETHERNET_IPV4_REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&vip.octets());
    frame[32..38].copy_from_slice(&BROADCAST);
    frame[38..42].copy_from_slice(&vip.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_frame_that_keepalived_sends() {
        let captured = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3, 0x08, 0x06,
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3,
            0x0a, 0x07, 0x00, 0x96, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0a, 0x07, 0x00, 0x96,
        ];
        let built =
            announcement([0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3], Ipv4Addr::new(10, 7, 0, 150));
        assert_eq!(built, captured);
    }
}
