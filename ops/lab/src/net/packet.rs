//! Whole Ethernet frames, to and from one interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::mac::Mac;
use super::namespace;

/// `PACKET_OUTGOING` of `linux/if_packet.h`: a frame that the interface sends.
const PACKET_OUTGOING: u8 = 4;

/// A packet socket on an interface.
#[derive(Debug)]
pub(crate) struct FrameSocket {
    socket: Socket,
    hears_own: bool,
    /// The interface's own address.
    pub(crate) own: Mac,
}

impl FrameSocket {
    /// Opens it on a node's `eth0` for one protocol (an `ETH_P_` number of `linux/if_ether.h`); any thread may use it
    /// then.
    pub(crate) fn open(node: &str, protocol: u16) -> Result<Self> {
        Self::on(node, "eth0", protocol, true)
    }

    /// Opens it on an interface for frames that come in there.
    pub(crate) fn incoming(node: &str, interface: &str, protocol: u16) -> Result<Self> {
        Self::on(node, interface, protocol, false)
    }

    fn on(node: &str, interface: &str, protocol: u16, hears_own: bool) -> Result<Self> {
        namespace::inside(node, || {
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address?.as_link_addr().copied())
                .with_context(|| format!("it has no {interface}"))?;
            let own = Mac(address.addr().context("the interface has no hardware address")?);
            let protocol = Protocol::from(i32::from(protocol.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
            // The address names no protocol, so the socket's own stays.
            nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
            Ok(Self { socket, hears_own, own })
        })
        .with_context(|| format!("cannot open a packet socket at {node}"))
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).context("cannot send a frame").map(|_| ())
    }

    /// The length of the next frame; none when the time is over.
    pub(crate) fn receive(&self, frame: &mut [u8], timeout: Duration) -> Result<Option<usize>> {
        // A timeout of zero would wait for ever.
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        self.next(frame, true)
    }

    /// The length of the next frame that has come already.
    pub(crate) fn try_receive(&self, frame: &mut [u8]) -> Result<Option<usize>> {
        self.next(frame, false)
    }

    fn next(&self, frame: &mut [u8], waits: bool) -> Result<Option<usize>> {
        self.socket.set_nonblocking(!waits)?;
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), frame) {
                Ok((_, Some(from))) if !self.hears_own && from.pkttype() == PACKET_OUTGOING => {}
                Ok((length, _)) => return Ok(Some(length)),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(errno) => return Err(io::Error::from(errno)).context("cannot read frames"),
            }
        }
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
