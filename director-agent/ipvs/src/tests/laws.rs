//! What holds between any two tables.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Scheduler;
use proptest::prelude::*;

use super::tables::{any_key, any_ownership, any_table, set_connections, wanted};
use crate::{
    AddressFamily, Connections, Destination, DestinationKey, DestinationSettings, Forwarding,
    Operation, Ownership, Removals, Table, VirtualServer, VirtualServerKey, VirtualServerSettings,
    diff,
};

const ALLOWANCE: Duration = Duration::from_mins(1);
const START: Duration = Duration::from_secs(1000);

fn has_weight(table: &Table, key: &VirtualServerKey) -> bool {
    let server = table.virtual_servers.get(key);
    server.is_some_and(|server| server.destinations.values().any(|d| d.settings.weight > 0))
}

fn is_foreign(key: &VirtualServerKey, desired: &Table, ownership: &Ownership) -> bool {
    !desired.virtual_servers.contains_key(key) && !ownership.made(key)
}

/// One turn, with every law that holds for each operation of it.
fn turn(desired: &Table, observed: &mut Table, ownership: &Ownership, removals: &Removals) {
    let before = observed.clone();
    for operation in diff(desired, &before, ownership, removals, START) {
        let key = operation.virtual_server();
        assert!(!is_foreign(key, desired, ownership), "{operation}: foreign");
        match &operation {
            Operation::DeleteVirtualServer { key } => {
                assert!(!desired.virtual_servers.contains_key(key), "{operation}: desired");
            }
            Operation::DeleteDestination { virtual_server, key } => {
                assert!(desired.destination(virtual_server, key).is_none(), "{operation}: desired");
                let held = observed.destination(virtual_server, key).expect("it is there");
                assert_eq!(held.settings.weight, 0, "{operation}: still takes connections");
                assert!(
                    held.connections.is_some_and(Connections::is_drained)
                        || removals.is_due(virtual_server, key, START),
                    "{operation}: cuts connections off before its deadline"
                );
            }
            Operation::AddVirtualServer { .. }
            | Operation::EditVirtualServer { .. }
            | Operation::AddDestination { .. }
            | Operation::EditDestination { .. } => {}
        }
        operation.apply(observed).unwrap_or_else(|error| panic!("{operation}: {error}"));
        if has_weight(&before, key) && has_weight(desired, key) {
            assert!(has_weight(observed, key), "{operation}: nobody left to serve");
        }
    }
}

proptest! {
    #[test]
    fn nothing_to_do_between_equals(table in any_table(), made in any_ownership()) {
        let operations = diff(&wanted(&table), &table, &made, &Removals::default(), START);
        prop_assert_eq!(operations, vec![]);
    }

    #[test]
    fn turns_lead_to_what_is_desired(
        desired in any_table(),
        observed in any_table(),
        made in any_ownership(),
    ) {
        let desired = wanted(&desired);
        let mut held = observed.clone();
        let mut removals = Removals::default();
        // Zero and add; read; delete. A third turn finds nothing to do.
        for _ in 0..3 {
            removals.follow(&desired, &held, &made, START, ALLOWANCE);
            turn(&desired, &mut held, &made, &removals);
            set_connections(&mut held, Some(Connections::default()));
        }
        let mut expected = desired.clone();
        for (key, server) in &observed.virtual_servers {
            if is_foreign(key, &desired, &made) {
                expected.virtual_servers.insert(*key, server.clone());
            }
        }
        prop_assert_eq!(wanted(&held), wanted(&expected));
        removals.follow(&desired, &held, &made, START, ALLOWANCE);
        prop_assert!(removals.is_empty());
    }

    #[test]
    fn a_deadline_ends_every_wait(
        desired in any_table(),
        observed in any_table(),
        made in any_ownership(),
    ) {
        let desired = wanted(&desired);
        let mut held = observed;
        let mut removals = Removals::default();
        let busy = Some(Connections { active: 9, inactive: 9, persistent: 9 });
        for _ in 0..2 {
            removals.follow(&desired, &held, &made, START, Duration::ZERO);
            turn(&desired, &mut held, &made, &removals);
            set_connections(&mut held, busy);
        }
        prop_assert_eq!(diff(&desired, &held, &made, &removals, START), vec![]);
        for key in made.iter().filter(|key| !desired.virtual_servers.contains_key(key)) {
            prop_assert!(!held.virtual_servers.contains_key(key));
        }
    }

    #[test]
    fn connections_hold_a_leaving_real_server(desired in any_table(), observed in any_table()) {
        let made: Ownership = observed.virtual_servers.keys().copied().collect();
        let mut held = observed;
        for server in held.virtual_servers.values_mut() {
            Arc::make_mut(server).destinations.change(|_, destination| {
                destination.settings.weight = 0;
                destination.connections = Some(Connections { active: 0, inactive: 1, persistent: 0 });
            });
        }
        let mut removals = Removals::default();
        removals.follow(&desired, &held, &made, START, ALLOWANCE);
        let just_before = START + Duration::from_secs(59);
        let operations = diff(&desired, &held, &made, &removals, just_before);
        let deletes = |o: &Operation| match o {
            Operation::DeleteDestination { .. } => true,
            Operation::DeleteVirtualServer { key } => {
                !held.virtual_servers[key].destinations.is_empty()
            }
            _ => false,
        };
        prop_assert!(!operations.iter().any(deletes));
        prop_assert_eq!(
            removals.next_deadline(),
            (!removals.is_empty()).then_some(START + ALLOWANCE)
        );
    }

    #[test]
    fn keys_read_as_they_print(key in any_key()) {
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }
}

