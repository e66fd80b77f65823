//! The pool's laws: who serves when the others do not.

use super::standing::{self, Standing};
use super::{
    Candidate, Decision, HOLD, History, Hold, LoadHistory, OwnProbe, Place, PoolEvidence,
    QuorumState, Service,
};
use crate::{Verdict, Weight};

/// What the laws make of a real server, before slow start.
pub(super) struct Settled {
    pub(super) weight: Weight,
    /// The planned weight.
    pub(super) whole: Weight,
    pub(super) reasons: Vec<String>,
    /// Its probe fails or its agent says down, and no law keeps it all the same.
    pub(super) is_dead: bool,
    /// Law 6 or 15 keeps the weight as it is.
    pub(super) is_held: bool,
    /// Law 15 does.
    pub(super) hold: Option<Hold>,
    /// Its part in the rotation until now.
    pub(super) service: Service,
    /// How busy it was until now.
    pub(super) load: LoadHistory,
}

/// What keeps real servers that would be out.
#[derive(Clone, Copy)]
struct PoolState {
    /// Law 9: the sorry server serves, so nobody else does.
    sorry_serves: bool,
    /// Law 4 looks at those whom only their agent keeps out.
    some_in: bool,
    /// Law 5 looks at those whose probe has answered.
    all_failing: bool,
}

/// Settles each member, in order.
pub(super) fn members(
    members: &[Candidate<'_>],
    standings: Vec<Standing>,
    sorry_serves: bool,
) -> Vec<Settled> {
    let some_in = standings.iter().any(Standing::is_serving);
    let some_fails =
        standings.iter().any(|s| matches!(s, Standing::ProbeFails(_) | Standing::Silent { .. }));
    let some_kept_out = members.iter().zip(&standings).any(|(member, standing)| match standing {
        Standing::AgentObjects { .. } | Standing::Damped { .. } | Standing::Gray { .. } => true,
        // A drained real server that is well shows that not all fail.
        Standing::Drained(_) => !matches!(member.probe, OwnProbe::Failing(_)),
        Standing::In { .. }
        | Standing::Held { .. }
        | Standing::Waiting
        | Standing::ArpUnsafe(_)
        | Standing::ProbeFails(_)
        | Standing::Silent { .. } => false,
    });
    let all_failing = !some_in && some_fails && !some_kept_out;
    let pool = PoolState { sorry_serves, some_in, all_failing };
    members.iter().zip(standings).map(|(member, standing)| settle(member, standing, pool)).collect()
}

fn settle(candidate: &Candidate<'_>, standing: Standing, pool: PoolState) -> Settled {
    let History { service, load, .. } = candidate.history;
    let whole = candidate.planned;
    let with = |weight, reasons| Settled {
        weight,
        whole,
        reasons,
        is_dead: false,
        is_held: false,
        hold: None,
        service,
        load,
    };
    let out = |reason, is_dead| Settled { is_dead, ..with(Weight::ZERO, vec![reason]) };
    let stands_aside = |mut reasons: Vec<String>| {
        reasons.insert(0, "quorum lost: the sorry server serves instead".to_owned());
        with(Weight::ZERO, reasons)
    };
    match standing {
        Standing::In { reasons, .. } if pool.sorry_serves => stands_aside(reasons),
        Standing::In { weight, reasons } => with(weight, reasons),
        Standing::Damped { reasons, .. } if pool.sorry_serves => stands_aside(reasons),
        Standing::Damped { reasons, .. } if pool.some_in => with(Weight::ZERO, reasons),
        Standing::Damped { weight, mut reasons } => {
            reasons.insert(0, "damping never empties a pool: nobody else serves".to_owned());
            with(weight, reasons)
        }
        Standing::Held { .. } if pool.sorry_serves => {
            stands_aside(vec!["own probe has no answer yet".to_owned()])
        }
        Standing::Held { weight } => {
            let reason = "own probe has no answer yet: the kernel's weight stands";
            Settled { is_held: true, ..with(weight, vec![reason.to_owned()]) }
        }
        Standing::Waiting => out("own probe has no answer yet".to_owned(), false),
        Standing::Drained(reason) | Standing::ArpUnsafe(reason) => out(reason, false),
        Standing::AgentObjects { reason, may_override: false } => out(reason, false),
        Standing::AgentObjects { reason, may_override: true } => {
            if candidate.probe.passes() && !pool.some_in && !pool.sorry_serves {
                let kept = "agents alone never empty a pool: own probe passes".to_owned();
                with(candidate.planned, vec![kept, reason])
            } else {
                out(reason, true)
            }
        }
        Standing::Gray { fault, .. } => out(fault, true),
        Standing::ProbeFails(reason) | Standing::Silent { reason, .. }
            if pool.all_failing && !pool.sorry_serves =>
        {
            let kept = "own probes fail for every real server: all are kept".to_owned();
            with(candidate.planned, vec![kept, reason])
        }
        Standing::ProbeFails(reason) => out(reason, true),
        Standing::Silent { reason, .. } if pool.sorry_serves => out(reason, true),
        Standing::Silent { reason, hold } => {
            // What fell before the others did has fallen, and once.
            let is_dead = candidate.history.dead_since.is_some();
            let weight = candidate.history.weight.unwrap_or_default().min(candidate.planned);
            let reasons = vec![silence(hold), reason];
            Settled { is_dead, is_held: true, hold: Some(hold), ..with(weight, reasons) }
        }
    }
}

/// Decides of the sorry server: in while the quorum is lost, if ARP allows it.
pub(super) fn sorry_server(
    pool: &PoolEvidence<'_>,
    candidate: &Candidate<'_>,
    quorum: QuorumState,
) -> Decision {
    let fault = standing::arp_fault(pool.requirement, candidate);
    let leaving = Place::Leaving { within: None };
    let (place, mut reasons) = match (quorum.is_met, fault) {
        (true, _) => (leaving, vec!["sorry server: the pool has its quorum".to_owned()]),
        (false, Some(fault)) => (leaving, vec![fault]),
        (false, None) => (
            Place::In(candidate.planned),
            vec!["sorry server: the pool has lost its quorum".to_owned()],
        ),
    };
    let agent = standing::heard_agent(pool.requirement, candidate);
    if let Some(evidence) = agent {
        match evidence.verdict {
            Verdict::Down | Verdict::Stopping | Verdict::Draining => {
                reasons.push(standing::objection(evidence));
            }
            Verdict::Up | Verdict::Saturated | Verdict::Unknown => {}
        }
    }
    Decision {
        real_server: candidate.real_server.clone(),
        place,
        whole: candidate.planned,
        load_share: None,
        reasons,
        history: History::default(),
        hold: None,
    }
}

/// Why it is held, without running times.
fn silence(Hold { silent, of, .. }: Hold) -> String {
    format!(
        "{silent} of {of} real servers fell silent together: this director may be cut off, so the weight is held \
         until somebody answers, at most {HOLD:?}"
    )
}
