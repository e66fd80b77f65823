//! Stories of checks through the VIP.

use fulcrum_model::ThroughVip;

use super::*;

/// web1 and web2 in rotation at 1 s, with the keys of their checks through the VIP.
fn asked() -> (Decider, Vec<CheckKey>) {
    let mut server = virtual_server("web", 1, &["web1", "web2"]);
    server.check.through_vip = Some(ThroughVip { retries: 1, connect_only: false });
    let mut decider = Decider::default();
    plan(&mut decider, MS(0), &[Arc::new(server)]);
    for web in ["web1", "web2"] {
        decider.evidence(MS(1000), evidence(web, 1, Verdict::Up, Some(true)));
        probed(&mut decider, MS(1000), &key(web), OwnProbe::Passing);
    }
    let keys = decider.paths().of_server(&name("web")).iter();
    let keys = keys.map(|key| CheckKey::clone(key)).collect();
    (decider, keys)
}

#[test]
fn a_gray_one_is_out_until_its_vip_answers() {
    let (mut decider, keys) = asked();
    assert_eq!(weights(&decider), [8, 8], "untried ways count neither way");
    assert!(decider.is_settled());
    assert!(members(&decider).iter().all(|decided| decided.path == PathProbe::Untried));
    for key in &keys {
        probed(&mut decider, MS(1100), key, OwnProbe::Passing);
    }
    let effect = probed(&mut decider, MS(2000), &keys[0], failing());
    assert_eq!((weights(&decider), effect.changes.count), (vec![0, 8], 1));
    let gray = &members(&decider)[0];
    assert_eq!(gray.path, PathProbe::Failing("refused".to_owned()));
    assert_eq!(gray.probe, Some(OwnProbe::Passing));
    assert!(gray.reasons[0].starts_with("gray: the RIP answers"), "{:?}", gray.reasons);
    probed(&mut decider, MS(3000), &keys[0], OwnProbe::Passing);
    assert_eq!(weights(&decider), [8, 8]);
}

#[test]
fn where_no_vip_answers_all_are_kept_with_an_alarm() {
    let (mut decider, keys) = asked();
    assert_eq!(alarms(decider.pools()), [""; 0]);
    for key in &keys {
        probed(&mut decider, MS(2000), key, failing());
    }
    assert_eq!(weights(&decider), [8, 8]);
    let told = alarms(decider.pools());
    assert!(told[0].contains("no real server answers this director through the VIP"), "{told:?}");
    probed(&mut decider, MS(3000), &keys[1], OwnProbe::Passing);
    assert_eq!((weights(&decider), alarms(decider.pools()).len()), (vec![0, 8], 0));
}

#[test]
fn a_check_that_is_asked_for_no_longer_says_nothing() {
    let (mut decider, keys) = asked();
    probed(&mut decider, MS(1100), &keys[1], OwnProbe::Passing);
    probed(&mut decider, MS(1100), &keys[0], failing());
    assert_eq!(weights(&decider), [0, 8]);
    let (_, reindexed) = decider.change_plan(MS(2000), &web(&["web1", "web2"]), &[], |_, _| None);
    assert_eq!((reindexed.begun.len(), reindexed.ended), (0, keys.clone()));
    assert_eq!(weights(&decider), [8, 8]);
    assert_eq!(probed(&mut decider, MS(2100), &keys[0], failing()), Effect::default());
}
