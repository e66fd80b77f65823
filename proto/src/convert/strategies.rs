//! Arbitrary valid nouns for the round-trip tests.

mod access;
mod check;
mod ipvs_settings;
mod notification;
mod restart;
mod virtual_server;
mod vrrp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use fulcrum_model::plan::{
    DirectorPlan, HostTunnel, RealServerHostPlan, VrrpInstancePlan, WatchedServer,
};
use fulcrum_model::resource::{
    AgentRequirement, AuthPass, Director, Handover, RealServer, Resource, Site, Spec, VrrpChecksum,
    VrrpInstance, VrrpMember, VrrpVersion,
};
use fulcrum_model::{
    Cidr, Evidence, EvidenceStamp, Name, Port, Priority, Revision, ServerEvidence, ServerLoad,
    ServerProbe, StatusPage, Verdict, VipEvidence, Vrid, Weight,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(super) fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?".prop_map(|text| text.parse().expect("a valid name"))
}

fn ip() -> impl Strategy<Value = IpAddr> {
    (1_u8..224, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
}

fn port() -> impl Strategy<Value = Port> {
    (1_u64..=65535).prop_map(|port| Port::new(port).expect("in range"))
}

fn weight() -> impl Strategy<Value = Weight> {
    (0_u64..=65535).prop_map(|weight| Weight::new(weight).expect("in range"))
}

fn interface() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.@_-]{0,14}"
}

fn path() -> impl Strategy<Value = String> {
    "/[!-~]{0,20}"
}

fn millis(from: u64) -> impl Strategy<Value = Duration> {
    (from..10_000_000).prop_map(Duration::from_millis)
}

fn statuses() -> impl Strategy<Value = Vec<u16>> {
    vec(100_u16..600, 0..3)
}

fn server_probe() -> impl Strategy<Value = ServerProbe> {
    let page =
        (option::of("[a-z]{1,5}"), option::of("/[a-z/]{1,9}")).prop_map(|(user, password_file)| {
            StatusPage {
                url: "http://127.0.0.1:8080/manager/status/all?JSON=true".to_owned(),
                user,
                password_file,
            }
        });
    let ops = option::of("http://127\\.0\\.0\\.1:8081/[a-z]{0,9}");
    (option::of(path()), millis(50), millis(10), option::of(page), ops, any::<bool>()).prop_map(
        |(http_path, interval, timeout, status_page, ops_url, jmx)| ServerProbe {
            // The proxy is reached as the status page is.
            jmx: jmx && status_page.is_some(),
            http_path,
            interval,
            timeout,
            status_page,
            ops_url,
        },
    )
}

/// Version, interval and authentication that fit together.
fn version() -> impl Strategy<Value = (VrrpVersion, Duration, Option<AuthPass>)> {
    let pass = "[!-~]{1,8}".prop_map(|text| AuthPass::new(&text).expect("1 to 8 bytes"));
    prop_oneof![
        (1_u64..=255, option::of(pass)).prop_map(|(s, pass)| (
            VrrpVersion::V2,
            Duration::from_secs(s),
            pass
        )),
        (1_u64..=255).prop_map(|s| (VrrpVersion::V2AndV3, Duration::from_secs(s), None)),
        (1_u64..=4095).prop_map(|cs| (VrrpVersion::V3, Duration::from_millis(cs * 10), None)),
    ]
}

fn checksum() -> impl Strategy<Value = VrrpChecksum> {
    select(vec![VrrpChecksum::Deployed, VrrpChecksum::Rfc9568])
}

fn requirement() -> impl Strategy<Value = AgentRequirement> {
    select(vec![AgentRequirement::Required, AgentRequirement::None])
}

fn vips() -> impl Strategy<Value = Vec<Cidr>> {
    btree_map(ip(), 1_u8..=32, 1..4).prop_map(|vips| {
        vips.into_iter()
            .map(|(address, length)| Cidr::new(address, length).expect("at most 32"))
            .collect()
    })
}

