//! Adverts that keepalived 2.2.7 sent (captured on a veth pair), malformed ones, and the laws of
//! the codec.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fulcrum_model::Vrid;
use fulcrum_model::resource::VrrpChecksum;
use proptest::prelude::*;

use super::*;
use crate::Datagram;
use crate::datagram::{TTL, append_header};

const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 2));
const GROUP: IpAddr = IpAddr::V4(crate::datagram::GROUP);

/// Whole IPv4 packets as captured, without the Ethernet header.
const V2_PASS: &str = "45c0002800010000ff70d08a0a070001e0000012\
                       2133640101010ccb0a0700963131313100000000";
const V2_LEAVES: &str = "45c0002800040000ff70d0870a070001e0000012\
                         21330001010170cb0a0700963131313100000000";
const V2_NONE: &str = "45c0002c00010000ff70d0860a070001e0000012\
                       21345a0200016f8d0a0700960a0700970000000000000000";
const V3: &str = "45c0002000330000ff70d0600a070001e00000123133 6401000a758d0a070096";
const V3_UNICAST: &str = "45c0002800010000ff70a6940a0700010a070002\
                          3107c8030064d2210a0700960a0700970a070098";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")
    };
    digits.chunks(2).map(pair).collect()
}

fn addresses(last: &[u8]) -> AddressList<'static> {
    AddressList::new(last.iter().map(|last| IpAddr::from([10, 7, 0, *last])).collect())
        .expect("one to 255")
}

fn v2(vrid: u64, priority: u8, last: &[u8], authentication: Authentication) -> Advert<'static> {
    let interval = Seconds::new(1).expect("1 s");
    let body = Body::V2 { interval, authentication };
    Advert { vrid: Vrid::new(vrid).expect("a VRID"), priority, addresses: addresses(last), body }
}

fn v3(vrid: u64, priority: u8, last: &[u8], centiseconds: u16) -> Advert<'static> {
    let body = Body::V3 { interval: Centiseconds::new(centiseconds).expect("an interval") };
    Advert { vrid: Vrid::new(vrid).expect("a VRID"), priority, addresses: addresses(last), body }
}

#[test]
fn reads_and_writes_what_keepalived_sends() {
    let pass = || Authentication::Pass(*b"1111\0\0\0\0");
    for (captured, destination, expected) in [
        (V2_PASS, GROUP, v2(51, 100, &[150], pass())),
        (V2_LEAVES, GROUP, v2(51, 0, &[150], pass())),
        (V2_NONE, GROUP, v2(52, 90, &[150, 151], Authentication::None)),
        (V3, GROUP, v3(51, 100, &[150], 10)),
        (V3_UNICAST, PEER, v3(7, 200, &[150, 151, 152], 100)),
    ] {
        let packet = bytes(captured);
        let datagram = Datagram::parse(&packet).expect("a captured packet");
        assert_eq!(
            (datagram.source, datagram.destination, datagram.ttl),
            (SENDER, destination, TTL)
        );
        let advert = Advert::decode(datagram.message, SENDER, destination);
        assert_eq!(advert.as_ref(), Ok(&expected));
        let encoded = expected.encode(SENDER, destination, VrrpChecksum::Deployed);
        assert_eq!(encoded, datagram.message, "{captured}");
    }
}

#[test]
fn malformed_packets_have_a_reason() {
    let message = |captured: &str| bytes(captured).split_off(20);
    let edited = |captured: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut message = message(captured);
        edit(&mut message);
        // The reason is found behind a right checksum, unless the edit is about the checksum.
        message[CHECKSUM].copy_from_slice(&[0, 0]);
        let sum = checksum::plain(&message);
        message[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        message
    };
    let mut flipped = message(V2_PASS);
    flipped[2] ^= 0x40;
    let mut flipped_v3 = message(V3);
    flipped_v3[11] ^= 1;
    for (what, message, expected) in [
        ("nothing", vec![], Discard::Length),
        ("one byte", vec![0x21], Discard::Length),
        ("seven bytes", message(V3)[..7].to_vec(), Discard::Length),
        ("half an address", message(V3)[..10].to_vec(), Discard::Length),
        ("no authentication data", message(V2_PASS)[..12].to_vec(), Discard::Length),
        ("half of it", message(V2_PASS)[..16].to_vec(), Discard::Length),
        ("version 1", edited(V2_PASS, &|m| m[0] = 0x11), Discard::Version),
        ("version 4", edited(V3, &|m| m[0] = 0x41), Discard::Version),
        ("type 2", edited(V3, &|m| m[0] = 0x32), Discard::Type),
        ("priority flipped", flipped, Discard::Checksum),
        ("address flipped", flipped_v3, Discard::Checksum),
        ("VRID 0", edited(V3, &|m| m[1] = 0), Discard::Vrid),
        ("more addresses than there", edited(V3, &|m| m[3] = 2), Discard::Length),
        ("no address", edited(V3, &|m| m[3] = 0), Discard::NoAddress),
        ("v3 interval 0", edited(V3, &|m| m[5] = 0), Discard::ZeroInterval),
        ("v2 interval 0", edited(V2_PASS, &|m| m[5] = 0), Discard::ZeroInterval),
    ] {
        assert_eq!(Advert::decode(&message, SENDER, GROUP), Err(expected), "{what}");
    }
    let reserved = edited(V3, &|m| m[4] |= 0xf0);
    assert_eq!(Advert::decode(&reserved, SENDER, GROUP), Ok(v3(51, 100, &[150], 10)));
    let other = edited(V2_PASS, &|m| m[4] = 2);
    let expected = v2(51, 100, &[150], Authentication::Other { kind: 2 });
    assert_eq!(Advert::decode(&other, SENDER, GROUP), Ok(expected));
}

