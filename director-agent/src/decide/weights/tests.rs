//! Stories of one virtual server, and the law that order and duplication of evidence do not matter.

mod load;
mod paths;
mod pools;
mod silence;

use proptest::prelude::*;

use super::*;
use crate::decide::alarms::alarms;
use crate::decide::decided::Decided;
use crate::decide::fixtures::{self, evidence, name, probed, rip, virtual_server};
use fulcrum_model::{Check, Port};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn key(real_server: &str) -> CheckKey {
    CheckKey::new(rip(real_server), Port::new(80).expect("a port"), &Check::default())
}

/// The one virtual server, with these real servers.
fn web(real_servers: &[&str]) -> Vec<Arc<VirtualServerPlan>> {
    let servers = fixtures::servers([virtual_server("web", 1, real_servers)]);
    servers.into_values().collect()
}

fn plan(decider: &mut Decider, now: Duration, changed: &[Arc<VirtualServerPlan>]) -> Effect {
    decider.change_plan(now, changed, &[], |_, _| None).0
}

fn members(decider: &Decider) -> &[Decided] {
    decider.pool(&name("web")).map_or(&[], |pool| &pool.members)
}

fn weights(decider: &Decider) -> Vec<u16> {
    members(decider).iter().map(|decided| decided.weight().get()).collect()
}

fn failing() -> OwnProbe {
    OwnProbe::Failing("refused".to_owned())
}

/// A decider with web1 and web2 in rotation at 1 s.
fn in_rotation() -> Decider {
    let mut decider = Decider::default();
    plan(&mut decider, MS(0), &web(&["web1", "web2"]));
    for web in ["web1", "web2"] {
        decider.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        probed(&mut decider, MS(1000), &key(web), OwnProbe::Passing);
    }
    assert_eq!(weights(&decider), [8, 8]);
    decider
}

#[test]
fn a_new_cluster_waits_for_check_and_proof() {
    let mut decider = Decider::default();
    plan(&mut decider, MS(0), &web(&["web1", "web2"]));
    assert_eq!(weights(&decider), [0, 0]);
    assert!(!decider.is_settled());

    probed(&mut decider, MS(10), &key("web1"), OwnProbe::Passing);
    assert_eq!(weights(&decider), [0, 0], "ARP safety is not proven");
    assert!(!decider.is_settled());

    let effect = decider.evidence(MS(20), evidence("web1", 1, Verdict::Up, Some(true)));
    assert_eq!(weights(&decider), [8, 0]);
    assert!(effect.to_latch && effect.to_tell && effect.weights.contains(&name("web")));
    assert!(decider.is_settled());
}

#[test]
fn a_restart_adopts_and_keeps() {
    let latch = in_rotation().arp().clone();
    let mut decider = Decider::new(latch);
    let adopted = Weight::new(5).expect("a weight");
    decider.change_plan(MS(0), &web(&["web1", "web2"]), &[], |_, _| Some(adopted));
    assert_eq!(weights(&decider), [5, 5], "the kernel's weights stand until the checks answer");
    assert!(decider.is_settled());
    probed(&mut decider, MS(10), &key("web1"), OwnProbe::Passing);
    probed(&mut decider, MS(10), &key("web2"), failing());
    assert_eq!(weights(&decider), [8, 0], "with no agent and no controller");
}

