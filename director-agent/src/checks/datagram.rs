//! Datagrams and echoes.

use std::io;

use fulcrum_model::UdpCheck;
use fulcrum_vrrp::ask;
use socket2::SockRef;
use tokio::net::UdpSocket;

use super::endpoint::{Endpoint, explain};
use super::{Attempt, Outcome, failed};
use crate::vrrp::sockets;

/// Room for an echo with its header.
const ECHO_BYTES: usize = 256;

/// Sends a datagram and waits for its answer, or for word that nobody listens. The caller bounds the time: without an answer this
/// does not end.
pub(super) async fn udp(endpoint: &Endpoint, check: &UdpCheck) -> Attempt {
    let address = endpoint.address;
    let socket = endpoint.datagrams().await?;
    let fault = |error: io::Error| explain(&format!("send to {address}"), &error);
    socket.send(&check.payload).await.map_err(fault)?;
    // What is longer is cut off, and long enough.
    let mut answer = vec![0; check.min_reply.unwrap_or_default().max(1).into()];
    let length = socket.recv(&mut answer).await.map_err(fault)?;
    match check.min_reply {
        Some(least) if length < usize::from(least) => {
            failed(format!("{address} answered {length} bytes, not {least}"))
        }
        Some(_) | None => Ok(None),
    }
}

/// Asks for an echo of ICMP. The caller bounds the time.
pub(super) async fn echo(endpoint: &Endpoint) -> Attempt {
    let target = endpoint.address.ip();
    let source = endpoint.source()?;
    let socket = sockets::open_echo(target, source).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Outcome::NotTried(format!("no ICMP socket: {error}; give the director CAP_NET_RAW"))
        }
        _ => explain(&format!("ping {target}"), &error),
    })?;
    endpoint.mark(SockRef::from(&socket))?;
    let (identifier, sequence) = rand::random();
    let fault = |error: io::Error| explain(&format!("ping {target}"), &error);
    // The runtime knows datagram sockets by this name; what it receives by is the same for raw ones.
    let socket = UdpSocket::from_std(socket.into()).map_err(fault)?;
    let request = ask::echo_request(target, identifier, sequence);
    socket.send(&request).await.map_err(fault)?;
    let mut packet = [0; ECHO_BYTES];
    loop {
        let length = socket.recv(&mut packet).await.map_err(fault)?;
        let packet = packet.get(..length).unwrap_or(&packet);
        if ask::is_echo_reply(packet, target, identifier, sequence) {
            return Ok(None);
        }
    }
}
