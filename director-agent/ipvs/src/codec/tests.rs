//! Bytes of a real kernel (Linux 6.1, asked with a program of its own), bytes of ours, and bytes of nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use fulcrum_model::{Port, Scheduler, Tunnel, TunnelChecksum};
use proptest::prelude::*;

use super::{
    Acknowledge, DaemonRole, Information, Message, Messages, Payload, Refusal, Statistics,
    SyncDaemon, command, destination, destination_statistics, dump_daemons, dump_destinations,
    dump_virtual_servers, get_information, information, request, start_daemon, stop_daemon,
    sync_daemon, virtual_server, virtual_server_statistics,
};
use crate::{
    AddressFamily, Connections, DestinationKey, DestinationSettings, Flags, Forwarding, Netmask,
    Operation, Transport, VirtualServerKey, VirtualServerSettings,
};

/// The family's number in the captured kernel.
const FAMILY: u16 = 28;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(pair).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(transport: Transport, vip: &str, port: u16) -> VirtualServerKey {
    VirtualServerKey::Address { transport, vip: address(vip), port }
}

fn fwmark(mark: u32, family: AddressFamily) -> VirtualServerKey {
    VirtualServerKey::Fwmark { mark: NonZeroU32::new(mark).expect("above zero"), family }
}

fn messages(bytes: &[u8]) -> Vec<Message<'_>> {
    Messages::new(bytes).map(|message| message.expect("well-formed")).collect()
}

