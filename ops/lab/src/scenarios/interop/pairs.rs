//! The pairs as data.

use std::time::Duration;

/// The program beside Fulcrum's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Debian's keepalived.
    Keepalived,
    /// Debian's FRR: its vrrpd.
    Frr,
}

/// How Fulcrum and another program speak VRRP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairing {
    /// For figures.
    pub(crate) name: &'static str,
    pub(super) program: Program,
    /// 2 or 3.
    pub(crate) version: u8,
    /// IPv6 instead of IPv4.
    pub(crate) is_ipv6: bool,
    /// Time between adverts.
    pub(crate) advert: Duration,
    /// v2's PASS.
    pub(crate) password: Option<&'static str>,
    /// Adverts go to the other router's address.
    pub(crate) is_unicast: bool,
    pub(super) peer_has_virtual_mac: bool,
    pub(crate) ours_has_virtual_mac: bool,
}

/// Version 3 over IPv4, multicast, with adverts of 100 ms.
const V3: Pairing = Pairing {
    name: "keepalived_v3",
    program: Program::Keepalived,
    version: 3,
    is_ipv6: false,
    advert: Duration::from_millis(100),
    password: None,
    is_unicast: false,
    peer_has_virtual_mac: false,
    ours_has_virtual_mac: false,
};
/// Version 2 knows whole seconds.
const V2: Pairing =
    Pairing { name: "keepalived_v2", version: 2, advert: Duration::from_secs(1), ..V3 };
/// FRR always has a virtual MAC.
const FRR: Pairing =
    Pairing { name: "frr_v3", program: Program::Frr, peer_has_virtual_mac: true, ..V3 };

/// Both routers speak from the same MAC.
const VMAC_BOTH: Pairing = Pairing {
    name: "keepalived_vmac_both",
    peer_has_virtual_mac: true,
    ours_has_virtual_mac: true,
    ..V3
};

/// All of them.
pub(super) const PAIRS: &[Pairing] = &[
    V2,
    Pairing { name: "keepalived_v2_pass", password: Some("1111"), ..V2 },
    V3,
    Pairing { name: "keepalived_v3_ipv6", is_ipv6: true, ..V3 },
    Pairing { name: "keepalived_v3_unicast", is_unicast: true, ..V3 },
    Pairing { name: "keepalived_vmac_theirs", peer_has_virtual_mac: true, ..V3 },
    Pairing { name: "keepalived_vmac_ours", ours_has_virtual_mac: true, ..V3 },
    VMAC_BOTH,
    Pairing { name: "keepalived_vmac_both_ipv6", is_ipv6: true, ..VMAC_BOTH },
    FRR,
    Pairing { name: "frr_vmac_both", ours_has_virtual_mac: true, ..FRR },
    Pairing { name: "frr_v3_ipv6", is_ipv6: true, ..FRR },
    Pairing { name: "frr_v2", version: 2, advert: Duration::from_secs(1), ..FRR },
];