/// Those of version 2, and those of version 3.
fn any_vips() -> impl Strategy<Value = (Vec<Cidr>, Vec<Cidr>)> {
    let link_local = (any::<u64>(), btree_map(vrrp::ipv6(), 1_u8..=128, 0..3)).prop_map(
        |(bits, others)| -> Vec<Cidr> {
            let first = Ipv6Addr::from_bits((0xfe80 << 112) | u128::from(bits));
            let cidr =
                |(address, length)| Cidr::new(IpAddr::V6(address), length).expect("in range");
            std::iter::once((first, 64)).chain(others).map(cidr).collect()
        },
    );
    (vips(), prop_oneof![vips(), link_local])
}

fn priority() -> impl Strategy<Value = Priority> {
    (1_u64..=254).prop_map(|priority| Priority::new(priority).expect("in range"))
}

fn vrid() -> impl Strategy<Value = Vrid> {
    (1_u64..=255).prop_map(|vrid| Vrid::new(vrid).expect("in range"))
}

fn vrrp_instance() -> impl Strategy<Value = VrrpInstance> {
    let members = btree_map(name(), (priority(), option::of(interface())), 1..4).prop_map(|all| {
        all.into_iter()
            .map(|(director, (priority, interface))| VrrpMember { director, priority, interface })
            .collect::<Vec<VrrpMember>>()
    });
    let flags = (any::<bool>(), any::<bool>(), checksum());
    let rest = (flags, vrrp::options());
    (name(), vrid(), version(), any_vips(), members, rest).prop_map(
        |(site, vrid, (version, interval, auth_pass), vips, members, (flags, mut options))| {
            let unicast = flags.1 && members.len() > 1;
            if !unicast {
                options.unicast_min_ttl = u8::MAX;
            }
            if auth_pass.is_some() {
                options.auth_hmac = None;
            }
            let vips = if version == VrrpVersion::V3 { vips.1 } else { vips.0 };
            VrrpInstance {
                site,
                vrid,
                version,
                advert_interval: interval,
                vips,
                members,
                preempt: flags.0,
                auth_pass,
                unicast,
                checksum: flags.2,
                options,
            }
        },
    )
}

fn spec() -> impl Strategy<Value = Spec> {
    let own = (name(), ip(), option::of(vrrp::ipv6()), interface());
    let director =
        (own, ipvs_settings::settings()).prop_map(|((site, dip, dip_ipv6, interface), ipvs)| {
            Director { site, dip, dip_ipv6, interface, ipvs }
        });
    let handover = (name(), name(), "[ -~]{0,9}", "[a-z/]{0,9}").prop_map(
        |(vrrp_instance, to, reason, requested_by)| Handover {
            vrrp_instance,
            to,
            reason,
            requested_by,
        },
    );
    let real_server = (name(), ip(), port(), name(), server_probe())
        .prop_map(|(site, rip, port, agent, probe)| RealServer { site, rip, port, agent, probe });
    prop_oneof![
        ".{0,20}".prop_map(|description| Spec::Site(Site { description })),
        director.prop_map(Spec::Director),
        vrrp_instance().prop_map(Spec::VrrpInstance),
        real_server.prop_map(Spec::RealServer),
        virtual_server::pool().prop_map(Spec::Pool),
        virtual_server::virtual_server().prop_map(Spec::VirtualServer),
        handover.prop_map(Spec::Handover),
        virtual_server::drain().prop_map(Spec::Drain),
        restart::restart().prop_map(Spec::Restart),
        notification::policy().prop_map(|policy| Spec::NotificationPolicy(Box::new(policy))),
        access::access_rule().prop_map(Spec::AccessRule),
        access::join_token().prop_map(Spec::JoinToken),
    ]
}

pub(super) fn resource() -> impl Strategy<Value = Resource> {
    let labels = btree_map("[a-z/.]{1,9}", ".{0,9}", 0..3);
    (name(), labels, any::<u64>(), spec()).prop_map(|(name, labels, revision, spec)| Resource {
        name,
        labels,
        revision: Revision(revision),
        spec,
    })
}

