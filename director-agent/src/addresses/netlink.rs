//! A route-netlink socket without a runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// The kernel cuts dumps into parts of at most 32 KiB.
const BUFFER_BYTES: usize = 64 * 1024;
/// Notifications of a burst of changes; when it overflows everything is read again.
const NOTIFICATION_BUFFER_BYTES: usize = 1024 * 1024;
/// The kernel answers at once, or after another program's change of the same tables.
const ANSWER_WITHIN_S: i64 = 2;

/// A socket for requests or for notifications.
#[derive(Debug)]
pub(crate) struct RouteSocket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What a notification socket has heard.
pub(crate) enum Heard {
    /// These messages, in order.
    Messages(Vec<RouteNetlinkMessage>),
    /// Some were lost: read everything again.
    Lost,
}

impl RouteSocket {
    /// For requests, which wait for their answer.
    pub(crate) fn for_requests() -> io::Result<Self> {
        let socket = Self::open(0, SockFlag::empty())?;
        let timeout = TimeVal::seconds(ANSWER_WITHIN_S);
        setsockopt(&socket.socket, sockopt::ReceiveTimeout, &timeout)?;
        Ok(socket)
    }

    /// For notifications of the groups (a mask of `RTMGRP_*`), which never waits.
    pub(crate) fn for_notifications(groups: u32) -> io::Result<Self> {
        let socket = Self::open(groups, SockFlag::SOCK_NONBLOCK)?;
        setsockopt(&socket.socket, sockopt::RcvBuf, &NOTIFICATION_BUFFER_BYTES)?;
        Ok(socket)
    }

    fn open(groups: u32, flags: SockFlag) -> io::Result<Self> {
        let socket = open(SockProtocol::NetlinkRoute, groups, flags)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Asks for a change and waits for its acknowledgement. `flags` are added to request and ack.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, flags | NLM_F_ACK, |_| ())
    }

    /// Asks for a dump and waits for all of it.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        self.dump_each(message, |answer| answers.push(answer))?;
        Ok(answers)
    }

    /// Asks for a dump and hands over each part as it comes: a table may be larger than memory
    /// should hold.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(crate) fn dump_each(
        &mut self,
        message: RouteNetlinkMessage,
        take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.request(message, NLM_F_DUMP, take)
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        nix::sys::socket::send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        loop {
            for answer in self.receive()? {
                if answer.header.sequence_number != self.sequence {
                    // A late answer to a request that was given up.
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => take(message),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(()),
                        Some(_) => return Err(error.to_io()),
                    },
                    NetlinkPayload::Overrun(_) | NetlinkPayload::Noop => {}
                    unknown => tracing::debug!(?unknown, "an answer of the kernel is passed over"),
                }
            }
        }
    }

    /// All notifications that wait.
    ///
    /// # Errors
    /// The kernel's errno, but for a full buffer, which is [`Heard::Lost`].
    pub(crate) fn notifications(&mut self) -> io::Result<Heard> {
        let mut heard = Vec::new();
        loop {
            match self.receive() {
                Ok(messages) => {
                    heard.extend(messages.into_iter().filter_map(|m| match m.payload {
                        NetlinkPayload::InnerMessage(message) => Some(message),
                        _ => None,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Heard::Messages(heard));
                }
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    return Ok(Heard::Lost);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let fd = self.socket.as_raw_fd();
        let length = nix::sys::socket::recv(fd, &mut self.buffer, MsgFlags::empty())?;
        Ok(parse(&self.buffer[..length]))
    }
}

/// A netlink socket of the protocol that hears the groups (a mask).
///
/// # Errors
/// The kernel's errno.
pub(super) fn open(protocol: SockProtocol, groups: u32, flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
    let socket = nix::sys::socket::socket(family, kind, flags, Some(protocol))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// The messages of one datagram of the kernel.
pub(crate) fn parse(datagram: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    // Each message is aligned to 4 bytes; one that this program cannot read is passed over.
    while let Some(declared) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)) {
        let declared = usize::try_from(declared).unwrap_or(usize::MAX);
        let Some(message) = rest.get(..declared).filter(|_| declared >= HEADER_BYTES) else {
            break;
        };
        match NetlinkMessage::deserialize(message) {
            Ok(message) => messages.push(message),
            Err(error) => tracing::debug!(%error, "a message of the kernel is passed over"),
        }
        rest = rest.get(declared.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// Bytes of a netlink message's header.
const HEADER_BYTES: usize = 16;

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
