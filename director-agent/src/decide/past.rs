//! What was decided of a virtual server until now, on its way through the next decision.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::fuse::{
    ArpSafety, Candidate, Decision, History, OwnProbe, PoolDecision, PoolEvidence,
};
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::resource::AgentRequirement;
use fulcrum_model::{Verdict, Weight};

use super::decided::{Decided, DecidedPool};
use super::weights::Adopted;

/// What was decided of a virtual server until now.
pub(super) struct Past {
    pub(super) was_quorum_met: bool,
    /// Of each real server in the order of its destinations: its history, and since when it has its weight.
    pub(super) members: Vec<(History, Duration)>,
    /// Weight of the sorry server, and since when.
    pub(super) sorry_server: Option<(Weight, Duration)>,
}

impl Past {
    pub(super) fn of_pool(pool: &DecidedPool) -> Self {
        Self {
            was_quorum_met: pool.quorum.is_met,
            members: pool.members.iter().map(|decided| (decided.history, decided.since)).collect(),
            sorry_server: pool.sorry_server.as_ref().map(|sorry| (sorry.weight(), sorry.since)),
        }
    }

    /// Of the virtual server as it was before the plan changed, if it was there, or else as the kernel holds it.
    pub(super) fn of_plan(
        now: Duration,
        server: &VirtualServerPlan,
        before: Option<&(&VirtualServerPlan, Arc<DecidedPool>)>,
        adopted: &impl Adopted,
    ) -> Self {
        let held = |destination| adopted(server, destination);
        let member = |destination| match before
            .and_then(|(old, pool)| standing(&old.destinations, &pool.members, destination))
        {
            Some(decided) => (decided.history, decided.since),
            None => (held(destination).map(History::adopted).unwrap_or_default(), now),
        };
        let sorry = |destination| match before.and_then(|(old, pool)| {
            standing(old.sorry_server.as_slice(), pool.sorry_server.as_slice(), destination)
        }) {
            Some(decided) => (decided.weight(), decided.since),
            None => (held(destination).unwrap_or_default(), now),
        };
        let sorry_server = server.sorry_server.as_ref().map(sorry);
        let was_quorum_met = match before {
            Some((_, pool)) => pool.quorum.is_met,
            // Where the kernel has the sorry server serve, an earlier life found it lost.
            None => sorry_server.is_none_or(|(weight, _)| weight == Weight::ZERO),
        };
        let members = server.destinations.iter().map(member).collect();
        Self { was_quorum_met, members, sorry_server }
    }

    /// What was decided, with since when and all else that is told.
    pub(super) fn decided(
        &self,
        now: Duration,
        pool: &PoolEvidence<'_>,
        decision: PoolDecision,
    ) -> DecidedPool {
        let PoolDecision { members, sorry_server, quorum, next_look } = decision;
        let members = members.into_iter().zip(pool.members).zip(&self.members).map(
            |((decision, candidate), (history, since))| {
                let weight = history.weight.unwrap_or_default();
                let since = if weight == decision.place.weight() { *since } else { now };
                decided(pool.requirement, decision, candidate, since)
            },
        );
        let sorry_server =
            sorry_server.zip(pool.sorry_server.as_ref()).map(|(decision, candidate)| {
                let held =
                    self.sorry_server.filter(|(weight, _)| *weight == decision.place.weight());
                let since = held.map_or(now, |(_, since)| since);
                let planned = if quorum.is_met { Weight::ZERO } else { candidate.planned };
                let decided = decided(pool.requirement, decision, candidate, since);
                Decided { planned, probe: None, is_waiting: false, ..decided }
            });
        DecidedPool { members: members.collect(), sorry_server, quorum, next_look }
    }
}

fn decided(
    requirement: AgentRequirement,
    decision: Decision,
    candidate: &Candidate<'_>,
    since: Duration,
) -> Decided {
    let Decision { real_server, place, whole, load_share, reasons, history, hold } = decision;
    Decided {
        real_server,
        place,
        planned: whole,
        load_share,
        reasons: reasons.into(),
        probe: Some(candidate.probe.clone()),
        path: candidate.path.clone(),
        verdict: candidate.agent.map_or(Verdict::Unknown, |said| said.verdict),
        since,
        is_waiting: is_waiting(requirement, candidate),
        is_drained: candidate.is_drained(),
        is_silent: candidate.tries.silence.is_some(),
        hold,
        history,
    }
}

/// What was decided for a real server, if it was one of the old plan.
fn standing<'a>(
    old: &[DestinationPlan],
    decided: &'a [Decided],
    destination: &DestinationPlan,
) -> Option<&'a Decided> {
    let mut pairs = old.iter().zip(decided);
    let found = pairs.find(|(old, _)| (old.rip, old.port) == (destination.rip, destination.port));
    found.map(|(_, decided)| decided)
}

/// Whether nothing is known yet that gives it a weight of its own. Of one that is drained nothing is waited for.
fn is_waiting(requirement: AgentRequirement, candidate: &Candidate<'_>) -> bool {
    let needs_proof =
        candidate.forwarding.needs_arp_safety() && requirement == AgentRequirement::Required;
    !candidate.is_drained()
        && (*candidate.probe == OwnProbe::Pending
            || (needs_proof && *candidate.arp == ArpSafety::Unproven))
}
