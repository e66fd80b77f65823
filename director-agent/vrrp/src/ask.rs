//! Asking a gateway whether it is there: ARP, neighbour solicitation and ICMP echo, as bytes.
//!
//! Answers come from the network: whatever is malformed is simply no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

/// Bytes of an Ethernet frame with an ARP packet, without padding.
const ARP_FRAME_BYTES: usize = 42;
const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4; the operation follows.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// RFC 4861 §4.3 and §4.4.
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Source link-layer address, one unit of 8 bytes.
const SOURCE_LINK_ADDRESS: [u8; 2] = [1, 1];

/// RFC 792 and RFC 4443 §4.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// Bytes of an echo message without data.
pub const ECHO_BYTES: usize = 8;

/// The broadcast frame that asks who has `target` (RFC 826). `source` is ours; unspecified where we
/// have none (the ARP probe of RFC 5227 §2.1.1).
pub fn arp_request(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> [u8; ARP_FRAME_BYTES] {
    let mut frame = [0; ARP_FRAME_BYTES];
    frame[0..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
    frame[14..20].copy_from_slice(&ETHERNET_IPV4);
    frame[20..22].copy_from_slice(&REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&source.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// Who says, in this Ethernet frame, that `target` is at its address; none when it is no such reply.
pub fn arp_reply(frame: &[u8], target: Ipv4Addr) -> Option<[u8; 6]> {
    let frame = frame.first_chunk::<ARP_FRAME_BYTES>()?;
    let is_reply = frame[12..14] == ETHERTYPE_ARP
        && frame[14..20] == ETHERNET_IPV4
        && frame[20..22] == REPLY
        && frame[28..32] == target.octets();
    let sender = <[u8; 6]>::try_from(&frame[22..28]).ok()?;
    is_reply.then_some(sender)
}

/// The neighbour solicitation for `target`, and where it goes: the target's solicited-node group
/// (RFC 4861 §7.2.2). The kernel adds the checksum; the hop limit must be 255.
pub fn solicitation(mac: [u8; 6], target: Ipv6Addr) -> ([u8; 32], Ipv6Addr) {
    let mut message = [0; 32];
    message[0] = NEIGHBOUR_SOLICITATION;
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&SOURCE_LINK_ADDRESS);
    message[26..32].copy_from_slice(&mac);
    let octets = target.octets();
    let low = u16::from_be_bytes([octets[14], octets[15]]);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(octets[13]), low);
    (message, group)
}

/// Whether this `ICMPv6` message is a neighbour advertisement for `target`.
pub fn is_advertisement(message: &[u8], target: Ipv6Addr) -> bool {
    let is_advertisement = message.starts_with(&[NEIGHBOUR_ADVERTISEMENT, 0]);
    is_advertisement && message.get(8..24) == Some(&target.octets())
}

/// An echo request to `target`. The kernel adds the checksum of `ICMPv6`.
pub fn echo_request(target: IpAddr, identifier: u16, sequence: u16) -> [u8; ECHO_BYTES] {
    let mut message = [0; ECHO_BYTES];
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    match target {
        IpAddr::V4(_) => {
            message[0] = ECHO_V4.0;
            let checksum = checksum::plain(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        IpAddr::V6(_) => message[0] = ECHO_V6.0,
    }
    message
}

/// Whether what a raw socket received (version 4: with the IP header) is `target`'s answer to that
/// request.
pub fn is_echo_reply(packet: &[u8], target: IpAddr, identifier: u16, sequence: u16) -> bool {
    let (message, kind) = match target {
        IpAddr::V4(target) => (ipv4_payload(packet, target), ECHO_V4.1),
        // The socket is connected, so that only the target's messages come.
        IpAddr::V6(_) => (Some(packet), ECHO_V6.1),
    };
    let Some(message) = message.and_then(<[u8]>::first_chunk::<ECHO_BYTES>) else { return false };
    message[0..2] == [kind, 0]
        && message[4..6] == identifier.to_be_bytes()
        && message[6..8] == sequence.to_be_bytes()
}

fn ipv4_payload(packet: &[u8], source: Ipv4Addr) -> Option<&[u8]> {
    let header = packet.first_chunk::<20>()?;
    let is_from_source = header[0] >> 4 == 4 && header[12..16] == source.octets();
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    packet.get(header_bytes..).filter(|_| is_from_source && header_bytes >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3];
    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

    /// Linux answers an ARP request of 10.7.0.2.
    const REPLY_FRAME: [u8; 42] = [
        0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3, 0x5a, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x06, 0x00,
        0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, 0x5a, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0a, 0x07,
        0x00, 0x01, 0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3, 0x0a, 0x07, 0x00, 0x02,
    ];

    #[test]
    fn an_arp_request_asks_for_the_target() {
        let frame = arp_request(MAC, Ipv4Addr::new(10, 7, 0, 2), ROUTER);
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3, 0x08, 0x06,
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x86, 0x78, 0xdf, 0xcc, 0x03, 0xc3,
            0x0a, 0x07, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x07, 0x00, 0x01,
        ];
        assert_eq!(frame, expected);
        assert_eq!(arp_reply(&frame, ROUTER), None, "a request is no reply");
    }

    #[test]
    fn only_the_targets_reply_counts() {
        let mut padded = REPLY_FRAME.to_vec();
        padded.resize(60, 0);
        assert_eq!(arp_reply(&padded, ROUTER), Some([0x5a, 1, 2, 3, 4, 5]));
        assert_eq!(arp_reply(&REPLY_FRAME, Ipv4Addr::new(10, 7, 0, 3)), None);
        for length in 0..REPLY_FRAME.len() {
            assert_eq!(arp_reply(&REPLY_FRAME[..length], ROUTER), None, "{length} bytes");
        }
    }

    #[test]
    fn a_solicitation_goes_to_the_targets_group() {
        let target: Ipv6Addr = "fe80::1234:5678".parse().expect("an address");
        let (message, group) = solicitation(MAC, target);
        assert_eq!(group.to_string(), "ff02::1:ff34:5678");
        assert_eq!((message[0], &message[8..24]), (135, &target.octets()[..]));
        assert_eq!((&message[24..26], &message[26..]), (&[1, 1][..], &MAC[..]));
        let mut answer = message;
        answer[0] = 136;
        assert!(is_advertisement(&answer, target));
        assert!(!is_advertisement(&message, target), "the question is no answer");
        assert!(!is_advertisement(&answer, Ipv6Addr::LOCALHOST));
        assert!(!is_advertisement(&answer[..23], target));
    }

    #[test]
    fn an_echo_is_answered_by_its_target_alone() {
        let request = echo_request(ROUTER.into(), 0x1234, 7);
        // As ping(8) sends it.
        assert_eq!(request, [8, 0, 0xe5, 0xc4, 0x12, 0x34, 0, 7]);
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2];
        packet.extend([0, 0, 0xed, 0xc4, 0x12, 0x34, 0, 7]);
        let is_reply = |packet: &[u8], source, id, sequence| {
            is_echo_reply(packet, IpAddr::V4(source), id, sequence)
        };
        assert!(is_reply(&packet, ROUTER, 0x1234, 7));
        assert!(!is_reply(&packet, Ipv4Addr::new(10, 7, 0, 3), 0x1234, 7));
        assert!(!is_reply(&packet, ROUTER, 0x1234, 8), "a late answer to an earlier request");
        assert!(!is_reply(&packet, ROUTER, 0x1235, 7), "the answer to another program");
        for length in 0..packet.len() {
            assert!(!is_reply(&packet[..length], ROUTER, 0x1234, 7), "{length} bytes");
        }
        let target = Ipv6Addr::LOCALHOST.into();
        assert_eq!(echo_request(target, 1, 2), [128, 0, 0, 0, 0, 1, 0, 2]);
        assert!(is_echo_reply(&[129, 0, 9, 9, 0, 1, 0, 2], target, 1, 2));
        assert!(!is_echo_reply(&[128, 0, 9, 9, 0, 1, 0, 2], target, 1, 2));
    }
}
