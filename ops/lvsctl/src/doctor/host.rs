//! What a program looks at on its host, whichever it is: well, wrong, or not known.

use std::collections::BTreeMap;

use fulcrum_proto::finding::{Code, HostRole};
use fulcrum_proto::v1;

use super::versions::VERSION;
use super::{Check, Outcome, Trouble};

/// A program's last word on its host.
pub(super) struct Report<'a> {
    /// What it found, and what it says not to know; none where it has told nothing.
    pub(super) told: Option<(&'a [v1::Finding], &'a [v1::Unchecked])>,
    /// Why nothing that it told counts any more, or less was looked at than lvsctl knows of.
    pub(super) doubt: Option<String>,
}

/// Doubt about what a program of that version looks at.
pub(super) fn doubt_of(program: &str, version: &str) -> Option<String> {
    (version != VERSION).then(|| {
        let theirs = if version.is_empty() { "an unknown version" } else { version };
        format!("{program} is of {theirs}, and may not look at it")
    })
}

/// What programs of the role look at, and what this one found beyond that.
pub(super) fn checks(role: HostRole, report: &Report<'_>) -> Vec<Check> {
    let (findings, unchecked) = report.told.unwrap_or_default();
    let mut found: BTreeMap<&str, Vec<Trouble>> = BTreeMap::new();
    for finding in findings {
        found.entry(&finding.code).or_default().push(trouble(finding));
    }
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for unseen in unchecked {
        unknown.entry(&unseen.code).or_default().push(&unseen.why);
    }
    let known = Code::ALL.into_iter().filter(|code| code.is_of(role));
    let mut checks: Vec<Check> = known
        .map(|code| {
            let troubles = found.remove(code.as_str()).unwrap_or_default();
            let check = Check::new(code.as_str(), code.title(), troubles);
            let why = match (&report.doubt, report.told, unknown.get(code.as_str())) {
                (Some(doubt), _, _) => Some(doubt.clone()),
                (None, None, _) => Some("nothing was told of the host yet".to_owned()),
                (None, Some(_), Some(whys)) => Some(whys.join("; ")),
                (None, Some(_), None) => None,
            };
            match why {
                Some(why) if check.outcome == Outcome::Well => check.not_known(why),
                Some(_) | None => check,
            }
        })
        .collect();
    // Of a program that is newer than lvsctl, or of another source than the catalogue's.
    checks.extend(found.into_iter().map(|(code, troubles)| Check::new(code, code, troubles)));
    checks
}

fn trouble(finding: &v1::Finding) -> Trouble {
    let v1::Finding { subject, found, remedy, .. } = finding;
    match finding.severity() {
        v1::Severity::Error => Trouble::error(subject, found, remedy),
        v1::Severity::Warning | v1::Severity::Unspecified => {
            Trouble::warning(subject, found, remedy)
        }
    }
}
