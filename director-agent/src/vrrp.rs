//! Runs VRRP on this host: the driver of `fulcrum-vrrp`.
//!
//! What it does: owns a thread apart from the runtime's workers, with raw sockets and a monotonic
//! clock of its own, and orders the VIPs from the one writer of addresses. What it never does: wait
//! for netlink, for a controller or for the runtime before it sends an advert.
//!
//! Start reading at [`VrrpHandle`], then `engine`, then `router`.

mod engine;
mod groups;
mod link;
mod realtime;
mod rivals;
mod router;
pub(crate) mod sockets;
mod sources;
mod tracking;
pub(crate) mod wake;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::{Cidr, Name};
use fulcrum_vrrp::track::{Tracked, Weighed};
use fulcrum_vrrp::{LatenessSummary, Role};
use tokio::sync::{oneshot, watch};

use crate::capabilities;
use engine::{Engine, Input};
pub use rivals::Rival;
pub(crate) use rivals::text as mac_text;
use wake::Outbox;

/// Talks to the VRRP thread. Cheap to clone. The thread runs until [`VrrpHandle::stop`]; when the
/// process ends without it, the kernel withdraws the VIPs when their lifetimes are over.
#[derive(Clone)]
pub struct VrrpHandle {
    engine: Outbox<Input>,
}

/// Every VRRP instance as this host sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VrrpSnapshot {
    /// By name.
    pub instances: BTreeMap<Name, InstanceStatus>,
    /// How late the thread woke after the times that it asked for.
    pub lateness: LatenessSummary,
    /// Packets that belong to no instance, by interface and reason.
    pub discarded: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Hand-overs in which connections in flight are to be relayed, ordered.
    pub relays: Vec<RelayRequest>,
}

/// A VRRP instance as this host sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceStatus {
    /// Role.
    pub role: Role,
    /// When the role was entered, by the wall clock.
    pub since: SystemTime,
    /// Sender of the last advert that counted.
    pub active_router: Option<IpAddr>,
    /// It is Backup, outranks the Active that it hears, and may relieve it.
    pub outranks: bool,
    /// Times it became Active since start.
    pub became_active: u64,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Adverts received that count.
    pub adverts_received: u64,
    /// Packets discarded, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
    /// VIPs on the interface now.
    pub vips_bound: Vec<Cidr>,
    /// Priority in force: the plan's, or its sync group's, adjusted by what is tracked.
    pub priority: u8,
    /// Why it must not be Active, or not yet.
    pub faults: Vec<String>,
    /// Why it has not relieved the Active that it outranks; empty when it does not wait.
    pub waits_for: String,
    /// What is tracked.
    pub tracks: Vec<Weighed>,
    /// It is Active, and whoever it relieved has let go of the VIPs.
    pub holds_alone: bool,
    /// Its VIPs as neighbours see them.
    pub seen_vips: Vec<SeenVip>,
    /// Others that hold its VIPs while it is Active, the latest seen first.
    pub rivals: Vec<Rival>,
    /// Adverts that were discarded lately for what a person can put right, in words.
    pub rejected: Vec<String>,
    /// What does not fit, each with its remedy.
    pub problems: Vec<String>,
}

/// A VIP as neighbours see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenVip {
    /// The VIP.
    pub address: IpAddr,
    /// The interface on which its holder answers for it.
    pub interface: String,
    /// The virtual MAC that its holder answers with, where the instance has one.
    pub virtual_mac: Option<[u8; 6]>,
}

/// Packets of connections that another router knows are to be sent on to it: TCP packets to `vip`
/// that begin no connection carry `mark`. The IPVS driver gives the mark a virtual server whose
/// only real server is `predecessor` (dr) and sets `net.ipv4.vs.sloppy_tcp`, until the request is
/// gone from the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRequest {
    /// The instance.
    pub instance: Name,
    /// The interface that the packets come in by.
    pub interface: String,
    /// The VIP.
    pub vip: IpAddr,
    /// Firewall mark of the packets.
    pub mark: u32,
    /// The router that was Active before. The same in all requests of a snapshot.
    pub predecessor: IpAddr,
}