#[test]
fn evidence_moves_one_weight_and_expires() {
    let mut decider = in_rotation();
    let effect = decider.evidence(MS(1100), evidence("web2", 2, Verdict::Down, Some(true)));
    assert_eq!((weights(&decider), effect.to_latch), (vec![8, 0], false));
    assert_eq!(members(&decider)[1].since, MS(1100));
    let told: Vec<_> = effect
        .changes
        .told
        .iter()
        .map(|c| (c.real_server.as_str(), c.before.weight().get(), c.after.weight().get()))
        .collect();
    assert_eq!(told, [("web2", 8, 0)]);

    let repeated = decider.evidence(MS(1200), evidence("web2", 2, Verdict::Down, Some(true)));
    assert_eq!(repeated, Effect::default());
    let older = decider.evidence(MS(1200), evidence("web2", 1, Verdict::Up, Some(true)));
    assert_eq!(older, Effect::default());

    assert_eq!(decider.deadline(), Some(MS(4000)));
    let quiet = decider.expire(MS(4000));
    assert!(quiet.to_tell && quiet.weights.is_empty(), "web1's silence changes no weight");
    let back = decider.expire(MS(4100));
    assert_eq!(weights(&decider), [8, 8], "a silent agent is unknown: the own check decides");
    assert!(back.weights.contains(&name("web")));
    assert_eq!(decider.deadline(), None);
}

#[test]
fn virtual_servers_that_nobody_serves_are_told() {
    let mut decider = in_rotation();
    assert_eq!(alarms(decider.pools()), Vec::<String>::new());
    probed(&mut decider, MS(1100), &key("web1"), failing());
    assert_eq!(alarms(decider.pools()), Vec::<String>::new(), "one is left");
    probed(&mut decider, MS(1100), &key("web2"), failing());
    assert_eq!(weights(&decider), [8, 8]);
    assert!(alarms(decider.pools())[0].contains("own probes fail for every real server"));

    let mut decider = in_rotation();
    for web in ["web1", "web2"] {
        decider.evidence(MS(1100), evidence(web, 2, Verdict::Draining, None));
    }
    assert_eq!(weights(&decider), [0, 0]);
    assert_eq!(
        alarms(decider.pools()),
        [
            "virtual server web takes no connections: every weight is 0; web1 has it because: agent says draining: seen"
        ]
    );
    let many = (1..=30).map(|n| Arc::new(virtual_server(&format!("v{n}"), n, &["web1"])));
    decider.change_plan(MS(2000), &many.collect::<Vec<_>>(), &[name("web")], |_, _| None);
    decider.evidence(MS(2000), evidence("web1", 3, Verdict::Draining, Some(true)));
    probed(&mut decider, MS(2000), &key("web1"), OwnProbe::Passing);
    assert_eq!(alarms(decider.pools()).len(), 1, "the others wait for their proof");
}

#[test]
fn a_new_plan_keeps_what_stays() {
    let mut decider = in_rotation();
    // Another check of web2 has no answer yet, and web3 is new.
    let mut next = virtual_server("web", 1, &["web2", "web3"]);
    next.check.interval = MS(100);
    let (_, changed) = decider.change_plan(MS(2000), &[Arc::new(next)], &[], |_, _| None);
    assert_eq!(weights(&decider), [8, 0]);
    assert_eq!(members(&decider)[0].since, MS(1000));
    assert_eq!((changed.begun.len(), changed.ended), (2, vec![key("web1"), key("web2")]));

    // The answer of a check that is gone counts no more.
    assert_eq!(probed(&mut decider, MS(2100), &key("web2"), failing()), Effect::default());
    let (effect, changed) = decider.change_plan(MS(2200), &[], &[name("web")], |_, _| None);
    assert!(effect.weights.is_empty() && effect.to_latch);
    assert_eq!((weights(&decider), changed.ended.len()), (vec![], 2));
    assert_eq!(decider.arp().agents().count(), 0);
}

#[test]
fn a_change_leaves_the_others_alone() {
    let mut decider = in_rotation();
    decider.evidence(MS(1100), evidence("web2", 2, Verdict::Down, Some(true)));
    let other = Arc::new(virtual_server("other", 2, &["web2"]));
    let (effect, changed) = decider.change_plan(MS(5000), &[other], &[], |_, _| None);
    assert_eq!(effect.weights, [name("other")].into());
    assert_eq!((changed.begun.len(), changed.replaced.len()), (0, 0), "web2's check is shared");
    assert_eq!(weights(&decider), [8, 0]);
    // What has expired meanwhile still comes up.
    decider.expire(MS(5000));
    assert_eq!(weights(&decider), [8, 8]);
}