/// What was told to that kernel:
/// `-A -t 192.168.1.150:80 -s rr`, `-A -u 192.168.1.150:53 -s wlc -p 300`,
/// `-A -t [2001:db8::1]:443 -s sh -b sh-fallback,sh-port`, `-A -f 5 -s mh -p 60 -M 255.255.255.0`, `-A -f 6 -6 -s wrr`.
#[test]
fn virtual_servers_of_a_kernel() {
    let bytes = hex(include_str!("captures/get_service.hex"));
    let mut found = BTreeMap::new();
    let mut ends = 0;
    for message in messages(&bytes) {
        assert_eq!(message.sequence, 7);
        match message.payload {
            Payload::Answer { family: FAMILY, command: command::NEW_SERVICE, attributes } => {
                let (key, settings) = virtual_server(attributes).expect("an entry");
                found.insert(key, settings);
            }
            Payload::DumpEnd => ends += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, 1);
    let (v4, v6) = (AddressFamily::V4, AddressFamily::V6);
    let sh_flags = Flags::SCHEDULER_1.with(Flags::SCHEDULER_2);
    let mut sh = VirtualServerSettings::new(Scheduler::Sh, v6);
    sh.flags = sh_flags;
    let mut mh = VirtualServerSettings::new(Scheduler::Mh, v4).with_persistence(60);
    mh.netmask = Netmask::V4([255, 255, 255, 0].into());
    let expected = [
        (key(Transport::Tcp, "192.168.1.150", 80), VirtualServerSettings::new(Scheduler::Rr, v4)),
        (
            key(Transport::Udp, "192.168.1.150", 53),
            VirtualServerSettings::new(Scheduler::Wlc, v4).with_persistence(300),
        ),
        (key(Transport::Tcp, "2001:db8::1", 443), sh),
        (fwmark(5, v4), mh),
        (fwmark(6, v6), VirtualServerSettings::new(Scheduler::Wrr, v6)),
    ];
    assert_eq!(found, expected.into_iter().collect());
}

/// `-a -r 192.168.1.160:80 -g` and `-a -r 192.168.1.161:80 -g -w 5 -x 100 -y 50`.
#[test]
fn real_servers_of_a_kernel() {
    let bytes = hex(include_str!("captures/get_dest.hex"));
    let mut found = Vec::new();
    for message in messages(&bytes) {
        if let Payload::Answer { command, attributes, .. } = message.payload {
            assert_eq!(command, command::NEW_DEST);
            let (key, held) = destination(attributes, AddressFamily::V4).expect("an entry");
            found.push((key.to_string(), held.settings, held.connections));
        }
    }
    let idle = Some(Connections::default());
    let route = |weight| DestinationSettings::new(weight, Forwarding::Route);
    let bounded = DestinationSettings { upper_threshold: 100, lower_threshold: 50, ..route(5) };
    let expected = [
        ("192.168.1.161:80".to_owned(), bounded, idle),
        ("192.168.1.160:80".to_owned(), route(1), idle),
    ];
    assert_eq!(found, expected);
}

/// The captured kernel counts in 64 bits, and has counted nothing.
#[test]
fn traffic_of_a_kernel() {
    let idle = Ok(Some(Statistics::default()));
    for message in messages(&hex(include_str!("captures/get_service.hex"))) {
        if let Payload::Answer { attributes, .. } = message.payload {
            assert_eq!(virtual_server_statistics(attributes), idle);
        }
    }
    for message in messages(&hex(include_str!("captures/get_dest.hex"))) {
        if let Payload::Answer { attributes, .. } = message.payload {
            assert_eq!(destination_statistics(attributes), idle);
        }
    }
    // The real server's container, its 64-bit statistics alone: 3 connections, 70,000 bytes in, 9 connections per second.
    let counted = hex(
        "2c000280 28000c80 0c000100 0300000000000000 0c000400 7011010000000000 0c000600 0900000000000000",
    );
    let expected = Statistics {
        connections: 3,
        bytes_in: 70_000,
        connections_per_s: 9,
        ..Statistics::default()
    };
    assert_eq!(destination_statistics(&counted), Ok(Some(expected)));
    assert_eq!(destination_statistics(&hex("04000280")), Ok(None), "an older kernel");
}

#[test]
fn acknowledgements_of_a_kernel() {
    let refused = |errno, text: &str| Payload::Refused(Refusal { errno, text: text.to_owned() });
    let cases = [
        ("140000000300020007000000dd02000000000000", Payload::DumpEnd),
        ("240000000200000107000000dd02000000000000840000001c0005000700000000000000", Payload::Done),
        // NEW_SERVICE without a scheduler: EINVAL.
        (
            "240000000200000107000000dd020000eaffffff440000001c0005000700000000000000",
            refused(22, ""),
        ),
        // DEL_SERVICE of a missing virtual server: ESRCH.
        (
            "240000000200000107000000dd020000fdffffff440000001c0005000700000000000000",
            refused(3, ""),
        ),
        // DEL_DEST of a missing real server: ENOENT.
        (
            "240000000200000107000000dd020000feffffff640000001c0005000700000000000000",
            refused(2, ""),
        ),
        // Made by hand after `linux/netlink.h`: a capped acknowledgement with a text, as the kernel's policies write it.
        (
            "300000000200000307000000dd020000deffffff440000001c0005000700000000000000\
             0c000100746f6f2062696700",
            refused(34, "too big"),
        ),
        // The same, not capped: the whole request (20 bytes) stands before the text.
        (
            "340000000200000207000000dd020000deffffff140000001c0005000700000000000000\
             010100000c000100746f6f2062696700",
            refused(34, "too big"),
        ),
        // A dump that fails at its end: ENOBUFS.
        (
            "140000000300020007000000dd02000097ffffff",
            Payload::DumpFailed(Refusal { errno: 105, text: String::new() }),
        ),
    ];
    for (text, payload) in cases {
        let expected = Message { sequence: 7, payload };
        assert_eq!(messages(&hex(text)), [expected], "{text}");
    }
}

#[test]
fn information_of_a_kernel() {
    let answer = hex("240000001c00000007000000d10200000e01000008000100010201000800020000100000");
    let expected = Information { version: [1, 2, 1], connection_table_size: 4096 };
    match messages(&answer).remove(0).payload {
        Payload::Answer { command: command::SET_INFO, attributes, .. } => {
            assert_eq!(information(attributes), Ok(expected));
            let cut_off = information(&attributes[..8]).expect_err("no size");
            let words = "the kernel's answer lacks attribute IPVS_INFO_ATTR_CONN_TAB_SIZE";
            assert_eq!(cut_off.to_string(), words);
        }
        other => panic!("{other:?}"),
    }
}

/// The whole requests, checked against `linux/ip_vs.h` by eye and against the kernel in the lab.
#[test]
fn requests_have_these_bytes() {
    let virtual_server = key(Transport::Tcp, "192.168.1.150", 80);
    let settings = DestinationSettings::new(5, Forwarding::Route);
    let key = DestinationKey { address: address("192.168.1.160"), port: 80 };
    let mut bytes = Vec::new();
    let edit = Operation::EditDestination { virtual_server, key, settings };
    request(&mut bytes, (FAMILY, 9), &edit, Acknowledge::Yes);
    let expected = "8c000000 1c00 0500 09000000 00000000 06010000 \
         3000 0180 0600 0100 0200 0000 0600 0200 0600 0000 \
         1400 0300 c0a80196 00000000 00000000 00000000 0600 0400 0050 0000 \
         4800 0280 1400 0100 c0a801a0 00000000 00000000 00000000 0600 0200 0050 0000 \
         0600 0b00 0200 0000 0800 0300 03000000 0800 0400 05000000 \
         0800 0500 00000000 0800 0600 00000000";
    assert_eq!(bytes, hex(expected));

    let mut bytes = Vec::new();
    dump_virtual_servers(&mut bytes, FAMILY, 1);
    dump_destinations(&mut bytes, FAMILY, 2, &fwmark(5, AddressFamily::V4));
    get_information(&mut bytes, FAMILY, 3);
    let expected = "14000000 1c00 0103 01000000 00000000 04010000 \
         28000000 1c00 0103 02000000 00000000 08010000 \
         1400 0180 0600 0100 0200 0000 0800 0500 05000000 \
         14000000 1c00 0500 03000000 00000000 0f010000";
    assert_eq!(bytes, hex(expected));
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn any_key() -> impl Strategy<Value = VirtualServerKey> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)];
    let family = prop_oneof![Just(AddressFamily::V4), Just(AddressFamily::V6)];
    prop_oneof![
        (transport, any_address(), any::<u16>())
            .prop_map(|(transport, vip, port)| VirtualServerKey::Address { transport, vip, port }),
        (1..=u32::MAX, family).prop_map(|(mark, family)| fwmark(mark, family)),
    ]
}

