//! Stories of pools: slow start, and real servers that are dead for a while.

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

/// Two real servers that were there before the director started, and a slow start of ten seconds.
fn warm() -> World {
    let adopted = Server::from(&(P::Pass, Some(V::Up), true, Some(8)));
    World { slow_start: Some(S(10)), ..World::new([adopted.clone(), adopted]) }
}

#[test]
fn one_that_comes_back_rises() {
    let mut world = warm();
    assert_eq!(world.weights(0), [8, 8], "adopted as they are");
    world.members[0].probe = P::Fail;
    assert_eq!(world.weights(1), [0, 8]);
    world.members[0].probe = P::Pass;
    let back = world.fuse(S(100));
    assert_eq!((weights(&back), back.next_look), (vec![1, 8], Some(S(101))));
    let reasons = &back.members[0].reasons;
    assert_eq!(reasons[0], "slow start: the weight rises to 8 within 10s");
    let risen: Vec<u16> = (101..112).map(|second| world.weights(second)[0]).collect();
    assert_eq!(risen, [1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8]);
    assert_eq!(world.fuse(S(111)).next_look, None);
}

#[test]
fn an_undrained_one_rises() {
    let mut world = warm();
    world.members[0] = world.members[0].clone().drained(None);
    assert_eq!(world.weights(1), [0, 8]);
    world.members[0].drain = None;
    assert_eq!(world.weights(2), [1, 8]);
}

#[test]
fn a_saturated_one_rises_to_its_quarter() {
    let mut world = warm();
    world.members[0].planned = weight(80);
    world.members[0].probe = P::Fail;
    world.weights(1);
    world.members[0].probe = P::Pass;
    assert_eq!(world.weights(2), [1, 8]);
    assert_eq!(world.weights(7), [40, 8]);
    world.members[0].verdict = Some(V::Saturated);
    assert_eq!(world.weights(7), [10, 8]);
}

#[test]
fn nobody_rises_where_nobody_is_warm() {
    let mut world =
        World { slow_start: Some(S(10)), ..World::new([Server::well(), Server::well()]) };
    world.members[1].probe = P::Pending;
    assert_eq!(world.weights(0), [8, 0], "the first of a pool that starts");
    world.members[1].probe = P::Pass;
    assert_eq!(world.weights(1), [8, 8], "is as cold as the second");

    world.members[1].probe = P::Fail;
    world.weights(20);
    world.members[1].probe = P::Pass;
    assert_eq!(world.weights(21), [8, 1], "by now it is warm");
    world.members[0].probe = P::Fail;
    assert_eq!(world.weights(22), [0, 8], "the rise ends when nobody is left to spare it");
}

#[test]
fn after_a_sorry_server_all_come_at_once() {
    let mut world = warm().with_sorry();
    for member in &mut world.members {
        member.probe = P::Fail;
    }
    assert_eq!(world.weights(1), [0, 0]);
    for member in &mut world.members {
        member.probe = P::Pass;
    }
    assert_eq!(world.weights(2), [8, 8]);
}

#[test]
fn a_dead_one_leaves_once_it_has_stayed_out() {
    let (at_once, kept) =
        (Place::Leaving { within: Some(Duration::ZERO) }, Place::In(Weight::ZERO));
    let ms = Duration::from_millis;
    for (on_failure, after) in [(FailurePolicy::Reset, at_once), (FailurePolicy::Keep, kept)] {
        let mut world = World { on_failure, ..World::new([Server::well(), Server::well()]) };
        world.weights(0);
        world.members[0].verdict = Some(V::Down);
        let first = world.fuse(S(10));
        assert_eq!(first.members[0].place, kept);
        let look = (on_failure == FailurePolicy::Reset).then_some(S(11));
        assert_eq!(first.next_look, look);
        // The probe fails later than its agent told: it is the same death.
        world.members[0].probe = P::Fail;
        assert_eq!(world.fuse(ms(10_999)).members[0].place, kept);
        assert_eq!(world.fuse(S(11)).members[0].place, after);
        world.members[0] = Server { history: world.members[0].history, ..Server::well() };
        assert_eq!(world.weights(12), [8, 8]);
        world.members[0].probe = P::Fail;
        assert_eq!(world.fuse(ms(12_500)).members[0].place, kept, "another death");
    }
}

#[test]
fn who_is_kept_or_drained_is_not_reset() {
    let dead = Server::well().probed(P::Fail);
    let stays = |mut world: World| {
        world.on_failure = FailurePolicy::Reset;
        world.fuse(S(0));
        let place = world.fuse(S(60)).members[0].place;
        assert!(matches!(place, Place::In(_)), "{place:?}");
    };
    stays(World::new([dead.clone(), dead.clone()]));
    stays(World::new([dead.clone().drained(None), Server::well()]));
    let stopping = Server { verdict: Some(V::Stopping), ..Server::well() };
    stays(World::new([stopping, Server::well()]));

    let mut world = World::new([dead.clone(), dead]).with_sorry();
    world.on_failure = FailurePolicy::Reset;
    world.fuse(S(0));
    let place = world.fuse(S(1)).members[0].place;
    assert_eq!(place, Place::Leaving { within: Some(Duration::ZERO) }, "the sorry server serves");
}

#[test]
fn one_that_falls_again_and_again_is_held() {
    let mut world = World::new([Server::well(), Server::well()]);
    assert_eq!(world.weights(0), [8, 8]);
    let fall = |world: &mut World, second| {
        world.members[0].probe = P::Fail;
        assert_eq!(world.weights(second), [0, 8]);
        world.members[0].probe = P::Pass;
    };
    fall(&mut world, 1);
    assert_eq!(world.weights(2), [8, 8], "the first fall in a while costs nothing");
    fall(&mut world, 10);
    let held = world.fuse(S(11));
    assert_eq!((weights(&held), held.next_look), (vec![0, 8], Some(S(13))));
    let reasons = &held.members[0].reasons;
    assert_eq!(reasons[0], "damped: it fell again and again, and must be well for 2s");
    assert_eq!(world.weights(12), [0, 8]);
    assert_eq!(world.weights(13), [8, 8]);
    fall(&mut world, 14);
    assert_eq!(world.weights(15), [0, 8]);
    fall(&mut world, 16);
    assert_eq!(world.fuse(S(17)).next_look, Some(S(25)), "longer with each fall");

    world.members[1].probe = P::Fail;
    assert_eq!(world.weights(18), [8, 0], "damping never empties a pool");
    world.members[1].probe = P::Pass;
    assert_eq!(world.weights(19), [0, 8]);
    assert_eq!(world.weights(25), [8, 8]);
}