#[test]
fn evidence_before_its_plan_counts() {
    let mut decider = Decider::default();
    decider.evidence(MS(0), evidence("web1", 1, Verdict::Up, Some(true)));
    plan(&mut decider, MS(10), &web(&["web1"]));
    probed(&mut decider, MS(20), &key("web1"), OwnProbe::Passing);
    assert_eq!(weights(&decider), [8]);
}

/// Evidence whose content follows from its stamp, as that of one agent does.
fn report(agent: u8, sequence: u64) -> Evidence {
    let verdicts = [
        Verdict::Up,
        Verdict::Saturated,
        Verdict::Draining,
        Verdict::Stopping,
        Verdict::Down,
        Verdict::Unknown,
    ];
    let mixed = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(u32::from(agent)) >> 40;
    let pick = usize::try_from(mixed % 6).expect("below six");
    let arp_safe = [None, Some(true), Some(true), Some(false)]
        [usize::try_from((mixed / 6) % 4).expect("below four")];
    let mut evidence =
        evidence(["web1", "web2", "web3"][usize::from(agent)], sequence, verdicts[pick], arp_safe);
    evidence.stamp.epoch = 1 + sequence / 5;
    evidence.boot_id = format!("boot {}", sequence / 10);
    evidence
}

proptest! {
    #[test]
    fn order_and_duplication_do_not_matter(
        first in prop::collection::vec((0_u8..3, 0_u64..20), 1..40),
        order in any::<prop::sample::Index>(),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        probes in prop::collection::vec(prop::option::of(any::<bool>()), 3),
    ) {
        let mut second = first.clone();
        second.extend(repeats.iter().map(|index| *index.get(&first)));
        second.rotate_left(order.index(first.len()));
        second.reverse();
        let run = |reports: &[(u8, u64)]| {
            let mut decider = Decider::default();
            plan(&mut decider, MS(0), &web(&["web1", "web2", "web3"]));
            for (real_server, passes) in ["web1", "web2", "web3"].into_iter().zip(&probes) {
                if let Some(passes) = passes {
                    let probe = if *passes { OwnProbe::Passing } else { failing() };
                    probed(&mut decider, MS(0), &key(real_server), probe);
                }
            }
            for (agent, sequence) in reports {
                decider.evidence(MS(1), report(*agent, *sequence));
            }
            (members(&decider).iter().map(|d| (d.weight(), d.reasons.clone())).collect::<Vec<_>>(), decider.arp().clone())
        };
        prop_assert_eq!(run(&first), run(&second));
    }
}

proptest! {
    #[test]
    fn changes_one_by_one_come_to_the_same_as_the_whole_plan(
        steps in prop::collection::vec((0_u8..4, prop::option::of(1_usize..8)), 1..20),
    ) {
        let all = ["web1", "web2", "web3"];
        let server = |number: u8, subset: usize| {
            let chosen: Vec<&str> =
                all.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1).map(|(_, w)| *w).collect();
            Arc::new(virtual_server(&format!("v{number}"), number, &chosen))
        };
        let mut checks = BTreeSet::new();
        let mut last = BTreeMap::new();
        let mut by_steps = Decider::default();
        for (number, subset) in steps {
            let name = name(&format!("v{number}"));
            let (_, changed) = if let Some(subset) = subset {
                last.insert(name, server(number, subset));
                by_steps.change_plan(MS(0), &[server(number, subset)], &[], |_, _| None)
            } else {
                last.remove(&name);
                by_steps.change_plan(MS(0), &[], &[name], |_, _| None)
            };
            for ended in &changed.ended {
                prop_assert!(checks.remove(ended), "a check that runs ends");
            }
            for begun in changed.begun {
                prop_assert!(checks.insert(begun), "a check begins once");
            }
        }
        let mut at_once = Decider::default();
        let whole: Vec<_> = last.into_values().collect();
        let (_, changed) = at_once.change_plan(MS(0), &whole, &[], |_, _| None);
        prop_assert_eq!(&checks, &changed.begun.into_iter().collect());
        for decider in [&mut by_steps, &mut at_once] {
            for (sequence, web) in (1..).zip(all) {
                decider.evidence(MS(1), report(0, sequence));
                decider.evidence(MS(1), evidence(web, sequence, Verdict::Up, Some(true)));
                probed(decider, MS(1), &key(web), OwnProbe::Passing);
            }
        }
        prop_assert_eq!(by_steps.servers(), at_once.servers());
        prop_assert_eq!(
            by_steps.pools().collect::<Vec<_>>(),
            at_once.pools().collect::<Vec<_>>()
        );
        prop_assert_eq!(by_steps.arp(), at_once.arp());
    }
}

