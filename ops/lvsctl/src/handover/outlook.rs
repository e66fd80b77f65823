//! From a wish and the cluster as it is to what is still waited for.

use std::collections::BTreeSet;

use fulcrum_proto::v1;

use crate::order::Cluster;

/// What is wished of an instance, once every director there is has the plan of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) instance: String,
    pub(crate) wish: Wish,
    /// The revision that ordered it.
    pub(crate) revision: u64,
}

/// Who is wished to be Active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// This director, and no other.
    Active(String),
    /// Whoever ranks highest, where the instance preempts.
    Highest,
}

/// An instance on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Directors that say that they are Active.
    pub(crate) active: Vec<String>,
    /// What is still waited for; nothing when it is done.
    pub(crate) waits_for: Vec<String>,
}

impl Goal {
    pub(crate) fn outlook(&self, cluster: &Cluster) -> Outlook {
        let Some(instance) = cluster.instances.get(&self.instance) else {
            return Outlook { active: Vec::new(), waits_for: Vec::new() };
        };
        let members = || instance.members.iter().map(|member| member.director.as_str());
        let active: Vec<String> = members()
            .filter(|director| cluster.is_active(director, &self.instance))
            .map(str::to_owned)
            .collect();
        let mut waits_for: Vec<String> = members()
            .filter(|director| cluster.is_attached(director))
            .filter_map(|director| cluster.behind(director, self.revision))
            .collect();
        let wished = match &self.wish {
            Wish::Active(director) => Some(director.as_str()),
            Wish::Highest if instance.no_preempt => None,
            Wish::Highest => best_of(cluster, &self.instance, instance, &BTreeSet::new()),
        };
        if let Some(wished) = wished {
            if !active.iter().any(|director| director == wished) {
                waits_for.push(self.not_active(cluster, wished));
            }
            for other in active.iter().filter(|director| *director != wished) {
                waits_for.push(if cluster.is_attached(other) {
                    format!("{other} to become Backup")
                } else {
                    format!("{other}, which is not attached and was Active when last heard")
                });
            }
        } else if active.len() != 1 {
            waits_for.push(format!("one Active instead of {}", active.len()));
        }
        Outlook { active, waits_for }
    }

    /// Why the wished director is not Active, as far as it tells.
    fn not_active(&self, cluster: &Cluster, director: &str) -> String {
        if !cluster.is_attached(director) {
            return format!("{director}, which is not attached");
        }
        let Some(vrrp) = cluster.vrrp(director, &self.instance) else {
            return format!("{director} to tell of {}", self.instance);
        };
        if !vrrp.faults.is_empty() {
            return format!("{director}, which must not be Active: {}", vrrp.faults.join("; "));
        }
        if !vrrp.waits_for.is_empty() {
            return format!("{director}, which waits for {}", vrrp.waits_for);
        }
        let sync = vrrp.connection_sync.as_ref().filter(|sync| sync.compared && sync.missing > 0);
        match sync {
            Some(sync) => format!("{director}, to which {} connections are unknown", sync.missing),
            None => format!("{director} to become Active"),
        }
    }
}

/// The member of highest priority that can be Active: attached, taking part, and not among `without`.
pub(crate) fn best_of<'a>(
    cluster: &Cluster,
    name: &str,
    instance: &'a v1::VrrpInstance,
    without: &BTreeSet<String>,
) -> Option<&'a str> {
    let takes_part = |director: &str| {
        cluster.is_attached(director)
            && cluster.vrrp(director, name).is_some_and(|vrrp| match vrrp.state() {
                v1::VrrpState::Active | v1::VrrpState::Backup => vrrp.faults.is_empty(),
                v1::VrrpState::Initialize | v1::VrrpState::Unspecified => false,
            })
    };
    instance
        .members
        .iter()
        .filter(|member| takes_part(&member.director) && !without.contains(&member.director))
        // Equal ones: the first by name, so that it is the same each time.
        .max_by(|a, b| a.priority.cmp(&b.priority).then_with(|| b.director.cmp(&a.director)))
        .map(|member| member.director.as_str())
}

/// A director's priority in an instance; `None` when it is no member.
pub(crate) fn priority_of(instance: &v1::VrrpInstance, director: &str) -> Option<u32> {
    instance.members.iter().find(|member| member.director == director).map(|member| member.priority)
}
