//! Messages as a kernel sent them to a socket that listens; those of links are cut down to the
//! attributes that are read.

use super::*;
use crate::addresses::netlink::parse;

/// `ip address add 10.9.0.1/24 dev t0`
const ADDRESS_V4: &str = "4c000000140000000564076bfc1600000218800003000000080001000a090001080002000a09 \
    00010700030074300000080008008000000014000600ffffffffffffffffcf3c0800cf3c0800";

/// `ip address del 10.9.0.1/24 dev t0`
const ADDRESS_V4_GONE: &str = "4c000000150000000a64076b221700000218800003000000080001000a090001080002000a09 \
    00010700030074300000080008008000000014000600ffffffffffffffffcf3c0800cf3c0800";

/// `ip address add 2001:db8:9::1/64 dev t0`, and its duplicate address detection
/// begins.
const ADDRESS_V6_TENTATIVE: &str = "480000001400000000000000000000000a40c000030000001400010020010db8000900000000 \
    00000000000114000600ffffffffffffffffcf3d0800cf3d080008000800c0000000";

/// It has passed.
const ADDRESS_V6: &str = "480000001400000000000000000000000a408000030000001400010020010db8000900000000 \
    00000000000114000600ffffffffffffffffcf3d0800cf3d08000800080080000000";

/// `ip route add default via 10.9.0.254`
const DEFAULT_V4: &str = "34000000180000060664076bfe16000002000000fe0300010000000008000f00fe0000000800 \
    05000a0900fe0800040003000000";

/// `ip route del default`
const DEFAULT_V4_GONE: &str = "34000000190000000964076b2017000002000000fe0300010000000008000f00fe0000000800 \
    05000a0900fe0800040003000000";

/// `ip route add 10.20.0.0/16 via 10.9.0.254 table 100`
const OTHER_TABLE: &str = "3c000000180000060764076b0017000002100000640300010000000008000f00640000000800 \
    01000a140000080005000a0900fe0800040003000000";

/// `ip route add blackhole 10.30.0.0/16`
const BLACKHOLE: &str = "2c000000180000060764076b0217000002100000fe0300060000000008000f00fe0000000800 \
    01000a1e0000";

/// `ip route add 2001:db8:20::/48 via fe80::1 dev t0`
const ROUTE_V6: &str = "88000000180000060864076b1a1700000a300000fe0300010000000008000f00fe0000001400 \
    010020010db8002000000000000000000000080006000004000014000500fe80000000000000 \
    0000000000000001080004000300000024000c00000000000000000000000000000000000000 \
    00000000000000000000000000000500140000000000";

/// `RTM_NEWLINK` of interface 3, t0, with these flags.
fn link(flags: u32) -> Vec<u8> {
    let mut bytes = from_hex("280000001000000000000000000000000000010003000000");
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(from_hex("ffffffff0700030074300000"));
    bytes
}

const UP: u32 = 0x1;
const LOWER_UP: u32 = 0x1_0000;

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(text, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(byte).collect()
}

fn tell(kernel: &mut Kernel, datagram: &[u8]) -> Vec<Noted> {
    let messages = parse(datagram).into_iter().filter_map(|message| match message.payload {
        netlink_packet_core::NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    });
    messages.map(|message| kernel.note(&message)).collect()
}

fn interface(name: &str) -> TrackTarget {
    TrackTarget::Interface(name.to_owned())
}

fn address(text: &str) -> TrackTarget {
    TrackTarget::Address(text.parse().expect("an address"))
}

fn route(text: &str) -> TrackTarget {
    TrackTarget::Route(text.parse().expect("a destination"))
}

/// As after a first read of a host that has nothing.
fn watching(targets: &[TrackTarget]) -> Kernel {
    let mut kernel = Kernel::default();
    kernel.want(targets);
    kernel.is_read = true;
    kernel
}

fn state(kernel: &Kernel, target: &TrackTarget) -> (Health, String) {
    let state = kernel.states().remove(target).expect("tracked");
    (state.health, state.seen)
}

#[test]
fn nothing_is_known_before_the_first_read() {
    let mut kernel = Kernel::default();
    kernel.want(&[interface("t0")]);
    assert!(kernel.states().is_empty());
}

#[test]
fn an_interface_is_well_when_up_and_plugged_in() {
    let target = interface("t0");
    let mut kernel = watching(std::slice::from_ref(&target));
    let cases = [
        (None, Health::Unwell, "this host has no interface t0"),
        (Some(0), Health::Unwell, "interface t0 is down"),
        (Some(UP), Health::Unwell, "interface t0 has no carrier"),
        (Some(UP | LOWER_UP), Health::Well, "interface t0 is up"),
    ];
    for (flags, health, seen) in cases {
        if let Some(flags) = flags {
            assert_eq!(tell(&mut kernel, &link(flags)), [Noted::Done]);
        }
        assert_eq!(state(&kernel, &target), (health, seen.to_owned()));
    }
    let mut gone = link(0);
    gone[4] = 17;
    tell(&mut kernel, &gone);
    assert_eq!(state(&kernel, &target).1, "this host has no interface t0");
}

