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
mod sync_daemons;
mod sysctl;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use fulcrum_ipvs::codec::{Information, Statistics};
use fulcrum_ipvs::{Entry, Table};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use driver::table_name;
pub use error::{IpvsError, IpvsRefused};
pub(crate) use sync_daemons::SyncDaemons;
pub use wire::{kernel_to_wire, table_to_wire};

/// The whole table of ours that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Counts the caller's wishes; rises with each.
    pub generation: u64,
    /// Intent's revision that it comes from, for traces.
    pub revision: u64,
    /// Virtual servers with the weights in force, as [`fulcrum_ipvs::plan::virtual_server`] makes them.
    pub table: Table,
    /// W3C trace context of what caused it; empty when none.
    pub traceparent: String,
}

/// What the kernel counts of each entry.
pub type Traffic = BTreeMap<Entry, Statistics>;

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

/// What the driver tells of the kernel's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsSnapshot {
    /// The table as last read, and edited since; foreign virtual servers are marked. A relay is in it, for it is in the
    /// kernel: a virtual server by firewall mark, not foreign.
    pub table: Table,
    /// The traffic of its entries, some seconds old; none of a large table, which is read for whoever asks.
    pub traffic: Arc<Traffic>,
    /// What IPVS tells of itself.
    pub kernel: Option<Information>,
    /// Edits since the start.
    pub edits: Edits,
    /// What does not fit, each with its remedy. Empty when all is well.
    pub problems: Vec<String>,
    /// The newest generation that is in the kernel; 0 before the first.
    pub generation: u64,
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
    reads: mpsc::Sender<ReadReply>,
    progress: watch::Receiver<Progress>,
}

/// A [`Desired`] whose table is shared instead of copied.
#[derive(Debug)]
struct Wish {
    generation: u64,
    revision: u64,
    table: Arc<Table>,
    traceparent: String,
}

type ReadReply = oneshot::Sender<Result<(Table, Traffic), IpvsError>>;

/// How far the driver has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The newest generation that is in the kernel.
    settled: u64,
    /// The newest generation that could not be put there, and why.
    refused: Option<(u64, IpvsRefused)>,
}

/// Readers that may wait for a fresh table; a further one waits for its place.
const READERS: usize = 16;

impl IpvsHandle {
    /// Opens the kernel's table, reads it and begins to watch it. Nothing is written before the first
    /// [`Self::set_desired`], but what a relay of an earlier life left behind is taken back. The journal of what we made is
    /// kept in `state_dir`.
    ///
    /// # Errors
    /// [`IpvsError`]: a capability, the kernel module or the kernel's answer is missing, each with its remedy.
    pub async fn spawn(
        state_dir: &Path,
    ) -> Result<(Self, watch::Receiver<IpvsSnapshot>), IpvsError> {
        let (wishes, wishes_seen) = watch::channel(None);
        let (relay, relay_seen) = watch::channel(None);
        let (reads, read_requests) = mpsc::channel(READERS);
        let (progress_told, progress) = watch::channel(Progress::default());
        let inbox = driver::Inbox { wishes: wishes_seen, relay: relay_seen, read_requests };
        let snapshots = driver::spawn(state_dir, inbox, progress_told).await?;
        let channels = Arc::new(Channels { wishes, relay, reads, progress });
        Ok((Self { channels }, snapshots))
    }

    /// Wants this table from now on. Never waits: of several wishes the newest wins.
    pub fn set_desired(&self, desired: Desired) {
        let Desired { generation, revision, table, traceparent } = desired;
        let wish = Wish { generation, revision, table: Arc::new(table), traceparent };
        self.channels.wishes.send_replace(Some(Arc::new(wish)));
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
    pub async fn read(&self) -> Result<(Table, Traffic), IpvsError> {
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
