//! The MAC address of a virtual router, its device, and the frames that are sent from it.

use std::net::{IpAddr, Ipv6Addr};

use fulcrum_model::Vrid;

use crate::Family;
use crate::datagram::{PROTOCOL, TTL};

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of an IPv6 header.
pub const IPV6_BYTES: usize = 40;

/// Ethernet's protocol numbers.
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Traffic class "internetwork control" behind version 6, as routing protocols send.
const VERSION_AND_CLASS: [u8; 4] = [0x6c, 0, 0, 0];

/// `00-00-5E-00-01-{VRID}` for IPv4, `00-00-5E-00-02-{VRID}` for IPv6 (RFC 9568 §7.3).
pub fn virtual_mac(vrid: Vrid, family: Family) -> [u8; 6] {
    let block = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0x00, 0x00, 0x5e, 0x00, block, vrid.get()]
}

/// Name of the device that carries the virtual MAC above an interface: `vrrp4-51-3c1e`, at most the
/// kernel's 15 bytes. The end tells apart the interfaces on which one VRID is used.
pub fn device_name(interface: &str, vrid: Vrid, family: Family) -> String {
    let version = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    // FNV-1a, folded.
    let hash = interface
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("vrrp{version}-{}-{:04x}", vrid.get(), (hash >> 16) ^ (hash & 0xffff))
}

/// The Ethernet header of a packet to a multicast group; none for another destination, whose MAC
/// only its neighbour knows.
///
/// The group's MAC is made as RFC 1112 §6.4 and RFC 2464 §7 say.
pub fn ethernet_header(source: [u8; 6], destination: IpAddr) -> Option<[u8; ETHERNET_BYTES]> {
    if !destination.is_multicast() {
        return None;
    }
    let (group, ethertype) = match destination {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            ([0x01, 0x00, 0x5e, b & 0x7f, c, d], ETHERTYPE_IPV4)
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            ([0x33, 0x33, a, b, c, d], ETHERTYPE_IPV6)
        }
    };
    let mut header = [0; ETHERNET_BYTES];
    header[..6].copy_from_slice(&group);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    Some(header)
}

/// The IPv6 header of an advert whose message has `message_bytes` (RFC 8200 §3, RFC 9568 §5.1.2).
pub fn ipv6_header(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    message_bytes: usize,
) -> [u8; IPV6_BYTES] {
    let length = u16::try_from(message_bytes).unwrap_or(u16::MAX);
    let mut header = [0; IPV6_BYTES];
    header[..4].copy_from_slice(&VERSION_AND_CLASS);
    header[4..6].copy_from_slice(&length.to_be_bytes());
    (header[6], header[7]) = (PROTOCOL, TTL);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::datagram::{GROUP, GROUP_V6};

    fn vrid(vrid: u64) -> Vrid {
        Vrid::new(vrid).expect("a VRID")
    }

    #[test]
    fn each_family_has_a_block() {
        assert_eq!(virtual_mac(vrid(51), Family::V4), [0, 0, 0x5e, 0, 1, 51]);
        assert_eq!(virtual_mac(vrid(51), Family::V6), [0, 0, 0x5e, 0, 2, 51]);
    }

    #[test]
    fn names_of_devices_fit_and_differ() {
        let eth0 = device_name("eth0", vrid(255), Family::V4);
        assert!(eth0.starts_with("vrrp4-255-") && eth0.len() < 16, "{eth0}");
        assert_ne!(eth0, device_name("eth1", vrid(255), Family::V4));
        assert_ne!(eth0, device_name("eth0", vrid(255), Family::V6));
        assert_eq!(eth0, device_name("eth0", vrid(255), Family::V4));
    }

    #[test]
    fn frames_go_to_the_groups_mac() {
        let mac = virtual_mac(vrid(51), Family::V4);
        let header = ethernet_header(mac, GROUP.into()).expect("a group");
        assert_eq!(header, [1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 51, 8, 0]);
        let mac = virtual_mac(vrid(51), Family::V6);
        let header = ethernet_header(mac, GROUP_V6.into()).expect("a group");
        assert_eq!(header, [0x33, 0x33, 0, 0, 0, 0x12, 0, 0, 0x5e, 0, 2, 51, 0x86, 0xdd]);
        assert_eq!(ethernet_header(mac, Ipv4Addr::new(10, 0, 0, 1).into()), None);
    }

    #[test]
    fn an_ipv6_header_is_that_of_an_advert() {
        let source = "fe80::1".parse().expect("an address");
        let header = ipv6_header(source, GROUP_V6, 24);
        assert_eq!(header[..8], [0x6c, 0, 0, 0, 0, 24, 112, 255]);
        assert_eq!(header[8..24], source.octets());
        assert_eq!(header[24..], GROUP_V6.octets());
    }
}
