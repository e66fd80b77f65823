//! Tunnels that are wanted, hosts, and the steps they get.

use fulcrum_model::Port;
use proptest::prelude::*;

use super::*;

const RIP: &str = "10.0.0.8";
const RIP6: &str = "2001:db8::8";
const VIP: &str = "10.0.0.150";
const VIP6: &str = "2001:db8::150";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn device(kind: Kind, local: &str) -> Device {
    Device { kind, local: ip(local), checksum: false }
}

fn gue(port: u16) -> Tunnel {
    Tunnel::Gue { port: Port::new(port.into()).unwrap(), checksum: TunnelChecksum::None }
}

fn gre(checksum: TunnelChecksum) -> Tunnel {
    Tunnel::Gre { checksum }
}

/// A device that hands everything on.
fn well(device: Device) -> Found {
    Found {
        device,
        is_open: true,
        is_up: true,
        has_ipv4: true,
        rp_filter: 2,
        is_ipv6_disabled: false,
        is_guarded: true,
    }
}

fn host(devices: &[(&str, Found)]) -> Observed {
    let devices: BTreeMap<String, Found> =
        devices.iter().map(|(name, found)| ((*name).to_owned(), found.clone())).collect();
    let names = devices.keys().cloned().chain(["lo".to_owned(), "eth0".to_owned()]).collect();
    Observed { devices, names, ..Observed::default() }
}

fn ours(devices: &[&str]) -> Ours {
    let devices = devices.iter().map(|name| (*name).to_owned()).collect();
    Ours { devices, ports: BTreeSet::new() }
}

/// What is needed alone.
fn steps(needs: &Needs, observed: &Observed, ours: &Ours) -> Plan {
    let (leaving, waiting) = (&Needs::new(), &BTreeSet::new());
    plan(Wanted { needs, leaving, waiting }, observed, ours)
}

/// Needs of a VIP of IPv4.
fn of_vip(needs: impl IntoIterator<Item = Need>) -> Needs {
    needs.into_iter().map(|need| (need, [ip(VIP)].into())).collect()
}

