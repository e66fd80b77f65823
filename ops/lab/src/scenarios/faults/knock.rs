//! A client that asks the VIP for what is not served there.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::Scene;
use crate::net::namespace;
use crate::net::topology::{CLIENT, VIP};

/// No virtual server of the lab has it.
const OTHER_PORT: u16 = 81;
/// Longest wait for an answer that is not to come.
const ANSWER: Duration = Duration::from_secs(1);
/// An ICMP echo request with its checksum.
const ECHO_REQUEST: [u8; 8] = [8, 0, 0xb1, 0xa9, b'F', b'U', 0, 1];

/// Which of the client's questions were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knock {
    pub(super) echo: bool,
    pub(super) tcp: bool,
}

/// Asks for an ICMP echo, and for a TCP connection to a port that nobody serves.
pub(super) fn knock(scene: &mut Scene<'_>) -> Result<()> {
    let answered =
        namespace::inside(CLIENT.name, || Ok(Knock { echo: echoes()?, tcp: refuses()? }));
    scene.knock = Some(answered.context("the client cannot ask")?);
    Ok(())
}

/// Whether the VIP's kernel says that nobody listens, instead of nothing at all.
fn refuses() -> Result<bool> {
    let other = SocketAddrV4::new(VIP, OTHER_PORT).into();
    match TcpStream::connect_timeout(&other, ANSWER) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error).context("cannot connect"),
    }
}

fn echoes() -> Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.send_to(&ECHO_REQUEST, &SocketAddrV4::new(VIP, 0).into())?;
    let until = Instant::now() + ANSWER;
    let mut packet = [MaybeUninit::uninit(); 256];
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        // A timeout of zero would wait for ever.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut packet) {
            // ICMP of others comes here, too.
            Ok((_, from)) if from.as_socket_ipv4().map(|from| *from.ip()) == Some(VIP) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("cannot hear echo replies"),
        }
    }
    Ok(false)
}
