//! Law 14: the way through the VIP.

use super::standing::Standing;
use super::{Candidate, OwnProbe};
use crate::ForwardingMethod;

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

/// Whether the way to somebody in rotation passes: then one that fails is the real server's fault.
pub(super) fn is_proven(members: &[Candidate<'_>], standings: &[Standing]) -> bool {
    let mut all = members.iter().zip(standings);
    all.any(|(member, standing)| *member.path == PathProbe::Passing && standing.is_serving())
}