fn vrrp_instance_plan() -> impl Strategy<Value = VrrpInstancePlan> {
    let peers = btree_set(ip(), 0..3).prop_map(|peers| peers.into_iter().collect());
    let link_local = Just(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let source = prop_oneof![ip(), link_local, vrrp::ipv6().prop_map(IpAddr::V6)];
    let identity = (name(), vrid(), priority(), interface(), source);
    let rest = (any::<[bool; 2]>(), checksum(), vrrp::options());
    (identity, version(), any_vips(), peers, rest).prop_map(
        |((name, vrid, priority, interface, source), version, (_, vips), peers, rest)| {
            let ([preempt, take_over], checksum, options) = rest;
            VrrpInstancePlan {
                name,
                vrid,
                version: version.0,
                advert_interval: version.1,
                interface,
                priority,
                preempt,
                auth_pass: version.2,
                vips,
                source,
                unicast_peers: peers,
                checksum,
                take_over,
                options,
            }
        },
    )
}

pub(super) fn director_plan() -> impl Strategy<Value = DirectorPlan> {
    let servers = vec(virtual_server::plan(), 0..3);
    (vec(vrrp_instance_plan(), 0..3), servers, ipvs_settings::settings()).prop_map(
        |(instances, servers, ipvs)| DirectorPlan {
            ipvs,
            vrrp_instances: instances.into_iter().map(|plan| (plan.name.clone(), plan)).collect(),
            virtual_servers: servers.into_iter().map(|plan| (plan.name.clone(), plan)).collect(),
        },
    )
}

pub(super) fn host_plan() -> impl Strategy<Value = RealServerHostPlan> {
    let orders = (restart::plan(), any::<bool>());
    let server = (name(), ip(), port(), server_probe(), orders).prop_map(
        |(real_server, rip, port, probe, (restart, drained))| WatchedServer {
            real_server,
            rip,
            port,
            probe,
            restart,
            drained,
        },
    );
    let host_tunnel = (virtual_server::tunnel(), ip(), vec(ip(), 1..3))
        .prop_map(|(tunnel, rip, vips)| HostTunnel { tunnel, rip, vips });
    (vec(ip(), 0..3), vec(server, 0..3), vec(host_tunnel, 0..3))
        .prop_map(|(vips, servers, tunnels)| RealServerHostPlan { vips, servers, tunnels })
}

pub(super) fn evidence() -> impl Strategy<Value = Evidence> {
    let load = (any::<[u32; 5]>(), any::<[u64; 3]>()).prop_map(|(small, counts)| ServerLoad {
        busy_threads: small[0],
        max_threads: small[1],
        request_count: counts[0],
        error_count: counts[1],
        sessions: small[2],
        gc_share_permille: small[3],
        mean_request_us: counts[2],
        contexts_stopped: small[4],
    });
    let exit = option::of(0_u64..4_000_000_000_000)
        .prop_map(|at| at.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)));
    let verdict = select(vec![
        Verdict::Up,
        Verdict::Saturated,
        Verdict::Draining,
        Verdict::Stopping,
        Verdict::Down,
        Verdict::Unknown,
    ]);
    let seen = (option::of(1_u32..), option::of(1_u64..1_000_000), option::of(1_u16..));
    let words = vec(".{0,9}", 0..3);
    let news = (exit, restart::evidence());
    let server = (name(), verdict, words, seen, option::of(load), news).prop_map(
        |(real_server, verdict, reasons, (pid, probe_us, http_status), load, (exit, restart))| {
            ServerEvidence {
                real_server,
                verdict,
                reasons,
                pid,
                probe_time: probe_us.map(Duration::from_micros),
                http_status,
                load,
                exit_seen_at: exit,
                restart,
            }
        },
    );
    let vip = (ip(), any::<[bool; 2]>(), ".{0,9}")
        .prop_map(|(vip, [bound, arp_safe], detail)| VipEvidence { vip, bound, arp_safe, detail });
    let stamp = any::<[u64; 2]>().prop_map(|[epoch, sequence]| EvidenceStamp { epoch, sequence });
    let times = (0_u64..=u64::from(u32::MAX), 0_u64..=u64::from(u32::MAX));
    (name(), stamp, times, ".{0,9}", vec(server, 0..3), vec(vip, 0..3)).prop_map(
        |(agent, stamp, (age, valid_for), text, servers, vips)| Evidence {
            agent,
            stamp,
            age: Duration::from_millis(age),
            valid_for: Duration::from_millis(valid_for),
            boot_id: text.clone(),
            servers,
            vips,
            traceparent: text,
        },
    )
}
