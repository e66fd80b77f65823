//! Others that hold the VIPs of an instance while it is Active here, by the word of ARP.
//!
//! Two ways: everybody's ARP is listened to, and each VIP is asked for in turn with an ARP probe,
//! which only another holder answers. That also finds a real server whose ARP is not quiet.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use fulcrum_vrrp::{arp, ask};
use socket2::Socket;

use super::sockets;

/// Frames read in a turn: a flood of ARP must not hold back our adverts. Turns come at least every
/// advert interval; what does not fit into the socket meanwhile is lost, and asked for again.
const FRAMES_PER_TURN: usize = 64;
/// Rivals that are kept of an instance. More are no other news.
const MOST: usize = 16;
/// Time between probes of an instance: one VIP each, so 255 VIPs take four minutes.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Another holder stays in the status for this long after it was seen: each VIP of a few is asked
/// for several times meanwhile.
const STAYS: Duration = Duration::from_secs(30);

/// Another holder of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The VIP.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Interface on which it was seen.
    pub interface: String,
    /// Times it was seen.
    pub count: u64,
    /// When it was seen last, by the wall clock.
    pub last_seen: SystemTime,
}

/// The ARP of one interface.
#[derive(Debug)]
pub(super) struct ArpEar {
    socket: Socket,
    mac: [u8; 6],
}

impl ArpEar {
    /// None where the interface has no ARP.
    pub(super) fn open(interface: &str) -> Option<Self> {
        let opened = sockets::open_arp(interface);
        let opened = opened.inspect_err(|error| {
            tracing::debug!(interface, %error, "other holders of VIPs are not looked for");
        });
        opened.ok().map(|(socket, mac)| Self { socket, mac })
    }

    /// Gives each claim that was heard of another host: its MAC and the address.
    pub(super) fn claims(&self, mut take: impl FnMut([u8; 6], Ipv4Addr)) {
        let mut frame = [0; arp::FRAME_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            // What is longer than an ARP packet is padding.
            let Ok(length) = (&self.socket).read(&mut frame) else { return };
            if let Some((mac, address)) = arp::claim(&frame[..length])
                && mac != self.mac
            {
                take(mac, address);
            }
        }
    }

    fn probe(&self, address: Ipv4Addr) {
        let frame = ask::arp_request(self.mac, Ipv4Addr::UNSPECIFIED, address);
        // A probe that is lost is made again.
        let _ = self.socket.send(&frame);
    }
}

/// The rivals of one instance.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    seen: BTreeMap<(IpAddr, [u8; 6]), (Duration, Rival)>,
    probe_at: Duration,
    /// Counts probes, to take the VIPs in turn.
    probes: usize,
}

impl Rivals {
    /// Takes a claim for one of the instance's VIPs; answers with the news.
    pub(super) fn note(
        &mut self,
        now: Duration,
        interface: &str,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Option<String> {
        let is_known = self.seen.contains_key(&(address, mac));
        if !is_known && self.seen.len() >= MOST {
            return None;
        }
        let fresh = || {
            let last_seen = SystemTime::now();
            let interface = interface.to_owned();
            (now, Rival { address, mac, interface, count: 0, last_seen })
        };
        let (at, rival) = self.seen.entry((address, mac)).or_insert_with(fresh);
        *at = now;
        rival.count += 1;
        rival.last_seen = SystemTime::now();
        Some(format!(
            "{} holds the VIP {address} on {interface}, too: it answers ARP there, so clients reach \
             the one or the other; find it by its MAC, and take the address from it or set \
             arp_ignore=1 on it",
            text(mac)
        ))
    }

    /// Asks for the next VIP when it is time.
    pub(super) fn probe(
        &mut self,
        now: Duration,
        ear: &ArpEar,
        vips: impl Iterator<Item = Ipv4Addr> + Clone,
    ) {
        if now < self.probe_at {
            return;
        }
        let turn = self.probes.checked_rem(vips.clone().count());
        let Some(vip) = turn.and_then(|turn| vips.clone().nth(turn)) else { return };
        self.probe_at = now + PROBE_EVERY;
        ear.probe(vip);
        self.probes = self.probes.wrapping_add(1);
    }

    /// Those seen lately, the latest first.
    pub(super) fn list(&mut self, now: Duration) -> Vec<Rival> {
        self.seen.retain(|_, (at, _)| now.saturating_sub(*at) < STAYS);
        let mut list: Vec<&(Duration, Rival)> = self.seen.values().collect();
        list.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        list.into_iter().map(|(_, rival)| rival.clone()).collect()
    }
}

/// As `ip link` prints it.
pub(crate) fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 150));

    #[test]
    fn rivals_are_named_counted_and_forgotten() {
        let mut rivals = Rivals::default();
        let now = Duration::from_secs(100);
        let said = rivals.note(now, "eth0", VIP, [2, 0, 0, 0, 0, 0x1f]).expect("it is news");
        assert!(said.contains("02:00:00:00:00:1f") && said.contains("10.0.0.150"), "{said}");
        rivals.note(now + PROBE_EVERY, "eth0", VIP, [2, 0, 0, 0, 0, 0x1f]);
        let list = rivals.list(now + PROBE_EVERY);
        assert_eq!((list.len(), list[0].count), (1, 2));
        assert!(rivals.list(now + PROBE_EVERY + STAYS).is_empty());
    }

    #[test]
    fn a_flood_of_forged_addresses_fills_nothing() {
        let mut rivals = Rivals::default();
        for last in 0..200 {
            rivals.note(Duration::ZERO, "eth0", VIP, [2, 0, 0, 0, 0, last]);
        }
        assert_eq!(rivals.list(Duration::ZERO).len(), MOST);
    }
}
