//! The raw sockets of VRRP, gratuitous ARP and tracking: the one file that opens them.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fulcrum_vrrp::datagram::{GROUP, GROUP_V6, PROTOCOL, TTL};
use fulcrum_vrrp::{Datagram, Discard, arp, ndp, virtual_mac};
use nix::libc::{self, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrIn6,
    recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, MsgHdr, Protocol, SockAddr, Socket, Type};

/// Room for the adverts of a long pause: some hundred packets, then the kernel drops new ones.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;
/// Largest packet that is read whole: 255 addresses make 1,056 bytes; longer ones are malformed.
const PACKET_BYTES: usize = 2048;

/// Sends and receives the adverts of one interface, of both families.
#[derive(Debug)]
pub(crate) struct AdvertSocket {
    socket: Socket,
    /// An error where the interface has no IPv6.
    socket_v6: io::Result<Socket>,
    /// Sends from a virtual MAC; none where the interface is no Ethernet.
    frames: Option<AnnounceSocket>,
    interface_index: u32,
}

impl AdvertSocket {
    /// Sockets of IP protocol 112, bound to the interface and in the groups there.
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
        let socket_v6 = open_v6(interface, interface_index);
        let frames = AnnounceSocket::open(interface).ok();
        Ok(Self { socket, socket_v6, frames, interface_index })
    }

    /// Why it cannot send and receive over IPv6.
    pub(crate) fn error_v6(&self) -> Option<&io::Error> {
        self.socket_v6.as_ref().err()
    }

    /// Tries IPv6 once more; `wait_for` is given what else is to be waited for.
    pub(crate) fn reopen_v6(
        &mut self,
        interface: &str,
        wait_for: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) {
        let opened = open_v6(interface, self.interface_index);
        self.socket_v6 = opened.and_then(|socket| wait_for(socket.as_fd()).map(|()| socket));
    }

    /// Sends a packet as fulcrum-vrrp builds it: over IPv4 a whole one, over IPv6 the message, to
    /// which the kernel adds the header with `source`.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` where the interface has no IPv6.
    pub(crate) fn send(
        &self,
        packet: &[u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> io::Result<()> {
        let (destination, source) = match (destination, source) {
            (IpAddr::V4(destination), _) => {
                let address = SockAddr::from(SocketAddrV4::new(destination, 0));
                return self.socket.send_to(packet, &address).map(|_| ());
            }
            (IpAddr::V6(destination), IpAddr::V6(source)) => (destination, source),
            (IpAddr::V6(_), IpAddr::V4(_)) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let Ok(socket) = &self.socket_v6 else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let scope = if destination.is_unicast_link_local() || destination.is_multicast() {
            self.interface_index
        } else {
            0
        };
        let to = SockAddr::from(SocketAddrV6::new(destination, 0, 0, scope));
        // The kernel would choose among the interface's addresses, a VIP of ours among them.
        let control = packet_info(source, self.interface_index);
        let parts = [IoSlice::new(packet)];
        let message = MsgHdr::new().with_addr(&to).with_buffers(&parts).with_control(&control);
        socket.sendmsg(&message, MsgFlags::MSG_DONTWAIT.bits()).map(|_| ())
    }

    /// Sends a packet from a MAC that is not the interface's. It does not matter whether a device
    /// carries that MAC already: the first advert of an Active must not wait for one.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` for a destination that is no group.
    pub(crate) fn send_from(
        &self,
        mac: [u8; 6],
        packet: &[u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> io::Result<()> {
        let (Some(frames), Some(ethernet)) =
            (&self.frames, virtual_mac::ethernet_header(mac, destination))
        else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        match (source, destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = virtual_mac::ipv6_header(source, destination, packet.len());
                frames.send(&[IoSlice::new(&ethernet), IoSlice::new(&header), IoSlice::new(packet)])
            }
            _ => frames.send(&[IoSlice::new(&ethernet), IoSlice::new(packet)]),
        }
    }

    /// The next packet that waits, or why it is none; none when none waits.
    ///
    /// # Errors
    /// What the kernel says: the interface went down.
    pub(crate) fn receive<'a>(
        &self,
        buffer: &'a mut AdvertBuffer,
    ) -> io::Result<Option<Result<Datagram<'a>, Discard>>> {
        match (&self.socket).read(&mut buffer.packet) {
            Ok(length) => return Ok(Some(Datagram::parse(&buffer.packet[..length]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match &self.socket_v6 {
            Ok(socket) => receive_v6(socket, buffer),
            Err(_) => Ok(None),
        }
    }

    /// What to wait for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(&self.socket), self.socket_v6.as_ref().ok()].into_iter().flatten().map(AsFd::as_fd)
    }
}

/// RFC 9568 §5.1.2: protocol 112, hop limit 255, group `ff02::12`. The kernel gives no header, so what
/// it says beside the message is asked for (RFC 3542 §6).
fn open_v6(interface: &str, interface_index: u32) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(PROTOCOL));
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(protocol))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.set_unicast_hops_v6(u32::from(TTL))?;
    socket.set_multicast_hops_v6(u32::from(TTL))?;
    socket.set_multicast_if_v6(interface_index)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    socket.join_multicast_v6(&GROUP_V6, interface_index)?;
    Ok(socket)
}

/// Bytes of the control message below: a header of length, level and type, and `in6_pktinfo`.
const PACKET_INFO_BYTES: usize = size_of::<usize>() + 8 + size_of::<in6_pktinfo>();

/// The control message that says where a packet comes from (RFC 3542 §6.2), filled up to whole
/// words. Built here because nix allocates it anew for each packet.
fn packet_info(
    source: Ipv6Addr,
    interface_index: u32,
) -> [u8; PACKET_INFO_BYTES.next_multiple_of(size_of::<usize>())] {
    let mut bytes = [0; PACKET_INFO_BYTES.next_multiple_of(size_of::<usize>())];
    let (length, rest) = bytes.split_at_mut(size_of::<usize>());
    length.copy_from_slice(&PACKET_INFO_BYTES.to_ne_bytes());
    rest[0..4].copy_from_slice(&libc::IPPROTO_IPV6.to_ne_bytes());
    rest[4..8].copy_from_slice(&libc::IPV6_PKTINFO.to_ne_bytes());
    rest[8..24].copy_from_slice(&source.octets());
    rest[24..28].copy_from_slice(&interface_index.to_ne_bytes());
    bytes
}

fn receive_v6<'a>(
    socket: &Socket,
    buffer: &'a mut AdvertBuffer,
) -> io::Result<Option<Result<Datagram<'a>, Discard>>> {
    let mut parts = [IoSliceMut::new(&mut buffer.packet)];
    let control = Some(buffer.control.as_mut_slice());
    let received =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, control, MsgFlags::MSG_DONTWAIT);
    let received = match received {
        Ok(received) => received,
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let (mut destination, mut hop_limit) = (None, None);
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    let (source, length) = (received.address.map(|address| address.ip()), received.bytes);
    Ok(Some(match (source, destination, hop_limit) {
        (Some(source), Some(destination), Some(hop_limit)) => {
            Ok(Datagram::of_ipv6(source, destination, hop_limit, &buffer.packet[..length]))
        }
        _ => Err(Discard::IpHeader),
    }))
}

