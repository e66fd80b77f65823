//! What is wrong on hosts, by their own word.

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_proto::finding::Code;
use fulcrum_proto::v1;
use fulcrum_proto::v1::event::Details;
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::agents::{read, subject, words};
use super::{Conditions, Ended, SHORT_HOLD, condition, event, with};
use crate::events::world::World;

/// Longest subject of a finding that a key has, in bytes.
const MOST_SUBJECT_BYTES: usize = 128;

/// A host that tells findings.
struct Host<'a> {
    who: Who<'a>,
    findings: &'a [v1::Finding],
    unchecked: &'a [v1::Unchecked],
}

/// Whose host it is.
#[derive(Clone, Copy)]
enum Who<'a> {
    Controller(&'a str),
    Agent(&'a AgentId),
}

impl<'a> Who<'a> {
    /// Its part of a key.
    fn place(self) -> String {
        match self {
            Self::Controller(name) => format!("controller/{name}"),
            Self::Agent(key) => key.to_string(),
        }
    }

    fn subject(self) -> (EventSubjectKind, &'a str) {
        match self {
            Self::Controller(name) => (EventSubjectKind::Controller, name),
            Self::Agent(key) => (subject(key), key.name.as_str()),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Controller(name) => format!("controller {name}"),
            Self::Agent(key) => words(key),
        }
    }
}

pub(super) fn list(world: &World, conditions: &mut Conditions) {
    // Most hosts are well.
    for host in hosts(world).filter(|host| !host.findings.is_empty()) {
        let (place, words) = (host.who.place(), host.who.words());
        for finding in host.findings {
            let kind = match finding.code.as_str() {
                code if is_certificate(code) => EventKind::CertificateEnds,
                code if code == Code::ClockSkew.as_str() => EventKind::ClockSkewed,
                _ => EventKind::FindingRaised,
            };
            let (severity, value) = match finding.severity() {
                v1::Severity::Error => (EventSeverity::Error, "error"),
                v1::Severity::Warning | v1::Severity::Unspecified => {
                    (EventSeverity::Warning, "warning")
                }
            };
            let of = if finding.subject.is_empty() {
                String::new()
            } else {
                format!("{}: ", finding.subject)
            };
            let text = format!("{words}: {of}{}", finding.found);
            let event = event(world, (kind, severity), host.who.subject(), text);
            let remedy = format!("remedy: {}", finding.remedy);
            let event = with(event, remedy, Details::Finding(finding.clone()));
            let key = format!("finding/{place}/{}/{}", finding.code, short(&finding.subject));
            conditions.insert(key, condition(value, 7, SHORT_HOLD, event));
        }
    }
}

fn is_certificate(code: &str) -> bool {
    [Code::Certificate, Code::ServerCertificate].iter().any(|known| known.as_str() == code)
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_SUBJECT_BYTES)]
}

/// Hosts that tell of themselves now.
fn hosts(world: &World) -> impl Iterator<Item = Host<'_>> {
    let controllers = world.controllers.iter().filter(|(_, it)| it.reachable);
    let controllers = controllers.map(|(name, it)| Host {
        who: Who::Controller(name),
        findings: &it.findings,
        unchecked: &it.unchecked,
    });
    let agents = world
        .agents()
        .filter(|(key, known)| known.status.attached && world.planned.named.contains(*key));
    let agents = agents.filter_map(|(key, known)| {
        let status = &known.status;
        let (findings, unchecked) = match key.role {
            AgentRole::Director => {
                status.director.as_ref().map(|it| (&it.findings, &it.unchecked))?
            }
            AgentRole::RealServer => {
                status.real_server.as_ref().map(|it| (&it.findings, &it.unchecked))?
            }
        };
        Some(Host { who: Who::Agent(key), findings, unchecked })
    });
    controllers.chain(agents)
}

/// Of `ROLE/NAME/CODE/SUBJECT`.
pub(super) fn ended(world: &World, rest: &str) -> Ended {
    let mut parts = rest.splitn(4, '/');
    let (Some(role), Some(name), Some(code)) = (parts.next(), parts.next(), parts.next()) else {
        return Ended::Gone;
    };
    let about = parts.next().unwrap_or_default();
    let place = format!("{role}/{name}");
    let is_known = match role {
        "controller" => world.controllers.contains_key(name),
        _ => read(&place).is_some_and(|key| world.planned.named.contains(&key)),
    };
    if !is_known {
        return Ended::Gone;
    }
    let Some(host) = hosts(world).find(|host| host.who.place() == place) else {
        return Ended::Unknown;
    };
    if host.unchecked.iter().any(|unchecked| unchecked.code == code) {
        return Ended::Unknown;
    }
    let kind = match code {
        code if is_certificate(code) => EventKind::CertificateWell,
        code if code == Code::ClockSkew.as_str() => EventKind::ClockWell,
        _ => EventKind::FindingCleared,
    };
    let of = if about.is_empty() { String::new() } else { format!(" of {about}") };
    let text = format!("{}: {code}{of} is well again", host.who.words());
    let event = event(world, (kind, EventSeverity::Info), host.who.subject(), text);
    let finding =
        v1::Finding { code: code.to_owned(), subject: about.to_owned(), ..Default::default() };
    let event = with(event, String::new(), Details::Finding(finding));
    Ended::Well(Box::new(condition("", 7, SHORT_HOLD, event)))
}
