//! The VRRP thread: waits for packets, orders and deadlines, and gives every router its turn.
//!
//! Within a turn: first all queued packets, then orders, then what the writer of addresses has
//! seen, then time. After a pause of the process this lets a router hear who has taken over before
//! it speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_model::Name;
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_vrrp::placement::Vip;
use fulcrum_vrrp::track::Tracked;
use fulcrum_vrrp::{Config, ConfigError, Discard, Family, Lateness, Place};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{oneshot, watch};

use super::groups::Groups;
use super::link::{self, Link};
use super::router::Router;
use super::sockets::AdvertBuffer;
use super::sources::Sources;
use super::tracking::Tracking;
use super::wake::{Inbox, Outbox, mailbox};
use super::{InstanceStatus, RelayRequest, VrrpSnapshot, realtime};
use crate::addresses::{self, Device, Order, RELAY_MARK, Target, View};

/// Packets read from one interface in a turn: a flood must not hold back our own adverts. More than
/// the receive buffer holds, so that a pause is read to its end.
const PACKETS_PER_TURN: usize = 1024;
/// Counters in the snapshot are at most this old.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);
/// A stop that takes longer than the hand-over itself by this much is given up.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// A thread with nothing to do looks around this often.
const IDLE: Duration = Duration::from_secs(10);

/// What the thread is told.
pub(super) enum Input {
    /// Run exactly these instances.
    Apply(BTreeMap<Name, VrrpInstancePlan>),
    /// What tracking makes of the instances.
    Tracking(BTreeMap<Name, Tracked>),
    /// Hold the preemption of an instance, or no longer.
    HoldPreemption(Name, bool),
    /// Leave every role, release, answer, end.
    Stop(oneshot::Sender<()>),
    /// What the writer of addresses sees.
    View(View),
}

/// The thread's state. A turn that sends or takes in adverts while nothing else happens allocates
/// nothing: neither memory that is scarce nor another thread delays an advert. Orders and snapshots
/// do allocate; they are made on changes, and about once a second.
pub(super) struct Engine {
    inbox: Inbox<Input>,
    /// The inbox and the sockets.
    sources: Sources,
    buffer: AdvertBuffer,
    addresses: Outbox<Order>,
    snapshots: watch::Sender<VrrpSnapshot>,
    view: View,
    routers: BTreeMap<Name, Router>,
    groups: Groups,
    tracking: Tracking,
    /// Instances whose preemption is held.
    held: BTreeSet<Name>,
    /// Routers that are no longer wanted and still hand over.
    leaving: Vec<Router>,
    /// Plans that cannot be run.
    refused: BTreeMap<Name, (ConfigError, SystemTime)>,
    /// By interface name.
    links: BTreeMap<String, Link>,
    /// Something has changed that [`Self::look`] goes by.
    is_stale: bool,
    lateness: Lateness,
    serial: u64,
    /// When the agent started.
    started: Duration,
    refreshed_at: Duration,
    publish_at: Duration,
    stop: Option<(oneshot::Sender<()>, Duration)>,
}

impl Engine {
    /// Starts the writer of addresses and the thread.
    pub(super) fn spawn(
        state_dir: &Path,
        snapshots: watch::Sender<VrrpSnapshot>,
    ) -> io::Result<Outbox<Input>> {
        let (outbox, inbox) = mailbox()?;
        let boot_id = fulcrum_runtime::boot::boot_id()?;
        let reports = outbox.clone();
        let addresses = addresses::spawn(state_dir, &boot_id, move |view| {
            // An error means that the thread has ended: nobody needs to know any more.
            let _ = reports.send(Input::View(view));
        })?;
        let mut engine = Self::new(inbox, addresses, snapshots)?;
        std::thread::Builder::new().name("vrrp".to_owned()).spawn(move || {
            realtime::raise();
            engine.order(&BTreeSet::new(), false);
            while engine.turn() {}
        })?;
        Ok(outbox)
    }

    fn new(
        inbox: Inbox<Input>,
        addresses: Outbox<Order>,
        snapshots: watch::Sender<VrrpSnapshot>,
    ) -> io::Result<Self> {
        let sources = Sources::new()?;
        sources.add(&inbox)?;
        Ok(Self {
            inbox,
            sources,
            buffer: AdvertBuffer::new(),
            addresses,
            snapshots,
            view: View::default(),
            routers: BTreeMap::new(),
            groups: Groups::default(),
            tracking: Tracking::default(),
            held: BTreeSet::new(),
            leaving: Vec::new(),
            refused: BTreeMap::new(),
            links: BTreeMap::new(),
            is_stale: true,
            lateness: Lateness::default(),
            serial: 0,
            started: now(),
            refreshed_at: Duration::ZERO,
            publish_at: Duration::ZERO,
            stop: None,
        })
    }