/// Room for one packet and what the kernel says beside it.
pub(crate) struct AdvertBuffer {
    packet: [u8; PACKET_BYTES],
    control: Vec<u8>,
}

impl AdvertBuffer {
    pub(crate) fn new() -> Self {
        Self { packet: [0; PACKET_BYTES], control: nix::cmsg_space!(in6_pktinfo, i32) }
    }
}

/// Sends frames on one interface: gratuitous ARP, unsolicited neighbour advertisements, adverts from
/// a virtual MAC.
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

    /// Sends a frame of these parts.
    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        sendmsg::<LinkAddr>(self.0.as_raw_fd(), parts, &[], MsgFlags::MSG_DONTWAIT, None)?;
        Ok(())
    }

    /// Announces that `vip` is at `mac`.
    pub(crate) fn announce(&self, mac: [u8; 6], vip: IpAddr) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        match vip {
            IpAddr::V4(vip) => {
                let frame = arp::announcement(mac, vip);
                nix::sys::socket::send(fd, &frame, MsgFlags::MSG_DONTWAIT)?;
            }
            IpAddr::V6(vip) => {
                let frame = ndp::announcement(mac, vip);
                nix::sys::socket::send(fd, &frame, MsgFlags::MSG_DONTWAIT)?;
            }
        }
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

/// A raw ICMP or `ICMPv6` socket that is connected to `target`, from `source` where one is given, nonblocking. IPv4 is received
/// with its header.
///
/// # Errors
/// What the kernel says: `NetworkUnreachable` without a route to the target.
pub(crate) fn open_echo(target: IpAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
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
