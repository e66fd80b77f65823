//! What tracking makes of the instances of this host, as the VRRP thread knows it.

use std::collections::BTreeMap;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::{Name, Priority};
use fulcrum_vrrp::group;
use fulcrum_vrrp::track::{Effective, Probe, Tracked, Weighed};

/// What was last heard of tracked targets, and the priorities that it is applied to.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    tracked: BTreeMap<Name, Tracked>,
    /// Of sync groups.
    priorities: BTreeMap<Name, Priority>,
}

/// What an instance comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Priority and fault.
    pub(super) effective: Effective,
    /// What costs it priority.
    pub(super) costs: Vec<String>,
    /// Each tracked target.
    pub(super) targets: Vec<Weighed>,
}

impl Tracking {
    /// Takes new plans.
    pub(super) fn apply(&mut self, plans: &BTreeMap<Name, VrrpInstancePlan>) {
        let mut groups: BTreeMap<&Name, Vec<Priority>> = BTreeMap::new();
        for plan in plans.values() {
            if let Some(group) = &plan.options.sync_group {
                groups.entry(group).or_default().push(plan.priority);
            }
        }
        let of_group = |(group, members): (&Name, Vec<Priority>)| {
            Some((group.clone(), group::priority(members)?))
        };
        self.priorities = groups.into_iter().filter_map(of_group).collect();
    }

    /// Takes what was seen of tracked targets.
    pub(super) fn set(&mut self, tracked: BTreeMap<Name, Tracked>) {
        self.tracked = tracked;
    }

    /// What an instance of these plans comes to.
    pub(super) fn of(&self, plan: &VrrpInstancePlan) -> Standing {
        let group = plan.options.sync_group.as_ref();
        let base = match group.and_then(|group| self.priorities.get(group)) {
            Some(priority) if plan.priority != Priority::OWNER => *priority,
            Some(_) | None => plan.priority,
        };
        let tracked = self.tracked.get(&plan.name).cloned();
        let tracked = tracked.unwrap_or_else(|| Tracked::sum(Probe::all(plan), &BTreeMap::new()));
        let effective = tracked.effective(base);
        Standing { effective, costs: tracked.costs, targets: tracked.targets }
    }
}
