//! Hosts, what is wanted of them, and the steps they get.

use std::net::Ipv4Addr;

use fulcrum_model::Tunnel;
use fulcrum_model::plan::HostTunnel;
use proptest::prelude::*;

use super::*;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 150));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 151));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x150));

fn all(key: ArpKey) -> ArpSetting {
    ArpSetting { interface: "all".to_owned(), key }
}

fn host(bound: &[IpAddr], ignore: u32, announce: u32) -> Observed {
    Observed {
        bound: bound.iter().copied().collect(),
        settings: [(all(ArpKey::ArpIgnore), ignore), (all(ArpKey::ArpAnnounce), announce)].into(),
        ..Observed::default()
    }
}

fn ours(vips: &[IpAddr], before: &[(ArpKey, u32)]) -> Memory {
    Memory {
        ours: vips.iter().copied().collect(),
        before: before.iter().map(|(key, value)| (all(*key), *value)).collect(),
        ..Memory::default()
    }
}

fn desired(vips: &[IpAddr], busy: &[IpAddr]) -> Desired {
    Desired {
        vips: vips.iter().copied().collect(),
        busy: busy.iter().copied().collect(),
        needs: Some(Needs::new()),
        ..Desired::default()
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
                let is_quiet = vip.is_ipv6() || observed.loud().next().is_none();
                assert!(is_quiet, "a VIP is only bound while ARP is quiet");
                assert!(observed.bound.insert(*vip), "bound twice");
            }
            Step::Unbind(vip) => assert!(observed.bound.remove(vip), "unbound twice"),
            // Those have tests of their own.
            Step::Tunnel(step) => panic!("{step}"),
        }
    }
    observed
}

/// What it is, VIPs wanted, VIPs busy, the host, what is remembered, and the steps.
type Case<'a> = (&'a str, &'a [IpAddr], &'a [IpAddr], Observed, Memory, Vec<Step>);

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
        (
            "IPv6 needs no setting",
            &[VIP6],
            &[],
            host(&[], 0, 0),
            Memory::default(),
            vec![Bind(VIP6)],
        ),
        (
            "IPv6 that another program bound is adopted",
            &[VIP6],
            &[],
            host(&[VIP6], 0, 0),
            Memory::default(),
            vec![],
        ),
        (
            "IPv6 that the host may have as its source is bound as ours are",
            &[VIP6],
            &[],
            Observed { preferred: [VIP6].into(), ..host(&[VIP6], 0, 0) },
            Memory::default(),
            vec![Bind(VIP6)],
        ),
        (
            "IPv6 on lo with another prefix is left to who put it there",
            &[VIP6],
            &[],
            Observed { wider: [(VIP6, 64)].into(), ..host(&[], 0, 0) },
            Memory::default(),
            vec![],
        ),
        (
            "of both families IPv4 leaves: its settings go back",
            &[VIP6],
            &[],
            host(&[VIP, VIP6], 1, 2),
            ours(&[VIP, VIP6], &saved),
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
    for (what, vips, busy, observed, memory, expected) in cases {
        let planned = plan(&desired(vips, busy), &observed, &memory);
        assert_eq!(planned.steps, expected, "{what}");
    }
}

#[test]
fn an_interface_that_has_gone_is_forgotten() {
    let eth1 = ArpSetting { interface: "eth1".to_owned(), key: ArpKey::ArpIgnore };
    let mut memory = ours(&[VIP], &[(ArpKey::ArpIgnore, 0)]);
    memory.before.insert(eth1.clone(), 0);
    let planned = plan(&desired(&[VIP], &[]), &host(&[VIP], 1, 2), &memory);
    assert_eq!(planned.steps, []);
    assert!(!planned.after_steps.before.contains_key(&eth1));
    // Another one of its name has a value of its own, which is what it gets back.
    let mut observed = host(&[VIP], 1, 2);
    observed.settings.insert(eth1.clone(), 0);
    let planned = plan(&desired(&[VIP], &[]), &observed, &planned.after_steps);
    assert_eq!(planned.steps, [Step::Set(eth1.clone(), 1)]);
    assert_eq!(planned.after_steps.before.get(&eth1), Some(&0));
}

/// What the tunnel of a VIP needs, and the host that has it.
fn tunnelled() -> (Desired, Observed) {
    let tunnel =
        HostTunnel { tunnel: Tunnel::Ipip, rip: "10.0.0.8".parse().unwrap(), vips: vec![VIP] };
    let needs = tunnels::needs(&[tunnel]);
    (Desired { needs: Some(needs), ..desired(&[VIP, OTHER], &[]) }, host(&[VIP, OTHER], 1, 2))
}

