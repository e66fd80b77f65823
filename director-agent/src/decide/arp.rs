//! The latch of ARP safety: proven once, it holds until it is contradicted or the real server's host boots again.
//!
//! A register per agent and VIP, in which the statement with the greatest stamp stands, and a register per agent for
//! the boot. So order and duplication of evidence do not matter, not even of evidence that the store finds too old.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fulcrum_model::fuse::ArpSafety;
use fulcrum_model::{Evidence, EvidenceStamp, Name, VipEvidence};

/// What each agent has said of ARP safety, newest statement of each VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArpLatch {
    agents: BTreeMap<Name, AgentLatch>,
}

/// One agent's part of the latch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLatch {
    /// Stamp of the newest evidence.
    pub stamp: EvidenceStamp,
    /// The host's boot that it told.
    pub boot_id: String,
    /// Newest statement of each VIP.
    pub vips: BTreeMap<IpAddr, Statement>,
}

/// What an agent said of one VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Stamp of the evidence that said so.
    pub stamp: EvidenceStamp,
    /// The host's boot in which it was said.
    pub boot_id: String,
    /// [`ArpSafety::Proven`] or [`ArpSafety::Contradicted`].
    pub safety: ArpSafety,
}

impl ArpLatch {
    /// Takes evidence, in any order. Tells whether anything changed but stamps.
    pub fn observe(&mut self, evidence: &Evidence) -> bool {
        let mut changed = !self.agents.contains_key(&evidence.agent);
        let latch = self.agents.entry(evidence.agent.clone()).or_insert_with(|| AgentLatch {
            stamp: evidence.stamp,
            boot_id: evidence.boot_id.clone(),
            vips: BTreeMap::new(),
        });
        if latch.stamp < evidence.stamp {
            changed |= latch.boot_id != evidence.boot_id;
            latch.stamp = evidence.stamp;
            latch.boot_id.clone_from(&evidence.boot_id);
        }
        for vip in &evidence.vips {
            if latch.vips.get(&vip.vip).is_some_and(|said| said.stamp >= evidence.stamp) {
                continue;
            }
            let statement = Statement {
                stamp: evidence.stamp,
                boot_id: evidence.boot_id.clone(),
                safety: safety(vip),
            };
            let before = latch.vips.insert(vip.vip, statement);
            changed |= before.is_none_or(|before| {
                before.boot_id != evidence.boot_id || before.safety != safety(vip)
            });
        }
        changed
    }

    /// Whether the VIP is safe on the agent's host. Statements of an earlier boot do not count.
    pub fn safety(&self, agent: &Name, vip: IpAddr) -> &ArpSafety {
        self.agents
            .get(agent)
            .and_then(|latch| latch.vips.get(&vip).filter(|said| said.boot_id == latch.boot_id))
            .map_or(&ArpSafety::Unproven, |said| &said.safety)
    }

    /// Whether all of these VIPs are safe on the agent's host: the first that is not tells.
    pub fn safety_of_all(&self, agent: &Name, vips: &[IpAddr]) -> &ArpSafety {
        let mut said = vips.iter().map(|vip| self.safety(agent, *vip));
        said.find(|safety| **safety != ArpSafety::Proven).unwrap_or(&ArpSafety::Proven)
    }

    /// Forgets the agents that `is_planned` does not know, so that the latch grows no larger than the plan. Tells whether
    /// there were any.
    pub fn retain_agents(&mut self, is_planned: impl Fn(&Name) -> bool) -> bool {
        let before = self.agents.len();
        self.agents.retain(|agent, _| is_planned(agent));
        self.agents.len() != before
    }

    /// Forgets the VIPs of an agent that are not among these. Tells whether there were any.
    pub fn retain_vips(&mut self, agent: &Name, planned: &BTreeSet<IpAddr>) -> bool {
        let Some(latch) = self.agents.get_mut(agent) else { return false };
        let before = latch.vips.len();
        latch.vips.retain(|vip, _| planned.contains(vip));
        latch.vips.len() != before
    }

    /// Each agent's part, ordered by agent, to be saved.
    pub fn agents(&self) -> impl Iterator<Item = (&Name, &AgentLatch)> {
        self.agents.iter()
    }
}

impl FromIterator<(Name, AgentLatch)> for ArpLatch {
    fn from_iter<T: IntoIterator<Item = (Name, AgentLatch)>>(agents: T) -> Self {
        Self { agents: agents.into_iter().collect() }
    }
}

