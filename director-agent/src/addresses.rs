//! The one writer of addresses: puts VIPs where they belong, announces them, and tells what it
//! sees.
//!
//! It runs on its own thread, because the kernel may make a change wait for another program's; so
//! adverts never wait for it. Orders are whole: the newest counts, and an address that is not named
//! any more is removed. A VIP has a finite lifetime in the kernel, which only a new order
//! refreshes: when this program dies or hangs, the kernel withdraws its VIPs.

mod arp_quiet;
mod kernel;
mod netlink;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use fulcrum_vrrp::Place;
use fulcrum_vrrp::placement::{self, Edit, Observed, Vip};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope, CacheInfo};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::vrrp::sockets::AnnounceSocket;
use crate::vrrp::wake::{Inbox, Outbox, mailbox};
use arp_quiet::ArpQuiet;
pub use kernel::Interface;
use kernel::Kernel;
use netlink::{Heard, RouteSocket};

/// Everything is read again this often, should a notification have been missed.
const RESYNC: Duration = Duration::from_mins(1);
/// The loopback interface.
const LOOPBACK: &str = "lo";

/// What is wanted of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it belongs.
    pub(crate) place: Place,
    /// How long the kernel keeps it without another order.
    pub(crate) lifetime: Duration,
}

/// All that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Counts orders.
    pub(crate) serial: u64,
    /// Every VIP that is ours to place.
    pub(crate) vips: BTreeMap<Vip, Target>,
    /// Those to announce once they are set.
    pub(crate) announce: BTreeSet<Vip>,
    /// Begin lifetimes anew.
    pub(crate) refresh: bool,
}

/// What the writer sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Serial of the last order that was carried out.
    pub(crate) serial: u64,
    /// Every interface by name.
    pub(crate) interfaces: BTreeMap<String, Interface>,
    /// VIPs that could not be set, with the reason.
    pub(crate) failures: BTreeMap<Vip, String>,
}

/// Starts the writer; `report` is called whenever its view changes, first with the view at start.
///
/// # Errors
/// When sockets or the thread cannot be made, or the kernel's tables cannot be read.
pub(crate) fn spawn(
    state_dir: &Path,
    boot_id: &str,
    report: impl Fn(View) + Send + 'static,
) -> io::Result<Outbox<Order>> {
    let (outbox, inbox) = mailbox()?;
    // Listen before reading, so that no change falls between.
    let notifications = RouteSocket::for_notifications(kernel::GROUPS)?;
    let mut requests = RouteSocket::for_requests()?;
    let kernel = Kernel::read(&mut requests)?;
    let mut writer = Writer {
        requests,
        notifications,
        kernel,
        arp: ArpQuiet::open(state_dir, boot_id),
        order: Order::default(),
        ordered_at: Instant::now(),
        read_at: Instant::now(),
        failures: BTreeMap::new(),
        unquiet: BTreeSet::new(),
        announcers: BTreeMap::new(),
        reported: None,
    };
    writer.report(&report);
    std::thread::Builder::new().name("addresses".to_owned()).spawn(move || {
        while let Some(orders) = writer.wait(&inbox) {
            writer.turn(orders);
            writer.report(&report);
        }
    })?;
    Ok(outbox)
}

struct Writer {
    requests: RouteSocket,
    notifications: RouteSocket,
    kernel: Kernel,
    arp: ArpQuiet,
    order: Order,
    ordered_at: Instant,
    read_at: Instant,
    failures: BTreeMap<Vip, String>,
    /// Interfaces whose ARP cannot be made quiet: their VIPs are removed without a linger.
    unquiet: BTreeSet<String>,
    /// By interface name and number.
    announcers: BTreeMap<(String, u32), AnnounceSocket>,
    reported: Option<View>,
}