/// What happens to those who share real servers.
#[derive(Clone, Copy, Debug)]
enum Event {
    Probes { passing: usize, answered: usize },
    Report(u8),
    Time,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_usize..8, 1_usize..8)
            .prop_map(|(passing, answered)| Event::Probes { passing, answered }),
        (0_u8..3).prop_map(Event::Report),
        Just(Event::Time),
    ]
}

/// A virtual server of web1 to web3, which all of them share, with what else decides.
fn sharing(
    number: u8,
    traits: u8,
    destinations: &Arc<[DestinationPlan]>,
) -> Arc<VirtualServerPlan> {
    let mut server = virtual_server(&format!("v{number}"), number % 2 + 1, &[]);
    server.destinations = Arc::clone(destinations);
    if traits & 1 == 1 {
        server.agent = AgentRequirement::None;
    }
    if traits & 2 == 2 {
        server.quorum = Quorum { weight: 16, hysteresis: 0 };
    }
    server.slow_start = (traits & 4 == 4).then_some(MS(4000));
    if traits & 8 == 8 {
        server.options.on_failure = FailurePolicy::Reset;
    }
    server.sorry_server = (traits & 16 == 16).then(|| fixtures::destination("web9"));
    server.dynamic_weights = (traits & 32 == 32).then(DynamicWeights::default);
    Arc::new(server)
}

proptest! {
    #[test]
    fn those_who_share_real_servers_are_decided_as_each_would_be_alone(
        traits in prop::collection::vec(0_u8..64, 2..6),
        events in prop::collection::vec(event(), 1..12),
    ) {
        let all = ["web1", "web2", "web3"];
        let destinations = Arc::clone(&virtual_server("of", 1, &all).destinations);
        let servers: Vec<_> =
            (0..).zip(&traits).map(|(number, traits)| sharing(number, *traits, &destinations)).collect();
        let run = |servers: &[Arc<VirtualServerPlan>]| {
            let mut decider = Decider::default();
            plan(&mut decider, MS(0), servers);
            for (second, event) in (1..).zip(&events) {
                let now = MS(second * 700);
                match *event {
                    Event::Probes { passing, answered } => {
                        let answers = all.iter().enumerate().filter(|(bit, _)| answered >> bit & 1 == 1);
                        decider.probes(now, answers.map(|(bit, web)| {
                            let probe = if passing >> bit & 1 == 1 { OwnProbe::Passing } else { failing() };
                            CheckNews { key: key(web), probe, tries: Tries::default() }
                        }));
                    }
                    Event::Report(agent) => {
                        let busy = u32::try_from(second * 67 % 200).expect("below 200");
                        decider.evidence(now, load::loaded(all[usize::from(agent)], second, Verdict::Up, busy));
                    }
                    Event::Time => {
                        decider.expire(now);
                    }
                }
            }
            decider.pools().map(|(name, pool)| (name.clone(), pool.clone())).collect::<Vec<_>>()
        };
        let alone: Vec<_> = servers.iter().flat_map(|server| run(std::slice::from_ref(server))).collect();
        prop_assert_eq!(run(&servers), alone);
    }
}
