//! Requests to the kernel and its answers: the only file of this agent's IPVS part that opens netlink.
//!
//! neli resolves the family and opens the sockets; the bytes are `fulcrum_ipvs::codec`'s, because hundreds of requests
//! go out in one send. Three traps are kept shut: every wait has an end; dumps have a socket of their own and are
//! drained at once, for an undrained one blocks its socket; and no more requests are in flight than the receive
//! buffer holds refusals.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use fulcrum_ipvs::codec::{
    self, Acknowledge, FAMILY_NAME, Information, Malformed, Messages, Payload, Refusal, Timeouts,
};
use fulcrum_ipvs::{Destinations, Operation, Pace, VirtualServerKey, VirtualServerSettings};
use neli::consts::socket::{Msg, NlFamily};
use neli::err::RouterError;
use neli::router::asynchronous::NlRouter;
use neli::socket::NlSocket;
use neli::utils::Groups;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use tokio::time::{Instant, timeout};

use super::error::IpvsError;
use super::{Traffic, modules};

/// Longest wait for an answer. The kernel answers within the call that sends, so this ends what is broken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries to receive what should have been there at once.
const PAUSE: Duration = Duration::from_millis(1);
/// Receive buffer in bytes to ask for. Who may not have more than `net.core.rmem_max` (212,992 bytes unless set otherwise) gets
/// that. The kernel doubles either, for its bookkeeping.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Room that a refusal takes of the receive buffer at most, with its bookkeeping. As many requests are in flight as it holds
/// refusals, should all be refused; where that is still too many, they become fewer.
const REFUSAL: usize = 1280;
/// Batches between two looks at the clock, which is a system call where the host has no better one: operations next to each other cost
/// alike.
const BATCHES: usize = 8;
/// The kernel's largest piece of a dump is 32 KiB.
const PIECE: usize = 64 << 10;

/// What a request that edits is for, in the words of errors.
const EDIT: &str = "edit the IPVS table";

/// The kernel's IPVS of this network namespace.
pub(super) struct Kernel {
    family: u16,
    writes: Socket,
    reads: Socket,
    window: usize,
    pace: Pace,
    /// Time in calls that edit.
    busy: Duration,
    sequence: u32,
    /// Of one send.
    request: Vec<u8>,
}

/// What is not known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undone {
    /// Refused.
    Refused(Refusal),
    /// The answer was lost: only reading tells.
    Unknown,
}

impl Kernel {
    /// Resolves the family, loading the module if it is missing and this process may, and opens the sockets.
    pub(super) async fn open() -> Result<Self, IpvsError> {
        let family = match resolve().await {
            Err(IpvsError::MissingModule { .. }) => match modules::load("ip_vs").await {
                Ok(()) => resolve().await,
                Err(reason) => Err(IpvsError::MissingModule { reason }),
            },
            resolved => resolved,
        }?;
        let (writes, reads) = (Socket::open()?, Socket::open()?);
        let window = (writes.receive_buffer()? / REFUSAL).max(1);
        let (pace, busy, request) = (Pace::default(), Duration::ZERO, Vec::new());
        Ok(Self { family, writes, reads, window, pace, busy, sequence: 0, request })
    }

    /// Sends operations, in order, and tells which of them, by their index, are not done. As many go out in one send as do not
    /// hold the CPU for long, and as many without an answer as there is room for answers.
    ///
    /// # Errors
    /// [`IpvsError`] when a request cannot be sent; how those before it went is then unknown.
    pub(super) async fn write(
        &mut self,
        operations: &[Operation],
    ) -> Result<BTreeMap<usize, Undone>, IpvsError> {
        let (mut undone, mut sent) = (BTreeMap::new(), 0);
        while let Some(rest) = operations.get(sent..).filter(|rest| !rest.is_empty()) {
            let most = self.window.min(BATCHES * self.pace.operations());
            let flight = rest.get(..most).unwrap_or(rest);
            let of_flight = self.write_flight(flight).await?;
            undone.extend(of_flight.into_iter().map(|(index, why)| (sent + index, why)));
            sent += flight.len();
        }
        Ok(undone)
    }

    /// How long the kernel has worked on edits until now.
    pub(super) fn busy(&self) -> Duration {
        self.busy
    }

