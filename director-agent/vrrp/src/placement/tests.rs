use super::*;
use proptest::prelude::*;

fn apply(observed: &mut Observed, edit: &Edit) {
    match edit {
        Edit::Quiet(interface) => {
            observed.quiet.insert(interface.clone());
        }
        Edit::Restore(interface) => {
            observed.quiet.remove(interface);
        }
        Edit::AddLoopback(address) => {
            observed.on_loopback.insert(*address);
            observed.ours_on_loopback.insert(*address);
        }
        Edit::RemoveLoopback(address) => {
            observed.on_loopback.remove(address);
            observed.ours_on_loopback.remove(address);
        }
        Edit::AddInterface(vip) => {
            observed.on_interfaces.insert(vip.clone());
        }
        Edit::RemoveInterface(vip) => {
            observed.on_interfaces.remove(vip);
        }
    }
}

fn vip() -> impl Strategy<Value = Vip> {
    (0..3_u8, 0..4_u8, prop::sample::select(vec![24_u8, 32])).prop_map(
        |(interface, last, prefix_length)| Vip {
            interface: format!("eth{interface}"),
            address: IpAddr::from([10, interface, 0, last]),
            prefix_length,
        },
    )
}

fn place() -> impl Strategy<Value = Place> {
    prop::sample::select(vec![Place::Nowhere, Place::Interface, Place::Loopback])
}

fn observed() -> impl Strategy<Value = Observed> {
    let vips = prop::collection::btree_set(vip(), 0..6);
    let ours = prop::collection::btree_set(vip().prop_map(|vip| vip.address), 0..3);
    let foreign = prop::collection::btree_set(vip().prop_map(|vip| vip.address), 0..3);
    let quiet = prop::collection::btree_set((0..3_u8).prop_map(|i| format!("eth{i}")), 0..3);
    (vips, ours, foreign, quiet).prop_map(|(on_interfaces, ours, foreign, quiet)| Observed {
        on_interfaces,
        on_loopback: ours.union(&foreign).copied().collect(),
        ours_on_loopback: ours,
        quiet,
    })
}

/// One place per address, as an interface has it.
fn desired() -> impl Strategy<Value = BTreeMap<Vip, Place>> {
    prop::collection::vec((vip(), place()), 0..8).prop_map(|list| {
        let by_address: BTreeMap<IpAddr, (Vip, Place)> =
            list.into_iter().map(|(vip, place)| (vip.address, (vip, place))).collect();
        by_address.into_values().collect()
    })
}

#[test]
fn a_new_prefix_length_is_added_before_the_old_one_is_removed() {
    let vip = |prefix_length| Vip {
        interface: "eth0".to_owned(),
        address: IpAddr::from([10, 0, 0, 150]),
        prefix_length,
    };
    let desired = BTreeMap::from([(vip(32), Place::Nowhere), (vip(24), Place::Interface)]);
    let observed = Observed { on_interfaces: BTreeSet::from([vip(32)]), ..Observed::default() };
    let expected = [Edit::AddInterface(vip(24)), Edit::RemoveInterface(vip(32))];
    assert_eq!(edits(&desired, &observed), expected);
}

proptest! {
    #[test]
    fn edits_bring_each_vip_to_its_place_and_are_then_none(
        desired in desired(),
        before in observed(),
    ) {
        let mut after = before.clone();
        for edit in edits(&desired, &before) {
            apply(&mut after, &edit);
        }
        for (vip, place) in &desired {
            let answers = after.on_interfaces.iter().any(|other| {
                (&other.interface, other.address) == (&vip.interface, vip.address)
            });
            prop_assert_eq!(answers, *place == Place::Interface);
            prop_assert_eq!(
                after.ours_on_loopback.contains(&vip.address)
                    || after.on_loopback.contains(&vip.address),
                *place == Place::Loopback
                    || (before.on_loopback.contains(&vip.address)
                        && !before.ours_on_loopback.contains(&vip.address)),
                "foreign ones stay"
            );
            prop_assert!(*place != Place::Loopback || after.quiet.contains(&vip.interface));
        }
        prop_assert_eq!(edits(&desired, &after), Vec::new());
    }

    #[test]
    fn a_moving_address_is_accepted_and_quiet_at_every_step(
        desired in desired(),
        before in observed(),
    ) {
        let accepted = |state: &Observed, vip: &Vip| {
            state.on_loopback.contains(&vip.address)
                || state.on_interfaces.iter().any(|other| other.address == vip.address)
        };
        let mut state = before.clone();
        for edit in edits(&desired, &before) {
            apply(&mut state, &edit);
            for (vip, place) in desired.iter().filter(|(_, place)| **place != Place::Nowhere) {
                prop_assert!(!accepted(&before, vip) || accepted(&state, vip), "{:?}", edit);
                let lingers = state.ours_on_loopback.contains(&vip.address)
                    && !before.ours_on_loopback.contains(&vip.address);
                prop_assert!(
                    *place != Place::Loopback || !lingers || state.quiet.contains(&vip.interface)
                );
            }
        }
    }
}
