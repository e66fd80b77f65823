//! Sync groups: instances of a director that are Active together, or not at all.
//!
//! ```text
//!   one is not able to be Active     --> the others leave, and wait for it   (Leave, Stay)
//!   all are able                     --> those that wait begin together      (Begin)
//!   another router relieved one      --> the others give way, too            (Yield)
//!   one wants to be, or is, Active   --> the others take over at once        (TakeOver),
//!                                        unless one of them hears an Active  (Wait)
//! ```
//!
//! The last line keeps two directors from taking their groups from each other for ever: where a
//! segment is cut, the director that is Active stays so on all segments, for on one at least the
//! other one hears it. A director that says in one instance that it leaves is believed for the whole
//! group, unless another instance hears it still: so a group follows within the skew when one
//! interface of the Active director fails.
//!
//! All members of a group on a director advertise the priority of the group: the least of the
//! members' own, adjusted by what any of them tracks ([`priority`]). Were they to differ, directors
//! could outrank each other in different members. keepalived demands of its groups that weights be
//! 0 instead, and leaves the order of priorities to the operator.
//!
//! Start reading at [`decide`]; a [`Witness`] keeps what it needs to know of a member.

mod witness;

use std::time::Duration;

use fulcrum_model::Priority;

pub use witness::Witness;

/// Silence of the Active router after which a member follows another one that takes over, in
/// advert intervals: less than any `Active_Down_Interval`, and more than one lost advert. When a
/// router dies, its last adverts in two instances are less than an interval apart.
const QUIET_INTERVALS: u32 = 2;

/// A member of a group, as it stands on one director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// In Initialize, and not able to leave it: an interface or a tracked target is at fault. Or it
    /// is still to leave it for that reason, whatever its role.
    Faulty {
        /// Whether it has left its role.
        has_left: bool,
    },
    /// In Initialize, and able to begin.
    Idle,
    /// Backup.
    Backup(Backup),
    /// Active.
    Active {
        /// Since when.
        since: Duration,
    },
}

/// A member that is Backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// When another router relieved it; none when it was not Active before.
    pub relieved_at: Option<Duration>,
    /// When it last heard an Active that it does not outrank; when it became Backup, if never.
    pub heard_at: Duration,
    /// When the Active router said that it leaves (priority 0); none when none did.
    pub left_at: Option<Duration>,
    /// `Active_Adver_Interval`.
    pub interval: Duration,
    /// Its timers have run out: alone it would become Active now.
    pub is_due: bool,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// As it is.
    Stay,
    /// Leave Initialize.
    Begin,
    /// Leave the role as on a planned stop, and stay in Initialize.
    Leave,
    /// Leave the role as on a planned stop, and go on as Backup.
    Yield,
    /// Become Active now.
    TakeOver,
    /// Stay Backup although timers have run out, and ask again then.
    Wait {
        /// When a member that hears an Active will have heard nothing for long enough.
        until: Duration,
    },
}

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Stay,
    /// One is not able: nobody is Active.
    Part,
    /// All are able: those that wait begin.
    Begin,
    /// Another router relieved one: the others give way.
    GiveWay,
    /// The others take over.
    TakeOver,
    /// Those whose time has come wait for one that hears an Active.
    Wait {
        /// When it will have heard nothing for long enough.
        until: Duration,
    },
}

/// What a group of these members does, each of them by [`Decision::command`]. Repeated after the
/// commands are carried out it says [`Decision::Stay`], or something that commands nobody, or
/// [`Decision::Wait`].
pub fn decide(now: Duration, members: &[Member]) -> Decision {
    let is_able = |member: &Member| !matches!(member, Member::Faulty { .. });
    if !members.iter().all(is_able) {
        return Decision::Part;
    }
    if members.iter().any(|member| matches!(member, Member::Idle)) {
        return Decision::Begin;
    }
    let gained = members.iter().filter_map(|member| match member {
        Member::Active { since } => Some(*since),
        Member::Faulty { .. } | Member::Idle | Member::Backup(_) => None,
    });
    let lost = members.iter().filter_map(|member| backup(member)?.relieved_at);
    match (gained.max(), lost.max()) {
        // In doubt the group gives way: two that hold on would go on for ever.
        (Some(gained), Some(lost)) if lost >= gained => Decision::GiveWay,
        (Some(_), _) => Decision::TakeOver,
        (None, _) => take_over_together(now, members),
    }
}

impl Decision {
    /// What it means for a member.
    pub fn command(self, member: Member) -> Command {
        match (self, member) {
            (
                Self::Part,
                Member::Faulty { has_left: false } | Member::Backup(_) | Member::Active { .. },
            ) => Command::Leave,
            (Self::Begin, Member::Idle) => Command::Begin,
            (Self::GiveWay, Member::Active { .. }) => Command::Yield,
            (Self::TakeOver, Member::Backup(_)) => Command::TakeOver,
            (Self::Wait { until }, Member::Backup(backup)) if backup.is_due => {
                Command::Wait { until }
            }
            (Self::Stay | Self::Wait { .. }, _)
            | (Self::Part, Member::Faulty { has_left: true } | Member::Idle)
            | (Self::Begin, Member::Faulty { .. } | Member::Backup(_) | Member::Active { .. })
            | (Self::GiveWay, Member::Faulty { .. } | Member::Idle | Member::Backup(_))
            | (Self::TakeOver, Member::Faulty { .. } | Member::Idle | Member::Active { .. }) => {
                Command::Stay
            }
        }
    }
}

/// All are Backup: those whose time has come take the others with them, or wait for them.
fn take_over_together(now: Duration, members: &[Member]) -> Decision {
    let backups = || members.iter().filter_map(backup);
    if !backups().any(|backup| backup.is_due) {
        return Decision::Stay;
    }
    // The latest word of a router that it leaves.
    let left_at = backups().filter(|backup| backup.is_due).filter_map(|backup| backup.left_at);
    let left_at = left_at.max();
    let obstacles = backups().filter(|backup| !backup.is_due).filter_map(|backup| {
        let follows = left_at.is_some_and(|left_at| backup.heard_at <= left_at);
        let quiet_at = backup.heard_at + QUIET_INTERVALS * backup.interval;
        (!follows && now < quiet_at).then_some(quiet_at)
    });
    obstacles.max().map_or(Decision::TakeOver, |until| Decision::Wait { until })
}

fn backup(member: &Member) -> Option<&Backup> {
    match member {
        Member::Backup(backup) => Some(backup),
        Member::Faulty { .. } | Member::Idle | Member::Active { .. } => None,
    }
}

/// The priority that every member of a group begins with before tracking adjusts it: the least of
/// them. An owner keeps 255, and is left out; none when all are owners.
pub fn priority(members: impl IntoIterator<Item = Priority>) -> Option<Priority> {
    members.into_iter().filter(|priority| *priority != Priority::OWNER).min()
}

#[cfg(test)]
mod tests;
