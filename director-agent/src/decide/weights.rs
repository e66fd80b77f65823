//! Every weight of the plan, from evidence, checks and the latch, through [`fuse`](fulcrum_model::fuse::fuse).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::fuse::{ArpSafety, Candidate, OwnProbe, fuse};
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::resource::AgentRequirement;
use fulcrum_model::{Evidence, Name, Verdict, Weight};

use super::arp::ArpLatch;
use super::check::CheckKey;
use super::evidence::{EvidenceStore, Receipt};
use super::index::{Index, Reindexed};
use super::plan::Servers;

/// The plan's virtual servers with the weights decided for them.
///
/// Each input recomputes the virtual servers that it touches, and no others, and returns what came of it.
#[derive(Debug, Default)]
pub struct Decider {
    index: Index,
    evidence: EvidenceStore,
    arp: ArpLatch,
    probes: BTreeMap<CheckKey, OwnProbe>,
    weights: BTreeMap<Name, Vec<Decided>>,
    /// Up to when expiry has been looked at.
    looked_at: Duration,
}

/// A weight with all that tells why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The real server.
    pub real_server: Name,
    /// Weight to program.
    pub weight: Weight,
    /// Weight that the plan wants when in rotation.
    pub planned: Weight,
    /// What decided, in words, strongest first.
    pub reasons: Vec<String>,
    /// The director's own probe.
    pub probe: OwnProbe,
    /// The agent's verdict; unknown when the agent is silent.
    pub verdict: Verdict,
    /// When the weight last changed, in monotonic time.
    pub since: Duration,
    /// Neither check nor agent has said yet what is needed for a weight of its own.
    pub is_waiting: bool,
}

/// What came of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Virtual servers with weights to program anew.
    pub weights: BTreeSet<Name>,
    /// Something is to be told: a weight, a reason, a probe or a verdict.
    pub to_tell: bool,
    /// The latch is to be saved.
    pub to_latch: bool,
    /// Weights that check or evidence changed, for people.
    pub changes: Vec<Change>,
}

/// A weight that changed while the plan stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The virtual server.
    pub virtual_server: Name,
    /// The real server.
    pub real_server: Name,
    /// Weight until now.
    pub before: Weight,
    /// Weight from now on.
    pub after: Weight,
    /// What decided, strongest first.
    pub reasons: Vec<String>,
}

impl Effect {
    /// Adds what came of another input.
    pub fn merge(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.to_tell |= other.to_tell;
        self.to_latch |= other.to_latch;
        self.changes.extend(other.changes);
    }
}

/// Weight that the kernel holds for a real server of a virtual server, looked up when a plan arrives.
pub trait Adopted: Fn(&VirtualServerPlan, &DestinationPlan) -> Option<Weight> {}
impl<F: Fn(&VirtualServerPlan, &DestinationPlan) -> Option<Weight>> Adopted for F {}

impl Decider {
    /// A decider without a plan, with the latch as it was saved.
    pub fn new(arp: ArpLatch) -> Self {
        Self { arp, ..Self::default() }
    }

    /// The plan's virtual servers.
    pub fn servers(&self) -> &Servers {
        self.index.servers()
    }

    /// The weights of a virtual server, in the order of its destinations; empty when there is none of that name.
    pub fn weights(&self, virtual_server: &Name) -> &[Decided] {
        self.weights.get(virtual_server).map_or(&[], Vec::as_slice)
    }

    /// The latch, to be saved.
    pub fn arp(&self) -> &ArpLatch {
        &self.arp
    }