#[test]
fn a_tunnel_comes_before_its_vip_and_goes_after_it() {
    let (desired, mut observed) = tunnelled();
    observed.bound.clear();
    let planned = plan(&desired, &observed, &Memory::default());
    let first_bind = planned.steps.iter().position(|step| matches!(step, Step::Bind(_)));
    let last_make = planned.steps.iter().rposition(|step| matches!(step, Step::Tunnel(_)));
    assert!(last_make.is_some() && last_make < first_bind, "{:?}", planned.steps);
    assert_eq!(planned.before_steps.tunnels.devices.len(), 1, "it is remembered before it is made");

    let name = planned.after_steps.tunnels.devices.first().cloned().expect("a device");
    observed.tunnels.names.insert(name.clone());
    observed.bound = [VIP, OTHER].into();
    let held = Memory { held: true, ..planned.after_steps.clone() };
    let steps = plan(&desired, &observed, &held).steps;
    let removal = Step::Tunnel(tunnels::Step::Remove(name));
    assert_eq!(steps, [Step::Unbind(VIP), Step::Unbind(OTHER), removal]);

    // `start` by hand knows no tunnels.
    let unknown = Desired { needs: None, ..desired };
    let steps = plan(&unknown, &observed, &planned.after_steps);
    assert_eq!((steps.steps, steps.after_steps), (vec![], planned.after_steps));
}

#[test]
fn evidence_tells_the_truth() {
    let held = Memory { held: true, ..Memory::default() };
    let on_eth0 = Observed {
        elsewhere: [(VIP, "eth0".to_owned()), (OTHER, "eth1".to_owned())].into(),
        ..host(&[VIP], 1, 2)
    };
    let IpAddr::V6(address6) = VIP6 else { panic!("of IPv6") };
    let proxied =
        Observed { proxied: [(address6, "eth0".to_owned())].into(), ..host(&[VIP6], 0, 0) };
    let on_eth1 = Observed { elsewhere: [(VIP6, "eth1".to_owned())].into(), ..host(&[VIP6], 0, 0) };
    let cases = [
        (VIP, host(&[VIP], 1, 2), ours(&[VIP], &[]), ""),
        (
            VIP,
            on_eth0,
            ours(&[VIP], &[]),
            "192.168.1.150 is also on eth0, which answers ARP for it: remove it there",
        ),
        (VIP, host(&[], 1, 2), ours(&[VIP], &[]), "192.168.1.150 is not bound to lo"),
        (VIP, host(&[VIP], 0, 2), ours(&[VIP], &[]), "net.ipv4.conf.all.arp_ignore is 0, not 1"),
        (VIP, host(&[], 0, 0), held, "stopped by hand: run `fulcrum-realserver start` to go on"),
        (
            VIP,
            host(&[VIP], 1, 2),
            ours(&[], &[]),
            "192.168.1.150 was bound by another program and is being taken over",
        ),
        (VIP6, host(&[VIP6], 0, 0), ours(&[VIP6], &[]), ""),
        (
            VIP6,
            Observed { wider: [(VIP6, 64)].into(), ..host(&[], 0, 0) },
            ours(&[VIP6], &[]),
            "2001:db8::150 is on lo with the prefix /64, and the kernel has no second: `ip address del 2001:db8::150/64 dev \
             lo`",
        ),
        (
            VIP6,
            Observed { proxies_unread: Some("ENOBUFS".to_owned()), ..host(&[VIP6], 0, 0) },
            ours(&[VIP6], &[]),
            "whether another interface answers neighbour solicitations for 2001:db8::150 cannot be read: ENOBUFS",
        ),
        (VIP6, host(&[], 1, 2), ours(&[VIP6], &[]), "2001:db8::150 is not bound to lo"),
        (
            VIP6,
            proxied,
            ours(&[VIP6], &[]),
            "eth0 answers neighbour solicitations for 2001:db8::150: `ip -6 neigh del proxy 2001:db8::150 dev eth0`",
        ),
        (
            VIP6,
            on_eth1,
            ours(&[VIP6], &[]),
            "2001:db8::150 is also on eth1, which answers neighbour solicitations for it: remove it there",
        ),
    ];
    for (vip, observed, memory, detail) in cases {
        let told = evidence(&desired(&[vip], &[]), &observed, &memory, &Failures::default());
        assert_eq!((told[0].arp_safe, told[0].detail.as_str()), (detail.is_empty(), detail));
    }
}

