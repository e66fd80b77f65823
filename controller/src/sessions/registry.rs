//! All that this controller knows of the agents, from its own sessions and from the mesh. Pure: time comes as arguments.
//!
//! News of one agent is ordered: of its sessions the greatest (epoch, session) counts, of its evidence the greatest
//! (epoch, sequence). So news may come in any order, however often and over any controller, and all controllers agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use fulcrum_intent::AgentId;
use fulcrum_model::{EvidenceStamp, Name};
use fulcrum_proto::v1;
use prost_types::Timestamp;

use super::key;

/// Orders the sessions of one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionStamp {
    /// Start of the agent.
    pub epoch: u64,
    /// Session of that start.
    pub session: u64,
}

/// Who says hello.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The agent.
    pub key: AgentId,
    /// Its session.
    pub stamp: SessionStamp,
    /// The program's version.
    pub program_version: String,
}

/// What becomes of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the agent's newest session now.
    Welcome {
        /// Highest epoch seen of the agent, its own included.
        highest_epoch: u64,
    },
    /// The agent lost its epoch counter: it has to jump above this and attach again.
    EpochTooLow {
        /// Highest epoch seen of the agent.
        highest_epoch: u64,
    },
    /// A newer session of the agent is known.
    Superseded {
        /// That session.
        by: SessionStamp,
    },
}

/// What became of a peer's news of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Older than what is known.
    Old,
    /// Taken.
    Taken,
    /// Taken; the agent left this controller for the peer, and its session here is over.
    Moved {
        /// The session here.
        here: SessionStamp,
    },
}

/// All that this controller knows of the agents.
#[derive(Debug)]
pub struct Registry {
    /// This controller's name.
    me: String,
    agents: BTreeMap<AgentId, Agent>,
    evidence: BTreeMap<Name, Held>,
}

#[derive(Debug)]
struct Agent {
    status: Arc<v1::AgentStatus>,
    stamp: SessionStamp,
    /// Newest version that it said it has applied.
    applied: Option<v1::PlanVersion>,
}

/// Evidence that is held, with the time since when, for it ages meanwhile.
#[derive(Debug)]
struct Held {
    evidence: Arc<v1::Evidence>,
    stamp: EvidenceStamp,
    since: Instant,
    /// It came over a session of this controller, which therefore tells the peers.
    is_local: bool,
}

impl Registry {
    /// Knows nobody yet.
    pub fn new(me: &str) -> Self {
        Self { me: me.to_owned(), agents: BTreeMap::new(), evidence: BTreeMap::new() }
    }

    /// An agent says hello to this controller.
    pub fn admit(&mut self, newcomer: &Newcomer, now: Timestamp) -> Admission {
        let Newcomer { key, stamp, program_version } = newcomer;
        let highest_epoch = self.highest_epoch(key).max(stamp.epoch);
        if stamp.epoch < highest_epoch {
            return Admission::EpochTooLow { highest_epoch };
        }
        let known = self.agents.get(key);
        if let Some(by) = known.map(|agent| agent.stamp).filter(|known| known >= stamp) {
            return Admission::Superseded { by };
        }
        // What a process of an earlier epoch applied says nothing of this one: the host may have been rebooted.
        let same_process = known.filter(|agent| agent.stamp.epoch == stamp.epoch);
        let status = v1::AgentStatus {
            role: key.role.as_str().to_owned(),
            name: key.name.to_string(),
            attached: true,
            controller: self.me.clone(),
            ack: same_process.and_then(|agent| agent.status.ack.clone()),
            last_heard: Some(now),
            director: known.and_then(|agent| agent.status.director.clone()),
            real_server: known.and_then(|agent| agent.status.real_server.clone()),
            program_version: program_version.clone(),
            epoch: stamp.epoch,
            session: stamp.session,
        };
        let applied = same_process.and_then(|agent| agent.applied.clone());
        let agent = Agent { status: Arc::new(status), stamp: *stamp, applied };
        self.agents.insert(key.clone(), agent);
        Admission::Welcome { highest_epoch }
    }

    fn highest_epoch(&self, key: &AgentId) -> u64 {
        let of_session = self.agents.get(key).map_or(0, |agent| agent.stamp.epoch);
        let held = if key::is_director(key) { None } else { self.evidence.get(&key.name) };
        of_session.max(held.map_or(0, |held| held.stamp.epoch))
    }

    /// A session of this controller ended. False when it was not the agent's newest.
    pub fn leave(&mut self, key: &AgentId, stamp: SessionStamp) -> bool {
        let Some(status) = self.current(key, stamp) else { return false };
        status.attached = false;
        true
    }

    /// An agent was heard in a session of this controller, and `tell` writes down what it said. False when the session is
    /// not its newest, and then nothing is written.
    pub fn hear(
        &mut self,
        key: &AgentId,
        stamp: SessionStamp,
        now: Timestamp,
        tell: impl FnOnce(&mut v1::AgentStatus),
    ) -> bool {
        let Some(status) = self.current(key, stamp) else { return false };
        status.last_heard = Some(now);
        tell(status);
        if let Some(agent) = self.agents.get_mut(key) {
            agent.note_applied();
        }
        true
    }

    fn current(&mut self, key: &AgentId, stamp: SessionStamp) -> Option<&mut v1::AgentStatus> {
        let me = &self.me;
        let agent = self.agents.get_mut(key)?;
        let is_current = agent.stamp == stamp && agent.status.controller == *me;
        is_current.then(|| Arc::make_mut(&mut agent.status))
    }

