//! A program that answers with a name at many endpoints: the page over TCP and SCTP, the bare name over UDP. It is this
//! program itself, started in a real server's namespace.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
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

/// The page to whoever asks, on a connection that stays open unless the client wants it closed.
fn accept(socket: &Socket, name: &str) -> Result<()> {
    std::thread::scope(|scope| {
        loop {
            let (connection, _) = socket.accept()?;
            // A connection that breaks is the client's to tell.
            scope.spawn(move || answer_requests(connection, name));
        }
    })
}

fn answer_requests(mut connection: Socket, name: &str) -> Result<()> {
    let body = page::text(name);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut request = Vec::new();
    let mut chunk = [0; 512];
    loop {
        let length = connection.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..length]);
        if request.ends_with(b"\r\n\r\n") {
            connection.write_all(answer.as_bytes())?;
            if String::from_utf8_lossy(&request).contains("Connection: close") {
                return Ok(());
            }
            request.clear();
        }
    }
}
