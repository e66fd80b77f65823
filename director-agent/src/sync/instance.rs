//! One instance's connections.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_ipvs::AddressFamily;
use fulcrum_ipvs::sync::{Asker, Census, Gate, GateInput, Hold, Measured, Member, Part, Scope};
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::ConnectionSync;
use fulcrum_model::{Cidr, Name};
use fulcrum_vrrp::Role;

use super::{SyncRole, SyncStatus};
use crate::clock::Clock;
use crate::vrrp::VrrpSnapshot;

/// A Backup that waits compares again so soon after an answer: the kernel needs a moment to take in
/// what was sent.
const HASTE: Duration = Duration::from_millis(250);
/// A Backup in no hurry compares this often: connections that the kernel does not tell, because they
/// are silent, are known before this has passed after their beginning.
const LEISURE: Duration = Duration::from_secs(5);
/// The kernel's master daemon holds connections back for up to 2 s (`IPVS_SYNC_FLUSH_TIME`) and looks
/// once a second; it sends those, and what passes while a director that has left goes on forwarding.
/// The director that has come takes them in for so long.
const STORE: Duration = Duration::from_secs(5);
/// Reading the table may take one part in so many of the time.
pub(super) const READING_SHARE: u32 = 20;

/// An instance with connection synchronisation.
pub(super) struct Instance {
    plan: VrrpInstancePlan,
    options: ConnectionSync,
    pub(super) scope: Scope,
    pub(super) vips: BTreeSet<IpAddr>,
    part: Part,
    /// When it was Active last.
    was_active: Option<Duration>,
    /// When it was Backup last.
    was_backup: Option<Duration>,
    /// A Backup that hears an Active.
    follows: bool,
    gate: Gate,
    /// It is ordered to take over, or outranks the Active.
    wants: bool,
    is_new_wish: bool,
    pub(super) asker: Asker,
    ask_at: Duration,
    measured: Option<Measured>,
    /// What the Active has, as last read.
    pub(super) census: Option<Census>,
    pub(super) read_took: Duration,
    pub(super) comparisons: u64,
    sent: u64,
    sent_at: Option<Duration>,
    received: u64,
}

impl Instance {
    /// None when the plan wants no synchronisation.
    pub(super) fn new(plan: VrrpInstancePlan, nonce: u32) -> Option<Self> {
        let options = plan.options.connection_sync.clone()?;
        let scope = scope(&plan, &options);
        Some(Self {
            vips: vips(&plan),
            scope,
            options,
            plan,
            part: Part::Unknown,
            was_active: None,
            was_backup: None,
            follows: false,
            gate: Gate::default(),
            wants: false,
            is_new_wish: false,
            asker: Asker::new(scope, nonce),
            ask_at: Duration::ZERO,
            measured: None,
            census: None,
            read_took: Duration::ZERO,
            comparisons: 0,
            sent: 0,
            sent_at: None,
            received: 0,
        })
    }

    /// Takes a changed plan; false when it is another virtual router, or wants no synchronisation.
    pub(super) fn change(&mut self, plan: &VrrpInstancePlan) -> bool {
        let Some(options) = plan.options.connection_sync.clone() else { return false };
        if scope(plan, &options) != self.scope {
            return false;
        }
        self.vips = vips(plan);
        self.options = options;
        self.plan = plan.clone();
        true
    }

