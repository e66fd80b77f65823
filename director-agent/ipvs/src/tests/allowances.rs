//! Real servers that leave sooner or later than usual.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Scheduler;

use super::tables::all_planned;
use crate::operation::OperationKind;
use crate::{
    AddressFamily, Allowances, Connections, Destination, DestinationKey, DestinationSettings,
    Forwarding, Operation, Ownership, Reconciler, Removals, Table, VirtualServer, VirtualServerKey,
    VirtualServerSettings,
};

const USUAL: Duration = Duration::from_mins(15);
const S: fn(u64) -> Duration = Duration::from_secs;

fn web() -> VirtualServerKey {
    VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, 150).into(), 80)
}

fn real_server(host: u8) -> DestinationKey {
    DestinationKey { address: Ipv4Addr::new(192, 168, 1, host).into(), port: 80 }
}

/// A table of one virtual server with these real servers, which have connections.
fn table(hosts: &[(u8, u32)]) -> Table {
    let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
    let destinations = hosts.iter().map(|(host, weight)| {
        let settings = DestinationSettings::new(*weight, Forwarding::Route);
        let connections = Some(Connections { active: 3, inactive: 1, persistent: 0 });
        (real_server(*host), Destination { settings, connections })
    });
    let server = VirtualServer { settings, destinations: destinations.collect(), foreign: false };
    Table::from_iter([(web(), server)])
}

fn of(host: u8, allowance: Duration) -> Allowances {
    let mut allowances = Allowances::default();
    allowances.set(web(), [(real_server(host), allowance)].into());
    allowances
}

#[test]
fn each_has_the_allowance_of_its_reason() {
    let (wanted, found) = (table(&[(1, 1)]), table(&[(1, 1), (2, 0), (3, 0)]));
    let none = Ownership::default();
    let mut removals = Removals::default();
    let mut follow = |allowances: Allowances, now| {
        removals.allow(allowances);
        removals.follow(&wanted, &found, &none, now, USUAL);
        [1, 2, 3].map(|host| removals.is_due(&web(), &real_server(host), now))
    };
    assert_eq!(follow(of(2, Duration::ZERO), S(100)), [false, true, false], "at once");
    assert_eq!(follow(of(2, S(60)), S(159)), [false, false, false], "counted from the beginning");
    assert_eq!(follow(of(2, S(60)), S(160)), [false, true, false]);
    assert_eq!(follow(of(2, S(30)), S(160)), [false, true, false], "a shorter one counts at once");
    assert_eq!(follow(Allowances::default(), S(160)), [false, false, false], "the usual one again");
    assert_eq!(follow(of(2, S(86_400)), S(100) + USUAL), [false, false, true]);
}

#[test]
fn a_virtual_server_without_any_has_none() {
    let mut allowances = of(2, S(60));
    assert_eq!(allowances.get(&web(), &real_server(2)), Some(S(60)));
    assert_eq!(allowances.get(&web(), &real_server(3)), None);
    allowances.set(web(), [].into());
    assert_eq!(allowances, Allowances::default());
}

#[test]
fn a_reset_cuts_connections_once_they_were_read_again() {
    let held = table(&[(1, 1), (2, 0)]);
    let mut reconciler =
        Reconciler::new(&Ownership::default(), BTreeSet::new(), held.clone(), USUAL);
    reconciler.want(Arc::new(table(&[(1, 1)])), of(2, Duration::ZERO));
    assert_eq!(all_planned(&mut reconciler, S(5)), [], "not read in this turn");
    assert_eq!(reconciler.leaving(), [web()]);
    let found = held.virtual_servers[&web()].as_ref().clone();
    reconciler.observe(web(), Some(found), S(5));
    let kinds: Vec<_> = all_planned(&mut reconciler, S(5)).iter().map(Operation::kind).collect();
    assert_eq!(kinds, [OperationKind::Delete]);
}
