//! Law 15: tries over time, of a pool whose director is cut off from it, or part of which dies.

use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Time between two tries; the worlds' check interval is as long.
const INTERVAL: u64 = 1_000;
/// What a try without an answer waits.
const TIMEOUT: u64 = 400;

/// What happens to a pool.
#[derive(Clone, Debug)]
struct Story {
    /// When each real server's check tries first, within an interval.
    offsets: Vec<u64>,
    /// Failed tries that are tolerated.
    retries: u32,
    /// Whom nobody hears from `from` to `until`.
    silent: Vec<bool>,
    from: u64,
    until: u64,
}

/// What became of it: the weights after each try, with the time.
type Seen = Vec<(u64, Vec<u16>)>;

impl Story {
    /// Plays it up to some intervals after its end.
    fn play(&self, world: &mut World) -> Seen {
        let count = self.offsets.len();
        let mut tolerated = vec![0; count];
        let mut seen = Vec::new();
        for (began, place) in self.tries(self.until + 4 * INTERVAL) {
            let is_silent = self.silent[place] && (self.from..self.until).contains(&began);
            let ended = began + if is_silent { TIMEOUT } else { 1 };
            let server = &mut world.members[place];
            if is_silent {
                server.tries.unanswered(MS(began), MS(ended));
                tolerated[place] += 1;
                if tolerated[place] == self.retries + 1 {
                    server.tries.fell(MS(ended));
                    server.probe = P::Fail;
                }
            } else {
                server.tries.answered(MS(ended));
                tolerated[place] = 0;
                server.probe = P::Pass;
            }
            seen.push((ended, weights(&world.fuse(MS(ended)))));
        }
        seen
    }

    /// When which check tries, in the order in which the tries end.
    fn tries(&self, end: u64) -> Vec<(u64, usize)> {
        let of = |(place, offset): (usize, &u64)| {
            let times = (*offset..end).step_by(usize::try_from(INTERVAL).expect("small"));
            times.map(move |began| (began, place)).collect::<Vec<_>>()
        };
        let mut tries: Vec<_> = self.offsets.iter().enumerate().flat_map(of).collect();
        tries.sort_by_key(|(began, place)| {
            let is_silent = self.silent[*place] && (self.from..self.until).contains(began);
            (began + if is_silent { TIMEOUT } else { 1 }, *place)
        });
        tries
    }

    fn world(&self) -> World {
        World::new(self.offsets.iter().map(|_| Server::well()))
    }

    /// When the tries have made its probe fail.
    fn falls(&self, place: usize) -> u64 {
        let mut tries = self.tries(self.until).into_iter();
        let first = tries.find(|(began, of)| *of == place && *began >= self.from);
        first.expect("it is tried").0 + u64::from(self.retries) * INTERVAL + TIMEOUT
    }
}

fn any_story() -> impl Strategy<Value = Story> {
    let servers = prop::collection::vec((0..INTERVAL, any::<bool>()), 2..7);
    (servers, 0_u32..3, 2_000_u64..4_000, 6_u64..60).prop_map(|(servers, retries, from, lasts)| {
        let (offsets, silent) = servers.into_iter().unzip();
        Story { offsets, retries, silent, from, until: from + lasts * INTERVAL }
    })
}

proptest! {
    #[test]
    fn who_is_cut_off_from_all_keeps_all_but_the_first(story in any_story()) {
        let story = Story { silent: vec![true; story.offsets.len()], ..story };
        let mut world = story.world();
        for (at, weights) in story.play(&mut world) {
            if at < INTERVAL + 1 {
                continue; // not all have been tried
            }
            let out = weights.iter().filter(|weight| **weight == 0).count();
            let most = usize::from(story.retries == 0);
            prop_assert!(out <= most, "{out} are out at {at} ms: {weights:?}");
            // Until the second has fallen silent, the first is alone; then all are kept, and none is out when it is over.
            let is_over = at > story.until + TIMEOUT;
            prop_assert!(!is_over || out == 0, "at {at} ms: {weights:?}");
        }
        let all_are_up = world.members.iter().all(|member| matches!(member.probe, P::Pass));
        prop_assert!(all_are_up);
    }

    #[test]
    fn who_dies_while_others_live_is_out_within_an_interval(story in any_story()) {
        if story.silent.iter().all(|silent| *silent) {
            return Ok(()); // laws 5 and 9 speak of that
        }
        let mut world = story.world();
        let seen = story.play(&mut world);
        for (at, weights) in seen {
            if at < INTERVAL + 1 {
                continue;
            }
            for (place, weight) in weights.into_iter().enumerate() {
                if !story.silent[place] {
                    prop_assert_eq!(weight, 8, "{} is well, at {} ms", place, at);
                    continue;
                }
                let is_out = (story.falls(place) + INTERVAL + 1..story.until).contains(&at);
                prop_assert!(!is_out || weight == 0, "{place} is dead, at {at} ms");
            }
        }
    }

    #[test]
    fn whoever_falls_alone_falls_at_once(story in any_story(), which in any::<prop::sample::Index>()) {
        let which = which.index(story.offsets.len());
        let silent = (0..story.offsets.len()).map(|place| place == which).collect();
        let story = Story { silent, ..story };
        let mut world = story.world();
        let falls = story.falls(which);
        for (at, weights) in story.play(&mut world) {
            // Another's try may end at the same moment.
            if (INTERVAL + 1..story.until).contains(&at) && at != falls {
                prop_assert_eq!(weights[which] == 0, at >= falls, "at {} ms", at);
            }
        }
    }
}

