//! What the kernel says of tracked interfaces, addresses and routes: kept by dumps and
//! notifications, and only of what is tracked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fulcrum_model::Cidr;
use fulcrum_model::vrrp::TrackTarget;
use fulcrum_vrrp::track::{Health, TargetState};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::addresses::netlink::RouteSocket;

/// `RTMGRP_LINK`.
const LINKS: u32 = 0x1;
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const ADDRESSES: u32 = 0x10 | 0x100;
/// `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE`.
const ROUTES: u32 = 0x40 | 0x400;

/// What is tracked, and what the kernel has of it.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    wanted: Wanted,
    is_read: bool,
    /// By number.
    links: BTreeMap<u32, Link>,
    /// Number of the interface, address and prefix length; whether it can be used.
    addresses: BTreeMap<(u32, IpAddr, u8), bool>,
    routes: BTreeSet<Cidr>,
}

/// What is tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    interfaces: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// As given, by network: an address within it names the same route.
    routes: BTreeMap<Cidr, Cidr>,
}

#[derive(Debug)]
struct Link {
    name: String,
    is_up: bool,
    has_carrier: bool,
}

/// What a notification means for what is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is taken in.
    Done,
    /// The routes are to be read again: the kernel removes those of an interface that goes down
    /// without a word, and one of several routes to a destination may go while others stay.
    RoutesChanged,
}

impl Kernel {
    /// Tracks exactly these from now on; others than interfaces, addresses and routes are passed
    /// over. Everything is to be read anew.
    pub(super) fn want<'a>(&mut self, targets: impl IntoIterator<Item = &'a TrackTarget>) {
        *self = Self::default();
        for target in targets {
            match target {
                TrackTarget::Interface(name) => {
                    self.wanted.interfaces.insert(name.clone());
                }
                TrackTarget::Address(address) => {
                    self.wanted.addresses.insert(*address);
                }
                TrackTarget::Route(destination) => {
                    self.wanted.routes.insert(network(*destination), *destination);
                }
                TrackTarget::Gateway(_)
                | TrackTarget::Command(_)
                | TrackTarget::Agent
                | TrackTarget::RealServers(_) => {}
            }
        }
    }

    /// The notifications that it needs, a mask of `RTMGRP_*`; 0 when nothing is tracked.
    pub(super) fn groups(&self) -> u32 {
        let Wanted { interfaces, addresses, routes } = &self.wanted;
        match (interfaces.is_empty(), addresses.is_empty(), routes.is_empty()) {
            (true, true, true) => 0,
            (false, true, true) => LINKS,
            (_, false, true) => LINKS | ADDRESSES,
            // A route also goes with its interface or address.
            (_, _, false) => LINKS | ADDRESSES | ROUTES,
        }
    }

    /// Reads everything that is tracked.
    ///
    /// # Errors
    /// The kernel's errno; what was known stays.
    pub(super) fn read(&mut self, socket: &mut RouteSocket) -> io::Result<()> {
        let mut read = Self { wanted: self.wanted.clone(), is_read: true, ..Self::default() };
        let mut note = |message: RouteNetlinkMessage| {
            read.note(&message);
        };
        if self.groups() & LINKS != 0 {
            let links = LinkMessage::default();
            socket.dump_each(RouteNetlinkMessage::GetLink(links), &mut note)?;
        }
        if !self.wanted.addresses.is_empty() {
            let addresses = AddressMessage::default();
            socket.dump_each(RouteNetlinkMessage::GetAddress(addresses), &mut note)?;
        }
        read.read_routes(socket)?;
        *self = read;
        Ok(())
    }

    /// Reads the tracked routes.
    ///
    /// # Errors
    /// The kernel's errno; what was known stays.
    pub(super) fn read_routes(&mut self, socket: &mut RouteSocket) -> io::Result<()> {
        let mut routes = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let is_wanted =
                |route: &&Cidr| route.address().is_ipv4() == (family == AddressFamily::Inet);
            if !self.wanted.routes.keys().any(|route| is_wanted(&route)) {
                continue;
            }
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            socket.dump_each(RouteNetlinkMessage::GetRoute(message), |answer| {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    let found = destination(&route);
                    routes.extend(found.filter(|found| self.wanted.routes.contains_key(found)));
                }
            })?;
        }
        self.routes = routes;
        Ok(())
    }

    /// Takes one notification or part of a dump.
    pub(super) fn note(&mut self, message: &RouteNetlinkMessage) -> Noted {
        match message {
            // A bridge tells of its ports in messages of its own family.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec =>
            {
                Noted::Done
            }
            RouteNetlinkMessage::NewLink(link) => {
                self.links.extend(read_link(link).map(|read| (link.header.index, read)));
                self.routes_may_have_changed()
            }
            RouteNetlinkMessage::DelLink(link) => {
                let gone = link.header.index;
                self.links.remove(&gone);
                self.addresses.retain(|(index, _, _), _| *index != gone);
                self.routes_may_have_changed()
            }
            RouteNetlinkMessage::NewAddress(message) => {
                let read = read_address(message);
                let read =
                    read.filter(|((_, address, _), _)| self.wanted.addresses.contains(address));
                self.addresses.extend(read);
                Noted::Done
            }
            RouteNetlinkMessage::DelAddress(message) => {
                if let Some((key, _)) = read_address(message) {
                    self.addresses.remove(&key);
                }
                self.routes_may_have_changed()
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                match destination(route) {
                    Some(found) if self.wanted.routes.contains_key(&found) => Noted::RoutesChanged,
                    Some(_) | None => Noted::Done,
                }
            }
            _ => Noted::Done,
        }
    }

    fn routes_may_have_changed(&self) -> Noted {
        if self.wanted.routes.is_empty() { Noted::Done } else { Noted::RoutesChanged }
    }

    /// The state of everything that is tracked; empty until it was read.
    pub(super) fn states(&self) -> BTreeMap<TrackTarget, TargetState> {
        if !self.is_read {
            return BTreeMap::new();
        }
        let interfaces = self
            .wanted
            .interfaces
            .iter()
            .map(|name| (TrackTarget::Interface(name.clone()), self.interface(name)));
        let addresses = self
            .wanted
            .addresses
            .iter()
            .map(|address| (TrackTarget::Address(*address), self.address(*address)));
        let routes = self.wanted.routes.iter().map(|(network, given)| {
            let state = if self.routes.contains(network) {
                well(format!("the main routing table has a route to {network}"))
            } else {
                unwell(format!("the main routing table has no route to {network}"))
            };
            (TrackTarget::Route(*given), state)
        });
        interfaces.chain(addresses).chain(routes).collect()
    }

    fn interface(&self, name: &str) -> TargetState {
        match self.links.values().find(|link| link.name == name) {
            None => unwell(format!("this host has no interface {name}")),
            Some(link) if !link.is_up => unwell(format!("interface {name} is down")),
            Some(link) if !link.has_carrier => unwell(format!("interface {name} has no carrier")),
            Some(_) => well(format!("interface {name} is up")),
        }
    }

    fn address(&self, address: IpAddr) -> TargetState {
        let mut found = self.addresses.iter().filter(|((_, found, _), _)| *found == address);
        let usable = found.clone().find(|(_, is_usable)| **is_usable);
        match usable.or_else(|| found.next()) {
            Some((_, true)) => well(format!("this host has {address}")),
            Some((_, false)) => unwell(format!(
                "{address} cannot be used: duplicate address detection has not passed"
            )),
            None => unwell(format!("this host does not have {address}")),
        }
    }
}

