//! From evidence to weights: the one function, used by directors to act and by controllers to explain.
//!
//! The laws, for one virtual server's pool:
//! 1. A real server is in rotation while the director's own probe passes and the agent has not said draining, stopping
//!    or down. A silent agent is *unknown*, not down: the own probe decides.
//! 2. In dr and tunnel, where the agent is required, ARP safety must have been proven first.
//! 3. Saturated lowers the weight, never to zero.
//! 4. Agents alone never empty a pool, nor lose its quorum: where every real server whose own probe passes is objected
//!    to by its agent with *down*, the own probes decide.
//! 5. When own probes fail for all, all are kept (panic): to drop everyone helps nobody. Not where a sorry server serves.
//! 6. Before the first probe has an answer, the kernel's weight stands.
//! 7. An order to drain takes the weight away, whatever else is known. With a grace the entry leaves the table, when its
//!    connections have ended or the grace is over; without one it stays. An order of the plan and one that was given at the
//!    director stand beside each other: the weight is back when both have ended.
//! 8. The quorum is lost and met by the planned weights of those in rotation ([`QuorumState`]).
//! 9. While the quorum is lost the sorry server serves, and it alone, as with keepalived: members that could serve have
//!    weight 0, but where keepalived deletes their entries here their connections go on. It is not probed. Where
//!    law 2 keeps it out, the pool decides as if it had none.
//! 10. Slow start: a real server that comes back to a pool with a warm one rises to its weight in at most ten steps.
//! 11. With [`FailurePolicy::Reset`] the entry of one that is dead, by its own probe, its agent or law 14, and has stayed out for
//!     [`RESET_AFTER`] leaves the table with its connections. Never that of one that is drained, or kept by laws 4 and 5.
//! 12. A weight that the own probe gives takes the place of the planned one; the agent's word lowers that.
//! 13. Damping: a real server that falls again and again must be well for a while, twice as long with each fall, before it is in
//!     rotation. Not where nobody else serves: it never empties a pool, nor loses its quorum ([`Flaps`]).
//! 14. One whose own probe passes, and to which the way through the VIP fails, is out as if it were dead, where another one is in
//!     rotation and the way to that passes. Where none passes, the director's own part of the way is suspect: nobody is taken out
//!     for it, and it loses no quorum. A way that was not tried yet counts neither way.
//! 15. Silence together: where several of a pool stop answering at once and nobody of it was heard since, each that falls stays as
//!     it is until there is better evidence, at most [`HOLD`]: this director may be cut off. Not one whose agent says down, nor where
//!     nobody is left, of which laws 5 and 9 speak. It loses no quorum and meets none ([`Tries`]).
//! 16. Load, where the pool asks for it: who is busier than the freest, spends more time in pauses of its garbage collector or takes longer
//!     for a request than is usual in the pool has a smaller weight, never zero nor above the whole.
//!     All as busy are whole, and one whose load is not known is. Takes the place of law 3's quarter ([`load`]).
//!
//! ```text
//!   evidence -> standing (1, 2, 6, 7, 12, 13, 14, 15) -> quorum (8, 14) -> settled (3, 4, 5, 9, 13, 14, 15) -> load (16)
//!            -> slow start (10) -> place (7, 11)
//! ```

mod damping;
pub mod load;
mod path;
mod quorum;
mod settle;
mod silence;
mod slow_start;
mod standing;

use std::fmt;
use std::time::Duration;

use crate::plan::DrainPlan;
use crate::resource::AgentRequirement;
use crate::{
    DynamicWeights, FailurePolicy, ForwardingMethod, LocalOrder, Name, Quorum, ServerEvidence,
    Weight,
};

pub use damping::Flaps;
pub use load::LoadHistory;
pub use path::PathProbe;
pub use quorum::QuorumState;
use settle::Settled;
pub use silence::{EndedSilence, HOLD, Hold, LEAST_WINDOW, Silence, Tries};
pub use slow_start::Service;

/// A dead real server keeps its entry, with weight 0, for so long, so that a check that fails once resets nobody.
pub const RESET_AFTER: Duration = Duration::from_secs(1);

