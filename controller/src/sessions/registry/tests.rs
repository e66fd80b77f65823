use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp { seconds: 100, nanos: 0 };

fn stamp(epoch: u64, session: u64) -> SessionStamp {
    SessionStamp { epoch, session }
}

fn web1() -> AgentId {
    key::real_server(name())
}

fn name() -> Name {
    "web1".parse().expect("a name")
}

fn newcomer(epoch: u64, session: u64) -> Newcomer {
    Newcomer { key: web1(), stamp: stamp(epoch, session), program_version: "1".to_owned() }
}

fn status(controller: &str, epoch: u64, session: u64, attached: bool) -> v1::AgentStatus {
    v1::AgentStatus {
        role: "realserver".to_owned(),
        name: "web1".to_owned(),
        attached,
        controller: controller.to_owned(),
        epoch,
        session,
        ..Default::default()
    }
}

fn evidence(epoch: u64, sequence: u64, age_ms: u32) -> v1::Evidence {
    v1::Evidence {
        agent: "web1".to_owned(),
        epoch,
        sequence,
        age_ms,
        valid_for_ms: 3000,
        ..Default::default()
    }
}

fn ack(revision: u64, applied: bool) -> v1::PlanAck {
    let version = v1::PlanVersion {
        cluster_id: "c".to_owned(),
        incarnation: 1,
        revision,
        ..Default::default()
    };
    v1::PlanAck { version: Some(version), applied, reason: String::new() }
}

#[test]
fn the_newest_session_is_admitted() {
    let welcome = |highest_epoch| Admission::Welcome { highest_epoch };
    let by = |epoch, session| Admission::Superseded { by: stamp(epoch, session) };
    // Hellos of one agent, in order, with what becomes of each.
    let cases: [&[(u64, u64, Admission)]; 5] = [
        &[(1, 1, welcome(1)), (1, 2, welcome(1)), (2, 1, welcome(2))],
        &[(1, 2, welcome(1)), (1, 1, by(1, 2)), (1, 2, by(1, 2))],
        &[(7, 1, welcome(7)), (3, 9, Admission::EpochTooLow { highest_epoch: 7 })],
        &[
            (7, 1, welcome(7)),
            (8, 1, welcome(8)),
            (7, 2, Admission::EpochTooLow { highest_epoch: 8 }),
        ],
        &[(0, 0, welcome(0))],
    ];
    for hellos in cases {
        let mut registry = Registry::new("c1");
        for (epoch, session, expected) in hellos {
            let found = registry.admit(&newcomer(*epoch, *session), NOW);
            assert_eq!(found, *expected, "{hellos:?} at {epoch}/{session}");
        }
    }
}

#[test]
fn evidence_seen_raises_the_epoch_that_an_agent_must_reach() {
    let mut registry = Registry::new("c1");
    assert!(registry.take_evidence(&name(), evidence(5, 1, 0), false, Instant::now()));
    let found = registry.admit(&newcomer(4, 1), NOW);
    assert_eq!(found, Admission::EpochTooLow { highest_epoch: 5 });
    // A director of the same name is another agent.
    let director = Newcomer { key: key::director(name()), ..newcomer(4, 1) };
    assert_eq!(registry.admit(&director, NOW), Admission::Welcome { highest_epoch: 4 });
}

#[test]
fn only_the_newest_session_is_heard() {
    let mut registry = Registry::new("c1");
    registry.admit(&newcomer(1, 1), NOW);
    registry.admit(&newcomer(1, 2), NOW);
    let tell = |status: &mut v1::AgentStatus| status.ack = Some(ack(7, true));
    assert!(!registry.hear(&web1(), stamp(1, 1), NOW, tell));
    assert!(registry.applied(&web1()).is_none());
    assert!(registry.hear(&web1(), stamp(1, 2), NOW, tell));
    assert_eq!(registry.applied(&web1()).map(|version| version.revision), Some(7));
    // A refusal does not undo what was applied before.
    registry.hear(&web1(), stamp(1, 2), NOW, |status| status.ack = Some(ack(8, false)));
    assert_eq!(registry.applied(&web1()).map(|version| version.revision), Some(7));

    assert!(!registry.leave(&web1(), stamp(1, 1)));
    assert!(registry.agent(&web1()).is_some_and(|status| status.attached));
    assert!(registry.leave(&web1(), stamp(1, 2)));
    assert!(registry.agent(&web1()).is_some_and(|status| !status.attached));
}

#[test]
fn what_was_applied_lasts_for_the_process_that_applied_it() {
    let mut registry = Registry::new("c1");
    registry.admit(&newcomer(1, 1), NOW);
    registry.hear(&web1(), stamp(1, 1), NOW, |status| status.ack = Some(ack(7, true)));
    registry.admit(&newcomer(1, 2), NOW);
    assert!(registry.applied(&web1()).is_some());
    registry.admit(&newcomer(2, 1), NOW);
    assert!(registry.applied(&web1()).is_none());
}

