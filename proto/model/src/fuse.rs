//! From evidence to weights: the one function, used by directors to act and by controllers to explain.
//!
//! The laws, for one virtual server's pool:
//! 1. A real server is in rotation while the director's own probe passes and the agent has not said draining, stopping
//!    or down. A silent agent is *unknown*, not down: the own probe decides.
//! 2. In dr and tunnel, where the agent is required, ARP safety must have been proven first.
//! 3. Saturated lowers the weight, never to zero.
//! 4. Agents alone never empty a pool: where every real server whose own probe passes is objected to by its agent
//!    with *down*, the own probes decide.
//! 5. When own probes fail for all, all are kept (panic): to drop everyone helps nobody.
//! 6. Before the first probe has an answer, the kernel's weight stands.

use crate::resource::AgentRequirement;
use crate::{ForwardingMethod, Name, ServerEvidence, Verdict, Weight};

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
    /// The agent's evidence, if it is fresh.
    pub agent: Option<&'a ServerEvidence>,
    /// Whether the VIP is safe on that host.
    pub arp: &'a ArpSafety,
    /// Weight in the kernel now, if it is there.
    pub current: Option<Weight>,
}

/// What the director's own probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnProbe {
    /// Not tried yet.
    Pending,
    /// Passes.
    Passing,
    /// Fails, with what was seen.
    Failing(String),
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

/// A weight with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The real server.
    pub real_server: Name,
    /// The weight to program.
    pub weight: Weight,
    /// What decided, in words for people, strongest first.
    pub reasons: Vec<String>,
}

/// Share of the planned weight that a saturated server keeps: a quarter, and at least 1.
const SATURATED_DIVISOR: u64 = 4;

/// Decides the weights of a pool as one virtual server uses it, in the order of the candidates.
pub fn fuse(requirement: AgentRequirement, candidates: &[Candidate<'_>]) -> Vec<Decision> {
    let standings: Vec<Standing> =
        candidates.iter().map(|candidate| standing(requirement, candidate)).collect();
    // Law 4 looks at those whom only their agent keeps out.
    let some_in =
        standings.iter().any(|s| matches!(s, Standing::In { .. } | Standing::Held { .. }));
    // Law 5 looks at those whose probe has answered.
    let all_failing = !some_in
        && standings.iter().any(|s| matches!(s, Standing::ProbeFails(_)))
        && !standings.iter().any(|s| matches!(s, Standing::AgentObjects { .. }));
    candidates
        .iter()
        .zip(standings)
        .map(|(candidate, standing)| {
            let (weight, reasons) = settle(candidate, standing, some_in, all_failing);
            Decision { real_server: candidate.real_server.clone(), weight, reasons }
        })
        .collect()
}

/// Where one real server stands before the pool's laws.
enum Standing {
    In {
        weight: Weight,
        reasons: Vec<String>,
    },
    /// The kernel's weight stands until the first probe answers.
    Held {
        weight: Weight,
    },
    Waiting,
    ArpUnsafe(String),
    /// `may_override`: the agent said down, which law 4 can overrule; draining and stopping are orders.
    AgentObjects {
        reason: String,
        may_override: bool,
    },
    ProbeFails(String),
}

fn standing(requirement: AgentRequirement, candidate: &Candidate<'_>) -> Standing {
    if candidate.forwarding.needs_arp_safety() && requirement == AgentRequirement::Required {
        match candidate.arp {
            ArpSafety::Proven => {}
            ArpSafety::Unproven => {
                return Standing::ArpUnsafe(
                    "ARP safety not yet reported by the real server's agent".to_owned(),
                );
            }
            ArpSafety::Contradicted(detail) => {
                return Standing::ArpUnsafe(format!("ARP unsafe: {detail}"));
            }
        }
    }
    let agent = match requirement {
        AgentRequirement::Required => candidate.agent,
        AgentRequirement::None => None,
    };
    if let Some(evidence) = agent {
        let reason = || {
            let seen = evidence.reasons.first().map(String::as_str).unwrap_or_default();
            format!("agent says {}: {seen}", evidence.verdict.as_str())
        };
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
        OwnProbe::Pending => match candidate.current {
            Some(weight) => Standing::Held { weight },
            None => Standing::Waiting,
        },
        OwnProbe::Passing => in_rotation(candidate.planned, agent),
    }
}

fn in_rotation(planned: Weight, agent: Option<&ServerEvidence>) -> Standing {
    let mut reasons = vec!["own probe passes".to_owned()];
    let weight = match agent.map(|evidence| evidence.verdict) {
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

fn settle(
    candidate: &Candidate<'_>,
    standing: Standing,
    some_in: bool,
    all_failing: bool,
) -> (Weight, Vec<String>) {
    match standing {
        Standing::In { weight, reasons } => (weight, reasons),
        Standing::Held { weight } => {
            (weight, vec!["own probe has no answer yet: the kernel's weight stands".to_owned()])
        }
        Standing::Waiting => (Weight::ZERO, vec!["own probe has no answer yet".to_owned()]),
        Standing::ArpUnsafe(reason) => (Weight::ZERO, vec![reason]),
        Standing::AgentObjects { reason, may_override } => {
            let probe_passes = matches!(candidate.probe, OwnProbe::Passing);
            if may_override && probe_passes && !some_in {
                let kept = "agents alone never empty a pool: own probe passes".to_owned();
                (candidate.planned, vec![kept, reason])
            } else {
                (Weight::ZERO, vec![reason])
            }
        }
        Standing::ProbeFails(reason) => {
            if all_failing {
                let kept = "own probes fail for every real server: all are kept".to_owned();
                (candidate.planned, vec![kept, reason])
            } else {
                (Weight::ZERO, vec![reason])
            }
        }
    }
}

#[cfg(test)]
mod tests;
