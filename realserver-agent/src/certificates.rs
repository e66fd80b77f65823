//! When the certificates end that servers of this host present to clients.
//!
//! [`wanted`] says whom to ask, by the Tomcats' own files and the agent's configuration; [`follow`] asks each by a handshake of TLS;
//! [`judge`] says what is wrong. Nothing is sent beside the handshake, and the certificate is only read: who issued it is for clients
//! to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use fulcrum_model::plan::{RealServerHostPlan, WatchedServer};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::tomcat::findings::Tomcats;
use crate::tomcat::server_xml::{Address, Connector};

mod handshake;
mod judge;

pub use judge::judge;

/// Time between handshakes with one that is well: a certificate that is replaced without a restart is seen within it.
const EVERY: Duration = Duration::from_mins(5);
/// Time between handshakes with one that has ended, or cannot be read: somebody is at it.
const SOON: Duration = Duration::from_secs(30);
/// Most that are asked, so that a host with many names is no load to itself.
const MOST: usize = 32;
/// Handshakes at once.
const AT_ONCE: usize = 4;

/// A certificate: where it is presented, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The host that is asked for (SNI, RFC 6066 §3), maybe `*.example.org`; none: whatever is presented to whoever names nobody.
    pub host: Option<String>,
    /// Clients come to this port by a virtual server, or somebody asked for it to be watched.
    pub is_served: bool,
    /// The process that listens, where it is known: one that was restarted has read its files again.
    pub pid: Option<u32>,
}

/// What is known of each: its end, or why it is not known. One that was not asked yet is not among them.
pub type Ends = BTreeMap<Target, Result<SystemTime, String>>;

/// A port that the agent's configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The host that is asked for.
    pub host: Option<String>,
}

/// Whom to ask: the connectors of Tomcats that speak TLS, and what is configured.
pub fn wanted<'a>(
    configured: &[Configured],
    tomcats: impl IntoIterator<Item = (&'a WatchedServer, &'a Tomcats)>,
    plan: &RealServerHostPlan,
) -> BTreeSet<Target> {
    let by_hand = configured.iter().map(|one| Target {
        address: one.address,
        host: one.host.clone(),
        is_served: true,
        pid: None,
    });
    let by_files = tomcats.into_iter().flat_map(|(server, tomcats)| match tomcats {
        Tomcats::Own(own) => {
            let connectors = own.server.connectors.iter();
            connectors.flat_map(|one| of_connector(server.rip, own.pid, one, plan)).collect()
        }
        Tomcats::None | Tomcats::Others(_) => Vec::new(),
    });
    by_hand.chain(by_files).take(MOST).collect()
}

fn of_connector(
    rip: IpAddr,
    pid: u32,
    connector: &Connector,
    plan: &RealServerHostPlan,
) -> Vec<Target> {
    let (Some(port), Some(true)) = (connector.port, connector.has_tls) else { return Vec::new() };
    let address = match connector.address {
        Address::One(address) => address,
        // One whose address cannot be told most likely listens there: clients come to it.
        Address::Any | Address::Unknown => rip,
    };
    let is_served = plan.servers.iter().any(|server| server.port.get() == port);
    let hosts = connector.tls_hosts.iter().cloned().map(Some);
    std::iter::once(None)
        .chain(hosts)
        .map(|host| Target {
            address: SocketAddr::new(address, port),
            host,
            is_served,
            pid: Some(pid),
        })
        .collect()
}

/// Asks those that are wanted again and again, until the sender of `wanted` is gone.
pub fn follow(mut wanted: watch::Receiver<BTreeSet<Target>>) -> watch::Receiver<Ends> {
    let (told, ends) = watch::channel(Ends::new());
    tokio::spawn(async move {
        let mut due: BTreeMap<Target, Instant> = BTreeMap::new();
        loop {
            let targets = wanted.borrow_and_update().clone();
            due.retain(|target, _| targets.contains(target));
            let now = Instant::now();
            let asked: Vec<Target> = targets
                .iter()
                .filter(|target| due.get(*target).is_none_or(|at| *at <= now))
                .cloned()
                .collect();
            let mut answers = futures::stream::iter(asked)
                .map(|target| async move { (handshake::ask(&target).await, target) })
                .buffer_unordered(AT_ONCE);
            let mut fresh = Ends::new();
            while let Some((end, target)) = answers.next().await {
                let wait = rest(&end, SystemTime::now());
                due.insert(target.clone(), Instant::now() + wait);
                fresh.insert(target, end);
            }
            told.send_if_modified(|known| {
                let before = known.clone();
                known.retain(|target, _| targets.contains(target));
                known.extend(fresh);
                *known != before
            });
            // Without a target there is nothing to wait for but a wish.
            let next = due.values().min().copied().unwrap_or_else(|| Instant::now() + EVERY);
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    });
    ends
}

/// Time to the next handshake, from the last one's end: one that lasts is asked again at its end, so that a new one in its place is
/// never told to have ended.
fn rest(end: &Result<SystemTime, String>, now: SystemTime) -> Duration {
    match end.as_ref().map(|end| end.duration_since(now)) {
        Ok(Ok(left)) if !left.is_zero() => EVERY.min(left),
        Ok(Ok(_) | Err(_)) | Err(_) => SOON,
    }
}

#[cfg(test)]
mod tests;
