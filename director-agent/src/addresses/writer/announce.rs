//! Tells neighbours where the VIPs are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fulcrum_vrrp::Place;
use fulcrum_vrrp::placement::Vip;

use super::Writer;
use crate::addresses::Target;
use crate::vrrp::sockets::AnnounceSocket;

impl Writer {
    /// Announces those that are due, the new ones among them.
    pub(super) fn pace(&mut self, announce: BTreeSet<Vip>) {
        let now = Instant::now();
        let targets = &self.order.vips;
        for vip in announce {
            let gap = targets.get(&vip).map_or(Duration::ZERO, |target| target.gap);
            self.pacing.ask(vip, gap);
        }
        let is_held = |target: &Target| target.place == Place::Interface;
        self.pacing.retain(now, |vip| targets.get(vip).is_some_and(is_held));
        for vip in self.pacing.take(now) {
            self.announce(&vip);
        }
    }

    fn announce(&mut self, vip: &Vip) {
        let interfaces = self.kernel.interfaces();
        let Some(interface) = interfaces.get(&vip.interface) else { return };
        let is_held = interface.addresses.contains(&(vip.address, vip.prefix_length));
        let Some(mac) = interface.mac.filter(|_| is_held) else { return };
        let key = (vip.interface.clone(), interface.index);
        if !self.announcers.contains_key(&key) {
            match AnnounceSocket::open(&vip.interface) {
                Ok(socket) => {
                    self.announcers.insert(key.clone(), socket);
                }
                Err(error) => {
                    tracing::warn!(interface = vip.interface, %error, "cannot send gratuitous ARP");
                    return;
                }
            }
        }
        if let Some(Err(error)) =
            self.announcers.get(&key).map(|socket| socket.announce(mac, vip.address))
        {
            tracing::warn!(vip = %vip.address, %error, "gratuitous ARP was not sent");
        }
    }
}
