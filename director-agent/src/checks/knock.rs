//! Tries that ask no more than whether a connection would be accepted.
//!
//! ```text
//!   director                      real server
//!      │ ───────── SYN ──────────▶ │  its kernel answers while a program listens and its queue has room
//!      │ ◀─────── SYN, ACK ─────── │  that is what is asked
//!      │ ───────── RST ──────────▶ │  forgotten, before any program hears of it
//! ```
//!
//! The answer is known with the second packet. A connection that is completed and closed would cost both hosts as much again: an
//! acknowledgement and four packets of an end, a socket and an `accept` at the real server, and a socket of ours that waits a minute
//! in `TIME_WAIT`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::connect_unspec;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

use super::Outcome;
use super::endpoint::Endpoint;

/// When a connection is looked at for the first time.
pub(super) const MOMENT: Duration = Duration::from_millis(1);

/// Sockets of each family that wait for their next try. At usual intervals no more are in use at once, however many checks there are.
const MOST_IDLE: usize = 64;

/// Sockets of tries that have passed, for the next ones: a try that makes its socket and closes it costs half as much again.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleSockets {
    v4: Arc<Mutex<Vec<Socket>>>,
    v6: Arc<Mutex<Vec<Socket>>>,
}

impl IdleSockets {
    fn of(&self, address: SocketAddr) -> &Mutex<Vec<Socket>> {
        match address {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => &self.v6,
        }
    }

    fn take(&self, address: SocketAddr) -> Option<Socket> {
        // Sockets do not spoil when somebody panics.
        self.of(address).lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, address: SocketAddr, socket: Socket) {
        let mut idle = self.of(address).lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(socket);
        }
    }
}

/// A try under way.
#[derive(Debug)]
pub(super) struct Knock {
    endpoint: Endpoint,
    socket: Socket,
}

impl Endpoint {
    /// Sees whether a connection would be accepted.
    ///
    /// A real server on the same network answers within a moment, so a first look comes after one, and only who has not answered
    /// by then is waited for by notice: that saves half of the system calls of a try.
    pub(super) async fn is_accepted(&self, idle: &IdleSockets) -> Result<(), Outcome> {
        let knock = self.knock(idle)?;
        tokio::time::sleep(MOMENT).await;
        // Who was not seen is waited for.
        let flags = seen_now(&[&knock]).map_or(PollFlags::empty(), |flags| flags[0]);
        match knock.answer(flags) {
            Some(answer) => knock.ended(answer, Some(idle)),
            None => waited_for(knock.socket).await.map_err(|error| self.not_connected(&error)),
        }
    }

    /// Begins a try.
    pub(super) fn knock(&self, idle: &IdleSockets) -> Result<Knock, Outcome> {
        let socket = self.socket(idle)?;
        // The kernel would acknowledge at once. Where it cannot be told, the try is as good, and completes the connection.
        let _ = socket.set_tcp_quickack(false);
        match socket.connect(&self.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
            Err(error) => return Err(self.not_connected(&error)),
        }
        Ok(Knock { endpoint: *self, socket })
    }

    fn socket(&self, idle: &IdleSockets) -> Result<Socket, Outcome> {
        let known = if self.is_plain() { idle.take(self.address) } else { None };
        if let Some(socket) = known {
            return Ok(socket);
        }
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(self.address), kind, None);
        let socket = socket.map_err(|error| self.not_connected(&error))?;
        self.prepare(&SockRef::from(&socket))?;
        Ok(socket)
    }
}

impl Knock {
    /// What its flags say; none while there is no answer.
    pub(super) fn answer(&self, flags: PollFlags) -> Option<io::Result<()>> {
        match flags {
            PollFlags::POLLOUT => Some(Ok(())),
            none if none.is_empty() => None,
            // What cannot say its error has none the less not been accepted.
            _error => Some(
                fault_of(self.socket.take_error())
                    .and_then(|()| Err(io::ErrorKind::NotConnected.into())),
            ),
        }
    }

    /// Ends it. The socket is kept in `idle` where another try can use it.
    pub(super) fn ended(
        self,
        answer: io::Result<()>,
        idle: Option<&IdleSockets>,
    ) -> Result<(), Outcome> {
        let Self { endpoint, socket } = self;
        let reset = answer.and_then(|()| Ok(connect_unspec(&socket)?));
        reset.map_err(|error| endpoint.not_connected(&error))?;
        if let Some(idle) = idle.filter(|_| endpoint.is_plain()) {
            idle.put(endpoint.address, socket);
        }
        Ok(())
    }
}

impl AsFd for Knock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What the kernel knows of sockets that connect, without waiting.
pub(super) fn seen_now(knocks: &[&Knock]) -> Result<Vec<PollFlags>, Errno> {
    let asked = knocks.iter().map(|knock| PollFd::new(knock.as_fd(), PollFlags::POLLOUT));
    let mut looked: Vec<PollFd<'_>> = asked.collect();
    poll(&mut looked, PollTimeout::ZERO)?;
    // Flags that nix does not know are no word of an answer.
    Ok(looked.iter().map(|seen| seen.revents().unwrap_or(PollFlags::empty())).collect())
}

/// Waits for an answer that takes longer.
async fn waited_for(socket: Socket) -> io::Result<()> {
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    fault_of(stream.take_error())?;
    Ok(connect_unspec(&stream)?)
}

fn fault_of(told: io::Result<Option<io::Error>>) -> io::Result<()> {
    told?.map_or(Ok(()), Err)
}
