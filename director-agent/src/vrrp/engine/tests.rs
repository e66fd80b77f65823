//! Turns of the thread on real sockets, in a network namespace of their own: raw sockets are for
//! root, and each user is root in a namespace that it makes.

use std::net::Ipv6Addr;
use std::process::Command;

use fulcrum_model::resource::{VrrpChecksum, VrrpVersion};
use fulcrum_model::{Cidr, Priority, Vrid, VrrpOptions};
use fulcrum_vrrp::{Instance, Role, WallClock};

use super::*;
use crate::addresses::Interface;
use crate::vrrp::sockets::AdvertSocket;

/// Set in the process that runs in the namespace.
const INSIDE: &str = "FULCRUM_TEST_INSIDE";
const HOUR: Duration = Duration::from_hours(1);
/// Advert intervals of an owner, which sends many here, and of others: a Backup that is held up does
/// not take over.
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(30);
/// Turns before it counts: buffers have grown, changes are ordered and published.
const WARM: usize = 20;

/// Runs `body` in a process of its own, between two interfaces `near` and `far` that are one segment.
fn on_a_segment(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let program = std::env::current_exe().expect("a program");
    let set_up = "ip link add near type veth peer name far \
        && echo 1 > /proc/sys/net/ipv4/conf/near/accept_local \
        && echo 0 > /proc/sys/net/ipv4/conf/near/rp_filter \
        && echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter \
        && ip address add 10.9.0.1/24 dev near && ip address add 10.9.0.2/24 dev far \
        && ip link set near up && ip link set far up \
        && ip address add fe80::1/64 dev near nodad && ip address add fe80::2/64 dev far nodad \
        && exec \"$@\"";
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", set_up, "sh"])
        .arg(program)
        .args(["--exact", &format!("vrrp::engine::tests::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("unshare(1) of util-linux").success(), "in a network namespace");
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip(8) of iproute2");
    assert!(status.success(), "ip {arguments:?}");
}

fn own_address(is_v6: bool, last: u8) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        IpAddr::from([10, 9, 0, last])
    }
}

fn plan(interface: &str, is_v6: bool, priority: u64, version: VrrpVersion) -> VrrpInstancePlan {
    let last = if interface == "near" { 1 } else { 2 };
    let vip = if is_v6 { "fe80::64/64" } else { "10.9.0.100/24" };
    let mut options = VrrpOptions::default();
    options.announce.repeat = 1;
    VrrpInstancePlan {
        name: format!("v{}", if is_v6 { 6 } else { 4 }).parse().expect("a name"),
        vrid: Vrid::new(51).expect("a VRID"),
        version,
        advert_interval: if priority == 255 { SHORT } else { LONG },
        interface: interface.to_owned(),
        priority: Priority::new(priority).expect("a priority"),
        preempt: true,
        auth_pass: None,
        vips: vec![vip.parse::<Cidr>().expect("a VIP")],
        source: own_address(is_v6, last),
        unicast_peers: Vec::new(),
        checksum: VrrpChecksum::Deployed,
        take_over: false,
        options,
    }
}

fn view() -> View {
    let interface = Interface {
        index: nix::net::if_::if_nametoindex("near").expect("it is there"),
        is_up: true,
        has_carrier: true,
        mac: None,
        addresses: [(own_address(false, 1), 24), (own_address(true, 1), 64)].into(),
    };
    View { interfaces: [("near".to_owned(), interface)].into(), ..View::default() }
}

/// An engine whose turns the test takes, and the other ends.
struct Bench {
    engine: Engine,
    orders: Inbox<Order>,
    _others: (Outbox<Input>, watch::Receiver<VrrpSnapshot>),
}

impl Bench {
    fn new(plans: impl IntoIterator<Item = VrrpInstancePlan>) -> Self {
        let (inputs, inbox) = mailbox().expect("file descriptors");
        let (addresses, orders) = mailbox().expect("file descriptors");
        let (snapshots, seen) = watch::channel(VrrpSnapshot::default());
        let engine = Engine::new(inbox, addresses, snapshots).expect("file descriptors");
        let plans = plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect();
        for input in [Input::View(view()), Input::Apply(plans)] {
            assert!(inputs.send(input).is_ok(), "there is room");
        }
        Self { engine, orders, _others: (inputs, seen) }
    }

    /// Until what happens once has happened; orders and snapshots are an hour away from then on.
    fn warm_up(&mut self, mut event: impl FnMut()) {
        for _ in 0..WARM {
            event();
            self.engine.turn();
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.orders.take();
        (self.engine.publish_at, self.engine.refreshed_at) = (now() + HOUR, now() + HOUR);
    }

    /// Allocations of the next turn; none when it was not one at rest. A test that is held up makes
    /// an Active announce its VIPs again.
    fn turn(&mut self) -> Option<u64> {
        let (was_stale, serial) = (self.engine.is_stale, self.engine.serial);
        let counted = allocation_counter::measure(|| {
            self.engine.turn();
        });
        let is_at_rest = !was_stale && self.engine.serial == serial;
        if !is_at_rest {
            self.settle();
        }
        is_at_rest.then_some(counted.count_total)
    }

    /// Role, adverts sent and received, and faults of each instance.
    fn tells(&mut self) -> Vec<(Role, u64, u64, Vec<String>)> {
        let view = &self.engine.view;
        let routers = self.engine.routers.values_mut();
        let tell = |router: &mut Router| {
            let status = router.status(now(), view);
            (status.role, status.adverts_sent, status.adverts_received, status.faults)
        };
        routers.map(tell).collect()
    }
}

/// The director at the other end, which is Active.
struct Peer {
    instance: Instance,
    socket: AdvertSocket,
}

impl Peer {
    fn new(is_v6: bool, version: VrrpVersion) -> Self {
        let index = nix::net::if_::if_nametoindex("far").expect("it is there");
        let socket = AdvertSocket::open("far", index).expect("root may");
        let plan = plan("far", is_v6, 200, version);
        let instance = Instance::new(Config::from_plan(&plan).expect("it can be run"));
        Self { instance, socket }
    }

    fn advertise(&mut self) {
        let (source, socket) = (self.instance.source(), &self.socket);
        self.instance.advertise(now(), WallClock(now()), 200, |destination, packet| {
            socket.send(packet, source, destination).expect("the segment is up");
        });
    }
}

#[test]
fn a_turn_of_an_active_allocates_nothing() {
    on_a_segment("a_turn_of_an_active_allocates_nothing", || {
        for virtual_mac in [false, true] {
            let plans = [false, true].map(|is_v6| {
                let mut plan = plan("near", is_v6, 255, VrrpVersion::V3);
                plan.options.sync_group = Some("both".parse().expect("a name"));
                plan.options.virtual_mac = virtual_mac;
                plan
            });
            let mut bench = Bench::new(plans);
            bench.warm_up(|| {});
            let before = bench.tells();
            let counted: Vec<u64> = (0..400).filter_map(|_| bench.turn()).take(200).collect();
            assert_eq!(counted, [0; 200], "virtual MAC: {virtual_mac}");
            for ((role, sent, _, faults), (_, sent_before, _, _)) in
                bench.tells().iter().zip(before)
            {
                assert_eq!((*role, faults.len()), (Role::Active, 0), "{faults:?}");
                assert!(*sent >= sent_before + 75, "{sent}");
            }
        }
    });
}

#[test]
fn a_turn_of_a_backup_allocates_nothing() {
    on_a_segment("a_turn_of_a_backup_allocates_nothing", || {
        for (is_v6, version) in
            [(false, VrrpVersion::V2), (false, VrrpVersion::V3), (true, VrrpVersion::V3)]
        {
            let mut peer = Peer::new(is_v6, version);
            let mut bench = Bench::new([plan("near", is_v6, 100, version)]);
            bench.engine.turn();
            bench.warm_up(|| peer.advertise());
            let before = bench.tells();
            for turn in 0..1000 {
                peer.advertise();
                assert_eq!(bench.turn(), Some(0), "{version:?} {is_v6}, turn {turn}");
            }
            let after = bench.tells();
            let ([(role, _, received, faults)], [(_, _, before, _)]) = (&after[..], &before[..])
            else {
                panic!("one instance: {after:?}")
            };
            assert_eq!((*role, received - before), (Role::Backup, 1000), "{version:?} {faults:?}");
        }
    });
}

#[test]
fn a_socket_over_ipv6_is_tried_again() {
    on_a_segment("a_socket_over_ipv6_is_tried_again", || {
        // The kernel has no IPv6 on interfaces of so small packets (RFC 8200 §5).
        ip(&["link", "set", "near", "mtu", "1279"]);
        let plans = [false, true].map(|is_v6| plan("near", is_v6, 255, VrrpVersion::V3));
        let mut bench = Bench::new(plans);
        bench.warm_up(|| {});
        let tells = bench.tells();
        assert_eq!((tells[0].0, tells[1].0), (Role::Active, Role::Initialize));
        assert!(tells[0].3.is_empty(), "IPv4 is not concerned: {tells:?}");
        assert!(tells[1].3[0].contains("`ip link show near`"), "{tells:?}");
        ip(&["link", "set", "near", "mtu", "1500"]);
        ip(&["address", "add", "fe80::1/64", "dev", "near", "nodad"]);
        let until = now() + Duration::from_secs(20);
        while bench.tells()[1].0 != Role::Active && now() < until {
            bench.engine.turn();
        }
        assert_eq!(bench.tells()[1].0, Role::Active, "{:?}", bench.tells());
    });
}
