//! Law 16: stories of load, and what holds for every one.

use proptest::prelude::*;

use super::*;
use crate::fuse::load::{CHANGE_INTERVAL, WHOLE};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

#[expect(clippy::unnecessary_wraps, reason = "as evidence holds it")]
fn busy(busy_threads: u32, max_threads: u32) -> Option<ServerLoad> {
    Some(ServerLoad { busy_threads, max_threads, ..ServerLoad::default() })
}

/// The same with thousandths of the time in pauses, and milliseconds that requests take.
fn strained(busy_threads: u32, gc_share_permille: u32, request_ms: u64) -> Option<ServerLoad> {
    busy(busy_threads, 20).map(|load| ServerLoad {
        gc_share_permille,
        mean_request_us: request_ms * 1000,
        ..load
    })
}

/// In rotation with that planned weight and load.
fn loaded(planned: u64, load: Option<ServerLoad>) -> Server {
    Server { planned: weight(planned), load, ..Server::well() }
}

fn following(members: impl IntoIterator<Item = Server>) -> World {
    World { dynamic_weights: Some(DynamicWeights::default()), ..World::new(members) }
}

impl World {
    /// Looks whenever it is due until that moment, and then; answers with the weights there.
    fn look_until(&mut self, from: Duration, until: Duration) -> Vec<u16> {
        let mut now = from;
        while let Some(look) = self.fuse(now).next_look.filter(|look| *look < until) {
            now = look;
        }
        weights(&self.fuse(until))
    }

    /// Long after, with the same load.
    fn at_rest(&mut self) -> Vec<u16> {
        let mut now = Duration::ZERO;
        for _ in 0..10_000 {
            let decision = self.fuse(now);
            let Some(look) = decision.next_look else { return weights(&decision) };
            now = look;
        }
        panic!("it does not come to rest")
    }
}

#[test]
fn at_rest_weights_follow_load() {
    let saturated = |planned| Server { verdict: Some(V::Saturated), ..loaded(planned, None) };
    let cases: Vec<(&str, Vec<Server>, Vec<u16>)> = vec![
        ("idle", vec![loaded(1, busy(0, 200)), loaded(1, busy(0, 200))], vec![100, 100]),
        ("at the target", vec![loaded(1, busy(100, 200)), loaded(1, busy(0, 4))], vec![100, 100]),
        ("above it", vec![loaded(1, busy(150, 200)), loaded(1, busy(2, 40))], vec![60, 100]),
        ("full", vec![loaded(1, busy(4, 4)), loaded(1, busy(2, 40))], vec![10, 100]),
        ("all as busy", vec![loaded(1, busy(180, 200)), loaded(2, busy(36, 40))], vec![100, 200]),
        ("all full", vec![loaded(1, busy(4, 4)), loaded(1, busy(40, 40))], vec![100, 100]),
        ("to the freest", vec![loaded(1, busy(190, 200)), loaded(1, busy(36, 40))], vec![70, 100]),
        ("silent", vec![loaded(1, None), loaded(1, busy(39, 40))], vec![100, 10]),
        ("alone", vec![loaded(1, busy(39, 40))], vec![100]),
        ("without numbers", vec![saturated(1), loaded(1, busy(2, 40))], vec![10, 100]),
        ("no threads told", vec![loaded(1, busy(3, 0)), loaded(1, busy(2, 40))], vec![100, 100]),
        ("of no weight", vec![loaded(0, busy(40, 40)), loaded(1, busy(2, 40))], vec![0, 100]),
        ("fine weights", vec![loaded(655, busy(4, 4)), loaded(655, None)], vec![6550, 65_500]),
        ("large", vec![loaded(60_000, busy(4, 4)), loaded(1, busy(0, 4))], vec![6_000, 1]),
    ];
    for (what, members, expected) in cases {
        assert_eq!(following(members.clone()).at_rest(), expected, "{what}");
        let still = World::new(members.clone()).weights(0);
        assert!(
            still.iter().zip(&members).all(|(w, m)| *w <= m.planned.get()),
            "{what}: as planned"
        );
    }
}