fn any_forwarding() -> impl Strategy<Value = Forwarding> {
    let port = (1_u64..=65535).prop_map(|port| Port::new(port).expect("a port"));
    let any = prop::sample::select(vec![
        TunnelChecksum::None,
        TunnelChecksum::Full,
        TunnelChecksum::Remote,
    ]);
    let gre = prop::sample::select(vec![TunnelChecksum::None, TunnelChecksum::Full]);
    let tunnel = prop_oneof![
        Just(Tunnel::Ipip),
        (port, any).prop_map(|(port, checksum)| Tunnel::Gue { port, checksum }),
        gre.prop_map(|checksum| Tunnel::Gre { checksum }),
    ];
    prop_oneof![
        prop::sample::select(vec![
            Forwarding::Masq,
            Forwarding::Local,
            Forwarding::Route,
            Forwarding::Bypass
        ]),
        tunnel.prop_map(Forwarding::Tunnel),
    ]
}

fn any_settings(family: AddressFamily) -> impl Strategy<Value = VirtualServerSettings> {
    let scheduler = prop::sample::select(Scheduler::ALL.to_vec());
    (scheduler, any::<u32>(), any::<bool>()).prop_map(move |(scheduler, timeout_s, port)| {
        let mut settings =
            VirtualServerSettings::new(scheduler, family).with_persistence(timeout_s);
        if port {
            settings.flags = settings.flags.with(Flags::SCHEDULER_2);
            settings.persistence_engine = Some("sip".to_owned());
        }
        settings
    })
}

