//! What is wrong on this host that a real server in dr or tunnel cannot, or should not, run with.
//!
//! [`judge`] decides it from plain facts; what is read for it is read here. Nothing is changed: what the agent can put
//! right, [`crate::loopback`] does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use fulcrum_model::plan::WatchedServer;
use fulcrum_model::{Name, VipEvidence};
use fulcrum_proto::finding::{HostRole, Look};
use fulcrum_session::host::{self, Paths};
use tokio::sync::watch;

use crate::tomcat::sockets;

mod judge;
#[cfg(test)]
mod tests;

/// What is wanted of the host, and what the loopback's driver sees there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// VIPs of the plan.
    pub vips: BTreeSet<IpAddr>,
    /// Servers of the plan: name, own address and port.
    pub servers: Vec<(Name, IpAddr, u16)>,
    /// The loopback, as it is told to directors.
    pub loopback: Vec<VipEvidence>,
}

impl Wanted {
    /// Of a plan.
    pub fn new(vips: &[IpAddr], servers: &[WatchedServer], loopback: &[VipEvidence]) -> Self {
        let servers = servers
            .iter()
            .map(|server| (server.real_server.clone(), server.rip, server.port.get()))
            .collect();
        Self { vips: vips.iter().copied().collect(), servers, loopback: loopback.to_vec() }
    }
}

/// Looks at the host again and again, until the sender of `wanted` is gone.
pub fn follow(paths: Paths, wanted: watch::Receiver<Wanted>) -> watch::Receiver<Look> {
    host::follow(HostRole::RealServer, wanted, move |wanted: &Wanted, packet_filter| {
        let names = BTreeSet::from([judge::LOOPBACK.to_owned()]);
        let facts = judge::Facts {
            host: host::read(&paths, &names, packet_filter),
            listeners: listeners(wanted),
        };
        judge::judge(wanted, &facts, SystemTime::now())
    })
}

/// Addresses and ports on which somebody listens, of the ports that are wanted; none where that cannot be seen.
fn listeners(wanted: &Wanted) -> Option<Vec<(IpAddr, u16)>> {
    if wanted.vips.is_empty() || wanted.servers.is_empty() {
        return Some(Vec::new());
    }
    let ports: BTreeSet<u16> = wanted.servers.iter().map(|(_, _, port)| *port).collect();
    let sockets = sockets::read().ok()?;
    let listeners =
        sockets.iter().filter(|socket| socket.listens() && ports.contains(&socket.port));
    Some(listeners.map(|socket| (socket.address, socket.port)).collect())
}