    pub(super) fn interface(&self) -> &str {
        self.options.interface.as_deref().unwrap_or(&self.plan.interface)
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.part, Part::Active { .. })
    }

    fn is_backup(&self) -> bool {
        matches!(self.part, Part::Backup { .. })
    }

    /// For the choice of daemons.
    pub(super) fn member(&self, name: &Name) -> Member {
        Member {
            instance: name.to_string(),
            interface: self.interface().to_owned(),
            sync_id: self.scope.sync_id,
            part: self.part,
        }
    }

    /// Looks at the role. `relaying`: connections in flight are passed on, or were just now.
    pub(super) fn see(&mut self, now: Duration, name: &Name, seen: &VrrpSnapshot, relaying: bool) {
        let status = seen.instances.get(name);
        if self.is_active() {
            self.was_active = Some(now);
        }
        let was_backup = self.is_backup();
        if was_backup {
            self.was_backup = Some(now);
        }
        let is_recent = |at: Option<Duration>| at.is_some_and(|at| now < at + STORE);
        let has_left = is_recent(self.was_active);
        let has_come = is_recent(self.was_backup);
        let part = match status.map(|status| status.role) {
            None | Some(Role::Initialize) => Part::Unknown,
            Some(Role::Backup) => Part::Backup { has_left },
            Some(Role::Active) => Part::Active { is_relaying: relaying, has_come },
        };
        self.part = part;
        if self.is_backup() && !was_backup {
            self.measured = None;
            self.ask_at = now;
        }
        if !self.is_active() {
            self.census = None;
        }
        self.follows =
            self.is_backup() && status.is_some_and(|status| status.active_router.is_some());
        let wants = self.plan.take_over || status.is_some_and(|status| status.outranks);
        // What was compared before the wish says nothing of connections that began since.
        self.is_new_wish |= wants && !self.wants;
        self.wants = wants;
    }

    /// Whether preemption is to be held: also while nobody wants it, so that no wish comes too early for a comparison.
    pub(super) fn hold(&mut self, now: Duration) -> bool {
        let input = GateInput {
            is_backup_of_living: self.follows,
            is_new_wish: std::mem::take(&mut self.is_new_wish),
            measured: self.measured,
        };
        let was = self.gate.hold();
        self.gate = self.gate.step(now, input, &self.options);
        let is = self.gate.hold();
        if was != is {
            let missing = self.measured.map(|measured| measured.missing);
            tracing::info!(instance = %self.plan.name, hold = ?is, missing, "connections compared");
            if is == Hold::Held {
                self.ask_at = now;
            }
        }
        is == Hold::Held || !self.wants
    }

    /// When it next has something to do by itself.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let asked = self.asker.deadline().unwrap_or_default();
        let asks = self.follows.then(|| asked.max(self.ask_at));
        let gate = self.gate.deadline(&self.options);
        let changed = match self.part {
            Part::Backup { has_left: true } => self.was_active,
            Part::Active { has_come: true, .. } => self.was_backup,
            Part::Unknown | Part::Backup { .. } | Part::Active { .. } => None,
        };
        asks.into_iter().chain(gate).chain(changed.map(|at| at + STORE)).min()
    }

    /// Whether a round is due.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.follows && !self.asker.is_waiting(now) && now >= self.ask_at
    }

    /// A round has begun.
    pub(super) fn asked(&mut self, now: Duration, read_took: Duration) {
        self.read_took = read_took;
        self.ask_at = self.next(now);
    }

    /// A round was answered.
    pub(super) fn answered(&mut self, now: Duration, measured: Measured) {
        self.measured = Some(measured);
        self.comparisons += 1;
        self.received += u64::from(measured.sent);
        self.ask_at = self.next(now);
    }

    /// A Backup was sent so many.
    pub(super) fn told(&mut self, now: Duration, sent: u32) {
        if sent > 0 {
            self.sent += u64::from(sent);
            self.sent_at = Some(now);
        }
    }

    fn next(&self, now: Duration) -> Duration {
        let pause = if self.gate.hold() == Hold::Held { HASTE } else { LEISURE };
        now + pause.max(self.read_took * READING_SHARE)
    }

    pub(super) fn status(&self, clock: Clock) -> SyncStatus {
        let role = match self.part {
            Part::Unknown => SyncRole::Idle,
            Part::Active { .. } => SyncRole::Master,
            Part::Backup { .. } => SyncRole::Backup,
        };
        let measured = self.measured.filter(|_| self.is_backup());
        SyncStatus {
            role,
            hold: self.follows.then(|| self.gate.hold()),
            missing: measured.map(|measured| (measured.missing, clock.wall(measured.at))),
            comparisons: self.comparisons,
            connections_sent: self.sent,
            last_sent: self.sent_at.map(|at| clock.wall(at)),
            connections_received: self.received,
        }
    }
}

fn scope(plan: &VrrpInstancePlan, options: &ConnectionSync) -> Scope {
    let vrid = plan.vrid.get();
    let family = AddressFamily::of(plan.source);
    Scope { sync_id: options.sync_id.unwrap_or(vrid), vrid, family }
}

fn vips(plan: &VrrpInstancePlan) -> BTreeSet<IpAddr> {
    let advertised = plan.vips.iter().map(Cidr::address);
    let held = plan.options.unadvertised_vips.iter().map(|held| held.address.address());
    advertised.chain(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{name, vip, vrrp_instance};
    use crate::vrrp::InstanceStatus;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// A Backup that hears an Active, and outranks it or not.
    fn backup(outranks: bool) -> VrrpSnapshot {
        let status = InstanceStatus {
            role: Role::Backup,
            active_router: Some(vip(8)),
            outranks,
            ..InstanceStatus::refused(String::new(), std::time::UNIX_EPOCH)
        };
        VrrpSnapshot { instances: [(name("vi-1"), status)].into(), ..VrrpSnapshot::default() }
    }

    fn compared(began: u64, missing: u32) -> Measured {
        Measured { began: S(began), at: S(began), missing, sent: 0, compared: 10 }
    }

    #[test]
    fn a_wish_from_either_side_waits_for_a_comparison_of_its_own() {
        let mut plan = vrrp_instance("vi-1", 1);
        let sync = ConnectionSync { wait: S(10), max_missing: 0, ..ConnectionSync::default() };
        plan.options.connection_sync = Some(sync);
        let mut instance = Instance::new(plan.clone(), 1).expect("it is synchronised");
        let mut is_held = |now: u64, outranks: bool, heard: Option<Measured>, take_over: bool| {
            assert!(instance.change(&VrrpInstancePlan { take_over, ..plan.clone() }));
            if let Some(measured) = heard {
                instance.answered(S(now), measured);
            }
            instance.see(S(now), &name("vi-1"), &backup(outranks), false);
            instance.hold(S(now))
        };
        assert!(is_held(0, false, None, false));
        assert!(is_held(1, false, Some(compared(1, 0)), false), "nobody wants it");
        assert!(is_held(2, true, None, false), "what was compared before the wish is no answer");
        assert!(is_held(3, true, Some(compared(1, 0)), false), "nor is what began before it");
        assert!(is_held(4, true, Some(compared(3, 5)), false), "five are missing");
        assert!(!is_held(5, true, Some(compared(4, 0)), false));
        assert!(is_held(6, false, None, false), "the wish is gone");
        assert!(is_held(7, false, None, true), "an order is a wish, too");
        assert!(!is_held(8, false, Some(compared(7, 0)), true));
        assert!(is_held(9, false, None, false));
        assert!(is_held(10, true, None, false));
        assert!(!is_held(20, true, None, false), "it has waited long enough");
    }
}
