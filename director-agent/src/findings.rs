//! What is wrong on this host that a director cannot, or should not, run with.
//!
//! [`judge`] decides it from plain facts, [`read`] gathers them, [`vrrp`] tells what VRRP hears. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::{ForwardingMethod, Name, Tunnel, TunnelChecksum};
use fulcrum_proto::finding::{HostRole, Look};
use fulcrum_session::host::{self, Paths};
use tokio::sync::watch;

use crate::decide::plan::Servers;

mod judge;
mod read;
#[cfg(test)]
mod tests;
mod vrrp;

pub use vrrp::vrrp;

/// Real servers that are looked at for each way of forwarding: what is wrong with the way to one is wrong with others'.
const MOST_REAL_SERVERS: usize = 256;

/// What the plan wants of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// VRRP instances.
    instances: Vec<Instance>,
    /// Kernel modules of IPVS.
    modules: BTreeSet<String>,
    /// Real servers in nat.
    nat: BTreeSet<IpAddr>,
    /// Real servers in tunnel, each with the bytes that its tunnel adds.
    tunnel: BTreeSet<(IpAddr, u32)>,
}

/// A VRRP instance, as far as the host matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Instance {
    name: Name,
    interface: String,
    is_multicast: bool,
    is_ipv6: bool,
    has_virtual_mac: bool,
}

impl Wanted {
    /// Of a plan.
    pub fn new(servers: &Servers, instances: &BTreeMap<Name, VrrpInstancePlan>) -> Self {
        let mut wanted = Self::default();
        wanted.modules.insert("ip_vs".to_owned());
        for server in servers.values() {
            let scheduler = server.scheduler.as_str();
            // One name for each of some ten thousand virtual servers would cost more than all else.
            if !wanted.modules.iter().any(|module| module.strip_prefix("ip_vs_") == Some(scheduler))
            {
                wanted.modules.insert(format!("ip_vs_{scheduler}"));
            }
            let engine = server.options.persistence_engine;
            wanted.modules.extend(engine.map(|engine| format!("ip_vs_pe_{}", engine.as_str())));
            for destination in server.all_destinations() {
                match destination.forwarding {
                    ForwardingMethod::Dr => {}
                    ForwardingMethod::Nat if wanted.nat.len() < MOST_REAL_SERVERS => {
                        wanted.nat.insert(destination.rip);
                    }
                    ForwardingMethod::Tunnel if wanted.tunnel.len() < MOST_REAL_SERVERS => {
                        let rip = destination.rip;
                        wanted.tunnel.insert((rip, overhead(server.options.tunnel, rip)));
                    }
                    ForwardingMethod::Nat | ForwardingMethod::Tunnel => {}
                }
            }
        }
        wanted.instances = instances.values().map(Instance::of).collect();
        wanted
    }
}

impl Instance {
    fn of(plan: &VrrpInstancePlan) -> Self {
        Self {
            name: plan.name.clone(),
            interface: plan.interface.clone(),
            is_multicast: plan.unicast_peers.is_empty(),
            is_ipv6: plan.source.is_ipv6(),
            has_virtual_mac: plan.options.virtual_mac,
        }
    }
}

/// Bytes that a tunnel adds: the outer header, and that of its kind (RFC 2003, draft-ietf-intarea-gue, RFC 2784).
fn overhead(tunnel: Tunnel, rip: IpAddr) -> u32 {
    let outer = if rip.is_ipv6() { 40 } else { 20 };
    let inner = match tunnel {
        Tunnel::Ipip => 0,
        Tunnel::Gue { checksum: TunnelChecksum::None | TunnelChecksum::Full, .. } => 8 + 4,
        // Remote offload has a private option of two words.
        Tunnel::Gue { checksum: TunnelChecksum::Remote, .. } => 8 + 4 + 8,
        Tunnel::Gre { checksum: TunnelChecksum::None } => 4,
        Tunnel::Gre { checksum: TunnelChecksum::Full | TunnelChecksum::Remote } => 8,
    };
    outer + inner
}

/// Looks at the host again and again, until the sender of `wanted` is gone.
pub fn follow(paths: Paths, wanted: watch::Receiver<Wanted>) -> watch::Receiver<Look> {
    host::follow(HostRole::Director, wanted, move |wanted: &Wanted, packet_filter| {
        let facts = read::read(&paths, wanted, packet_filter);
        judge::judge(wanted, &facts, SystemTime::now())
    })
}
