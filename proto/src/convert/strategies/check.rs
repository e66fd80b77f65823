//! Random checks.

use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::{
    BodyDigest, Check, CommandCheck, DnsCheck, DnsRecord, FileCheck, GrpcCheck, HttpCheck,
    HttpPage, ProbeKind, RedisCheck, SmtpCheck, ThroughVip, TlsCheck, UdpCheck,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ip, millis, path, port, statuses};

fn tls() -> impl Strategy<Value = TlsCheck> {
    let warning = option::of((1_u64..10_000_000).prop_map(Duration::from_secs));
    (option::of("[a-z.]{1,9}"), option::of("/[a-z/]{1,9}"), warning).prop_map(
        |(server_name, ca_file, expiry_warning)| TlsCheck { server_name, ca_file, expiry_warning },
    )
}

fn page() -> impl Strategy<Value = HttpPage> {
    let digest = prop_oneof![
        any::<[u8; 16]>().prop_map(BodyDigest::Md5),
        any::<[u8; 32]>().prop_map(BodyDigest::Sha256),
    ];
    let body = (option::of(digest), option::of("[a-z ]{1,9}"));
    (path(), statuses(), body).prop_map(|(path, statuses, (digest, body_regex))| HttpPage {
        path,
        statuses,
        digest,
        body_regex,
    })
}

fn probe() -> impl Strategy<Value = ProbeKind> {
    let http = (vec(page(), 1..4), option::of("[a-z.]{1,9}"), option::of(tls()))
        .prop_map(|(pages, host, tls)| ProbeKind::Http(HttpCheck { pages, host, tls }));
    let grpc = ("[a-z.]{0,9}", option::of(tls()))
        .prop_map(|(service, tls)| ProbeKind::Grpc(GrpcCheck { service, tls }));
    let udp = (vec(any::<u8>(), 0..9), option::of(0_u16..=65_507))
        .prop_map(|(payload, min_reply)| ProbeKind::Udp(UdpCheck { payload, min_reply }));
    let dns = (prop_oneof![Just(".".to_owned()), "[a-z]{1,9}"], select(DnsRecord::ALL.to_vec()))
        .prop_map(|(name, record)| ProbeKind::Dns(DnsCheck { name, record }));
    let redis = option::of("/[a-z/]{1,9}")
        .prop_map(|password_file| ProbeKind::Redis(RedisCheck { password_file }));
    let command = ("[a-z]{1,9}", vec("[a-z{}]{0,9}", 0..3), any::<bool>()).prop_map(
        |(program, arguments, sets_weight)| {
            ProbeKind::Command(CommandCheck { program, arguments, sets_weight })
        },
    );
    prop_oneof![
        option::of(tls()).prop_map(ProbeKind::Tcp),
        http,
        grpc,
        udp,
        Just(ProbeKind::Icmp),
        dns,
        "[a-z.]{1,9}".prop_map(|helo| ProbeKind::Smtp(SmtpCheck { helo })),
        redis,
        Just(ProbeKind::Mysql),
        command,
        "/[a-z/]{1,9}".prop_map(|path| ProbeKind::File(FileCheck { path })),
    ]
}

/// As far as it fits a check of this kind that may have a port of its own.
fn through_vip(
    probe: &ProbeKind,
    has_port: bool,
    through: Option<(u32, bool)>,
) -> Option<ThroughVip> {
    let (retries, connect_only) = through?;
    let may_ask = probe.connects() && !has_port;
    Some(ThroughVip { retries, connect_only: connect_only || !may_ask })
}

pub(super) fn check() -> impl Strategy<Value = Check> {
    let times = (millis(50), millis(10), millis(10), 0_u32..50);
    let through = option::of((0_u32..=100, any::<bool>()));
    let packets = (option::of(ip()), (0_u32..9).prop_map(NonZeroU32::new), through);
    (probe(), times, 0_u32..=100, 1_u32..=100, option::of(port()), packets).prop_map(
        |(probe, times, retries, rise, port, (source, fwmark, through))| {
            let (interval, timeout, retry_delay, jitter_ms) = times;
            let through_vip = through_vip(&probe, port.is_some(), through);
            Check {
                probe,
                interval,
                timeout,
                retries,
                retry_delay,
                rise,
                port,
                jitter: Duration::from_millis(jitter_ms.into()),
                source,
                fwmark,
                through_vip,
            }
        },
    )
}
