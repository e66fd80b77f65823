//! The writer's turn: hears of changes, takes orders, edits the kernel, announces.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use fulcrum_vrrp::Place;
use fulcrum_vrrp::family::is_link_local;
use fulcrum_vrrp::placement::{self, Edit, Observed, Vip};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::accept::Gate;
use super::journal::{Entries, Journal};
use super::kernel::{self, Kernel};
use super::netlink::{Heard, RouteSocket};
use super::pacing::Pacing;
use super::{Order, Target, View, arp_quiet};
use crate::vrrp::sockets::AnnounceSocket;
use crate::vrrp::wake::Inbox;

mod announce;
mod devices;
mod relays;

/// Everything is read again this often, should a notification have been missed.
const RESYNC: Duration = Duration::from_mins(1);
/// The loopback interface.
const LOOPBACK: &str = "lo";

pub(super) struct Writer {
    started: Instant,
    /// How long ago addresses had been renewed at the start.
    renewed: BTreeMap<(String, IpAddr), Duration>,
    requests: RouteSocket,
    notifications: RouteSocket,
    kernel: Kernel,
    journal: Journal,
    order: Order,
    ordered_at: Instant,
    read_at: Instant,
    failures: BTreeMap<Vip, String>,
    /// Interfaces whose ARP cannot be made quiet: their VIPs are removed without a linger.
    unquiet: BTreeSet<String>,
    /// Interfaces that have the hook for relay filters, by name and number.
    hooks: BTreeSet<(String, u32)>,
    /// The kernel cannot mark packets; it is said once.
    relay_fails: bool,
    /// By interface name and number.
    announcers: BTreeMap<(String, u32), AnnounceSocket>,
    pacing: Pacing,
    gate: Gate,
    /// An instance was to run since the start: orders name all that is to be closed.
    has_run: bool,
    reported: Option<View>,
}

impl Writer {
    /// Listens to the kernel, and reads what it has.
    ///
    /// # Errors
    /// When the sockets cannot be made, or the kernel's tables cannot be read.
    pub(super) fn open(state_dir: &Path, boot_id: &str) -> io::Result<Self> {
        // Listen before reading, so that no change falls between.
        let notifications = RouteSocket::for_notifications(kernel::GROUPS)?;
        let mut requests = RouteSocket::for_requests()?;
        let (kernel, renewals) = Kernel::read_with_renewals(&mut requests)?;
        let started = Instant::now();
        let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let age = |(key, renewed): ((String, IpAddr), u32)| (key, age_of(renewed, uptime));
        let renewed = renewals.into_iter().map(age).collect();
        Ok(Self {
            started,
            renewed,
            requests,
            notifications,
            kernel,
            journal: Journal::open(state_dir, boot_id),
            order: Order::default(),
            ordered_at: Instant::now(),
            read_at: Instant::now(),
            failures: BTreeMap::new(),
            unquiet: BTreeSet::new(),
            hooks: BTreeSet::new(),
            relay_fails: false,
            announcers: BTreeMap::new(),
            pacing: Pacing::default(),
            gate: Gate::new(),
            has_run: false,
            reported: None,
        })
    }

    /// Orders and notifications, or the time to read again. None when nobody can order any more.
    pub(super) fn wait(&mut self, inbox: &Inbox<Order>) -> Option<Vec<Order>> {
        let now = Instant::now();
        let rest = RESYNC.saturating_sub(self.read_at.elapsed());
        let others = [self.pacing.next_in(now), self.gate.retry_in(now)];
        let rest = others.into_iter().flatten().fold(rest, Duration::min);
        let fds = [inbox.as_fd(), self.notifications.as_fd()].into_iter().chain(self.gate.fd());
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interrupted or failed wait is a turn with nothing to do.
        let _ = ppoll(&mut fds, Some(TimeSpec::from(rest)), None);
        inbox.take()
    }

