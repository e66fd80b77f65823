//! A program that answers with a name at many endpoints: the page over TCP and SCTP, the bare name over UDP. It is this
//! program itself, started in a real server's namespace.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{SockAddr, Socket};

use crate::client::page;
use crate::net::endpoint::{Endpoint, Transport};
use crate::net::topology::Node;
use crate::process::{Launch, Process};

/// How long it may take to open its sockets.
const READY: Duration = Duration::from_secs(20);
/// What it says then.
const READY_WORD: &str = "listens everywhere";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// What epoll calls the socket that listens; connections are counted from there.
const LISTENER: u64 = 0;

/// Starts it on a node, under the node's name, until the process is dropped.
pub(crate) fn start(node: Node, endpoints: &[Endpoint], logs: &Path) -> Result<Process> {
    let mut args = vec!["answer".to_owned(), "--name".to_owned(), node.name.to_owned()];
    args.extend(endpoints.iter().map(Endpoint::to_string));
    let launch = Launch {
        node: Some(node.name),
        label: "answerer".to_owned(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        args,
        env: Vec::new(),
    };
    let mut process = Process::start(logs, launch)?;
    process.wait_for_line(READY_WORD, READY)?;
    Ok(process)
}

/// The program: serves until it is killed.
#[expect(clippy::print_stdout, reason = "whoever started it waits for this line")]
pub(crate) fn serve(name: &str, endpoints: &[Endpoint]) -> Result<()> {
    let sockets: Result<Vec<(Endpoint, Socket)>> =
        endpoints.iter().map(|endpoint| Ok((*endpoint, open(*endpoint)?))).collect();
    let sockets = sockets?;
    println!("{READY_WORD}");
    std::thread::scope(|scope| {
        for (endpoint, socket) in &sockets {
            scope.spawn(move || {
                // It ends only when the socket fails, and then the scenario misses its answers.
                let failure = match endpoint.transport {
                    Transport::Udp => answer_datagrams(socket, name),
                    Transport::Tcp | Transport::Sctp => accept(socket, name),
                };
                eprintln!("{endpoint}: {failure:?}");
            });
        }
    });
    Ok(())
}

fn open(endpoint: Endpoint) -> Result<Socket> {
    let socket = endpoint.transport.socket(endpoint.address)?;
    socket.set_reuse_address(true)?;
    if endpoint.address.is_ipv6() {
        // The same port of IPv4 has a socket of its own.
        socket.set_only_v6(true)?;
    }
    let address = SockAddr::from(endpoint.address);
    socket.bind(&address).with_context(|| format!("cannot listen at {endpoint}"))?;
    if endpoint.transport != Transport::Udp {
        socket.listen(BACKLOG).with_context(|| format!("cannot listen at {endpoint}"))?;
    }
    Ok(socket)
}

/// The name to whoever sends anything. From the address that the socket is bound to, as a VIP's reply must be.
fn answer_datagrams(socket: &Socket, name: &str) -> Result<()> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    loop {
        let (_, client) = socket.recv_from(&mut buffer)?;
        socket.send_to(name.as_bytes(), &client)?;
    }
}

/// The page to whoever asks, on connections that stay open unless the client wants them closed. One thread for all of them:
/// there may be thousands.
fn accept(listener: &Socket, name: &str) -> Result<()> {
    let body = page::text(name);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("no epoll")?;
    listener.set_nonblocking(true)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut connections = BTreeMap::new();
    let mut newest = LISTENER;
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).context("epoll failed"),
        };
        for number in events[..ready].iter().map(EpollEvent::data) {
            if number != LISTENER {
                let asks = |connection: &mut Connection| connection.hear(answer.as_bytes());
                // A connection that breaks is the client's to tell. What is dropped leaves epoll.
                if connections.get_mut(&number).is_some_and(|connection| !asks(connection)) {
                    connections.remove(&number);
                }
                continue;
            }
            while let Some(socket) = next_connection(listener)? {
                newest += 1;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, newest))?;
                connections.insert(newest, Connection { socket, request: Vec::new() });
            }
        }
    }
}

/// A connection that waits to be accepted, if there is one.
fn next_connection(listener: &Socket) -> Result<Option<Socket>> {
    match listener.accept() {
        Ok((socket, _)) => {
            socket.set_nonblocking(true)?;
            Ok(Some(socket))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("cannot accept"),
    }
}

/// A connection with what has come of the next request.
struct Connection {
    socket: Socket,
    request: Vec<u8>,
}

impl Connection {
    /// Takes in what has come, and answers a whole request; false when the connection is to be closed.
    fn hear(&mut self, answer: &[u8]) -> bool {
        let mut chunk = [0; 512];
        match self.socket.read(&mut chunk) {
            Ok(length @ 1..) => self.request.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Ok(0) | Err(_) => return false,
        }
        if !self.request.ends_with(b"\r\n\r\n") {
            return true;
        }
        let is_last = String::from_utf8_lossy(&self.request).contains("Connection: close");
        self.request.clear();
        // An answer of some 100 bytes always fits into the empty buffer of a socket.
        self.socket.write_all(answer).is_ok() && !is_last
    }
}
