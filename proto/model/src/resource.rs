//! The resources of intent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::access::{AccessRule, JoinToken};
use crate::{
    Check, Cidr, DynamicWeights, ForwardingMethod, IpvsSettings, Listen, Name, NotificationPolicy,
    Port, Priority, Quorum, Revision, Scheduler, ServerProbe, Thresholds, VirtualServerOptions,
    Vrid, VrrpOptions, Weight,
};

/// The kinds of resources, in the order in which lists show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A place with its own directors and real servers.
    Site,
    /// A host that runs VRRP and IPVS.
    Director,
    /// A virtual router that moves VIPs between directors.
    VrrpInstance,
    /// A host and port that serves.
    RealServer,
    /// Real servers shared by virtual servers.
    Pool,
    /// VIP, port and protocol that clients connect to.
    VirtualServer,
    /// An order that a director shall be Active.
    Handover,
    /// An order that a real server takes no new connections.
    Drain,
    /// An order that a real server's program is restarted.
    Restart,
    /// Who is told of what happens.
    NotificationPolicy,
    /// What operators may do.
    AccessRule,
    /// A certificate that may be asked for, once.
    JoinToken,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Site,
        Self::Director,
        Self::VrrpInstance,
        Self::RealServer,
        Self::Pool,
        Self::VirtualServer,
        Self::Handover,
        Self::Drain,
        Self::Restart,
        Self::NotificationPolicy,
        Self::AccessRule,
        Self::JoinToken,
    ];

    /// As manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Site => "Site",
            Self::Director => "Director",
            Self::VrrpInstance => "VrrpInstance",
            Self::RealServer => "RealServer",
            Self::Pool => "Pool",
            Self::VirtualServer => "VirtualServer",
            Self::Handover => "Handover",
            Self::Drain => "Drain",
            Self::Restart => "Restart",
            Self::NotificationPolicy => "NotificationPolicy",
            Self::AccessRule => "AccessRule",
            Self::JoinToken => "JoinToken",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: Name,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One object of the cluster's intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The revision that last changed it; 0 before it is written.
    pub revision: Revision,
    /// What is wanted.
    pub spec: Spec,
}

impl Resource {
    /// Its kind and name.
    pub fn key(&self) -> ResourceKey {
        ResourceKey { kind: self.spec.kind(), name: self.name.clone() }
    }

    /// Whether both want the same, whatever their revisions.
    pub fn wants_same_as(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels && self.spec == other.spec
    }
}

/// What is wanted, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// A site.
    Site(Site),
    /// A director.
    Director(Director),
    /// A VRRP instance.
    VrrpInstance(VrrpInstance),
    /// A real server.
    RealServer(RealServer),
    /// A pool.
    Pool(Pool),
    /// A virtual server.
    VirtualServer(VirtualServer),
    /// A hand-over.
    Handover(Handover),
    /// A drain.
    Drain(Drain),
    /// A restart.
    Restart(Restart),
    /// A notification policy.
    NotificationPolicy(Box<NotificationPolicy>),
    /// What operators may do.
    AccessRule(AccessRule),
    /// A certificate that may be asked for.
    JoinToken(JoinToken),
}

impl Spec {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Site(_) => Kind::Site,
            Self::Director(_) => Kind::Director,
            Self::VrrpInstance(_) => Kind::VrrpInstance,
            Self::RealServer(_) => Kind::RealServer,
            Self::Pool(_) => Kind::Pool,
            Self::VirtualServer(_) => Kind::VirtualServer,
            Self::Handover(_) => Kind::Handover,
            Self::Drain(_) => Kind::Drain,
            Self::Restart(_) => Kind::Restart,
            Self::NotificationPolicy(_) => Kind::NotificationPolicy,
            Self::AccessRule(_) => Kind::AccessRule,
            Self::JoinToken(_) => Kind::JoinToken,
        }
    }
}

/// A place with its own directors and real servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// For people.
    pub description: String,
}

/// A host that runs VRRP and IPVS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Director {
    /// The site it stands in.
    pub site: Name,
    /// Its own address.
    pub dip: IpAddr,
    /// Its own IPv6 address: source of IPv6 adverts to unicast peers.
    pub dip_ipv6: Option<std::net::Ipv6Addr>,
    /// Interface that carries VRRP and the VIPs.
    pub interface: String,
    /// What its agent manages of the host's IPVS.
    pub ipvs: IpvsSettings,
}

/// VRRP's version on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VrrpVersion {
    /// RFC 3768.
    V2,
    /// RFC 9568.
    V3,
    /// Both are sent and understood, so that routers can move from version 2 to 3 one by one (RFC 9568 §8.4).
    V2AndV3,
}