    pub(super) fn turn(&mut self, orders: Vec<Order>) {
        match self.notifications.notifications() {
            Ok(Heard::Messages(messages)) => {
                for message in &messages {
                    self.kernel.note(message);
                }
            }
            Ok(Heard::Lost) => self.read(),
            Err(error) => {
                tracing::warn!(%error, "cannot hear of changes of addresses; they are read again");
                self.read();
            }
        }
        if self.read_at.elapsed() >= RESYNC {
            self.read();
        }
        self.gate.hear();
        let mut announce = BTreeSet::new();
        let mut refresh = false;
        for order in orders {
            announce.extend(order.announce.iter().cloned());
            refresh |= order.refresh;
            // What an order does not name any more is to be removed.
            let forgotten = std::mem::take(&mut self.order).vips.into_keys();
            self.order = order;
            self.has_run |= !self.order.hooks.is_empty();
            for vip in forgotten {
                let nowhere =
                    Target { place: Place::Nowhere, lifetime: Duration::ZERO, gap: Duration::ZERO };
                self.order.vips.entry(vip).or_insert(nowhere);
            }
            self.ordered_at = Instant::now();
            self.unquiet.clear();
        }
        if self.order.serial == 0 {
            // Nothing is ours before the first order.
            return;
        }
        if refresh {
            self.refresh();
        }
        self.keep_hooks();
        self.relay();
        self.gate.widen(Instant::now(), &mut self.journal, &self.order.closed);
        self.keep_devices();
        announce.extend(self.place());
        if self.rest_devices() {
            // ARP of the interfaces below is restored.
            announce.extend(self.place());
        }
        if self.has_run || self.started.elapsed() >= RESYNC {
            self.gate.narrow(Instant::now(), &mut self.journal, &self.order.closed);
        }
        self.pace(announce);
        self.forget();
    }

    fn read(&mut self) {
        self.gate.doubt();
        self.read_at = Instant::now();
        match Kernel::read(&mut self.requests) {
            Ok(kernel) => self.kernel = kernel,
            Err(error) => tracing::warn!(%error, "cannot read the addresses of this host"),
        }
    }

    /// Begins the lifetimes of the VIPs on their interfaces anew.
    fn refresh(&mut self) {
        let held = self.order.vips.iter().filter(|(_, target)| target.place == Place::Interface);
        let held: Vec<Vip> = held.map(|(vip, _)| vip.clone()).collect();
        for vip in held {
            let index = self.kernel.index(&vip.interface);
            if index.is_some_and(|index| self.kernel.has(index, vip.address, vip.prefix_length)) {
                self.add(&vip);
            }
        }
    }

    /// Brings each VIP to its place; gives those that are new on their interface.
    fn place(&mut self) -> Vec<Vip> {
        let sysctls = Path::new(arp_quiet::SYSCTLS);
        let mut added = Vec::new();
        for edit in placement::edits(&self.desired(), &self.observed()) {
            match edit {
                Edit::Quiet(interface) => {
                    if let Err(error) = arp_quiet::quiet(&mut self.journal, sysctls, &interface) {
                        tracing::warn!(
                            interface,
                            %error,
                            "cannot keep ARP quiet: VIPs are removed at once, and packets of \
                             connections in flight may be lost; make /proc/sys/net writable"
                        );
                        self.unquiet.insert(interface);
                        // The plan has changed: begin again without the linger.
                        added.extend(self.place());
                        return added;
                    }
                }
                Edit::AddLoopback(vip) => self.add_loopback(vip),
                Edit::RemoveLoopback(vip) => self.remove_loopback(vip),
                Edit::RemoveInterface(vip) => self.remove(&vip),
                Edit::AddInterface(vip) => {
                    if self.add(&vip) {
                        added.push(vip);
                    }
                }
                Edit::Restore(interface) if self.is_below_device(&interface) => {}
                Edit::Restore(interface) => {
                    if let Err(error) = arp_quiet::restore(&mut self.journal, sysctls, &interface) {
                        tracing::warn!(interface, %error, "cannot restore the ARP settings");
                    }
                }
            }
        }
        added
    }

    fn desired(&self) -> BTreeMap<Vip, Place> {
        let age = self.ordered_at.elapsed();
        let place = |(vip, target): (&Vip, &Target)| match target.place {
            // Whoever orders has been silent for too long: the kernel may withdraw the VIP, and it
            // is not put back.
            Place::Interface if age >= target.lifetime => None,
            Place::Interface | Place::Loopback if self.is_open(vip.address) => {
                Some((vip.clone(), Place::Nowhere))
            }
            Place::Loopback if self.unquiet.contains(&vip.interface) => {
                Some((vip.clone(), Place::Nowhere))
            }
            Place::Interface | Place::Loopback | Place::Nowhere => {
                Some((vip.clone(), target.place))
            }
        };
        self.order.vips.iter().filter_map(place).collect()
    }