    /// One turn; false when it was the last.
    fn turn(&mut self) -> bool {
        self.wait();
        self.receive();
        for input in self.inbox.take().unwrap_or_default() {
            match input {
                Input::Apply(plans) => self.apply(plans),
                Input::Tracking(tracked) => {
                    self.tracking.set(tracked);
                    self.track();
                }
                Input::HoldPreemption(name, is_held) => self.hold_preemption(name, is_held),
                Input::View(view) => {
                    let is_new = self.view.interfaces != view.interfaces
                        || self.view.failures != view.failures
                        || self.view.not_closed != view.not_closed;
                    self.view = view;
                    if is_new {
                        self.is_stale = true;
                        self.publish_at = Duration::ZERO;
                    }
                }
                Input::Stop(done) => self.leave(done),
            }
        }
        self.look();
        let now = now();
        self.keep_groups(now);
        for router in self.routers.values_mut().chain(&mut self.leaving) {
            router.tick(now, self.links.get(router.interface()).and_then(Link::socket));
        }
        self.find_rivals(now);
        self.hand_over();
        self.publish(now);
        !self.is_stopped(now)
    }

    /// Until a packet, an order or a deadline is there.
    fn wait(&mut self) {
        let routers = self.routers.values().chain(&self.leaving);
        let now = now();
        let deadline = routers.filter_map(|router| router.deadline(now)).chain([self.publish_at]);
        let retries = self.links.values().filter_map(Link::retry_at);
        let deadline = deadline.chain(self.refresh_at()).chain(retries).min();
        let rest = deadline.map_or(IDLE, |at| at.saturating_sub(now)).min(IDLE);
        if self.sources.wait(rest) {
            self.lateness.add(self::now().saturating_sub(now + rest));
        }
    }

    fn receive(&mut self) {
        for (interface, link) in &mut self.links {
            let Ok(socket) = &link.socket else { continue };
            for _ in 0..PACKETS_PER_TURN {
                // An error of the socket (the interface went down) is told by netlink as well.
                let Ok(Some(received)) = socket.receive(&mut self.buffer) else { break };
                let datagram = match received {
                    Ok(datagram) => datagram,
                    Err(reason) => {
                        *link.discarded.entry(reason.label()).or_default() += 1;
                        continue;
                    }
                };
                let now = now();
                let mut is_known = false;
                for router in self.routers.values_mut().chain(&mut self.leaving) {
                    // Each family has its own VRIDs (RFC 9568 §5.2.3).
                    if router.interface() == interface
                        && Some(router.vrid()) == datagram.vrid()
                        && router.family() == datagram.family()
                    {
                        router.receive(now, &datagram, Some(socket));
                        is_known = true;
                    }
                }
                if !is_known {
                    *link.discarded.entry(Discard::Vrid.label()).or_default() += 1;
                }
            }
        }
    }

    fn apply(&mut self, plans: BTreeMap<Name, VrrpInstancePlan>) {
        if self.stop.is_some() {
            return;
        }
        let now = now();
        self.publish_at = now;
        self.is_stale = true;
        self.refused.clear();
        let gone: Vec<Name> =
            self.routers.keys().filter(|name| !plans.contains_key(name)).cloned().collect();
        for name in gone {
            self.retire(now, &name);
        }
        self.tracking.apply(&plans);
        for (name, plan) in plans {
            match Config::from_plan(&plan) {
                Ok(mut config) => {
                    config.priority = self.tracking.of(&plan).effective.priority;
                    self.run(now, plan, config);
                }
                Err(error) => {
                    tracing::error!(vrrp_instance = %name, %error, "the VRRP instance cannot run");
                    self.retire(now, &name);
                    self.refused.insert(name, (error, SystemTime::now()));
                }
            }
        }
        self.groups.apply(&self.routers);
        self.track();
    }

    fn hold_preemption(&mut self, name: Name, is_held: bool) {
        let now = now();
        if let Some(router) = self.routers.get_mut(&name) {
            let socket = self.links.get(router.interface()).and_then(Link::socket);
            router.hold_preemption(now, is_held, socket);
        }
        if is_held {
            self.held.insert(name);
        } else {
            self.held.remove(&name);
        }
    }

    /// Lets every router know what its tracked targets come to.
    fn track(&mut self) {
        let now = now();
        for router in self.routers.values_mut() {
            let socket = self.links.get(router.interface()).and_then(Link::socket);
            let standing = self.tracking.of(router.plan());
            router.track(now, standing, socket);
        }
    }

