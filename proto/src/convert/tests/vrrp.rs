//! What options of a VRRP instance and a hand-over may be.

use super::{Wire, duration, errors, named, vrrp_instance};
use crate::convert::{resource_from_wire, resource_to_watcher};
use crate::v1;
use crate::v1::vrrp_track::Target;

type Edit = fn(&mut v1::VrrpInstance);

fn check(cases: &[(Edit, &[&str])]) {
    for (edit, expected) in cases {
        let mut instance = vrrp_instance();
        edit(&mut instance);
        assert_eq!(&errors(&named("vi-1", Wire::VrrpInstance(instance))), expected);
    }
}

fn key(id: u32, secret: &str) -> v1::VrrpHmacKey {
    v1::VrrpHmacKey { id, secret: secret.to_owned() }
}

fn track(target: Target, weight: i32) -> v1::VrrpTrack {
    v1::VrrpTrack { target: Some(target), weight }
}

#[test]
fn ipv6_instances_follow_their_rules() {
    check(&[
        (|i| i.vips = vec!["fe80::150/64".to_owned(), "2001:db8::1/64".to_owned()], &[]),
        (
            |i| i.vips = vec!["2001:db8::1/64".to_owned(), "fe80::150/64".to_owned()],
            &[
                "spec.vips[0]: \"2001:db8::1/64\": the first IPv6 VIP is link-local, such as fe80::1/64; put one before it",
            ],
        ),
        (
            |i| {
                i.vips = vec!["fe80::150/64".to_owned(), "2001:db8::1/64".to_owned()];
                i.version = 2;
            },
            &["spec.vips[0]: \"fe80::150/64\": VRRPv2 knows IPv4 alone; set version: v3"],
        ),
        (
            |i| i.vips = vec!["fe80::150/129".to_owned(), "::ffff:10.0.0.1/96".to_owned()],
            &[
                "spec.vips[0]: \"fe80::150/129\": \"129\" is no prefix length from 0 to 128; write ADDRESS/PREFIX, such as 192.168.1.150/24",
                "spec.vips[1]: \"::ffff:10.0.0.1/96\": no host can hold this address; use a unicast one",
            ],
        ),
        (
            |i| {
                i.version = 4;
                i.advert_interval = duration("500ms");
                i.auth_pass = "1111".to_owned();
            },
            &[
                "spec.advert_interval: 500ms: VRRPv2 takes whole seconds from 1s to 255s",
                "spec.auth_pass: given: VRRPv3 has no authentication; leave it out or set version: v2",
            ],
        ),
    ]);
}

#[test]
fn every_bad_option_is_told_at_once() {
    check(&[(
        |i| {
            i.preempt_delay = duration("2h");
            i.startup_delay = duration("61m");
            i.unicast_min_ttl = 256;
            let held = |address: &str, interface: &str| v1::HeldAddress {
                address: address.to_owned(),
                interface: interface.to_owned(),
            };
            i.unadvertised_vips =
                vec![held("", "a/b"), held("2001:db8::1", ""), held("2001:db8::1/64", "")];
            i.announce = Some(v1::VrrpAnnounce {
                repeat: 61,
                repeat_after: duration("1ms"),
                refresh: duration("500ms"),
                gap: duration("2s"),
            });
            i.sync_group = "G".to_owned();
            i.connection_sync = Some(v1::ConnectionSync {
                interface: "a b".to_owned(),
                sync_id: Some(256),
                max_missing: 0,
                wait: duration("2h"),
            });
        },
        &[
            "spec.preempt_delay: 7200s: use 0s to 3600s",
            "spec.startup_delay: 3660s: use 0s to 3600s",
            "spec.unadvertised_vips[0].address: none: give an address, such as 10.0.0.1/24",
            "spec.unadvertised_vips[0].interface: \"a/b\": an interface's name holds no '/', ':', space or control character; see `ip link`",
            "spec.unadvertised_vips[2].address: \"2001:db8::1/64\": listed twice; list it once",
            "spec.unicast_min_ttl: 256: use 1 to 255",
            "spec.announce.repeat: 61: use 1 to 60",
            "spec.announce.repeat_after: 1ms: use 10ms to 3600s",
            "spec.announce.refresh: 500ms: use 1s to 86400s",
            "spec.announce.gap: 2s: use 0s to 1s",
            "spec.sync_group: \"G\": a name holds only a-z, 0-9, '-' and '.', not 'G'",
            "spec.connection_sync.interface: \"a b\": an interface's name holds no '/', ':', space or control character; see `ip link`",
            "spec.connection_sync.sync_id: 256: use 0 to 255",
            "spec.connection_sync.wait: 7200s: use 0s to 3600s",
        ],
    )]);
}