impl Writer {
    /// Orders and notifications, or the time to read again. None when nobody can order any more.
    fn wait(&mut self, inbox: &Inbox<Order>) -> Option<Vec<Order>> {
        let rest = RESYNC.saturating_sub(self.read_at.elapsed());
        let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(inbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.notifications.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted or failed wait is a turn with nothing to do.
        let _ = poll(&mut fds, timeout);
        inbox.take()
    }

    fn turn(&mut self, orders: Vec<Order>) {
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
        let mut announce = BTreeSet::new();
        let mut refresh = false;
        for order in orders {
            announce.extend(order.announce.iter().cloned());
            refresh |= order.refresh;
            // What an order does not name any more is to be removed.
            let forgotten = std::mem::take(&mut self.order).vips.into_keys();
            self.order = order;
            for vip in forgotten {
                let nowhere = Target { place: Place::Nowhere, lifetime: Duration::ZERO };
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
        announce.extend(self.place());
        for vip in announce {
            self.announce(&vip);
        }
        self.forget();
    }

    fn read(&mut self) {
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
        let mut added = Vec::new();
        for edit in placement::edits(&self.desired(), &self.observed()) {
            match edit {
                Edit::Quiet(interface) => {
                    if let Err(error) = self.arp.quiet(&interface) {
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
                Edit::Restore(interface) => {
                    if let Err(error) = self.arp.restore(&interface) {
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
            Place::Loopback if self.unquiet.contains(&vip.interface) => {
                Some((vip.clone(), Place::Nowhere))
            }
            Place::Interface | Place::Loopback | Place::Nowhere => {
                Some((vip.clone(), target.place))
            }
        };
        self.order.vips.iter().filter_map(place).collect()
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed { quiet: self.arp.interfaces(), ..Observed::default() };
        let wanted: BTreeSet<Ipv4Addr> = self.order.vips.keys().map(|vip| vip.address).collect();
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
        let ours = self.arp.loopback().intersection(&observed.on_loopback);
        observed.ours_on_loopback = ours.copied().collect();
        observed
    }

    fn add(&mut self, vip: &Vip) -> bool {
        let lifetime = self.order.vips.get(vip).map_or(Duration::ZERO, |target| target.lifetime);
        let Some(index) = self.kernel.index(&vip.interface) else {
            // The instance waits for its interface, and says so.
            return false;
        };
        let message = message(index, vip.address, vip.prefix_length, lifetime);
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

    fn add_loopback(&mut self, vip: Ipv4Addr) {
        let Some(index) = self.kernel.index(LOOPBACK) else { return };
        if let Err(error) = self.arp.note(vip, true) {
            tracing::warn!(%vip, %error, "cannot note that the VIP is on loopback");
        }
        let targets = self.order.vips.iter().filter(|(other, _)| other.address == vip);
        let lifetime = targets.map(|(_, target)| target.lifetime).max().unwrap_or_default();
        let mut message = message(index, vip, 32, lifetime);
        message.header.scope = AddressScope::Host;
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        match self.requests.change(RouteNetlinkMessage::NewAddress(message), flags) {
            Ok(()) => self.kernel.set(index, vip, 32, true),
            Err(error) => tracing::warn!(
                %vip,
                %error,
                "cannot keep the VIP on loopback: packets of connections in flight may be lost"
            ),
        }
    }

    fn remove_loopback(&mut self, vip: Ipv4Addr) {
        let Some(index) = self.kernel.index(LOOPBACK) else { return };
        self.delete(index, vip, 32);
        if let Err(error) = self.arp.note(vip, false) {
            tracing::warn!(%vip, %error, "cannot note that the VIP has left loopback");
        }
    }

    fn delete(&mut self, index: u32, address: Ipv4Addr, prefix_length: u8) {
        let message = message(index, address, prefix_length, Duration::ZERO);
        match self.requests.change(RouteNetlinkMessage::DelAddress(message), 0) {
            Ok(()) => self.kernel.set(index, address, prefix_length, false),
            Err(error) if error.raw_os_error() == Some(nix::libc::EADDRNOTAVAIL) => {
                self.kernel.set(index, address, prefix_length, false);
            }
            Err(error) => tracing::error!(vip = %address, %error, "cannot remove the VIP"),
        }
    }

    fn announce(&mut self, vip: &Vip) {
        let interfaces = self.kernel.interfaces();
        let Some(interface) = interfaces.get(&vip.interface) else { return };
        let is_held = interface.addresses.contains(&(vip.address, vip.prefix_length));
        let Some(mac) = interface.mac.filter(|_| is_held) else { return };
        let key = (vip.interface.clone(), interface.index);
        if !self.announcers.contains_key(&key) {
            match AnnounceSocket::open(&vip.interface) {
                Ok(socket) => {
                    self.announcers.insert(key.clone(), socket);
                }
                Err(error) => {
                    tracing::warn!(interface = vip.interface, %error, "cannot send gratuitous ARP");
                    return;
                }
            }
        }
        if let Some(Err(error)) =
            self.announcers.get(&key).map(|socket| socket.announce(mac, vip.address))
        {
            tracing::warn!(vip = %vip.address, %error, "gratuitous ARP was not sent");
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
        let has_left = |vip: &Ipv4Addr| lo.is_none_or(|lo| !kernel.has(lo, *vip, 32));
        let gone: Vec<Ipv4Addr> = self.arp.loopback().iter().copied().filter(has_left).collect();
        for vip in gone {
            if let Err(error) = self.arp.note(vip, false) {
                tracing::warn!(%vip, %error, "cannot note that the VIP has left loopback");
            }
        }
        self.announcers.retain(|(name, index), _| kernel.index(name) == Some(*index));
    }

    fn report(&mut self, report: &impl Fn(View)) {
        let view = View {
            serial: self.order.serial,
            interfaces: self.kernel.interfaces(),
            failures: self.failures.clone(),
        };
        if self.reported.as_ref() != Some(&view) {
            self.reported = Some(view.clone());
            report(view);
        }
    }
}

/// An IPv4 address as netlink has it; a lifetime of zero is left out.
fn message(index: u32, address: Ipv4Addr, prefix: u8, lifetime: Duration) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.into()),
        AddressAttribute::Address(IpAddr::V4(address)),
    ];
    if !lifetime.is_zero() {
        let mut cache = CacheInfo::default();
        // Whole seconds, rounded up.
        let seconds = u32::try_from(lifetime.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        cache.ifa_valid = seconds;
        cache.ifa_preferred = seconds;
        message.attributes.push(AddressAttribute::CacheInfo(cache));
    }
    message
}
