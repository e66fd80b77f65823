//! What is saved comes back, and no text breaks the reader.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::*;
use crate::v1::{IpvsDestination, IpvsVirtualServer};

fn address(is_ipv6: bool) -> BoxedStrategy<IpAddr> {
    if is_ipv6 {
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))).boxed()
    } else {
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))).boxed()
    }
}

/// What a virtual server takes: protocol, VIP, port and mark.
fn service(is_ipv6: bool) -> BoxedStrategy<IpvsVirtualServer> {
    let by_address = (select(vec![6, 17, 132]), address(is_ipv6), 0..=65535_u32).prop_map(
        |(protocol, vip, port)| IpvsVirtualServer {
            vip: vip.to_string(),
            port,
            protocol,
            ..Default::default()
        },
    );
    let by_fwmark = (1..=u32::MAX).prop_map(move |fwmark| IpvsVirtualServer {
        fwmark,
        fwmark_ipv6: is_ipv6,
        ..Default::default()
    });
    prop_oneof![by_address, by_fwmark].boxed()
}

fn scheduling() -> impl Strategy<Value = (String, Vec<String>)> {
    let flags = [
        ("sh", vec!["sh-fallback", "sh-port"]),
        ("mh", vec!["mh-fallback", "mh-port"]),
        ("rr", vec!["flag-1", "flag-2", "flag-3"]),
        ("wlc", vec!["flag-1", "flag-2", "flag-3"]),
    ];
    select(flags.to_vec()).prop_flat_map(|(scheduler, flags)| {
        let most = flags.len();
        let flags = subsequence(flags, 0..=most);
        flags.prop_map(move |flags| {
            (scheduler.to_owned(), flags.into_iter().map(ToOwned::to_owned).collect())
        })
    })
}

fn mask(is_ipv6: bool) -> BoxedStrategy<String> {
    let one = if is_ipv6 {
        (1..128_u8).prop_map(|bits| bits.to_string()).boxed()
    } else {
        (0..u32::MAX).prop_map(|mask| Ipv4Addr::from(mask).to_string()).boxed()
    };
    prop_oneof![Just(String::new()), one].boxed()
}

fn forwarding() -> impl Strategy<Value = (&'static str, &'static str, u32, &'static str)> {
    prop_oneof![
        Just(("Route", "", 0, "")),
        Just(("Masq", "", 0, "")),
        Just(("Tunnel", "ipip", 0, "")),
        (1..=65535_u32, select(vec!["nocsum", "csum", "remcsum"]))
            .prop_map(|(port, checksum)| ("Tunnel", "gue", port, checksum)),
        select(vec!["nocsum", "csum"]).prop_map(|checksum| ("Tunnel", "gre", 0, checksum)),
    ]
}

fn destinations(server: &IpvsVirtualServer, is_ipv6: bool) -> BoxedStrategy<Vec<IpvsDestination>> {
    let (vport, is_by_address) = (server.port, server.fwmark == 0);
    let one =
        (address(is_ipv6), 0..=65535_u32, 0..=2_147_483_647_u32, any::<[u32; 2]>(), forwarding());
    let one = one.prop_map(move |(address, port, weight, thresholds, forwarding)| {
        let (forwarding, tunnel_type, tunnel_port, tunnel_checksum) = forwarding;
        IpvsDestination {
            address: address.to_string(),
            port: if is_by_address && forwarding != "Masq" { vport } else { port },
            weight,
            forwarding: forwarding.to_owned(),
            upper_threshold: thresholds[0],
            lower_threshold: thresholds[1],
            tunnel_type: tunnel_type.to_owned(),
            tunnel_port,
            tunnel_checksum: tunnel_checksum.to_owned(),
            ..Default::default()
        }
    });
    vec(one, 0..4).boxed()
}

fn virtual_server() -> impl Strategy<Value = IpvsVirtualServer> {
    any::<bool>().prop_flat_map(|is_ipv6| {
        let settings = (scheduling(), 0..4_u32, mask(is_ipv6), any::<bool>(), any::<bool>());
        (service(is_ipv6), settings).prop_flat_map(move |(mut server, settings)| {
            let ((scheduler, flags), persistence, mask, has_engine, one_packet) = settings;
            let is_by_address = server.fwmark == 0;
            (server.scheduler, server.scheduler_flags) = (scheduler, flags);
            server.persistence_timeout_s = persistence * 1000;
            if server.port == 0 && is_by_address {
                server.persistence_timeout_s += 1;
            }
            if server.persistence_timeout_s != 0 {
                server.persistence_netmask = mask;
            }
            if has_engine {
                server.persistence_engine = "sip".to_owned();
            }
            server.one_packet = one_packet && (!is_by_address || server.protocol == 17);
            destinations(&server, is_ipv6)
                .prop_map(move |destinations| IpvsVirtualServer { destinations, ..server.clone() })
        })
    })
}

/// In order, each once.
fn table() -> impl Strategy<Value = Vec<IpvsVirtualServer>> {
    vec(virtual_server(), 0..6).prop_map(|mut table| {
        table.sort_by_key(ServerKey::of);
        table.dedup_by_key(|server| ServerKey::of(server));
        for server in &mut table {
            server.destinations.sort_by_key(DestinationKey::of);
            server.destinations.dedup_by_key(|found| DestinationKey::of(found));
        }
        table
    })
}

/// Rules, nearly: their words in any order.
fn odd_rules() -> impl Strategy<Value = String> {
    let words = select(vec![
        "-A",
        "-a",
        "-E",
        "-e",
        "-D",
        "-d",
        "-C",
        "-t",
        "-u",
        "-f",
        "-6",
        "-s",
        "-p",
        "-M",
        "-o",
        "-b",
        "-r",
        "-g",
        "-i",
        "-m",
        "-w",
        "-x",
        "-y",
        "-At",
        "-w5",
        "-p=",
        "--pe",
        "--tun-type=gue",
        "--tun-port",
        "--tun-csum",
        "--sctp-service",
        "[::1]:80",
        "[::1",
        "]:",
        "10.0.0.1:80",
        "10.0.0.1",
        ":",
        "0",
        "5",
        "sh",
        "sh-port,",
        "\n",
        "#",
        "--",
        "-",
        "-é",
        "--set",
        "ipvsadm",
    ]);
    vec(words, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn what_is_saved_comes_back(table in table()) {
        let rules = parse(&save(&table), &Names::none());
        prop_assert_eq!(&rules.mistakes, &vec![]);
        let found: Vec<_> = rules.virtual_servers.into_iter().map(|found| found.virtual_server).collect();
        prop_assert_eq!(found, table);
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        parse(&text, &Names::none());
    }

    #[test]
    fn any_rules_are_read_and_saved_again(text in odd_rules()) {
        let rules = parse(&text, &Names::none());
        let table: Vec<_> = rules.virtual_servers.into_iter().map(|found| found.virtual_server).collect();
        let again = parse(&save(&table), &Names::none());
        prop_assert_eq!(&again.mistakes, &vec![]);
        let again: Vec<_> = again.virtual_servers.into_iter().map(|found| found.virtual_server).collect();
        prop_assert_eq!(again, table);
    }
}
