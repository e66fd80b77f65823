//! Arbitrary valid virtual servers, pools and drains.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::plan::{DestinationPlan, DrainPlan, VirtualServerPlan};
use fulcrum_model::resource::{Drain, Pool, PoolMember, VirtualServer};
use fulcrum_model::{
    DynamicWeights, FailurePolicy, ForwardingMethod, Listen, PersistenceEngine, PersistenceMask,
    Protocol, Quorum, Scheduler, Thresholds, Tunnel, TunnelChecksum, VirtualServerOptions,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::check::check;
use super::{ip, name, port, requirement, vrrp, weight};

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![ip(), vrrp::ipv6().prop_map(IpAddr::V6)]
}

fn persistence() -> impl Strategy<Value = Option<Duration>> {
    option::of((1_u64..=2_678_400).prop_map(Duration::from_secs))
}

fn listen() -> impl Strategy<Value = Listen> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let address = (any_ip(), option::of(port()), protocol)
        .prop_map(|(vip, port, protocol)| Listen::Address { vip, port, protocol });
    let mark = (any::<NonZeroU32>(), any::<bool>())
        .prop_map(|(mark, is_ipv6)| Listen::Fwmark { mark, is_ipv6 });
    prop_oneof![3 => address, 1 => mark]
}

fn forwarding() -> impl Strategy<Value = ForwardingMethod> {
    select(vec![ForwardingMethod::Dr, ForwardingMethod::Nat, ForwardingMethod::Tunnel])
}

pub(super) fn tunnel() -> impl Strategy<Value = Tunnel> {
    let any_checksum =
        select(vec![TunnelChecksum::None, TunnelChecksum::Full, TunnelChecksum::Remote]);
    let gre_checksum = select(vec![TunnelChecksum::None, TunnelChecksum::Full]);
    prop_oneof![
        Just(Tunnel::Ipip),
        (port(), any_checksum).prop_map(|(port, checksum)| Tunnel::Gue { port, checksum }),
        gre_checksum.prop_map(|checksum| Tunnel::Gre { checksum }),
    ]
}

/// Scheduler, what is taken, persistence and options that fit together.
fn balancing() -> impl Strategy<Value = (Scheduler, Listen, Option<Duration>, VirtualServerOptions)>
{
    let bits = (1_u32..=32).prop_map(|length| u32::MAX << (32 - length));
    let masks = (bits.prop_map(Ipv4Addr::from_bits), 1_u8..=128);
    let scheduler = select(Scheduler::ALL.to_vec());
    let policy = select(vec![FailurePolicy::Keep, FailurePolicy::Reset]);
    let rest = (any::<[bool; 5]>(), masks, tunnel(), policy);
    (scheduler, listen(), persistence(), rest).prop_map(
        |(scheduler, mut listen, persistence, (flags, masks, tunnel, on_failure))| {
            let [hash_port, hash_fallback, one_packet, has_mask, has_engine] = flags;
            if let Listen::Address { port: port @ None, .. } = &mut listen
                && persistence.is_none()
            {
                *port = Some(fulcrum_model::Port::new(80).expect("a port"));
            }
            let hashes = matches!(scheduler, Scheduler::Sh | Scheduler::Mh);
            let takes_udp = match listen {
                Listen::Address { protocol, .. } => protocol == Protocol::Udp,
                Listen::Fwmark { .. } => true,
            };
            let mask = if listen.is_ipv6() {
                PersistenceMask::V6(masks.1)
            } else {
                PersistenceMask::V4(masks.0)
            };
            let is_persistent = persistence.is_some();
            let options = VirtualServerOptions {
                hash_port: hash_port && hashes,
                hash_fallback: hash_fallback && hashes,
                one_packet: one_packet && takes_udp,
                persistence_mask: (has_mask && is_persistent).then_some(mask),
                persistence_engine: (has_engine && is_persistent && takes_udp)
                    .then_some(PersistenceEngine::Sip),
                tunnel,
                on_failure,
            };
            (scheduler, listen, persistence, options)
        },
    )
}

