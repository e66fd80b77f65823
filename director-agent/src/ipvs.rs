//! The driver of the kernel's IPVS table: the one writer of it.
//!
//! What it does: adopts what the kernel holds, writes what the plan and the weights want with the fewest edits,
//! repairs what other programs change in entries of ours, and tells what the kernel holds. What it never does: flush,
//! delete and add again, or touch an entry that is neither planned nor made by us.
//!
//! A thread of its own runs the driver, because the kernel works while the request is being sent: a burst of
//! additions must hold up no VRRP advert and no health report, nor they a weight. What decides is pure and lives in
//! `fulcrum-ipvs` ([`fulcrum_ipvs::reconcile`]); here is what touches: `netlink` alone opens netlink, `journal` keeps
//! on disk what we made.

mod driver;
mod error;
mod journal;
mod modules;
mod netlink;
mod restore;
mod route;
mod settings;
mod sync_daemons;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_ipvs::codec::{Information, Statistics, SyncDaemon, Timeouts};
use fulcrum_ipvs::{Allowances, Entry, Table};
use fulcrum_model::IpvsSettings;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use driver::table_name;
pub use error::{IpvsError, IpvsRefused};
pub use restore::{RestoreError, Restored, restore};
pub use route::{Answers, source_towards};
pub(crate) use sync_daemons::SyncDaemons;
pub use wire::{drift_to_wire, kernel_to_wire, table_to_wire};

/// The whole table of ours that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Counts the caller's wishes; rises with each.
    pub generation: u64,
    /// Intent's revision that it comes from, for traces.
    pub revision: u64,
    /// Virtual servers with the weights in force.
    pub table: Table,
    /// How long real servers that are out of `table` may keep their connections, where that differs from the usual.
    pub allowances: Allowances,
    /// W3C trace context of what caused it; empty when none.
    pub traceparent: String,
}

/// A difference that another program made, and how it was put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftSeen {
    /// When it was found, by the wall clock.
    pub found_at: SystemTime,
    /// The virtual server, or the real server and its virtual server.
    pub entry: Entry,
    /// What the kernel held, in words.
    pub found: String,
    /// The repair, in words.
    pub repair: String,
}

impl Edits {
    /// Those of every kind.
    pub fn all(&self) -> u64 {
        self.added + self.edited + self.deleted
    }
}

/// How much drift is remembered: enough to see what a program does that edits again and again.
pub const MOST_DRIFT: usize = 16;

/// The kernel's table as it was read for whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Relays and foreign virtual servers too.
    pub table: Table,
    /// The traffic of its entries.
    pub traffic: Traffic,
    /// What is wanted of it, the relay with it; none before the first plan.
    pub wanted: Option<Arc<Table>>,
}

/// What the kernel counts of each entry.
pub type Traffic = BTreeMap<Entry, Statistics>;

/// What is wanted of the host's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// As the plan orders.
    pub ordered: IpvsSettings,
    /// Connections are synchronised with other directors.
    pub synchronises: bool,
    /// Real servers that answer this director's own checks from a VIP: its packets are to be taken in while we hold the VIP,
    /// too.
    pub answers: BTreeSet<Answers>,
}

/// A virtual server that passes marked packets to another director, which still holds their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The mark that the packet filter sets on them.
    pub mark: NonZeroU32,
    /// The other director's own address (DIP).
    pub director: IpAddr,
}

/// Edits made to the kernel's table since the driver's start, relays apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Virtual servers and real servers added.
    pub added: u64,
    /// Virtual servers and real servers edited.
    pub edited: u64,
    /// Virtual servers and real servers deleted.
    pub deleted: u64,
    /// Entries that another program had changed and that were put right.
    pub drift_repaired: u64,
}

/// What the kernel's IPVS tells beside its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelState {
    /// What it tells of itself.
    pub information: Information,
    /// How long it keeps connections, some seconds old.
    pub timeouts: Timeouts,
    /// Its sync daemons, some seconds old.
    pub daemons: Vec<SyncDaemon>,
}

/// What the driver tells of the kernel's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsSnapshot {
    /// The table as last read, and edited since; foreign virtual servers are marked. A relay is in it, for it is in the
    /// kernel: a virtual server by firewall mark, not foreign.
    pub table: Table,
    /// What is wanted of it, the relay with it; none before the first plan.
    pub wanted: Option<Arc<Table>>,
    /// What other programs changed in entries of ours, the latest first; at most [`MOST_DRIFT`].
    pub drift: Arc<VecDeque<DriftSeen>>,
    /// The traffic of its entries, some seconds old; none of a large table, which is read for whoever asks.
    pub traffic: Arc<Traffic>,
    /// What IPVS tells of itself.
    pub kernel: Option<KernelState>,
    /// Edits since the start.
    pub edits: Edits,
    /// What does not fit, each with its remedy. Empty when all is well.
    pub problems: Vec<String>,
    /// How long the last whole round of looks at the table took: what another program changes is found within so long. None
    /// before the first.
    pub round: Option<Duration>,
    /// The newest generation that is in the kernel; 0 before the first.
    pub generation: u64,
    /// Edits that a freeze holds back; none where nothing is frozen.
    pub held_edits: usize,
}

/// The driver's side for the rest of the agent. Cheap to clone; the driver ends when the last one is dropped, and leaves
/// the kernel's table as it is.
#[derive(Clone, Debug)]
pub struct IpvsHandle {
    channels: Arc<Channels>,
}

