//! Asks gateways whether they are there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fulcrum_model::vrrp::{GatewayMethod, GatewayProbe};
use fulcrum_vrrp::ask;
use socket2::Socket;
use tokio::net::UdpSocket;

use super::Seen;
use crate::vrrp::sockets;

/// Largest packet that is looked at: more than any answer; longer ones are cut off, and are none.
const PACKET_BYTES: usize = 256;

/// Asks once, for at most the probe's timeout. `asked_on` is the interface and our address there,
/// where the gateway is asked by ARP or neighbour solicitation.
pub(super) async fn ask(
    probe: &GatewayProbe,
    asked_on: Option<&(String, IpAddr)>,
    sequence: u16,
) -> Seen {
    let address = probe.address;
    let attempt = async {
        match (probe.method, asked_on) {
            (GatewayMethod::Arp, Some((interface, source))) => {
                neighbour(address, interface, *source).await
            }
            (GatewayMethod::Arp, None) | (GatewayMethod::Icmp, _) => echo(address, sequence).await,
        }
    };
    let how = match (probe.method, address, asked_on) {
        (GatewayMethod::Arp, IpAddr::V4(_), Some((interface, _))) => format!("ARP on {interface}"),
        (GatewayMethod::Arp, IpAddr::V6(_), Some((interface, _))) => {
            format!("neighbour solicitations on {interface}")
        }
        (GatewayMethod::Arp, _, None) | (GatewayMethod::Icmp, _, _) => "ICMP echo".to_owned(),
    };
    match tokio::time::timeout(probe.pace.timeout, attempt).await {
        Ok(Ok(())) => Ok(format!("gateway {address} answers {how}")),
        Ok(Err(error)) => Err(format!("gateway {address} cannot be asked by {how}: {error}")),
        Err(_) => {
            let after = humantime::format_duration(probe.pace.timeout);
            Err(format!("gateway {address} does not answer {how} within {after}"))
        }
    }
}

async fn neighbour(address: IpAddr, interface: &str, source: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let (socket, mac) = sockets::open_arp(interface)?;
            // An instance of IPv6 has no IPv4 source: then it is an ARP probe (RFC 5227 §2.1.1).
            let source = match source {
                IpAddr::V4(source) => source,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            };
            socket.send(&ask::arp_request(mac, source, address))?;
            answer(socket, |frame| ask::arp_reply(frame, address).is_some()).await
        }
        IpAddr::V6(address) => {
            let (socket, mac) = sockets::open_neighbour_discovery(interface)?;
            let (message, group) = ask::solicitation(mac, address);
            socket.send_to(&message, &SocketAddr::new(group.into(), 0).into())?;
            answer(socket, |message| ask::is_advertisement(message, address)).await
        }
    }
}

async fn echo(target: IpAddr, sequence: u16) -> io::Result<()> {
    let socket = sockets::open_echo(target, None)?;
    let identifier = rand::random();
    socket.send(&ask::echo_request(target, identifier, sequence))?;
    answer(socket, |packet| ask::is_echo_reply(packet, target, identifier, sequence)).await
}

/// Waits for the packet that answers. The caller bounds the time; other packets are passed over.
pub(crate) async fn answer(socket: Socket, is_answer: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    // The runtime knows datagram sockets by this name; what it receives by is the same for raw ones.
    let socket = UdpSocket::from_std(socket.into())?;
    let mut packet = [0; PACKET_BYTES];
    loop {
        // An error is what the network says of the target, for example that it is unreachable.
        let length = socket.recv(&mut packet).await?;
        if is_answer(&packet[..length]) {
            return Ok(());
        }
    }
}
