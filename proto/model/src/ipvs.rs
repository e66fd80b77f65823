//! The words of IPVS that intent uses: protocols, schedulers, forwarding methods.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::Port;

/// Transport protocol of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
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

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the director passes packets on (`ipvsadm(8)`, PACKET-FORWARDING-METHOD).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardingMethod {
    /// Direct routing.
    Dr,
    /// Network address translation.
    Nat,
    /// IP-in-IP tunnel.
    Tunnel,
}

impl ForwardingMethod {
    /// Whether real servers must hold the VIP with ARP kept quiet.
    pub fn needs_arp_safety(self) -> bool {
        match self {
            Self::Dr | Self::Tunnel => true,
            Self::Nat => false,
        }
    }

    /// As ipvsadm prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dr => "Route",
            Self::Nat => "Masq",
            Self::Tunnel => "Tunnel",
        }
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a director chooses the real server of a new connection (`ipvsadm(8)`, `--scheduler`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted fail over.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Maglev hashing.
    Mh,
    /// Power of two choices.
    Twos,
}

impl Scheduler {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
    ];

    /// The kernel's name of it; its module is `ip_vs_` and this.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scheduler {
    type Err = UnknownScheduler;

    /// # Errors
    /// [`UnknownScheduler`] for a name that IPVS does not have.
    fn from_str(text: &str) -> Result<Self, UnknownScheduler> {
        Self::ALL
            .into_iter()
            .find(|scheduler| scheduler.as_str() == text)
            .ok_or_else(|| UnknownScheduler { found: text.to_owned() })
    }
}

/// What a virtual server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// Packets to an address.
    Address {
        /// VIP.
        vip: IpAddr,
        /// Port; every port that no other virtual server has when none.
        port: Option<Port>,
        /// Transport.
        protocol: Protocol,
    },
    /// Packets that the packet filter gave a mark.
    Fwmark {
        /// The mark.
        mark: NonZeroU32,
        /// IPv6 packets instead of IPv4 ones.
        is_ipv6: bool,
    },
}

impl Listen {
    /// The VIP, unless a firewall mark stands for any.
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::Address { vip, .. } => Some(*vip),
            Self::Fwmark { .. } => None,
        }
    }

    /// The one port, if it is one.
    pub fn port(&self) -> Option<Port> {
        match self {
            Self::Address { port, .. } => *port,
            Self::Fwmark { .. } => None,
        }
    }

    /// Whether it takes IPv6 packets.
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Address { vip, .. } => vip.is_ipv6(),
            Self::Fwmark { is_ipv6, .. } => *is_ipv6,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address { vip, port, protocol } => {
                let port = port.map_or(0, Port::get);
                write!(f, "{protocol} {}", SocketAddr::new(vip, port))
            }
            Self::Fwmark { mark, is_ipv6: false } => write!(f, "FWM {mark}"),
            Self::Fwmark { mark, is_ipv6: true } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

/// Options of a virtual server. The default is what one does that says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtualServerOptions {
    /// sh and mh: the client's port is hashed, too.
    pub hash_port: bool,
    /// sh and mh: another real server stands in for one that takes no connections.
    pub hash_fallback: bool,
    /// Each packet is scheduled anew.
    pub one_packet: bool,
    /// Clients that count as one for persistence; each for itself when none.
    pub persistence_mask: Option<PersistenceMask>,
    /// What tells clients apart for persistence; their address when none.
    pub persistence_engine: Option<PersistenceEngine>,
    /// The tunnel of real servers that are reached by tunnel.
    pub tunnel: Tunnel,
    /// What becomes of established connections of a dead real server.
    pub on_failure: FailurePolicy,
}

/// Clients that count as one for persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PersistenceMask {
    /// IPv4 mask.
    V4(Ipv4Addr),
    /// IPv6 prefix length in bits, 1 to 128.
    V6(u8),
}

/// What tells clients apart for persistence (`ipvsadm(8)`, `--pe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PersistenceEngine {
    /// SIP's Call-ID.
    Sip,
}

impl PersistenceEngine {
    /// The kernel's name of it; its module is `ip_vs_pe_` and this.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
        }
    }
}

/// What packets are wrapped in on their way to a real server (`ipvsadm(8)`, `--tun-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tunnel {
    /// IP-in-IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// UDP port of the real servers.
        port: Port,
        /// Checksum of the outer header.
        checksum: TunnelChecksum,
    },
    /// GRE.
    Gre {
        /// Checksum of the outer header; never [`TunnelChecksum::Remote`].
        checksum: TunnelChecksum,
    },
}

/// Checksum of a tunnel's outer header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelChecksum {
    /// None (`nocsum`).
    #[default]
    None,
    /// The whole packet's (`csum`).
    Full,
    /// Remote checksum offload (`remcsum`).
    Remote,
}

impl TunnelChecksum {
    /// As ipvsadm prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "nocsum",
            Self::Full => "csum",
            Self::Remote => "remcsum",
        }
    }
}

/// What becomes of the established connections of a real server that is taken out because it is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailurePolicy {
    /// Its weight is 0, its connections go on should it come back.
    #[default]
    Keep,
    /// Its entry is deleted, its connections are reset.
    Reset,
}

/// Numbers of connections between which a real server takes new ones (`ipvsadm(8)`, `--u-threshold`, `--l-threshold`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thresholds {
    /// At so many it takes no new ones; no bound when 0.
    pub upper: u32,
    /// Below so many it takes new ones again; three quarters of the upper one when 0. Never above it.
    pub lower: u32,
}

/// How much of a pool must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quorum {
    /// Sum of the planned weights of the real servers in rotation, 1 at least.
    pub weight: u32,
    /// Lost below `weight` less this, met again at `weight` plus this. Below `weight`.
    pub hysteresis: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { weight: 1, hysteresis: 0 }
    }
}

/// Longest slow start.
pub const MAX_SLOW_START: Duration = Duration::from_hours(1);

/// A scheduler's name that IPVS does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no IPVS scheduler")]
pub struct UnknownScheduler {
    /// The name.
    pub found: String,
}
