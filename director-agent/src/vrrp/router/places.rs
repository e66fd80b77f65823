//! Where the VIPs of an instance belong, and what must be there for them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Priority;
use fulcrum_vrrp::placement::Vip;
use fulcrum_vrrp::{Place, virtual_mac};

use super::Router;
use crate::addresses::{Device, Target, View};

impl Router {
    /// The virtual MAC, where it has one.
    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        let (vrid, family) = (self.plan.vrid, self.family());
        self.plan.options.virtual_mac.then(|| virtual_mac::virtual_mac(vrid, family))
    }

    /// Name of the link that its VIPs are on: the device with the virtual MAC, or the interface.
    pub(super) fn home(&self) -> Cow<'_, str> {
        let (interface, vrid) = (&self.plan.interface, self.plan.vrid);
        if self.plan.options.virtual_mac {
            virtual_mac::device_name(interface, vrid, self.family()).into()
        } else {
            interface.into()
        }
    }

    /// The device that it needs, with its name.
    pub(in crate::vrrp) fn device(&self) -> Option<(String, Device)> {
        let mac = self.mac()?;
        let is_up = self.place() != Place::Nowhere;
        let (interface, family) = (self.plan.interface.clone(), self.family());
        Some((self.home().into_owned(), Device { interface, mac, family, is_up }))
    }

    /// The VIPs that are ours to place, advertised or not: an address that is the host's own stays
    /// where it is.
    pub(super) fn vips(&self) -> impl Iterator<Item = Vip> {
        let source = self.plan.source;
        let home = self.home();
        let unadvertised = &self.plan.options.unadvertised_vips;
        let advertised = self.plan.vips.iter().map(|vip| (vip, None));
        let unadvertised = unadvertised.iter().map(|held| (&held.address, held.interface.as_ref()));
        let all = advertised.chain(unadvertised);
        all.filter(move |(vip, _)| vip.address() != source).map(move |(vip, interface)| Vip {
            interface: interface.map_or_else(|| home.clone().into_owned(), String::clone),
            address: vip.address(),
            prefix_length: vip.prefix_length(),
        })
    }

    /// Its VIPs by the interface on which neighbours see them.
    pub(super) fn find_seen(&self) -> Vec<Vip> {
        let home = self.home();
        let seen = |vip: Vip| {
            // Frames pass the interface before they come to the device with the virtual MAC.
            let is_home = vip.interface == home;
            let interface = if is_home { self.plan.interface.clone() } else { vip.interface };
            Vip { interface, ..vip }
        };
        self.vips().map(seen).collect()
    }

    fn place(&self) -> Place {
        self.waits_at.unwrap_or(self.hold.place())
    }

    /// Where its VIPs belong.
    pub(in crate::vrrp) fn targets(&self) -> impl Iterator<Item = (Vip, Target)> {
        let place = self.place();
        let lifetime = match place {
            Place::Interface => self.times.lifetime,
            // Removed by order; the kernel's removal is for a killed agent.
            Place::Loopback => self.times.linger + Duration::from_secs(1),
            Place::Nowhere => Duration::ZERO,
        };
        let gap = self.plan.options.announce.gap;
        self.vips().map(move |vip| (vip, Target { place, lifetime, gap }))
    }

    /// The addresses to which packets are dropped that IPVS does not take: none of an owner
    /// (`Accept_Mode`, RFC 9568 §6.1).
    pub(in crate::vrrp) fn closed(&self) -> impl Iterator<Item = IpAddr> {
        let is_closed = !self.plan.options.accept && self.plan.priority != Priority::OWNER;
        self.addresses().filter(move |_| is_closed)
    }

    /// The router to which connections in flight are relayed, and their VIPs.
    pub(in crate::vrrp) fn relay(&self) -> Option<(IpAddr, impl Iterator<Item = Vip>)> {
        // Packets of IPv6 are not relayed: their connections begin anew.
        let vips = self.seen_vips.iter().filter(|vip| vip.address.is_ipv4()).cloned();
        self.relay.map(|relay| (relay.predecessor, vips))
    }

    /// The VIPs to announce, once.
    pub(in crate::vrrp) fn take_announcements(&mut self) -> Vec<Vip> {
        if self.waits_at.is_some() {
            return Vec::new();
        }
        if std::mem::take(&mut self.announce) { self.vips().collect() } else { Vec::new() }
    }

    /// The addresses of its VIPs.
    pub(in crate::vrrp) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.vips().map(|vip| vip.address)
    }
}

/// Whether a VIP is where it belongs.
pub(super) fn is_on(view: &View, vip: &Vip) -> bool {
    view.interfaces.get(&vip.interface).is_some_and(|found| found.has(vip.address))
}