#[test]
fn one_weight_is_one_edit() {
    let key = VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, 150).into(), 80);
    let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
    let name = |host| DestinationKey { address: Ipv4Addr::new(192, 168, 1, host).into(), port: 80 };
    let table = |weight| {
        let destination = |weight| Destination {
            settings: DestinationSettings::new(weight, Forwarding::Route),
            connections: None,
        };
        let destinations = [(name(160), destination(weight)), (name(161), destination(1))];
        let destinations = destinations.into_iter().collect();
        let server = VirtualServer { settings: settings.clone(), destinations, foreign: false };
        Table::from_iter([(key, server)])
    };
    let operations = diff(&table(0), &table(1), &Ownership::default(), &Removals::default(), START);
    let words: Vec<_> = operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        ["edit real server 192.168.1.160:80 of TCP 192.168.1.150:80 to weight 0, forwarding Route"]
    );
}

#[test]
fn a_deadline_is_kept_and_forgotten() {
    let key = VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, 150).into(), 80);
    let name = DestinationKey { address: Ipv4Addr::new(192, 168, 1, 160).into(), port: 80 };
    let destination = Destination {
        settings: DestinationSettings::new(0, Forwarding::Route),
        connections: Some(Connections { active: 3, inactive: 0, persistent: 0 }),
    };
    let with = |destinations: &[(DestinationKey, Destination)]| {
        let destinations = destinations.iter().copied().collect();
        let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
        let server = VirtualServer { settings, destinations, foreign: false };
        Table::from_iter([(key, server)])
    };
    let (full, empty) = (with(&[(name, destination)]), with(&[]));
    let none = Ownership::default();
    let mut removals = Removals::default();
    let second = Duration::from_secs(1);
    removals.follow(&empty, &full, &none, START, ALLOWANCE);
    removals.follow(&empty, &full, &none, START + second, ALLOWANCE);
    assert_eq!(removals.next_deadline(), Some(START + ALLOWANCE), "kept");
    assert_eq!(removals.virtual_servers().collect::<Vec<_>>(), [&key]);
    removals.follow(&full, &full, &none, START + second, ALLOWANCE);
    assert!(removals.is_empty(), "wanted again");
    removals.follow(&empty, &full, &none, START + second, ALLOWANCE);
    assert_eq!(removals.next_deadline(), Some(START + second + ALLOWANCE), "anew");
}

#[test]
fn foreign_entries_are_marked() {
    let key = |port| VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, 150).into(), port);
    let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
    let server = VirtualServer { settings, destinations: [].into_iter().collect(), foreign: false };
    let table = |ports: &[u16]| -> Table {
        ports.iter().map(|port| (key(*port), server.clone())).collect()
    };
    let mut observed = table(&[80, 81, 82]);
    Ownership::from_iter([key(81)]).mark(&table(&[80]), &mut observed);
    let foreign: Vec<_> = observed.virtual_servers.values().map(|v| v.foreign).collect();
    assert_eq!(foreign, [false, false, true]);
}
