//! Arbitrary valid options of VRRP instances.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use fulcrum_model::Cidr;
use fulcrum_model::vrrp::{
    Announce, AuthHmac, ConnectionSync, GatewayMethod, GatewayProbe, HeldAddress, HmacKey,
    HmacMode, Track, TrackCommand, TrackPace, TrackRealServers, TrackTarget, VrrpOptions,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{interface, ip, name};

pub(super) fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| Ipv6Addr::new(0x2001, b, c, d, e, f, g, h))
}

fn either() -> impl Strategy<Value = IpAddr> {
    prop_oneof![ip(), ipv6().prop_map(IpAddr::V6)]
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most * 1000).prop_map(Duration::from_millis)
}

fn held() -> impl Strategy<Value = Vec<HeldAddress>> {
    btree_map(either(), (1_u8..=32, option::of(interface())), 0..4).prop_map(|all| {
        all.into_iter()
            .map(|(address, (length, interface))| {
                let address = Cidr::new(address, length).expect("at most 32");
                HeldAddress { address, interface }
            })
            .collect()
    })
}

fn announce() -> impl Strategy<Value = Announce> {
    let refresh = option::of((1_u64..=86_400).prop_map(Duration::from_secs));
    let after = (10_u64..3_600_000).prop_map(Duration::from_millis);
    (1_u8..=60, after, refresh, seconds(1)).prop_map(|(repeat, repeat_after, refresh, gap)| {
        Announce { repeat, repeat_after, refresh, gap }
    })
}

fn auth_hmac() -> impl Strategy<Value = AuthHmac> {
    let text = "[ -~]{32,64}".prop_map(String::into_bytes);
    let like_hex = "hex:[ -~]{28,60}".prop_map(String::into_bytes);
    let secret = prop_oneof![text, like_hex, vec(any::<u8>(), 32..=64)];
    let window = option::of((1_u64..=300).prop_map(Duration::from_secs));
    let mode = select(vec![HmacMode::ReceiveOnly, HmacMode::Permissive, HmacMode::Enforce]);
    (btree_map(1_u8.., secret, 1..=8), any::<prop::sample::Index>(), window, mode).prop_map(
        |(keys, active, window, mode)| {
            let keys: Vec<HmacKey> = keys
                .into_iter()
                .map(|(id, secret)| HmacKey::new(id, secret).expect("32 to 64 bytes"))
                .collect();
            AuthHmac { active_key: active.get(&keys).id(), keys, window, mode }
        },
    )
}

fn pace() -> impl Strategy<Value = TrackPace> {
    let interval = (100_u64..3_600_000).prop_map(Duration::from_millis);
    let timeout = (10_u64..3_600_000).prop_map(Duration::from_millis);
    (interval, timeout, 1_u8..=100, 1_u8..=100)
        .prop_map(|(interval, timeout, rise, fall)| TrackPace { interval, timeout, rise, fall })
}

fn target() -> impl Strategy<Value = TrackTarget> {
    let method = select(vec![GatewayMethod::Arp, GatewayMethod::Icmp]);
    let gateway = (either(), method, pace()).prop_map(|(address, method, pace)| {
        TrackTarget::Gateway(GatewayProbe { address, method, pace })
    });
    let command = ("[a-z0-9_@+-][a-z0-9._@+-]{0,9}", vec("[^\0]{0,9}", 0..3), pace()).prop_map(
        |(program, arguments, pace)| {
            TrackTarget::Command(TrackCommand { program, arguments, pace })
        },
    );
    let network = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let address = IpAddr::V4(Ipv4Addr::from_bits(bits & mask));
        TrackTarget::Route(Cidr::new(address, length).expect("at most 32"))
    });
    prop_oneof![
        interface().prop_map(TrackTarget::Interface),
        either().prop_map(TrackTarget::Address),
        network,
        gateway,
        command,
        Just(TrackTarget::Agent),
    ]
}

fn tracks() -> impl Strategy<Value = Vec<Track>> {
    let weight = prop_oneof![-253_i16..=-1, 1_i16..=253];
    btree_map(target(), option::of(weight), 0..4)
        .prop_map(|all| all.into_iter().map(|(target, weight)| Track { target, weight }).collect())
}

fn connection_sync() -> impl Strategy<Value = ConnectionSync> {
    (option::of(interface()), option::of(any::<u8>()), any::<u32>(), seconds(3600)).prop_map(
        |(interface, sync_id, max_missing, wait)| ConnectionSync {
            interface,
            sync_id,
            max_missing,
            wait,
        },
    )
}

pub(super) fn options() -> impl Strategy<Value = VrrpOptions> {
    let delays = (seconds(3600), seconds(3600));
    let flags = (any::<[bool; 2]>(), 1_u8.., option::of(name()));
    let real_servers = (-253_i16..=-1, 1_u8..=100)
        .prop_map(|(weight, silent_percent)| TrackRealServers { weight, silent_percent });
    let sync = option::of(connection_sync());
    let parts = (option::of(auth_hmac()), tracks(), sync, option::of(real_servers));
    (delays, flags, held(), announce(), parts).prop_map(
        |(delays, (flags, unicast_min_ttl, sync_group), unadvertised_vips, announce, parts)| {
            VrrpOptions {
                preempt_delay: delays.0,
                startup_delay: delays.1,
                accept: flags[0],
                virtual_mac: flags[1],
                unadvertised_vips,
                unicast_min_ttl,
                announce,
                auth_hmac: parts.0,
                sync_group,
                track: parts.1,
                connection_sync: parts.2,
                track_real_servers: parts.3,
            }
        },
    )
}
