//! What is told of each agent, and what it tells of its host.

use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::HostRole;
use fulcrum_proto::v1;

use super::host::{self, Report};
use super::{Check, Group, Trouble};
use crate::status::ago;

/// A director reports every 5 s, of a large table less often; a report older than this, beside the newest of its controller's, is old.
const FRESH: Duration = Duration::from_mins(1);

pub(super) fn groups(topology: &v1::Topology, now: SystemTime) -> Vec<Group> {
    let agents = topology.agents.iter();
    agents
        .map(|agent| {
            let role = role_of(agent);
            let mut checks = vec![attached(agent, now), applied(agent, role, topology.revision)];
            let is_fresh = match role {
                HostRole::Director => is_recent(topology, agent),
                // Its evidence comes more often than its reports, which differ seldom.
                HostRole::RealServer | HostRole::Controller => {
                    Some(evidence_age(topology, &agent.name).is_some_and(|age| age <= FRESH))
                }
            };
            if agent.attached {
                checks.push(fresh(role, is_fresh));
            }
            let is_fresh = is_fresh.unwrap_or(true);
            let report = Report { told: told(agent), doubt: doubt(agent, is_fresh) };
            checks.extend(host::checks(role, &report));
            Group { role: agent.role.clone(), name: agent.name.clone(), checks }
        })
        .collect()
}

/// One director, by its own account.
pub(crate) fn director(found: &v1::GetDirectorStatusResponse) -> Vec<Group> {
    let told = found.observed.as_ref();
    let told = told.map(|seen| (seen.findings.as_slice(), seen.unchecked.as_slice()));
    vec![of_itself(HostRole::Director, &found.name, found.plan.is_some(), &found.controller, told)]
}

/// One real-server agent, by its own account.
pub(crate) fn real_server(found: &v1::GetRealServerStatusResponse) -> Vec<Group> {
    let told = found.observed.as_ref();
    let told = told.map(|seen| (seen.findings.as_slice(), seen.unchecked.as_slice()));
    let has_plan = found.plan.is_some();
    vec![of_itself(HostRole::RealServer, &found.name, has_plan, &found.controller, told)]
}

fn of_itself(
    role: HostRole,
    name: &str,
    has_plan: bool,
    controller: &str,
    told: Option<(&[v1::Finding], &[v1::Unchecked])>,
) -> Group {
    let (word, kind) = match role {
        HostRole::Director => ("director", "Director"),
        HostRole::RealServer => ("realserver", "RealServer"),
        HostRole::Controller => ("controller", "controller"),
    };
    let alone = controller.is_empty().then(|| {
        Trouble::warning(
            "",
            "it is attached to no controller, and goes on by its last plan",
            "see whether controllers run, and the network to them: `lvsctl doctor cluster`, and the agent's log",
        )
    });
    let no_plan = (!has_plan).then(|| {
        let remedy = format!(
            "name {name} in a {kind} of the intent (`lvsctl apply`), and let the agent attach to a controller"
        );
        Trouble::error("", "it has no plan", remedy)
    });
    let mut checks = vec![
        Check::new("agent-attached", "the agent is attached", alone.into_iter().collect()),
        Check::new("plan-applied", "the plan is applied", no_plan.into_iter().collect()),
    ];
    checks.extend(host::checks(role, &Report { told, doubt: None }));
    Group { role: word.to_owned(), name: name.to_owned(), checks }
}

fn role_of(agent: &v1::AgentStatus) -> HostRole {
    if agent.role == "director" { HostRole::Director } else { HostRole::RealServer }
}

fn heard(agent: &v1::AgentStatus) -> Option<SystemTime> {
    SystemTime::try_from(agent.last_heard?).ok()
}

/// Whether a director was heard lately, beside those that are attached to the same controller; none when there is no other. Clocks
/// of controllers differ, and each stamps by its own.
fn is_recent(topology: &v1::Topology, agent: &v1::AgentStatus) -> Option<bool> {
    let others = topology.agents.iter().filter(|other| {
        let is_same = other.role == agent.role && other.name == agent.name;
        other.attached && other.controller == agent.controller && !is_same
    });
    let newest = others.filter_map(heard).max()?;
    let Some(at) = heard(agent) else { return Some(false) };
    // Newer than all others is an age of nothing.
    Some(newest.duration_since(at).unwrap_or_default() <= FRESH)
}

fn evidence_age(topology: &v1::Topology, agent: &str) -> Option<Duration> {
    let evidence = topology.evidence.iter().find(|evidence| evidence.agent == agent)?;
    Some(Duration::from_millis(evidence.age_ms.into()))
}

fn told(agent: &v1::AgentStatus) -> Option<(&[v1::Finding], &[v1::Unchecked])> {
    match (&agent.director, &agent.real_server) {
        (Some(director), _) => Some((&director.findings, &director.unchecked)),
        (None, Some(real_server)) => Some((&real_server.findings, &real_server.unchecked)),
        (None, None) => None,
    }
}

fn doubt(agent: &v1::AgentStatus, is_fresh: bool) -> Option<String> {
    if !agent.attached {
        return Some("the agent is not attached".to_owned());
    }
    if !is_fresh {
        return Some("its last report is old".to_owned());
    }
    host::doubt_of("the agent", &agent.program_version)
}

fn attached(agent: &v1::AgentStatus, now: SystemTime) -> Check {
    let unit = role_of(agent).unit();
    let trouble = (!agent.attached).then(|| match agent.last_heard {
        None => Trouble::error(
            "",
            "it was never heard",
            format!(
                "on {}'s host `systemctl enable --now {unit}`; where it runs, see `controllers` and `name` of its \
                 configuration",
                agent.name
            ),
        ),
        Some(heard) => Trouble::error(
            "",
            format!("it was last heard {} ago", ago(heard, now)),
            format!(
                "on {}'s host `systemctl status {unit}`; where it runs, see its log for which controllers it tries, \
                 and the network to them",
                agent.name
            ),
        ),
    });
    Check::new("agent-attached", "the agent is attached", trouble.into_iter().collect())
}

fn fresh(role: HostRole, is_fresh: Option<bool>) -> Check {
    let trouble = (is_fresh == Some(false)).then(|| {
        Trouble::error(
            "",
            "nothing was heard of it for a minute, although it is attached",
            format!(
                "on its host `journalctl -u {unit} -n 50` tells what the agent waits for; `systemctl restart {unit}` \
                 takes nothing from the kernel",
                unit = role.unit()
            ),
        )
    });
    let title = "the agent's reports are fresh";
    let check = Check::new("agent-fresh", title, trouble.into_iter().collect());
    match is_fresh {
        Some(_) => check,
        None => check
            .not_known("no other agent is attached to its controller, to compare with".to_owned()),
    }
}

fn applied(agent: &v1::AgentStatus, role: HostRole, revision: u64) -> Check {
    let trouble = match &agent.ack {
        // Without intent there is nothing to acknowledge.
        None if revision == 0 => None,
        None => Some(Trouble::error(
            "",
            "it has not answered any plan yet",
            format!(
                "wait a moment after its start; then see `journalctl -u {} -n 50` on its host",
                role.unit()
            ),
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
                    format!(
                        "`lvsctl wait` waits for it; if it stays so, see `journalctl -u {} -n 50` on its host",
                        role.unit()
                    ),
                ))
            } else {
                None
            }
        }
    };
    Check::new("plan-applied", "the plan is applied", trouble.into_iter().collect())
}