    /// Takes a change of the plan: virtual servers that are new or differ, and names of those that go. Their weights are
    /// decided anew; a real server that stays and whose check has no answer yet keeps its weight, and one that the kernel
    /// holds already is adopted with its weight there.
    pub fn change_plan(
        &mut self,
        now: Duration,
        changed: &[Arc<VirtualServerPlan>],
        removed: &[Name],
        adopted: impl Adopted,
    ) -> (Effect, Reindexed) {
        let reindexed = self.index.change(changed, removed);
        let mut effect = Effect { to_tell: true, ..Effect::default() };
        effect.to_latch = self.follow_latch(&reindexed.agents);
        for check in &reindexed.ended {
            self.probes.remove(check);
        }
        let before: BTreeMap<&Name, (&VirtualServerPlan, Vec<Decided>)> = reindexed
            .replaced
            .iter()
            .map(|old| (&old.name, (&**old, self.weights.remove(&old.name).unwrap_or_default())))
            .collect();
        for server in changed {
            let before = before.get(&server.name).filter(|(old, _)| is_same_entry(old, server));
            let decided = self.decide(now, server, |destination| {
                match before.and_then(|(old, decided)| standing(old, decided, destination)) {
                    Some(decided) => Some((decided.weight, decided.since)),
                    None => adopted(server, destination).map(|weight| (weight, now)),
                }
            });
            self.weights.insert(server.name.clone(), decided);
            effect.weights.insert(server.name.clone());
        }
        drop(before);
        (effect, reindexed)
    }

    /// Lets the latch follow the plan: what these agents said before their plan came counts, and what no plan names is
    /// forgotten. Tells whether it changed.
    fn follow_latch(&mut self, agents: &BTreeSet<Name>) -> bool {
        let mut has_changed = false;
        for agent in agents {
            if let Some(evidence) = self.evidence.newest(agent) {
                has_changed |= self.arp.observe(evidence);
            }
            has_changed |= self.arp.retain_vips(agent, &self.index.vips(agent));
        }
        has_changed | self.arp.retain_agents(|agent| self.index.of_agent(agent).is_some())
    }

    /// Takes evidence that was received at `now`.
    pub fn evidence(&mut self, now: Duration, evidence: Evidence) -> Effect {
        let agent = evidence.agent.clone();
        let is_planned = self.index.of_agent(&agent).is_some();
        let to_latch = is_planned && self.arp.observe(&evidence);
        let before = self.said(now, &agent);
        match self.evidence.receive(now, evidence) {
            // A repeated report may end sooner, and an older one may still tell of a VIP.
            Receipt::News | Receipt::Repeated | Receipt::Older => {}
            Receipt::Full => return Effect::default(),
        }
        // Most reports only say that nothing has changed.
        if !to_latch && before == self.said(now, &agent) {
            return Effect::default();
        }
        let touched = self.index.of_agent(&agent).cloned().unwrap_or_default();
        Effect { to_latch, ..self.redo(now, &touched) }
    }

    /// What weights depend on in the agent's evidence, if it counts.
    fn said(&self, now: Duration, agent: &Name) -> Option<Vec<(Name, Verdict, Option<String>)>> {
        let servers = &self.evidence.fresh(now, agent)?.servers;
        let said = servers.iter().map(|server| {
            (server.real_server.clone(), server.verdict, server.reasons.first().cloned())
        });
        Some(said.collect())
    }

    /// Takes what a check makes of its real server.
    pub fn probe(&mut self, now: Duration, key: &CheckKey, probe: OwnProbe) -> Effect {
        // The answer of a check that the plan asks for no longer.
        let Some(touched) = self.index.of_check(key).cloned() else { return Effect::default() };
        self.probes.insert(key.clone(), probe);
        self.redo(now, &touched)
    }

    /// Lets evidence expire up to `now`.
    pub fn expire(&mut self, now: Duration) -> Effect {
        let touched: BTreeSet<Name> = self
            .evidence
            .expired(self.looked_at, now)
            .filter_map(|agent| self.index.of_agent(agent))
            .flatten()
            .cloned()
            .collect();
        self.looked_at = now;
        self.redo(now, &touched)
    }

    /// When [`Self::expire`] has something to do again.
    pub fn deadline(&self) -> Option<Duration> {
        self.evidence.next_expiry(self.looked_at)
    }

    /// Whether every virtual server has someone to serve it, or has heard from all why not: before that, this director
    /// had better not become Active.
    pub fn is_settled(&self) -> bool {
        self.weights.values().all(|decided| {
            decided.iter().any(|d| d.weight > Weight::ZERO) || !decided.iter().any(|d| d.is_waiting)
        })
    }

    /// Every virtual server with its weights, ordered by name.
    pub fn all_weights(&self) -> impl Iterator<Item = (&Name, &[Decided])> {
        self.weights.iter().map(|(name, decided)| (name, decided.as_slice()))
    }

