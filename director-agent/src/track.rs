//! What VRRP instances depend on beside their own interface: tried here, weighed by
//! [`fulcrum_vrrp::track`].
//!
//! What it does: watches interfaces, addresses and routes of this host, asks gateways, runs commands
//! that the host offers, and tells the VRRP thread what each instance, or sync group, comes to. Each
//! distinct target is tried once, however many instances name it. What it never does: run on the
//! VRRP thread, make it wait, or change anything.
//!
//! Start reading at [`Tracker`]; one file for each kind of target.

pub mod command;
pub(crate) mod gateway;
mod kernel;
mod probe;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fulcrum_model::Name;
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::TrackTarget;
use fulcrum_vrrp::track::{Health, Probe, TargetState, Tracked};
use tokio::sync::{mpsc, watch as newest};
use tokio::task::AbortHandle;

use crate::vrrp::VrrpHandle;
use crate::vrrp::wake::Outbox;
use command::CommandHome;
use probe::{News, Shared};

/// What a try saw, in words for people: well, or not.
type Seen = Result<String, String>;

/// News of probes that wait to be taken. A probe waits with its next try until its news are taken,
/// so nothing is lost.
const NEWS_CAPACITY: usize = 256;

/// Tells the tracker what to track. It ends when this is dropped, and its commands are killed.
#[derive(Debug)]
pub struct Tracker {
    plans: newest::Sender<Plans>,
    own: newest::Sender<Own>,
    task: AbortHandle,
}

type Plans = BTreeMap<Name, VrrpInstancePlan>;
/// What the agent itself tells of.
type Own = BTreeMap<Probe, TargetState>;

impl Tracker {
    /// Tracks nothing yet. Results go to `vrrp`; commands are those of `home`.
    ///
    /// # Errors
    /// When the kernel's changes cannot be watched.
    pub fn spawn(vrrp: VrrpHandle, home: Option<CommandHome>) -> io::Result<Self> {
        let (targets, states) = watch::spawn()?;
        let (plans, plans_seen) = newest::channel(Plans::new());
        let (own, own_seen) = newest::channel(Own::new());
        let (news_told, news) = mpsc::channel(NEWS_CAPACITY);
        let task = Task {
            vrrp,
            targets,
            shared: Shared::new(home, news_told),
            plans: Plans::new(),
            wanted: BTreeSet::new(),
            running: BTreeMap::new(),
            states: BTreeMap::new(),
            told: None,
        };
        let inputs = Inputs { plans: plans_seen, own: own_seen, states, news };
        let task = tokio::spawn(task.run(inputs)).abort_handle();
        Ok(Self { plans, own, task })
    }

    /// Tracks what these instances name from now on. Targets that stay keep their state.
    pub fn apply(&self, instances: &BTreeMap<Name, VrrpInstancePlan>) {
        self.plans.send_if_modified(|plans| {
            let is_new = *plans != *instances;
            plans.clone_from(instances);
            is_new
        });
    }

    /// What the agent itself knows of targets that instances track: its own work, and its way to the real servers.
    pub fn own(&self, states: BTreeMap<Probe, TargetState>) {
        self.own.send_if_modified(|own| {
            let is_new = *own != states;
            *own = states;
            is_new
        });
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All that the tracker knows.
struct Task {
    vrrp: VrrpHandle,
    /// To who watches the kernel.
    targets: Outbox<watch::Targets>,
    shared: Shared,
    plans: Plans,
    wanted: BTreeSet<Probe>,
    /// Gateways and commands.
    running: BTreeMap<Probe, Running>,
    /// Of everything that is tracked and was tried.
    states: BTreeMap<Probe, TargetState>,
    /// What VRRP was told last.
    told: Option<BTreeMap<Name, Tracked>>,
}

/// A probe that ends when it is dropped.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Inputs {
    plans: newest::Receiver<Plans>,
    own: newest::Receiver<Own>,
    states: newest::Receiver<watch::States>,
    news: mpsc::Receiver<News>,
}

impl Task {
    async fn run(mut self, mut inputs: Inputs) {
        loop {
            tokio::select! {
                changed = inputs.plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.plans = inputs.plans.borrow_and_update().clone();
                    self.change();
                    self.take_kernel(&inputs.states.borrow().clone());
                    self.take_own(&inputs.own.borrow().clone());
                }
                Some(News { probe, state }) = inputs.news.recv() => {
                    self.note(probe, state);
                }
                Ok(()) = inputs.states.changed() => {
                    let states = inputs.states.borrow_and_update().clone();
                    self.take_kernel(&states);
                }
                Ok(()) = inputs.own.changed() => {
                    let own = inputs.own.borrow_and_update().clone();
                    self.take_own(&own);
                }
            }
            self.tell();
        }
    }

