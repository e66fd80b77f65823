//! What is told of each agent, and what it tells of its host.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::{Code, HostRole};
use fulcrum_proto::v1;

use super::cluster::VERSION;
use super::{Check, Group, Outcome, Trouble};
use crate::status::ago;

/// A director reports every 5 s, of a large table less often; a report older than this, beside the newest of all, is old.
const FRESH: Duration = Duration::from_mins(1);

/// An agent's last word on its host.
struct Report<'a> {
    /// None where it has told nothing.
    findings: Option<&'a [v1::Finding]>,
    /// Why nothing that it told counts any more, or less was looked at than lvsctl knows of.
    doubt: Option<String>,
}

pub(super) fn groups(topology: &v1::Topology, now: SystemTime) -> Vec<Group> {
    // Clocks of hosts differ: old is what is older than the others.
    let newest = topology.agents.iter().filter_map(heard).max().unwrap_or(now);
    let agents = topology.agents.iter();
    agents
        .map(|agent| {
            let role = role_of(agent);
            let mut checks = vec![attached(agent, now), applied(agent, topology.revision)];
            let age = match role {
                HostRole::Director => heard(agent).and_then(|at| newest.duration_since(at).ok()),
                // Its evidence comes more often than its reports, which differ seldom.
                HostRole::RealServer => evidence_age(topology, &agent.name),
            };
            let is_fresh = age.is_some_and(|age| age <= FRESH);
            if agent.attached {
                checks.push(fresh(is_fresh));
            }
            let report = Report { findings: findings(agent), doubt: doubt(agent, is_fresh) };
            checks.extend(host(role, &report));
            Group { role: agent.role.clone(), name: agent.name.clone(), checks }
        })
        .collect()
}

/// One director, by its own account.
pub(crate) fn director(found: &v1::GetDirectorStatusResponse) -> Vec<Group> {
    let mut troubles = Vec::new();
    if found.controller.is_empty() {
        troubles.push(Trouble::warning(
            "",
            "it is attached to no controller, and goes on by its last plan",
            "see whether controllers run, and the network to them",
        ));
    }
    let mut checks = vec![Check::new("agent-attached", "the agent is attached", troubles)];
    let no_plan = found.plan.is_none().then(|| {
        Trouble::error(
            "",
            "it has no plan",
            "name it in the intent and let it attach to a controller",
        )
    });
    checks.push(Check::new("plan-applied", "the plan is applied", no_plan.into_iter().collect()));
    let findings = found.observed.as_ref().map(|observed| observed.findings.as_slice());
    checks.extend(host(HostRole::Director, &Report { findings, doubt: None }));
    vec![Group { role: "director".to_owned(), name: found.name.clone(), checks }]
}

fn role_of(agent: &v1::AgentStatus) -> HostRole {
    if agent.role == "director" { HostRole::Director } else { HostRole::RealServer }
}

fn heard(agent: &v1::AgentStatus) -> Option<SystemTime> {
    SystemTime::try_from(agent.last_heard?).ok()
}

fn evidence_age(topology: &v1::Topology, agent: &str) -> Option<Duration> {
    let evidence = topology.evidence.iter().find(|evidence| evidence.agent == agent)?;
    Some(Duration::from_millis(evidence.age_ms.into()))
}

fn findings(agent: &v1::AgentStatus) -> Option<&[v1::Finding]> {
    let of_director = agent.director.as_ref().map(|observed| observed.findings.as_slice());
    of_director.or_else(|| agent.real_server.as_ref().map(|observed| observed.findings.as_slice()))
}

fn doubt(agent: &v1::AgentStatus, is_fresh: bool) -> Option<String> {
    if !agent.attached {
        return Some("the agent is not attached".to_owned());
    }
    if !is_fresh {
        return Some("its last report is old".to_owned());
    }
    (agent.program_version != VERSION).then(|| {
        let theirs = match agent.program_version.as_str() {
            "" => "an unknown version",
            version => version,
        };
        format!("the agent is of {theirs}, and may not look at it")
    })
}

fn attached(agent: &v1::AgentStatus, now: SystemTime) -> Check {
    let unit = match role_of(agent) {
        HostRole::Director => "fulcrum-director",
        HostRole::RealServer => "fulcrum-realserver",
    };
    let trouble = (!agent.attached).then(|| match agent.last_heard {
        None => Trouble::error("", "it was never heard", format!("start {unit} on its host")),
        Some(heard) => Trouble::error(
            "",
            format!("it was last heard {} ago", ago(heard, now)),
            format!("`systemctl status {unit}` on its host, and the network to the controllers"),
        ),
    });
    Check::new("agent-attached", "the agent is attached", trouble.into_iter().collect())
}

fn fresh(is_fresh: bool) -> Check {
    let trouble = (!is_fresh).then(|| {
        Trouble::error(
            "",
            "nothing was heard of it for a minute, although it is attached",
            "see on its host whether the agent hangs: its log, and its threads in /proc",
        )
    });
    Check::new("agent-fresh", "the agent's reports are fresh", trouble.into_iter().collect())
}

fn applied(agent: &v1::AgentStatus, revision: u64) -> Check {
    let trouble = match &agent.ack {
        // Without intent there is nothing to acknowledge.
        None if revision == 0 => None,
        None => Some(Trouble::error(
            "",
            "it has not answered any plan yet",
            "wait a moment after its start; then see the agent's log",
        )),
        Some(ack) => {
            let acked = ack.version.as_ref().map_or(0, |version| version.revision);
            if !ack.applied {
                Some(Trouble::error(
                    "",
                    format!("it refuses the plan of revision {acked}: {}", ack.reason),
                    "do what the reason says; the agent tries again by itself",
                ))
            } else if acked < revision {
                Some(Trouble::warning(
                    "",
                    format!("it is at revision {acked} of {revision}"),
                    "`lvsctl wait`; if it stays so, see the agent's log",
                ))
            } else {
                None
            }
        }
    };
    Check::new("plan-applied", "the plan is applied", trouble.into_iter().collect())
}

/// What agents of the role look at, and what this one found beyond that.
fn host(role: HostRole, report: &Report<'_>) -> Vec<Check> {
    let mut found: BTreeMap<&str, Vec<Trouble>> = BTreeMap::new();
    for finding in report.findings.into_iter().flatten() {
        found.entry(&finding.code).or_default().push(trouble(finding));
    }
    let known = Code::ALL.into_iter().filter(|code| code.is_of(role));
    let mut checks: Vec<Check> = known
        .map(|code| {
            let troubles = found.remove(code.as_str()).unwrap_or_default();
            let mut check = Check::new(code.as_str(), code.title(), troubles);
            let is_unknown = report.findings.is_none() || report.doubt.is_some();
            if check.outcome == Outcome::Well && is_unknown {
                check.outcome = Outcome::Unknown;
            }
            check
        })
        .collect();
    // Of an agent that is newer than lvsctl, or of another source than the catalogue's.
    checks.extend(found.into_iter().map(|(code, troubles)| Check::new(code, code, troubles)));
    if let Some(doubt) = &report.doubt {
        for check in &mut checks {
            if check.outcome == Outcome::Unknown {
                check.title = format!("{}: not known, {doubt}", check.title);
            }
        }
    }
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