#[test]
fn news_of_peers_merges_in_any_order() {
    // What is known here, a peer's news, and what becomes of it.
    let here = || newcomer(2, 2);
    let moved = Merge::Moved { here: stamp(2, 2) };
    let cases = [
        (Some(here()), status("c2", 2, 1, true), Merge::Old, "c1"),
        (Some(here()), status("c2", 2, 2, true), Merge::Old, "c1"),
        (Some(here()), status("c2", 2, 3, true), moved, "c2"),
        (Some(here()), status("c2", 3, 1, false), moved, "c2"),
        (Some(here()), status("c2", 1, 9, true), Merge::Old, "c1"),
        (None, status("c2", 1, 1, true), Merge::Taken, "c2"),
    ];
    for (known, news, expected, controller) in cases {
        let mut registry = Registry::new("c1");
        if let Some(known) = known {
            registry.admit(&known, NOW);
        }
        assert_eq!(registry.merge(&web1(), news.clone()), expected, "{news:?}");
        let found = registry.agent(&web1()).map(|status| status.controller.clone());
        assert_eq!(found.as_deref(), Some(controller), "{news:?}");
    }
}

#[test]
fn a_peer_updates_its_own_news_and_takes_it_along_when_it_is_lost() {
    let mut registry = Registry::new("c1");
    registry.merge(&web1(), status("c2", 1, 1, true));
    let told = v1::AgentStatus { ack: Some(ack(7, true)), ..status("c2", 1, 1, true) };
    assert_eq!(registry.merge(&web1(), told), Merge::Taken);
    assert_eq!(registry.applied(&web1()).map(|version| version.revision), Some(7));
    assert!(!registry.is_local(&web1()));

    assert_eq!(registry.lose_controller("c3"), []);
    assert_eq!(registry.lose_controller("c2"), [web1()]);
    assert!(registry.agent(&web1()).is_some_and(|status| !status.attached));
    // The agent comes here.
    assert_eq!(registry.admit(&newcomer(1, 2), NOW), Admission::Welcome { highest_epoch: 1 });
    assert!(registry.is_local(&web1()));
    assert!(registry.applied(&web1()).is_some());
    // What the lost peer has to say of it, late, is old.
    assert_eq!(registry.merge(&web1(), status("c2", 1, 1, false)), Merge::Old);
}

#[test]
fn the_newest_evidence_wins_ages_and_expires() {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let mut registry = Registry::new("c1");
    let cases = [
        (evidence(1, 2, 10), 0, true),
        (evidence(1, 1, 0), 10, false),
        (evidence(1, 2, 0), 10, false),
        (evidence(1, 3, 20), 100, true),
        (evidence(2, 1, 0), 200, true),
        (evidence(1, 9, 0), 300, false),
    ];
    for (news, at, expected) in cases {
        let found = registry.take_evidence(&name(), news.clone(), true, after(at));
        assert_eq!(found, expected, "{news:?}");
    }
    let age = |registry: &Registry, at| registry.evidence(&name(), after(at)).map(|e| e.age_ms);
    assert_eq!(age(&registry, 200), Some(0));
    assert_eq!(age(&registry, 1700), Some(1500));
    assert_eq!(age(&registry, 3199), Some(2999));
    assert_eq!(age(&registry, 3200), None);
    assert!(registry.all_evidence(after(3200)).is_empty());
    // Expired, it still keeps older news out.
    assert!(!registry.take_evidence(&name(), evidence(1, 10, 0), true, after(4000)));
}

#[test]
fn evidence_is_published_by_the_controller_that_its_agent_is_at() {
    let now = Instant::now();
    let mut registry = Registry::new("c1");
    registry.take_evidence(&name(), evidence(1, 1, 0), false, now);
    assert_eq!(registry.local_evidence().count(), 0);
    // The agent comes here and repeats itself.
    assert!(!registry.take_evidence(&name(), evidence(1, 1, 0), true, now));
    assert_eq!(registry.local_evidence().count(), 1);
    // It goes again.
    registry.take_evidence(&name(), evidence(1, 2, 0), false, now);
    assert_eq!(registry.local_evidence().count(), 0);
}

#[test]
fn agents_that_nobody_names_are_forgotten_once_they_leave() {
    let mut registry = Registry::new("c1");
    registry.admit(&newcomer(1, 1), NOW);
    registry.take_evidence(&name(), evidence(1, 1, 0), true, Instant::now());
    assert_eq!(registry.forget_unnamed(&BTreeSet::new()), []);
    registry.leave(&web1(), stamp(1, 1));
    assert_eq!(registry.forget_unnamed(&BTreeSet::from([web1()])), []);
    assert_eq!(registry.forget_unnamed(&BTreeSet::new()), [web1()]);
    assert_eq!(registry.agents_with_evidence().count(), 0);
}
