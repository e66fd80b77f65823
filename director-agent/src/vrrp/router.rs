//! One VRRP instance of this host: carries out what the state machine says, and keeps count.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use fulcrum_model::Name;
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_vrrp::family::is_link_local;
use fulcrum_vrrp::group::Witness;
use fulcrum_vrrp::placement::Vip;
use fulcrum_vrrp::{
    Change, Config, Datagram, Family, Hold, HoldInput, HoldTimes, Input, Instance, Output, Outputs,
    Place, Relay, RelayInput, Role, WallClock,
};

use super::rivals::Rivals;
use super::sockets::AdvertSocket;
use super::tracking::Standing;
use crate::addresses::{Interface, View};
use places::is_on;

mod grouped;
mod neighbours;
mod places;
mod tell;

/// After its VIPs could not be set, an instance leaves the field to others for this long.
const BLOCKED: Duration = Duration::from_secs(10);

/// One VRRP instance of this host.
pub(super) struct Router {
    name: Name,
    plan: VrrpInstancePlan,
    /// Its VIPs by the interface on which neighbours see them.
    seen_vips: Vec<Vip>,
    instance: Instance,
    hold: Hold,
    /// Where the VIPs are while they wait for the relay to be in place.
    waits_at: Option<Place>,
    relay: Option<Relay>,
    /// The virtual MAC is still the predecessor's: no switch may learn that it is here before the
    /// VIPs are.
    mac_waits: bool,
    times: HoldTimes,
    is_leaving: bool,
    since: SystemTime,
    /// Sender of the last advert that counted.
    heard_from: Option<IpAddr>,
    /// Why it cannot run.
    obstacle: Option<String>,
    blocked_until: Option<Duration>,
    /// Why packets to its VIPs cannot be dropped, where they are to be.
    not_closed: Option<String>,
    /// What its tracked targets come to.
    standing: Option<Standing>,
    /// What its sync group must know.
    witness: Witness,
    /// What packets show, until when it stays in the status, by kind.
    shown: BTreeMap<&'static str, (Duration, String)>,
    log_from: Duration,
    rivals: Rivals,
    /// Others' claims count from then on: until then the one that was relieved may still speak.
    rivals_from: Duration,
    became_active: u64,
    adverts_sent: u64,
    adverts_received: u64,
    discarded: BTreeMap<&'static str, u64>,
    announce: bool,
    has_changed: bool,
}

impl Router {
    /// `started`: when the agent did.
    pub(super) fn new(plan: VrrpInstancePlan, config: Config, started: Duration) -> Self {
        let mut router = Self {
            name: plan.name.clone(),
            times: HoldTimes::of(&config.wire),
            instance: Instance::new(config).started(started),
            plan,
            seen_vips: Vec::new(),
            hold: Hold::Absent,
            waits_at: None,
            relay: None,
            mac_waits: false,
            is_leaving: false,
            since: SystemTime::now(),
            heard_from: None,
            obstacle: None,
            blocked_until: None,
            not_closed: None,
            standing: None,
            witness: Witness::default(),
            shown: BTreeMap::new(),
            log_from: Duration::ZERO,
            rivals: Rivals::default(),
            rivals_from: Duration::ZERO,
            became_active: 0,
            adverts_sent: 0,
            adverts_received: 0,
            discarded: BTreeMap::new(),
            announce: false,
            has_changed: true,
        };
        router.seen_vips = router.find_seen();
        router
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn plan(&self) -> &VrrpInstancePlan {
        &self.plan
    }

    pub(super) fn interface(&self) -> &str {
        &self.plan.interface
    }

    pub(super) fn family(&self) -> Family {
        self.instance.config().family()
    }

    pub(super) fn vrid(&self) -> u8 {
        self.plan.vrid.get()
    }

    pub(super) fn refresh(&self) -> Duration {
        self.times.refresh()
    }

    /// Longest that leaving on purpose takes.
    pub(super) fn handover_time(&self) -> Duration {
        self.times.successor_wait + self.times.linger
    }

    /// Whether a planned stop is over.
    pub(super) fn is_released(&self) -> bool {
        self.hold.is_released()
    }

    /// Whether its status or the place of its VIPs has changed since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Whether [`Self::look`] may come to something else than last time, the view and the plans
    /// being the same.
    pub(super) fn wants_look(&self, now: Duration) -> bool {
        self.has_changed || self.blocked_until.is_some_and(|until| now >= until)
    }

    /// When it next wants a turn.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let relay = self.relay.and_then(|relay| relay.deadline(now));
        let timers = [self.instance.deadline(), self.hold.deadline(), self.blocked_until, relay];
        timers.into_iter().flatten().min()
    }

