//! Stories of orders to drain, quorums, sorry servers, slow start and resets, as they reach the decider.

use fulcrum_model::fuse::Place;
use fulcrum_model::plan::DrainPlan;
use fulcrum_model::{FailurePolicy, Quorum};

use super::*;
use crate::decide::decided::{Turn, TurnKind};
use crate::decide::plan::faults;

/// web1 and web2, and what `change` makes of them.
fn plan_with(change: impl FnOnce(&mut VirtualServerPlan)) -> Vec<Arc<VirtualServerPlan>> {
    let mut server = virtual_server("web", 1, &["web1", "web2"]);
    change(&mut server);
    vec![Arc::new(server)]
}

fn drain_web1(server: &mut VirtualServerPlan, grace: Option<Duration>) {
    let drain = DrainPlan {
        name: name("web1"),
        reason: "new kernel".to_owned(),
        requested_by: "ann".to_owned(),
        grace,
    };
    Arc::make_mut(&mut server.destinations)[0].drain = Some(Box::new(drain));
}

fn with_sorry(server: &mut VirtualServerPlan) {
    let sorry = fixtures::destination("web9");
    server.sorry_server = Some(DestinationPlan { weight: Weight::ONE, ..sorry });
}

/// A decider on this plan, with web1 and web2 in rotation since 1 s.
fn serving(changed: &[Arc<VirtualServerPlan>]) -> Decider {
    let mut decider = Decider::default();
    plan(&mut decider, MS(0), changed);
    for web in ["web1", "web2"] {
        decider.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        probed(&mut decider, MS(1000), &key(web), OwnProbe::Passing);
    }
    decider
}

fn kinds(turns: &[Turn]) -> Vec<&TurnKind> {
    turns.iter().map(|turn| &turn.kind).collect()
}

#[test]
fn a_drain_is_told_once_and_ends() {
    let mut decider = in_rotation();
    let drained = plan_with(|server| drain_web1(server, None));
    let effect = plan(&mut decider, MS(2000), &drained);
    assert_eq!(weights(&decider), [0, 8]);
    let order = "drained by ann: new kernel (drain web1)".to_owned();
    assert_eq!(kinds(&effect.turns), [&TurnKind::DrainBegins(name("web1"), order)]);
    assert!(effect.weights.contains(&name("web")));
    let again = plan(&mut decider, MS(2100), &drained);
    assert_eq!(again.turns, []);
    decider.evidence(MS(2200), evidence("web1", 2, Verdict::Down, Some(true)));
    let back = decider.evidence(MS(2300), evidence("web1", 3, Verdict::Up, Some(true)));
    assert_eq!((weights(&decider), back.weights.len()), (vec![0, 8], 0), "whatever the agent says");

    let effect = plan(&mut decider, MS(3000), &web(&["web1", "web2"]));
    assert_eq!(weights(&decider), [8, 8]);
    assert_eq!(kinds(&effect.turns), [&TurnKind::DrainEnds(name("web1"))]);
}

#[test]
fn a_drain_survives_a_restart_from_the_first_decision() {
    for (grace, is_leaving) in [(None, false), (Some(Duration::from_mins(1)), true)] {
        let latch = in_rotation().arp().clone();
        let mut decider = Decider::new(latch);
        let adopted = Weight::new(8).expect("a weight");
        let saved = plan_with(|server| drain_web1(server, grace));
        decider.change_plan(MS(0), &saved, &[], |_, _| Some(adopted));
        assert_eq!(weights(&decider), [0, 8], "the kernel's weight is not adopted");
        let place = members(&decider)[0].place;
        assert_eq!(matches!(place, Place::Leaving { .. }), is_leaving);
        assert!(decider.is_settled(), "nobody waits for a drained one's check");
        probed(&mut decider, MS(10), &key("web1"), OwnProbe::Passing);
        probed(&mut decider, MS(10), &key("web2"), OwnProbe::Passing);
        assert_eq!(weights(&decider), [0, 8]);
    }
}

#[test]
fn the_sorry_server_comes_and_goes() {
    let plan = plan_with(with_sorry);
    let mut decider = serving(&plan);
    assert!(decider.evidence(MS(1000), evidence("web9", 1, Verdict::Up, Some(true))).to_latch);
    let sorry = |decider: &Decider| {
        let pool = decider.pool(&name("web")).expect("a pool");
        pool.serving_sorry_server().map(|sorry| sorry.weight().get())
    };
    assert_eq!((weights(&decider), sorry(&decider)), (vec![8, 8], None));

    probed(&mut decider, MS(2000), &key("web1"), failing());
    let lost = probed(&mut decider, MS(2000), &key("web2"), failing());
    assert_eq!((weights(&decider), sorry(&decider)), (vec![0, 0], Some(1)));
    assert!(matches!(
        kinds(&lost.turns)[..],
        [TurnKind::QuorumLost(_), TurnKind::SorryServerBegins(_)]
    ));
    assert!(decider.is_settled());
    assert_eq!(
        alarms(decider.pools()),
        [
            "virtual server web has lost its quorum: real servers of weight 0 are in rotation, 1 is needed, sorry server \
             web9 serves alone: bring real servers back, or lower the pool's quorum"
        ]
    );

    let met = probed(&mut decider, MS(3000), &key("web2"), OwnProbe::Passing);
    assert_eq!((weights(&decider), sorry(&decider)), (vec![0, 8], None));
    assert!(matches!(
        kinds(&met.turns)[..],
        [TurnKind::QuorumMet(_), TurnKind::SorryServerEnds(_)]
    ));
    assert_eq!(alarms(decider.pools()), Vec::<String>::new());
}

