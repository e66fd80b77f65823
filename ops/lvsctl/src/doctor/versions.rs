//! Which programs go together: those of one release, and while a cluster is upgraded those of two that follow each other.

use std::collections::BTreeMap;

use fulcrum_proto::v1;

use super::{Check, Trouble};

/// This program's version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// For programs.
const CODE: &str = "program-version";
/// Programs that are named one by one.
const MOST_NAMED: usize = 4;
const UPGRADE: &str = "install the newest everywhere: controllers first, then agents, then lvsctl; \
                       `lvsctl status -o json` tells every program's version";

/// The newest version in a cluster, lvsctl's own among them.
pub(super) fn newest(topology: &v1::Topology) -> String {
    let controllers = topology.controllers.iter().map(|controller| &controller.program_version);
    let attached = topology.agents.iter().filter(|agent| agent.attached);
    let agents = attached.map(|agent| &agent.program_version);
    let all = controllers.chain(agents).map(String::as_str).chain([VERSION]);
    all.max_by_key(|version| numbers(version)).unwrap_or(VERSION).to_owned()
}

/// One controller's.
pub(super) fn of_controller(version: &str, newest: &str) -> Check {
    let trouble = trouble("it runs", version, newest);
    Check::new(
        CODE,
        "its version goes with that of the other programs",
        trouble.into_iter().collect(),
    )
}

/// Those of the attached agents and of lvsctl.
pub(super) fn of_others(topology: &v1::Topology, newest: &str) -> Check {
    let mut by_version: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for agent in topology.agents.iter().filter(|agent| agent.attached) {
        let who = format!("{}/{}", agent.role, agent.name);
        by_version.entry(&agent.program_version).or_default().push(who);
    }
    by_version.entry(VERSION).or_default().push("lvsctl".to_owned());
    let troubles = by_version.into_iter().filter_map(|(version, who)| {
        let verb = if who.len() == 1 { "runs" } else { "run" };
        trouble(&format!("{} {verb}", names(&who)), version, newest)
    });
    Check::new(CODE, "versions of agents and lvsctl go with the controllers'", troubles.collect())
}

/// `a, b, c, d and 3 more`
fn names(who: &[String]) -> String {
    let named = who.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match who.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn trouble(who: &str, version: &str, newest: &str) -> Option<Trouble> {
    if version == newest {
        return None;
    }
    if version.is_empty() {
        let found = format!("{who} an unknown version, {newest} is the newest here");
        return Some(Trouble::warning("", found, UPGRADE));
    }
    let found = format!("{who} {version}, {newest} is the newest here");
    Some(if go_together(version, newest) {
        Trouble::warning(version, found, UPGRADE)
    } else {
        let found =
            format!("{found}: only releases that follow each other are made to work together");
        Trouble::error(version, found, UPGRADE)
    })
}

/// Of one release, or of two that follow each other. Before 1.0 a release is a minor version, and so it stays within a major.
fn go_together(one: &str, other: &str) -> bool {
    match (numbers(one), numbers(other)) {
        (Some([major, minor, _]), Some([other_major, other_minor, _])) => {
            major == other_major && minor.abs_diff(other_minor) <= 1
        }
        // What cannot be read is told, and is no error for that.
        (None, _) | (_, None) => true,
    }
}

/// Major, minor and patch; what follows a dash is of the same release.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let release = version.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn releases_that_follow_each_other_go_together() {
        for (one, other, expected) in [
            ("0.1.0", "0.1.9", true),
            ("0.1.0", "0.2.0", true),
            ("0.3.0", "0.2.5", true),
            ("0.1.0", "0.3.0", false),
            ("0.9.0", "1.0.0", false),
            ("1.4.0-rc.1", "1.5.0", true),
            ("nonsense", "0.1.0", true),
        ] {
            assert_eq!(go_together(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(numbers("0.10.0") > numbers("0.9.9"));
        assert_eq!(numbers("1.2"), None);
        assert_eq!(numbers("1.2.x"), None);
    }

    #[test]
    fn each_is_told_as_far_as_it_is_apart() {
        for (version, newest, expected) in [
            ("0.2.0", "0.2.0", Outcome::Well),
            ("0.1.7", "0.2.0", Outcome::Warning),
            ("", "0.2.0", Outcome::Warning),
            ("0.1.7", "0.3.0", Outcome::Error),
        ] {
            assert_eq!(of_controller(version, newest).outcome, expected, "{version} {newest}");
        }
    }

    #[test]
    fn many_are_not_all_named() {
        let who = |count: usize| (1..=count).map(|n| format!("d{n}")).collect::<Vec<_>>();
        assert_eq!(names(&who(2)), "d1, d2");
        assert_eq!(names(&who(6)), "d1, d2, d3, d4 and 2 more");
    }
}
