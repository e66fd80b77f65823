//! Law 14: real servers that answer at their RIP and not at the VIP.

use super::*;

fn failing() -> PathProbe {
    PathProbe::Failing("connect timed out after 1s".to_owned())
}

/// Name, probe and path of each member, whether a sorry server stands by; members' weights, whether the sorry server serves.
type Case<'a> = (&'a str, &'a [(P, PathProbe)], bool, &'a [u16], bool);

#[test]
fn gray_ones_are_out_beside_one_whose_vip_answers() {
    use PathProbe::{NotAsked, Passing, Untried};
    let no = failing;
    let cases: &[Case<'_>] = &[
        ("all well", &[(P::Pass, Passing), (P::Pass, Passing)], false, &[8, 8], false),
        ("one is gray", &[(P::Pass, no()), (P::Pass, Passing)], false, &[0, 8], false),
        ("not asked yet", &[(P::Pass, Untried), (P::Pass, Passing)], false, &[8, 8], false),
        ("one failed first", &[(P::Pass, no()), (P::Pass, Untried)], false, &[8, 8], false),
        ("all fail", &[(P::Pass, no()), (P::Pass, no())], false, &[8, 8], false),
        ("all fail beside a sorry server", &[(P::Pass, no())], true, &[8], false),
        ("the only one", &[(P::Pass, no())], false, &[8], false),
        ("the other is dead", &[(P::Pass, no()), (P::Fail, no())], false, &[8, 0], false),
        (
            "a dead one's way proves nothing",
            &[(P::Pass, no()), (P::Fail, Passing)],
            false,
            &[8, 0],
            false,
        ),
        ("its own probe fails", &[(P::Fail, Passing), (P::Pass, Passing)], false, &[0, 8], false),
        ("both fail", &[(P::Fail, no()), (P::Pass, Passing)], false, &[0, 8], false),
        ("all dead: keep all", &[(P::Fail, no()), (P::Fail, no())], false, &[8, 8], false),
        ("nobody asks", &[(P::Pass, NotAsked), (P::Fail, NotAsked)], false, &[8, 0], false),
    ];
    for (what, members, has_sorry, expected, sorry_serves) in cases {
        let members = members
            .iter()
            .map(|(probe, path)| Server::well().probed(*probe).through_vip(path.clone()));
        let world = World::new(members);
        let mut world = if *has_sorry { world.with_sorry() } else { world };
        let decision = world.fuse(Duration::ZERO);
        let found = (weights(&decision), sorry_weight(&decision).is_some());
        assert_eq!(found, (expected.to_vec(), *sorry_serves), "{what}");
    }
}

#[test]
fn gray_ones_may_lose_a_quorum_and_suspect_ways_do_not() {
    for (other, expected, is_met) in
        [(PathProbe::Passing, [0, 0], false), (failing(), [8, 8], true)]
    {
        let members = [Server::well().through_vip(failing()), Server::well().through_vip(other)];
        let mut world = World::new(members).with_sorry().with_quorum(16, 0);
        let decision = world.fuse(Duration::ZERO);
        assert_eq!((weights(&decision), decision.quorum.is_met), (expected.to_vec(), is_met));
    }
}

#[test]
fn reasons_name_the_gray_failure() {
    let gray = || Server::well().through_vip(failing());
    let fault = "gray: the RIP answers, the VIP does not (connect timed out after 1s): is the VIP bound on its loopback, \
                 and is the port's address 0.0.0.0?";
    let decision =
        World::new([gray(), Server::well().through_vip(PathProbe::Passing)]).fuse(Duration::ZERO);
    assert_eq!(decision.members[0].reasons, [fault]);
    let decision = World::new([gray()]).fuse(Duration::ZERO);
    let kept = "no VIP of the pool answers this director: its own part of the way is suspect, and takes nobody out";
    assert_eq!(decision.members[0].reasons, [kept, fault, "own probe passes", "agent says up"]);
}

#[test]
fn one_that_is_gray_counts_as_dead_until_its_vip_answers() {
    let members = [Server::well().through_vip(PathProbe::Passing), Server::well()];
    let mut world = World::new(members);
    world.on_failure = FailurePolicy::Reset;
    world.members[1].path = failing();
    let second = Duration::from_secs;
    assert_eq!(world.fuse(second(10)).members[1].place, Place::In(Weight::ZERO));
    let leaving = Place::Leaving { within: Some(Duration::ZERO) };
    assert_eq!(world.fuse(second(11)).members[1].place, leaving);
    world.members[1].path = PathProbe::Passing;
    assert_eq!(world.weights(12), [8, 8]);
}

#[test]
fn a_suspect_way_lifts_no_damping() {
    let mut world = World::new([Server::well(), Server::well()]);
    for second in [0, 10, 20] {
        for probe in [P::Fail, P::Pass] {
            world.members[0].probe = probe;
            world.weights(second);
        }
    }
    assert_eq!(world.weights(21), [0, 8], "it fell thrice");
    world.members[0].path = failing();
    assert_eq!(world.weights(21), [0, 8], "and its way proves nothing");
    assert_eq!(world.weights(30), [8, 8]);
}
