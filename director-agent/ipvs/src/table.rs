//! An IPVS table: wanted, or as the kernel holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use fulcrum_model::{ForwardingMethod, Scheduler, Tunnel};

use crate::{AddressFamily, DestinationKey, Destinations, VirtualServerKey};

/// Virtual servers by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Virtual servers. They are shared, so that a copy of a table that differs in one costs little, and so that two
    /// such tables are compared quickly.
    pub virtual_servers: BTreeMap<VirtualServerKey, Arc<VirtualServer>>,
}

impl FromIterator<(VirtualServerKey, VirtualServer)> for Table {
    fn from_iter<T: IntoIterator<Item = (VirtualServerKey, VirtualServer)>>(servers: T) -> Self {
        let shared = servers.into_iter().map(|(key, server)| (key, Arc::new(server)));
        Self { virtual_servers: shared.collect() }
    }
}

impl Table {
    /// Entries: virtual servers and their real servers together.
    pub fn entries(&self) -> usize {
        self.virtual_servers.values().map(|server| 1 + server.destinations.len()).sum()
    }

    /// The destination of that name, if the table has it.
    pub fn destination(
        &self,
        virtual_server: &VirtualServerKey,
        key: &DestinationKey,
    ) -> Option<Destination> {
        self.virtual_servers.get(virtual_server)?.destinations.get(key)
    }
}

/// A virtual server with its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// How it balances.
    pub settings: VirtualServerSettings,
    /// Its real servers.
    pub destinations: Destinations,
    /// Neither in the plan nor made by us: reported and left alone. Always false in a wanted table.
    pub foreign: bool,
}

/// How a virtual server balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServerSettings {
    /// Scheduler.
    pub scheduler: SchedulerName,
    /// Flags.
    pub flags: Flags,
    /// Persistence in seconds; 0 unless [`Flags::PERSISTENT`] is set.
    pub persistence_timeout_s: u32,
    /// Granularity of persistence.
    pub netmask: Netmask,
    /// Persistence engine (`sip`), seen in foreign entries only.
    pub persistence_engine: Option<String>,
}

impl VirtualServerSettings {
    /// Without persistence.
    pub fn new(scheduler: Scheduler, family: AddressFamily) -> Self {
        Self {
            scheduler: scheduler.into(),
            flags: Flags::NONE,
            persistence_timeout_s: 0,
            netmask: Netmask::host(family),
            persistence_engine: None,
        }
    }

    /// With persistence of that many seconds; without when 0.
    #[must_use]
    pub fn with_persistence(mut self, timeout_s: u32) -> Self {
        self.persistence_timeout_s = timeout_s;
        self.flags = if timeout_s == 0 {
            self.flags.without(Flags::PERSISTENT)
        } else {
            self.flags.with(Flags::PERSISTENT)
        };
        self
    }
}

/// The kernel's name of a scheduler. Foreign entries may hold names that intent does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchedulerName(String);

impl SchedulerName {
    /// Longest name in bytes: `IP_VS_SCHEDNAME_MAXLEN` of `linux/ip_vs.h` less the closing NUL.
    pub const MAX_BYTES: usize = 15;

