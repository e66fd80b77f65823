use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::HostRole;
use fulcrum_proto::v1::Severity;

use super::facts::{Certificate, Disk, HostFacts, Interface, InvalidDrop, Manager, PacketFilter};
use super::judge;
use super::packet_filter::invalid_drops;

/// What nft 1.0.6 printed of a table whose rules are in `tests/ruleset.nft`.
const RULESET: &str = include_str!("tests/ruleset.json");

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn drop(chain: &str, hook: &str, interfaces: Option<&[&str]>) -> InvalidDrop {
    let interfaces = interfaces.map(names);
    InvalidDrop { chain: chain.to_owned(), hook: hook.to_owned(), interfaces }
}

#[test]
fn rules_that_drop_invalid_packets_are_found() {
    let found = invalid_drops(RULESET).expect("nft's JSON");
    let expected = [
        drop("inet filter input", "input", None),
        drop("inet filter input", "input", Some(&["eth9"])),
        drop("inet filter more", "input", None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn other_rules_and_nonsense_are_passed_over() {
    let rule = |statements: &str| {
        format!(
            r#"{{"nftables": [
            {{"chain": {{"family": "ip", "table": "t", "name": "c", "hook": "input"}}}},
            {{"rule": {{"family": "ip", "table": "t", "chain": "c", "expr": [{statements}]}}}}]}}"#
        )
    };
    let state = |op: &str, right: &str| {
        format!(
            r#"{{"match": {{"op": "{op}", "left": {{"ct": {{"key": "state"}}}}, "right": {right}}}}}"#
        )
    };
    let cases = [
        (rule(&format!(r#"{}, {{"drop": null}}"#, state("in", "\"new\""))), 0),
        (rule(&format!(r#"{}, {{"accept": null}}"#, state("in", "\"invalid\""))), 0),
        (rule(&format!(r#"{}, {{"drop": null}}"#, state("!=", "\"invalid\""))), 0),
        (rule(&format!(r#"{}, {{"drop": null}}"#, state("!=", "{\"set\": [\"new\"]}"))), 1),
        (rule(r#"{"drop": null}"#), 0),
        (rule(r#"null, 7, {"vmap": 3}, {"match": "x"}"#), 0),
        ("{}".to_owned(), 0),
        (r#"{"nftables": [7, null, {"rule": {}}, {"chain": {"hook": 1}}]}"#.to_owned(), 0),
    ];
    for (json, expected) in cases {
        assert_eq!(invalid_drops(&json).expect("JSON").len(), expected, "{json}");
    }
    assert!(invalid_drops("nft: not found").is_err());
}

fn at(days: i64) -> SystemTime {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    let span = Duration::from_hours(24 * days.unsigned_abs());
    if days < 0 { now - span } else { now + span }
}

fn filter(drops: &[InvalidDrop]) -> HostFacts {
    let packet_filter = PacketFilter::Seen { drops: drops.to_vec(), is_liberal: false };
    HostFacts { packet_filter, ..HostFacts::default() }
}

fn disk(free_bytes: u64, free_inodes: Option<u64>) -> HostFacts {
    let disk = Some(Disk { path: "/var".into(), free_bytes, free_inodes });
    HostFacts { disk, ..HostFacts::default() }
}

fn certificate(ends_at: Result<SystemTime, String>) -> HostFacts {
    let certificates = vec![Certificate { path: "/c.pem".into(), ends_at }];
    HostFacts { certificates, ..HostFacts::default() }
}

fn managed(name: &str, manager: Manager) -> HostFacts {
    let interface = Interface { manager: Some(manager), ..Interface::default() };
    HostFacts { interfaces: [(name.to_owned(), interface)].into(), ..HostFacts::default() }
}

/// Facts in, `code subject severity` out.
#[test]
fn each_fact_has_its_finding() {
    use HostRole::{Controller, Director, RealServer};
    let unseen = HostFacts {
        packet_filter: PacketFilter::Unseen("nft cannot be run".to_owned()),
        ..HostFacts::default()
    };
    let invalid = filter(&[drop("inet f c", "input", None)]);
    let liberal = |facts: &HostFacts| {
        let mut facts = facts.clone();
        if let PacketFilter::Seen { is_liberal, .. } = &mut facts.packet_filter {
            *is_liberal = true;
        }
        facts
    };
    let cases: [(&str, HostRole, HostFacts, &[&str]); 27] = [
        ("liberal director", Director, liberal(&invalid), &["conntrack-invalid inet f c Error"]),
        ("liberal real server", RealServer, liberal(&invalid), &[]),
        ("nothing known", Director, HostFacts::default(), &[]),
        ("no such rule", Director, filter(&[]), &[]),
        ("director", Director, invalid.clone(), &["conntrack-invalid inet f c Error"]),
        ("real server", RealServer, invalid, &["conntrack-invalid inet f c Warning"]),
        ("output of a director", Director, filter(&[drop("c", "output", None)]), &[]),
        ("forward of a real server", RealServer, filter(&[drop("c", "forward", None)]), &[]),
        ("another interface", Director, filter(&[drop("c", "input", Some(&["eth9"]))]), &[]),
        (
            "any of some",
            Director,
            filter(&[drop("c", "input", Some(&["lo", "eth*"]))]),
            &["conntrack-invalid c Error"],
        ),
        ("unseen", Director, unseen, &["conntrack-invalid  Warning"]),
        ("much room", Director, disk(1 << 30, None), &[]),
        ("little room", Director, disk(32 << 20, Some(9_000)), &["disk-space /var Warning"]),
        ("no room", Director, disk(1 << 10, None), &["disk-space /var Error"]),
        ("no inode", RealServer, disk(1 << 30, Some(0)), &["disk-space /var Error"]),
        ("few inodes", RealServer, disk(1 << 30, Some(9)), &["disk-space /var Warning"]),
        ("a controller has no clients", Controller, filter(&[drop("c", "input", None)]), &[]),
        ("a controller's", Controller, certificate(Ok(at(-1))), &["certificate /c.pem Error"]),
        ("lasts", Director, certificate(Ok(at(15))), &[]),
        ("ends soon", Director, certificate(Ok(at(13))), &["certificate /c.pem Warning"]),
        ("ends now", Director, certificate(Ok(at(0))), &["certificate /c.pem Warning"]),
        ("has ended", RealServer, certificate(Ok(at(-1))), &["certificate /c.pem Error"]),
        ("no file", Director, certificate(Err("x".to_owned())), &["certificate /c.pem Error"]),
        (
            "networkd",
            Director,
            managed("eth0", Manager::Networkd),
            &["managed-interface eth0 Warning"],
        ),
        (
            "NetworkManager",
            RealServer,
            managed("eth0", Manager::NetworkManager),
            &["managed-interface eth0 Warning"],
        ),
        ("not a VIP's", Director, managed("eth1", Manager::Networkd), &[]),
        ("nobody", Director, managed("", Manager::Networkd), &[]),
    ];
    let eth0 = names(&["eth0"]);
    for (what, role, facts, expected) in cases {
        let found = judge::host(role, &facts, &eth0, &eth0, at(0)).findings;
        let told: Vec<String> =
            found.iter().map(|f| format!("{} {} {:?}", f.code, f.subject, f.severity())).collect();
        assert_eq!(told, expected, "{what}");
        let is_whole = |f: &fulcrum_proto::v1::Finding| {
            f.severity() != Severity::Unspecified && !f.found.is_empty() && !f.remedy.is_empty()
        };
        assert!(found.iter().all(is_whole), "{what}");
    }
}