/// Of three, two have fallen silent at 10 s; nobody was heard since.
fn two_of_three() -> World {
    let mut world = World::new([Server::well(), Server::well(), Server::well()]);
    for member in &mut world.members {
        member.tries.answered(MS(9_900));
    }
    world.fuse(MS(9_900));
    for (ms, place) in [(10_000, 0), (10_100, 1)] {
        fall(&mut world.members[place], ms);
    }
    world
}

fn fall(server: &mut Server, ms: u64) {
    server.tries.unanswered(MS(ms - TIMEOUT), MS(ms));
    server.tries.fell(MS(ms));
    server.probe = P::Fail;
}

#[test]
fn what_is_held_says_so_and_until_when() {
    let mut world = two_of_three();
    let decision = world.fuse(MS(10_100));
    assert_eq!(weights(&decision), [8, 8, 8]);
    let hold = decision.members[1].hold.expect("it is held");
    let until = MS(10_100) + HOLD;
    assert_eq!(hold, Hold { silent: 2, of: 3, within: MS(100), until });
    assert!(decision.members[1].reasons[0].starts_with("2 of 3 real servers fell silent together"));
    assert_eq!(decision.next_look, Some(MS(10_000) + HOLD), "the first's hold ends first");
    assert_eq!(weights(&world.fuse(until)), [0, 0, 8], "and then it is over");
}

#[test]
fn better_evidence_ends_a_hold() {
    type Change = fn(&mut World);
    let cases: [(&str, Change, [u16; 3]); 6] = [
        ("nothing new", |_| {}, [8, 8, 8]),
        ("one that was well answers", |w| w.members[2].tries.answered(MS(10_200)), [0, 0, 8]),
        ("its agent says down", |w| w.members[0].verdict = Some(V::Down), [0, 8, 8]),
        ("it refuses: the way is open", |w| w.members[0].tries.answered(MS(10_200)), [0, 8, 8]),
        (
            "one of them is back, and the other is not asked since",
            |w| {
                w.members[0].tries.answered(MS(10_200));
                w.members[0].probe = P::Pass;
            },
            [8, 8, 8],
        ),
        (
            "one of them is back, and the other does not answer all the same",
            |w| {
                w.members[0].tries.answered(MS(10_200));
                w.members[0].probe = P::Pass;
                w.members[1].tries.unanswered(MS(10_201), MS(10_600));
            },
            [8, 0, 8],
        ),
    ];
    for (what, change, expected) in cases {
        let mut world = two_of_three();
        assert_eq!(world.weights_at(MS(10_100)), [8, 8, 8], "{what}");
        change(&mut world);
        assert_eq!(world.weights_at(MS(10_700)), expected, "{what}");
    }
}

#[test]
fn where_nobody_is_left_laws_5_and_9_speak() {
    for (world, members, sorry) in
        [(two_of_three(), [8, 8, 8], None), (two_of_three().with_sorry(), [0, 0, 0], Some(1))]
    {
        let mut world = world;
        let decision = world.fuse(MS(10_100));
        assert_eq!((weights(&decision), sorry_weight(&decision)), (vec![8, 8, 8], None));
        fall(&mut world.members[2], 10_200);
        let decision = world.fuse(MS(10_200));
        assert_eq!((weights(&decision), sorry_weight(&decision)), (members.to_vec(), sorry));
    }
}

#[test]
fn what_is_held_loses_no_quorum_and_no_connection_and_no_trust() {
    let mut world = two_of_three().with_sorry().with_quorum(24, 0);
    world.on_failure = FailurePolicy::Reset;
    let decision = world.fuse(MS(10_100));
    assert!(decision.quorum.is_met && decision.quorum.in_rotation == 8);
    let decision = world.fuse(MS(15_000));
    assert!(decision.members.iter().all(|member| member.place == Place::In(weight(8))));
    for member in &mut world.members {
        member.tries.answered(MS(16_000));
        member.probe = P::Pass;
    }
    world.fuse(MS(16_000));
    let unharmed = |server: &Server| server.history.flaps == Flaps::default();
    assert!(world.members.iter().all(unharmed), "none of them counts as fallen");
}