#[test]
fn packets_that_are_no_datagram_have_a_reason() {
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = bytes(V3);
        edit(&mut packet);
        packet
    };
    for (what, packet) in [
        ("nothing", vec![]),
        ("half a header", bytes(V3)[..19].to_vec()),
        ("IPv6", edited(&|p| p[0] = 0x65)),
        ("header length 16", edited(&|p| p[0] = 0x44)),
        ("header longer than the packet", edited(&|p| p[0] = 0x4f)),
        ("total length below the header", edited(&|p| p[3] = 19)),
        ("total length above the packet", edited(&|p| p[3] += 1)),
        ("UDP", edited(&|p| p[9] = 17)),
        ("first fragment", edited(&|p| p[6] = 0x20)),
        ("last fragment", edited(&|p| p[7] = 1)),
    ] {
        assert_eq!(Datagram::parse(&packet), Err(Discard::IpHeader), "{what}");
    }
}

fn any_advert() -> impl Strategy<Value = Advert<'static>> {
    let body = prop_oneof![
        (1..=255_u8, prop::option::of(any::<[u8; 8]>())).prop_map(|(seconds, pass)| Body::V2 {
            interval: Seconds::new(seconds).expect("above 0"),
            authentication: pass.map_or(Authentication::None, Authentication::Pass),
        }),
        (1..=Centiseconds::MAX).prop_map(|centiseconds| Body::V3 {
            interval: Centiseconds::new(centiseconds).expect("in range"),
        }),
    ];
    let address = any::<Ipv4Addr>().prop_map(IpAddr::V4);
    let addresses = prop::collection::vec(address, 1..=AddressList::MAX);
    (1..=255_u64, any::<u8>(), addresses, body).prop_map(|(vrid, priority, addresses, body)| {
        let addresses = AddressList::new(addresses).expect("in range");
        Advert { vrid: Vrid::new(vrid).expect("in range"), priority, addresses, body }
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(packet in prop::collection::vec(any::<u8>(), 0..1200)) {
        if let Ok(datagram) = Datagram::parse(&packet) {
            let _ = Advert::decode(datagram.message, datagram.source, datagram.destination);
        }
        let _ = Advert::decode(&packet, SENDER, GROUP);
    }

    #[test]
    fn an_edited_advert_never_panics(
        advert in any_advert(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut message = advert.encode(SENDER, GROUP, VrrpChecksum::Deployed);
        let at = at.index(message.len());
        message[at] = value;
        message.truncate(keep.index(message.len() + 1));
        let _ = Advert::decode(&message, SENDER, GROUP);
    }

    #[test]
    fn what_is_encoded_over_ipv6_is_decoded(
        vrid in 1..=255_u64,
        priority in any::<u8>(),
        rest in prop::collection::vec(any::<Ipv6Addr>(), 0..AddressList::MAX),
        centiseconds in 1..=Centiseconds::MAX,
        source in any::<Ipv6Addr>(),
    ) {
        let first = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let all = std::iter::once(first).chain(rest).map(IpAddr::V6).collect();
        let addresses = AddressList::new(all).expect("in range");
        let body = Body::V3 { interval: Centiseconds::new(centiseconds).expect("in range") };
        let vrid = Vrid::new(vrid).expect("in range");
        let advert = Advert { vrid, priority, addresses, body };
        let (source, group) = (IpAddr::V6(source), IpAddr::V6(crate::datagram::GROUP_V6));
        let message = advert.encode(source, group, VrrpChecksum::Deployed);
        prop_assert_eq!(Advert::decode(&message, source, group), Ok(advert));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        advert in any_advert(),
        source in any::<Ipv4Addr>(),
        destination in any::<Ipv4Addr>(),
        is_deployed in any::<bool>(),
    ) {
        let form = if is_deployed { VrrpChecksum::Deployed } else { VrrpChecksum::Rfc9568 };
        let mut packet = Vec::new();
        append_header(&mut packet, source, destination, advert.length());
        let (source, destination) = (source.into(), destination.into());
        let message = advert.encode(source, destination, form);
        prop_assert_eq!(Advert::decode(&message, source, destination), Ok(advert));
        packet.extend_from_slice(&message);
        let datagram = Datagram { source, destination, ttl: TTL, message: &message };
        prop_assert_eq!(Datagram::parse(&packet), Ok(datagram));
    }
}