fn told(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn each_tunnel_has_its_devices() {
    let cases: [(Tunnel, &str, &[&str], &[&str]); 9] = [
        (Tunnel::Ipip, RIP, &[VIP], &["ipip to 10.0.0.8"]),
        (Tunnel::Ipip, RIP, &[VIP, VIP6], &["ipip to 10.0.0.8", "sit to 10.0.0.8"]),
        (Tunnel::Ipip, RIP6, &[VIP, VIP6], &["ip6tnl to 2001:db8::8"]),
        (gue(6080), RIP, &[VIP], &["GUE at UDP port 6080 of IPv4", "ipip to 10.0.0.8"]),
        (gue(6080), RIP6, &[VIP6], &["GUE at UDP port 6080 of IPv6", "ip6tnl to 2001:db8::8"]),
        (gre(TunnelChecksum::None), RIP, &[VIP, VIP6], &["gre to 10.0.0.8"]),
        (gre(TunnelChecksum::Full), RIP, &[VIP], &["gre to 10.0.0.8 with checksums"]),
        (gre(TunnelChecksum::Full), RIP6, &[VIP], &["ip6gre to 2001:db8::8 with checksums"]),
        (Tunnel::Ipip, RIP, &[], &[]),
    ];
    for (tunnel, rip, vips, expected) in cases {
        let vips = vips.iter().map(|vip| ip(vip)).collect();
        let found = needs(&[HostTunnel { tunnel, rip: ip(rip), vips }]);
        let found: Vec<String> = found.keys().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{tunnel:?} to {rip}");
    }
}

/// What it is, devices wanted, the host, what is ours, and the steps.
type HostCase<'a> = (&'a str, &'a [Device], Observed, Ours, Vec<String>);

#[test]
fn hosts_get_their_steps() {
    let ipip = device(Kind::Ipip, RIP);
    let of_another = device(Kind::Ipip, "10.0.0.9");
    let down = Found { is_up: false, ..well(ipip) };
    let strict = Found { rp_filter: 1, has_ipv4: false, ..well(ipip) };
    let unfiltered = Found { rp_filter: 0, has_ipv4: false, ..well(ipip) };
    let forwards = Found { is_guarded: false, ..well(ipip) };
    let to_one = Found { is_open: false, ..well(ipip) };
    let made = |name: &str| -> Vec<String> {
        [
            "made, ipip to 10.0.0.8",
            "mended, it forwards, or heeds redirects or router advertisements",
            "mended, it filters reverse paths strictly (rp_filter is 1)",
            "mended, it has rp_filter and no IPv4 address, so that the kernel drops all",
            "mended, it is down",
        ]
        .map(|what| format!("{name}: {what}"))
        .to_vec()
    };
    let name = "fulcrum-ipip-0";
    let cases: [HostCase<'_>; 14] = [
        ("nothing", &[], host(&[]), ours(&[]), vec![]),
        ("made", &[ipip], host(&[]), ours(&[]), made(name)),
        ("there", &[ipip], host(&[(name, well(ipip))]), ours(&[name]), vec![]),
        ("gone", &[ipip], host(&[]), ours(&[name]), made(name)),
        (
            "down",
            &[ipip],
            host(&[(name, down.clone())]),
            ours(&[name]),
            vec![format!("{name}: mended, it is down")],
        ),
        ("strict", &[ipip], host(&[(name, strict)]), ours(&[name]), made(name)[2..4].to_vec()),
        (
            "unguarded",
            &[ipip],
            host(&[(name, forwards.clone())]),
            ours(&[name]),
            made(name)[1..2].to_vec(),
        ),
        ("another program's, unguarded", &[ipip], host(&[("t", forwards)]), ours(&[]), vec![]),
        ("without rp_filter", &[ipip], host(&[(name, unfiltered)]), ours(&[name]), vec![]),
        (
            "wanted no more",
            &[],
            host(&[(name, well(ipip))]),
            ours(&[name]),
            vec![format!("{name}: removed")],
        ),
        ("another program's, as needed", &[ipip], host(&[("t", well(ipip))]), ours(&[]), vec![]),
        ("another program's, down", &[ipip], host(&[("t", down)]), ours(&[]), vec![]),
        (
            "others are left alone, and have their names",
            &[ipip],
            host(&[(name, well(of_another)), ("tunl0", to_one)]),
            ours(&[]),
            made("fulcrum-ipip-1"),
        ),
        (
            "somebody changed its address",
            &[ipip],
            host(&[(name, well(of_another))]),
            ours(&[name]),
            [vec![format!("{name}: removed")], made("fulcrum-ipip-1")].concat(),
        ),
    ];
    for (what, wanted, observed, ours, expected) in cases {
        let needs = of_vip(wanted.iter().copied().map(Need::Device));
        let planned = steps(&needs, &observed, &ours);
        let steps = [told(&planned.removals), told(&planned.makings)].concat();
        assert_eq!(steps, expected, "{what}");
    }
}

/// What it is, needs, the host, what is ours, the steps, and what is ours then.
type PortCase<'a> = (&'a str, &'a [Need], Observed, &'a Ours, &'a [&'a str], &'a Ours);

#[test]
fn ports_are_opened_and_closed() {
    let port = GuePort { port: 6080, is_ipv6: false };
    let open = |is_gue| Observed { ports: [(port, is_gue)].into(), ..host(&[]) };
    let mine = Ours { ports: [port].into(), ..Ours::default() };
    let none = Ours::default();
    let need = [Need::Port(port)];
    let unread = || Observed { ports_unread: Some("EPERM".to_owned()), ..host(&[]) };
    let cases: [PortCase<'_>; 9] = [
        ("opened", &need, host(&[]), &none, &["GUE at UDP port 6080 of IPv4: opened"], &mine),
        ("open", &need, open(true), &mine, &[], &mine),
        ("another program's", &need, open(true), &none, &[], &none),
        ("another program's, for another use", &need, open(false), &none, &[], &none),
        ("closed", &[], open(true), &mine, &["GUE at UDP port 6080 of IPv4: closed"], &none),
        ("not known whether it is open", &need, unread(), &none, &[], &none),
        ("ours, and not known any more", &need, unread(), &mine, &[], &mine),
        ("to be closed, and not known", &[], unread(), &mine, &[], &mine),
        ("closed by another", &[], host(&[]), &mine, &[], &none),
    ];
    for (what, needs, observed, ours, expected, after) in cases {
        let planned = super::tests::steps(&of_vip(needs.iter().copied()), &observed, ours);
        let steps = [told(&planned.removals), told(&planned.makings)].concat();
        assert_eq!(
            (steps, &planned.after_steps),
            (expected.iter().map(|it| (*it).to_owned()).collect(), after),
            "{what}"
        );
        assert!(planned.before_steps.ports.is_superset(&after.ports), "{what}");
    }
}