    /// Whether an address that is to be closed is not.
    fn is_open(&self, address: IpAddr) -> bool {
        self.order.closed.contains(&address) && !self.gate.closes(address)
    }

    fn observed(&self) -> Observed {
        let quiet = self.journal.entries().quiet.keys().cloned().collect();
        let mut observed = Observed { quiet, ..Observed::default() };
        let wanted: BTreeSet<IpAddr> = self.order.vips.keys().map(|vip| vip.address).collect();
        for (name, interface) in self.kernel.interfaces() {
            for (address, prefix_length) in interface.addresses {
                if name == LOOPBACK {
                    observed.on_loopback.insert(address);
                } else if wanted.contains(&address) {
                    let interface = name.clone();
                    observed.on_interfaces.insert(Vip { interface, address, prefix_length });
                }
            }
        }
        let ours = self.journal.entries().loopback.intersection(&observed.on_loopback);
        observed.ours_on_loopback = ours.copied().collect();
        observed
    }

    fn add(&mut self, vip: &Vip) -> bool {
        let lifetime = self.order.vips.get(vip).map_or(Duration::ZERO, |target| target.lifetime);
        let Some(index) = self.kernel.index(&vip.interface) else {
            // The instance waits for its interface, and says so.
            return false;
        };
        let mut message = message(index, vip.address, vip.prefix_length, lifetime);
        if self.order.devices.contains_key(&vip.interface) && !is_link_local(vip.address) {
            // What the host sends leaves by the interface below, whose route stays the only one.
            let flags = u32::from(message.header.flags.bits());
            let flags = AddressFlags::from_bits_retain(flags) | AddressFlags::Noprefixroute;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        match self.requests.change(RouteNetlinkMessage::NewAddress(message), flags) {
            Ok(()) => {
                self.kernel.set(index, vip.address, vip.prefix_length, true);
                self.failures.remove(vip);
                true
            }
            Err(error) => {
                let Vip { interface, address, prefix_length } = vip;
                let problem = format!(
                    "cannot add {address}/{prefix_length} to {interface}: {error}; try `ip address \
                     add {address}/{prefix_length} dev {interface}` to see the kernel's reason"
                );
                tracing::error!(vip = %address, interface, %error, "cannot add the VIP");
                self.failures.insert(vip.clone(), problem);
                false
            }
        }
    }

    fn remove(&mut self, vip: &Vip) {
        let Some(index) = self.kernel.index(&vip.interface) else { return };
        self.delete(index, vip.address, vip.prefix_length);
    }

    fn add_loopback(&mut self, vip: IpAddr) {
        let Some(index) = self.kernel.index(LOOPBACK) else { return };
        self.note(|entries| {
            entries.loopback.insert(vip);
        });
        let targets = self.order.vips.iter().filter(|(other, _)| other.address == vip);
        let lifetime = targets.map(|(_, target)| target.lifetime).max().unwrap_or_default();
        let mut message = message(index, vip, host_prefix(vip), lifetime);
        message.header.scope = AddressScope::Host;
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        match self.requests.change(RouteNetlinkMessage::NewAddress(message), flags) {
            Ok(()) => self.kernel.set(index, vip, host_prefix(vip), true),
            Err(error) => tracing::warn!(
                %vip,
                %error,
                "cannot keep the VIP on loopback: packets of connections in flight may be lost"
            ),
        }
    }

    fn remove_loopback(&mut self, vip: IpAddr) {
        let Some(index) = self.kernel.index(LOOPBACK) else { return };
        self.delete(index, vip, host_prefix(vip));
        self.note(|entries| {
            entries.loopback.remove(&vip);
        });
    }

    fn delete(&mut self, index: u32, address: IpAddr, prefix_length: u8) {
        let message = message(index, address, prefix_length, Duration::ZERO);
        match self.requests.change(RouteNetlinkMessage::DelAddress(message), 0) {
            Ok(()) => self.kernel.set(index, address, prefix_length, false),
            Err(error) if error.raw_os_error() == Some(nix::libc::EADDRNOTAVAIL) => {
                self.kernel.set(index, address, prefix_length, false);
            }
            Err(error) => tracing::error!(vip = %address, %error, "cannot remove the VIP"),
        }
    }

    /// Drops what is done: VIPs that are nowhere, sockets of interfaces that are gone.
    fn forget(&mut self) {
        let kernel = &self.kernel;
        let is_there = |vip: &Vip| {
            let index = kernel.index(&vip.interface);
            index.is_some_and(|index| kernel.has(index, vip.address, vip.prefix_length))
        };
        self.order.vips.retain(|vip, target| target.place != Place::Nowhere || is_there(vip));
        let vips = &self.order.vips;
        self.failures.retain(|vip, _| vips.contains_key(vip));
        let lo = kernel.index(LOOPBACK);
        let has_left = |vip: &IpAddr| lo.is_none_or(|lo| !kernel.has(lo, *vip, host_prefix(*vip)));
        let gone: BTreeSet<IpAddr> =
            self.journal.entries().loopback.iter().copied().filter(has_left).collect();
        self.note(|entries| entries.loopback.retain(|vip| !gone.contains(vip)));
        let kernel = &self.kernel;
        self.announcers.retain(|(name, index), _| kernel.index(name) == Some(*index));
    }

    fn note(&mut self, edit: impl FnOnce(&mut Entries)) {
        if let Err(error) = self.journal.edit(edit) {
            tracing::warn!(%error, "cannot write down what a hand-over changes on this host");
        }
    }

    pub(super) fn report(&mut self, report: &impl Fn(View)) {
        let open = self.gate.failure().into_iter().flat_map(|reason| {
            let open = self.order.closed.iter().filter(|address| self.is_open(**address));
            open.map(move |address| (*address, reason.clone()))
        });
        let view = View {
            serial: self.order.serial,
            interfaces: self.kernel.interfaces(),
            renewed: self.renewed.clone(),
            started: Some(self.started),
            failures: self.failures.clone(),
            not_closed: open.collect(),
        };
        if self.reported.as_ref() != Some(&view) {
            self.reported = Some(view.clone());
            report(view);
        }
    }
}

/// How long before `uptime` a time stamp is, which counts hundredths of a second and begins again
/// after 497 days.
fn age_of(stamp: u32, uptime: Duration) -> Duration {
    let now = u32::try_from(uptime.as_millis() / 10 % (1 << 32)).unwrap_or_default();
    // The stamp may be a tick ahead of the clock.
    let age = now.wrapping_sub(stamp);
    if age > u32::MAX / 2 { Duration::ZERO } else { Duration::from_millis(u64::from(age) * 10) }
}

/// An address as netlink has it; a lifetime of zero is left out.
fn message(index: u32, address: IpAddr, prefix: u8, lifetime: Duration) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    if address.is_ipv6() {
        // A VIP moves while the other director may still have it: duplicate address detection would
        // keep it unusable for a second, or for good.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    if !lifetime.is_zero() {
        let mut cache = CacheInfo::default();
        // Whole seconds, rounded up.
        let seconds = u32::try_from(lifetime.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        cache.ifa_valid = seconds;
        // The host's own connections come from another address of it: those from a VIP would break
        // at a hand-over (RFC 6724 §5 rule 3).
        cache.ifa_preferred = if address.is_ipv6() { 0 } else { seconds };
        message.attributes.push(AddressAttribute::CacheInfo(cache));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Prefix length of a single address.
fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_of_the_host_comes_from_an_ipv6_vip() {
        for (vip, expected) in [("10.0.0.150", (3, 3)), ("fd00::64", (3, 0))] {
            let vip = vip.parse().expect("an address");
            let message = message(2, vip, host_prefix(vip), Duration::from_millis(2500));
            let lifetimes = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::CacheInfo(cache) => Some((cache.ifa_valid, cache.ifa_preferred)),
                _ => None,
            });
            assert_eq!(lifetimes, Some(expected), "{vip}");
        }
    }

    #[test]
    fn stamps_have_an_age() {
        let ms = Duration::from_millis;
        for (stamp, uptime, age) in [
            (100, ms(1500), ms(500)),
            (151, ms(1500), ms(0)),
            (u32::MAX, ms(90), ms(100)),
            (0, ms(429_496_729_600), ms(429_496_729_600 % 42_949_672_960)),
        ] {
            assert_eq!(age_of(stamp, uptime), age, "{stamp} {uptime:?}");
        }
    }
}