    /// Sends operations in batches, and asks for an answer to the last.
    async fn write_flight(
        &mut self,
        flight: &[Operation],
    ) -> Result<BTreeMap<usize, Undone>, IpvsError> {
        let first = self.sequence.wrapping_add(1);
        let began = Instant::now();
        let mut batches = flight.chunks(self.pace.operations()).peekable();
        while let Some(batch) = batches.next() {
            self.encode(batch, batches.peek().is_none());
            // The kernel does them within this call. When others had the CPU meanwhile, that counts too: batches are then
            // smaller than they need to be.
            self.writes.send(&self.request, EDIT)?;
        }
        let took = began.elapsed();
        self.busy += took;
        self.pace = self.pace.after(flight.len(), took);
        self.undone(first, flight.len()).await
    }

    /// Makes the requests of one send; the last of a flight wants an answer.
    fn encode(&mut self, batch: &[Operation], is_last: bool) {
        self.request.clear();
        let last = batch.len().saturating_sub(1);
        for (index, operation) in batch.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let is_asked = is_last && index == last;
            let acknowledge = if is_asked { Acknowledge::Yes } else { Acknowledge::No };
            let number = (self.family, self.sequence);
            codec::request(&mut self.request, number, operation, acknowledge);
        }
    }

    /// Receives what the kernel answers to so many requests, from the one numbered `first`.
    async fn undone(
        &mut self,
        first: u32,
        count: usize,
    ) -> Result<BTreeMap<usize, Undone>, IpvsError> {
        let mut undone = BTreeMap::new();
        let last = count.saturating_sub(1);
        let (mut is_answered, mut is_whole, mut patience) = (false, true, PATIENCE);
        while !is_answered {
            let bytes = match self.writes.receive(EDIT, patience).await {
                Ok(bytes) => bytes,
                // The buffer overflowed: what it holds is still to be read, the rest will never come.
                Err(IpvsError::Socket { source, .. })
                    if source.raw_os_error() == Some(Errno::ENOBUFS as i32) =>
                {
                    self.window = (count / 2).max(1);
                    patience = Duration::ZERO;
                    is_whole = false;
                    continue;
                }
                // What is still unknown will be found by reading the table.
                Err(error) => {
                    let window = self.window;
                    tracing::warn!(%error, window, "answers to IPVS edits are missing");
                    break;
                }
            };
            for message in Messages::new(bytes) {
                let message =
                    message.map_err(|source| IpvsError::Malformed { doing: EDIT, source })?;
                let index = usize::try_from(message.sequence.wrapping_sub(first));
                // An answer to an earlier flight has no place here: that was given up.
                let Some(index) = index.ok().filter(|index| *index < count) else { continue };
                match message.payload {
                    Payload::Done => {}
                    Payload::Refused(refusal) => {
                        undone.entry(index).or_insert(Undone::Refused(refusal));
                    }
                    Payload::DumpEnd
                    | Payload::DumpFailed(_)
                    | Payload::Answer { .. }
                    | Payload::Nothing => continue,
                }
                is_answered |= index == last;
            }
        }
        // The last is answered after all others: of those, nothing is heard when they are done. Where answers were lost,
        // nobody knows.
        let silent = match (is_answered, is_whole) {
            (true, true) => 0..0,
            (true, false) => 0..last,
            (false, _) => 0..count,
        };
        for index in silent {
            undone.entry(index).or_insert(Undone::Unknown);
        }
        Ok(undone)
    }

    /// All virtual servers, and what is wrong with those that cannot be understood, in words.
    pub(super) async fn virtual_servers(
        &mut self,
    ) -> Result<(BTreeMap<VirtualServerKey, VirtualServerSettings>, Vec<String>), IpvsError> {
        let mut found = BTreeMap::new();
        let mut problems = Vec::new();
        let doing = "read the virtual servers";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::dump_virtual_servers(buffer, family, sequence);
        };
        self.exchange(doing, request, |attributes| match codec::virtual_server(attributes) {
            Ok((key, settings)) => {
                found.insert(key, settings);
            }
            Err(error) => problems.push(format!("a virtual server cannot be understood: {error}")),
        })
        .await?;
        Ok((found, problems))
    }

    /// One virtual server's settings; none when there is no such virtual server.
    pub(super) async fn virtual_server(
        &mut self,
        key: &VirtualServerKey,
    ) -> Result<Option<VirtualServerSettings>, IpvsError> {
        let mut found = None;
        let doing = "read a virtual server";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::get_virtual_server(buffer, family, sequence, key);
        };
        let result = self
            .exchange(doing, request, |attributes| {
                found = codec::virtual_server(attributes).ok().map(|(_, settings)| settings);
            })
            .await;
        match result {
            Ok(()) => Ok(found),
            Err(IpvsError::Refused { refusal, .. }) if refusal.errno == Errno::ESRCH as i32 => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The real servers of a virtual server, with their connections. Empty when there is no such virtual server.
    pub(super) async fn destinations(
        &mut self,
        key: &VirtualServerKey,
    ) -> Result<(Destinations, Vec<String>), IpvsError> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let doing = "read the real servers of a virtual server";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::dump_destinations(buffer, family, sequence, key);
        };
        self.exchange(doing, request, |attributes| {
            match codec::destination(attributes, key.family()) {
                Ok(entry) => found.push(entry),
                Err(error) => {
                    problems.push(format!("a real server of {key} cannot be understood: {error}"));
                }
            }
        })
        .await?;
        Ok((found.into_iter().collect(), problems))
    }

    /// The traffic of every virtual server and real server, by the table as it is.
    pub(super) async fn traffic(&mut self) -> Result<Traffic, IpvsError> {
        let mut found = Traffic::new();
        let mut keys = Vec::new();
        let doing = "read the traffic of virtual servers";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::dump_virtual_servers(buffer, family, sequence);
        };
        self.exchange(doing, request, |attributes| {
            // What cannot be understood is told where the table is read.
            let Ok((key, _)) = codec::virtual_server(attributes) else { return };
            keys.push(key);
            if let Ok(Some(counted)) = codec::virtual_server_statistics(attributes) {
                found.insert((key, None), counted);
            }
        })
        .await?;
        for key in keys {
            let doing = "read the traffic of real servers";
            let request = |buffer: &mut Vec<u8>, family, sequence| {
                codec::dump_destinations(buffer, family, sequence, &key);
            };
            self.exchange(doing, request, |attributes| {
                let read = codec::destination(attributes, key.family());
                let counted = codec::destination_statistics(attributes);
                if let (Ok((name, _)), Ok(Some(counted))) = (read, counted) {
                    found.insert((key, Some(name)), counted);
                }
            })
            .await?;
        }
        Ok(found)
    }

    /// What IPVS tells of itself.
    pub(super) async fn information(&mut self) -> Result<Option<Information>, IpvsError> {
        let mut found = None;
        let doing = "read the version of IPVS";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::get_information(buffer, family, sequence);
        };
        self.exchange(doing, request, |attributes| found = codec::information(attributes).ok())
            .await?;
        Ok(found)
    }

    /// The timeouts of connections.
    pub(super) async fn timeouts(&mut self) -> Result<Timeouts, IpvsError> {
        let mut found = Ok(Timeouts::default());
        let doing = "read the timeouts of connections";
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::get_timeouts(buffer, family, sequence);
        };
        self.exchange(doing, request, |attributes| found = codec::timeouts(attributes)).await?;
        found.map_err(|source| IpvsError::Malformed { doing, source })
    }

    /// Sets those timeouts of connections that are given.
    pub(super) async fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), IpvsError> {
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::set_timeouts(buffer, family, sequence, timeouts);
        };
        self.exchange("set the timeouts of connections", request, |_| {}).await
    }

    /// Sends one request on the reading socket and takes in all its answers. IPVS's dumps are positional and do not say
    /// when the table changed meanwhile: whoever finds an entry missing asks again before acting on it.
    pub(super) async fn exchange(
        &mut self,
        doing: &'static str,
        request: impl FnOnce(&mut Vec<u8>, u16, u32),
        take: impl FnMut(&[u8]),
    ) -> Result<(), IpvsError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        request(&mut bytes, self.family, self.sequence);
        let result = match self.reads.send(&bytes, doing) {
            Ok(()) => self.reads.drain(doing, self.family, self.sequence, take).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error @ IpvsError::Refused { .. }) => Err(as_capability(error)),
            Err(error) => {
                // Half a dump may be waiting in the socket, and would block the next one.
                self.reads = Socket::open()?;
                Err(error)
            }
        }
    }
}

