//! The ordered edits that bring VIPs to where they belong.
//!
//! An address that moves between the interface and loopback is added there before it is removed
//! here, so that the kernel never stops accepting packets for it; ARP is made quiet before an
//! address is on loopback, and restored after the last one has left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::Place;

/// A VIP on the interface that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vip {
    /// The instance's interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Prefix length on the interface; on loopback it is that of a host.
    pub prefix_length: u8,
}

/// What the kernel has, and what of it is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Interface, address and prefix length of every address on an interface other than loopback.
    pub on_interfaces: BTreeSet<Vip>,
    /// Addresses on loopback, whoever put them there.
    pub on_loopback: BTreeSet<IpAddr>,
    /// Those of them that we put there.
    pub ours_on_loopback: BTreeSet<IpAddr>,
    /// Interfaces whose ARP we made quiet.
    pub quiet: BTreeSet<String>,
}

/// One edit of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Make an interface answer ARP only for its own addresses, and speak only with them.
    Quiet(String),
    /// Put a VIP on loopback, as a host address.
    AddLoopback(IpAddr),
    /// Take an address from an interface.
    RemoveInterface(Vip),
    /// Put a VIP on its interface.
    AddInterface(Vip),
    /// Take a VIP of ours from loopback.
    RemoveLoopback(IpAddr),
    /// Put an interface's ARP settings back to what they were.
    Restore(String),
}

/// The edits that bring each VIP to its place. VIPs that are not named are left alone.
pub fn edits(desired: &BTreeMap<Vip, Place>, observed: &Observed) -> Vec<Edit> {
    let at = |place: Place| desired.iter().filter(move |(_, at)| **at == place).map(|(vip, _)| vip);
    let lingering: BTreeSet<IpAddr> = at(Place::Loopback).map(|vip| vip.address).collect();
    let quiet: BTreeSet<&String> = at(Place::Loopback).map(|vip| &vip.interface).collect();

    let mut edits = Vec::new();
    let to_quiet = quiet.iter().filter(|interface| !observed.quiet.contains(**interface));
    edits.extend(to_quiet.map(|interface| Edit::Quiet((*interface).clone())));
    edits.extend(lingering.difference(&observed.on_loopback).copied().map(Edit::AddLoopback));
    edits.extend(surplus(desired, observed).into_iter().map(Edit::RemoveInterface));
    let missing = at(Place::Interface).filter(|vip| !observed.on_interfaces.contains(*vip));
    edits.extend(missing.cloned().map(Edit::AddInterface));
    edits.extend(other_prefixes(desired, observed).into_iter().map(Edit::RemoveInterface));
    edits.extend(
        observed.ours_on_loopback.difference(&lingering).copied().map(Edit::RemoveLoopback),
    );
    let to_restore = observed.quiet.iter().filter(|interface| !quiet.contains(interface));
    edits.extend(to_restore.cloned().map(Edit::Restore));
    edits
}

/// Addresses on interfaces that answer ARP for a VIP which does not belong there: under whatever
/// prefix length.
fn surplus(desired: &BTreeMap<Vip, Place>, observed: &Observed) -> Vec<Vip> {
    let held: BTreeSet<(&String, IpAddr)> = desired
        .iter()
        .filter(|(_, place)| **place == Place::Interface)
        .map(|(vip, _)| (&vip.interface, vip.address))
        .collect();
    let named: BTreeSet<(&String, IpAddr)> =
        desired.keys().map(|vip| (&vip.interface, vip.address)).collect();
    let is_surplus = |vip: &&Vip| {
        let key = (&vip.interface, vip.address);
        named.contains(&key) && !held.contains(&key)
    };
    observed.on_interfaces.iter().filter(is_surplus).cloned().collect()
}

/// VIPs to be removed whose address stays on the interface under another prefix length.
fn other_prefixes(desired: &BTreeMap<Vip, Place>, observed: &Observed) -> Vec<Vip> {
    let stays = |vip: &Vip| {
        desired.iter().any(|(other, place)| {
            *place == Place::Interface
                && (&other.interface, other.address) == (&vip.interface, vip.address)
        })
    };
    let leaves = |vip: &&Vip| desired.get(*vip) == Some(&Place::Nowhere) && stays(vip);
    observed.on_interfaces.iter().filter(leaves).cloned().collect()
}

#[cfg(test)]
mod tests;