#[test]
fn an_address_is_well_once_it_can_be_used() {
    let (v4, v6) = (address("10.9.0.1"), address("2001:db8:9::1"));
    let mut kernel = watching(&[v4.clone(), v6.clone()]);
    assert_eq!(state(&kernel, &v4).1, "this host does not have 10.9.0.1");
    let mut datagram = from_hex(ADDRESS_V4);
    datagram.extend(from_hex(ADDRESS_V6_TENTATIVE));
    assert_eq!(tell(&mut kernel, &datagram).len(), 2, "two messages in one datagram");
    assert_eq!(state(&kernel, &v4), (Health::Well, "this host has 10.9.0.1".to_owned()));
    let doubtful = "2001:db8:9::1 cannot be used: duplicate address detection has not passed";
    assert_eq!(state(&kernel, &v6), (Health::Unwell, doubtful.to_owned()));
    tell(&mut kernel, &from_hex(ADDRESS_V6));
    assert_eq!(state(&kernel, &v6).0, Health::Well);
    tell(&mut kernel, &from_hex(ADDRESS_V4_GONE));
    assert_eq!(state(&kernel, &v4).0, Health::Unwell);
    assert_eq!(kernel.addresses.len(), 1, "only what is tracked is kept");
}

#[test]
fn a_route_of_the_main_table_makes_its_target_be_read() {
    let targets = [route("0.0.0.0/0"), route("10.20.5.5/16"), route("10.30.0.0/16")];
    let mut kernel = watching(&targets);
    let cases = [
        (DEFAULT_V4, Noted::RoutesChanged),
        (DEFAULT_V4_GONE, Noted::RoutesChanged),
        (OTHER_TABLE, Noted::Done),
        (BLACKHOLE, Noted::Done),
        (ROUTE_V6, Noted::Done),
        // The kernel removes IPv4 routes without a word when their interface or address goes.
        (ADDRESS_V4_GONE, Noted::RoutesChanged),
    ];
    for (message, expected) in cases {
        assert_eq!(tell(&mut kernel, &from_hex(message)), [expected], "{message}");
    }
    assert_eq!(tell(&mut kernel, &link(UP)), [Noted::RoutesChanged]);
}

#[test]
fn routes_are_known_by_their_network() {
    let read_bytes = |message: &[u8]| {
        let messages = parse(message);
        match &messages[0].payload {
            netlink_packet_core::NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(
                route,
            )) => destination(route).map(|route| route.to_string()),
            _ => None,
        }
    };
    let read = |message: &str| read_bytes(&from_hex(message));
    assert_eq!(read(DEFAULT_V4).as_deref(), Some("0.0.0.0/0"));
    assert_eq!(read(ROUTE_V6).as_deref(), Some("2001:db8:20::/48"));
    assert_eq!((read(OTHER_TABLE), read(BLACKHOLE)), (None, None));
    // The same default route over a link without carrier: RTNH_F_LINKDOWN.
    let mut dead = from_hex(DEFAULT_V4);
    dead[24] |= 16;
    assert_eq!(read_bytes(&dead), None);
    let cases = [
        ("10.20.5.5/16", "10.20.0.0/16"),
        ("10.20.5.5/0", "0.0.0.0/0"),
        ("10.20.5.5/32", "10.20.5.5/32"),
        ("2001:db8:20:1::/48", "2001:db8:20::/48"),
        ("2001:db8::1/0", "::/0"),
    ];
    for (given, expected) in cases {
        assert_eq!(network(given.parse().expect("a destination")).to_string(), expected);
    }
}

#[test]
fn only_needed_notifications_are_asked_for() {
    let cases: [(&[TrackTarget], u32); 5] = [
        (&[], 0),
        (&[TrackTarget::Agent], 0),
        (&[interface("t0")], 0x1),
        (&[address("10.9.0.1")], 0x111),
        (&[route("::/0")], 0x551),
    ];
    for (targets, expected) in cases {
        assert_eq!(watching(targets).groups(), expected, "{targets:?}");
    }
}

#[test]
fn cut_off_messages_are_passed_over() {
    let mut kernel = watching(&[route("0.0.0.0/0"), address("10.9.0.1"), interface("t0")]);
    for whole in [from_hex(DEFAULT_V4), from_hex(ADDRESS_V4), link(UP)] {
        for length in 0..whole.len() {
            assert!(tell(&mut kernel, &whole[..length]).is_empty(), "{length} bytes");
        }
    }
}