    /// Begins and ends probes as the plans say.
    fn change(&mut self) {
        self.wanted = self.plans.values().flat_map(Probe::all).map(|(probe, _)| probe).collect();
        self.running.retain(|probe, _| self.wanted.contains(probe));
        self.states.retain(|probe, _| self.wanted.contains(probe));
        let targets = self.wanted.iter().map(|probe| &probe.target);
        let targets = targets.filter(|target| is_kernels(target)).cloned().collect();
        if self.targets.send(targets).is_err() {
            tracing::error!("the watcher of tracked targets has ended or hangs: restart the agent");
        }
        for probe in &self.wanted {
            let is_new = !self.running.contains_key(probe);
            if is_new && let Some(task) = probe::spawn(probe, &self.shared) {
                self.running.insert(probe.clone(), Running(task));
            }
        }
    }

    fn take_kernel(&mut self, states: &watch::States) {
        for (target, state) in states {
            let probe = Probe { target: target.clone(), asked_on: None, instance: None };
            self.note(probe, state.clone());
        }
    }

    fn take_own(&mut self, own: &Own) {
        for (probe, state) in own {
            self.note(probe.clone(), state.clone());
        }
    }

    fn note(&mut self, probe: Probe, state: TargetState) {
        // The last word of a probe that was just ended counts no more.
        if !self.wanted.contains(&probe) {
            return;
        }
        let before = self.states.get(&probe).map_or(Health::Untried, |state| state.health);
        if before != state.health {
            match state.health {
                Health::Well => tracing::info!(target = %probe, "{}", state.seen),
                Health::Unwell => tracing::warn!(target = %probe, "{}", state.seen),
                Health::Untried => {}
            }
        }
        self.states.insert(probe, state);
    }

    /// Tells VRRP what each instance comes to, where that is new.
    fn tell(&mut self) {
        let tracked = weigh(&self.plans, &self.states);
        if self.told.as_ref() != Some(&tracked) {
            self.vrrp.set_tracking(tracked.clone());
            self.told = Some(tracked);
        }
    }
}

/// What each instance that tracks something comes to; members of a sync group together.
fn weigh(plans: &Plans, states: &BTreeMap<Probe, TargetState>) -> BTreeMap<Name, Tracked> {
    let weighed = plans.iter().map(|(name, plan)| {
        let probes = match &plan.options.sync_group {
            None => Probe::all(plan).collect::<Vec<_>>(),
            Some(group) => {
                let is_member =
                    |other: &&VrrpInstancePlan| other.options.sync_group.as_ref() == Some(group);
                plans.values().filter(is_member).flat_map(Probe::all).collect()
            }
        };
        (name.clone(), Tracked::sum(probes, states))
    });
    weighed.collect()
}

/// Whether the kernel tells of it by itself.
fn is_kernels(target: &TrackTarget) -> bool {
    match target {
        TrackTarget::Interface(_) | TrackTarget::Address(_) | TrackTarget::Route(_) => true,
        TrackTarget::Gateway(_)
        | TrackTarget::Command(_)
        | TrackTarget::Agent
        | TrackTarget::RealServers(_) => false,
    }
}

#[cfg(test)]
mod tests;