pub(in crate::convert) fn virtual_server() -> impl Strategy<Value = VirtualServer> {
    (name(), name(), forwarding(), balancing()).prop_map(
        |(vrrp_instance, pool, forwarding, balancing)| {
            let (scheduler, listen, persistence_timeout, options) = balancing;
            VirtualServer {
                vrrp_instance,
                listen,
                scheduler,
                forwarding,
                persistence_timeout,
                pool,
                options,
            }
        },
    )
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    any::<[u32; 2]>().prop_map(|[a, b]| Thresholds { upper: a.max(b), lower: a.min(b) })
}

fn quorum() -> impl Strategy<Value = Quorum> {
    any::<[u32; 2]>().prop_map(|[a, b]| Quorum {
        weight: a.max(b).max(1),
        hysteresis: a.min(b).min(a.max(b).saturating_sub(1)),
    })
}

fn slow_start() -> impl Strategy<Value = Option<Duration>> {
    option::of((1_u64..=3600).prop_map(Duration::from_secs))
}

fn dynamic_weights() -> impl Strategy<Value = Option<DynamicWeights>> {
    let law = (1_u8..=100, 0_u8..=95, 1_000_u64..=300_000);
    option::of(law.prop_map(|(floor_percent, target_percent, smoothing_ms)| DynamicWeights {
        floor_percent,
        target_percent,
        smoothing: Duration::from_millis(smoothing_ms),
    }))
}

pub(in crate::convert) fn pool() -> impl Strategy<Value = Pool> {
    let members = btree_map(name(), (weight(), thresholds(), option::of(forwarding())), 0..4);
    let rest = (quorum(), any::<bool>(), slow_start(), dynamic_weights());
    (members, check(), requirement(), rest).prop_map(
        |(members, check, agent, (quorum, has_sorry, slow_start, dynamic_weights))| {
            let sorry = "sorry.".repeat(2) + "server";
            let members =
                members.into_iter().map(|(real_server, (weight, thresholds, forwarding))| {
                    PoolMember { real_server, weight, thresholds, forwarding }
                });
            Pool {
                members: members.collect(),
                check,
                agent,
                quorum,
                sorry_server: has_sorry.then(|| sorry.parse().expect("a name")),
                slow_start,
                dynamic_weights,
            }
        },
    )
}

fn grace() -> impl Strategy<Value = Option<Duration>> {
    option::of((0_u64..=2_592_000).prop_map(Duration::from_secs))
}

pub(in crate::convert) fn drain() -> impl Strategy<Value = Drain> {
    (name(), option::of(name()), "[ -~]{0,9}", "[a-z/]{0,9}", grace()).prop_map(
        |(real_server, virtual_server, reason, requested_by, grace)| Drain {
            real_server,
            virtual_server,
            reason,
            requested_by,
            grace,
        },
    )
}

fn destination() -> impl Strategy<Value = DestinationPlan> {
    let drain = (name(), "[ -~]{0,9}", "[a-z/]{0,9}", grace()).prop_map(
        |(name, reason, requested_by, grace)| {
            Box::new(DrainPlan { name, reason, requested_by, grace })
        },
    );
    let rest = (thresholds(), forwarding(), option::of(drain));
    (name(), any_ip(), port(), weight(), name(), rest).prop_map(
        |(real_server, rip, port, weight, agent, (thresholds, forwarding, drain))| {
            DestinationPlan { real_server, rip, port, weight, agent, thresholds, forwarding, drain }
        },
    )
}

pub(in crate::convert) fn plan() -> impl Strategy<Value = VirtualServerPlan> {
    let pool =
        (quorum(), option::of(destination()), slow_start(), dynamic_weights(), requirement());
    let identity = (name(), vec(any_ip(), 0..3), forwarding());
    (identity, balancing(), vec(destination(), 0..4), check(), pool).prop_map(
        |((name, vips, forwarding), balancing, destinations, check, pool)| {
            let (scheduler, listen, persistence_timeout, options) = balancing;
            let (quorum, sorry_server, slow_start, dynamic_weights, agent) = pool;
            VirtualServerPlan {
                name,
                listen,
                vips: listen.vip().map_or(vips, |vip| vec![vip]),
                scheduler,
                forwarding,
                persistence_timeout,
                destinations: destinations.into(),
                check,
                agent,
                options,
                quorum,
                sorry_server,
                slow_start,
                dynamic_weights,
            }
        },
    )
}