/// How `VRRPv3` over IPv4 computes its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VrrpChecksum {
    /// With the pseudo-header (RFC 5798 as deployed by keepalived and FRR).
    Deployed,
    /// Without (RFC 9568 §5.2.8).
    Rfc9568,
}

/// PASS authentication of `VRRPv2`: 1 to 8 bytes (RFC 2338 §5.3.6). It catches mistakes, not attackers.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthPass(String);

impl AuthPass {
    /// Longest text in bytes.
    pub const MAX_BYTES: usize = 8;

    /// `None` unless the text has 1 to 8 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (1..=Self::MAX_BYTES).contains(&text.len()).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As on the wire: padded with zeroes.
    pub fn to_bytes(&self) -> [u8; Self::MAX_BYTES] {
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

impl fmt::Debug for AuthPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthPass(…)")
    }
}

/// A virtual router that moves VIPs between directors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstance {
    /// The site whose directors take part.
    pub site: Name,
    /// Virtual router identifier.
    pub vrid: Vrid,
    /// Version on the wire.
    pub version: VrrpVersion,
    /// Time between adverts.
    pub advert_interval: Duration,
    /// Addresses that the Active director holds.
    pub vips: Vec<Cidr>,
    /// The directors that take part.
    pub members: Vec<VrrpMember>,
    /// Whether a higher priority takes over from a lower Active.
    pub preempt: bool,
    /// v2 PASS.
    pub auth_pass: Option<AuthPass>,
    /// Adverts go to the members' DIPs instead of the multicast group.
    pub unicast: bool,
    /// Checksum of v3 adverts.
    pub checksum: VrrpChecksum,
    /// The rest.
    pub options: VrrpOptions,
}

/// A director's part in a VRRP instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpMember {
    /// The director.
    pub director: Name,
    /// Its priority.
    pub priority: Priority,
    /// Interface for this instance; the director's when none.
    pub interface: Option<String>,
}

/// A host and port that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealServer {
    /// The site it stands in.
    pub site: Name,
    /// Its own address.
    pub rip: IpAddr,
    /// The port it serves on.
    pub port: Port,
    /// The agent on its host.
    pub agent: Name,
    /// How the agent judges it.
    pub probe: ServerProbe,
}

/// Whether a pool's real servers have Fulcrum's agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentRequirement {
    /// In dr and tunnel no weight above zero before the agent has reported ARP safety.
    #[default]
    Required,
    /// The directors' own probes decide alone.
    None,
}

/// Real servers shared by virtual servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its real servers.
    pub members: Vec<PoolMember>,
    /// The directors' own check of each.
    pub check: Check,
    /// Whether the agent is required.
    pub agent: AgentRequirement,
    /// How much of it must serve.
    pub quorum: Quorum,
    /// Who serves while the quorum is lost.
    pub sorry_server: Option<Name>,
    /// Time over which a real server that comes back is given its weight; at once when none.
    pub slow_start: Option<Duration>,
    /// How weights follow load; not at all when none.
    pub dynamic_weights: Option<DynamicWeights>,
}

/// A real server's part in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMember {
    /// The real server.
    pub real_server: Name,
    /// Its share of new connections.
    pub weight: Weight,
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// How packets reach it; the virtual server's method when none.
    pub forwarding: Option<ForwardingMethod>,
}

/// What clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// The VRRP instance that moves its VIP.
    pub vrrp_instance: Name,
    /// What it takes.
    pub listen: Listen,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Forwarding method.
    pub forwarding: ForwardingMethod,
    /// Same client, same real server for this long, in whole seconds.
    pub persistence_timeout: Option<Duration>,
    /// The pool that serves it.
    pub pool: Name,
    /// The rest.
    pub options: VirtualServerOptions,
}

/// An order that a director shall be Active in an instance, in force until it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The VRRP instance.
    pub vrrp_instance: Name,
    /// The member that shall be Active.
    pub to: Name,
    /// Why, for people.
    pub reason: String,
    /// Who, for people and programs.
    pub requested_by: String,
}

/// An order that a real server takes no new connections, in force until it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The real server.
    pub real_server: Name,
    /// Of this virtual server only; of every one that uses it when none.
    pub virtual_server: Option<Name>,
    /// Why, for people.
    pub reason: String,
    /// Who, for people and programs.
    pub requested_by: String,
    /// Connections may go on for so long, then the entry leaves; without end when none.
    pub grace: Option<Duration>,
}

/// An order that the agent on a real server's host restarts its program, once for each name and revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The real server.
    pub real_server: Name,
    /// Why, for people.
    pub reason: String,
    /// Who, for people and programs.
    pub requested_by: String,
    /// Which command of the agent's own configuration.
    pub action: Name,
    /// Obey even while it takes new connections.
    pub even_if_serving: bool,
}
