//! Every weight of the plan, from evidence, checks and the latch, through [`fuse`](fulcrum_model::fuse::fuse).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::fuse::{Candidate, History, OwnProbe, PathProbe, PoolEvidence, Tries, fuse};
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::resource::AgentRequirement;
use fulcrum_model::{
    DynamicWeights, Evidence, FailurePolicy, LocalOrder, Name, Quorum, ServerLoad, Shared, Verdict,
    VipEvidence, Weight,
};

use super::arp::ArpLatch;
use super::check::{CheckKey, CheckNews};
use super::decided::{DecidedPool, Effect};
use super::evidence::{EvidenceStore, Receipt};
use super::index::{Index, Reindexed};
use super::past::Past;
use super::paths::Paths;
use super::plan::Servers;

mod local;

pub use local::Silenced;

/// Of a check that has no answer yet.
const UNPROBED: &(OwnProbe, Tries) =
    &(OwnProbe::Pending, Tries { heard: None, silence: None, ended: None });

/// News of load alone waits so long for more of it: with a thousand real servers, each of which tells once a second, a pool
/// is decided a few times in that second. All threads busy is news of another kind, and does not wait.
const GATHER: Duration = Duration::from_millis(250);

/// The plan's virtual servers with the weights decided for them.
///
/// Each input recomputes the virtual servers that it touches, and no others, and returns what came of it.
#[derive(Debug, Default)]
pub struct Decider {
    index: Index,
    evidence: EvidenceStore,
    arp: ArpLatch,
    probes: BTreeMap<CheckKey, (OwnProbe, Tries)>,
    /// What checks through VIPs say.
    paths: BTreeMap<CheckKey, PathProbe>,
    /// Orders at this director to drain, by real server.
    local_drains: BTreeMap<Name, LocalOrder>,
    /// The reasons that are in force.
    reasons: Shared<[String]>,
    /// What is decided now.
    decided: Shared<DecidedPool>,
    /// Virtual servers of which the same was decided share it.
    pools: BTreeMap<Name, Arc<DecidedPool>>,
    /// When which virtual server is to be decided anew although nothing was heard.
    looks: BTreeSet<(Duration, Name)>,
    /// Virtual servers with somebody who is held because several fell silent together: each answer of anybody may end that.
    held: BTreeSet<Name>,
    /// Virtual servers whose weights follow load, of which there is news since the moment before [`GATHER`] ends.
    loaded: Option<(Duration, BTreeSet<Name>)>,
    /// How often a check fell silent, was heard again or was tried for the first time, or the plan changed.
    turns: u64,
    /// Up to when expiry has been looked at.
    looked_at: Duration,
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

    /// What was decided of a virtual server; none when there is none of that name.
    pub fn pool(&self, virtual_server: &Name) -> Option<&DecidedPool> {
        self.pools.get(virtual_server).map(Arc::as_ref)
    }

    /// The checks of a virtual server, in the order of its destinations.
    pub fn checks(&self, virtual_server: &Name) -> &[Arc<CheckKey>] {
        self.index.checks(virtual_server)
    }

    /// How a check was answered of late; none before it was heard of.
    pub fn tries(&self, check: &CheckKey) -> Option<Tries> {
        self.probes.get(check).map(|(_, tries)| *tries)
    }

    /// Changes whenever a check falls silent, is heard again or is tried for the first time, and with the plan.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The checks through VIPs.
    pub fn paths(&self) -> &Paths {
        self.index.paths()
    }

    /// Every virtual server with what was decided of it, ordered by name.
    pub fn pools(&self) -> impl Iterator<Item = (&Name, &DecidedPool)> {
        self.pools.iter().map(|(name, pool)| (name, &**pool))
    }

    /// The latch, to be saved.
    pub fn arp(&self) -> &ArpLatch {
        &self.arp
    }