/// The host, what is ours, what could not be done, and what falls short.
type ShortCase<'a> = (Observed, Ours, &'a BTreeMap<Need, String>, Option<&'a str>);

#[test]
fn what_falls_short_is_told() {
    let gre = device(Kind::Gre, RIP);
    let with = Device { checksum: true, ..gre };
    let name = "fulcrum-gre-0";
    let down = Found { is_up: false, ..well(gre) };
    let loose = Found { has_ipv4: false, ..well(gre) };
    let failed = BTreeMap::from([(Need::Device(gre), "no such module".to_owned())]);
    let fine = BTreeMap::new();
    let cases: [ShortCase<'_>; 8] = [
        (host(&[(name, well(gre))]), ours(&[name]), &fine, None),
        (host(&[("t", well(gre))]), ours(&[]), &fine, None),
        (host(&[]), ours(&[]), &fine, Some("no device takes gre to 10.0.0.8 out")),
        (
            host(&[]),
            ours(&[name]),
            &failed,
            Some("no device takes gre to 10.0.0.8 out: no such module"),
        ),
        (host(&[(name, down.clone())]), ours(&[name]), &fine, Some("fulcrum-gre-0 is down")),
        (
            host(&[("t", down)]),
            ours(&[]),
            &fine,
            Some(
                "t, which another program made, is down: put that right, or delete it and one is made",
            ),
        ),
        (
            host(&[("t", loose)]),
            ours(&[]),
            &fine,
            Some(
                "t, which another program made, has rp_filter and no IPv4 address, so that the kernel drops all: put that \
                 right, or delete it and one is made",
            ),
        ),
        (
            host(&[("t", well(with))]),
            ours(&[]),
            &fine,
            Some(
                "t, which another program made, wants GRE with another checksum than the virtual server's: put that right, \
                 or delete it and one is made",
            ),
        ),
    ];
    for (observed, ours, failed, expected) in cases {
        let found = shortfall(&Need::Device(gre), &[ip(VIP)].into(), &observed, &ours, failed);
        assert_eq!(found.as_deref(), expected);
    }
    let port = GuePort { port: 6080, is_ipv6: false };
    let at = |ports: &[(GuePort, bool)]| {
        let observed = Observed { ports: ports.iter().copied().collect(), ..host(&[]) };
        shortfall(&Need::Port(port), &[ip(VIP)].into(), &observed, &Ours::default(), &fine)
    };
    assert_eq!(at(&[(port, true)]), None);
    assert_eq!(at(&[]).as_deref(), Some("nobody takes GUE at UDP port 6080 of IPv4 out"));
    let unread = Observed { ports_unread: Some("EPERM".to_owned()), ..host(&[]) };
    assert_eq!(
        shortfall(&Need::Port(port), &[ip(VIP)].into(), &unread, &Ours::default(), &fine)
            .as_deref(),
        Some("whether somebody takes GUE at UDP port 6080 of IPv4 out cannot be read: EPERM")
    );
    assert!(at(&[(port, false)]).is_some_and(|why| why.contains("ip fou del port 6080")));
}

#[test]
fn what_could_not_be_made_waits() {
    let port = Need::Port(GuePort { port: 6080, is_ipv6: false });
    let needs = of_vip([port, Need::Device(device(Kind::Ipip, RIP))]);
    let waiting = needs.keys().copied().collect();
    let wanted = Wanted { needs: &needs, leaving: &Needs::new(), waiting: &waiting };
    let planned = plan(wanted, &host(&[]), &Ours::default());
    assert_eq!(planned, Plan::default());
    // What is there is seen all the same.
    let name = "fulcrum-ipip-0";
    let down = Found { is_up: false, ..well(device(Kind::Ipip, RIP)) };
    let planned = plan(wanted, &host(&[(name, down)]), &ours(&[name]));
    assert_eq!(told(&planned.makings), [format!("{name}: mended, it is down")]);
}