    /// The name, if a kernel could hold it.
    pub fn new(name: &str) -> Option<Self> {
        let fits = name.len() <= Self::MAX_BYTES && !name.contains('\0');
        fits.then(|| Self(name.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Scheduler> for SchedulerName {
    fn from(scheduler: Scheduler) -> Self {
        Self(scheduler.as_str().to_owned())
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Flags of a virtual server (`IP_VS_SVC_F_*` of `linux/ip_vs.h`), without the kernel's own `HASHED`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(u32);

impl Flags {
    /// None set.
    pub const NONE: Self = Self(0);
    /// Same client, same real server.
    pub const PERSISTENT: Self = Self(0x0001);
    /// One-packet scheduling.
    pub const ONE_PACKET: Self = Self(0x0004);
    /// The scheduler's first own flag (`sh-fallback`, `mh-fallback`).
    pub const SCHEDULER_1: Self = Self(0x0008);
    /// The scheduler's second own flag (`sh-port`, `mh-port`).
    pub const SCHEDULER_2: Self = Self(0x0010);
    /// The scheduler's third own flag.
    pub const SCHEDULER_3: Self = Self(0x0020);
    /// The entry is in the kernel's hash: set by the kernel alone, so it is no setting.
    const HASHED: u32 = 0x0002;

    /// From the kernel's bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & !Self::HASHED)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These, less `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Which clients count as one for persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netmask {
    /// IPv4 mask.
    V4(Ipv4Addr),
    /// IPv6 prefix length in bits, 1 to 128.
    V6(u32),
}

impl Netmask {
    /// Each client for itself.
    pub fn host(family: AddressFamily) -> Self {
        match family {
            AddressFamily::V4 => Self::V4(Ipv4Addr::BROADCAST),
            AddressFamily::V6 => Self::V6(128),
        }
    }
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// How it takes part.
    pub settings: DestinationSettings,
    /// Connections when the kernel was read; none in a wanted table, nor after an edit until the next read.
    pub connections: Option<Connections>,
}

/// How a real server takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DestinationSettings {
    /// Relative share of new connections: 0 to 65535 when ours, up to 2^31 - 1 in the kernel.
    pub weight: u32,
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// Above so many connections it takes no new ones; 0 for no bound.
    pub upper_threshold: u32,
    /// Below so many connections it takes new ones again; 0 for three quarters of the upper one.
    pub lower_threshold: u32,
}

impl DestinationSettings {
    /// Without thresholds.
    pub fn new(weight: u32, forwarding: Forwarding) -> Self {
        Self { weight, forwarding, upper_threshold: 0, lower_threshold: 0 }
    }

    /// The same with another weight.
    #[must_use]
    pub fn with_weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

/// How packets reach a real server (`IP_VS_CONN_F_*` of `linux/ip_vs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// NAT.
    Masq,
    /// This host itself.
    Local,
    /// Wrapped in another packet.
    Tunnel(Tunnel),
    /// Direct routing.
    Route,
    /// Cache bypass.
    Bypass,
}

impl Forwarding {
    /// As intent says it; `tunnel` is used where it is by tunnel.
    pub fn new(method: ForwardingMethod, tunnel: Tunnel) -> Self {
        match method {
            ForwardingMethod::Dr => Self::Route,
            ForwardingMethod::Nat => Self::Masq,
            ForwardingMethod::Tunnel => Self::Tunnel(tunnel),
        }
    }

    /// The kernel's number.
    pub fn number(self) -> u32 {
        match self {
            Self::Masq => 0,
            Self::Local => 1,
            Self::Tunnel(_) => 2,
            Self::Route => 3,
            Self::Bypass => 4,
        }
    }

    /// As ipvsadm prints it, without the tunnel.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Masq => "Masq",
            Self::Local => "Local",
            Self::Tunnel(_) => "Tunnel",
            Self::Route => "Route",
            Self::Bypass => "Bypass",
        }
    }
}

impl fmt::Display for Forwarding {
    /// `Route`, `Tunnel`, or with the tunnel where it is not IP-in-IP: `Tunnel (gue port 6080 csum)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Tunnel(Tunnel::Gue { port, checksum }) => {
                write!(f, " (gue port {port} {})", checksum.as_str())
            }
            Self::Tunnel(Tunnel::Gre { checksum }) => write!(f, " (gre {})", checksum.as_str()),
            Self::Tunnel(Tunnel::Ipip) | Self::Masq | Self::Local | Self::Route | Self::Bypass => {
                Ok(())
            }
        }
    }
}

/// Connections of a real server as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In an active state.
    pub active: u32,
    /// In other states: half open, closing, or of a protocol without states.
    pub inactive: u32,
    /// Persistence templates. They hold no connection open.
    pub persistent: u32,
}

impl Connections {
    /// Whether a deletion would cut nobody off.
    pub fn is_drained(self) -> bool {
        self.active == 0 && self.inactive == 0
    }
}