#[derive(Debug)]
struct Channels {
    wishes: watch::Sender<Option<Arc<Wish>>>,
    relay: watch::Sender<Option<Relay>>,
    settings: watch::Sender<Option<HostSettings>>,
    frozen: watch::Sender<bool>,
    reads: mpsc::Sender<ReadReply>,
    progress: watch::Receiver<Progress>,
}

/// A [`Desired`] whose table is shared instead of copied.
#[derive(Debug)]
struct Wish {
    generation: u64,
    revision: u64,
    table: Arc<Table>,
    allowances: Allowances,
    traceparent: String,
}

type ReadReply = oneshot::Sender<Result<Reading, IpvsError>>;

/// How far the driver has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The newest generation that is in the kernel.
    settled: u64,
    /// The newest generation that could not be put there, and why.
    refused: Option<(u64, IpvsRefused)>,
    /// Everything but relays is left alone.
    is_frozen: bool,
}

/// Readers that may wait for a fresh table; a further one waits for its place.
const READERS: usize = 16;

impl IpvsHandle {
    /// Opens the kernel's table, reads it and begins to watch it. Nothing is written before the first
    /// [`Self::set_desired`], but the virtual server that a relay of an earlier life left behind is taken back, and no
    /// setting before the first [`Self::set_settings`]. The journal of what we made and changed is kept in `state_dir`.
    ///
    /// # Errors
    /// [`IpvsError`]: a capability, the kernel module or the kernel's answer is missing, each with its remedy.
    pub async fn spawn(
        state_dir: &Path,
    ) -> Result<(Self, watch::Receiver<IpvsSnapshot>), IpvsError> {
        let (handle, inbox, progress) = Self::open();
        let snapshots = driver::spawn(state_dir, inbox, progress).await?;
        Ok((handle, snapshots))
    }

    /// A handle, and the driver's ends of it.
    pub(crate) fn open() -> (Self, driver::Inbox, watch::Sender<Progress>) {
        let (wishes, wishes_seen) = watch::channel(None);
        let (relay, relay_seen) = watch::channel(None);
        let (settings, settings_seen) = watch::channel(None);
        let (frozen, frozen_seen) = watch::channel(false);
        let (reads, read_requests) = mpsc::channel(READERS);
        let (progress_told, progress) = watch::channel(Progress::default());
        let inbox = driver::Inbox {
            wishes: wishes_seen,
            relay: relay_seen,
            settings: settings_seen,
            frozen: frozen_seen,
            read_requests,
        };
        let channels = Arc::new(Channels { wishes, relay, settings, frozen, reads, progress });
        (Self { channels }, inbox, progress_told)
    }

    /// Wants this table from now on. Never waits: of several wishes the newest wins.
    pub fn set_desired(&self, desired: Desired) {
        let Desired { generation, revision, table, allowances, traceparent } = desired;
        let table = Arc::new(table);
        let wish = Wish { generation, revision, table, allowances, traceparent };
        self.channels.wishes.send_replace(Some(Arc::new(wish)));
    }

    /// Wants these settings of the host from now on. What is no longer wanted goes back to what it was.
    pub fn set_settings(&self, settings: HostSettings) {
        self.channels.settings.send_replace(Some(settings));
    }

    /// Lets the table and the host's settings stay as they are from now on, or no longer: but for relays, and `sloppy_tcp` while
    /// there is one. Wishes are followed when it ends.
    pub fn set_frozen(&self, is_frozen: bool) {
        self.channels.frozen.send_replace(is_frozen);
    }

    /// Waits until the driver does as [`Self::set_frozen`] said last: once it is frozen, no edit is under way.
    pub async fn froze(&self) {
        let is_wanted = *self.channels.frozen.borrow();
        let mut progress = self.channels.progress.clone();
        // A driver that has ended edits nothing.
        let _ = progress.wait_for(|progress| progress.is_frozen == is_wanted).await;
    }

    /// Waits until the table of that generation, or of a later one, is in the kernel: every entry stands as wanted,
    /// and those that leave take no new connections.
    ///
    /// # Errors
    /// [`IpvsRefused`] names the operation that the kernel refused, why, and what to do. The others were done, and the
    /// refused one is tried again from time to time.
    pub async fn converged(&self, generation: u64) -> Result<(), IpvsRefused> {
        let mut progress = self.channels.progress.clone();
        let is_decided = |progress: &Progress| {
            progress.settled >= generation
                || progress.refused.as_ref().is_some_and(|(refused, _)| *refused >= generation)
        };
        let progress = progress.wait_for(is_decided).await.map_err(|_| IpvsRefused::Stopped)?;
        match &progress.refused {
            Some((_, refused)) if progress.settled < generation => Err(refused.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the kernel's table now, relays and foreign virtual servers too, and the traffic of its entries.
    ///
    /// # Errors
    /// [`IpvsError`] when the kernel does not answer.
    pub async fn read(&self) -> Result<Reading, IpvsError> {
        let (reply, answer) = oneshot::channel();
        self.channels.reads.send(reply).await.map_err(|_| IpvsError::Stopped)?;
        answer.await.map_err(|_| IpvsError::Stopped)?
    }

    /// Passes marked packets to another director from now on, or no longer. `net.ipv4.vs.sloppy_tcp` is set while it
    /// lasts, for the packets belong to connections whose beginning this director has not seen. A relay that ends
    /// takes no new connections, and goes when those it has have ended.
    pub fn set_relay(&self, relay: Option<Relay>) {
        self.channels.relay.send_replace(relay);
    }
}
