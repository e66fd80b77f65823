//! Which agents have not applied a revision, and why. Pure.

use fulcrum_proto::v1;

use super::registry::Registry;
use fulcrum_intent::AgentId;

/// Agents among `named` that have not applied `version`, in their order. A later revision of the same incarnation counts.
pub fn laggards<'a>(
    registry: &Registry,
    named: impl IntoIterator<Item = &'a AgentId>,
    version: &v1::PlanVersion,
) -> Vec<v1::Laggard> {
    named.into_iter().filter_map(|key| laggard(registry, key, version)).collect()
}

fn laggard(registry: &Registry, key: &AgentId, version: &v1::PlanVersion) -> Option<v1::Laggard> {
    let applied = registry.applied(key).filter(|applied| is_same_line(applied, version));
    let applied_revision = applied.map_or(0, |applied| applied.revision);
    if applied.is_some() && applied_revision >= version.revision {
        return None;
    }
    Some(v1::Laggard {
        agent: key.to_string(),
        applied_revision,
        reason: reason(registry.agent(key).map(AsRef::as_ref), version),
    })
}

fn reason(status: Option<&v1::AgentStatus>, version: &v1::PlanVersion) -> String {
    let Some(status) = status else {
        return "not attached: no controller has heard of it; is its agent running?".to_owned();
    };
    if !status.attached {
        return format!("not attached; it was last attached to controller {}", status.controller);
    }
    let refusal = status.ack.as_ref().filter(|ack| {
        let is_of_this = ack.version.as_ref().is_some_and(|refused| {
            is_same_line(refused, version) && refused.revision >= version.revision
        });
        !ack.applied && is_of_this
    });
    match refusal {
        Some(ack) => format!("refused: {}", ack.reason),
        None => "still working".to_owned(),
    }
}

/// Only revisions of one cluster and incarnation have an order.
fn is_same_line(left: &v1::PlanVersion, right: &v1::PlanVersion) -> bool {
    left.cluster_id == right.cluster_id && left.incarnation == right.incarnation
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::sessions::key;
    use crate::sessions::registry::{Newcomer, SessionStamp};

    const STAMP: SessionStamp = SessionStamp { epoch: 1, session: 1 };

    fn version(incarnation: u64, revision: u64) -> v1::PlanVersion {
        v1::PlanVersion { cluster_id: "c".to_owned(), incarnation, revision, ..Default::default() }
    }

    /// An agent that answered so, and what is said of it at revision 7 of incarnation 1.
    fn check(acks: &[(v1::PlanVersion, bool)], is_attached: bool, expected: Option<(u64, &str)>) {
        let key = key::director("d1".parse().expect("a name"));
        let mut registry = Registry::new("c1");
        let now = Timestamp::default();
        registry.admit(
            &Newcomer { key: key.clone(), stamp: STAMP, program_version: String::new() },
            now,
        );
        for (version, applied) in acks {
            registry.hear(&key, STAMP, now, |status| {
                status.ack = Some(v1::PlanAck {
                    version: Some(version.clone()),
                    applied: *applied,
                    reason: "no such interface".to_owned(),
                });
            });
        }
        if !is_attached {
            registry.leave(&key, STAMP);
        }
        let found = laggards(&registry, [&key], &version(1, 7));
        let found =
            found.first().map(|laggard| (laggard.applied_revision, laggard.reason.as_str()));
        assert_eq!(found, expected, "{acks:?} {is_attached}");
    }

    #[test]
    fn a_laggard_is_told_with_its_reason() {
        let refused = "refused: no such interface";
        let working = "still working";
        let gone = "not attached; it was last attached to controller c1";
        check(&[], true, Some((0, working)));
        check(&[(version(1, 7), true)], true, None);
        check(&[(version(1, 8), true)], true, None);
        check(&[(version(1, 7), true)], false, None);
        check(&[(version(1, 6), true)], true, Some((6, working)));
        check(&[(version(1, 6), true)], false, Some((6, gone)));
        check(&[(version(1, 6), true), (version(1, 7), false)], true, Some((6, refused)));
        check(&[(version(1, 6), false)], true, Some((0, working)));
        check(&[(version(1, 7), true), (version(1, 8), false)], true, None);
        check(&[(version(0, 9), true)], true, Some((0, working)));
    }

    #[test]
    fn an_agent_never_heard_of_is_a_laggard() {
        let key = key::real_server("web1".parse().expect("a name"));
        let found = laggards(&Registry::new("c1"), [&key], &version(1, 7));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].agent, "realserver/web1");
        assert!(found[0].reason.contains("no controller has heard of it"));
    }
}
