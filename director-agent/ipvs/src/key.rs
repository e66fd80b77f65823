//! What names an entry of an IPVS table.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;

use fulcrum_model::{Protocol, path};

/// Transport protocols that IPVS balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The transport of that IANA protocol number, if IPVS has it.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|t| u16::from(t.number()) == number)
    }

    /// As ipvsadm prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
        }
    }
}

/// Address family of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl AddressFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What names a virtual server in the kernel: transport, VIP and port, or a firewall mark.
///
/// Printed and read as `TCP 192.168.1.150:80`, `UDP [2001:db8::1]:53`, `FWM 5` or `FWM 5 IPv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VirtualServerKey {
    /// By address.
    Address {
        /// Transport.
        transport: Transport,
        /// VIP.
        vip: IpAddr,
        /// Port in host order; 0 is every port (persistent virtual servers only).
        port: u16,
    },
    /// By firewall mark.
    Fwmark {
        /// The mark that the packet filter sets.
        mark: NonZeroU32,
        /// Family of the packets.
        family: AddressFamily,
    },
}

impl VirtualServerKey {
    /// A TCP virtual server.
    pub fn tcp(vip: IpAddr, port: u16) -> Self {
        Self::Address { transport: Transport::Tcp, vip, port }
    }

    /// Family of the packets that it takes.
    pub fn family(&self) -> AddressFamily {
        match self {
            Self::Address { vip, .. } => AddressFamily::of(*vip),
            Self::Fwmark { family, .. } => *family,
        }
    }

    /// Whether it is the way of a check through a VIP: an entry that serves this director alone. It is ours by its mark.
    pub fn is_path(&self) -> bool {
        match self {
            Self::Address { .. } => false,
            Self::Fwmark { mark, .. } => path::is_mark(*mark),
        }
    }
}

impl fmt::Display for VirtualServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address { transport, vip, port } => {
                write!(f, "{} {}", transport.as_str(), SocketAddr::new(vip, port))
            }
            Self::Fwmark { mark, family: AddressFamily::V4 } => write!(f, "FWM {mark}"),
            Self::Fwmark { mark, family: AddressFamily::V6 } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

impl FromStr for VirtualServerKey {
    type Err = KeyError;

    /// Reads what `Display` prints.
    ///
    /// # Errors
    /// [`KeyError`] holds the text that is no such key.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = || KeyError { found: text.to_owned() };
        let (kind, rest) = text.split_once(' ').ok_or_else(error)?;
        if kind == "FWM" {
            let (mark, family) = match rest.strip_suffix(" IPv6") {
                Some(mark) => (mark, AddressFamily::V6),
                None => (rest, AddressFamily::V4),
            };
            return Ok(Self::Fwmark { mark: mark.parse().map_err(|_| error())?, family });
        }
        let transport = [Transport::Tcp, Transport::Udp, Transport::Sctp]
            .into_iter()
            .find(|transport| transport.as_str() == kind)
            .ok_or_else(error)?;
        let socket: SocketAddr = rest.parse().map_err(|_| error())?;
        Ok(Self::Address { transport, vip: socket.ip(), port: socket.port() })
    }
}

/// A text that names no virtual server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} names no virtual server: it reads like TCP 192.168.1.150:80 or FWM 5")]
pub struct KeyError {
    /// The text.
    pub found: String,
}

/// What names a real server within a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    /// RIP.
    pub address: IpAddr,
    /// Port in host order; 0 under a firewall mark.
    pub port: u16,
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}
