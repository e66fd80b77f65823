//! What other implementations send, byte for byte, and what becomes of it when bytes change.

mod mutation;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use fulcrum_model::Vrid;
use fulcrum_model::resource::VrrpChecksum;
use fulcrum_vrrp::{
    AddressList, Advert, Authentication, Body, Centiseconds, Datagram, Discard, Seconds, arp, ndp,
};

/// The bytes of a capture.
pub(crate) fn capture(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let file = directory.join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&file).expect("a capture");
    let digits: String = text.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A captured packet of either family. Of IPv6 the kernel gives what the header says.
pub(crate) fn datagram(packet: &[u8]) -> Result<Datagram<'_>, Discard> {
    if packet.first().is_none_or(|first| first >> 4 != 6) {
        return Datagram::parse(packet);
    }
    let header = packet.first_chunk::<40>().ok_or(Discard::IpHeader)?;
    let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).map(Ipv6Addr::from);
    let (source, destination) = (address(8), address(24));
    let (Ok(source), Ok(destination)) = (source, destination) else {
        return Err(Discard::IpHeader);
    };
    Ok(Datagram::of_ipv6(source, destination, header[7], &packet[40..]))
}

fn v2(authentication: Authentication) -> Body {
    Body::V2 { interval: Seconds::new(1).expect("1 s"), authentication }
}

fn v3(centiseconds: u16) -> Body {
    Body::V3 { interval: Centiseconds::new(centiseconds).expect("an interval") }
}

const GROUP: &str = "224.0.0.18";
const GROUP_V6: &str = "ff02::12";

/// A capture's name, destination, VRID, priority, VIPs and what its version has besides.
type Case = (&'static str, &'static str, u64, u8, &'static str, Body);

#[test]
fn adverts_of_keepalived_are_read_and_written() {
    let pass = || v2(Authentication::Pass(*b"secret\0\0"));
    let none = || v2(Authentication::None);
    let peer = "10.7.0.2";
    let (two, three) = ("10.7.0.150 10.7.0.151", "fe80::64 fd00::64");
    check([
        ("keepalived-v2-none", GROUP, 61, 100, two, none()),
        ("keepalived-v2-none-leaves", GROUP, 61, 0, two, none()),
        ("keepalived-v2-pass", GROUP, 62, 100, "10.7.0.152", pass()),
        ("keepalived-v2-pass-leaves", GROUP, 62, 0, "10.7.0.152", pass()),
        ("keepalived-v3-ipv4", GROUP, 63, 200, "10.7.0.153", v3(25)),
        ("keepalived-v3-ipv4-leaves", GROUP, 63, 0, "10.7.0.153", v3(25)),
        ("keepalived-v3-ipv6", GROUP_V6, 64, 150, three, v3(100)),
        ("keepalived-v3-ipv6-leaves", GROUP_V6, 64, 0, three, v3(100)),
        ("keepalived-v3-unicast", peer, 65, 120, "10.7.0.155", v3(100)),
        ("keepalived-v3-unicast-leaves", peer, 65, 0, "10.7.0.155", v3(100)),
    ]);
}

#[test]
fn adverts_of_frr_are_read_and_written() {
    let none = || v2(Authentication::None);
    let (two, three) = ("10.7.0.161 10.7.0.162", "fe80::74 fd00::74");
    check([
        ("frr-v2", GROUP, 71, 100, two, none()),
        ("frr-v2-leaves", GROUP, 71, 0, two, none()),
        ("frr-v3-ipv4", GROUP, 73, 200, "10.7.0.163", v3(25)),
        ("frr-v3-ipv4-leaves", GROUP, 73, 0, "10.7.0.163", v3(25)),
        ("frr-v3-ipv6", GROUP_V6, 74, 150, three, v3(100)),
        ("frr-v3-ipv6-leaves", GROUP_V6, 74, 0, three, v3(100)),
    ]);
}

/// Each is read as what was configured, and written again with the same bytes.
fn check<const N: usize>(cases: [Case; N]) {
    for (name, destination, vrid, priority, vips, body) in cases {
        let packet = capture(name);
        let datagram = datagram(&packet).expect("a whole packet");
        assert_eq!((datagram.ttl, datagram.destination.to_string().as_str()), (255, destination));
        let vips: Vec<IpAddr> = vips.split(' ').map(|vip| vip.parse().expect("a VIP")).collect();
        let vrid = Vrid::new(vrid).expect("a VRID");
        let addresses = AddressList::new(vips).expect("one to 255");
        let expected = Advert { vrid, priority, addresses, body };
        let (source, destination) = (datagram.source, datagram.destination);
        let read = Advert::decode(datagram.message, source, destination);
        assert_eq!(read.as_ref(), Ok(&expected), "{name}");
        let written = expected.encode(source, destination, VrrpChecksum::Deployed);
        assert_eq!(written, datagram.message, "{name}");
    }
}

/// FRR's routers have the virtual router's MAC, and announce it as we do (RFC 9568 §6.4.2, §7.3).
#[test]
fn announcements_of_frr_are_ours() {
    let arp = arp::announcement([0, 0, 0x5e, 0, 1, 73], Ipv4Addr::new(10, 7, 0, 163));
    assert_eq!(arp[..], capture("frr-gratuitous-arp")[..]);
    let vip = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x74);
    let ndp = ndp::announcement([0, 0, 0x5e, 0, 2, 74], vip);
    assert_eq!(ndp[..], capture("frr-neighbour-advertisement")[..]);
}

#[test]
fn the_neighbour_advertisement_is_keepalived_s_of_a_router() {
    let frame = capture("keepalived-neighbour-advertisement");
    let vip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x64);
    let mut ours = ndp::announcement([2, 0, 0, 0, 0, 1], vip);
    // keepalived leaves R out on a host that does not forward; RFC 9568 §6.4.2 sets it.
    assert_eq!((frame[58], ours[58]), (0x20, 0xa0));
    ours[56..59].copy_from_slice(&frame[56..59]);
    assert_eq!(ours[..], frame[..]);
}
