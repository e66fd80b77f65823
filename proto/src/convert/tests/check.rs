//! Every kind of check has its rules.

use super::{duration, errors, named};
use crate::v1;
use crate::v1::check::Probe;
use crate::v1::resource::Spec as Wire;

/// The errors of a pool's check, each below `spec.check.`.
fn errors_of(check: v1::Check) -> Vec<String> {
    let pool = v1::Pool { check: Some(check), ..v1::Pool::default() };
    let errors = errors(&named("tomcats", Wire::Pool(pool)));
    errors
        .into_iter()
        .map(|error| error.strip_prefix("spec.check.").expect("of the check").to_owned())
        .collect()
}

fn probe(probe: Probe) -> Vec<String> {
    errors_of(v1::Check { probe: Some(probe), ..v1::Check::default() })
}

#[test]
fn kinds_follow_their_rules() {
    let bad_tls = v1::TlsCheck {
        server_name: "a b".to_owned(),
        ca_file: "ca.pem".to_owned(),
        expiry_warning: duration("1.5s"),
    };
    let page = v1::HttpPage { digest: "12".to_owned(), ..v1::HttpPage::default() };
    let http = v1::HttpCheck {
        digest: "z".repeat(32),
        body_regex: "(".to_owned(),
        more_pages: vec![page],
        tls: Some(bad_tls.clone()),
        ..v1::HttpCheck::default()
    };
    let tls_words = [
        "tls.server_name: \"a b\": use at most 1024 bytes, without spaces and control characters",
        "tls.ca_file: \"ca.pem\": give an absolute path",
        "tls.expiry_warning: 1500ms: give whole seconds up to 365 days, such as 1209600s for two weeks",
    ];
    let of_tls = |kind: &str| tls_words.map(|words| format!("{kind}.{words}"));
    let digits = "give 32 hexadecimal digits of MD5 or 64 of SHA-256";
    let mut expected = vec![
        format!("http.digest: {:?}: {digits}", "z".repeat(32)),
        "http.body_regex: \"(\": error: unclosed group; see docs.rs/regex".to_owned(),
        format!("http.more_pages[0].digest: \"12\": {digits}"),
    ];
    expected.extend(of_tls("http"));
    assert_eq!(probe(Probe::Http(http)), expected);
    assert_eq!(probe(Probe::Tcp(v1::TcpCheck { tls: Some(bad_tls.clone()) })), of_tls("tcp"));
    let grpc = v1::GrpcCheck { service: String::new(), tls: Some(bad_tls) };
    assert_eq!(probe(Probe::Grpc(grpc)), of_tls("grpc"));
    let pages =
        v1::HttpCheck { more_pages: vec![v1::HttpPage::default(); 16], ..Default::default() };
    assert_eq!(probe(Probe::Http(pages)), ["http.more_pages: 16: use at most 15 more pages"]);

    let udp = v1::UdpCheck { payload: "abc".to_owned(), min_reply: Some(65_508) };
    assert_eq!(
        probe(Probe::Udp(udp)),
        [
            "udp.payload: \"abc\": give pairs of hexadecimal digits, of at most 1232 bytes",
            "udp.min_reply: 65508: an answer has at most 65507 bytes",
        ]
    );
    let dns = v1::DnsCheck { name: "a..b".to_owned(), record: 99 };
    assert_eq!(
        probe(Probe::Dns(dns)),
        [
            "dns.name: \"a..b\": give a domain name, such as example.org",
            "dns.record: 99: use a, ns, cname, soa, mx, txt or aaaa",
        ]
    );
    let command = v1::CommandCheck { program: "../x".to_owned(), ..Default::default() };
    assert_eq!(
        probe(Probe::Command(command)),
        [
            "command.program: \"../x\": write a plain file name of letters, digits and ._-+@, without a directory"
        ]
    );
    for (path, words) in [
        ("", "file.path: none: give the file's absolute path"),
        ("down", "file.path: \"down\": give an absolute path"),
    ] {
        assert_eq!(probe(Probe::File(v1::FileCheck { path: path.to_owned() })), [words]);
    }
    let redis = v1::RedisCheck { password_file: "secret".to_owned() };
    assert_eq!(
        probe(Probe::Redis(redis)),
        ["redis.password_file: \"secret\": give an absolute path"]
    );
}

#[test]
fn a_check_may_say_where_from_and_how_late() {
    let check = v1::Check {
        interval: duration("100ms"),
        jitter: duration("200ms"),
        source: "192.0.2.0/24".to_owned(),
        ..v1::Check::default()
    };
    assert_eq!(
        errors_of(check),
        [
            "jitter: 200ms: use 0s to 100ms",
            "source: \"192.0.2.0/24\": this is no IP address; give an address of the director, without a prefix length",
        ]
    );
}

#[test]
fn a_check_through_the_vip_opens_connections_to_its_port() {
    let through = |retries, connect_only| Some(v1::ThroughVip { retries, connect_only });
    let icmp = Some(Probe::Icmp(v1::IcmpCheck::default()));
    let check = v1::Check {
        probe: icmp.clone(),
        through_vip: through(Some(101), false),
        ..Default::default()
    };
    assert_eq!(
        errors_of(check),
        [
            "through_vip.retries: 101: use 0 to 100",
            "through_vip: with icmp: IPVS forwards connections of TCP alone to a chosen real server: use tcp, http, grpc, \
             smtp, redis or mysql, or set connect_only",
        ]
    );
    let check = v1::Check { port: 8081, through_vip: through(None, false), ..Default::default() };
    assert_eq!(
        errors_of(check),
        [
            "through_vip: with port 8081: a check through the VIP goes to the virtual server's port, where the answer may be \
             another: leave port out, or set connect_only",
        ]
    );
    let check = v1::Check {
        probe: icmp,
        port: 8081,
        through_vip: through(None, true),
        ..Default::default()
    };
    assert_eq!(errors_of(check), [""; 0]);
}
