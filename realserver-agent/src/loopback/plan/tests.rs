//! Hosts, what is wanted of them, and the steps they get.

use proptest::prelude::*;

use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 150);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 151);

fn all(key: ArpKey) -> ArpSetting {
    ArpSetting { interface: "all".to_owned(), key }
}

fn host(bound: &[Ipv4Addr], ignore: u32, announce: u32) -> Observed {
    Observed {
        bound: bound.iter().copied().collect(),
        settings: [(all(ArpKey::ArpIgnore), ignore), (all(ArpKey::ArpAnnounce), announce)].into(),
        elsewhere: BTreeMap::new(),
    }
}

fn ours(vips: &[Ipv4Addr], before: &[(ArpKey, u32)]) -> Memory {
    Memory {
        ours: vips.iter().copied().collect(),
        before: before.iter().map(|(key, value)| (all(*key), *value)).collect(),
        held: false,
    }
}

/// Does to a host what the kernel would.
fn perform(mut observed: Observed, steps: &[Step]) -> Observed {
    for step in steps {
        match step {
            Step::Set(setting, value) => {
                observed.settings.insert(setting.clone(), *value);
            }
            Step::Bind(vip) => {
                let loud = observed.loud().count();
                assert_eq!(loud, 0, "a VIP is only bound while ARP is quiet");
                assert!(observed.bound.insert(*vip), "bound twice");
            }
            Step::Unbind(vip) => assert!(observed.bound.remove(vip), "unbound twice"),
        }
    }
    observed
}

/// What it is, VIPs wanted, VIPs busy, the host, what is remembered, and the steps.
type Case<'a> = (&'a str, &'a [Ipv4Addr], &'a [Ipv4Addr], Observed, Memory, Vec<Step>);

#[test]
fn hosts_get_their_steps() {
    use ArpKey::{ArpAnnounce, ArpIgnore};
    use Step::{Bind, Set, Unbind};
    let quiet = [Set(all(ArpIgnore), 1), Set(all(ArpAnnounce), 2)];
    let loud_again = [Set(all(ArpIgnore), 0), Set(all(ArpAnnounce), 0)];
    let saved = [(ArpIgnore, 0), (ArpAnnounce, 0)];
    let cases: Vec<Case<'_>> = vec![
        (
            "bind: ARP first",
            &[VIP],
            &[],
            host(&[], 0, 0),
            Memory::default(),
            [&quiet[..], &[Bind(VIP)]].concat(),
        ),
        ("nothing to do", &[VIP], &[], host(&[VIP], 1, 2), ours(&[VIP], &saved), vec![]),
        (
            "a stricter setting stays",
            &[VIP],
            &[],
            host(&[], 8, 2),
            Memory::default(),
            vec![Bind(VIP)],
        ),
        (
            "bound by the script while ARP was loud",
            &[VIP],
            &[],
            host(&[VIP], 0, 0),
            Memory::default(),
            [&quiet[..], &[Unbind(VIP), Bind(VIP)]].concat(),
        ),
        (
            "bound while quiet is adopted",
            &[VIP],
            &[],
            host(&[VIP], 1, 2),
            Memory::default(),
            vec![],
        ),
        (
            "drift of a setting",
            &[VIP],
            &[],
            host(&[VIP], 0, 2),
            ours(&[VIP], &saved),
            vec![Set(all(ArpIgnore), 1)],
        ),
        ("drift of the VIP", &[VIP], &[], host(&[], 1, 2), ours(&[VIP], &saved), vec![Bind(VIP)]),
        (
            "unbind: VIP first",
            &[],
            &[],
            host(&[VIP], 1, 2),
            ours(&[VIP], &saved),
            [&[Unbind(VIP)], &loud_again[..]].concat(),
        ),
        ("a busy VIP waits", &[], &[VIP], host(&[VIP], 1, 2), ours(&[VIP], &saved), vec![]),
        (
            "one of two leaves",
            &[VIP],
            &[],
            host(&[VIP, OTHER], 1, 2),
            ours(&[VIP, OTHER], &saved),
            vec![Unbind(OTHER)],
        ),
        ("another program's VIP stays", &[], &[], host(&[OTHER], 1, 2), Memory::default(), vec![]),
        (
            "a setting that somebody changed since is not put back",
            &[],
            &[],
            host(&[VIP], 2, 2),
            ours(&[VIP], &saved),
            vec![Unbind(VIP), Set(all(ArpAnnounce), 0)],
        ),
        (
            "held: unbound in spite of the plan and of connections",
            &[VIP],
            &[VIP],
            host(&[VIP], 1, 2),
            Memory { held: true, ..ours(&[VIP], &[]) },
            vec![Unbind(VIP)],
        ),
    ];
    for (what, desired, busy, observed, memory, expected) in cases {
        let desired = desired.iter().copied().collect();
        let busy = busy.iter().copied().collect();
        assert_eq!(plan(&desired, &busy, &observed, &memory).steps, expected, "{what}");
    }
}

