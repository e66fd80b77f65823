use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn pace(rise: u8, fall: u8) -> TrackPace {
    let second = Duration::from_secs(1);
    TrackPace { interval: second, timeout: second, rise, fall }
}

fn priority(value: u8) -> Priority {
    Priority::new(value.into()).expect("1 to 255")
}

fn interface(number: u8) -> Probe {
    let target = TrackTarget::Interface(format!("eth{number}"));
    Probe { target, asked_on: None, instance: None }
}

fn state(health: Health) -> TargetState {
    let seen = match health {
        Health::Untried => "",
        Health::Well => "is up",
        Health::Unwell => "is down",
    };
    TargetState { health, seen: seen.to_owned() }
}

#[test]
fn rise_and_fall_count_tries_in_a_row() {
    // Tries: + well, - not. The health after each: W, U.
    let cases = [
        (1, 1, "+-+", "WUW"),
        (2, 3, "+--+---", "WWWWWWU"),
        (2, 3, "-+-++", "UUUUW"),
        (3, 1, "-++-+++", "UUUUUUW"),
        (100, 100, "-", "U"),
        (100, 100, "+", "W"),
    ];
    for (rise, fall, tries, expected) in cases {
        let mut state = Tries::default();
        assert_eq!(state.health(), Health::Untried);
        let after = tries.chars().map(|outcome| {
            state = state.note(&pace(rise, fall), outcome == '+');
            match state.health() {
                Health::Untried => '?',
                Health::Well => 'W',
                Health::Unwell => 'U',
            }
        });
        assert_eq!(after.collect::<String>(), expected, "rise {rise}, fall {fall}: {tries}");
    }
}

#[test]
fn each_pair_of_weight_and_health() {
    use Health::{Untried, Unwell, Well};
    let cases = [
        (None, Untried, 100, None, Some("interface eth0 was not tried yet")),
        (None, Well, 100, None, None),
        (None, Unwell, 100, Some("is down"), None),
        (Some(20), Untried, 100, None, None),
        (Some(20), Well, 120, None, None),
        (Some(20), Unwell, 100, None, None),
        (Some(-20), Untried, 100, None, None),
        (Some(-20), Well, 100, None, None),
        (Some(-20), Unwell, 80, None, None),
        (Some(253), Well, 254, None, None),
        (Some(-253), Unwell, 1, None, None),
    ];
    for (weight, health, expected, fault, wait) in cases {
        let states = BTreeMap::from([(interface(0), state(health))]);
        let tracks = [(interface(0), weight)];
        let effective = Tracked::sum(tracks, &states).effective(priority(100));
        let (fault, wait) = (fault.map(str::to_owned), wait.map(str::to_owned));
        let wanted = Effective { priority: priority(expected), fault, wait };
        assert_eq!(effective, wanted, "{weight:?}, {health:?}");
    }
}

#[test]
fn an_owner_is_never_adjusted_but_may_be_in_fault() {
    let tracks = [(interface(0), Some(-50)), (interface(1), None)];
    let unwell = |number| (interface(number), state(Health::Unwell));
    let tracked = Tracked::sum(tracks, &BTreeMap::from([unwell(0), unwell(1)]));
    let effective = tracked.effective(Priority::OWNER);
    assert_eq!(effective.priority, Priority::OWNER);
    assert_eq!(effective.fault.as_deref(), Some("is down"));
    assert_eq!(tracked.costs, ["priority is lower by 50: is down"]);
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Untried), Just(Health::Well), Just(Health::Unwell)]
}

fn track() -> impl Strategy<Value = (Probe, Option<i16>)> {
    let weight = prop::option::of(prop_oneof![-253..=-1_i16, 1..=253_i16]);
    (0..6_u8, weight).prop_map(|(number, weight)| (interface(number), weight))
}

fn states() -> impl Strategy<Value = BTreeMap<Probe, TargetState>> {
    prop::collection::btree_map((0..6_u8).prop_map(interface), health().prop_map(state), 0..=6)
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(
        tracks in prop::collection::vec(track(), 0..12),
        states in states(),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut other = tracks.clone();
        other.reverse();
        if !other.is_empty() {
            let at = turn.index(other.len());
            other.rotate_left(at);
            other.push(other[at].clone());
        }
        let sorted = |tracks| {
            let mut tracked = Tracked::sum(tracks, &states);
            tracked.targets.sort_by_key(|target| (target.target.clone(), target.adds));
            tracked.targets.sort_by_key(|target| target.is_required);
            for reasons in [&mut tracked.faults, &mut tracked.untried, &mut tracked.costs] {
                reasons.sort();
            }
            tracked.targets.retain(|target| target.adds != 0 || target.is_required);
            tracked
        };
        prop_assert_eq!(sorted(tracks), sorted(other));
    }

    #[test]
    fn priorities_stay_what_adverts_can_say(
        tracks in prop::collection::vec(track(), 0..12),
        states in states(),
        base in 1..=254_u8,
    ) {
        let effective = Tracked::sum(tracks, &states).effective(priority(base));
        prop_assert!((1..=254).contains(&effective.priority.get()));
    }

    #[test]
    fn a_target_that_gets_well_never_makes_things_worse(
        tracks in prop::collection::vec(track(), 1..12),
        states in states(),
        which in 0..6_u8,
        base in 1..=254_u8,
    ) {
        let with = |health| {
            let mut states = states.clone();
            states.insert(interface(which), state(health));
            Tracked::sum(tracks.clone(), &states).effective(priority(base))
        };
        let (unwell, untried, well) =
            (with(Health::Unwell), with(Health::Untried), with(Health::Well));
        prop_assert!(unwell.priority <= untried.priority && untried.priority <= well.priority);
        prop_assert!(well.fault.is_none() || unwell.fault.is_some());
        prop_assert_eq!(untried.fault.is_some(), well.fault.is_some());
        prop_assert!(unwell.wait.is_none() || untried.wait.is_some());
    }
}
