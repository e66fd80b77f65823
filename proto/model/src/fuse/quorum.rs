//! Whether enough of a pool serves.

use super::standing::Standing;
use super::{Candidate, OwnProbe, PoolEvidence};
use crate::{Quorum, Weight};

/// Whether enough of a pool serves.
///
/// keepalived's arithmetic (`update_quorum_state`): lost when the planned weights in rotation sum up to less than the
/// quorum less its hysteresis, or to nothing; met again at the quorum plus its hysteresis. As there, a quorum above
/// the pool's whole weight counts as that; here the quorum plus its hysteresis does too, for otherwise a lost quorum
/// would never be met again. What has no answer yet loses no quorum and meets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuorumState {
    /// Enough of it serves.
    pub is_met: bool,
    /// Planned weights of those in rotation.
    pub in_rotation: u64,
    /// How much of it must serve: to stay met while it is met, to be met again while it is lost.
    pub needed: u64,
}

/// The sums below and at which a quorum changes.
struct Thresholds {
    lost_below: u64,
    met_at: u64,
}

pub(super) fn judge(pool: &PoolEvidence<'_>, standings: &[Standing]) -> QuorumState {
    let shares = pool.members.iter().zip(standings).map(|(member, standing)| {
        let planned = u64::from(member.planned.get());
        match share(member, standing) {
            Share::Serves => (planned, planned),
            Share::Unclear => (0, planned),
            Share::Out => (0, 0),
        }
    });
    let (in_rotation, at_most) = shares
        .fold((0, 0), |(least, most), (at_least, at_most)| (least + at_least, most + at_most));
    let whole = pool.members.iter().map(|member| u64::from(member.planned.get())).sum();
    let Thresholds { lost_below, met_at } = thresholds(pool.quorum, whole);
    let is_met = if pool.was_quorum_met { at_most >= lost_below } else { in_rotation >= met_at };
    QuorumState { is_met, in_rotation, needed: if is_met { lost_below } else { met_at } }
}

fn thresholds(quorum: Quorum, whole: u64) -> Thresholds {
    let (weight, hysteresis) = (u64::from(quorum.weight), u64::from(quorum.hysteresis));
    let weight = weight.min(whole);
    // A sum of nothing serves nobody, whatever the hysteresis.
    let lost_below = weight.saturating_sub(hysteresis).max(1);
    Thresholds { lost_below, met_at: (weight + hysteresis).min(whole).max(lost_below) }
}

/// What a real server adds to the quorum.
enum Share {
    Serves,
    /// Its probe has no answer yet.
    Unclear,
    Out,
}

fn share(candidate: &Candidate<'_>, standing: &Standing) -> Share {
    match standing {
        // Its own probe gives it no weight.
        Standing::In { weight: Weight::ZERO, .. }
        | Standing::Damped { weight: Weight::ZERO, .. } => Share::Out,
        // Law 13: damping loses no quorum.
        Standing::In { .. } | Standing::Damped { .. } => Share::Serves,
        Standing::Held { weight } if *weight > Weight::ZERO => Share::Serves,
        Standing::Held { .. } | Standing::Waiting => Share::Unclear,
        // Law 15: what served may serve still.
        Standing::Silent { .. } if candidate.history.weight > Some(Weight::ZERO) => Share::Unclear,
        // Law 4: that agents say down loses no quorum.
        Standing::AgentObjects { may_override: true, .. } => match candidate.probe {
            OwnProbe::Passing | OwnProbe::Remarked(_) => Share::Serves,
            OwnProbe::Pending => Share::Unclear,
            OwnProbe::Failing(_) => Share::Out,
        },
        Standing::AgentObjects { may_override: false, .. }
        | Standing::Drained(_)
        | Standing::ArpUnsafe(_)
        | Standing::ProbeFails(_)
        | Standing::Gray { .. }
        | Standing::Silent { .. } => Share::Out,
    }
}