    /// Starts or stops as its interface allows.
    pub(super) fn look(
        &mut self,
        now: Duration,
        view: &View,
        vips: &BTreeSet<IpAddr>,
        socket: Option<Result<&AdvertSocket, &io::Error>>,
    ) {
        if self.blocked_until.is_some_and(|until| now >= until) {
            self.blocked_until = None;
        }
        let interface = view.interfaces.get(&self.plan.interface);
        if let Some(own) = interface.and_then(|interface| self.link_local(interface, vips)) {
            self.instance.set_source(own);
        }
        let obstacle = self.find_obstacle(interface, socket);
        if self.obstacle != obstacle {
            self.obstacle = obstacle;
            self.has_changed = true;
        }
        let not_closed = self.closed().find_map(|address| view.not_closed.get(&address).cloned());
        self.has_changed |= self.not_closed != not_closed;
        self.not_closed = not_closed;
        if self.waits_at.is_none() && self.vips().all(|vip| is_on(view, &vip)) {
            self.mac_waits = false;
        }
        let socket = socket.and_then(Result::ok);
        let failure = self.vips().find_map(|vip| view.failures.get(&vip).cloned());
        let is_active = self.instance.role() == Role::Active;
        if let Some(failure) = failure.filter(|_| is_active && self.obstacle.is_none()) {
            // Without its VIPs an Active is a black hole: another router shall serve.
            self.show(now, "address", failure);
            self.blocked_until = Some(now + BLOCKED);
            self.step(now, Input::Shutdown, socket);
            self.hold_step(now, HoldInput::Down);
        }
        if self.fault().is_some() && self.instance.role() != Role::Initialize {
            // This host lives, so it leaves as on a planned stop.
            self.step(now, Input::Shutdown, socket);
        }
        match (self.is_ready(), self.instance.role()) {
            // A member of a sync group begins with the others.
            (true, Role::Initialize) if self.wait().is_some() || self.group().is_some() => {}
            (true, Role::Initialize) => self.begin(now, view, socket),
            (false, Role::Backup | Role::Active) => self.step(now, Input::Down, socket),
            (false, Role::Initialize) if self.obstacle.is_some() => {
                self.hold_step(now, HoldInput::Down);
            }
            (false, Role::Initialize) | (true, Role::Backup | Role::Active) => {}
        }
    }

    /// The interface's own link-local address, which is none of the VIPs; the one that is in use for
    /// as long as it is there.
    fn link_local(&self, interface: &Interface, vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let own = interface.addresses.iter().map(|(address, _)| *address);
        let own = own.filter(|address| is_link_local(*address) && !vips.contains(address));
        let source = self.instance.source();
        own.clone().find(|address| *address == source).or_else(|| own.clone().next())
    }

    /// Whether nothing forbids to be Active.
    fn is_ready(&self) -> bool {
        self.obstacle.is_none()
            && self.blocked_until.is_none()
            && self.fault().is_none()
            && !self.is_leaving
    }

    fn begin(&mut self, now: Duration, view: &View, socket: Option<&AdvertSocket>) {
        if self.vips().any(|vip| is_on(view, &vip)) {
            self.hold_step(now, HoldInput::Found);
        }
        let was_active_ago = self.vips().filter_map(|vip| view.renewed_ago(&vip)).min();
        let resumes = was_active_ago.is_some_and(|ago| self.instance.can_resume(ago));
        let input = if resumes { Input::Resume } else { Input::Up };
        self.step(now, input, socket);
    }

