//! Hears what two routers send, each at its port of the bridge: every advert of either family, multicast or unicast, also
//! while the port passes nothing on.

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::mac::Mac;
use super::packet::FrameSocket;
use super::topology::{Node, SWITCH, port_of};

/// `ETH_P_ALL`: a socket for one protocol hears nothing of what a bridge's port takes in.
const ETH_P_ALL: u16 = 3;
/// `ETH_P_IP` and `ETH_P_IPV6` (`linux/if_ether.h`).
const ETH_P_IP: [u8; 2] = [0x08, 0x00];
const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];
/// VRRP's protocol number.
const VRRP: u8 = 112;
/// Bytes of an Ethernet header and of an IPv6 header.
const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// An ear at each router's port.
#[derive(Debug)]
pub(crate) struct RouterEars {
    sockets: [FrameSocket; 2],
}

/// An advert on its way from a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When the lab read it.
    pub(crate) at: Instant,
    /// Which router sent it.
    pub(crate) router: usize,
    /// What it says.
    pub(crate) advert: RouterAdvert,
}

/// What an advert says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouterAdvert {
    /// Its Ethernet source.
    pub(crate) mac: Mac,
    /// Its source address.
    pub(crate) source: IpAddr,
    /// 2 or 3.
    pub(crate) version: u8,
    /// 0 tells a planned stop.
    pub(crate) priority: u8,
}

impl RouterEars {
    /// Opens them.
    pub(crate) fn at(routers: &[Node; 2]) -> Result<Self> {
        let open = |node: Node| FrameSocket::incoming(SWITCH, &port_of(node.name), ETH_P_ALL);
        Ok(Self { sockets: [open(routers[0])?, open(routers[1])?] })
    }

    /// Forgets what was heard so far.
    pub(crate) fn forget(&self) -> Result<()> {
        for router in 0..self.sockets.len() {
            while self.take(router)?.is_some() {}
        }
        Ok(())
    }

    /// The next advert; none when the time is over.
    pub(crate) fn next(&self, timeout: Duration) -> Result<Option<Heard>> {
        let deadline = Instant::now() + timeout;
        loop {
            for router in 0..self.sockets.len() {
                while let Some(frame) = self.take(router)? {
                    if let Some(advert) = parse(&frame) {
                        return Ok(Some(Heard { at: Instant::now(), router, advert }));
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut ready: Vec<PollFd<'_>> = self
                .sockets
                .iter()
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
                .collect();
            let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut ready, wait).context("cannot wait for adverts")?;
        }
    }

    /// The next advert by which that router claims the address.
    pub(crate) fn next_claim(&self, router: usize, timeout: Duration) -> Result<Heard> {
        let begin = Instant::now();
        while let Some(left) = timeout.checked_sub(begin.elapsed()) {
            match self.next(left)? {
                Some(heard) if heard.router == router && heard.advert.priority > 0 => {
                    return Ok(heard);
                }
                _ => {}
            }
        }
        bail!("no advert of router {} within {timeout:?}", router + 1)
    }

    fn take(&self, router: usize) -> Result<Option<Vec<u8>>> {
        let mut frame = [0; 512];
        let length = self.sockets[router].try_receive(&mut frame)?;
        Ok(length.map(|length| frame[..length].to_vec()))
    }
}

/// Reads an advert from an Ethernet frame.
fn parse(frame: &[u8]) -> Option<RouterAdvert> {
    let mac = Mac(frame.get(6..12)?.try_into().ok()?);
    let packet = frame.get(ETHERNET..)?;
    let (protocol, source, start) = match frame.get(12..ETHERNET)? {
        kind if kind == ETH_P_IP => {
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (packet.get(9)?, IpAddr::from(source), usize::from(packet[0] & 0x0f) * 4)
        }
        kind if kind == ETH_P_IPV6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (packet.get(6)?, IpAddr::from(source), IPV6)
        }
        _ => return None,
    };
    let version = packet.get(start)? >> 4;
    let priority = *packet.get(start + 2)?;
    (*protocol == VRRP).then_some(RouterAdvert { mac, source, version, priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(kind: [u8; 2]) -> Vec<u8> {
        [[1; 6].as_slice(), [2; 6].as_slice(), kind.as_slice()].concat()
    }

    #[test]
    fn adverts_of_both_families() {
        let mut four = ethernet(ETH_P_IP);
        four.extend([
            0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, VRRP, 0, 0, 192, 168, 1, 135, 224, 0, 0, 18,
        ]);
        four.extend([0x21, 51, 100]);
        let mut six = ethernet(ETH_P_IPV6);
        six.extend([0x60, 0, 0, 0, 0, 24, VRRP, 255]);
        six.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        six.extend([0; 16]);
        six.extend([0x31, 51, 90]);
        for (frame, source, version, priority) in
            [(&four, "192.168.1.135", 2, 100), (&six, "fe80::1", 3, 90)]
        {
            let source = source.parse().expect("an address");
            let advert = RouterAdvert { mac: Mac([2; 6]), source, version, priority };
            assert_eq!(parse(frame), Some(advert));
            for length in 0..frame.len() {
                assert_eq!(parse(&frame[..length]), None, "{length} bytes");
            }
        }
    }
}