fn as_capability(error: IpvsError) -> IpvsError {
    match error {
        IpvsError::Refused { refusal, .. } if refusal.errno == Errno::EPERM as i32 => {
            IpvsError::MissingCapability
        }
        other => other,
    }
}

/// A generic netlink socket.
struct Socket {
    socket: NlSocket,
    buffer: Vec<u8>,
}

impl Socket {
    fn open() -> Result<Self, IpvsError> {
        let doing = "open a socket";
        let open = || {
            let socket = NlSocket::connect(NlFamily::Generic, None, Groups::empty())?;
            socket.nonblock()?;
            if setsockopt(&descriptor(&socket), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            }
            // The kernel's own words on a refusal, where it has some.
            socket.enable_ext_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| IpvsError::Socket { doing, source })?;
        Ok(Self { socket, buffer: vec![0; PIECE] })
    }

    /// Bytes of answers that wait at most.
    fn receive_buffer(&self) -> Result<usize, IpvsError> {
        let doing = "find the size of the receive buffer";
        getsockopt(&descriptor(&self.socket), sockopt::RcvBuf)
            .map_err(|errno| IpvsError::Socket { doing, source: errno.into() })
    }

    /// The kernel works through the requests within this call.
    fn send(&self, bytes: &[u8], doing: &'static str) -> Result<(), IpvsError> {
        let sent = self.socket.send(bytes, Msg::empty());
        let sent = sent.map_err(|source| IpvsError::Socket { doing, source })?;
        if sent == bytes.len() {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::WriteZero);
        Err(IpvsError::Socket { doing, source })
    }