    /// Takes a peer's news of an agent that is or was attached to it.
    pub fn merge(&mut self, key: &AgentId, status: v1::AgentStatus) -> Merge {
        let stamp = SessionStamp { epoch: status.epoch, session: status.session };
        let known = self.agents.get(key);
        let is_news = known.is_none_or(|known| {
            known.stamp < stamp
                || (known.stamp == stamp && known.status.controller == status.controller)
        });
        if !is_news {
            return Merge::Old;
        }
        let moved =
            known.filter(|agent| agent.status.attached && agent.status.controller == self.me);
        let merge = moved.map_or(Merge::Taken, |agent| Merge::Moved { here: agent.stamp });
        let same_process = known.filter(|agent| agent.stamp.epoch == stamp.epoch);
        let applied = same_process.and_then(|agent| agent.applied.clone());
        let mut agent = Agent { status: Arc::new(status), stamp, applied };
        agent.note_applied();
        self.agents.insert(key.clone(), agent);
        merge
    }

    /// A peer is out of reach: what it said of its agents stands, but nobody knows whether they are attached to it. Gives
    /// the agents concerned.
    pub fn lose_controller(&mut self, controller: &str) -> Vec<AgentId> {
        let lost = self
            .agents
            .iter_mut()
            .filter(|(_, agent)| agent.status.attached && agent.status.controller == controller);
        lost.map(|(key, agent)| {
            Arc::make_mut(&mut agent.status).attached = false;
            key.clone()
        })
        .collect()
    }

    /// Forgets agents that intent does not name and that are not attached. Gives them.
    pub fn forget_unnamed(&mut self, named: &BTreeSet<AgentId>) -> Vec<AgentId> {
        let gone: Vec<AgentId> = self
            .agents
            .iter()
            .filter(|(key, agent)| !agent.status.attached && !named.contains(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.agents.remove(key);
        }
        let agents = &self.agents;
        self.evidence.retain(|agent, _| {
            let key = key::real_server(agent.clone());
            named.contains(&key) || agents.contains_key(&key)
        });
        gone
    }

    /// Takes evidence, over a session of this controller or from a peer. False when it is no news.
    pub fn take_evidence(
        &mut self,
        agent: &Name,
        evidence: v1::Evidence,
        is_local: bool,
        now: Instant,
    ) -> bool {
        let stamp = EvidenceStamp { epoch: evidence.epoch, sequence: evidence.sequence };
        if let Some(held) = self.evidence.get_mut(agent)
            && held.stamp >= stamp
        {
            // An agent that came over from a peer repeats itself here.
            held.is_local |= is_local && held.stamp == stamp;
            return false;
        }
        let held = Held { evidence: Arc::new(evidence), stamp, since: now, is_local };
        self.evidence.insert(agent.clone(), held);
        true
    }

    /// An agent's evidence with its age as of now; none when there is none that still counts.
    pub fn evidence(&self, agent: &Name, now: Instant) -> Option<v1::Evidence> {
        self.evidence.get(agent)?.aged(now)
    }

    /// All evidence that still counts, ordered by agent.
    pub fn all_evidence(&self, now: Instant) -> Vec<v1::Evidence> {
        self.evidence.values().filter_map(|held| held.aged(now)).collect()
    }

    /// Agents whose evidence came over sessions of this controller, whether it still counts or not.
    pub fn local_evidence(&self) -> impl Iterator<Item = &Name> {
        self.evidence.iter().filter(|(_, held)| held.is_local).map(|(agent, _)| agent)
    }

    /// Agents that have ever told evidence, whether it still counts or not.
    pub fn agents_with_evidence(&self) -> impl Iterator<Item = &Name> {
        self.evidence.keys()
    }

    /// What is known of an agent.
    pub fn agent(&self, key: &AgentId) -> Option<&Arc<v1::AgentStatus>> {
        self.agents.get(key).map(|agent| &agent.status)
    }

    /// The newest version that an agent said it has applied.
    pub fn applied(&self, key: &AgentId) -> Option<&v1::PlanVersion> {
        self.agents.get(key)?.applied.as_ref()
    }

    /// All agents ever heard of and not forgotten, ordered by role and name.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &Arc<v1::AgentStatus>)> {
        self.agents.iter().map(|(key, agent)| (key, &agent.status))
    }

    /// Whether the agent's newest session is or was this controller's.
    pub fn is_local(&self, key: &AgentId) -> bool {
        self.agents.get(key).is_some_and(|agent| agent.status.controller == self.me)
    }

    /// Agents whose newest session is or was this controller's.
    pub fn local_agents(&self) -> impl Iterator<Item = &AgentId> {
        self.agents().filter(|(_, status)| status.controller == self.me).map(|(key, _)| key)
    }
}

impl Agent {
    fn note_applied(&mut self) {
        if let Some(ack) = self.status.ack.as_ref().filter(|ack| ack.applied) {
            self.applied.clone_from(&ack.version);
        }
    }
}

impl Held {
    fn aged(&self, now: Instant) -> Option<v1::Evidence> {
        let held_ms = u32::try_from(now.saturating_duration_since(self.since).as_millis());
        let age_ms = self.evidence.age_ms.saturating_add(held_ms.unwrap_or(u32::MAX));
        let still_counts = age_ms < self.evidence.valid_for_ms;
        still_counts.then(|| v1::Evidence { age_ms, ..v1::Evidence::clone(&self.evidence) })
    }
}

#[cfg(test)]
mod tests;