#[test]
fn secrets_are_judged_and_never_repeated() {
    check(&[
        (
            |i| {
                let keys = vec![key(1, "0123456789abcdef0123456789abcdef")];
                i.auth_hmac = Some(v1::VrrpAuthHmac { keys, ..Default::default() });
            },
            &[],
        ),
        (
            |i| {
                let keys = vec![
                    key(0, "too-short"),
                    key(7, "hex:0g"),
                    key(7, &format!("hex:{}", "ab".repeat(65))),
                    key(300, "hex:abc"),
                ];
                let window = duration("6m");
                i.auth_hmac = Some(v1::VrrpAuthHmac { keys, active_key: 9, window, mode: 9 });
            },
            &[
                "spec.auth_hmac.keys[0].id: 0: a key's id is 1 to 255",
                "spec.auth_hmac.keys[0].secret: 9 bytes: a secret has 32 to 64 bytes",
                "spec.auth_hmac.keys[1].secret: malformed: write two hexadecimal digits for each byte after hex:",
                "spec.auth_hmac.keys[2].id: 7: listed twice; give each key its own id",
                "spec.auth_hmac.keys[2].secret: 65 bytes: a secret has 32 to 64 bytes",
                "spec.auth_hmac.keys[3].id: 300: a key's id is 1 to 255",
                "spec.auth_hmac.keys[3].secret: malformed: write two hexadecimal digits for each byte after hex:",
                "spec.auth_hmac.active_key: 9: name one of the keys' ids",
                "spec.auth_hmac.window: 360s: use 1s to 300s",
                "spec.auth_hmac.mode: 9: use receive_only, permissive or enforce",
            ],
        ),
        (
            |i| {
                let text = "0123456789abcdef0123456789abcdef";
                let keys = vec![key(1, text), key(2, text)];
                i.version = 2;
                i.auth_pass = "1111".to_owned();
                i.auth_hmac = Some(v1::VrrpAuthHmac { keys, ..Default::default() });
            },
            &["spec.auth_hmac.active_key: none: name the key that signs, one of the keys' ids"],
        ),
        (
            |i| {
                let keys = vec![key(1, "0123456789abcdef0123456789abcdef")];
                i.version = 2;
                i.auth_pass = "1111".to_owned();
                i.unicast_min_ttl = 64;
                i.auth_hmac = Some(v1::VrrpAuthHmac { keys, ..Default::default() });
            },
            &[
                "spec.auth_hmac: given beside auth_pass: adverts carry one authentication or the other; leave auth_pass out",
                "spec.unicast_min_ttl: 64: multicast adverts always have 255; set unicast: true, or leave it out",
            ],
        ),
    ]);
}

#[test]
fn watchers_see_no_secret_and_cannot_apply_what_they_see() {
    let shown = |edit: Edit| {
        let mut instance = vrrp_instance();
        edit(&mut instance);
        let mut errors = Vec::new();
        let wire = named("vi-1", Wire::VrrpInstance(instance));
        let read = resource_from_wire(0, &wire, &mut errors).expect("a good instance");
        let shown = resource_to_watcher(&read);
        (format!("{shown:?}"), super::errors(&shown))
    };
    let (text, refused) = shown(|i| {
        i.version = 2;
        i.auth_pass = "1111".to_owned();
    });
    assert!(!text.contains("1111"), "{text}");
    assert_eq!(refused, ["spec.auth_pass: 11 bytes: PASS has 1 to 8 bytes"]);
    let (text, refused) = shown(|i| {
        let keys = vec![key(1, "0123456789abcdef0123456789abcdef")];
        i.auth_hmac = Some(v1::VrrpAuthHmac { keys, ..Default::default() });
    });
    assert!(!text.contains("0123456789abcdef"), "{text}");
    assert_eq!(refused, ["spec.auth_hmac.keys[0].secret: 11 bytes: a secret has 32 to 64 bytes"]);
}

