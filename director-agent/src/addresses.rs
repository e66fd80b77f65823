//! The one writer of addresses: puts VIPs where they belong, announces them, and tells what it
//! sees.
//!
//! It runs on its own thread, because the kernel may make a change wait for another program's; so
//! adverts never wait for it. Orders are whole: the newest counts, and an address that is not named
//! any more is removed. A VIP has a finite lifetime in the kernel, which only a new order
//! refreshes: when this program dies or hangs, the kernel withdraws its VIPs.

mod accept;
mod arp_quiet;
mod device;
mod journal;
mod kernel;
pub(crate) mod netlink;
mod pacing;
mod relay_filter;
mod table_ear;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use fulcrum_vrrp::placement::Vip;
use fulcrum_vrrp::{Family, Place};

use crate::vrrp::wake::{Outbox, mailbox};
pub use kernel::Interface;
pub(crate) use relay_filter::MARK as RELAY_MARK;
use writer::Writer;

/// What is wanted of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it belongs.
    pub(crate) place: Place,
    /// How long the kernel keeps it without another order.
    pub(crate) lifetime: Duration,
    /// Least time between its announcement and the one before it on its interface.
    pub(crate) gap: Duration,
}

/// A device that carries the virtual MAC of a virtual router (RFC 9568 §7.3; keepalived:
/// `use_vmac`), above an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// The interface.
    pub(crate) interface: String,
    /// The virtual MAC.
    pub(crate) mac: [u8; 6],
    /// The family of the VIPs on it.
    pub(crate) family: Family,
    /// It takes packets: from before it has VIPs until they have left. A Backup must not take what
    /// is sent to the virtual MAC (RFC 9568 §6.4.2).
    pub(crate) is_up: bool,
}

/// All that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Counts orders.
    pub(crate) serial: u64,
    /// Every VIP that is ours to place.
    pub(crate) vips: BTreeMap<Vip, Target>,
    /// Devices that VIPs are on, by name.
    pub(crate) devices: BTreeMap<String, Device>,
    /// Those to announce once they are set.
    pub(crate) announce: BTreeSet<Vip>,
    /// Interfaces on which packets may be marked for relay.
    pub(crate) hooks: BTreeSet<String>,
    /// Interface and VIP of packets to mark for relay.
    pub(crate) relays: BTreeSet<(String, IpAddr)>,
    /// VIPs to which packets that IPVS does not take are dropped, wherever the VIPs are.
    pub(crate) closed: BTreeSet<IpAddr>,
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
    /// How long ago addresses with a lifetime had been renewed when this life of the agent began, by
    /// interface and address.
    pub(crate) renewed: BTreeMap<(String, IpAddr), Duration>,
    /// When it began.
    pub(crate) started: Option<Instant>,
    /// VIPs that could not be set, with the reason.
    pub(crate) failures: BTreeMap<Vip, String>,
    /// Addresses that are to be closed and are not, with the reason: they are not set either.
    pub(crate) not_closed: BTreeMap<IpAddr, String>,
}

impl View {
    /// How long ago a VIP with a lifetime was last renewed by an earlier life of the agent.
    pub(crate) fn renewed_ago(&self, vip: &Vip) -> Option<Duration> {
        let before_start = self.renewed.get(&(vip.interface.clone(), vip.address))?;
        Some(*before_start + self.started?.elapsed())
    }
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
    let mut writer = Writer::open(state_dir, boot_id)?;
    writer.report(&report);
    std::thread::Builder::new().name("addresses".to_owned()).spawn(move || {
        while let Some(orders) = writer.wait(&inbox) {
            writer.turn(orders);
            writer.report(&report);
        }
    })?;
    Ok(outbox)
}