    fn run(&mut self, now: Duration, plan: VrrpInstancePlan, config: Config) {
        let name = plan.name.clone();
        let Some(mut router) = self.routers.remove(&name) else {
            let router = self.begin(now, plan, config);
            self.routers.insert(name, router);
            return;
        };
        if *router.plan() == plan {
            // Its state is kept.
        } else if router.can_become(&plan, &config) {
            let socket = self.links.get(router.interface()).and_then(Link::socket);
            router.reconfigure(now, plan, config, socket);
        } else {
            // Another virtual router takes its place, and its VIPs.
            let mut successor = self.begin(now, plan, config);
            successor.adopt(now, &router);
            self.farewell(now, &mut router);
            self.leaving.push(router);
            router = successor;
        }
        self.routers.insert(name, router);
    }

    /// A router, which holds its preemption when it was told so before it was there.
    fn begin(&self, now: Duration, plan: VrrpInstancePlan, config: Config) -> Router {
        let is_held = self.held.contains(&plan.name);
        let mut router = Router::new(plan, config, self.started);
        if is_held {
            router.hold_preemption(now, true, None);
        }
        router
    }

    fn retire(&mut self, now: Duration, name: &Name) {
        if let Some(mut router) = self.routers.remove(name) {
            self.farewell(now, &mut router);
            self.leaving.push(router);
        }
    }

    fn farewell(&self, now: Duration, router: &mut Router) {
        router.leave(now, self.links.get(router.interface()).and_then(Link::socket));
    }

    fn leave(&mut self, done: oneshot::Sender<()>) {
        let now = now();
        let mut latest = now;
        for mut router in std::mem::take(&mut self.routers).into_values() {
            self.farewell(now, &mut router);
            latest = latest.max(now + router.handover_time());
            self.leaving.push(router);
        }
        self.groups.apply(&self.routers);
        self.is_stale = true;
        self.refused.clear();
        self.stop = Some((done, latest + STOP_MARGIN));
    }

    /// Opens sockets on interfaces that have come, and lets every router see its interface, when
    /// that can come to something else than last time.
    fn look(&mut self) {
        let now = now();
        let wants_look = |router: &Router| router.wants_look(now);
        let is_due = |link: &Link| link.retry_at().is_some_and(|at| now >= at);
        if !self.is_stale
            && !self.routers.values().chain(&self.leaving).any(wants_look)
            && !self.links.values().any(is_due)
        {
            return;
        }
        self.is_stale = false;
        let mut wanted: BTreeMap<&str, bool> = BTreeMap::new();
        for router in self.routers.values().chain(&self.leaving) {
            *wanted.entry(router.interface()).or_default() |= router.family() == Family::V6;
        }
        link::keep(now, &mut self.links, &wanted, &self.view, &self.sources);
        let routers = self.routers.values().chain(&self.leaving);
        let vips: BTreeSet<IpAddr> = routers.flat_map(Router::addresses).collect();
        for router in self.routers.values_mut().chain(&mut self.leaving) {
            let link = self.links.get(router.interface());
            router.look(now, &self.view, &vips, link.map(|link| link.socket.as_ref()));
        }
    }

    /// Lets every router know who else claims its VIPs.
    fn find_rivals(&mut self, now: Duration) {
        for (interface, link) in &self.links {
            let Some(ear) = &link.arp else { continue };
            ear.claims(|mac, address| {
                for router in self.routers.values_mut() {
                    router.note_claim(now, interface, address, mac);
                }
            });
        }
        for router in self.routers.values_mut() {
            if let Some(ear) = self.links.get(router.interface()).and_then(|l| l.arp.as_ref()) {
                router.probe(now, ear);
            }
        }
    }

    /// After the packets and before the timers: a group decides on what its members have heard.
    fn keep_groups(&mut self, now: Duration) {
        let links = &self.links;
        let socket = |name: &str| links.get(name).and_then(Link::socket);
        self.groups.keep_together(now, &self.view, &mut self.routers, socket);
    }

    /// Orders the VIPs where something has changed, and regularly so that they live on.
    fn hand_over(&mut self) {
        let now = now();
        let mut announce = BTreeSet::new();
        let mut has_changed = false;
        for router in self.routers.values_mut().chain(&mut self.leaving) {
            has_changed |= router.take_change();
            announce.extend(router.take_announcements());
        }
        let is_due = self.refresh_at().is_some_and(|at| now >= at);
        if has_changed {
            self.is_stale = true;
            self.publish_at = now;
        }
        if has_changed || is_due {
            self.order(&announce, is_due);
        }
        let leaving = self.leaving.len();
        self.leaving.retain(|router| !router.is_released());
        if self.leaving.len() < leaving {
            self.is_stale = true;
            self.order(&BTreeSet::new(), false);
        }
    }

