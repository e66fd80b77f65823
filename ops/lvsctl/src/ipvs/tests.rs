//! Two directors side by side, as an operator reads them.

use fulcrum_proto::ipvsadm::Columns;
use fulcrum_proto::v1::{DirectorObserved, IpvsDestination, IpvsStats, IpvsVirtualServer};

use super::*;

fn listing(director: &str, ipvs: Vec<IpvsVirtualServer>) -> Listing {
    let observed = DirectorObserved { ipvs, ..Default::default() };
    Listing { director: director.to_owned(), attached: true, observed }
}

fn server(port: u32, scheduler: &str, destinations: Vec<IpvsDestination>) -> IpvsVirtualServer {
    let (vip, scheduler) = ("192.168.1.150".to_owned(), scheduler.to_owned());
    let stats = Some(IpvsStats { connections: 1_234_567_890, packets_in: 5, ..Default::default() });
    IpvsVirtualServer {
        vip,
        port,
        protocol: 6,
        scheduler,
        destinations,
        stats,
        ..Default::default()
    }
}

fn destination(host: u8, weight: u32, active_connections: u64) -> IpvsDestination {
    let address = format!("192.168.1.{host}");
    let forwarding = "Route".to_owned();
    let stats = Some(IpvsStats { connections: active_connections, ..Default::default() });
    IpvsDestination {
        address,
        port: 80,
        weight,
        forwarding,
        active_connections,
        stats,
        ..Default::default()
    }
}

/// The same but for what each counts, then every way to differ.
fn pair() -> [Listing; 2] {
    let mut weighs_less = destination(161, 0, 0);
    weighs_less.difference = "weight 0 instead of 5".to_owned();
    let mut missing = destination(162, 1, 0);
    missing.difference = "missing".to_owned();
    let mut masqueraded = destination(163, 1, 7);
    (masqueraded.forwarding, masqueraded.upper_threshold) = ("Masq".to_owned(), 100);
    let both = |host| {
        let mut found = destination(host, 9, 1);
        found.difference = "weight 9 instead of 1".to_owned();
        found
    };
    let first = vec![
        server(
            80,
            "wrr",
            vec![
                destination(160, 5, 12_345),
                destination(161, 5, 3),
                destination(162, 1, 2),
                destination(163, 1, 8),
                destination(164, 1, 0),
                both(165),
            ],
        ),
        server(443, "rr", vec![destination(160, 1, 1)]),
        server(8080, "rr", vec![destination(160, 1, 1)]),
        server(9090, "sh", vec![]),
    ];
    let mut gone = server(443, "rr", vec![destination(160, 1, 0)]);
    gone.difference = "missing".to_owned();
    let mut other = server(9090, "mh", vec![]);
    other.difference = "scheduler mh instead of sh".to_owned();
    let second = vec![
        server(
            80,
            "wrr",
            vec![destination(160, 5, 0), weighs_less, missing, masqueraded, both(165)],
        ),
        gone,
        other,
    ];
    [listing("director-1", first), listing("d2", second)]
}

fn check(columns: Columns, exact: bool, golden: &str, file: &str) {
    let pair = pair();
    let text = side_by_side(columns, exact, &[&pair[0], &pair[1]]);
    if std::env::var_os("UPDATE").is_some() {
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &text).expect("the golden folder is there");
    }
    assert_eq!(text, golden);
}

#[test]
fn weights_of_two_directors() {
    let golden = include_str!("../../tests/golden/ipvs-weights.txt");
    check(Columns::Weights, false, golden, "ipvs-weights.txt");
}

#[test]
fn traffic_of_two_directors() {
    let golden = include_str!("../../tests/golden/ipvs-stats.txt");
    check(Columns::Stats, false, golden, "ipvs-stats.txt");
}

#[test]
fn exact_traffic_of_two_directors() {
    let golden = include_str!("../../tests/golden/ipvs-stats-exact.txt");
    check(Columns::Stats, true, golden, "ipvs-stats-exact.txt");
}

#[test]
fn a_director_that_is_not_attached_is_named_so() {
    let mut pair = pair();
    pair[1].attached = false;
    let text = side_by_side(Columns::Weights, false, &[&pair[0], &pair[1]]);
    assert!(
        text.lines().next().is_some_and(|line| line.ends_with("| d2 (not attached)")),
        "{text}"
    );
}

#[test]
fn directors_that_share_a_virtual_server_belong_together() {
    let of = |name: &str, ports: &[u32]| {
        listing(name, ports.iter().map(|port| server(*port, "rr", vec![])).collect())
    };
    let listings = [
        of("a", &[1]),
        of("b", &[2]),
        of("empty", &[]),
        of("c", &[3, 2]),
        of("d", &[1]),
        of("e", &[3, 4]),
    ];
    let groups = groups(&listings);
    let names: Vec<Vec<&str>> = groups
        .iter()
        .map(|group| group.iter().map(|listing| listing.director.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["a", "d"], vec!["b", "c", "e"], vec!["empty"]]);
}

#[test]
fn differences_are_counted() {
    let pair = pair();
    let expected = "entries that differ from what is wanted: 1 on director-1, 5 on d2";
    assert_eq!(summary(&pair).as_deref(), Some(expected));
    assert_eq!(summary(&[listing("d1", vec![server(80, "rr", vec![])])]), None);
}