    /// What an agent says of a VIP on its host, if its evidence counts.
    pub fn vip_evidence(&self, now: Duration, agent: &Name, vip: IpAddr) -> Option<&VipEvidence> {
        self.evidence.fresh(now, agent)?.vip(vip)
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
        self.turns += 1;
        let mut effect = Effect { to_tell: true, ..Effect::default() };
        effect.to_latch = self.follow_latch(&reindexed.agents);
        for check in &reindexed.ended {
            self.probes.remove(check);
            self.paths.remove(check);
        }
        let mut before: BTreeMap<&Name, (&VirtualServerPlan, Arc<DecidedPool>)> = BTreeMap::new();
        for old in &reindexed.replaced {
            if let Some(pool) = self.take_out(&old.name) {
                before.insert(&old.name, (old, pool));
            }
        }
        for server in changed {
            let before = before.get(&server.name).filter(|(old, _)| is_same_entry(old, server));
            let past = Past::of_plan(now, server, before, &adopted);
            let decided = self.decide(now, server, &past);
            effect.compare(&server.name, before.map(|(_, pool)| &**pool), &decided);
            let decided = self.keep(decided);
            self.put_in(server.name.clone(), decided);
            effect.weights.insert(server.name.clone());
        }
        for (_, pool) in before.into_values() {
            self.decided.release(pool);
        }
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
        let (before, load_before) = (self.said(now, &agent), self.load(now, &agent));
        match self.evidence.receive(now, evidence) {
            // A repeated report may end sooner, and an older one may still tell of a VIP.
            Receipt::News | Receipt::Repeated | Receipt::Older => {}
            Receipt::Full => return Effect::default(),
        }
        // Most reports only say that nothing has changed.
        if !to_latch && before == self.said(now, &agent) {
            if load_before != self.load(now, &agent) {
                self.gather(now, &agent);
            }
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

    /// What weights that follow load depend on, of each server.
    fn load(&self, now: Duration, agent: &Name) -> Option<Vec<Option<ServerLoad>>> {
        let servers = &self.evidence.fresh(now, agent)?.servers;
        // Counts since the start change nothing.
        let load = |load: ServerLoad| ServerLoad {
            busy_threads: load.busy_threads,
            max_threads: load.max_threads,
            gc_share_permille: load.gc_share_permille,
            mean_request_us: load.mean_request_us,
            ..ServerLoad::default()
        };
        Some(servers.iter().map(|server| server.load.map(load)).collect())
    }

    /// Has the virtual servers whose weights follow the agent's load decided within a moment.
    fn gather(&mut self, now: Duration, agent: &Name) {
        let touched = self.index.of_agent(agent).into_iter().flatten();
        let follows = |name: &&Name| {
            self.index.servers().get(*name).is_some_and(|server| server.dynamic_weights.is_some())
        };
        let mut touched = touched.filter(follows).cloned().peekable();
        if touched.peek().is_some() {
            let (_, names) = self.loaded.get_or_insert_with(|| (now + GATHER, BTreeSet::new()));
            names.extend(touched);
        }
    }

    /// Takes what checks make of their real servers. A virtual server that several of them touch is decided once.
    pub fn probes(&mut self, now: Duration, news: impl IntoIterator<Item = CheckNews>) -> Effect {
        let mut touched = self.held.clone();
        for CheckNews { key, probe, tries } in news {
            // Not the answer of a check that the plan asks for no longer.
            if key.via.is_some() {
                if let Some(servers) = self.index.of_check(&key) {
                    touched.extend(servers);
                    self.paths.insert(key, PathProbe::from(&probe));
                }
                continue;
            }
            if !self.index.has_check(&key) {
                continue;
            }
            let before = self.probes.get(&key);
            if before.is_none_or(|(_, before)| silence_of(before) != silence_of(&tries)) {
                self.turns += 1;
            }
            if before.is_none_or(|(before, _)| *before != probe) {
                touched.extend(self.index.of_check(&key).into_iter().flatten());
            }
            self.probes.insert(key, (probe, tries));
        }
        self.redo(now, &touched)
    }

    /// Lets time pass up to `now`: evidence expires, weights rise, dead real servers leave.
    pub fn expire(&mut self, now: Duration) -> Effect {
        let mut touched: BTreeSet<Name> = self
            .evidence
            .expired(self.looked_at, now)
            .filter_map(|agent| self.index.of_agent(agent))
            .flatten()
            .cloned()
            .collect();
        let due = self.looks.iter().take_while(|(at, _)| *at <= now);
        touched.extend(due.map(|(_, name)| name.clone()));
        if let Some((_, names)) = self.loaded.take_if(|(due, _)| *due <= now) {
            touched.extend(names);
        }
        self.looked_at = now;
        self.redo(now, &touched)
    }

    /// When [`Self::expire`] has something to do again.
    pub fn deadline(&self) -> Option<Duration> {
        let look = self.looks.first().map(|(at, _)| *at);
        let loaded = self.loaded.as_ref().map(|(due, _)| *due);
        self.evidence.next_expiry(self.looked_at).into_iter().chain(look).chain(loaded).min()
    }

    /// Whether every virtual server has someone to serve it, or has heard from all why not: before that, this director
    /// had better not become Active.
    pub fn is_settled(&self) -> bool {
        self.pools.values().all(|pool| pool.is_served() || !pool.is_waiting())
    }

    /// Decides these virtual servers anew.
    fn redo(&mut self, now: Duration, touched: &BTreeSet<Name>) -> Effect {
        let mut effect = Effect::default();
        let (decided, news) = self.decide_again(now, touched);
        let decided: Vec<_> = decided.into_iter().map(|pool| self.keep(pool)).collect();
        for (name, number) in news {
            let (Some(before), Some(after)) = (self.take_out(&name), decided.get(number)) else {
                continue;
            };
            if effect.changes.compare(&name, &before, after) {
                effect.weights.insert(name.clone());
            }
            effect.to_tell |= !before.tells_as(after);
            effect.compare(&name, Some(&before), after);
            self.decided.release(before);
            self.put_in(name, Arc::clone(after));
        }
        effect
    }

    /// What is decided now of these virtual servers, and the number of that decision for each of those where it differs
    /// from what was decided until now.
    fn decide_again(
        &self,
        now: Duration,
        touched: &BTreeSet<Name>,
    ) -> (Vec<DecidedPool>, Vec<(Name, usize)>) {
        let mut decided = Vec::new();
        let mut news = Vec::new();
        let mut numbers: BTreeMap<Grounds<'_>, Option<usize>> = BTreeMap::new();
        for name in touched {
            let server = self.index.servers().get(name);
            let (Some(server), Some(before)) = (server, self.pools.get(name)) else {
                continue;
            };
            let paths = self.index.paths().of_server(name);
            let grounds = Grounds::of(server, self.index.checks(name), paths, before);
            let number = numbers.entry(grounds).or_insert_with(|| {
                let after = self.decide(now, server, &Past::of_pool(before));
                (**before != after).then(|| {
                    decided.push(after);
                    decided.len() - 1
                })
            });
            news.extend(number.map(|number| (name.clone(), number)));
        }
        (decided, news)
    }

    /// Keeps what is decided alike once.
    fn keep(&mut self, mut pool: DecidedPool) -> Arc<DecidedPool> {
        for decided in pool.members.iter_mut().chain(&mut pool.sorry_server) {
            self.reasons.share(&mut decided.reasons);
        }
        let mut pool = Arc::new(pool);
        self.decided.share(&mut pool);
        pool
    }

    fn put_in(&mut self, name: Name, pool: Arc<DecidedPool>) {
        self.looks.extend(pool.next_look.map(|at| (at, name.clone())));
        self.held.extend(pool.hold().map(|_| name.clone()));
        self.pools.insert(name, pool);
    }

    fn take_out(&mut self, name: &Name) -> Option<Arc<DecidedPool>> {
        let pool = self.pools.remove(name)?;
        self.held.remove(name);
        if let Some(at) = pool.next_look {
            self.looks.remove(&(at, name.clone()));
        }
        Some(pool)
    }

    fn decide(&self, now: Duration, server: &VirtualServerPlan, past: &Past) -> DecidedPool {
        let checks = self.index.checks(&server.name);
        let paths = self.index.paths().of_server(&server.name);
        let paths = paths.iter().map(|key| self.paths.get(key).unwrap_or(&PathProbe::Untried));
        let paths = paths.chain(std::iter::repeat(&PathProbe::NotAsked));
        let members: Vec<Candidate<'_>> = server
            .destinations
            .iter()
            .zip(checks)
            .zip(paths)
            .zip(&past.members)
            .map(|(((destination, check), path), (history, _))| {
                let (probe, tries) = self.probes.get(check).unwrap_or(UNPROBED);
                let probes = (probe, *tries, path);
                self.candidate(now, &server.vips, destination, probes, *history)
            })
            .collect();
        let sorry_server = server.sorry_server.as_ref().map(|sorry| {
            let (probe, tries) = UNPROBED;
            let probes = (probe, *tries, &PathProbe::NotAsked);
            self.candidate(now, &server.vips, sorry, probes, History::default())
        });
        let pool = PoolEvidence {
            requirement: server.agent,
            members: &members,
            sorry_server,
            quorum: server.quorum,
            was_quorum_met: past.was_quorum_met,
            slow_start: server.slow_start,
            dynamic_weights: server.dynamic_weights,
            on_failure: server.options.on_failure,
            check_interval: server.check.interval,
        };
        past.decided(now, &pool, fuse(now, &pool))
    }

    fn candidate<'a>(
        &'a self,
        now: Duration,
        vips: &[IpAddr],
        destination: &'a DestinationPlan,
        (probe, tries, path): (&'a OwnProbe, Tries, &'a PathProbe),
        history: History,
    ) -> Candidate<'a> {
        Candidate {
            real_server: &destination.real_server,
            planned: destination.weight,
            forwarding: destination.forwarding,
            probe,
            tries,
            path,
            agent: self
                .evidence
                .fresh(now, &destination.agent)
                .and_then(|evidence| evidence.server(&destination.real_server)),
            arp: self.arp.safety_of_all(&destination.agent, vips),
            drain: destination.drain.as_deref(),
            local_drain: self.local_drains.get(&destination.real_server),
            history,
        }
    }
}

