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

/// Who says in this Ethernet frame, by request or reply, that it has which address: MAC and
/// address of the sender (RFC 826). None for other frames, and for a probe, which claims nothing
/// (RFC 5227 §2.1.1).
pub fn claim(frame: &[u8]) -> Option<([u8; 6], Ipv4Addr)> {
    let frame = frame.first_chunk::<FRAME_BYTES>()?;
    let is_arp = frame[12..14] == ETHERTYPE_ARP && frame[14..20] == ETHERNET_IPV4_REQUEST[..6];
    let is_request_or_reply = frame[20] == 0 && (frame[21] == 1 || frame[21] == 2);
    let mac = *frame[22..28].first_chunk()?;
    let address = Ipv4Addr::from(*frame[28..32].first_chunk::<4>()?);
    let is_claim = is_arp && is_request_or_reply && !address.is_unspecified();
    is_claim.then_some((mac, address))
}

/// Whether a frame that [`claim`] read answers a question, instead of being one or an announcement.
pub fn is_reply(frame: &[u8]) -> bool {
    frame.get(20..22) == Some(&[0, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_requests_and_replies() {
        let (mac, vip) = ([2, 0, 0, 0, 0, 7], Ipv4Addr::new(10, 7, 0, 150));
        let request = announcement(mac, vip);
        assert_eq!(claim(&request), Some((mac, vip)));
        let mut reply = request;
        reply[21] = 2;
        assert_eq!(claim(&reply), Some((mac, vip)));
        assert!(is_reply(&reply) && !is_reply(&request) && !is_reply(&reply[..21]));
        for (position, value) in [(13, 0), (14, 1), (17, 1), (19, 6), (20, 1), (21, 3)] {
            let mut other = request;
            other[position] = value;
            assert_eq!(claim(&other), None, "byte {position}");
        }
        assert_eq!(claim(&announcement(mac, Ipv4Addr::UNSPECIFIED)), None);
        for length in 0..FRAME_BYTES {
            assert_eq!(claim(&request[..length]), None, "{length} bytes");
        }
    }

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
