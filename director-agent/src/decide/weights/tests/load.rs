//! Weights that follow load, as they reach the decider: what a report of load costs.

use fulcrum_model::ServerLoad;

use super::*;

/// Evidence with so many of 200 threads busy.
pub(super) fn loaded(web: &str, sequence: u64, verdict: Verdict, busy_threads: u32) -> Evidence {
    let mut evidence = evidence(web, sequence, verdict, Some(true));
    let load = ServerLoad { busy_threads, max_threads: 200, ..ServerLoad::default() };
    evidence.servers[0].load = Some(load);
    evidence
}

/// A decider of these real servers, all of them idle and in rotation, beside a virtual server of web2000 as planned.
fn following(webs: &[String]) -> Decider {
    let names: Vec<&str> = webs.iter().map(String::as_str).collect();
    let mut followed = virtual_server("web", 1, &names);
    followed.dynamic_weights = Some(DynamicWeights::default());
    let mut decider = Decider::default();
    let other = virtual_server("other", 2, &["web2000"]);
    plan(&mut decider, MS(0), &[Arc::new(followed), Arc::new(other)]);
    for web in names.iter().chain(&["web2000"]) {
        decider.evidence(MS(0), loaded(web, 1, Verdict::Up, 0));
        probed(&mut decider, MS(0), &key(web), OwnProbe::Passing);
    }
    decider.expire(MS(1000));
    decider
}

fn webs(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("web{number}")).collect()
}

#[test]
fn news_of_load_waits_for_more_and_touches_no_other() {
    let webs = webs(2);
    let mut decider = following(&webs);
    assert_eq!(weights(&decider), [800, 800], "eight, in the scale of the table");
    let idle = decider.deadline();
    decider.evidence(MS(1000), loaded("web2000", 2, Verdict::Up, 190));
    assert_eq!(decider.deadline(), idle, "there weights are as planned");
    for web in &webs {
        let effect = decider.evidence(MS(1000), loaded(web, 2, Verdict::Up, 20));
        assert_eq!(effect, Effect::default());
    }
    assert_eq!(decider.deadline(), Some(MS(1250)));
    let effect = decider.expire(MS(1250));
    assert!(!effect.to_tell && effect.weights.is_empty(), "a mean that moves is not told");
    let again = decider.evidence(MS(1300), loaded(&webs[0], 3, Verdict::Up, 20));
    assert_eq!(again, Effect::default());
    while let Some(look) = decider.deadline().filter(|look| *look < MS(3000)) {
        let effect = decider.expire(look);
        assert!(!effect.to_tell && effect.weights.is_empty());
    }
}

#[test]
fn no_thread_left_does_not_wait() {
    let webs = webs(3);
    let mut decider = following(&webs);
    let effect = decider.evidence(MS(1000), loaded(&webs[0], 2, Verdict::Saturated, 200));
    assert_eq!(weights(&decider), [80, 800, 800]);
    let [change] = &effect.changes.told[..] else { panic!("one real server's: {effect:?}") };
    assert_eq!(change.real_server, name(&webs[0]));
    assert_eq!(change.reasons[0], "200 of 200 threads busy: weight 80 of 800");
    let decided = &decider.pool(&name("web")).expect("a pool").members[0];
    assert_eq!((decided.planned.get(), decided.load_share), (800, Some(100)));
}

#[test]
fn to_opt_in_and_out_scales_all_at_once() {
    let webs = webs(2);
    let mut decider = following(&webs);
    let names: Vec<&str> = webs.iter().map(String::as_str).collect();
    let planned = virtual_server("web", 1, &names);
    let mut followed = planned.clone();
    followed.dynamic_weights = Some(DynamicWeights::default());
    plan(&mut decider, MS(1500), &[Arc::new(planned)]);
    assert_eq!(weights(&decider), [8, 8]);
    plan(&mut decider, MS(2000), &[Arc::new(followed)]);
    assert_eq!(weights(&decider), [800, 800]);
}

#[test]
fn a_thousand_that_report_are_decided_together() {
    let webs = webs(1000);
    let mut decider = following(&webs);
    let mut decisions = 0;
    let mut now = MS(1000);
    // Each tells another load once a second, spread over it, for ten seconds.
    for sequence in 2..12 {
        for (number, web) in (0_u32..).zip(&webs) {
            now += Duration::from_millis(1);
            while decider.deadline().is_some_and(|look| look <= now) {
                decider.expire(now);
                decisions += 1;
            }
            let busy = (number + u32::try_from(sequence).expect("small")) % 80;
            let effect = decider.evidence(now, loaded(web, sequence, Verdict::Up, busy));
            assert_eq!(effect, Effect::default(), "nothing is decided by a report of load");
        }
    }
    // News four times a second, and means that move as often.
    assert!(decisions <= 90, "{decisions} decisions for 10,000 reports");
}
