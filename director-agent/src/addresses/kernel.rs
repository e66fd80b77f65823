//! What the kernel has: interfaces and their addresses, kept by dumps and notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::RouteSocket;

/// Notifications of links and of addresses (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`,
/// `RTMGRP_IPV6_IFADDR`).
pub(super) const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: u32,
    /// Administratively up.
    pub is_up: bool,
    /// The link beneath is up: plugged in.
    pub has_carrier: bool,
    /// Ethernet address; none for other kinds.
    pub mac: Option<[u8; 6]>,
    /// Addresses with prefix length. An IPv6 address that duplicate address detection has not
    /// passed yet, or has failed, is none: the kernel does not use it either (RFC 4862 §5.4).
    pub addresses: BTreeSet<(IpAddr, u8)>,
}

/// When addresses with a lifetime were last renewed, by interface: hundredths of a second since
/// boot, as the kernel counts them.
pub(super) type Renewals = BTreeMap<(String, IpAddr), u32>;

impl Interface {
    /// Whether it has the address, under whatever prefix length.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(found, _)| *found == address)
    }
}

/// All interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpAddr, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    is_up: bool,
    has_carrier: bool,
    mac: Option<[u8; 6]>,
    /// The link that a macvlan stands on.
    macvlan_on: Option<u32>,
}

impl Kernel {
    /// Reads everything.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(super) fn read(socket: &mut RouteSocket) -> io::Result<Self> {
        Self::read_with_renewals(socket).map(|(kernel, _)| kernel)
    }

    /// Reads everything, and when addresses were renewed.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(super) fn read_with_renewals(socket: &mut RouteSocket) -> io::Result<(Self, Renewals)> {
        let mut kernel = Self::default();
        let links = socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        // Of both families.
        let wanted = AddressMessage::default();
        let addresses = socket.dump(RouteNetlinkMessage::GetAddress(wanted))?;
        for message in links.iter().chain(&addresses) {
            kernel.note(message);
        }
        let renewal = |message: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewAddress(message) = message else { return None };
            let (index, address, _) = read_address(message)?;
            Some(((kernel.links.get(&index)?.name.clone(), address), read_renewal(message)?))
        };
        let renewals = addresses.iter().filter_map(renewal).collect();
        Ok((kernel, renewals))
    }

    /// Takes one notification.
    pub(super) fn note(&mut self, message: &RouteNetlinkMessage) {
        match message {
            // A bridge tells of its ports in messages of its own family.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => {
                if let Some(read) = read_link(link) {
                    self.links.insert(link.header.index, read);
                }
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.links.remove(&link.header.index);
                self.addresses.retain(|(index, _, _)| *index != link.header.index);
            }
            RouteNetlinkMessage::NewAddress(message) => {
                let Some(address) = read_address(message) else { return };
                if is_usable(message) {
                    self.addresses.insert(address);
                } else {
                    self.addresses.remove(&address);
                }
            }
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some(address) = read_address(address) {
                    self.addresses.remove(&address);
                }
            }
            _ => {}
        }
    }

    /// Takes our own change before its notification comes.
    pub(super) fn set(&mut self, index: u32, address: IpAddr, prefix: u8, is_there: bool) {
        if is_there {
            self.addresses.insert((index, address, prefix));
        } else {
            self.addresses.remove(&(index, address, prefix));
        }
    }

    /// Whether the interface has the address under this prefix length.
    pub(super) fn has(&self, index: u32, address: IpAddr, prefix: u8) -> bool {
        self.addresses.contains(&(index, address, prefix))
    }

    /// Takes our own change of a link before its notification comes.
    pub(super) fn set_up(&mut self, index: u32, is_up: bool) {
        if let Some(link) = self.links.get_mut(&index) {
            link.is_up = is_up;
        }
    }

    /// Whether a link is administratively up.
    pub(super) fn is_up(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|link| link.is_up)
    }

    /// Whether a link is a macvlan with this MAC above an interface. The kernel puts one that is
    /// made above another macvlan beside that.
    pub(super) fn is_macvlan(&self, index: u32, mac: [u8; 6], above: u32) -> bool {
        let below = self.links.get(&above).and_then(|link| link.macvlan_on).unwrap_or(above);
        let link = self.links.get(&index);
        link.is_some_and(|link| link.mac == Some(mac) && link.macvlan_on == Some(below))
    }

    /// The number of an interface.
    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    /// Every interface by name.
    pub(super) fn interfaces(&self) -> BTreeMap<String, Interface> {
        let interface = |(index, link): (&u32, &Link)| {
            let own = self.addresses.iter().filter(|(owner, _, _)| owner == index);
            let addresses = own.map(|(_, address, prefix)| (*address, *prefix));
            let interface = Interface {
                index: *index,
                is_up: link.is_up,
                has_carrier: link.has_carrier,
                mac: link.mac,
                addresses: addresses.collect(),
            };
            (link.name.clone(), interface)
        };
        self.links.iter().map(interface).collect()
    }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    let is_macvlan = message.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(about) if about.iter().any(|about| {
            matches!(about, LinkInfo::Kind(InfoKind::MacVlan))
        }))
    });
    let macvlan_on = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) if is_macvlan => Some(*index),
        _ => None,
    });
    let flags = message.header.flags;
    let (is_up, has_carrier) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp));
    Some(Link { name, is_up, has_carrier, mac, macvlan_on })
}