#[test]
fn a_pool_that_only_begins_has_lost_nothing() {
    let mut decider = Decider::default();
    let effect = plan(&mut decider, MS(0), &web(&["web1", "web2"]));
    assert_eq!(effect.turns, []);
    for web in ["web1", "web2"] {
        // Its agent is heard later than its check.
        let effect = probed(&mut decider, MS(10), &key(web), OwnProbe::Passing);
        assert_eq!(effect.turns, []);
    }
    assert_eq!(alarms(decider.pools()), Vec::<String>::new());
    let effect = decider.evidence(MS(20), evidence("web1", 1, Verdict::Up, Some(true)));
    assert_eq!((effect.turns, weights(&decider)), (vec![], vec![8, 0]));
}

#[test]
fn a_restart_goes_on_with_the_sorry_server() {
    let mut before = serving(&plan_with(with_sorry));
    before.evidence(MS(1000), evidence("web9", 1, Verdict::Up, Some(true)));
    let mut decider = Decider::new(before.arp().clone());
    let held = |_: &VirtualServerPlan, destination: &DestinationPlan| {
        Some(if destination.real_server == name("web9") { Weight::ONE } else { Weight::ZERO })
    };
    decider.change_plan(MS(0), &plan_with(with_sorry), &[], held);
    let pool = decider.pool(&name("web")).expect("a pool");
    assert!(!pool.quorum.is_met && pool.serving_sorry_server().is_some());
    probed(&mut decider, MS(10), &key("web1"), OwnProbe::Passing);
    assert_eq!(weights(&decider), [8, 0]);
}

#[test]
fn a_lost_quorum_is_told_where_nobody_stands_in() {
    let mut decider = serving(&plan_with(|server| {
        server.quorum = Quorum { weight: 16, hysteresis: 0 };
    }));
    probed(&mut decider, MS(2000), &key("web1"), failing());
    assert_eq!(weights(&decider), [0, 8]);
    assert_eq!(
        alarms(decider.pools()),
        [
            "virtual server web has lost its quorum: real servers of weight 8 are in rotation, 16 is needed, they serve \
             alone: bring real servers back, or lower the pool's quorum"
        ]
    );
}

#[test]
fn weights_rise_by_themselves() {
    let mut decider = serving(&plan_with(|server| {
        server.slow_start = Some(Duration::from_secs(10));
    }));
    assert_eq!(weights(&decider), [8, 8], "a pool that starts");
    probed(&mut decider, MS(20_000), &key("web1"), failing());
    probed(&mut decider, MS(30_000), &key("web1"), OwnProbe::Passing);
    decider.expire(MS(30_000));
    assert_eq!(weights(&decider), [1, 8]);
    let mut edits = 0;
    let mut now = MS(30_000);
    while let Some(next) = decider.deadline() {
        assert!(next > now, "time goes on");
        now = next;
        edits += decider.expire(now).changes.count;
    }
    assert_eq!((weights(&decider), now, edits), (vec![8, 8], MS(40_000), 7));
}

#[test]
fn a_dead_one_is_reset_after_a_second() {
    let plan = plan_with(|server| server.options.on_failure = FailurePolicy::Reset);
    let mut decider = serving(&plan);
    decider.expire(MS(10_000));
    probed(&mut decider, MS(20_000), &key("web1"), failing());
    assert_eq!(members(&decider)[0].place, Place::In(Weight::ZERO));
    assert_eq!(decider.deadline(), Some(MS(21_000)));
    let effect = decider.expire(MS(21_000));
    assert_eq!(members(&decider)[0].place, Place::Leaving { within: Some(Duration::ZERO) });
    assert!(effect.weights.contains(&name("web")));
    assert_eq!(members(&decider)[0].since, MS(20_000), "the weight is 0 since then");
    assert_eq!(decider.deadline(), None);
    let removed = Decider::default().change_plan(MS(0), &[], &[name("web")], |_, _| None).0;
    assert_eq!(removed.turns, []);
}

#[test]
fn a_virtual_server_that_goes_is_not_looked_at_again() {
    let plan = plan_with(|server| server.options.on_failure = FailurePolicy::Reset);
    let mut decider = serving(&plan);
    decider.expire(MS(10_000));
    probed(&mut decider, MS(20_000), &key("web1"), failing());
    decider.change_plan(MS(20_000), &[], &[name("web")], |_, _| None);
    assert_eq!(decider.deadline(), None);
}

#[test]
fn a_sorry_server_that_is_a_member_is_a_fault() {
    let plan = plan_with(|server| server.sorry_server = Some(server.destinations[0].clone()));
    let servers = plan.iter().map(|server| (server.name.clone(), Arc::clone(server))).collect();
    assert_eq!(
        faults(&servers, &plan, &BTreeMap::new()),
        ["virtual server web has real server web1 (10.0.0.1:80) twice: name it once"]
    );
}
