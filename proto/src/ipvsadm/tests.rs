//! Against what ipvsadm 1.31 printed of Linux 6.1, to the letter. `recorded/many.txt` is of one table, the other
//! listings of another one with traffic, [`fixtures::shapes`]; both have every shape.

mod fixtures;
mod laws;
mod rules;

use super::*;
use fixtures::{by_address, destination, kernel, many, shapes};

const EMPTY: &str = include_str!("recorded/empty.txt");
const SAVED: &str = include_str!("recorded/save.txt");

#[test]
fn an_empty_table() {
    let format = Format::default();
    assert_eq!(listing(format, Some(&kernel()), &[]), EMPTY);
    let without_first_line = EMPTY.split_once('\n').expect("a first line").1;
    assert_eq!(listing(format, None, &[]), without_first_line);
    assert_eq!(save(&[]), "");
}

#[test]
fn every_format() {
    let default = Format::default();
    let of = |columns| Format { columns, ..default };
    let exact = |columns| Format { columns, exact: true, marks: true };
    for (format, recorded) in [
        (default, include_str!("recorded/listing.txt")),
        (of(Columns::Stats), include_str!("recorded/stats.txt")),
        (exact(Columns::Stats), include_str!("recorded/stats-exact.txt")),
        (of(Columns::Rate), include_str!("recorded/rate.txt")),
        (of(Columns::Thresholds), include_str!("recorded/thresholds.txt")),
        (of(Columns::PersistentConnections), include_str!("recorded/persistent-conn.txt")),
        (of(Columns::Tunnels), include_str!("recorded/tun-info.txt")),
    ] {
        assert_eq!(listing(format, Some(&kernel()), &shapes()), recorded, "{format:?}");
    }
    let recorded = include_str!("recorded/many.txt");
    assert_eq!(listing(default, Some(&kernel()), &many()), recorded);
}

#[test]
fn rules_as_ipvsadm_saves_them_and_thresholds() {
    let mut table = shapes();
    let lines: Vec<String> = save(&table).lines().map(ToOwned::to_owned).collect();
    let with_thresholds = "-a -t 10.0.1.1:80 -r 10.0.0.2:8080 -m -w 5 -x 4000 -y 3000";
    assert!(lines.iter().any(|line| line == with_thresholds), "{lines:?}");
    for found in table.iter_mut().flat_map(|server| &mut server.destinations) {
        (found.upper_threshold, found.lower_threshold) = (0, 0);
    }
    assert_eq!(save(&table), SAVED);
}

#[test]
fn large_figures() {
    // print_largenum of ipvsadm.c.
    for (figure, short, exact) in [
        (0, "        0", "        0"),
        (99_999_999, " 99999999", " 99999999"),
        (100_000_000, "  100000K", " 100000000"),
        (999_999_999, "  999999K", " 999999999"),
        (1_000_000_000, "    1000M", " 1000000000"),
        (99_999_999_999, "   99999M", " 99999999999"),
        (100_000_000_000, "     100G", " 100000000000"),
        (99_999_999_999_999, "   99999G", " 99999999999999"),
        (100_000_000_000_000, "     100T", " 100000000000000"),
        (u64::MAX, "18446744T", " 18446744073709551615"),
    ] {
        let stats = v1::IpvsStats { bytes_in: figure, ..Default::default() };
        let mut server = by_address("10.0.1.1", 80, 6, "rr");
        server.stats = Some(stats);
        for (is_exact, expected) in [(false, short), (true, exact)] {
            let format = Format { columns: Columns::Stats, exact: is_exact, marks: false };
            let listing = listing(format, None, std::slice::from_ref(&server));
            let expected = format!("        0        0        0{expected}        0\n");
            assert!(listing.ends_with(&expected), "{figure}: {listing}");
        }
    }
}

#[test]
fn packets_per_second_of_a_real_server_are_never_short() {
    let mut server = by_address("10.0.1.1", 80, 6, "rr");
    let mut busy = destination("10.0.0.2", 80, 1, "Route");
    let (packets_in_per_s, bytes_in_per_s) = (200_000_000, 200_000_000);
    let stats = v1::IpvsStats { packets_in_per_s, bytes_in_per_s, ..Default::default() };
    (server.stats, busy.stats) = (Some(stats), Some(stats));
    server.destinations = vec![busy];
    let format = Format { columns: Columns::Rate, ..Format::default() };
    let listing = listing(format, None, &[server]);
    let lines: Vec<&str> = listing.lines().skip(2).collect();
    let expected = [
        "TCP  10.0.1.1:80                         0  200000K        0  200000K        0",
        "  -> 10.0.0.2:80                         0 200000000        0  200000K        0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn busy_columns_and_odd_values() {
    let mut web = by_address("not an address", 80, 250, "rr");
    let mut busy = destination("192.168.1.160", 80, 1, "Route");
    (busy.active_connections, busy.inactive_connections) = (12_345_678_901, 7);
    web.destinations = vec![busy];
    let listing = listing(Format::default(), None, &[web]);
    assert!(
        listing.ends_with(
            "250  not an address:80 rr\n  -> 192.168.1.160:80             Route   1      12345678901 7         \n"
        ),
        "{listing}"
    );
}

#[test]
fn differences_are_marked_and_what_is_missing_is_shown_where_they_are() {
    let mut web = by_address("10.0.1.1", 80, 6, "rr");
    web.difference = "scheduler rr instead of wrr".to_owned();
    let mut differs = destination("10.0.0.2", 80, 0, "Route");
    differs.difference = "weight 0 instead of 5".to_owned();
    let mut missing = destination("10.0.0.3", 80, 5, "Route");
    missing.difference = MISSING.to_owned();
    web.destinations = vec![differs, missing];
    let mut gone = by_address("10.0.1.1", 443, 6, "rr");
    gone.difference = MISSING.to_owned();
    gone.destinations = vec![destination("10.0.0.3", 80, 5, "Route")];
    let table = [web, gone];
    let rows = |marks| {
        let listing = listing(Format { marks, ..Format::default() }, None, &table);
        listing.lines().skip(2).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let there = "  -> 10.0.0.2:80                  Route   0      0          0         ";
    let missing =
        "  -> 10.0.0.3:80                  Route   5      0          0           # missing";
    assert_eq!(
        rows(true),
        [
            "TCP  10.0.1.1:80 rr  # scheduler rr instead of wrr",
            &format!("{there}  # weight 0 instead of 5"),
            missing,
            "TCP  10.0.1.1:443 rr  # missing",
            missing,
        ]
    );
    assert_eq!(rows(false), ["TCP  10.0.1.1:80 rr", there]);
    assert_eq!(save(&table), "-A -t 10.0.1.1:80 -s rr\n-a -t 10.0.1.1:80 -r 10.0.0.2:80 -g -w 0\n");
}

#[test]
fn connections_as_ipvsadm_prints_them() {
    for (with_engine, recorded) in [
        (false, include_str!("recorded/connections.txt")),
        (true, include_str!("recorded/connections-persistent.txt")),
    ] {
        let lines = fixtures::connections();
        let lines = lines.iter().map(|found| connection_line(with_engine, found));
        let printed = connections_title(with_engine) + &lines.collect::<String>();
        assert_eq!(printed, recorded);
    }
}
