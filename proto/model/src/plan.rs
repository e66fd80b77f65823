//! What is ordered of one agent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::resource::{AgentRequirement, AuthPass, VrrpChecksum, VrrpVersion};
use crate::{
    Check, Cidr, DynamicWeights, ForwardingMethod, IpvsSettings, Listen, Name, Port, Priority,
    Quorum, RestartPlan, Revision, Scheduler, ServerProbe, Thresholds, Tunnel,
    VirtualServerOptions, Vrid, VrrpOptions, Weight,
};

/// A plan's version. Only versions of one cluster and incarnation have an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanVersion {
    /// The cluster, made when it was formed.
    pub cluster_id: String,
    /// Counts restores from backup.
    pub incarnation: u64,
    /// The intent's revision that the plan was made from.
    pub revision: Revision,
}

impl PlanVersion {
    /// Whether an agent that runs on `self` takes a plan of version `offered`: of the same cluster, and no older.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.cluster_id == offered.cluster_id
            && (self.incarnation, self.revision) <= (offered.incarnation, offered.revision)
    }
}

impl fmt::Display for PlanVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster_id, self.incarnation, self.revision)
    }
}

/// All that is ordered of a director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectorPlan {
    /// VRRP instances by name.
    pub vrrp_instances: BTreeMap<Name, VrrpInstancePlan>,
    /// Virtual servers by name.
    pub virtual_servers: BTreeMap<Name, VirtualServerPlan>,
    /// The host's IPVS as a whole.
    pub ipvs: IpvsSettings,
}

/// Key of [`DirectorPlan::ipvs`] among its director's plan objects.
pub const IPVS_KEY: &str = "ipvs";

/// Key of a [`RealServerHostPlan`] among its agent's plan objects: the only one.
pub const HOST_KEY: &str = "host";

impl VrrpInstancePlan {
    /// Its key among its director's plan objects.
    pub fn key(&self) -> String {
        format!("vrrp/{}", self.name)
    }
}

/// What keys of virtual servers begin with.
const VIRTUAL_SERVER_KEY: &str = "virtual-server/";

impl VirtualServerPlan {
    /// Its key among its director's plan objects.
    pub fn key(&self) -> String {
        Self::key_of(&self.name)
    }

    /// The key of the one of that name.
    pub fn key_of(name: &Name) -> String {
        format!("{VIRTUAL_SERVER_KEY}{name}")
    }

    /// The name in such a key; none when it is another's.
    pub fn name_in(key: &str) -> Option<&str> {
        key.strip_prefix(VIRTUAL_SERVER_KEY)
    }

    /// Every real server that may be in its table: those of the pool, and the sorry server last.
    pub fn all_destinations(&self) -> impl Iterator<Item = &DestinationPlan> {
        self.destinations.iter().chain(&self.sorry_server)
    }
}

/// A director's part in a VRRP instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstancePlan {
    /// The instance.
    pub name: Name,
    /// Virtual router identifier.
    pub vrid: Vrid,
    /// Version on the wire.
    pub version: VrrpVersion,
    /// Time between adverts.
    pub advert_interval: Duration,
    /// Interface of VRRP and the VIPs.
    pub interface: String,
    /// This director's priority.
    pub priority: Priority,
    /// Whether a higher priority takes over from a lower Active.
    pub preempt: bool,
    /// v2 PASS.
    pub auth_pass: Option<AuthPass>,
    /// Addresses that the Active director holds.
    pub vips: Vec<Cidr>,
    /// Source address of adverts. The unspecified IPv6 address stands for the interface's own link-local one.
    pub source: IpAddr,
    /// Unicast peers; multicast when empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Checksum of v3 adverts.
    pub checksum: VrrpChecksum,
    /// This director shall be Active now, whoever is: a hand-over by order. Its priority is above the others'.
    pub take_over: bool,
    /// The rest.
    pub options: VrrpOptions,
}

/// A virtual server for a director to program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServerPlan {
    /// The virtual server.
    pub name: Name,
    /// What it takes.
    pub listen: Listen,
    /// The VIPs that its packets may go to: the one of an address, those of the VRRP instance under a firewall mark.
    pub vips: Vec<IpAddr>,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Forwarding method.
    pub forwarding: ForwardingMethod,
    /// Persistence.
    pub persistence_timeout: Option<Duration>,
    /// Its real servers, ordered by name. Virtual servers with the same ones can share them.
    pub destinations: Arc<[DestinationPlan]>,
    /// The check of each of them.
    pub check: Check,
    /// Whether the agent is required.
    pub agent: AgentRequirement,
    /// The rest.
    pub options: VirtualServerOptions,
    /// How much of the pool must serve.
    pub quorum: Quorum,
    /// Who serves while the quorum is lost.
    pub sorry_server: Option<DestinationPlan>,
    /// Time over which a real server that comes back is given its weight; at once when none.
    pub slow_start: Option<Duration>,
    /// How weights follow load; not at all when none.
    pub dynamic_weights: Option<DynamicWeights>,
}

/// A real server of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DestinationPlan {
    /// The real server.
    pub real_server: Name,
    /// Its address.
    pub rip: IpAddr,
    /// Its port.
    pub port: Port,
    /// Weight when in rotation.
    pub weight: Weight,
    /// The agent on its host.
    pub agent: Name,
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// How packets reach it.
    pub forwarding: ForwardingMethod,
    /// An order that it takes no new connections.
    pub drain: Option<Box<DrainPlan>>,
}

/// An order that a real server takes no new connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrainPlan {
    /// The Drain resource.
    pub name: Name,
    /// Why, for people.
    pub reason: String,
    /// Who, for people and programs.
    pub requested_by: String,
    /// Connections may go on for so long, then the entry leaves; without end when none.
    pub grace: Option<Duration>,
}

/// All that is ordered of a real-server agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealServerHostPlan {
    /// VIPs to bind to loopback with ARP kept quiet, ordered.
    pub vips: Vec<IpAddr>,
    /// Servers to watch, ordered by name.
    pub servers: Vec<WatchedServer>,
    /// Tunnels to take packets out of, ordered.
    pub tunnels: Vec<HostTunnel>,
}

/// A tunnel that ends at a real server's host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostTunnel {
    /// What packets are wrapped in.
    pub tunnel: Tunnel,
    /// The address that they are sent to.
    pub rip: IpAddr,
    /// VIPs whose packets come in it, ordered.
    pub vips: Vec<IpAddr>,
}

/// A server for the real-server agent to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedServer {
    /// The real server.
    pub real_server: Name,
    /// Its address.
    pub rip: IpAddr,
    /// Its port.
    pub port: Port,
    /// How.
    pub probe: ServerProbe,
    /// An order to restart it.
    pub restart: Option<RestartPlan>,
    /// An order is in force that no virtual server gives it new connections.
    pub drained: bool,
}
