//! Evidence of health, as a real-server agent tells it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::{Name, RestartEvidence};

/// Orders the news of one agent: the epoch is a counter made durable at each start, the sequence counts its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvidenceStamp {
    /// Start of the agent.
    pub epoch: u64,
    /// Report of that start.
    pub sequence: u64,
}

/// The whole current evidence of one agent. The greatest stamp wins, in whatever order and however often it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The agent.
    pub agent: Name,
    /// Its place among the agent's news.
    pub stamp: EvidenceStamp,
    /// Age when it was received: time since the agent looked, as far as known.
    pub age: Duration,
    /// How long it counts after it was made.
    pub valid_for: Duration,
    /// Identity of the host's boot.
    pub boot_id: String,
    /// Each server's verdict.
    pub servers: Vec<ServerEvidence>,
    /// Each VIP on loopback.
    pub vips: Vec<VipEvidence>,
    /// Trace that the change belongs to (W3C traceparent); empty when none.
    pub traceparent: String,
}

impl Evidence {
    /// Time that it still counts for, from its receipt; zero when it is stale already.
    pub fn remaining(&self) -> Duration {
        self.valid_for.saturating_sub(self.age)
    }

    /// What it says of a server.
    pub fn server(&self, real_server: &Name) -> Option<&ServerEvidence> {
        self.servers.iter().find(|server| &server.real_server == real_server)
    }

    /// What it says of a VIP.
    pub fn vip(&self, vip: IpAddr) -> Option<&VipEvidence> {
        self.vips.iter().find(|evidence| evidence.vip == vip)
    }
}

/// What an agent makes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Serves.
    Up,
    /// Serves, with all its capacity in use.
    Saturated,
    /// Told to take no new connections.
    Draining,
    /// Its program is ending.
    Stopping,
    /// Does not serve.
    Down,
    /// Cannot be told.
    Unknown,
}

impl Verdict {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Saturated => "saturated",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// A server's verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvidence {
    /// The real server.
    pub real_server: Name,
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, in words for people, strongest first.
    pub reasons: Vec<String>,
    /// Process that listens on the port.
    pub pid: Option<u32>,
    /// Time of the last probe's answer.
    pub probe_time: Option<Duration>,
    /// HTTP status of the last probe.
    pub http_status: Option<u16>,
    /// Load, where a status page or the JVM's own counters tell it.
    pub load: Option<ServerLoad>,
    /// When the agent last saw a process of this server end, by the clock of its host.
    pub exit_seen_at: Option<SystemTime>,
    /// What became of the order to restart it.
    pub restart: Option<RestartEvidence>,
}

/// Load of a server's connector, its contexts and its JVM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// Threads busy with requests.
    pub busy_threads: u32,
    /// Most threads it may have; 0 where no status page tells it.
    pub max_threads: u32,
    /// Requests served since start.
    pub request_count: u64,
    /// Requests that failed since start.
    pub error_count: u64,
    /// Sessions that are active, over all contexts.
    pub sessions: u32,
    /// Share of the last seconds that the JVM spent in pauses of its garbage collectors, in thousandths.
    pub gc_share_permille: u32,
    /// Mean time of the requests that ended between the last two readings, in microseconds; 0 where none did.
    pub mean_request_us: u64,
    /// Contexts (web applications) that are stopped or failed to start.
    pub contexts_stopped: u32,
}

/// A VIP on the real server's loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipEvidence {
    /// The VIP.
    pub vip: IpAddr,
    /// It is bound to loopback.
    pub bound: bool,
    /// ARP was silenced before it was bound, and still is.
    pub arp_safe: bool,
    /// What is wrong, in words; empty when nothing is.
    pub detail: String,
}
