//! Connection synchronisation: established connections survive a change of roles.
//!
//! What it does: runs the kernel's sync daemons by the roles of the instances, finds what a Backup
//! lacks of the Active's connections and has it sent to the Backup's kernel, and holds a take-over by
//! choice until that is little. What it never does: hold up a take-over from a dead Active, change
//! the IPVS table, or stop a daemon that another program has started.
//!
//! What decides is [`fulcrum_ipvs::sync`]. Here `task` gives every part its turn on a thread of its
//! own, because the kernel works while its table is read; `daemons` writes the kernel's daemons, `table`
//! reads its connections, `sockets` alone opens sockets.

mod daemons;
mod instance;
mod sockets;
mod table;
mod task;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fulcrum_ipvs::sync::Hold;
use fulcrum_model::Name;
use fulcrum_model::plan::VrrpInstancePlan;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::ipvs::IpvsSnapshot;
use crate::vrrp::{VrrpHandle, VrrpSnapshot};

/// Tells the synchronisation what to synchronise. It ends when this is dropped; the kernel's daemons
/// run on.
#[derive(Debug)]
pub struct SyncHandle {
    orders: watch::Sender<Orders>,
    holds: Arc<Holds>,
}

/// Instances with connection synchronisation.
type Plans = BTreeMap<Name, VrrpInstancePlan>;

#[derive(Clone, Debug, Default)]
struct Orders {
    plans: Plans,
    /// Counts them.
    serial: u64,
}

/// Connection synchronisation as this host sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncSnapshot {
    /// By instance.
    pub instances: BTreeMap<Name, SyncStatus>,
    /// Datagrams that are no frame of the exchange.
    pub malformed: u64,
    /// What does not fit, each with its remedy.
    pub problems: Vec<String>,
}

/// An instance's connections.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncStatus {
    /// What this host does for it.
    pub role: SyncRole,
    /// Backup: whether a take-over by choice waits.
    pub hold: Option<Hold>,
    /// Backup: connections of the Active that were unknown here when last compared, and when.
    pub missing: Option<(u32, SystemTime)>,
    /// Comparisons that were answered, since the start.
    pub comparisons: u64,
    /// Active: connections sent to Backups that lacked them, since the start; what the kernel sends by
    /// itself is not among them.
    pub connections_sent: u64,
    /// When some were sent last.
    pub last_sent: Option<SystemTime>,
    /// Backup: the same, sent to this director.
    pub connections_received: u64,
}

/// What a host does for an instance's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncRole {
    /// Nothing yet.
    Idle,
    /// Tells them.
    Master,
    /// Takes them in.
    Backup,
}

impl SyncRole {
    /// As metrics and reports call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }
}

/// Who may preempt: both the agent, with a new plan, and the task have a say. An order counts only
/// while no newer plan has come.
struct Holds {
    vrrp: VrrpHandle,
    state: Mutex<HoldState>,
}

#[derive(Debug, Default)]
struct HoldState {
    serial: u64,
    held: BTreeMap<Name, bool>,
}

impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holds").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Holds {
    /// New plans: instances that are new are held until the task has looked at them; it holds those that it knows, but
    /// while it has just found that they lack nothing.
    fn plan(&self, serial: u64, before: &Plans, after: &Plans) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.serial = serial;
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            state.set(&self.vrrp, name, false);
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            state.set(&self.vrrp, name, true);
        }
    }

    fn set(&self, serial: u64, name: &Name, is_held: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.serial == serial {
            state.set(&self.vrrp, name, is_held);
        }
    }
}

impl HoldState {
    fn set(&mut self, vrrp: &VrrpHandle, name: &Name, is_held: bool) {
        if self.held.get(name).copied().unwrap_or(false) == is_held {
            return;
        }
        if is_held {
            self.held.insert(name.clone(), true);
        } else {
            self.held.remove(name);
        }
        vrrp.hold_preemption(name, is_held);
    }
}

impl SyncHandle {
    /// Synchronises nothing yet. What we have started is written down in `state_dir`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(
        state_dir: &Path,
        clock: Clock,
        vrrp: VrrpHandle,
        vrrp_seen: watch::Receiver<VrrpSnapshot>,
        ipvs_seen: watch::Receiver<IpvsSnapshot>,
    ) -> io::Result<(Self, watch::Receiver<SyncSnapshot>)> {
        let (orders, orders_seen) = watch::channel(Orders::default());
        let (snapshots, seen) = watch::channel(SyncSnapshot::default());
        let holds = Arc::new(Holds { vrrp, state: Mutex::default() });
        let inputs = task::Inputs { orders: orders_seen, vrrp: vrrp_seen, ipvs: ipvs_seen };
        task::spawn(state_dir, clock, inputs, Arc::clone(&holds), snapshots)?;
        Ok((Self { orders, holds }, seen))
    }

    /// Synchronises the connections of these instances from now on, as far as their plans want it. A
    /// new one is held before this returns: give VRRP the plan afterwards.
    pub fn apply(&self, instances: &BTreeMap<Name, VrrpInstancePlan>) {
        let wanted = |plan: &&VrrpInstancePlan| plan.options.connection_sync.is_some();
        let named = |plan: &VrrpInstancePlan| (plan.name.clone(), plan.clone());
        let plans: Plans = instances.values().filter(wanted).map(named).collect();
        self.orders.send_if_modified(|orders| {
            if orders.plans == plans {
                return false;
            }
            orders.serial += 1;
            self.holds.plan(orders.serial, &orders.plans, &plans);
            orders.plans = plans;
            true
        });
    }
}
