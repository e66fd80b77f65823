//! Stories of one virtual server, and the law that order and duplication of evidence do not matter.

use proptest::prelude::*;

use super::*;
use crate::decide::alarms::alarms;
use crate::decide::fixtures::{evidence, name, plan, rip, virtual_server};
use fulcrum_model::{Check, Port};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn key(real_server: &str) -> CheckKey {
    CheckKey::new(rip(real_server), Port::new(80).expect("a port"), &Check::default())
}

fn servers(real_servers: &[&str]) -> BTreeMap<Name, VirtualServerPlan> {
    plan([virtual_server("web", 1, real_servers)]).virtual_servers
}

fn weights(decider: &Decider) -> Vec<u16> {
    decider.weights(&name("web")).iter().map(|decided| decided.weight.get()).collect()
}

fn failing() -> OwnProbe {
    OwnProbe::Failing("refused".to_owned())
}

/// A decider with web1 and web2 in rotation at 1 s.
fn in_rotation() -> Decider {
    let mut decider = Decider::default();
    decider.set_plan(MS(0), servers(&["web1", "web2"]), |_, _| None);
    for web in ["web1", "web2"] {
        decider.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        decider.probe(MS(1000), &key(web), OwnProbe::Passing);
    }
    assert_eq!(weights(&decider), [8, 8]);
    decider
}

#[test]
fn a_new_cluster_waits_for_check_and_proof() {
    let mut decider = Decider::default();
    decider.set_plan(MS(0), servers(&["web1", "web2"]), |_, _| None);
    assert_eq!(weights(&decider), [0, 0]);
    assert!(!decider.is_settled());
    assert_eq!(decider.checks().count(), 2);

    decider.probe(MS(10), &key("web1"), OwnProbe::Passing);
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
    decider.set_plan(MS(0), servers(&["web1", "web2"]), |_, _| Some(adopted));
    assert_eq!(weights(&decider), [5, 5], "the kernel's weights stand until the checks answer");
    assert!(decider.is_settled());
    decider.probe(MS(10), &key("web1"), OwnProbe::Passing);
    decider.probe(MS(10), &key("web2"), failing());
    assert_eq!(weights(&decider), [8, 0], "with no agent and no controller");
}

#[test]
fn evidence_moves_one_weight_and_expires() {
    let mut decider = in_rotation();
    let effect = decider.evidence(MS(1100), evidence("web2", 2, Verdict::Down, Some(true)));
    assert_eq!((weights(&decider), effect.to_latch), (vec![8, 0], false));
    assert_eq!(decider.weights(&name("web"))[1].since, MS(1100));
    let told: Vec<_> = effect
        .changes
        .iter()
        .map(|c| (c.real_server.as_str(), c.before.get(), c.after.get()))
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
    assert_eq!(alarms(decider.all_weights()), Vec::<String>::new());
    decider.probe(MS(1100), &key("web1"), failing());
    assert_eq!(alarms(decider.all_weights()), Vec::<String>::new(), "one is left");
    decider.probe(MS(1100), &key("web2"), failing());
    assert_eq!(weights(&decider), [8, 8]);
    assert!(alarms(decider.all_weights())[0].contains("own probes fail for every real server"));

    let mut decider = in_rotation();
    for web in ["web1", "web2"] {
        decider.evidence(MS(1100), evidence(web, 2, Verdict::Draining, None));
    }
    assert_eq!(weights(&decider), [0, 0]);
    assert_eq!(
        alarms(decider.all_weights()),
        [
            "virtual server web takes no connections: every weight is 0; web1 has it because: agent says draining: seen"
        ]
    );
    let many: Vec<_> = (1..=30).map(|n| virtual_server(&format!("v{n}"), n, &["web1"])).collect();
    let many = many.into_iter().map(|server| (server.name.clone(), server)).collect();
    decider.set_plan(MS(2000), many, |_, _| None);
    decider.evidence(MS(2000), evidence("web1", 3, Verdict::Draining, Some(true)));
    decider.probe(MS(2000), &key("web1"), OwnProbe::Passing);
    assert_eq!(alarms(decider.all_weights()).len(), 1, "the others wait for their proof");
}

#[test]
fn a_new_plan_keeps_what_stays() {
    let mut decider = in_rotation();
    let mut next = servers(&["web2", "web3"]);
    let server = next.get_mut(&name("web")).expect("it was made");
    // Another check of web2 has no answer yet, and web3 is new.
    server.check.interval = MS(100);
    decider.set_plan(MS(2000), next, |_, _| None);
    assert_eq!(weights(&decider), [8, 0]);
    assert_eq!(decider.weights(&name("web"))[0].since, MS(1000));

    // The answer of a check that is gone counts no more.
    assert_eq!(decider.probe(MS(2100), &key("web2"), failing()), Effect::default());
    assert_eq!(decider.checks().count(), 2);
    assert!(decider.set_plan(MS(2200), BTreeMap::new(), |_, _| None).weights.is_empty());
    assert_eq!((weights(&decider), decider.checks().count()), (vec![], 0));
    assert_eq!(decider.arp().agents().count(), 0);
}

#[test]
fn evidence_before_its_plan_counts() {
    let mut decider = Decider::default();
    decider.evidence(MS(0), evidence("web1", 1, Verdict::Up, Some(true)));
    decider.set_plan(MS(10), servers(&["web1"]), |_, _| None);
    decider.probe(MS(20), &key("web1"), OwnProbe::Passing);
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
            decider.set_plan(MS(0), servers(&["web1", "web2", "web3"]), |_, _| None);
            for (real_server, passes) in ["web1", "web2", "web3"].into_iter().zip(&probes) {
                if let Some(passes) = passes {
                    let probe = if *passes { OwnProbe::Passing } else { failing() };
                    decider.probe(MS(0), &key(real_server), probe);
                }
            }
            for (agent, sequence) in reports {
                decider.evidence(MS(1), report(*agent, *sequence));
            }
            (decider.weights(&name("web")).iter().map(|d| (d.weight, d.reasons.clone())).collect::<Vec<_>>(), decider.arp().clone())
        };
        prop_assert_eq!(run(&first), run(&second));
    }
}
