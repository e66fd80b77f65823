//! Who else claims the VIPs of an instance.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fulcrum_vrrp::placement::Vip;
use fulcrum_vrrp::{Hold, Role};

use super::Router;
use crate::vrrp::SeenVip;
use crate::vrrp::rivals::ArpEar;

impl Router {
    /// Whether it holds its VIPs alone by rights: Active, and whom it relieved has let go.
    pub(super) fn expects_no_rival(&self, now: Duration) -> bool {
        self.instance.role() == Role::Active && self.hold == Hold::Held && now >= self.rivals_from
    }

    /// Its VIPs as neighbours see them.
    pub(super) fn seen(&self) -> Vec<SeenVip> {
        let (home, mac) = (self.home(), self.mac());
        let seen = self.vips().zip(&self.seen_vips).map(|(vip, seen)| SeenVip {
            address: seen.address,
            interface: seen.interface.clone(),
            virtual_mac: mac.filter(|_| vip.interface == home),
        });
        seen.collect()
    }

    /// Takes another host's claim to an address.
    pub(in crate::vrrp) fn note_claim(
        &mut self,
        now: Duration,
        interface: &str,
        address: Ipv4Addr,
        mac: [u8; 6],
    ) {
        if self.mac() == Some(mac) {
            // Whoever holds it by rights says so with the virtual MAC, too.
            return;
        }
        let address = IpAddr::V4(address);
        let is_ours = |vip: &Vip| vip.address == address && vip.interface == interface;
        if !self.expects_no_rival(now) || !self.seen_vips.iter().any(is_ours) {
            return;
        }
        if let Some(text) = self.rivals.note(now, interface, address, mac) {
            self.show(now, "duplicate_owner", text);
        }
    }

    /// Asks whether somebody else has one of its VIPs, each in turn.
    pub(in crate::vrrp) fn probe(&mut self, now: Duration, ear: &ArpEar) {
        if !self.expects_no_rival(now) {
            return;
        }
        let vips = self.seen_vips.iter().filter(|vip| vip.interface == self.plan.interface);
        let vips = vips.filter_map(|vip| match vip.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        self.rivals.probe(now, ear, vips);
    }
}
