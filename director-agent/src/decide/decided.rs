//! What was decided of a virtual server, and what came of an input.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::fuse::{History, Hold, OwnProbe, PathProbe, Place, QuorumState};
use fulcrum_model::{Name, Verdict, Weight};

/// All that was decided of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecidedPool {
    /// Its real servers, in the order of its destinations.
    pub members: Vec<Decided>,
    /// Its sorry server, if it has one.
    pub sorry_server: Option<Decided>,
    /// Whether enough of them serves.
    pub quorum: QuorumState,
    /// When to decide again although nothing was heard.
    pub(super) next_look: Option<Duration>,
}

impl DecidedPool {
    /// Its real servers, the sorry server last.
    pub fn all(&self) -> impl Iterator<Item = &Decided> {
        self.members.iter().chain(&self.sorry_server)
    }

    /// Nothing that is told of it differs from the other. What is remembered for the next decision is not told: means of
    /// load move on all the time.
    pub(super) fn tells_as(&self, other: &Self) -> bool {
        self.quorum == other.quorum
            && self.all().map(Decided::told).eq(other.all().map(Decided::told))
    }

    /// Somebody takes connections.
    pub fn is_served(&self) -> bool {
        self.all().any(|decided| decided.weight() > Weight::ZERO)
    }

    /// Some real server has not been heard of yet.
    pub fn is_waiting(&self) -> bool {
        self.members.iter().any(|decided| decided.is_waiting)
    }

    /// Some real server fell silent together with others, and stays as it is for now.
    pub fn hold(&self) -> Option<Hold> {
        self.members.iter().filter_map(|decided| decided.hold).max()
    }

    /// Too little of it serves. One that serves nobody yet and has not heard from all is only beginning.
    pub fn has_lost_quorum(&self) -> bool {
        !self.quorum.is_met && (self.is_served() || !self.is_waiting())
    }

    /// The sorry server, while it serves.
    pub fn serving_sorry_server(&self) -> Option<&Decided> {
        self.sorry_server.as_ref().filter(|sorry| sorry.weight() > Weight::ZERO)
    }
}

/// A weight with all that tells why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decided {
    /// The real server.
    pub real_server: Name,
    /// Where its entry belongs, with its weight there.
    pub place: Place,
    /// Weight that the plan wants when in rotation, in the table's scale: of a sorry server none while the quorum is met.
    pub planned: Weight,
    /// Share of it that its load leaves, in thousandths; none where weights do not follow load.
    pub load_share: Option<u16>,
    /// What decided, in words, strongest first. Real servers that stand alike share them.
    pub reasons: Arc<[String]>,
    /// The director's own probe; none of a sorry server, which is not probed.
    pub probe: Option<OwnProbe>,
    /// The director's check of it through the VIP.
    pub path: PathProbe,
    /// The agent's verdict; unknown when the agent is silent.
    pub verdict: Verdict,
    /// When the weight last changed, in monotonic time.
    pub since: Duration,
    /// Neither check nor agent has said yet what is needed for a weight of its own.
    pub is_waiting: bool,
    /// By an order of the plan or at this director.
    pub is_drained: bool,
    /// The newest try of its probe got no answer at all.
    pub is_silent: bool,
    /// It fell silent together with others, and stays as it is for now.
    pub hold: Option<Hold>,
    pub(super) history: History,
}

impl Decided {
    fn told(&self) -> impl PartialEq + '_ {
        let Self { real_server, place, planned, load_share, reasons, probe, .. } = self;
        let Self { verdict, since, is_waiting, is_drained, .. } = self;
        let weights = (real_server, place, planned, load_share, reasons);
        (weights, probe, verdict, since, is_waiting, is_drained)
    }

    /// Weight to program.
    pub fn weight(&self) -> Weight {
        self.place.weight()
    }
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
    /// Weights that check, evidence or time changed, for people.
    pub changes: Changes,
    /// What began or ended for a pool, for people.
    pub turns: Vec<Turn>,
}