#[test]
fn tracked_targets_follow_their_rules() {
    check(&[(
        |i| {
            let command = v1::TrackCommand {
                program: "../sh".to_owned(),
                arguments: vec!["a\0".to_owned()],
                interval: duration("50ms"),
                timeout: duration("1ms"),
                rise: 101,
                fall: 0,
            };
            let gateway = v1::TrackGateway { method: 7, fall: 101, ..Default::default() };
            i.track = vec![
                v1::VrrpTrack::default(),
                track(Target::Interface(String::new()), 254),
                track(Target::Address("10.0.0.1/8".to_owned()), -254),
                track(Target::Route("10.0.0.1/8".to_owned()), 0),
                track(Target::Route("0.0.0.0/0".to_owned()), -20),
                track(Target::Gateway(gateway), 0),
                track(Target::Command(command), 0),
                track(Target::Agent(v1::TrackAgent {}), 0),
                track(Target::Agent(v1::TrackAgent {}), 5),
            ];
        },
        &[
            "spec.track[0]: no target: give one of interface, address, route, gateway, command or agent",
            "spec.track[1].interface: none: name the interface, such as eth0",
            "spec.track[1].weight: 254: a weight is -253 to 253; leave it out to forbid to be Active",
            "spec.track[2].address: \"10.0.0.1/8\": this is no IP address; give the address, without a prefix length",
            "spec.track[2].weight: -254: a weight is -253 to 253; leave it out to forbid to be Active",
            "spec.track[3].route: \"10.0.0.1/8\": a route has no bit set behind its prefix; write 10.0.0.0/8, not 10.0.0.1/8",
            "spec.track[5].gateway.address: none: give the gateway's address",
            "spec.track[5].gateway.method: 7: use arp or icmp",
            "spec.track[5].gateway.fall: 101: use 1 to 100",
            "spec.track[6].command.program: \"../sh\": write a plain file name of letters, digits and ._-+@, without a directory",
            "spec.track[6].command.arguments[0]: 2 bytes: an argument has at most 1024 bytes, none of them zero",
            "spec.track[6].command.interval: 50ms: use 100ms to 3600s",
            "spec.track[6].command.timeout: 1ms: use 10ms to 3600s",
            "spec.track[6].command.rise: 101: use 1 to 100",
            "spec.track[8]: the same target again: list each target once",
        ],
    )]);
}

#[test]
fn being_cut_off_only_lowers_a_priority() {
    let cut_off = |weight, silent_percent| Some(v1::TrackRealServers { weight, silent_percent });
    let cases: [(i32, u32, &[&str]); 6] = [
        (-60, 0, &[]),
        (-253, 100, &[]),
        (
            0,
            0,
            &[
                "spec.track_real_servers.weight: 0: a weight is -253 to -1, by more than the members' priorities differ",
            ],
        ),
        (
            5,
            0,
            &[
                "spec.track_real_servers.weight: 5: a weight is -253 to -1, by more than the members' priorities differ",
            ],
        ),
        (
            -254,
            0,
            &[
                "spec.track_real_servers.weight: -254: a weight is -253 to -1, by more than the members' priorities differ",
            ],
        ),
        (
            -1,
            101,
            &["spec.track_real_servers.silent_percent: 101: use 1 to 100, or leave it out for all"],
        ),
    ];
    for (weight, silent_percent, expected) in cases {
        let mut instance = vrrp_instance();
        instance.track_real_servers = cut_off(weight, silent_percent);
        assert_eq!(errors(&named("vi-1", Wire::VrrpInstance(instance))), expected, "{weight}");
    }
}

#[test]
fn hand_overs_follow_their_rules() {
    let handover = v1::Handover {
        reason: "x".repeat(256),
        requested_by: "a\nb".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        errors(&named("vi-1", Wire::Handover(handover))),
        [
            "spec.vrrp_instance: none: name the VRRP instance that is handed over",
            "spec.to: none: name the director that shall be Active",
            "spec.reason: 256 bytes: use one line of at most 255 bytes",
            "spec.requested_by: 3 bytes: use one line of at most 255 bytes",
        ]
    );
}