/// Why VRRP cannot run on this host.
#[derive(Debug, thiserror::Error)]
pub enum VrrpError {
    /// The kernel does not let us.
    #[error(transparent)]
    Capability(#[from] capabilities::Missing),
    /// A socket or thread cannot be made.
    #[error("cannot {doing}: {source}; {remedy}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What to do.
        remedy: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl VrrpSnapshot {
    /// The same with its counters at zero, which rise with every advert: what is left differs only by news. That
    /// something is counted at all stays.
    #[must_use]
    pub fn without_counters(&self) -> Self {
        let mut rest = Self { lateness: LatenessSummary::default(), ..self.clone() };
        for status in rest.instances.values_mut() {
            (status.adverts_sent, status.adverts_received) = (0, 0);
        }
        let of_instances = rest.instances.values_mut().map(|status| &mut status.discarded);
        for count in rest.discarded.values_mut().chain(of_instances).flat_map(BTreeMap::values_mut)
        {
            *count = 0;
        }
        rest
    }
}

impl InstanceStatus {
    /// Of an instance whose plan cannot be run.
    pub(crate) fn refused(problem: String, since: SystemTime) -> Self {
        Self {
            role: Role::Initialize,
            since,
            active_router: None,
            became_active: 0,
            adverts_sent: 0,
            adverts_received: 0,
            discarded: BTreeMap::new(),
            vips_bound: Vec::new(),
            priority: 0,
            faults: vec![problem.clone()],
            outranks: false,
            waits_for: String::new(),
            tracks: Vec::new(),
            holds_alone: false,
            seen_vips: Vec::new(),
            rivals: Vec::new(),
            rejected: Vec::new(),
            problems: vec![problem],
        }
    }
}

impl VrrpHandle {
    /// Starts VRRP with no instances. `state_dir` holds what a hand-over changes for its duration.
    ///
    /// # Errors
    /// [`VrrpError`] says what is missing, and what to do.
    pub fn spawn(
        state_dir: &Path,
    ) -> Result<(VrrpHandle, watch::Receiver<VrrpSnapshot>), VrrpError> {
        capabilities::check()?;
        let system = |doing, remedy| move |source| VrrpError::System { doing, remedy, source };
        let remedy =
            "allow raw sockets: CAP_NET_RAW, and RestrictAddressFamilies=AF_PACKET AF_INET";
        sockets::try_open().map_err(system("open raw sockets", remedy))?;
        let remedy = "allow netlink: RestrictAddressFamilies=AF_NETLINK";
        let (snapshots, snapshot) = watch::channel(VrrpSnapshot::default());
        let engine = Engine::spawn(state_dir, snapshots)
            .map_err(system("watch the addresses of this host", remedy))?;
        Ok((VrrpHandle { engine }, snapshot))
    }

    /// Runs exactly these instances from now on. Unchanged ones keep their state; changed ones are
    /// edited in place where they stay the same virtual router; others leave as on a planned stop.
    pub fn apply(&self, instances: BTreeMap<Name, VrrpInstancePlan>) {
        if self.engine.send(Input::Apply(instances)).is_err() {
            tracing::error!("the VRRP thread has ended or hangs: restart the agent");
        }
    }

    /// What tracking makes of each instance from now on. An instance that is not named and tracks
    /// something waits for it in Initialize.
    pub fn set_tracking(&self, tracked: BTreeMap<Name, Tracked>) {
        if self.engine.send(Input::Tracking(tracked)).is_err() {
            tracing::error!("the VRRP thread has ended or hangs: restart the agent");
        }
    }

    /// Whether the instance, when it is Backup, leaves a living Active alone that it outranks, or is
    /// ordered to relieve. It holds for instances that come later, too, until it is taken back.
    pub fn hold_preemption(&self, instance: &Name, is_held: bool) {
        if self.engine.send(Input::HoldPreemption(instance.clone(), is_held)).is_err() {
            tracing::error!("the VRRP thread has ended or hangs: restart the agent");
        }
    }

    /// Longest that [`Self::stop`] takes: at the longest interval of 40.95 s a successor may need
    /// that long to be heard. At 1 s it is some 3 s.
    pub const STOP_WITHIN: Duration = Duration::from_secs(50);

    /// A planned stop: leaves every role, goes on forwarding while a successor takes over, and
    /// returns when the VIPs are released.
    pub async fn stop(self) {
        let (done, stopped) = oneshot::channel();
        if self.engine.send(Input::Stop(done)).is_ok() {
            // An error means that the thread has ended: then nothing is left to release.
            let _ = stopped.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_alone_are_no_news() {
        let name: Name = "vi-1".parse().expect("a name");
        let mut seen = VrrpSnapshot::default();
        let mut status = InstanceStatus::refused(String::new(), SystemTime::UNIX_EPOCH);
        status.discarded.insert("ttl", 1);
        seen.instances.insert(name.clone(), status);
        let told = seen.without_counters();

        let status = seen.instances.get_mut(&name).expect("it is there");
        (status.adverts_sent, status.adverts_received) = (7, 9);
        status.discarded.insert("ttl", 2);
        seen.lateness.wakes = 16;
        assert_eq!(seen.without_counters(), told);

        let changes: [fn(&mut InstanceStatus); 3] = [
            |status| status.role = Role::Active,
            |status| status.became_active += 1,
            |status| {
                status.discarded.insert("checksum", 1);
            },
        ];
        for change in changes {
            let mut changed = seen.clone();
            change(changed.instances.get_mut(&name).expect("it is there"));
            assert_ne!(changed.without_counters(), told);
        }
    }
}
