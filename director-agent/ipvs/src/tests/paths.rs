//! Entries that are ways of checks: ours by their mark, and nobody else's business.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Scheduler;

use super::tables::all_planned;
use crate::codec::Refusal;
use crate::{
    Allowances, Connections, Destination, DestinationKey, DestinationSettings, Forwarding,
    Operation, Ownership, Reconciler, Table, VirtualServer, VirtualServerKey,
    VirtualServerSettings,
};

const NOW: Duration = Duration::from_secs(5);
const WAY: &str = "FWM 1179975681";

fn key(text: &str) -> VirtualServerKey {
    text.parse().expect("a key")
}

/// To a real server that has connections.
fn way(weight: u32) -> VirtualServer {
    let name = DestinationKey { address: "10.1.1.2".parse().expect("an address"), port: 80 };
    let settings = DestinationSettings::new(weight, Forwarding::Route);
    let connections = Some(Connections { active: 3, inactive: 100, persistent: 0 });
    let key = key(WAY);
    VirtualServer {
        settings: VirtualServerSettings::new(Scheduler::Rr, key.family()),
        destinations: [(name, Destination { settings, connections })].into(),
        foreign: false,
    }
}

fn one(server: VirtualServer) -> Table {
    Table::from_iter([(key(WAY), server)])
}

/// A reconciler that knows of no journal.
fn found(kernel: Table) -> Reconciler {
    let allowance = Duration::from_mins(15);
    Reconciler::new(&Ownership::default(), BTreeSet::new(), kernel, allowance)
}

#[test]
fn only_marks_of_the_range_are_ways() {
    for (text, is_way) in [
        (WAY, true),
        ("FWM 1179975680 IPv6", true),
        ("FWM 1179975679", false),
        ("FWM 5", false),
        ("TCP 10.1.1.1:80", false),
    ] {
        assert_eq!(key(text).is_path(), is_way, "{text}");
    }
}

#[test]
fn one_that_is_wanted_is_adopted_without_a_journal() {
    let mut reconciler = found(one(way(1)));
    assert!(!reconciler.held().virtual_servers[&key(WAY)].foreign);
    reconciler.want(Arc::new(one(way(1))), Allowances::default());
    assert_eq!(all_planned(&mut reconciler, NOW), []);
}

#[test]
fn one_that_nobody_wants_goes_at_once_whatever_its_connections() {
    let mut reconciler = found(one(way(1)));
    assert_eq!(all_planned(&mut reconciler, NOW), [], "not before a table is wanted");
    reconciler.want(Arc::default(), Allowances::default());
    let mut written = 0;
    for weight in [1, 0] {
        reconciler.observe(key(WAY), Some(way(weight)), NOW);
        for operation in all_planned(&mut reconciler, NOW) {
            reconciler.done(&operation);
            written += 1;
        }
    }
    assert_eq!(written, 3, "weight 0, and both deletions");
    assert!(reconciler.held().virtual_servers.is_empty());
}

#[test]
fn what_befalls_one_is_put_right_and_concerns_no_plan() {
    let mut reconciler = found(one(way(1)));
    reconciler.want(Arc::new(one(way(1))), Allowances::default());
    assert_eq!(reconciler.observe(key(WAY), Some(way(7)), NOW), [], "no drift");
    let repairs = all_planned(&mut reconciler, NOW);
    assert!(matches!(&repairs[..], [Operation::EditDestination { .. }]), "{repairs:?}");
    assert!(reconciler.is_apart(&key(WAY)) && !reconciler.is_relay(&key(WAY)));
    let refusal = Refusal { errno: 2, text: String::new() };
    reconciler.refused(&repairs[0], refusal);
    assert_eq!((reconciler.refusals().count(), reconciler.refusals_apart().count()), (0, 1));
}