/// All that a virtual server's decision depends on besides time, evidence and probes. Most often hundreds have the same
/// grounds, for a pool serves many ports and VIPs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Grounds<'a> {
    /// These four by where they are kept, for what is equal is kept once: a pair that is equal and kept apart is merely
    /// decided apart.
    destinations: *const DestinationPlan,
    checks: *const Arc<CheckKey>,
    /// Of whoever has some they are its own.
    paths: Option<*const Arc<CheckKey>>,
    before: *const DecidedPool,
    requirement: AgentRequirement,
    /// Whose ARP safety counts.
    vips: &'a [IpAddr],
    sorry_server: Option<&'a DestinationPlan>,
    quorum: Quorum,
    slow_start: Option<Duration>,
    dynamic_weights: Option<DynamicWeights>,
    on_failure: FailurePolicy,
}

impl<'a> Grounds<'a> {
    fn of(
        server: &'a VirtualServerPlan,
        checks: &[Arc<CheckKey>],
        paths: &[Arc<CheckKey>],
        before: &Arc<DecidedPool>,
    ) -> Self {
        let vips = match server.agent {
            AgentRequirement::Required => &server.vips[..],
            AgentRequirement::None => &[],
        };
        Self {
            destinations: server.destinations.as_ptr(),
            checks: checks.as_ptr(),
            paths: paths.first().map(std::ptr::from_ref),
            before: Arc::as_ptr(before),
            requirement: server.agent,
            vips,
            sorry_server: server.sorry_server.as_ref(),
            quorum: server.quorum,
            slow_start: server.slow_start,
            dynamic_weights: server.dynamic_weights,
            on_failure: server.options.on_failure,
        }
    }
}

/// Since when it is silent, whether that has made it fail, and whether it was ever heard.
fn silence_of(tries: &Tries) -> (Option<(Duration, bool)>, bool) {
    let silence = tries.silence.map(|silence| (silence.since, silence.fell.is_some()));
    (silence, tries.heard.is_some())
}

fn is_same_entry(old: &VirtualServerPlan, new: &VirtualServerPlan) -> bool {
    old.listen == new.listen
}

#[cfg(test)]
mod tests;
