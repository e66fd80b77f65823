//! Where one real server stands before the pool's laws.

use std::time::Duration;

use super::path;
use super::{ArpSafety, Candidate, History, Hold, OwnProbe, PoolEvidence, Remark};
use crate::plan::DrainPlan;
use crate::resource::AgentRequirement;
use crate::{LocalOrder, ServerEvidence, Verdict, Weight};

/// Share of the planned weight that a saturated server keeps: a quarter, and at least 1.
const SATURATED_DIVISOR: u64 = 4;

/// Where one real server stands.
pub(super) enum Standing {
    In {
        weight: Weight,
        reasons: Vec<String>,
    },
    /// Law 13: it could serve, and has fallen too often.
    Damped {
        weight: Weight,
        reasons: Vec<String>,
    },
    /// The kernel's weight stands until the first probe answers.
    Held {
        weight: Weight,
    },
    Waiting,
    Drained(String),
    ArpUnsafe(String),
    /// `may_override`: the agent said down, which law 4 can overrule; draining and stopping are orders.
    AgentObjects {
        reason: String,
        may_override: bool,
    },
    ProbeFails(String),
    /// Law 14: it could serve, and the VIP does not answer.
    Gray {
        fault: String,
        /// Where it stands if that is not its fault.
        otherwise: Box<Standing>,
    },
    /// Law 15: its probe fails, as others' do at the same time.
    Silent {
        reason: String,
        hold: Hold,
    },
}

impl Standing {
    /// It takes connections, were it not for the sorry server.
    pub(super) fn is_serving(&self) -> bool {
        match self {
            Self::In { weight, .. } | Self::Held { weight } => *weight > Weight::ZERO,
            Self::Damped { .. }
            | Self::Waiting
            | Self::Drained(_)
            | Self::ArpUnsafe(_)
            | Self::AgentObjects { .. }
            | Self::ProbeFails(_)
            | Self::Gray { .. }
            | Self::Silent { .. } => false,
        }
    }
}

/// Where a real server of the pool stands.
pub(super) fn of(now: Duration, pool: &PoolEvidence<'_>, candidate: &Candidate<'_>) -> Standing {
    let standing = match undamped(pool, candidate) {
        Standing::In { weight, reasons } => damp(now, candidate, weight, reasons),
        other => other,
    };
    match (path::fault(candidate), &standing) {
        (Some(fault), Standing::In { .. } | Standing::Damped { .. }) => {
            Standing::Gray { fault, otherwise: Box::new(standing) }
        }
        // Law 4 could bring it back, were it not for this.
        (Some(fault), Standing::AgentObjects { reason, may_override: true })
            if candidate.probe.passes() =>
        {
            let fault = format!("{fault}; {reason}");
            Standing::Gray { fault, otherwise: Box::new(standing) }
        }
        (Some(_) | None, _) => standing,
    }
}

/// Law 13.
fn damp(
    now: Duration,
    candidate: &Candidate<'_>,
    weight: Weight,
    mut reasons: Vec<String>,
) -> Standing {
    let History { flaps, dead_since, .. } = candidate.history;
    let flaps = if dead_since.is_some() { flaps.rose(now) } else { flaps };
    let Some(held) = flaps.held(now) else { return Standing::In { weight, reasons } };
    let words = format!("damped: it fell again and again, and must be well for {:?}", held.hold);
    reasons.insert(0, words);
    Standing::Damped { weight, reasons }
}

