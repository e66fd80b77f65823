//! Findings of a host: which kinds there are, who looks for each, and how several sources' become one list.
//!
//! The catalogue is in one place, so that programs report only what lvsctl knows to name, and lvsctl can tell what was
//! looked at and found well.

mod code;

use crate::v1;

pub use code::Code;

/// Most findings that a host tells, and most that it tells not to know. A host with more has trouble enough with the first.
pub const MOST: usize = 256;

/// What a host is, for what is looked at there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRole {
    /// It runs a director's agent.
    Director,
    /// It runs a real server's agent.
    RealServer,
    /// It runs a controller.
    Controller,
}

impl HostRole {
    /// The program's unit of systemd.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Director => "fulcrum-director",
            Self::RealServer => "fulcrum-realserver",
            Self::Controller => "fulcrum-controller",
        }
    }
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// What is wrong.
    pub findings: Vec<v1::Finding>,
    /// What could not be looked at.
    pub unchecked: Vec<v1::Unchecked>,
}

impl Look {
    /// Before the first look at a host of this role.
    pub fn not_yet(role: HostRole) -> Self {
        Self::unseen(role, "the host was not looked at yet")
    }

    /// Nothing of a host of this role is known, and why.
    pub fn unseen(role: HostRole, why: &str) -> Self {
        let codes = Code::ALL.into_iter().filter(|code| code.is_of(role) && code.is_of_the_look());
        let unchecked = codes.map(|code| code.unchecked(why));
        Self { findings: Vec::new(), unchecked: unchecked.collect() }
    }

    /// One look of several: ordered by code and subject, without repetitions. Where there are more than [`MOST`], errors stay
    /// before warnings.
    pub fn merge(looks: impl IntoIterator<Item = Self>) -> Self {
        let (findings, unchecked): (Vec<_>, Vec<_>) =
            looks.into_iter().map(|look| (look.findings, look.unchecked)).unzip();
        let mut unchecked: Vec<v1::Unchecked> = unchecked.into_iter().flatten().collect();
        unchecked.sort_by(|a, b| (&a.code, &a.why).cmp(&(&b.code, &b.why)));
        unchecked.dedup();
        unchecked.truncate(MOST);
        Self { findings: ordered(findings.into_iter().flatten().collect()), unchecked }
    }
}

impl From<Vec<v1::Finding>> for Look {
    fn from(findings: Vec<v1::Finding>) -> Self {
        Self { findings, unchecked: Vec::new() }
    }
}

fn ordered(mut all: Vec<v1::Finding>) -> Vec<v1::Finding> {
    if all.len() > MOST {
        // Sorting is stable: of equal severity the first sources' stay.
        all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        all.truncate(MOST);
    }
    all.sort_by(|a, b| {
        let key = |finding: &v1::Finding| {
            (finding.code.clone(), finding.subject.clone(), finding.found.clone())
        };
        key(a).cmp(&key(b))
    });
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_and_unique() {
        let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            let text = code.as_str();
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{text}");
            let roles = [HostRole::Director, HostRole::RealServer, HostRole::Controller];
            assert!(roles.iter().any(|role| code.is_of(*role)), "somebody looks for {text}");
        }
    }

    #[test]
    fn a_merged_list_is_ordered_and_bounded() {
        let a = Code::RpFilter.error("tunl0", "x", "y");
        let b = Code::DiskSpace.warning("/var", "x", "y");
        let c = Code::RpFilter.error("gre0", "x", "y");
        let merge = |looks: [Vec<v1::Finding>; 2]| Look::merge(looks.map(Look::from)).findings;
        let merged = merge([vec![a.clone(), b.clone()], vec![c.clone(), a.clone()]]);
        assert_eq!(merged, [b, c, a.clone()]);
        let many = (0..1_000).map(|n| Code::DiskSpace.warning(format!("{n}"), "x", "y")).collect();
        let merged = merge([many, vec![a.clone()]]);
        assert_eq!(merged.len(), MOST);
        assert!(merged.contains(&a), "an error is not left out for warnings");
    }

    #[test]
    fn what_is_not_known_is_told_once_and_bounded() {
        let (disk, skew) = (Code::DiskSpace.unchecked("x"), Code::ClockSkew.unchecked("y"));
        let look = |unchecked: Vec<v1::Unchecked>| Look { unchecked, ..Look::default() };
        let merged =
            Look::merge([look(vec![disk.clone(), skew.clone()]), look(vec![disk.clone()])]);
        assert_eq!(merged.unchecked, [skew, disk]);
        let many = (0..1_000).map(|n| Code::TomcatPort.unchecked(format!("{n}"))).collect();
        assert_eq!(Look::merge([look(many)]).unchecked.len(), MOST);
        for role in [HostRole::Director, HostRole::RealServer, HostRole::Controller] {
            let unseen = Look::not_yet(role).unchecked;
            assert!(
                unseen.iter().any(|unseen| unseen.code == Code::DiskSpace.as_str()),
                "{role:?}"
            );
            assert!(
                unseen.iter().all(|unseen| unseen.code != Code::ClockSkew.as_str()),
                "{role:?}"
            );
        }
    }
}