#[test]
fn at_rest_pauses_and_slow_requests_lower_a_share() {
    type Case = (&'static str, Vec<Option<ServerLoad>>, Vec<u16>);
    let cases: Vec<Case> = vec![
        ("some pauses", vec![strained(2, 50, 0), strained(2, 0, 0)], vec![100, 100]),
        ("many pauses", vec![strained(2, 300, 0), strained(2, 0, 0)], vec![70, 100]),
        ("nothing but pauses", vec![strained(2, 1000, 0), strained(2, 0, 0)], vec![50, 100]),
        ("pauses of all", vec![strained(2, 300, 0), strained(9, 300, 0)], vec![100, 100]),
        ("one of two", vec![strained(2, 0, 900), strained(2, 0, 20)], vec![100, 100]),
        (
            "twice as slow",
            vec![strained(2, 0, 40), strained(2, 0, 20), strained(2, 0, 20)],
            vec![100, 100, 100],
        ),
        (
            "slow",
            vec![strained(2, 0, 67), strained(2, 0, 20), strained(2, 0, 20)],
            vec![60, 100, 100],
        ),
        (
            "hardly any time",
            vec![strained(2, 0, 9), strained(2, 0, 1), strained(2, 0, 1)],
            vec![100, 100, 100],
        ),
        ("slow alone", vec![strained(2, 0, 900), busy(2, 20)], vec![100, 100]),
        (
            "one of three",
            vec![strained(2, 0, 900), strained(2, 0, 20), strained(2, 0, 21)],
            vec![50, 100, 100],
        ),
        ("and busy", vec![strained(15, 300, 0), strained(2, 0, 0)], vec![40, 100]),
        ("not below the floor", vec![strained(20, 1000, 0), strained(2, 0, 0)], vec![10, 100]),
    ];
    for (what, loads, expected) in cases {
        let mut world = following(loads.into_iter().map(|load| loaded(1, load)));
        assert_eq!(world.at_rest(), expected, "{what}");
    }
}

#[test]
fn pauses_and_slow_requests_are_told() {
    let usual = || loaded(1, strained(2, 0, 20));
    let mut world = following([loaded(1, strained(2, 300, 90)), usual(), usual()]);
    world.at_rest();
    let told = world.fuse(S(3600)).members[0].reasons[0].clone();
    assert_eq!(
        told,
        "2 of 20 threads busy, 30 % of the time in garbage collection, requests take 90 ms where 20 ms are usual: \
         weight 50 of 100"
    );
}

#[test]
fn one_without_a_thread_left_is_spared_at_once_and_rises_slowly() {
    let mut world = following([loaded(1, busy(1, 4)), loaded(1, busy(4, 40))]);
    assert_eq!(world.weights(0), [100, 100]);
    world.members[0].load = busy(4, 4);
    world.members[0].verdict = Some(V::Saturated);
    let full = world.fuse(S(1));
    assert_eq!(weights(&full), [10, 100]);
    assert_eq!(full.members[0].reasons[0], "4 of 4 threads busy: weight 10 of 100");
    assert_eq!((full.members[0].whole, full.members[0].load_share), (weight(100), Some(100)));
    world.members[0].load = busy(0, 4);
    world.members[0].verdict = Some(V::Up);
    let risen: Vec<u16> =
        (1..=10).map(|step| world.look_until(S(1 + 5 * (step - 1)), S(1 + 5 * step))[0]).collect();
    assert_eq!(risen, [20, 30, 40, 50, 60, 70, 80, 90, 100, 100]);
    assert_eq!(world.fuse(S(60)).next_look, None, "at rest nobody looks");
}

#[test]
fn what_is_told_counts_as_a_mean() {
    let mut world = following([loaded(1, busy(0, 200)), loaded(1, busy(0, 200))]);
    world.weights(0);
    world.members[0].load = busy(190, 200);
    assert_eq!(world.look_until(S(1), MS(1500)), [100, 100], "a moment's load");
    assert_eq!(
        world.look_until(MS(1500), S(4)),
        [60, 100],
        "it falls by so much that it does not wait"
    );
    assert_eq!(world.look_until(S(4), S(12)), [20, 100]);
    world.members[0].load = busy(0, 200);
    world.look_until(S(12), MS(12_500));
    world.members[0].load = busy(190, 200);
    assert_eq!(world.look_until(MS(12_500), S(30)), [20, 100], "a moment's ease");
}

#[test]
fn one_that_falls_silent_where_all_are_busy_is_no_freer() {
    let mut world = following([loaded(1, busy(36, 40)), loaded(1, busy(36, 40))]);
    assert_eq!(world.weights(0), [100, 100]);
    world.members[0].load = None;
    assert_eq!(world.look_until(S(1), S(60)), [100, 100]);
}

#[test]
fn where_nobody_is_freer_nobody_is_spared() {
    let mut world = following([loaded(1, busy(4, 4)), loaded(1, busy(4, 40))]);
    assert_eq!(world.weights(0), [10, 100]);
    world.members[1].load = busy(40, 40);
    assert_eq!(world.look_until(S(1), S(6)), [100, 100], "not step by step");
}

#[test]
fn a_restart_goes_on_with_the_kernels_weights() {
    let found =
        |load, kernel: u64| Server { history: History::adopted(weight(kernel)), ..loaded(1, load) };
    let mut world = following([found(None, 40), found(busy(1, 4), 100)]);
    world.members[0].probe = P::Pending;
    assert_eq!(world.weights(0), [40, 100]);
    world.members[0].probe = P::Pass;
    let decision = world.fuse(S(1));
    assert_eq!(weights(&decision), [40, 100], "its agent may still be heard");
    let reasons = &decision.members[0].reasons;
    assert_eq!(
        reasons[0],
        "load not known yet, and found so in the kernel's table: weight 40 of 100"
    );
    world.members[0].load = busy(140, 200);
    assert_eq!(world.look_until(S(2), S(12)), [60, 100]);

    let mut world = following([found(None, 1), found(None, 1)]);
    assert_eq!(world.weights(0), [100, 100], "written before weights followed load");
}

#[test]
fn a_silent_one_rises_to_the_whole() {
    let mut world = following([loaded(1, busy(4, 4)), loaded(1, busy(1, 4))]);
    assert_eq!(world.weights(0), [10, 100]);
    world.members[0].load = None;
    world.members[0].verdict = None;
    assert_eq!(world.look_until(S(1), S(5)), [20, 100]);
    let decision = world.fuse(S(5));
    assert_eq!(
        decision.members[0].reasons[0],
        "no load is told any longer, and the weight rises: weight 20 of 100"
    );
    assert_eq!(world.look_until(S(5), S(60)), [100, 100]);
}

#[test]
fn it_goes_with_the_other_laws() {
    let mut world = following([loaded(8, busy(4, 4)), loaded(8, busy(1, 4))]);
    world.members[1].verdict = Some(V::Down);
    assert_eq!(world.weights(0), [800, 0], "the only one is the freest");
    let mut world = following([loaded(8, None), loaded(8, None)]).with_sorry().with_quorum(12, 0);
    world.members[0].probe = P::Fail;
    let lost = world.fuse(S(0));
    assert_eq!((weights(&lost), sorry_weight(&lost)), (vec![0, 0], Some(1)), "planned weights");
    world.members[0].probe = P::Pass;
    let met = world.fuse(S(1));
    assert_eq!((weights(&met), sorry_weight(&met)), (vec![800, 800], None));

    let adopted =
        Server { planned: weight(8), ..Server::from(&(P::Pass, Some(V::Up), true, Some(800))) };
    let mut world = following([adopted.clone(), adopted]);
    world.slow_start = Some(S(10));
    world.weights(0);
    world.members[0].probe = P::Fail;
    assert_eq!(world.weights(1), [0, 800]);
    world.members[0].probe = P::Pass;
    assert_eq!(world.weights(2), [1, 800]);
    world.members[0].load = busy(4, 4);
    world.members[1].load = busy(1, 4);
    assert_eq!(world.weights(7), [40, 800], "half of its tenth");
}

/// A second's load of a real server; none when it tells nothing.
fn any_load() -> impl Strategy<Value = Option<ServerLoad>> {
    let strain = (0_u32..=20, prop_oneof![Just(0), 0_u32..=1100], prop_oneof![Just(0), 0_u64..500]);
    prop::option::weighted(0.9, strain.prop_map(|(threads, gc, ms)| strained(threads, gc, ms)))
        .prop_map(Option::flatten)
}

fn any_law() -> impl Strategy<Value = DynamicWeights> {
    (1_u8..=100, 0_u8..=95, 1_u64..20).prop_map(|(floor_percent, target_percent, smoothing)| {
        DynamicWeights { floor_percent, target_percent, smoothing: S(smoothing) }
    })
}

/// Planned weights, and the loads of each second.
fn any_story() -> impl Strategy<Value = (Vec<u64>, Vec<Vec<Option<ServerLoad>>>)> {
    (1_usize..5).prop_flat_map(|members| {
        let planned = prop::collection::vec(prop_oneof![1_u64..10, 1_u64..=65_535], members);
        let loads = prop::collection::vec(any_load(), members);
        (planned, prop::collection::vec(loads, 1..40))
    })
}

/// Tells each second's load and looks whenever it is due, and besides at `more`; answers with each decision.
fn play(
    law: DynamicWeights,
    planned: &[u64],
    seconds: &[Vec<Option<ServerLoad>>],
    more: &[u64],
) -> Vec<(Duration, PoolDecision)> {
    let mut world = following(planned.iter().map(|planned| loaded(*planned, None)));
    world.dynamic_weights = Some(law);
    let mut decisions = Vec::new();
    for (second, loads) in (0..).zip(seconds) {
        for (member, load) in world.members.iter_mut().zip(loads) {
            member.load = *load;
        }
        let mut now = S(second);
        let mut more: Vec<_> = more.iter().map(|ms| now + MS(*ms)).collect();
        more.sort_unstable();
        loop {
            let decision = world.fuse(now);
            let extra = more.iter().copied().find(|look| *look > now);
            let look = decision.next_look.into_iter().chain(extra).min();
            decisions.push((now, decision));
            match look.filter(|look| *look < S(second + 1)) {
                Some(look) => now = look,
                None => break,
            }
        }
    }
    decisions
}

proptest! {
    #[test]
    fn never_zero_nor_above_the_whole(law in any_law(), (planned, seconds) in any_story()) {
        for (_, decision) in play(law, &planned, &seconds, &[]) {
            for member in &decision.members {
                let weight = member.place.weight();
                prop_assert!(weight > Weight::ZERO && weight <= member.whole, "{weight} of {}", member.whole);
                let share = member.load_share.expect("the pool asks for it");
                prop_assert!(share >= u16::from(law.floor_percent) * 10 && share <= WHOLE);
            }
        }
    }

    #[test]
    fn the_ratio_of_whole_weights_is_that_of_planned_ones(planned in prop::collection::vec(0_u64..=65_535, 1..5)) {
        let mut world = following(planned.iter().map(|planned| loaded(*planned, None)));
        let found: Vec<u64> = world.weights(0).into_iter().map(u64::from).collect();
        for (a, b) in found.iter().zip(&planned) {
            for (c, d) in found.iter().zip(&planned) {
                prop_assert_eq!(a * d, b * c);
            }
        }
    }

    #[test]
    fn who_is_as_busy_has_the_same_share(law in any_law(), members in 1_usize..5, threads in 0_u32..=20) {
        let mut world = following((0..members).map(|_| loaded(3, busy(threads, 20))));
        world.dynamic_weights = Some(law);
        prop_assert!(world.at_rest().iter().all(|weight| *weight == 300));
    }

    #[test]
    fn at_rest_more_load_is_no_more_weight(law in any_law(), threads in prop::collection::vec(0_u32..=20, 2..6)) {
        let mut world = following(threads.iter().map(|threads| loaded(1, busy(*threads, 20))));
        world.dynamic_weights = Some(law);
        let mut found: Vec<_> = threads.iter().zip(world.at_rest()).collect();
        found.sort_by_key(|(threads, weight)| (**threads, std::cmp::Reverse(*weight)));
        prop_assert!(found.is_sorted_by_key(|(_, weight)| std::cmp::Reverse(*weight)), "{found:?}");
        prop_assert_eq!(found[0].1, 100, "the freest is whole");
    }

    #[test]
    fn at_rest_more_strain_is_no_more_weight(
        law in any_law(),
        threads in 0_u32..=20,
        strains in prop::collection::vec((0_u32..=1000, 0_u64..1000), 2..6),
    ) {
        // Pauses alone, and slow requests alone: of both together more of one may be less of the other.
        for part in [|(gc, _): (u32, u64)| (gc, 0), |(_, ms): (u32, u64)| (0, ms)] {
            let strains: Vec<_> = strains.iter().copied().map(part).collect();
            let loads = strains.iter().map(|(gc, ms)| loaded(1, strained(threads, *gc, *ms)));
            let mut world = following(loads);
            world.dynamic_weights = Some(law);
            let mut found: Vec<_> = strains.iter().zip(world.at_rest()).collect();
            found.sort_by_key(|(strain, weight)| (**strain, std::cmp::Reverse(*weight)));
            prop_assert!(found.is_sorted_by_key(|(_, weight)| std::cmp::Reverse(*weight)), "{found:?}");
            prop_assert_eq!(found[0].1, 100, "the freest is whole");
        }
    }

    #[test]
    fn who_tells_nothing_comes_to_the_whole(law in any_law(), (planned, mut seconds) in any_story()) {
        let last = seconds.last().cloned().unwrap_or_default();
        // From the lowest floor it takes ten steps of 5 s, after one that may have been taken just before.
        let quiet: Vec<_> = last.iter().enumerate().map(|(n, load)| load.filter(|_| n > 0)).collect();
        seconds.extend(vec![quiet; 75]);
        let (_, decision) = play(law, &planned, &seconds, &[]).pop().expect("there are some");
        prop_assert_eq!(decision.members[0].place.weight(), decision.members[0].whole);
    }

    #[test]
    fn changes_are_few(law in any_law(), (planned, seconds) in any_story()) {
        let decisions = play(law, &planned, &seconds, &[]);
        for member in 0..planned.len() {
            let shares: Vec<_> =
                decisions.iter().map(|(at, decision)| (*at, decision.members[member].load_share)).collect();
            let changes: Vec<_> =
                shares.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect();
            // One, and one for want of threads.
            prop_assert!(changes.windows(3).all(|three| three[2] >= three[0] + CHANGE_INTERVAL), "{changes:?}");
            for pair in shares.windows(2).filter(|pair| pair[1].1 > pair[0].1 && pair[1].1 < Some(WHOLE)) {
                prop_assert!(pair[1].1.unwrap() - pair[0].1.unwrap() <= 100, "it rises slowly");
            }
        }
    }

    #[test]
    fn to_look_more_often_changes_nothing(
        law in any_law(),
        (planned, seconds) in any_story(),
        more in prop::collection::vec(0_u64..1000, 0..4),
    ) {
        let last = |more: &[u64]| {
            let (_, decision) = play(law, &planned, &seconds, more).pop().expect("there are some");
            weights(&decision)
        };
        prop_assert_eq!(last(&[]), last(&more));
    }
}
