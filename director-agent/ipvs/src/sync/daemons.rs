//! Which sync daemons a host needs. A network namespace has one of each role, with one interface
//! and one identifier; a host may take part in several instances.

use crate::codec::{DaemonRole, SyncDaemon};

/// What a host is in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Not known yet: what runs goes on.
    Unknown,
    /// Active: it tells connections.
    Active {
        /// Connections that this host does not know are being passed on to the router that was
        /// Active before. Their entries here name that router as the real server, and nobody must
        /// be told so, least of all that router: it would drop the real ones.
        is_relaying: bool,
        /// It was Backup just now: the router before it has connections in store that it has not told yet.
        has_come: bool,
    },
    /// Backup: it takes connections in.
    Backup {
        /// It was Active just now: its master daemon has connections in store that it has not told
        /// yet, and would drop them if it were stopped.
        has_left: bool,
    },
}

/// A host's part in an instance with connection synchronisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The instance's name.
    pub instance: String,
    /// Interface of the sync messages.
    pub interface: String,
    /// Sync identifier.
    pub sync_id: u8,
    /// The part.
    pub part: Part,
}

/// What is to become of a daemon role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This daemon runs.
    Run(SyncDaemon),
    /// None of ours runs.
    Stop,
    /// What runs goes on, and nothing is started.
    Keep,
}

/// What is to become of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The master daemon.
    pub master: Wish,
    /// The backup daemon.
    pub backup: Wish,
    /// What cannot be had together, each with its remedy.
    pub problems: Vec<String>,
}

/// The daemons for these members, in the order of their names.
pub fn wanted(members: &[Member]) -> Wanted {
    let mut problems = Vec::new();
    let any = |test: fn(Part) -> bool| members.iter().any(|member| test(member.part));
    let is_unknown = any(|part| part == Part::Unknown);
    let is_relaying = any(|part| matches!(part, Part::Active { is_relaying: true, .. }));
    let has_come = any(|part| matches!(part, Part::Active { has_come: true, .. }));
    let has_left = any(|part| part == Part::Backup { has_left: true });
    let mut of = |role: DaemonRole, takes_part: fn(&Member) -> bool| {
        let taking: Vec<&Member> = members.iter().filter(|member| takes_part(member)).collect();
        let Some(first) = taking.first() else {
            // Who is relayed to tells its last connections meanwhile.
            let is_needed = match role {
                DaemonRole::Master => has_left,
                DaemonRole::Backup => is_relaying || has_come,
            };
            return if is_unknown || is_needed { Wish::Keep } else { Wish::Stop };
        };
        let is_one_id = taking.iter().all(|member| member.sync_id == first.sync_id);
        for other in taking.iter().filter(|other| other.interface != first.interface) {
            problems.push(format!(
                "connection_sync of {} wants the interface {}, but the kernel's one {} daemon serves {} on {}: \
                 give both instances the same interface",
                other.instance, other.interface, role.as_str(), first.instance, first.interface
            ));
        }
        let sync_id = match (role, is_one_id) {
            (_, true) | (DaemonRole::Master, false) => first.sync_id,
            // 0 takes in every identifier.
            (DaemonRole::Backup, false) => 0,
        };
        if !is_one_id && role == DaemonRole::Master {
            problems.push(format!(
                "the kernel's one master daemon tells the connections of {} with the sync_id {} of {}: give instances \
                 that share directors the same sync_id",
                names(&taking), first.sync_id, first.instance
            ));
        }
        Wish::Run(SyncDaemon { role, interface: first.interface.clone(), sync_id })
    };
    let is_active = |member: &Member| matches!(member.part, Part::Active { .. });
    let is_backup = |member: &Member| matches!(member.part, Part::Backup { .. });
    let backup = of(DaemonRole::Backup, is_backup);
    let master = if is_relaying { Wish::Stop } else { of(DaemonRole::Master, is_active) };
    Wanted { master, backup, problems }
}

fn names(members: &[&Member]) -> String {
    let names: Vec<&str> = members.iter().map(|member| member.instance.as_str()).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(instance: &str, sync_id: u8, part: Part) -> Member {
        let interface = "eth0".to_owned();
        Member { instance: instance.to_owned(), interface, sync_id, part }
    }

    fn run(role: DaemonRole, sync_id: u8) -> Wish {
        Wish::Run(SyncDaemon { role, interface: "eth0".to_owned(), sync_id })
    }

    #[test]
    fn daemons_follow_the_roles() {
        use DaemonRole::{Backup, Master};
        let active = Part::Active { is_relaying: false, has_come: false };
        let came = Part::Active { is_relaying: false, has_come: true };
        let relaying = Part::Active { is_relaying: true, has_come: true };
        let backup = Part::Backup { has_left: false };
        let left = Part::Backup { has_left: true };
        for (members, master, backup, problems) in [
            (vec![], Wish::Stop, Wish::Stop, 0),
            (vec![member("a", 51, Part::Unknown)], Wish::Keep, Wish::Keep, 0),
            (vec![member("a", 51, active)], run(Master, 51), Wish::Stop, 0),
            (vec![member("a", 51, relaying)], Wish::Stop, Wish::Keep, 0),
            (vec![member("a", 51, came)], run(Master, 51), Wish::Keep, 0),
            (vec![member("a", 51, left)], Wish::Keep, run(Backup, 51), 0),
            (vec![member("a", 51, backup)], Wish::Stop, run(Backup, 51), 0),
            (
                vec![member("a", 51, active), member("b", 52, backup)],
                run(Master, 51),
                run(Backup, 52),
                0,
            ),
            (
                vec![member("a", 51, backup), member("b", 52, Part::Unknown)],
                Wish::Keep,
                run(Backup, 51),
                0,
            ),
            (vec![member("a", 51, backup), member("b", 52, backup)], Wish::Stop, run(Backup, 0), 0),
            (
                vec![member("a", 51, active), member("b", 52, active)],
                run(Master, 51),
                Wish::Stop,
                1,
            ),
            (vec![member("a", 7, active), member("b", 7, relaying)], Wish::Stop, Wish::Keep, 0),
        ] {
            let wanted = wanted(&members);
            assert_eq!((&wanted.master, &wanted.backup), (&master, &backup), "{members:?}");
            assert_eq!(wanted.problems.len(), problems, "{members:?} {:?}", wanted.problems);
        }
    }

    #[test]
    fn interfaces_that_differ_are_told() {
        let backup = Part::Backup { has_left: false };
        let mut other = member("b", 51, backup);
        other.interface = "eth1".to_owned();
        let wanted = wanted(&[member("a", 51, backup), other]);
        assert_eq!(
            wanted.problems,
            [
                "connection_sync of b wants the interface eth1, but the kernel's one backup daemon serves a on eth0: give \
              both instances the same interface"
            ]
        );
    }
}