#[test]
fn evidence_tells_the_truth() {
    let desired = BTreeSet::from([VIP]);
    let held = Memory { held: true, ..Memory::default() };
    let on_eth0 = Observed {
        elsewhere: [(VIP, "eth0".to_owned()), (OTHER, "eth1".to_owned())].into(),
        ..host(&[VIP], 1, 2)
    };
    let cases = [
        (host(&[VIP], 1, 2), ours(&[VIP], &[]), true, ""),
        (
            on_eth0,
            ours(&[VIP], &[]),
            false,
            "192.168.1.150 is also on eth0, which answers ARP for it: remove it there",
        ),
        (host(&[], 1, 2), ours(&[VIP], &[]), false, "192.168.1.150 is not bound to lo"),
        (host(&[VIP], 0, 2), ours(&[VIP], &[]), false, "net.ipv4.conf.all.arp_ignore is 0, not 1"),
        (host(&[], 0, 0), held, false, "stopped by hand: run `fulcrum-realserver start` to go on"),
    ];
    for (observed, memory, safe, detail) in cases {
        let told = evidence(&desired, &observed, &memory);
        assert_eq!((told[0].arp_safe, told[0].detail.as_str()), (safe, detail));
    }
}

fn vips() -> impl Strategy<Value = BTreeSet<Ipv4Addr>> {
    proptest::collection::btree_set((1u8..5).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)), 0..4)
}

proptest! {
    /// From any host: the steps reach what is wanted, binding only while quiet, and doing them again is nothing.
    #[test]
    fn steps_converge(desired in vips(), bound in vips(), ours in vips(), ignore in 0u32..4, announce in 0u32..3, held: bool) {
        let observed = Observed { bound, ..host(&[], ignore, announce) };
        let memory = Memory { ours, before: BTreeMap::new(), held };
        let none = BTreeSet::new();
        let planned = plan(&desired, &none, &observed, &memory);
        let after = perform(observed.clone(), &planned.steps);
        let wanted = if held { BTreeSet::new() } else { desired.clone() };
        prop_assert!(wanted.is_subset(&after.bound));
        // Foreign VIPs are never removed for good.
        for vip in observed.bound.difference(&memory.ours) {
            prop_assert!(after.bound.contains(vip));
        }
        let again = plan(&desired, &none, &after, &planned.after_steps);
        prop_assert_eq!(again.steps, vec![]);
    }

    /// Bind, then unbind, gives the host back as it was.
    #[test]
    fn settings_are_restored(desired in vips(), ignore in 0u32..4, announce in 0u32..3) {
        let observed = host(&[], ignore, announce);
        let none = BTreeSet::new();
        let bind = plan(&desired, &none, &observed, &Memory::default());
        let bound = perform(observed.clone(), &bind.steps);
        let unbind = plan(&none, &none, &bound, &bind.after_steps);
        prop_assert_eq!(perform(bound, &unbind.steps), observed);
    }
}