/// What a director knows of a pool, as one virtual server uses it.
#[derive(Clone, Debug)]
pub struct PoolEvidence<'a> {
    /// Whether the agents of its real servers are required.
    pub requirement: AgentRequirement,
    /// Its real servers.
    pub members: &'a [Candidate<'a>],
    /// Who serves while the quorum is lost. Of its probe, its drain and its history nothing is asked.
    pub sorry_server: Option<Candidate<'a>>,
    /// How much of it must serve.
    pub quorum: Quorum,
    /// Whether the quorum was met until now.
    pub was_quorum_met: bool,
    /// Time over which a real server that comes back is given its weight.
    pub slow_start: Option<Duration>,
    /// How weights follow load; not at all when none.
    pub dynamic_weights: Option<DynamicWeights>,
    /// What becomes of established connections of a dead real server.
    pub on_failure: FailurePolicy,
    /// Time between two tries of its own probes.
    pub check_interval: Duration,
}

/// What a director knows of one real server.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The real server.
    pub real_server: &'a Name,
    /// Weight when in rotation.
    pub planned: Weight,
    /// How packets reach it.
    pub forwarding: ForwardingMethod,
    /// The director's own probe.
    pub probe: &'a OwnProbe,
    /// How its tries were answered.
    pub tries: Tries,
    /// The director's check of it through the VIP.
    pub path: &'a PathProbe,
    /// The agent's evidence, if it is fresh.
    pub agent: Option<&'a ServerEvidence>,
    /// Whether the VIP is safe on that host.
    pub arp: &'a ArpSafety,
    /// An order that it takes no new connections.
    pub drain: Option<&'a DrainPlan>,
    /// The same, ordered at the director itself.
    pub local_drain: Option<&'a LocalOrder>,
    /// What was decided of it until now.
    pub history: History,
}

impl Candidate<'_> {
    /// Ordered to take no new connections, by whomever.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() || self.local_drain.is_some()
    }
}

/// What the director's own probe says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnProbe {
    /// Not tried yet.
    Pending,
    /// Passes.
    Passing,
    /// Passes, with something to tell.
    Remarked(Remark),
    /// Fails, with what was seen.
    Failing(String),
}

impl OwnProbe {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Passing | Self::Remarked(_))
    }
}

/// What a probe that passes has to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Takes the place of the planned weight (keepalived: `misc_dynamic`).
    pub weight: Option<Weight>,
    /// In words for people.
    pub text: String,
}

/// Whether the VIP is bound on the real server's host with ARP silenced before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArpSafety {
    /// Reported by the agent, and not contradicted since.
    Proven,
    /// Never reported for this boot of the host.
    Unproven,
    /// Reported to be unsafe, with what is wrong.
    Contradicted(String),
}

/// What a decision leaves behind for the next one. The default is that of a real server that is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct History {
    /// Weight in the table; none when it has no entry there that is to stay.
    pub weight: Option<Weight>,
    /// Its part in the rotation.
    pub service: Service,
    /// Since when it is dead; none while it is not.
    pub dead_since: Option<Duration>,
    /// How often it has fallen of late.
    pub flaps: Flaps,
    /// How busy it was.
    pub load: LoadHistory,
}

impl History {
    /// Of one that was found in the kernel's table when the director started.
    pub fn adopted(weight: Weight) -> Self {
        let service = if weight == Weight::ZERO { Service::Out } else { Service::ADOPTED };
        Self { weight: Some(weight), service, load: LoadHistory::Adopted, ..Self::default() }
    }
}

/// Where a real server's entry belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the kernel's table, with this weight.
    In(Weight),
    /// Out of it: no new connections from now on, and deleted once its connections have ended.
    Leaving {
        /// Or after this long whatever they do; when none, as long as any real server that leaves a pool.
        within: Option<Duration>,
    },
}

impl Place {
    /// Its weight.
    pub fn weight(self) -> Weight {
        match self {
            Self::In(weight) => weight,
            Self::Leaving { .. } => Weight::ZERO,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(weight) => weight.fmt(f),
            Self::Leaving { .. } => f.write_str("out of the table"),
        }
    }
}

