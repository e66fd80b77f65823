//! Sync groups of two or three directors, each instance on a segment of its own: interfaces fail,
//! segments are cut, directors stop and crash, packets are lost; then quiet.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::{Fault, World};

/// Faults happen before this time, and none after.
const CHAOS: Duration = Duration::from_secs(30);
/// More than any director needs to take over and to give way, three times over.
const SETTLING: Duration = Duration::from_secs(20);

fn faults(nodes: usize, members: usize) -> impl Strategy<Value = Vec<(Duration, Fault)>> {
    let (node, member) = (0..nodes, 0..members);
    let for_ms = 0..10_000_u64;
    let fault = prop_oneof![
        (node.clone(), member.clone(), for_ms.clone())
            .prop_map(|(node, member, for_ms)| Fault::LinkDown { node, member, for_ms }),
        (node.clone(), member, for_ms.clone()).prop_map(|(node, member, for_ms)| Fault::Cut {
            node,
            member,
            for_ms
        }),
        (node.clone(), for_ms).prop_map(|(node, for_ms)| Fault::Dead { node, for_ms }),
    ];
    let time = || (0..30_000_u64).prop_map(Duration::from_millis);
    prop::collection::vec((time(), fault), 0..12).prop_map(|mut faults| {
        faults.sort_by_key(|(at, _)| *at);
        faults
    })
}

/// The priority of each director and whether it preempts, members of the group, faults, a seed, and
/// the percentage of packets that are lost.
type Scenario = (Vec<(u8, bool)>, usize, Vec<(Duration, Fault)>, u64, u8);

fn scenario() -> impl Strategy<Value = Scenario> {
    let priorities = prop::collection::vec((1..=254_u8, any::<bool>()), 2..=3);
    (priorities, 1..=3_usize).prop_flat_map(|(priorities, members)| {
        let faults = faults(priorities.len(), members);
        (Just(priorities), Just(members), faults, any::<u64>(), 0..30_u8)
    })
}

proptest! {
    #[test]
    fn after_faults_one_director_is_active_in_all((priorities, members, faults, seed, loss)
        in scenario())
    {
        let mut world = World::new(&priorities, members, seed);
        world.loss_percent = loss;
        for (at, fault) in faults {
            world.run_until(at, &mut World::groups_are_whole)?;
            world.inject(fault);
        }
        world.run_until(CHAOS, &mut World::groups_are_whole)?;
        world.heal();
        world.loss_percent = 0;
        world.run_until(CHAOS + SETTLING, &mut World::groups_are_whole)?;
        let changes = world.changes;
        world.run_until(CHAOS + 2 * SETTLING, &mut |world| {
            world.groups_are_whole()?;
            world.one_director_is_active()
        })?;
        prop_assert_eq!(world.changes, changes, "roles change without any fault");
    }

    /// Where one segment is cut for good, the directors do not take their groups from each other.
    #[test]
    fn a_segment_that_stays_cut_makes_nobody_flap(
        (priorities, members, _, seed, _) in scenario(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(&priorities, members + 1, seed);
        world.run_until(SETTLING, &mut World::groups_are_whole)?;
        world.inject(Fault::CutSegment { member: cut.index(members + 1) });
        world.run_until(2 * SETTLING, &mut World::groups_are_whole)?;
        let changes = world.changes;
        world.run_until(4 * SETTLING, &mut |world| {
            world.groups_are_whole()?;
            world.one_director_is_active()
        })?;
        prop_assert_eq!(world.changes, changes, "roles change again and again");
    }
}

#[test]
fn a_group_follows_within_the_skew_when_one_interface_fails() {
    let mut world = World::new(&[(200, true), (100, true)], 3, 1);
    let mut whole = World::groups_are_whole;
    world.run_until(SETTLING, &mut whole).expect("whole");
    assert_eq!(world.active(), Some(0));
    world.inject(Fault::LinkDown { node: 0, member: 1, for_ms: 60_000 });
    // Skew is below one interval; alone, the member without its interface would be missed for three.
    world.run_until(SETTLING + Duration::from_millis(700), &mut whole).expect("whole");
    assert_eq!(world.active(), Some(1), "all members have moved");
}

#[test]
fn a_dead_director_is_followed_in_all_members_at_once() {
    let mut world = World::new(&[(200, true), (100, true)], 3, 7);
    let mut whole = World::groups_are_whole;
    world.run_until(SETTLING, &mut whole).expect("whole");
    world.inject(Fault::Dead { node: 0, for_ms: 60_000 });
    let within = Duration::from_millis(3_700);
    world.run_until(SETTLING + within, &mut whole).expect("whole");
    assert_eq!(world.active(), Some(1));
}