fn undamped(pool: &PoolEvidence<'_>, candidate: &Candidate<'_>) -> Standing {
    let requirement = pool.requirement;
    if candidate.is_drained() {
        let orders = candidate.drain.map(drained).into_iter();
        let orders: Vec<_> = orders.chain(candidate.local_drain.map(drained_locally)).collect();
        return Standing::Drained(orders.join("; "));
    }
    if let Some(reason) = arp_fault(requirement, candidate) {
        return Standing::ArpUnsafe(reason);
    }
    let agent = heard_agent(requirement, candidate);
    if let Some(evidence) = agent {
        let reason = || objection(evidence);
        match evidence.verdict {
            Verdict::Down => {
                // A failing own probe is the stronger reason: then law 4 must not bring it back.
                if let OwnProbe::Failing(seen) = candidate.probe {
                    return Standing::ProbeFails(format!("own probe fails: {seen}; {}", reason()));
                }
                return Standing::AgentObjects { reason: reason(), may_override: true };
            }
            Verdict::Draining | Verdict::Stopping => {
                return Standing::AgentObjects { reason: reason(), may_override: false };
            }
            Verdict::Up | Verdict::Saturated | Verdict::Unknown => {}
        }
    }
    match candidate.probe {
        OwnProbe::Failing(seen) => Standing::ProbeFails(format!("own probe fails: {seen}")),
        OwnProbe::Pending => match candidate.history.weight {
            Some(weight) => Standing::Held { weight },
            None => Standing::Waiting,
        },
        OwnProbe::Passing => {
            in_rotation(pool, candidate.planned, "own probe passes".to_owned(), agent)
        }
        OwnProbe::Remarked(Remark { weight, text }) => in_rotation(
            pool,
            weight.unwrap_or(candidate.planned),
            format!("own probe passes: {text}"),
            agent,
        ),
    }
}

/// Why packets must not be sent there for the sake of ARP; none where they may.
pub(super) fn arp_fault(
    requirement: AgentRequirement,
    candidate: &Candidate<'_>,
) -> Option<String> {
    if !candidate.forwarding.needs_arp_safety() || requirement == AgentRequirement::None {
        return None;
    }
    match candidate.arp {
        ArpSafety::Proven => None,
        ArpSafety::Unproven => {
            Some("ARP safety not yet reported by the real server's agent".to_owned())
        }
        ArpSafety::Contradicted(detail) => Some(format!("ARP unsafe: {detail}")),
    }
}

/// The agent's evidence, where it is asked for.
pub(super) fn heard_agent<'a>(
    requirement: AgentRequirement,
    candidate: &Candidate<'a>,
) -> Option<&'a ServerEvidence> {
    match requirement {
        AgentRequirement::Required => candidate.agent,
        AgentRequirement::None => None,
    }
}

/// What an agent objects, in words.
pub(super) fn objection(evidence: &ServerEvidence) -> String {
    let seen = evidence.reasons.first().map(String::as_str).unwrap_or_default();
    format!("agent says {}: {seen}", evidence.verdict.as_str())
}

/// Who drains it and why. Without running times, so that the words change with the order alone.
fn drained(drain: &DrainPlan) -> String {
    let DrainPlan { name, reason, requested_by, grace } = drain;
    let who = if requested_by.is_empty() { "order" } else { requested_by };
    let why = if reason.is_empty() { "no reason given" } else { reason };
    let until = match grace {
        None => String::new(),
        Some(grace) => format!("; its connections may go on for {grace:?}"),
    };
    format!("drained by {who}: {why} (drain {name}{until})")
}

/// The same of an order that was given at the director. Its end is told beside it.
fn drained_locally(LocalOrder { owner, reason, .. }: &LocalOrder) -> String {
    format!("drained by {owner}: {reason} (drain local/{owner})")
}

fn in_rotation(
    pool: &PoolEvidence<'_>,
    planned: Weight,
    passes: String,
    agent: Option<&ServerEvidence>,
) -> Standing {
    let mut reasons = vec![passes];
    let weight = match agent.map(|evidence| evidence.verdict) {
        // Law 16 lowers it more finely.
        Some(Verdict::Saturated) if pool.dynamic_weights.is_some() => {
            reasons.push("agent says saturated".to_owned());
            planned
        }
        Some(Verdict::Saturated) => {
            reasons.insert(0, "agent says saturated: weight lowered to a quarter".to_owned());
            let floor = u64::from(planned.get()).min(1);
            Weight::new((u64::from(planned.get()) / SATURATED_DIVISOR).max(floor))
                .unwrap_or(planned)
        }
        Some(Verdict::Up) => {
            reasons.push("agent says up".to_owned());
            planned
        }
        Some(Verdict::Unknown) | None => {
            reasons.push("agent unknown: the own probe decides".to_owned());
            planned
        }
        // These keep a real server out before this point.
        Some(Verdict::Draining | Verdict::Stopping | Verdict::Down) => Weight::ZERO,
    };
    Standing::In { weight, reasons }
}
