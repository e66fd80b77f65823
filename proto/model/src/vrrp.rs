//! What a VRRP instance may be told beyond its members, addresses and version.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Cidr, Name};

/// Options of a VRRP instance, the same for every member. The default is what an instance does that
/// says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpOptions {
    /// A Backup that outranks the Active waits this long before it takes over (keepalived:
    /// `preempt_delay`).
    pub preempt_delay: Duration,
    /// After the agent's start an instance only listens for this long (keepalived:
    /// `vrrp_startup_delay`).
    pub startup_delay: Duration,
    /// Whether an Active that does not own the addresses accepts packets for them
    /// (`Accept_Mode`, RFC 9568 §6.1). False also keeps local programs from answering; IPVS and
    /// neighbour discovery work all the same.
    pub accept: bool,
    /// The VIPs live on a macvlan with the virtual router's MAC (RFC 9568 §7.3).
    pub virtual_mac: bool,
    /// Addresses that the Active holds without advertising them, of either family, on any interface
    /// (keepalived: `virtual_ipaddress_excluded`).
    pub unadvertised_vips: Vec<HeldAddress>,
    /// Least TTL or hop limit of a unicast peer's adverts, 1 to 255. Below 255 peers may be routers
    /// apart.
    pub unicast_min_ttl: u8,
    /// Gratuitous ARP and unsolicited neighbour advertisements.
    pub announce: Announce,
    /// HMAC trailer of every advert.
    pub auth_hmac: Option<AuthHmac>,
    /// Instances of the same name on a director are Active together or not at all.
    pub sync_group: Option<Name>,
    /// What lowers the priority, or forbids to be Active.
    pub track: Vec<Track>,
    /// Established connections are told to the other directors.
    pub connection_sync: Option<ConnectionSync>,
    /// The Active hands the VIPs over when it is cut off from the real servers.
    pub track_real_servers: Option<TrackRealServers>,
}

impl Default for VrrpOptions {
    fn default() -> Self {
        Self {
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            accept: true,
            virtual_mac: false,
            unadvertised_vips: Vec::new(),
            unicast_min_ttl: u8::MAX,
            announce: Announce::default(),
            auth_hmac: None,
            sync_group: None,
            track: Vec::new(),
            connection_sync: None,
            track_real_servers: None,
        }
    }
}

/// An address that is held without being advertised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldAddress {
    /// The address with its prefix length.
    pub address: Cidr,
    /// Its interface; the instance's when none.
    pub interface: Option<String>,
}

/// How neighbours are told where the VIPs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Times that an announcement is made in all, 1 to 60: at once, then every
    /// [`Self::repeat_after`] (keepalived: `garp_master_repeat`).
    pub repeat: u8,
    /// Time between repetitions (keepalived: `garp_master_delay`).
    pub repeat_after: Duration,
    /// While Active it is announced again this often; never when none (keepalived:
    /// `garp_master_refresh`).
    pub refresh: Option<Duration>,
    /// Least time between two frames of one interface (keepalived: `garp_interval`,
    /// `gna_interval`).
    pub gap: Duration,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            repeat: 2,
            repeat_after: Duration::from_secs(1),
            refresh: Some(Duration::from_mins(1)),
            gap: Duration::ZERO,
        }
    }
}

/// The HMAC-SHA256 trailer of keepalived 2.4 (`auth_hmac`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthHmac {
    /// Every key that is believed, 1 to 8.
    pub keys: Vec<HmacKey>,
    /// Identifier of the key that signs: one of [`Self::keys`].
    pub active_key: u8,
    /// How old or new an advert may be by the sender's clock, 1 s to 300 s; derived from the advert
    /// interval when none (at least 5 s).
    pub window: Option<Duration>,
    /// What becomes of adverts without a trailer, and whether ours have one.
    pub mode: HmacMode,
}

/// How an instance moves from adverts without a trailer to adverts with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HmacMode {
    /// Ours have none, and both kinds count: the first step of a migration.
    ReceiveOnly,
    /// Ours have one, and both kinds count: the second step.
    Permissive,
    /// Ours have one, and no other counts.
    #[default]
    Enforce,
}

