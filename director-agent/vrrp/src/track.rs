//! What an instance makes of the targets that it tracks.
//!
//! The semantics are those of keepalived's `track_*` blocks. A weight above 0 is added to the
//! priority while the target is well, one below 0 while it is not; a target without a weight forbids
//! to be Active while it is not well. A target that nobody has tried yet is neither: it adds
//! nothing, and without a weight it keeps in Initialize an instance that is there, so that no router
//! becomes Active blind. Its first try, which its timeout bounds, decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::{GatewayMethod, TrackPace, TrackTarget};
use fulcrum_model::{Name, Priority};

/// What is known of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It was not tried yet.
    #[default]
    Untried,
    /// It is as it should be.
    Well,
    /// It is not.
    Unwell,
}

/// The health of a target, with what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// Health.
    pub health: Health,
    /// What was seen, in words for people: "eth1 has no carrier".
    pub seen: String,
}

/// A target as one instance means it. Instances that mean the same share it, and its tries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// The target.
    pub target: TrackTarget,
    /// The instance's interface and our address there, where the target is asked on it.
    pub asked_on: Option<(String, IpAddr)>,
    /// The instance, where the target is a part of its own work.
    pub instance: Option<Name>,
}

/// Turns the outcomes of tries into the health of a target (keepalived: `rise`, `fall`).
///
/// The first try decides at once, whatever rise and fall are: an instance waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    health: Health,
    /// Tries in a row that spoke against the health, at most 100.
    against: u8,
}

/// What tracking makes of an instance, apart from its own priority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Added to the priority: the sum of the weights in force.
    pub adjustment: i32,
    /// Why it must not be Active, one sentence for each target; empty when it may.
    pub faults: Vec<String>,
    /// What was not tried yet and may turn out to be a fault.
    pub untried: Vec<String>,
    /// What costs it priority, one sentence for each target.
    pub costs: Vec<String>,
    /// Each target, as first mentioned.
    pub targets: Vec<Weighed>,
}

/// A target with what it does to its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// The target, in words for people.
    pub target: String,
    /// Its health.
    pub health: Health,
    /// What it adds to the priority now.
    pub adds: i32,
    /// The instance must not be Active while it is not well.
    pub is_required: bool,
    /// What was seen last; empty before the first try.
    pub seen: String,
}

/// What an instance with tracked targets comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Priority of its adverts. That of an owner is 255, any other's 1 to 254.
    pub priority: Priority,
    /// Why it must not be Active.
    pub fault: Option<String>,
    /// Why it must not leave Initialize yet. An instance that has left it stays as it is: a target
    /// that is added to the plan of an Active takes nothing from it before it was tried.
    pub wait: Option<String>,
}

impl Tries {
    /// The health after the tries so far.
    pub fn health(self) -> Health {
        self.health
    }

    /// Takes the outcome of a try.
    #[must_use]
    pub fn note(self, pace: &TrackPace, is_well: bool) -> Self {
        let said = if is_well { Health::Well } else { Health::Unwell };
        let needed = if is_well { pace.rise } else { pace.fall };
        match self.health {
            Health::Untried => Self { health: said, against: 0 },
            Health::Well | Health::Unwell if self.health == said => {
                Self { health: said, against: 0 }
            }
            Health::Well | Health::Unwell => {
                let against = self.against.saturating_add(1);
                if against >= needed {
                    Self { health: said, against: 0 }
                } else {
                    Self { against, ..self }
                }
            }
        }
    }
}

