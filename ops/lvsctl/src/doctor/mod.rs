//! Every precondition of the cluster, host by host: what is well, what is wrong, and the remedy.
//!
//! Pure: from the API's topology and the time to groups of checks, and from these to text. What agents look at is in
//! [`fulcrum_proto::finding`]; what controllers
//! can be asked, together and each by itself, is in [`cluster`] and [`controllers`]. Start reading at [`topology`].

mod agents;
mod cluster;
mod controllers;
mod host;
mod render;
mod versions;

use fulcrum_proto::v1;

pub(crate) use agents::{director, real_server};
pub(crate) use cluster::{certificates, identities};
pub(crate) use controllers::{Answer, Answers};
pub(crate) use render::{to_node, to_text};

use std::time::SystemTime;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Nothing was found.
    Well,
    /// It could not be made, or is too old.
    Unknown,
    /// It works, and may surprise.
    Warning,
    /// Clients lose connections, or will.
    Error,
}

/// One check of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// For programs.
    pub(crate) code: String,
    /// What holds where it is well.
    pub(crate) title: String,
    pub(crate) outcome: Outcome,
    /// Why it is not known; empty where it is.
    pub(crate) why: String,
    /// What is wrong.
    pub(crate) troubles: Vec<Trouble>,
}

/// Something wrong, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) severity: Outcome,
    /// What it is about; empty where it is the host.
    pub(crate) subject: String,
    pub(crate) found: String,
    pub(crate) remedy: String,
}

/// The checks of a program's host, or of the controllers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// `cluster`, `controller`, `director` or `realserver`.
    pub(crate) role: String,
    /// Of the program; empty for the cluster.
    pub(crate) name: String,
    pub(crate) checks: Vec<Check>,
}

impl Trouble {
    pub(crate) fn error(
        subject: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::of(Outcome::Error, subject, found, remedy)
    }

    pub(crate) fn warning(
        subject: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::of(Outcome::Warning, subject, found, remedy)
    }

    fn of(
        severity: Outcome,
        subject: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity, subject: subject.to_owned(), found: found.into(), remedy: remedy.into() }
    }
}

impl Check {
    /// As bad as the worst of what is wrong.
    pub(crate) fn new(code: &str, title: &str, troubles: Vec<Trouble>) -> Self {
        let outcome = troubles.iter().map(|trouble| trouble.severity).max();
        Self {
            code: code.to_owned(),
            title: title.to_owned(),
            outcome: outcome.unwrap_or(Outcome::Well),
            why: String::new(),
            troubles,
        }
    }

    /// The same, which could not be made.
    pub(crate) fn not_known(self, why: String) -> Self {
        Self { outcome: Outcome::Unknown, why, ..self }
    }
}

impl Group {
    /// `cluster` or `director/d1`.
    pub(crate) fn title(&self) -> String {
        if self.name.is_empty() {
            self.role.clone()
        } else {
            format!("{}/{}", self.role, self.name)
        }
    }

    /// Whether a person means it by this word; `cluster` is the controllers, too.
    pub(crate) fn is_called(&self, word: &str) -> bool {
        let is_of_cluster = word == "cluster" && self.role == "controller";
        self.title() == word || (!self.name.is_empty() && self.name == word) || is_of_cluster
    }
}

/// Every group of a cluster: the controllers first, together and one by one, then each agent of the intent or that is
/// attached.
pub(crate) fn topology(
    topology: &v1::Topology,
    answers: &Answers,
    own_certificates: Option<Check>,
    now: SystemTime,
) -> Vec<Group> {
    let mut groups = vec![cluster::group(topology, own_certificates)];
    groups.extend(controllers::groups(topology, answers));
    groups.extend(agents::groups(topology, now));
    groups
}

/// Troubles of that severity in all groups.
pub(crate) fn count(groups: &[Group], severity: Outcome) -> usize {
    let checks = groups.iter().flat_map(|group| &group.checks);
    checks.flat_map(|check| &check.troubles).filter(|trouble| trouble.severity == severity).count()
}

/// `findings: 1 error, 2 warnings: see lvsctl doctor` for the status of a host; none where nothing was found.
pub(crate) fn summary(findings: &[v1::Finding]) -> Option<String> {
    let of = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings) = (of(v1::Severity::Error), of(v1::Severity::Warning));
    (errors + warnings > 0)
        .then(|| format!("findings: {}: see lvsctl doctor", render::counted(errors, warnings)))
}

#[cfg(test)]
mod tests;
