//! What is told of a table beside what is wanted.

use std::net::Ipv4Addr;

use fulcrum_ipvs::{DestinationSettings, VirtualServerSettings};
use fulcrum_model::Scheduler;

use super::*;

fn key(port: u16) -> VirtualServerKey {
    VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, 150).into(), port)
}

fn server(scheduler: Scheduler, weights: &[(u8, u32)]) -> VirtualServer {
    let destinations = weights.iter().map(|(host, weight)| {
        let name = DestinationKey { address: Ipv4Addr::new(10, 0, 0, *host).into(), port: 80 };
        let settings = DestinationSettings::new(*weight, Forwarding::Route);
        (name, Destination { settings, connections: None })
    });
    VirtualServer {
        settings: VirtualServerSettings::new(scheduler, AddressFamily::V4),
        destinations: destinations.collect(),
        foreign: false,
    }
}

/// Each entry that differs, with what is said of it.
fn told(found: &Table, wanted: Option<&Table>) -> Vec<(String, String)> {
    let mut told = Vec::new();
    for server in table_to_wire(found, &Traffic::new(), wanted) {
        let name = server.port.to_string();
        let entries = server.destinations.into_iter().map(|d| (d.address, d.difference));
        told.extend(std::iter::once((name, server.difference)).chain(entries));
    }
    told.retain(|(_, difference)| !difference.is_empty());
    told
}

#[test]
fn what_differs_is_told_in_words() {
    let mut foreign = server(Scheduler::Rr, &[(9, 1)]);
    foreign.foreign = true;
    let found = Table::from_iter([
        (key(80), server(Scheduler::Rr, &[(1, 0), (2, 1)])),
        (key(81), server(Scheduler::Rr, &[(1, 1)])),
        (key(82), foreign),
        (key(83), server(Scheduler::Rr, &[(1, 0)])),
    ]);
    let wanted = Table::from_iter([
        (key(80), server(Scheduler::Rr, &[(1, 5), (3, 1)])),
        (key(81), server(Scheduler::Wlc, &[(1, 1)])),
        (key(84), server(Scheduler::Rr, &[])),
    ]);
    let words = |entry: &str, difference: &str| (entry.to_owned(), difference.to_owned());
    let expected = [
        words("10.0.0.1", "weight 0 instead of 5"),
        words("10.0.0.2", "leaves"),
        words("10.0.0.3", "missing"),
        words("81", "scheduler rr instead of scheduler wlc"),
        words("83", "leaves"),
        words("10.0.0.1", "leaves"),
        words("84", "missing"),
    ];
    assert_eq!(told(&found, Some(&wanted)), expected);
    assert_eq!(told(&found, None), [], "nothing is wanted yet");
    assert_eq!(told(&found, Some(&found)), [], "all is as wanted");
}

#[test]
fn drift_names_its_entry() {
    let name = DestinationKey { address: Ipv4Addr::new(10, 0, 0, 1).into(), port: 80 };
    let seen = DriftSeen {
        found_at: std::time::SystemTime::UNIX_EPOCH,
        entry: (key(80), Some(name)),
        found: "weight 7, forwarding Route".to_owned(),
        repair: "edit".to_owned(),
    };
    assert_eq!(drift_to_wire(&seen).entry, "10.0.0.1:80 of TCP 192.168.1.150:80");
}