    /// One receive's worth of messages. They are there as soon as the request was sent, so there is no need to be
    /// woken up: the pause below is for what should not happen.
    async fn receive(
        &mut self,
        doing: &'static str,
        patience: Duration,
    ) -> Result<&[u8], IpvsError> {
        let mut began = None;
        let length = loop {
            // TRUNC: the true length, so that an answer that was cut off is seen.
            match self.socket.recv(&mut self.buffer[..], Msg::TRUNC) {
                Ok((length, _)) => break length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if began.get_or_insert_with(Instant::now).elapsed() >= patience {
                        return Err(IpvsError::NoAnswer { doing, waited_ms: patience.as_millis() });
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(IpvsError::Socket { doing, source }),
            }
        };
        self.buffer.get(..length).ok_or(IpvsError::Malformed {
            doing,
            source: Malformed { what: "an answer is longer than the kernel's longest" },
        })
    }

    /// Takes in the answers to request `sequence` up to their end.
    async fn drain(
        &mut self,
        doing: &'static str,
        family: u16,
        sequence: u32,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), IpvsError> {
        loop {
            let bytes = self.receive(doing, PATIENCE).await?;
            for message in Messages::new(bytes) {
                let message = message.map_err(|source| IpvsError::Malformed { doing, source })?;
                if message.sequence != sequence {
                    continue;
                }
                match message.payload {
                    Payload::Done | Payload::DumpEnd => return Ok(()),
                    Payload::Refused(refusal) | Payload::DumpFailed(refusal) => {
                        return Err(IpvsError::Refused { doing, refusal });
                    }
                    Payload::Answer { family: from, attributes, .. } if from == family => {
                        take(attributes);
                    }
                    Payload::Answer { .. } | Payload::Nothing => {}
                }
            }
        }
    }
}

/// The socket's descriptor, to set what neli sets not.
#[expect(unsafe_code, reason = "neli lends its descriptor only as a number")]
fn descriptor(socket: &NlSocket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor stays open for as long as the socket is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// The family's number. neli's router serves this one question, then is dropped: it must carry no dumps.
async fn resolve() -> Result<u16, IpvsError> {
    let doing = "find the family IPVS";
    let ask = async {
        let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty())
            .await
            .map_err(|error| IpvsError::Socket { doing, source: io::Error::other(error) })?;
        router.resolve_genl_family(FAMILY_NAME).await.map_err(|error| match error {
            RouterError::Nlmsgerr(error) if *error.error() == -(Errno::ENOENT as i32) => {
                IpvsError::MissingModule { reason: "no such family".to_owned() }
            }
            error => IpvsError::Socket { doing, source: io::Error::other(error.to_string()) },
        })
    };
    // The kernel may load the module while it looks for the family.
    let patience = 5 * PATIENCE;
    timeout(patience, ask)
        .await
        .map_err(|_| IpvsError::NoAnswer { doing, waited_ms: patience.as_millis() })?
}