    /// When the lifetimes of VIPs are next to begin anew; none without routers.
    fn refresh_at(&self) -> Option<Duration> {
        let routers = self.routers.values().chain(&self.leaving);
        Some(self.refreshed_at + routers.map(Router::refresh).min()?)
    }

    fn order(&mut self, announce: &BTreeSet<Vip>, refresh: bool) {
        let mut vips: BTreeMap<Vip, Target> = BTreeMap::new();
        let routers = self.routers.values().chain(&self.leaving);
        for (vip, target) in routers.flat_map(Router::targets) {
            // A VIP that one router hands over and another one holds is held.
            let known = vips.entry(vip).or_insert(target);
            if rank(target.place) > rank(known.place) {
                *known = target;
            }
        }
        if refresh {
            self.refreshed_at = now();
        }
        let interfaces = self.routers.values().chain(&self.leaving).map(Router::interface);
        let hooks: BTreeSet<String> = interfaces.map(str::to_owned).collect();
        let relays = self.relays().map(|request| (request.interface, request.vip)).collect();
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        let routers = self.routers.values().chain(&self.leaving);
        for (name, device) in routers.filter_map(Router::device) {
            let is_up = device.is_up;
            devices.entry(name).or_insert(device).is_up |= is_up;
        }
        let routers = self.routers.values().chain(&self.leaving);
        let closed = routers.flat_map(Router::closed).collect();
        self.serial += 1;
        let (serial, announce) = (self.serial, announce.clone());
        let order = Order { serial, vips, devices, announce, hooks, relays, closed, refresh };
        if self.addresses.send(order).is_err() {
            tracing::error!("the writer of addresses has ended or hangs: restart the agent");
        }
    }

    /// The relays that are asked for: IPVS serves one predecessor at a time, that of the first
    /// instance which has one.
    fn relays(&self) -> impl Iterator<Item = RelayRequest> {
        let served = self.routers.values().find_map(|router| Some(router.relay()?.0));
        let requests = self.routers.values().filter_map(move |router| {
            let (predecessor, vips) = router.relay()?;
            (Some(predecessor) == served).then(|| {
                vips.map(move |vip| RelayRequest {
                    instance: router.name().clone(),
                    interface: vip.interface,
                    vip: vip.address,
                    mark: RELAY_MARK,
                    predecessor,
                })
            })
        });
        requests.flatten()
    }

    fn publish(&mut self, now: Duration) {
        if now < self.publish_at {
            return;
        }
        self.publish_at = now + COUNTERS_EVERY;
        let view = &self.view;
        let mut instances: BTreeMap<Name, InstanceStatus> = self
            .leaving
            .iter_mut()
            .chain(self.routers.values_mut())
            .map(|router| (router.name().clone(), router.status(now, view)))
            .collect();
        let refused = self.refused.iter().map(|(name, (error, since))| {
            (name.clone(), InstanceStatus::refused(error.to_string(), *since))
        });
        instances.extend(refused);
        let links = self.links.iter().filter(|(_, link)| !link.discarded.is_empty());
        let discarded = links.map(|(name, link)| (name.clone(), link.discarded.clone()));
        let relays = self.relays().collect();
        let lateness = self.lateness.summary();
        let discarded = discarded.collect();
        let snapshot = VrrpSnapshot { instances, lateness, discarded, relays };
        self.snapshots.send_if_modified(|last| {
            let is_new = *last != snapshot;
            *last = snapshot;
            is_new
        });
    }

    /// Whether a stop is over: every role left, every VIP released.
    fn is_stopped(&mut self, now: Duration) -> bool {
        let is_released = self.leaving.is_empty() && self.view.serial >= self.serial;
        match self.stop.take() {
            Some((done, until)) if is_released || now >= until => {
                if !is_released {
                    tracing::warn!("VIPs are left to the kernel, which withdraws them");
                }
                // Nobody may wait for it any more.
                let _ = done.send(());
                true
            }
            stop => {
                self.stop = stop;
                false
            }
        }
    }
}

/// Which place wins when two routers want one VIP.
fn rank(place: Place) -> u8 {
    match place {
        Place::Nowhere => 0,
        Place::Loopback => 1,
        Place::Interface => 2,
    }
}

/// Time since boot, suspended time included: a host that slept was silent.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests;
