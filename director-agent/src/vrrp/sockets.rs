//! The raw sockets of VRRP and gratuitous ARP: the one file that opens them.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fulcrum_vrrp::arp;
use fulcrum_vrrp::datagram::{GROUP, PROTOCOL};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

/// Room for the adverts of a long pause: some hundred packets, then the kernel drops new ones.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;
/// Largest packet that is read whole: 255 addresses make 1,056 bytes; longer ones are malformed.
const PACKET_BYTES: usize = 2048;

/// Sends and receives the adverts of one interface.
#[derive(Debug)]
pub(crate) struct AdvertSocket {
    socket: Socket,
    interface_index: u32,
}

impl AdvertSocket {
    /// A socket of IP protocol 112, bound to the interface and in the group there.
    ///
    /// # Errors
    /// What the kernel says: `PermissionDenied` without `CAP_NET_RAW`, `ENODEV` without the
    /// interface.
    pub(crate) fn open(interface: &str, interface_index: u32) -> io::Result<Self> {
        let socket = new_advert_socket()?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.set_header_included_v4(true)?;
        socket.set_multicast_loop_v4(false)?;
        // Other programs' groups on this host are not ours.
        socket.set_multicast_all_v4(false)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let index = NonZeroU32::new(interface_index).map_or(0, NonZeroU32::get);
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
        Ok(Self { socket, interface_index })
    }

    /// The interface that it was bound to; another one may have taken the name since.
    pub(crate) fn interface_index(&self) -> u32 {
        self.interface_index
    }

    /// Sends a whole IPv4 packet.
    pub(crate) fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let IpAddr::V4(destination) = destination else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let address = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.socket.send_to(packet, &address).map(|_| ())
    }

    /// The next packet that waits, with its IPv4 header; none when none waits.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut AdvertBuffer) -> io::Result<Option<&'a [u8]>> {
        match (&self.socket).read(&mut buffer.0) {
            Ok(length) => Ok(Some(&buffer.0[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one packet.
pub(crate) struct AdvertBuffer([u8; PACKET_BYTES]);

impl AdvertBuffer {
    pub(crate) fn new() -> Self {
        Self([0; PACKET_BYTES])
    }
}

/// Sends gratuitous ARP on one interface.
#[derive(Debug)]
pub(crate) struct AnnounceSocket(OwnedFd);

impl AnnounceSocket {
    /// A packet socket bound to the interface, which receives nothing.
    ///
    /// # Errors
    /// What the kernel says: `PermissionDenied` without `CAP_NET_RAW`, `NotFound` without the
    /// interface.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // The list gives link addresses whose protocol is 0: bound to one, nothing is received.
        let address = nix::ifaddrs::getifaddrs()?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let socket = new_packet_socket()?;
        nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
        Ok(Self(socket))
    }

    /// Announces that `vip` is at `mac`.
    pub(crate) fn announce(&self, mac: [u8; 6], vip: IpAddr) -> io::Result<()> {
        let IpAddr::V4(vip) = vip else { return Err(io::ErrorKind::Unsupported.into()) };
        let frame = arp::announcement(mac, vip);
        nix::sys::socket::send(self.0.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// Whether this process may open raw sockets at all.
///
/// # Errors
/// What the kernel says.
pub(crate) fn try_open() -> io::Result<()> {
    new_advert_socket()?;
    new_packet_socket()?;
    Ok(())
}

fn new_advert_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))
}

fn new_packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(nix::sys::socket::socket(AddressFamily::Packet, SockType::Raw, flags, None)?)
}

/// Ethernet's protocol number of ARP.
const ETHERTYPE_ARP: u16 = 0x0806;

/// A packet socket for the ARP of one interface, nonblocking, and the interface's MAC. The reader
/// sees every ARP packet there.
///
/// # Errors
/// What the kernel says; `NotFound` without an Ethernet interface of the name.
pub(crate) fn open_arp(interface: &str) -> io::Result<(Socket, [u8; 6])> {
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let (address, mac) = link_address(interface)?;
    // The address's protocol is 0, which leaves the socket's own.
    nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
    Ok((socket, mac))
}

/// A raw `ICMPv6` socket for neighbour discovery on one interface, nonblocking, and the interface's
/// MAC. What is sent has hop limit 255 (RFC 4861 §7.1).
///
/// # Errors
/// What the kernel says; `NotFound` without an Ethernet interface of the name.
pub(crate) fn open_neighbour_discovery(interface: &str) -> io::Result<(Socket, [u8; 6])> {
    let (address, mac) = link_address(interface)?;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(u32::try_from(address.ifindex()).unwrap_or(0))?;
    Ok((socket, mac))
}

/// A raw ICMP or `ICMPv6` socket that is connected to `target`, nonblocking. IPv4 is received with
/// its header.
///
/// # Errors
/// What the kernel says: `NetworkUnreachable` without a route to the target.
pub(crate) fn open_echo(target: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    Ok(socket)
}

/// Number and MAC of an Ethernet interface.
fn link_address(interface: &str) -> io::Result<(LinkAddr, [u8; 6])> {
    let mut entries = nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == interface);
    let found = entries.find_map(|entry| {
        let address = *entry.address?.as_link_addr()?;
        Some((address, address.addr()?))
    });
    found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}