fn well(seen: String) -> TargetState {
    TargetState { health: Health::Well, seen }
}

fn unwell(seen: String) -> TargetState {
    TargetState { health: Health::Unwell, seen }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let flags = message.header.flags;
    let (is_up, has_carrier) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp));
    Some(Link { name, is_up, has_carrier })
}

fn read_address(message: &AddressMessage) -> Option<((u32, IpAddr, u8), bool)> {
    // Of a point-to-point link the local one is ours, and the other the peer's; IPv6 tells only the
    // other.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let doubtful = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    let is_usable = !message.header.flags.intersects(doubtful);
    Some(((message.header.index, address, message.header.prefix_len), is_usable))
}

/// Where a route of the main table leads; none for one of another table, one that refuses, or one
/// over a link that is down.
fn destination(message: &RouteMessage) -> Option<Cidr> {
    let header = &message.header;
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = table.unwrap_or(header.table.into());
    let is_in_main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    let is_dead = header.flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown);
    if !is_in_main || is_dead || header.kind != RouteType::Unicast {
        return None;
    }
    let named = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    // The default route names none.
    let address = named.or(match header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    Cidr::new(address, header.destination_prefix_length).ok()
}

/// The same without the bits beyond the prefix.
fn network(destination: Cidr) -> Cidr {
    let length = u32::from(destination.prefix_length());
    let address = match destination.address() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    };
    Cidr::new(address, destination.prefix_length()).unwrap_or(destination)
}

#[cfg(test)]
mod tests;