impl Probe {
    /// What an instance tracks, each target with its weight.
    pub fn all(plan: &VrrpInstancePlan) -> impl Iterator<Item = (Self, Option<i16>)> {
        let tracks = plan.options.track.iter().map(|track| {
            let (asked_on, instance) = match &track.target {
                TrackTarget::Gateway(probe) if probe.method == GatewayMethod::Arp => {
                    (Some((plan.interface.clone(), plan.source)), None)
                }
                TrackTarget::Agent | TrackTarget::RealServers(_) => (None, Some(plan.name.clone())),
                TrackTarget::Interface(_)
                | TrackTarget::Address(_)
                | TrackTarget::Route(_)
                | TrackTarget::Gateway(_)
                | TrackTarget::Command(_) => (None, None),
            };
            (Self { target: track.target.clone(), asked_on, instance }, track.weight)
        });
        let real_servers = plan.options.track_real_servers.map(|track| {
            let target = TrackTarget::RealServers(track.silent_percent);
            (Self::own(target, plan.name.clone()), Some(track.weight))
        });
        tracks.chain(real_servers)
    }

    /// A target that an instance alone means, and that the agent itself tells of.
    pub fn own(target: TrackTarget, instance: Name) -> Self {
        Self { target, asked_on: None, instance: Some(instance) }
    }
}

/// For people.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            TrackTarget::Interface(interface) => write!(f, "interface {interface}"),
            TrackTarget::Address(address) => write!(f, "address {address}"),
            TrackTarget::Route(destination) => write!(f, "route {destination}"),
            TrackTarget::Gateway(probe) => write!(f, "gateway {}", probe.address),
            TrackTarget::Command(command) => write!(f, "command {}", command.program),
            TrackTarget::Agent => write!(f, "the agent's own work"),
            TrackTarget::RealServers(_) => write!(f, "the way to the real servers"),
        }
    }
}

impl Tracked {
    /// Sums up what one instance tracks, or the members of a sync group together. A target that is
    /// named twice with the same weight counts once, so that neither the order nor the number of
    /// mentions matters; `states` lacks those that were not tried.
    pub fn sum(
        probes: impl IntoIterator<Item = (Probe, Option<i16>)>,
        states: &BTreeMap<Probe, TargetState>,
    ) -> Self {
        let mut known = BTreeSet::new();
        let distinct = probes.into_iter().filter(|probe| known.insert(probe.clone()));
        let mut tracked = Self::default();
        for (probe, weight) in distinct {
            let TargetState { health, seen } = states.get(&probe).cloned().unwrap_or_default();
            let adds = match (weight, health) {
                (None, Health::Well) | (Some(_), Health::Untried) => 0,
                (None, Health::Untried) => {
                    tracked.untried.push(format!("{probe} was not tried yet"));
                    0
                }
                (None, Health::Unwell) => {
                    tracked.faults.push(seen.clone());
                    0
                }
                (Some(weight), Health::Well) => weight.max(0).into(),
                (Some(weight), Health::Unwell) => {
                    let cost = weight.unsigned_abs();
                    tracked.costs.push(format!("priority is lower by {cost}: {seen}"));
                    weight.min(0).into()
                }
            };
            tracked.adjustment = tracked.adjustment.saturating_add(adds);
            let (target, is_required) = (probe.to_string(), weight.is_none());
            tracked.targets.push(Weighed { target, health, adds, is_required, seen });
        }
        tracked
    }

    /// Applies it to the priority of an instance. An owner's is never adjusted (RFC 9568 §5.2.4),
    /// but a fault keeps it, too, from being Active.
    pub fn effective(&self, base: Priority) -> Effective {
        let join = |reasons: &[String]| (!reasons.is_empty()).then(|| reasons.join("; "));
        let (fault, wait) = (join(&self.faults), join(&self.untried));
        Effective { priority: self.priority(base), fault, wait }
    }

    fn priority(&self, base: Priority) -> Priority {
        if base == Priority::OWNER {
            return base;
        }
        let greatest = i32::from(Priority::OWNER.get()) - 1;
        let sum = i32::from(base.get()).saturating_add(self.adjustment).clamp(1, greatest);
        u64::try_from(sum).ok().and_then(|sum| Priority::new(sum).ok()).unwrap_or(base)
    }
}

#[cfg(test)]
mod tests;