    /// Takes what its tracked targets come to.
    pub(super) fn track(
        &mut self,
        now: Duration,
        standing: Standing,
        socket: Option<&AdvertSocket>,
    ) {
        let priority = standing.effective.priority;
        if self.standing.as_ref() == Some(&standing) {
            return;
        }
        self.standing = Some(standing);
        self.has_changed = true;
        let before = self.instance.priority();
        if before != priority {
            tracing::info!(vrrp_instance = %self.name, %before, now = %priority, "VRRP priority");
            self.step(now, Input::Priority(priority), socket);
        }
    }

    /// Why it must not be Active.
    fn fault(&self) -> Option<&String> {
        let tracked = || self.standing.as_ref()?.effective.fault.as_ref();
        self.not_closed.as_ref().or_else(tracked)
    }

    /// Why it must not leave Initialize yet.
    fn wait(&self) -> Option<&String> {
        self.standing.as_ref()?.effective.wait.as_ref()
    }

    /// Takes a packet that names its VRID.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        datagram: &Datagram<'_>,
        socket: Option<&AdvertSocket>,
    ) {
        let received = match self.instance.receive(now, wall(), datagram) {
            Ok(received) => received,
            Err(reason) => return self.discard(now, reason, datagram.source),
        };
        let source = received.source;
        if received.lists_other_addresses {
            let vrid = self.plan.vrid;
            let theirs = &received.advert.addresses;
            self.show(
                now,
                "address_list",
                format!(
                    "{source} advertises VRID {vrid} for {theirs:?}, not for this instance's VIPs: \
                 make the VIPs equal, or give one of the virtual routers another VRID"
                ),
            );
        }
        if self.heard_from != Some(source) {
            self.heard_from = Some(source);
            self.has_changed = true;
        }
        if received.advert.priority > 0 {
            self.hold_step(now, HoldInput::Heard);
        }
        self.adverts_received += 1;
        self.step(now, Input::Advert { source, advert: &received.advert }, socket);
        let priority = received.advert.priority;
        self.witness.note_advert(now, &self.instance, source, priority);
    }

    /// Takes its turn after the packets.
    pub(super) fn tick(&mut self, now: Duration, socket: Option<&AdvertSocket>) {
        self.step(now, Input::Tick, socket);
        self.hold_step(now, HoldInput::Tick);
    }

    /// Leaves its role on purpose.
    pub(super) fn leave(&mut self, now: Duration, socket: Option<&AdvertSocket>) {
        self.is_leaving = true;
        self.step(now, Input::Shutdown, socket);
    }

    /// Whether a plan can be taken in place: for the same virtual router on the same interface.
    pub(super) fn can_become(&self, plan: &VrrpInstancePlan, config: &Config) -> bool {
        plan.interface == self.plan.interface && self.instance.config().is_same_router(config)
    }

    /// Takes a plan in place, when [`Self::can_become`] it.
    pub(super) fn reconfigure(
        &mut self,
        now: Duration,
        plan: VrrpInstancePlan,
        config: Config,
        socket: Option<&AdvertSocket>,
    ) {
        if let Ok(outputs) = self.instance.reconfigure(now, config) {
            self.plan = plan;
            self.seen_vips = self.find_seen();
            self.times = HoldTimes::of(&self.instance.config().wire);
            self.has_changed = true;
            self.carry_out(now, outputs, false, socket);
        }
    }

    /// Leaves a living Active alone that it outranks, or no longer.
    pub(super) fn hold_preemption(
        &mut self,
        now: Duration,
        is_held: bool,
        socket: Option<&AdvertSocket>,
    ) {
        self.step(now, Input::HoldPreemption(is_held), socket);
    }

    /// Takes the VIPs over from a router that it replaces: they stay where they are until it is
    /// known who is Active.
    pub(super) fn adopt(&mut self, now: Duration, other: &Self) {
        let is_same_interface = self.home() == other.home();
        if is_same_interface && other.hold.place() == Place::Interface {
            self.hold_step(now, HoldInput::Found);
        }
    }

    fn step(&mut self, now: Duration, input: Input<'_>, socket: Option<&AdvertSocket>) {
        let is_planned = matches!(input, Input::Shutdown);
        let outputs = self.instance.step(now, input);
        self.carry_out(now, outputs, is_planned, socket);
        let input = match self.instance.role() {
            Role::Backup => RelayInput::Foreseen(self.instance.predecessor(now)),
            Role::Active => RelayInput::Tick,
            Role::Initialize => RelayInput::Down,
        };
        self.relay_step(now, input);
        let waits = self.relay.is_some_and(|relay| !relay.is_ready(now));
        if self.waits_at.is_some() && !(waits && self.hold == Hold::Held) {
            self.waits_at = None;
            self.has_changed = true;
        }
    }

    fn carry_out(
        &mut self,
        now: Duration,
        outputs: Outputs,
        is_planned: bool,
        socket: Option<&AdvertSocket>,
    ) {
        for output in outputs {
            match output {
                Output::Role(change) => {
                    tracing::info!(
                        vrrp_instance = %self.name,
                        role = ?change.role(),
                        why = ?change,
                        "VRRP role"
                    );
                    self.since = SystemTime::now();
                    self.rivals_from = now + self.times.linger;
                    self.witness.note_change(now, change);
                    self.became_active += u64::from(change.role() == Role::Active);
                    self.has_changed = true;
                    let place = self.hold.place();
                    if let Some(input) = HoldInput::of(change, is_planned) {
                        self.hold_step(now, input);
                    }
                    self.mac_waits = false;
                    if let Change::Active { predecessor } = change {
                        self.mac_waits = predecessor.is_some();
                        let linger = self.times.linger;
                        self.relay_step(now, RelayInput::Active { predecessor, linger });
                        let waits = self.relay.is_some_and(|relay| !relay.is_ready(now));
                        self.waits_at = waits.then_some(place);
                    }
                }
                Output::Advertise { priority } => self.advertise(now, priority, socket),
                Output::Announce => {
                    self.announce = true;
                    self.has_changed = true;
                }
                Output::Relieve { router } => {
                    let (predecessor, linger) = (Some(router), self.times.linger);
                    self.relay_step(now, RelayInput::Active { predecessor, linger });
                }
                Output::Discard(reason) => {
                    self.adverts_received = self.adverts_received.saturating_sub(1);
                    *self.discarded.entry(reason.label()).or_default() += 1;
                }
            }
        }
    }

    fn hold_step(&mut self, now: Duration, input: HoldInput) {
        let hold = self.hold.step(now, self.times, input);
        if hold != self.hold {
            tracing::debug!(vrrp_instance = %self.name, from = ?self.hold, to = ?hold, "VIPs");
            self.hold = hold;
            self.has_changed = true;
        }
    }

    fn relay_step(&mut self, now: Duration, input: RelayInput) {
        let relay = Relay::step(self.relay, now, input);
        self.has_changed |= relay != self.relay;
        self.relay = relay;
    }

    fn advertise(&mut self, now: Duration, priority: u8, socket: Option<&AdvertSocket>) {
        let Some(socket) = socket else { return };
        let mut failure = None;
        let mut sent = 0;
        let source = self.instance.source();
        // A unicast peer's MAC is known to the kernel alone, which sends with the interface's own.
        let has_group = self.plan.unicast_peers.is_empty();
        let mac = self.mac().filter(|_| has_group && !self.mac_waits);
        self.instance.advertise(now, wall(), priority, |destination, packet| {
            let sent_one = match mac {
                Some(mac) => socket.send_from(mac, packet, source, destination),
                None => socket.send(packet, source, destination),
            };
            match sent_one {
                Ok(()) => sent += 1,
                Err(error) => failure = Some((destination, error)),
            }
        });
        self.adverts_sent += sent;
        if let Some((destination, error)) = failure {
            let interface = &self.plan.interface;
            let text = format!(
                "cannot send an advert to {destination} on {interface}: {error}; other directors \
                 may take over: check `ip route get {destination}` and the firewall"
            );
            self.show(now, "send", text);
        }
    }
}

/// The wall clock, for the time in HMAC trailers.
fn wall() -> WallClock {
    // A clock before 1970 is a clock that was never set.
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    WallClock(since_1970.unwrap_or_default())
}