/// Where a real server belongs, with the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The real server.
    pub real_server: Name,
    /// Where its entry belongs.
    pub place: Place,
    /// Its planned weight, in the scale of the table: where weights follow load, it is finer than the plan's.
    pub whole: Weight,
    /// Share of the weight that its load leaves, in thousandths; none where weights do not follow load.
    pub load_share: Option<u16>,
    /// What decided, in words for people, strongest first.
    pub reasons: Vec<String>,
    /// For the next decision.
    pub history: History,
    /// Law 15 holds it as it is.
    pub hold: Option<Hold>,
}

/// What was decided of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDecision {
    /// Of each real server, in the order of the candidates.
    pub members: Vec<Decision>,
    /// Of the sorry server, if there is one.
    pub sorry_server: Option<Decision>,
    /// Whether enough of the pool serves.
    pub quorum: QuorumState,
    /// When to decide again although nothing was heard; always after `now`.
    pub next_look: Option<Duration>,
}

/// Decides the weights of a pool as one virtual server uses it. `now` and the times in histories are of one monotonic
/// clock.
pub fn fuse(now: Duration, pool: &PoolEvidence<'_>) -> PoolDecision {
    let mut standings: Vec<_> =
        pool.members.iter().map(|member| standing::of(now, pool, member)).collect();
    silence::hold(now, pool, &mut standings);
    let standings = path::judge(pool.members, standings);
    let quorum = quorum::judge(pool, &standings);
    let sorry = pool.sorry_server.as_ref().map(|sorry| settle::sorry_server(pool, sorry, quorum));
    let sorry_serves =
        sorry.as_ref().is_some_and(|decision| decision.place.weight() > Weight::ZERO);
    let mut settled = settle::members(pool.members, standings, sorry_serves);
    let next_look = load::lower(now, pool, &mut settled);
    let mut next_look = earlier(next_look, slow_start::rise(now, pool, &mut settled));
    let mut members = Vec::with_capacity(settled.len());
    for (candidate, settled) in pool.members.iter().zip(settled) {
        let (decision, look) = place(now, pool, candidate, settled);
        members.push(decision);
        next_look = earlier(next_look, look);
    }
    PoolDecision { members, sorry_server: sorry, quorum, next_look }
}

/// What becomes of the entry, and when that changes by itself.
fn place(
    now: Duration,
    pool: &PoolEvidence<'_>,
    candidate: &Candidate<'_>,
    settled: Settled,
) -> (Decision, Option<Duration>) {
    let Settled { weight, whole, mut reasons, is_dead, service, load, is_held: _, hold } = settled;
    let before = candidate.history;
    let dead_since = is_dead.then(|| before.dead_since.unwrap_or(now));
    let flaps = match (before.dead_since, dead_since) {
        (None, Some(_)) => before.flaps.fell(now),
        (Some(_), None) => before.flaps.rose(now),
        (None, None) | (Some(_), Some(_)) => before.flaps,
    };
    let grace = candidate.drain.and_then(|drain| drain.grace);
    let mut look = earlier(flaps.held(now).map(|held| held.until), hold.map(|hold| hold.until));
    let place = match (grace, pool.on_failure, dead_since) {
        (Some(_), _, _) => Place::Leaving { within: grace },
        // Law 15: no connection is reset of one that may be well.
        (None, FailurePolicy::Reset, Some(_)) if hold.is_some() && before.weight.is_some() => {
            Place::In(weight)
        }
        (None, FailurePolicy::Reset, Some(since)) if since + RESET_AFTER <= now => {
            reasons.push("its connections are reset".to_owned());
            Place::Leaving { within: Some(Duration::ZERO) }
        }
        (None, FailurePolicy::Reset, Some(since)) => {
            look = earlier(look, Some(since + RESET_AFTER));
            Place::In(weight)
        }
        (None, FailurePolicy::Keep, _) | (None, FailurePolicy::Reset, None) => Place::In(weight),
    };
    let weight = match place {
        Place::In(weight) => Some(weight),
        Place::Leaving { .. } => None,
    };
    let history = History { weight, service, dead_since, flaps, load };
    let real_server = candidate.real_server.clone();
    let load_share = pool.dynamic_weights.map(|_| load.share());
    (Decision { real_server, place, whole, load_share, reasons, history, hold }, look)
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