    fn redo(&mut self, now: Duration, touched: &BTreeSet<Name>) -> Effect {
        let mut effect = Effect::default();
        for name in touched {
            let server = self.index.servers().get(name);
            let (Some(server), Some(before)) = (server, self.weights.get(name)) else {
                continue;
            };
            let mut held = before.iter().map(|decided| (decided.weight, decided.since));
            let after = self.decide(now, server, |_| held.next());
            let pairs = before.iter().zip(&after).filter(|(b, a)| b.weight != a.weight);
            let changes: Vec<Change> = pairs.map(|(b, a)| change(name, b, a)).collect();
            if !changes.is_empty() {
                effect.weights.insert(name.clone());
                effect.changes.extend(changes);
            }
            if *before != after {
                effect.to_tell = true;
                self.weights.insert(name.clone(), after);
            }
        }
        effect
    }

    /// `current` is asked once for each destination, in order: its weight and since when.
    fn decide(
        &self,
        now: Duration,
        server: &VirtualServerPlan,
        mut current: impl FnMut(&DestinationPlan) -> Option<(Weight, Duration)>,
    ) -> Vec<Decided> {
        let current: Vec<_> = server.destinations.iter().map(&mut current).collect();
        let checks = self.index.checks(&server.name);
        let candidates: Vec<Candidate<'_>> = server
            .destinations
            .iter()
            .zip(checks)
            .zip(&current)
            .map(|((destination, check), current)| {
                let current = current.map(|(weight, _)| weight);
                self.candidate(now, &server.vips, destination, check, current)
            })
            .collect();
        fuse(server.agent, &candidates)
            .into_iter()
            .zip(&candidates)
            .zip(current)
            .map(|((decision, candidate), current)| Decided {
                since: match current {
                    Some((weight, since)) if weight == decision.weight => since,
                    Some(_) | None => now,
                },
                real_server: decision.real_server,
                weight: decision.weight,
                planned: candidate.planned,
                reasons: decision.reasons,
                probe: candidate.probe.clone(),
                verdict: candidate.agent.map_or(Verdict::Unknown, |said| said.verdict),
                is_waiting: is_waiting(server, candidate),
            })
            .collect()
    }

    fn candidate<'a>(
        &'a self,
        now: Duration,
        vips: &[IpAddr],
        destination: &'a DestinationPlan,
        check: &CheckKey,
        current: Option<Weight>,
    ) -> Candidate<'a> {
        Candidate {
            real_server: &destination.real_server,
            planned: destination.weight,
            forwarding: destination.forwarding,
            probe: self.probes.get(check).unwrap_or(&OwnProbe::Pending),
            agent: self
                .evidence
                .fresh(now, &destination.agent)
                .and_then(|evidence| evidence.server(&destination.real_server)),
            arp: self.arp.safety_of_all(&destination.agent, vips),
            current,
        }
    }
}

fn change(virtual_server: &Name, before: &Decided, after: &Decided) -> Change {
    Change {
        virtual_server: virtual_server.clone(),
        real_server: after.real_server.clone(),
        before: before.weight,
        after: after.weight,
        reasons: after.reasons.clone(),
    }
}

/// What was decided for a real server, if it was one of the old plan.
fn standing<'a>(
    old: &VirtualServerPlan,
    decided: &'a [Decided],
    destination: &DestinationPlan,
) -> Option<&'a Decided> {
    let mut pairs = old.destinations.iter().zip(decided);
    let found = pairs.find(|(old, _)| (old.rip, old.port) == (destination.rip, destination.port));
    found.map(|(_, decided)| decided)
}

fn is_same_entry(old: &VirtualServerPlan, new: &VirtualServerPlan) -> bool {
    old.listen == new.listen
}

fn is_waiting(server: &VirtualServerPlan, candidate: &Candidate<'_>) -> bool {
    let needs_proof =
        candidate.forwarding.needs_arp_safety() && server.agent == AgentRequirement::Required;
    *candidate.probe == OwnProbe::Pending || (needs_proof && *candidate.arp == ArpSafety::Unproven)
}

#[cfg(test)]
mod tests;
