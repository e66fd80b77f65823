//! Law 14: the way through the VIP.

use super::standing::Standing;
use super::{Candidate, OwnProbe};
use crate::{ForwardingMethod, Weight};

/// What the director's check through the VIP says of a real server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathProbe {
    /// None is asked for.
    #[default]
    NotAsked,
    /// Not tried yet.
    Untried,
    /// The VIP answers.
    Passing,
    /// It does not, with what was seen.
    Failing(String),
}

impl From<&OwnProbe> for PathProbe {
    fn from(probe: &OwnProbe) -> Self {
        match probe {
            OwnProbe::Pending => Self::Untried,
            OwnProbe::Passing | OwnProbe::Remarked(_) => Self::Passing,
            OwnProbe::Failing(seen) => Self::Failing(seen.clone()),
        }
    }
}

/// Why the way to one that would be in rotation fails, in words that tell the gray failure; none where it does not.
pub(super) fn fault(candidate: &Candidate<'_>) -> Option<String> {
    let PathProbe::Failing(seen) = candidate.path else { return None };
    let look_at = match candidate.forwarding {
        ForwardingMethod::Dr => {
            "is the VIP bound on its loopback, and is the port's address 0.0.0.0?"
        }
        ForwardingMethod::Tunnel => {
            "is the VIP bound on its loopback, is the port's address 0.0.0.0, and is its tunnel up?"
        }
        ForwardingMethod::Nat => "does it send its answers by this director?",
    };
    Some(format!("gray: the RIP answers, the VIP does not ({seen}): {look_at}"))
}

/// Takes the blame from real servers where it may be the director's: where the way to nobody in rotation passes. Those that are gray after
/// this are out.
pub(super) fn judge(members: &[Candidate<'_>], standings: Vec<Standing>) -> Vec<Standing> {
    let mut all = members.iter().zip(&standings);
    let passes = |(member, standing): (&Candidate<'_>, &Standing)| {
        *member.path == PathProbe::Passing && could_serve(member, standing)
    };
    if all.any(passes) {
        return standings;
    }
    standings.into_iter().map(acquit).collect()
}

/// It is in rotation, or law 4 would have it so before the pool is empty: what agents say decides of no other real server.
fn could_serve(member: &Candidate<'_>, standing: &Standing) -> bool {
    let is_overridden = matches!(standing, Standing::AgentObjects { may_override: true, .. })
        && member.probe.passes()
        && member.planned > Weight::ZERO;
    standing.is_serving() || is_overridden
}

fn acquit(standing: Standing) -> Standing {
    let Standing::Gray { fault, otherwise } = standing else { return standing };
    let mut acquitted = *otherwise;
    if let Standing::In { reasons, .. } | Standing::Damped { reasons, .. } = &mut acquitted {
        let suspect = "no VIP of the pool answers this director: its own part of the way is suspect, and takes nobody out";
        reasons.splice(0..0, [suspect.to_owned(), fault]);
    }
    acquitted
}
