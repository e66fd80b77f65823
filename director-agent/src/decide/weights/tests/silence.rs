//! Silence together, as checks tell of it.

use fulcrum_model::fuse::{HOLD, Tries};

use super::*;
use crate::decide::check::CheckNews;

/// What a check tells of its tries.
fn told(decider: &mut Decider, web: &str, now: u64, tries: Tries, probe: OwnProbe) -> Effect {
    decider.probes(MS(now), [CheckNews { key: key(web), probe, tries }])
}

fn heard(ms: u64) -> Tries {
    Tries { heard: Some(MS(ms)), ..Tries::default() }
}

/// Fell silent for good at that time.
fn silent(ms: u64) -> Tries {
    let mut tries = heard(1000);
    tries.unanswered(MS(ms - 100), MS(ms));
    tries.fell(MS(ms));
    tries
}

/// Three in rotation at 1 s, of which the first two fell silent at 2 s.
fn two_of_three() -> Decider {
    let mut decider = Decider::default();
    let all = ["web1", "web2", "web3"];
    plan(&mut decider, MS(0), &web(&all));
    for web in all {
        decider.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        told(&mut decider, web, 1000, heard(1000), OwnProbe::Passing);
    }
    told(&mut decider, "web1", 2000, silent(2000), failing());
    assert_eq!(weights(&decider), [0, 8, 8], "one alone is out at once");
    let effect = told(&mut decider, "web2", 2200, silent(2200), failing());
    assert!(effect.weights.is_empty(), "the second is held");
    assert_eq!(weights(&decider), [0, 8, 8]);
    decider
}

#[test]
fn a_hold_is_told_and_ends_with_an_answer() {
    let mut decider = two_of_three();
    let alarm = "virtual server web: 2 of 3 real servers fell silent within 0.2 s, so their weights are held until somebody \
                 answers, at most 30 s; the agents of 2 of them say that they serve: this director is cut off from them, look \
                 at its network";
    assert_eq!(alarms(decider.pools()), [alarm]);
    let effect = told(&mut decider, "web3", 2300, heard(2300), OwnProbe::Passing);
    assert_eq!((weights(&decider), effect.weights.len()), (vec![0, 0, 8], 1), "no probe changed");
    assert_eq!(alarms(decider.pools()), Vec::<String>::new());
}

#[test]
fn a_hold_ends_by_itself() {
    let mut decider = two_of_three();
    let over = MS(2000) + HOLD;
    while let Some(at) = decider.deadline().filter(|at| *at <= over + MS(200)) {
        decider.expire(at);
    }
    assert_eq!(weights(&decider), [0, 0, 8]);
}

#[test]
fn agents_that_say_down_are_believed() {
    let mut decider = two_of_three();
    decider.evidence(MS(2300), evidence("web2", 2, Verdict::Down, Some(true)));
    assert_eq!(weights(&decider), [0, 0, 8]);
}

#[test]
fn each_director_decides_by_what_it_sees() {
    let mut cut_off = two_of_three();
    told(&mut cut_off, "web3", 2300, silent(2300), failing());
    assert_eq!(weights(&cut_off), [8, 8, 8]);
    assert!(alarms(cut_off.pools())[0].contains("3 of them say that they serve"));
    // The other one has the same plan and evidence, and none of this one's probes.
    let mut other = Decider::default();
    let all = ["web1", "web2", "web3"];
    plan(&mut other, MS(0), &web(&all));
    for web in all {
        other.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        told(&mut other, web, 1000, heard(1000), OwnProbe::Passing);
    }
    assert_eq!((weights(&other), alarms(other.pools()).len()), (vec![8, 8, 8], 0));

    // One answers again: the others are asked once more before they fall.
    let mut back = silent(2000);
    back.answered(MS(9000));
    told(&mut cut_off, "web1", 9000, back, OwnProbe::Passing);
    assert_eq!(weights(&cut_off), [8, 8, 8]);
    let mut asked = silent(2200);
    asked.unanswered(MS(9500), MS(9600));
    told(&mut cut_off, "web2", 9600, asked, failing());
    assert_eq!(weights(&cut_off), [8, 0, 8]);
}