#[test]
fn ipv6_is_let_in_for_vips_of_it_alone() {
    let ip6tnl = device(Kind::Ip6tnl, RIP6);
    let name = "fulcrum-ip6-0";
    let without = || Found { is_ipv6_disabled: true, ..well(ip6tnl) };
    for (vip, expected) in [(VIP, 0), (VIP6, 1)] {
        let needs = Needs::from([(Need::Device(ip6tnl), [ip(vip)].into())]);
        let observed = host(&[(name, without())]);
        let planned = steps(&needs, &observed, &ours(&[name]));
        assert_eq!(planned.makings.len(), expected, "{vip}");
        let problems = ends(&needs, &observed, &ours(&[name]), &BTreeMap::new());
        assert_eq!(problems[0].problem.is_some(), expected == 1, "{vip}");
    }
}

#[test]
fn names_fit_in_the_kernel() {
    for kind in [Kind::Ipip, Kind::Sit, Kind::Ip6tnl, Kind::Gre, Kind::Ip6gre] {
        let taken =
            (0..MOST_DEVICES - 1).map(|number| format!("fulcrum-{}-{number}", kind.short()));
        let mut taken: BTreeSet<String> = taken.collect();
        let last = free_name(kind, &taken).expect("one is left");
        // IFNAMSIZ of linux/if.h, with the byte that ends it.
        assert!(last.len() < 16, "{last}");
        taken.insert(last);
        assert_eq!(free_name(kind, &taken), None);
    }
}

/// Does to a host what the kernel would.
fn perform(observed: Observed, planned: &Plan) -> Observed {
    perform_all(observed, planned.removals.iter().chain(&planned.makings))
}

/// The host after a whole plan's steps.
pub(in crate::loopback) fn after(
    observed: &Observed,
    steps: &[crate::loopback::plan::Step],
) -> Observed {
    use crate::loopback::plan::Step;
    let of_tunnels = steps.iter().filter_map(|step| match step {
        Step::Tunnel(step) => Some(step),
        Step::Set(..) | Step::Bind(_) | Step::Unbind(_) => None,
    });
    perform_all(observed.clone(), of_tunnels)
}

fn perform_all<'a>(mut observed: Observed, steps: impl Iterator<Item = &'a Step>) -> Observed {
    for step in steps {
        match step.clone() {
            Step::Make(name, device) => {
                let twin = |found: &Found| {
                    found.is_open
                        && (found.device.kind, found.device.local) == (device.kind, device.local)
                };
                assert!(!observed.devices.values().any(twin), "the kernel has one of each");
                assert!(observed.names.insert(name.clone()), "{name} is another's");
                let fresh = Found {
                    is_up: false,
                    has_ipv4: false,
                    rp_filter: 1,
                    is_ipv6_disabled: true,
                    is_guarded: false,
                    ..well(device)
                };
                observed.devices.insert(name, fresh);
            }
            Step::Mend(name, _, lack) => {
                let found = observed.devices.get_mut(&name).expect("a device");
                match lack {
                    Lack::Unguarded => found.is_guarded = true,
                    Lack::Strict => found.rp_filter = 2,
                    Lack::Address => found.has_ipv4 = true,
                    Lack::Ipv6 => found.is_ipv6_disabled = false,
                    Lack::Down => found.is_up = true,
                }
            }
            Step::Remove(name) => {
                assert!(observed.names.remove(&name), "removed twice");
                observed.devices.remove(&name);
            }
            Step::Open(port) => assert_eq!(observed.ports.insert(port, true), None),
            Step::Close(port) => assert_eq!(observed.ports.remove(&port), Some(true)),
        }
    }
    observed
}

fn any_tunnel() -> impl Strategy<Value = HostTunnel> {
    let kind = prop_oneof![
        Just(Tunnel::Ipip),
        Just(gue(6080)),
        Just(gue(6081)),
        Just(gre(TunnelChecksum::None)),
        Just(gre(TunnelChecksum::Full)),
    ];
    let vips = proptest::sample::subsequence(vec![ip(VIP), ip(VIP6)], 1..=2);
    (kind, proptest::sample::select(vec![RIP, RIP6]), vips)
        .prop_map(|(tunnel, rip, vips)| HostTunnel { tunnel, rip: ip(rip), vips })
}