/// A key of an HMAC trailer.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacKey {
    /// 1 to 255, as in the trailer.
    id: u8,
    secret: Vec<u8>,
}

impl HmacKey {
    /// Fewest bytes of a secret.
    pub const MIN_BYTES: usize = 32;
    /// Most bytes of a secret.
    pub const MAX_BYTES: usize = 64;

    /// `None` when the identifier is 0 or the secret has not 32 to 64 bytes.
    pub fn new(id: u8, secret: Vec<u8>) -> Option<Self> {
        let is_long_enough = (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&secret.len());
        (id > 0 && is_long_enough).then_some(Self { id, secret })
    }

    /// As in the trailer.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The secret.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HmacKey({}, …)", self.id)
    }
}

/// Something that an instance depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What.
    pub target: TrackTarget,
    /// Added to the priority while the target is well when above 0, or while it is not when below;
    /// none: the instance must not be Active while the target is not well. -253 to 253, never 0.
    pub weight: Option<i16>,
}

/// What is tracked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackTarget {
    /// An interface is up and has a carrier.
    Interface(String),
    /// The host has the address, on any interface.
    Address(IpAddr),
    /// The main routing table has exactly this route, whatever its next hop; 0.0.0.0/0 is the
    /// default route.
    Route(Cidr),
    /// A neighbour or router answers.
    Gateway(GatewayProbe),
    /// A program says so by its exit status.
    Command(TrackCommand),
    /// The agent's own work: IPVS is programmed to the plan's revision, and no virtual server of the
    /// instance is without a real server in rotation.
    Agent,
    /// The real servers of the instance's virtual servers did not fall silent together: as many in a hundred as given. Only by
    /// [`TrackRealServers`].
    RealServers(u8),
}

/// What becomes of an instance on a director that is cut off from the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackRealServers {
    /// Added to the priority then: -253 to -1. There is no fault for it: where the real servers are gone with their hosts every
    /// director is cut off, and one must hold the VIP.
    pub weight: i16,
    /// Share of the real servers that must have fallen silent together, 1 to 100.
    pub silent_percent: u8,
}

/// How a gateway is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayProbe {
    /// Its address.
    pub address: IpAddr,
    /// ARP or neighbour solicitation on the instance's interface, or ICMP echo by the routing table.
    pub method: GatewayMethod,
    /// How often, and how long to wait.
    pub pace: TrackPace,
}

/// How a gateway is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayMethod {
    /// ARP, or a neighbour solicitation, on the instance's interface.
    #[default]
    Arp,
    /// ICMP echo.
    Icmp,
}

/// A program that is run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackCommand {
    /// Its file name in the directory that the agent's configuration names (`track_command_dir`):
    /// who writes intent chooses among the host's commands, and brings none.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How often, and how long to wait.
    pub pace: TrackPace,
}

/// How often a target is tried, and when its state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackPace {
    /// Time between the starts of tries.
    pub interval: Duration,
    /// Longest time a try may take; then it has failed.
    pub timeout: Duration,
    /// Successes in a row until it is well, 1 to 100.
    pub rise: u8,
    /// Failures in a row until it is not, 1 to 100.
    pub fall: u8,
}

impl Default for TrackPace {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { interval: second, timeout: second, rise: 1, fall: 1 }
    }
}

/// IPVS connection synchronisation between the directors of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSync {
    /// Interface of the sync messages; the instance's when none.
    pub interface: Option<String>,
    /// Sync identifier, 0 to 255: the same on all directors, another one in each group of directors
    /// on a segment. The VRID when none.
    pub sync_id: Option<u8>,
    /// A take-over by choice (failback, hand-over) waits until at most this many connections of the
    /// Active are unknown to the new one.
    pub max_missing: u32,
    /// ... or for this long.
    pub wait: Duration,
}

impl Default for ConnectionSync {
    fn default() -> Self {
        Self { interface: None, sync_id: None, max_missing: 0, wait: Duration::from_secs(10) }
    }
}