/// Index, address and prefix length of an address message. Over IPv6 only a point-to-point address
/// has `IFA_LOCAL` beside `IFA_ADDRESS`.
fn read_address(message: &AddressMessage) -> Option<(u32, IpAddr, u8)> {
    let find =
        |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let own = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some((message.header.index, own, message.header.prefix_len))
}

fn is_usable(message: &AddressMessage) -> bool {
    !message.header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
}

/// When an address with a lifetime was renewed.
fn read_renewal(message: &AddressMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        // The greatest number is forever: not one of ours.
        AddressAttribute::CacheInfo(cache) if cache.ifa_valid != u32::MAX => Some(cache.tstamp),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, family: AddressFamily) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.interface_family = family;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes =
            vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Address(vec![2; 6])];
        message
    }

    fn address(index: u32, last: u8, prefix: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix;
        let local = IpAddr::from([10, 0, 0, last]);
        message.attributes = vec![AddressAttribute::Local(local)];
        message
    }

    #[test]
    fn notifications_keep_interfaces_and_addresses() {
        let mut kernel = Kernel::default();
        kernel.note(&RouteNetlinkMessage::NewLink(link(1, "lo", AddressFamily::Unspec)));
        kernel.note(&RouteNetlinkMessage::NewLink(link(2, "eth0", AddressFamily::Unspec)));
        kernel.note(&RouteNetlinkMessage::NewAddress(address(2, 1, 24)));
        kernel.note(&RouteNetlinkMessage::NewAddress(address(2, 150, 32)));
        kernel.note(&RouteNetlinkMessage::NewAddress(address(1, 7, 8)));
        kernel.note(&RouteNetlinkMessage::DelAddress(address(2, 150, 24)));
        let vip = IpAddr::from([10, 0, 0, 150]);
        assert!(kernel.has(2, vip, 32), "another prefix length is another address");
        kernel.note(&RouteNetlinkMessage::DelLink(link(2, "eth0", AddressFamily::Bridge)));
        let interfaces = kernel.interfaces();
        let eth0 = interfaces.get("eth0").expect("leaving a bridge is not leaving the host");
        assert_eq!((eth0.index, eth0.is_up, eth0.has_carrier), (2, true, true));
        assert_eq!((eth0.mac, eth0.addresses.len()), (Some([2; 6]), 2));
        assert!(eth0.has(vip));
        kernel.note(&RouteNetlinkMessage::DelLink(link(2, "eth0", AddressFamily::Unspec)));
        assert!(!kernel.has(2, vip, 32));
        assert_eq!(kernel.interfaces().len(), 1);
    }
}
