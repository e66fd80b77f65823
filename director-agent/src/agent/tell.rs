//! What the agent tells: to its controller, on the local socket, and as metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::v1;

use super::Agent;
use crate::decide::alarms::alarms;
use crate::ipvs::{Edits, IpvsSnapshot, drift_to_wire, kernel_to_wire, table_to_wire};
use crate::report;
use crate::vrrp::VrrpSnapshot;

/// What was measured last, to count what came since.
#[derive(Debug, Default)]
pub(super) struct Measured {
    edits: v1::IpvsEdits,
    vrrp: BTreeMap<String, v1::VrrpState>,
    /// Connections sent and received by instance.
    synchronised: BTreeMap<Name, (u64, u64)>,
}

impl Agent {
    /// Tells the controller, and keeps the metrics current.
    pub(super) fn tell(&mut self) {
        self.follow_real_servers();
        let observed = {
            let ipvs = self.ipvs_seen.borrow();
            let mut observed = self.observed(&ipvs);
            let mut left_out = Vec::new();
            if ipvs.table.entries() <= report::MOST_ENTRIES {
                observed.ipvs = table_to_wire(&ipvs.table, &ipvs.traffic, ipvs.wanted.as_deref());
            } else {
                left_out.push(format!("the IPVS table of {} entries", ipvs.table.entries()));
            }
            let weights: usize = self.decider.pools().map(|(_, pool)| pool.all().count()).sum();
            if weights <= report::MOST_WEIGHTS {
                observed.weights = report::weights(&self.decider, self.clock);
            } else {
                left_out.push(format!("{weights} weights"));
            }
            report::fit(observed, left_out)
        };
        self.measure(&observed);
        self.session.director(observed);
    }

    /// For the local socket, but for the kernel's table.
    pub(super) fn status(&self) -> v1::GetDirectorStatusResponse {
        let mut observed = self.observed(&self.ipvs_seen.borrow());
        observed.weights = report::weights(&self.decider, self.clock);
        v1::GetDirectorStatusResponse {
            name: self.name.to_string(),
            plan: self.plans.in_force().cloned(),
            controller: self.controller.clone(),
            observed: Some(observed),
        }
    }

    /// Without table and weights, which may be large.
    fn observed(&self, ipvs: &IpvsSnapshot) -> v1::DirectorObserved {
        let vrrp = self.vrrp_seen.borrow();
        let mut vrrp_instances = report::vrrp(&vrrp);
        report::connections(&mut vrrp_instances, &self.sync_seen.borrow());
        let Look { findings, unchecked } = self.host_look(&vrrp);
        let mut observed = v1::DirectorObserved {
            vrrp_instances,
            vrrp_lateness: report::lateness(&vrrp),
            problems: self.problems(ipvs, &vrrp, &findings),
            edits: Some(edits(ipvs.edits)),
            ipvs_kernel: ipvs.kernel.as_ref().map(kernel_to_wire),
            ipvs_round: ipvs.round.and_then(|round| whole_ms(round).try_into().ok()),
            ipvs_drift: ipvs.drift.iter().map(drift_to_wire).collect(),
            quorum_lost: report::quorum_lost(&self.decider),
            findings,
            unchecked,
            arp_proofs: self.arp_proofs(),
            ..Default::default()
        };
        self.tell_local_orders(&mut observed);
        observed
    }

    /// Each with its remedy, the gravest first.
    fn problems(
        &self,
        ipvs: &IpvsSnapshot,
        vrrp: &VrrpSnapshot,
        findings: &[v1::Finding],
    ) -> Vec<String> {
        let mut problems: Vec<String> = self.local_problems().collect();
        problems.extend(self.plans.problems());
        problems.extend(alarms(self.decider.pools()));
        problems.extend(vrrp.instances.values().flat_map(|status| status.problems.clone()));
        // The others are told by `lvsctl doctor`.
        let stolen = findings.iter().filter(|found| {
            found.code == Code::ArpProof.as_str() && found.severity() == v1::Severity::Error
        });
        problems.extend(stolen.map(|found| format!("{}: {}", found.found, found.remedy)));
        problems.extend(self.sync_seen.borrow().problems.clone());
        // What keeps a plan from the kernel is told by both.
        let ipvs = ipvs.problems.iter().filter(|problem| !problems.contains(problem));
        let ipvs: Vec<String> = ipvs.cloned().collect();
        problems.extend(ipvs);
        let disk = [
            self.epoch_saver.fault(),
            self.plan_saver.fault(),
            self.latch_saver.fault(),
            self.local_orders_saver.fault(),
        ];
        problems.extend(disk.into_iter().flatten());
        problems
    }
}

/// Without what is smaller than a millisecond: people read it too.
fn whole_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn edits(edits: Edits) -> v1::IpvsEdits {
    let Edits { added, edited, deleted, drift_repaired } = edits;
    v1::IpvsEdits { added, edited, deleted, drift_repaired }
}

impl Agent {
    fn measure(&mut self, observed: &v1::DirectorObserved) {
        let edits = observed.edits.unwrap_or_default();
        let before = std::mem::replace(&mut self.measured.edits, edits);
        for (action, now, before) in [
            ("added", edits.added, before.added),
            ("edited", edits.edited, before.edited),
            ("deleted", edits.deleted, before.deleted),
            ("drift_repaired", edits.drift_repaired, before.drift_repaired),
        ] {
            self.metrics.ipvs_edited(action, now.saturating_sub(before));
        }
        if let Some(round) = self.ipvs_seen.borrow().round {
            self.metrics.ipvs_looked_through(round);
        }
        if let Some(lateness) = observed.vrrp_lateness {
            self.metrics.vrrp_late(&lateness);
        }
        let mut states = BTreeMap::new();
        for instance in &observed.vrrp_instances {
            let state = instance.state();
            self.metrics.vrrp_state(&instance.instance, state);
            if self.measured.vrrp.get(&instance.instance).is_some_and(|before| *before != state) {
                self.metrics.vrrp_changed(&instance.instance);
            }
            states.insert(instance.instance.clone(), state);
        }
        self.measured.vrrp = states;
        self.measure_sync();
    }

    fn measure_sync(&mut self) {
        let seen = self.sync_seen.borrow().instances.clone();
        let mut counted = BTreeMap::new();
        for (name, status) in seen {
            let (sent, received) = (status.connections_sent, status.connections_received);
            let (sent_before, received_before) =
                self.measured.synchronised.get(&name).copied().unwrap_or_default();
            let instance = name.as_str();
            self.metrics.connections_synchronised(
                instance,
                "sent",
                sent.saturating_sub(sent_before),
            );
            let more = received.saturating_sub(received_before);
            self.metrics.connections_synchronised(instance, "received", more);
            if let Some((missing, _)) = status.missing {
                self.metrics.connections_missing(instance, missing);
            }
            counted.insert(name, (sent, received));
        }
        self.measured.synchronised = counted;
    }
}