proptest! {
    #[test]
    fn a_virtual_server_survives_the_wire(
        (key, settings) in any_key().prop_flat_map(|key| (Just(key), any_settings(key.family()))),
    ) {
        let mut bytes = Vec::new();
        let operation = Operation::AddVirtualServer { key, settings: settings.clone() };
        request(&mut bytes, (FAMILY, 1), &operation, Acknowledge::No);
        prop_assert_eq!(virtual_server(&bytes[20..]), Ok((key, settings)));
    }

    #[test]
    fn a_real_server_survives_the_wire(
        virtual_server in any_key(),
        address in any_address(),
        port in any::<u16>(),
        weight in any::<u32>(),
        forwarding in any_forwarding(),
        thresholds in any::<(u32, u32)>(),
    ) {
        let key = DestinationKey { address, port };
        let settings = DestinationSettings {
            weight,
            forwarding,
            upper_threshold: thresholds.0,
            lower_threshold: thresholds.1,
        };
        let mut bytes = Vec::new();
        let operation = Operation::AddDestination { virtual_server, key, settings };
        request(&mut bytes, (FAMILY, 1), &operation, Acknowledge::No);
        let read = destination(&bytes[20..], AddressFamily::V4);
        let read = read.map(|(key, held)| (key, held.settings));
        prop_assert_eq!(read, Ok((key, settings)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    /// A real dump with some bytes overwritten and its end cut off: nearer to the truth, so deeper into the code.
    #[test]
    fn no_damage_makes_it_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for capture in [
            include_str!("captures/get_service.hex"),
            include_str!("captures/get_dest.hex"),
        ] {
            let mut bytes = hex(capture);
            for (index, value) in &damage {
                let at = index.index(bytes.len());
                bytes[at] = *value;
            }
            bytes.truncate(cut.index(bytes.len()));
            read_all(&bytes);
        }
    }
}

/// Reads whatever can be read; what is wrong is an error, never a panic.
fn read_all(bytes: &[u8]) {
    for message in Messages::new(bytes).flatten() {
        if let Payload::Answer { attributes, .. } = message.payload {
            let _ = virtual_server(attributes);
            let _ = destination(attributes, AddressFamily::V6);
            let _ = destination_statistics(attributes);
            let _ = virtual_server_statistics(attributes);
        }
    }
    let _ = virtual_server(bytes);
    let _ = information(bytes);
    let _ = destination(bytes, AddressFamily::V4);
}

#[test]
fn what_is_wrong_is_told() {
    let bytes = hex(include_str!("captures/get_dest.hex"));
    let payload = messages(&bytes).remove(0).payload;
    let Payload::Answer { attributes, .. } = payload else { panic!("an answer") };
    let words = |attributes: &[u8]| {
        destination(attributes, AddressFamily::V4).expect_err("wrong").to_string()
    };
    assert_eq!(words(&[]), "the kernel's answer lacks attribute IPVS_CMD_ATTR_DEST");
    assert_eq!(
        words(&attributes[..40]),
        "malformed netlink message: an attribute's length exceeds its container"
    );
    let mut damaged = attributes.to_vec();
    // The value of the forwarding method: after the container's header, the address and the port.
    damaged[4 + 20 + 8 + 4] = 9;
    assert_eq!(
        words(&damaged),
        "the kernel's answer has the unknown value 9 in attribute IPVS_DEST_ATTR_FWD_METHOD"
    );
}

/// `ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 51`, then `GET_DAEMON`.
#[test]
fn sync_daemons_of_a_kernel() {
    let bytes = hex(include_str!("captures/get_daemon.hex"));
    let payload = messages(&bytes).remove(0).payload;
    let Payload::Answer { attributes, .. } = payload else { panic!("an answer") };
    let (role, interface) = (DaemonRole::Backup, "eth0".to_owned());
    let expected = SyncDaemon { role, interface, sync_id: 51 };
    let group = Some(std::net::Ipv4Addr::new(224, 0, 0, 81));
    assert_eq!(sync_daemon(attributes).expect("a daemon"), (expected.clone(), group));
    assert_eq!(
        sync_daemon(&[]).expect_err("nothing").to_string(),
        "the kernel's answer lacks attribute IPVS_CMD_ATTR_DAEMON"
    );

    // What starts it says the same in the same attributes.
    let mut ours = Vec::new();
    start_daemon(&mut ours, FAMILY, 1, &expected);
    assert_eq!(ours.len(), usize::from(u16::from_ne_bytes([ours[0], ours[1]])), "its length");
    assert_eq!(ours[16], command::NEW_DAEMON);
    assert_eq!(sync_daemon(&ours[20..]).expect("a daemon"), (expected, None));
}

#[test]
fn a_sync_daemon_is_stopped_by_its_role() {
    let mut ours = Vec::new();
    stop_daemon(&mut ours, FAMILY, 1, DaemonRole::Master);
    // nlmsghdr, genlmsghdr, the container, then the state.
    let expected = "20000000 1c00 0500 01000000 00000000 0a010000 0c000380 08000100 01000000";
    assert_eq!(ours, hex(expected));
    let mut dump = Vec::new();
    dump_daemons(&mut dump, FAMILY, 1);
    assert_eq!(dump, hex("14000000 1c00 0103 01000000 00000000 0b010000"));
}
