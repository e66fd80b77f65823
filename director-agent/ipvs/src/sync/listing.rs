//! Lines of `/proc/net/ip_vs_conn`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::digest;
use crate::Transport;

/// A connection, or a client's persistence, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Transport.
    pub transport: Transport,
    /// Client; port 0 in a template.
    pub client: SocketAddr,
    /// Virtual server.
    pub virtual_server: SocketAddr,
    /// Real server.
    pub destination: SocketAddr,
    /// What it is in.
    pub phase: Phase,
    /// Seconds until it ends unless packets come.
    pub expires_s: u32,
}

/// What a connection is in, as far as synchronisation cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A TCP connection that is established.
    Established,
    /// Datagrams of one client port.
    Datagrams,
    /// Which real server a client gets.
    Template {
        /// A connection of the client was established.
        assured: bool,
    },
    /// Half open or closing, or of a protocol that is not synchronised here.
    Other,
}

/// A line, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Protocol as the kernel names it: TCP, UDP or SCTP, or IP in a template of a firewall mark.
    pub protocol: &'a str,
    /// Client; port 0 in a template.
    pub client: SocketAddr,
    /// Virtual server; in a template of a firewall mark, the mark as an address.
    pub virtual_server: SocketAddr,
    /// Real server.
    pub destination: SocketAddr,
    /// State as the kernel names it.
    pub state: &'a str,
    /// Seconds until it ends unless packets come.
    pub expires_s: u32,
    /// Persistence engine and what it told the client apart by, in a template that has one.
    pub engine: Option<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// Reads a line; none for the heading and what is not understood.
    pub fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let protocol = words.next()?;
        let mut end = || {
            let address = address(words.next()?)?;
            let port = u16::from_str_radix(words.next()?, 16).ok()?;
            Some(SocketAddr::new(address, port))
        };
        let (client, virtual_server, destination) = (end()?, end()?, end()?);
        let state = words.next()?;
        let expires_s = words.next()?.parse().ok()?;
        let engine = words.next().zip(words.next());
        Some(Self { protocol, client, virtual_server, destination, state, expires_s, engine })
    }
}

impl Connection {
    /// What a line says; none for the heading and what is not understood: protocols and marks that
    /// are not synchronised here.
    pub fn from_line(line: &str) -> Option<Self> {
        let Line { protocol, client, virtual_server, destination, state, expires_s, .. } =
            Line::read(line)?;
        let transport = match protocol {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            "SCTP" => Transport::Sctp,
            _ => return None,
        };
        let phase = match (client.port(), transport, state) {
            (0, _, "NONE") => Phase::Template { assured: false },
            (0, _, "ASSURED") => Phase::Template { assured: true },
            (_, Transport::Tcp, "ESTABLISHED") => Phase::Established,
            (_, Transport::Udp, "UDP") => Phase::Datagrams,
            _ => Phase::Other,
        };
        Some(Self { transport, client, virtual_server, destination, phase, expires_s })
    }

    /// Tells it from others on every host alike: by its ends, not by its state.
    pub fn hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(self.transport.number());
        for end in [self.client, self.virtual_server, self.destination] {
            match end.ip() {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
            bytes.extend_from_slice(&end.port().to_be_bytes());
        }
        digest::hash(&bytes)
    }
}

/// Eight hexadecimal digits, or a whole IPv6 address.
fn address(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.parse().ok().map(IpAddr::V6);
    }
    let is_whole = word.len() == 8;
    let bits = u32::from_str_radix(word, 16).ok().filter(|_| is_whole)?;
    Some(IpAddr::V4(Ipv4Addr::from(bits)))
}