#[test]
fn a_vip_without_its_tunnel_is_not_told_safe() {
    let (desired, observed) = tunnelled();
    let memory = ours(&[VIP, OTHER], &[]);
    let needs = desired.needs.iter().flatten().map(|(need, _)| (*need, "EPERM".to_owned()));
    let failed = Failures { needs: needs.collect(), ..Failures::default() };
    let told = evidence(&desired, &observed, &memory, &failed);
    let of = |vip| told.iter().find(|it| it.vip == vip).expect("it is told");
    assert_eq!(of(VIP).detail, "no device takes ipip to 10.0.0.8 out: EPERM");
    assert!(of(VIP).bound && !of(VIP).arp_safe);
    assert!(of(OTHER).arp_safe, "the other VIP comes by dr");
}

#[test]
fn a_vip_that_cannot_be_bound_is_alone_in_that() {
    let observed = host(&[VIP], 1, 2);
    let failed = Failures { vips: [(VIP6, "EACCES".to_owned())].into(), ..Failures::default() };
    let told = evidence(&desired(&[VIP, VIP6], &[]), &observed, &ours(&[VIP, VIP6], &[]), &failed);
    let told: Vec<_> = told.iter().map(|it| (it.vip, it.arp_safe, it.detail.as_str())).collect();
    assert_eq!(told, [(VIP, true, ""), (VIP6, false, "EACCES")]);
}

#[test]
fn a_changed_checksum_waits_for_no_leaver() {
    use fulcrum_model::TunnelChecksum::{Full, None as Without};
    let gre = |checksum| {
        let rip = "10.0.0.8".parse().unwrap();
        tunnels::needs(&[HostTunnel { tunnel: Tunnel::Gre { checksum }, rip, vips: vec![VIP] }])
    };
    for (before, after) in [(Full, Without), (Without, Full)] {
        let first = Desired { needs: Some(gre(before)), ..desired(&[VIP], &[]) };
        let quiet = host(&[VIP], 1, 2);
        let made = plan(&first, &quiet, &Memory::default());
        let on = |observed: &Observed, planned: &Plan| {
            let tunnels = tunnels::tests::after(&observed.tunnels, &planned.steps);
            Observed { tunnels, ..observed.clone() }
        };
        let had = on(&quiet, &made);
        let next =
            Desired { needs: Some(gre(after)), leaving: gre(before), ..desired(&[VIP], &[]) };
        let changed = plan(&next, &had, &made.after_steps);
        let has = on(&had, &changed);
        let told = evidence(&next, &has, &changed.after_steps, &Failures::default());
        assert!(told[0].arp_safe, "{before:?} to {after:?}: {}", told[0].detail);
        assert_eq!(plan(&next, &has, &changed.after_steps).steps, [], "it stays so");
    }
}

fn vips() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    let either = (1u8..5, any::<bool>()).prop_map(|(number, is_ipv6)| {
        if is_ipv6 {
            IpAddr::from(Ipv6Addr::from(u128::from(number) | (0x2001 << 112)))
        } else {
            IpAddr::from([10, 0, 0, number])
        }
    });
    proptest::collection::btree_set(either, 0..5)
}

proptest! {
    /// From any host: the steps reach what is wanted, binding only while quiet, and doing them again is nothing.
    #[test]
    fn steps_converge(wanted in vips(), bound in vips(), ours in vips(), ignore in 0u32..4, announce in 0u32..3, held: bool) {
        let observed = Observed { bound, ..host(&[], ignore, announce) };
        let memory = Memory { ours, held, ..Memory::default() };
        let desired = Desired { vips: wanted.clone(), ..desired(&[], &[]) };
        let planned = plan(&desired, &observed, &memory);
        let after = perform(observed.clone(), &planned.steps);
        let wanted = if held { BTreeSet::new() } else { wanted };
        prop_assert!(wanted.is_subset(&after.bound));
        // Foreign VIPs are never removed for good.
        for vip in observed.bound.difference(&memory.ours) {
            prop_assert!(after.bound.contains(vip));
        }
        let again = plan(&desired, &after, &planned.after_steps);
        prop_assert_eq!(again.steps, vec![]);
    }

    /// Bind, then unbind, gives the host back as it was.
    #[test]
    fn settings_are_restored(wanted in vips(), ignore in 0u32..4, announce in 0u32..3) {
        let observed = host(&[], ignore, announce);
        let desired_vips = Desired { vips: wanted, ..desired(&[], &[]) };
        let bind = plan(&desired_vips, &observed, &Memory::default());
        let bound = perform(observed.clone(), &bind.steps);
        let unbind = plan(&desired(&[], &[]), &bound, &bind.after_steps);
        prop_assert_eq!(perform(bound, &unbind.steps), observed);
    }
}