/// A VIP that is not bound contradicts too: packets sent there would be dropped.
fn safety(vip: &VipEvidence) -> ArpSafety {
    match (vip.bound, vip.arp_safe) {
        (true, true) => ArpSafety::Proven,
        (bound, _) if !vip.detail.is_empty() => {
            let state = if bound { "bound" } else { "not bound" };
            ArpSafety::Contradicted(format!("{} is {state}: {}", vip.vip, vip.detail))
        }
        (true, false) => ArpSafety::Contradicted(format!(
            "{} was bound to loopback before arp_ignore and arp_announce were set",
            vip.vip
        )),
        (false, _) => ArpSafety::Contradicted(format!("{} is not bound to loopback", vip.vip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const VIP: &str = "192.168.1.150";

    /// Sequence, boot, and what is said of the VIP: bound and safe.
    type Report = (u64, &'static str, Option<(bool, bool)>);

    fn evidence((sequence, boot_id, said): Report) -> Evidence {
        Evidence {
            agent: "web1".parse().expect("a valid name"),
            stamp: EvidenceStamp { epoch: 1, sequence },
            age: Duration::ZERO,
            valid_for: Duration::from_secs(1),
            boot_id: boot_id.to_owned(),
            servers: Vec::new(),
            vips: said
                .map(|(bound, arp_safe)| VipEvidence {
                    vip: VIP.parse().expect("an address"),
                    bound,
                    arp_safe,
                    detail: String::new(),
                })
                .into_iter()
                .collect(),
            traceparent: String::new(),
        }
    }

    fn standing(reports: &[Report]) -> &'static str {
        let mut latch = ArpLatch::default();
        for report in reports {
            latch.observe(&evidence(*report));
        }
        let agent = "web1".parse().expect("a valid name");
        match latch.safety(&agent, VIP.parse().expect("an address")) {
            ArpSafety::Proven => "proven",
            ArpSafety::Unproven => "unproven",
            ArpSafety::Contradicted(_) => "contradicted",
        }
    }

    #[test]
    fn proven_until_contradicted_or_booted() {
        let safe = Some((true, true));
        let cases: &[(&str, &[Report], &str)] = &[
            ("nothing said", &[], "unproven"),
            ("silent of this VIP", &[(1, "a", None)], "unproven"),
            ("safe", &[(1, "a", safe)], "proven"),
            ("silence does not contradict", &[(1, "a", safe), (2, "a", None)], "proven"),
            ("unsafe", &[(1, "a", safe), (2, "a", Some((true, false)))], "contradicted"),
            ("unbound", &[(1, "a", safe), (2, "a", Some((false, false)))], "contradicted"),
            ("booted again", &[(1, "a", safe), (2, "b", None)], "unproven"),
            ("safe after boot", &[(1, "a", safe), (2, "b", safe)], "proven"),
            ("late contradiction", &[(2, "a", safe), (1, "a", Some((true, false)))], "proven"),
            ("late proof of this boot", &[(2, "a", None), (1, "a", safe)], "proven"),
            ("late proof of another boot", &[(2, "b", None), (1, "a", safe)], "unproven"),
        ];
        for (what, reports, expected) in cases {
            assert_eq!(standing(reports), *expected, "{what}");
        }
    }

    #[test]
    fn only_what_is_new_is_a_change() {
        let mut latch = ArpLatch::default();
        let safe = Some((true, true));
        let changes: Vec<bool> =
            [(1, "a", safe), (2, "a", safe), (2, "a", safe), (3, "b", safe), (4, "b", None)]
                .into_iter()
                .map(|report| latch.observe(&evidence(report)))
                .collect();
        assert_eq!(changes, [true, false, false, true, false]);
    }

    #[test]
    fn forgets_what_no_plan_names() {
        let mut latch = ArpLatch::default();
        latch.observe(&evidence((1, "a", Some((true, true)))));
        let (agent, vip) = ("web1".parse().expect("a name"), VIP.parse().expect("an address"));
        latch.retain_vips(&agent, &[vip].into());
        assert_eq!(*latch.safety(&agent, vip), ArpSafety::Proven);
        latch.retain_vips(&agent, &BTreeSet::new());
        assert_eq!(*latch.safety(&agent, vip), ArpSafety::Unproven);
        latch.retain_agents(|_| false);
        assert_eq!(latch, ArpLatch::default());
    }
}
