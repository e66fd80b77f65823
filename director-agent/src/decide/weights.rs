//! Every weight of the plan, from evidence, checks and the latch, through [`fuse`](fulcrum_model::fuse::fuse).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::fuse::{ArpSafety, Candidate, OwnProbe, fuse};
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::resource::AgentRequirement;
use fulcrum_model::{Evidence, Name, Verdict, Weight};

use super::arp::ArpLatch;
use super::check::CheckKey;
use super::evidence::{EvidenceStore, Receipt};

/// The plan's virtual servers with the weights decided for them.
///
/// Each input recomputes the virtual servers that it touches, and no others, and returns what came of it.
#[derive(Debug, Default)]
pub struct Decider {
    servers: BTreeMap<Name, VirtualServerPlan>,
    by_agent: BTreeMap<Name, BTreeSet<Name>>,
    by_check: BTreeMap<CheckKey, BTreeSet<Name>>,
    /// The checks of each virtual server, in the order of its destinations.
    checks: BTreeMap<Name, Vec<CheckKey>>,
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
    pub fn servers(&self) -> &BTreeMap<Name, VirtualServerPlan> {
        &self.servers
    }

    /// The weights of a virtual server, in the order of its destinations; empty when there is none of that name.
    pub fn weights(&self, virtual_server: &Name) -> &[Decided] {
        self.weights.get(virtual_server).map_or(&[], Vec::as_slice)
    }

    /// The checks that the plan asks for.
    pub fn checks(&self) -> impl Iterator<Item = &CheckKey> {
        self.by_check.keys()
    }

    /// The latch, to be saved.
    pub fn arp(&self) -> &ArpLatch {
        &self.arp
    }

    /// Takes the virtual servers of a new plan. Every weight is decided anew; a real server that stays and whose check
    /// has no answer yet keeps its weight, and one that the kernel holds already is adopted with its weight there.
    pub fn set_plan(
        &mut self,
        now: Duration,
        servers: BTreeMap<Name, VirtualServerPlan>,
        adopted: impl Adopted,
    ) -> Effect {
        let old_servers = std::mem::replace(&mut self.servers, servers);
        let old_weights = std::mem::take(&mut self.weights);
        self.index();
        let mut weights = BTreeMap::new();
        for (name, server) in &self.servers {
            let before = old_servers
                .get(name)
                .filter(|old| is_same_entry(old, server))
                .map(|old| old.destinations.as_slice().iter().zip(&old_weights[name]));
            let before = |destination: &DestinationPlan| {
                before.clone().and_then(|mut pairs| {
                    pairs
                        .find(|(old, _)| (old.rip, old.port) == (destination.rip, destination.port))
                })
            };
            let decided = self.decide(now, server, |destination| match before(destination) {
                Some((_, decided)) => Some((decided.weight, decided.since)),
                None => adopted(server, destination).map(|weight| (weight, now)),
            });
            weights.insert(name.clone(), decided);
        }
        self.weights = weights;
        self.looked_at = now;
        let weights = self.servers.keys().cloned().collect();
        Effect { weights, to_tell: true, to_latch: true, changes: Vec::new() }
    }

    /// Takes evidence that was received at `now`.
    pub fn evidence(&mut self, now: Duration, evidence: Evidence) -> Effect {
        let agent = evidence.agent.clone();
        let is_planned = self.by_agent.contains_key(&agent);
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
        let touched = self.by_agent.get(&agent).cloned().unwrap_or_default();
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
        let Some(touched) = self.by_check.get(key).cloned() else { return Effect::default() };
        self.probes.insert(key.clone(), probe);
        self.redo(now, &touched)
    }

    /// Lets evidence expire up to `now`.
    pub fn expire(&mut self, now: Duration) -> Effect {
        let touched: BTreeSet<Name> = self
            .evidence
            .expired(self.looked_at, now)
            .filter_map(|agent| self.by_agent.get(agent))
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

    fn index(&mut self) {
        self.by_agent.clear();
        self.by_check.clear();
        self.checks.clear();
        let mut vips: BTreeSet<(&Name, IpAddr)> = BTreeSet::new();
        for (name, server) in &self.servers {
            for destination in &server.destinations {
                if server.agent == AgentRequirement::Required {
                    let agent = &destination.agent;
                    self.by_agent.entry(agent.clone()).or_default().insert(name.clone());
                    vips.insert((agent, server.vip));
                }
                let key = CheckKey::new(destination.rip, destination.port, &server.check);
                self.checks.entry(name.clone()).or_default().push(key.clone());
                self.by_check.entry(key).or_default().insert(name.clone());
            }
        }
        // Evidence that came before its plan.
        for evidence in self.evidence.newest() {
            self.arp.observe(evidence);
        }
        self.arp.retain(|agent, vip| vips.contains(&(agent, vip)));
        self.probes.retain(|key, _| self.by_check.contains_key(key));
    }

    fn redo(&mut self, now: Duration, touched: &BTreeSet<Name>) -> Effect {
        let mut effect = Effect::default();
        for name in touched {
            let (Some(server), Some(before)) = (self.servers.get(name), self.weights.get(name))
            else {
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
        let checks = self.checks.get(&server.name).map_or(&[][..], Vec::as_slice);
        let candidates: Vec<Candidate<'_>> = server
            .destinations
            .iter()
            .zip(checks)
            .zip(&current)
            .map(|((destination, check), current)| {
                let current = current.map(|(weight, _)| weight);
                self.candidate(now, server.vip, destination, check, current)
            })
            .collect();
        fuse(server.forwarding, server.agent, &candidates)
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
        vip: IpAddr,
        destination: &'a DestinationPlan,
        check: &CheckKey,
        current: Option<Weight>,
    ) -> Candidate<'a> {
        Candidate {
            real_server: &destination.real_server,
            planned: destination.weight,
            probe: self.probes.get(check).unwrap_or(&OwnProbe::Pending),
            agent: self
                .evidence
                .fresh(now, &destination.agent)
                .and_then(|evidence| evidence.server(&destination.real_server)),
            arp: self.arp.safety(&destination.agent, vip),
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

fn is_same_entry(old: &VirtualServerPlan, new: &VirtualServerPlan) -> bool {
    (old.vip, old.port, old.protocol) == (new.vip, new.port, new.protocol)
}

fn is_waiting(server: &VirtualServerPlan, candidate: &Candidate<'_>) -> bool {
    let needs_proof =
        server.forwarding.needs_arp_safety() && server.agent == AgentRequirement::Required;
    *candidate.probe == OwnProbe::Pending || (needs_proof && *candidate.arp == ArpSafety::Unproven)
}

#[cfg(test)]
mod tests;
