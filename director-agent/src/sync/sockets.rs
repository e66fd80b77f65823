//! The sockets of connection synchronisation: the one file that opens them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use fulcrum_ipvs::sync::{EXCHANGE_PORT, Frame, GROUP, KERNEL_PORT};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Room for a round's hashes that come while the table is read.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Largest datagram that is read whole; longer ones are malformed.
const DATAGRAM_BYTES: usize = 2048;

/// What a socket has heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// The interface.
    pub(super) interface: String,
    /// The frame; none when the datagram was malformed.
    pub(super) frame: Option<Frame>,
}

/// Speaks on one interface. It listens until it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    sender: Socket,
    listener: AbortHandle,
}

impl Link {
    /// Joins the group on the interface; what comes goes to `heard`, and is dropped while that is
    /// full: the exchange outlives losses.
    ///
    /// # Errors
    /// What the kernel says: `ENODEV` without the interface, `PermissionDenied` without
    /// `CAP_NET_RAW`.
    pub(super) fn open(interface: &str, heard: mpsc::Sender<Heard>) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let by_index = InterfaceIndexOrAddress::Index(index);
        socket.join_multicast_v4_n(&GROUP, &by_index)?;
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_loop_v4(false)?;
        // Like the kernel's daemons: nobody beyond the segment hears it.
        socket.set_multicast_ttl_v4(1)?;
        // Bound to the group, it hears no unicast: nothing that a router would forward.
        socket.bind(&address(EXCHANGE_PORT))?;
        let listener = UdpSocket::from_std(socket.try_clone()?.into())?;
        let listener = tokio::spawn(listen(listener, interface.to_owned(), heard));
        Ok(Self { sender: socket, listener: listener.abort_handle() })
    }

    /// To the other directors. What the kernel has no room for is lost, like any datagram.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn tell_directors(&self, bytes: &[u8]) -> io::Result<()> {
        self.sender.send_to(bytes, &address(EXCHANGE_PORT)).map(|_| ())
    }

    /// To the backup sync daemons of the other directors' kernels. They listen to the group alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn tell_kernels(&self, bytes: &[u8]) -> io::Result<()> {
        self.sender.send_to(bytes, &address(KERNEL_PORT)).map(|_| ())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn address(port: u16) -> SockAddr {
    let group: Ipv4Addr = GROUP;
    SockAddr::from(SocketAddr::from(SocketAddrV4::new(group, port)))
}

async fn listen(socket: UdpSocket, interface: String, heard: mpsc::Sender<Heard>) {
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(%error, interface, "cannot hear the other directors' connections");
                return;
            }
        };
        let frame = Frame::decode(&buffer[..length]).ok();
        // Full, or nobody listens any more.
        let _ = heard.try_send(Heard { interface: interface.clone(), frame });
    }
}
