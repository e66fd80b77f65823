//! Adverts of a router that is none: what an attacker on the segment can send.

use std::net::Ipv4Addr;

use super::mac::Mac;

/// `ETH_P_IP` (`linux/if_ether.h`).
pub(crate) const ETH_P_IP: u16 = 0x0800;
/// VRRP's group, and its hardware address (RFC 1112 §6.4).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_MAC: Mac = Mac([0x01, 0, 0x5e, 0, 0, 0x12]);
/// VRRP's protocol number (RFC 9568 §5.1.1.4).
const VRRP: u8 = 112;
/// The priority of an address's owner.
const OWNER: u8 = 255;

/// What the advert says beside the sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// 2 or 3.
    pub(crate) version: u8,
    /// The virtual router.
    pub(crate) vrid: u8,
    /// Its address.
    pub(crate) vip: Ipv4Addr,
    /// v2: seconds; v3: hundredths of a second.
    pub(crate) interval: u8,
    /// v2's password, ended by zeros; none in v3.
    pub(crate) password: Option<[u8; 8]>,
}

/// The whole Ethernet frame of an advert of priority 255 and TTL 255.
pub(crate) fn frame(claim: &Claim, mac: Mac, source: Ipv4Addr) -> Vec<u8> {
    let advert = advert(claim, source);
    let mut frame = Vec::new();
    frame.extend(GROUP_MAC.0);
    frame.extend(mac.0);
    frame.extend(ETH_P_IP.to_be_bytes());
    let total = 20 + u16::try_from(advert.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, 0xc0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0, 0, 255, VRRP, 0, 0]);
    header.extend(source.octets());
    header.extend(GROUP.octets());
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    frame.extend(header);
    frame.extend(advert);
    frame
}

fn advert(claim: &Claim, source: Ipv4Addr) -> Vec<u8> {
    let auth_type = u8::from(claim.password.is_some());
    let mut advert = vec![(claim.version << 4) | 1, claim.vrid, OWNER, 1];
    match claim.version {
        2 => advert.extend([auth_type, claim.interval, 0, 0]),
        _ => advert.extend([0, claim.interval, 0, 0]),
    }
    advert.extend(claim.vip.octets());
    if claim.version == 2 {
        advert.extend(claim.password.unwrap_or_default());
    }
    let sum = if claim.version == 2 {
        checksum(&advert)
    } else {
        // The deployed form has a pseudo-header (RFC 5798 §5.2.8).
        let length = u8::try_from(advert.len()).unwrap_or(u8::MAX);
        let mut whole = [source.octets(), GROUP.octets(), [0, VRRP, 0, length]].concat();
        whole.extend(&advert);
        checksum(&whole)
    };
    advert[6..8].copy_from_slice(&sum.to_be_bytes());
    advert
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 202);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 150);

    #[test]
    fn sums_are_right() {
        let claim = Claim { version: 3, vrid: 51, vip: VIP, interval: 10, password: None };
        let frame = frame(&claim, Mac([2; 6]), SOURCE);
        assert_eq!(frame.len(), 14 + 20 + 12);
        assert_eq!(checksum(&frame[14..34]), 0);
        let pseudo = [SOURCE.octets(), GROUP.octets(), [0, VRRP, 0, 12]].concat();
        assert_eq!(checksum(&[&pseudo, &frame[34..]].concat()), 0);
        assert_eq!(frame[34..38], [0x31, 51, 255, 1]);
    }

    #[test]
    fn a_password_is_part_of_version_2() {
        let password = Some(*b"1111\0\0\0\0");
        let claim = Claim { version: 2, vrid: 51, vip: VIP, interval: 1, password };
        let advert = advert(&claim, SOURCE);
        assert_eq!(advert[..6], [0x21, 51, 255, 1, 1, 1]);
        assert_eq!(advert[12..], *b"1111\0\0\0\0");
        assert_eq!(checksum(&advert), 0);
    }
}