/// Weights that changed while the plan stood: when a rack answers, a hundred thousand at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first of them, one by one.
    pub told: Vec<Change>,
    /// How many there are in all.
    pub count: usize,
    /// Somebody who took connections is among them.
    pub touches_service: bool,
}

impl Changes {
    /// So many are told one by one; the rest is counted.
    const MOST_TOLD: usize = 20;

    /// Adds the weights of a virtual server that differ; tells whether there are any.
    pub(super) fn compare(
        &mut self,
        virtual_server: &Name,
        before: &DecidedPool,
        after: &DecidedPool,
    ) -> bool {
        let known = self.count;
        for (before, after) in before.all().zip(after.all()) {
            if before.place == after.place {
                continue;
            }
            self.count += 1;
            self.touches_service |= before.weight() > Weight::ZERO;
            if self.told.len() < Self::MOST_TOLD {
                self.told.push(Change {
                    virtual_server: virtual_server.clone(),
                    real_server: after.real_server.clone(),
                    before: before.place,
                    after: after.place,
                    reasons: after.reasons.clone(),
                });
            }
        }
        self.count > known
    }

    fn merge(&mut self, other: Self) {
        let room = Self::MOST_TOLD.saturating_sub(self.told.len());
        self.told.extend(other.told.into_iter().take(room));
        self.count += other.count;
        self.touches_service |= other.touches_service;
    }
}

/// A weight that changed while the plan stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The virtual server.
    pub virtual_server: Name,
    /// The real server.
    pub real_server: Name,
    /// Its entry until now.
    pub before: Place,
    /// Its entry from now on.
    pub after: Place,
    /// What decided, strongest first.
    pub reasons: Arc<[String]>,
}

/// Something that begins or ends for a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The virtual server.
    pub virtual_server: Name,
    /// What.
    pub kind: TurnKind,
}

/// What begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnKind {
    /// Its pool has lost its quorum.
    QuorumLost(QuorumState),
    /// Its pool has its quorum again.
    QuorumMet(QuorumState),
    /// The sorry server serves, and nobody else.
    SorryServerBegins(Name),
    /// The sorry server serves no longer.
    SorryServerEnds(Name),
    /// A real server is drained, with who wants it and why.
    DrainBegins(Name, String),
    /// A real server is drained no longer.
    DrainEnds(Name),
}

impl Effect {
    /// Adds what came of another input.
    pub fn merge(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.to_tell |= other.to_tell;
        self.to_latch |= other.to_latch;
        self.changes.merge(other.changes);
        self.turns.extend(other.turns);
    }

    /// Adds what began and ended for a virtual server. Before its first decision all was well.
    pub(super) fn compare(
        &mut self,
        name: &Name,
        before: Option<&DecidedPool>,
        after: &DecidedPool,
    ) {
        let mut add = |kind| self.turns.push(Turn { virtual_server: name.clone(), kind });
        match (before.is_some_and(DecidedPool::has_lost_quorum), after.has_lost_quorum()) {
            (false, true) => add(TurnKind::QuorumLost(after.quorum)),
            (true, false) => add(TurnKind::QuorumMet(after.quorum)),
            (true, true) | (false, false) => {}
        }
        let sorry_before = before.and_then(DecidedPool::serving_sorry_server);
        match (sorry_before, after.serving_sorry_server()) {
            (None, Some(sorry)) => add(TurnKind::SorryServerBegins(sorry.real_server.clone())),
            (Some(sorry), None) => add(TurnKind::SorryServerEnds(sorry.real_server.clone())),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let drained = before.into_iter().flat_map(|before| &before.members);
        let drained: BTreeSet<&Name> =
            drained.filter(|old| old.is_drained).map(|old| &old.real_server).collect();
        for decided in &after.members {
            let name = &decided.real_server;
            match (drained.contains(name), decided.is_drained) {
                (false, true) => {
                    let order = decided.reasons.first().cloned().unwrap_or_default();
                    add(TurnKind::DrainBegins(name.clone(), order));
                }
                (true, false) => add(TurnKind::DrainEnds(name.clone())),
                (true, true) | (false, false) => {}
            }
        }
    }
}
