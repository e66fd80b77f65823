//! Datagrams and echoes.

use std::io;

use fulcrum_model::UdpCheck;
use fulcrum_vrrp::ask;
use socket2::SockRef;

use super::endpoint::{Endpoint, explain};
use super::{Attempt, Outcome, failed};
use crate::track::gateway;
use crate::vrrp::sockets;

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
    endpoint.mark(&SockRef::from(&socket))?;
    let (identifier, sequence) = rand::random();
    let fault = |error: io::Error| explain(&format!("ping {target}"), &error);
    let request = ask::echo_request(target, identifier, sequence);
    socket.send(&request).map_err(fault)?;
    let is_answer = |packet: &[u8]| ask::is_echo_reply(packet, target, identifier, sequence);
    gateway::answer(socket, is_answer).await.map_err(fault)?;
    Ok(None)
}