/// Tunnels as Apply takes them: not to one RIP by gre with different checksums.
fn any_tunnels() -> impl Strategy<Value = Vec<HostTunnel>> {
    proptest::collection::vec(any_tunnel(), 0..4).prop_map(|mut tunnels| {
        let mut checksums = BTreeMap::new();
        tunnels.retain(|it| match it.tunnel {
            Tunnel::Gre { checksum } => *checksums.entry(it.rip).or_insert(checksum) == checksum,
            Tunnel::Ipip | Tunnel::Gue { .. } => true,
        });
        tunnels
    })
}

/// A host where others made devices, some of them in the way.
fn any_host() -> impl Strategy<Value = Observed> {
    let kinds = vec![Kind::Ipip, Kind::Sit, Kind::Ip6tnl, Kind::Gre, Kind::Ip6gre];
    let foreign = proptest::sample::subsequence(kinds, 0..=5);
    (foreign, any::<[bool; 4]>()).prop_map(|(kinds, [is_open, is_up, has_ipv4, has_port])| {
        let found = kinds.into_iter().map(|kind| {
            let local = if matches!(kind, Kind::Ip6tnl | Kind::Ip6gre) { RIP6 } else { RIP };
            let found = Found { is_open, is_up, has_ipv4, ..well(device(kind, local)) };
            (format!("fulcrum-{}-0", kind.short()), found)
        });
        let devices: Vec<(String, Found)> = found.collect();
        let devices: Vec<(&str, Found)> =
            devices.iter().map(|(name, found)| (name.as_str(), found.clone())).collect();
        let port = GuePort { port: 6080, is_ipv6: false };
        let ports = has_port.then_some((port, true)).into_iter().collect();
        Observed { ports, ..host(&devices) }
    })
}

proptest! {
    /// From any host: the steps reach what is wanted, doing them again is nothing, and what others made stays.
    #[test]
    fn steps_converge_and_are_undone(
        tunnels in any_tunnels(),
        before in any_host(),
    ) {
        let needs = needs(&tunnels);
        let planned = steps(&needs, &before, &Ours::default());
        let after = perform(before.clone(), &planned);
        for (need, vips) in &needs {
            let short = shortfall(need, vips, &after, &planned.after_steps, &BTreeMap::new());
            let is_foreign = short.as_ref().is_some_and(|why| why.contains("another program"));
            prop_assert!(short.is_none() || is_foreign, "{:?}", short);
        }
        let again = steps(&needs, &after, &planned.after_steps);
        prop_assert!(again.removals.is_empty() && again.makings.is_empty(), "{again:?}");
        prop_assert_eq!(&again.after_steps, &planned.after_steps);
        // All goes, and the host is as it was.
        let none = steps(&Needs::new(), &after, &planned.after_steps);
        prop_assert_eq!(perform(after, &none), before);
        prop_assert_eq!(none.after_steps, Ours::default());
    }

    /// From any wanted to any other.
    #[test]
    fn changes_converge(
        first in any_tunnels(),
        second in any_tunnels(),
    ) {
        let (first, second) = (needs(&first), needs(&second));
        let planned = steps(&first, &host(&[]), &Ours::default());
        let after = perform(host(&[]), &planned);
        let change = steps(&second, &after, &planned.after_steps);
        let changed = perform(after, &change);
        let fresh = steps(&second, &host(&[]), &Ours::default());
        let direct = perform(host(&[]), &fresh);
        let devices = |of: &Observed| -> BTreeSet<Device> {
            of.devices.values().map(|found| found.device).collect()
        };
        prop_assert_eq!(devices(&changed), devices(&direct));
        prop_assert_eq!(&changed.ports, &direct.ports);

        // While the first ones leave, the second have all they need, and nothing is done twice.
        let both = Wanted { needs: &second, leaving: &first, waiting: &BTreeSet::new() };
        let has = perform(host(&[]), &planned);
        let change = plan(both, &has, &planned.after_steps);
        let while_leaving = perform(has, &change);
        for (need, vips) in &second {
            let short =
                shortfall(need, vips, &while_leaving, &change.after_steps, &BTreeMap::new());
            prop_assert_eq!(short, None);
        }
        let again = plan(both, &while_leaving, &change.after_steps);
        prop_assert!(again.removals.is_empty() && again.makings.is_empty(), "{again:?}");
        let gone = steps(&second, &while_leaving, &change.after_steps);
        prop_assert_eq!(devices(&perform(while_leaving, &gone)), devices(&direct));
    }
}
