//! What a VRRP router of another program is told, whichever program it is.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::net::topology::Node;

/// The VIPs of an IPv6 instance: the link-local one stands first (RFC 9568 §5.2.9).
pub(crate) const VIPS6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x150),
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x150),
];

/// A router's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouterSettings {
    /// Its host.
    pub(crate) node: Node,
    /// The other router's host.
    pub(crate) other: Node,
    /// 2 or 3.
    pub(crate) version: u8,
    /// IPv6 instead of IPv4.
    pub(crate) is_ipv6: bool,
    /// Time between adverts.
    pub(crate) advert: Duration,
    /// 1 to 254.
    pub(crate) priority: u8,
    /// v2's PASS.
    pub(crate) password: Option<&'static str>,
    /// Adverts go to the other router's address.
    pub(crate) is_unicast: bool,
    /// The VIPs live on a macvlan with the virtual router's MAC.
    pub(crate) has_virtual_mac: bool,
}
