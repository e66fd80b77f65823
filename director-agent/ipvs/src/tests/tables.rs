//! Random tables.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Scheduler;
use proptest::prelude::*;

use crate::{
    AddressFamily, Connections, Destination, DestinationKey, DestinationSettings, Forwarding,
    Operation, Ownership, Reconciler, Table, VirtualServer, VirtualServerKey,
    VirtualServerSettings,
};

/// The key that is printed so.
pub(super) fn key(text: &str) -> VirtualServerKey {
    text.parse().expect("a key")
}

/// One of one real server.
pub(super) fn virtual_server() -> VirtualServer {
    let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
    let name = DestinationKey { address: [10, 0, 0, 1].into(), port: 80 };
    let destination =
        Destination { settings: DestinationSettings::new(1, Forwarding::Route), connections: None };
    VirtualServer { settings, destinations: [(name, destination)].into(), foreign: false }
}

/// A small universe, so that random tables overlap.
pub(super) fn any_key() -> impl Strategy<Value = VirtualServerKey> {
    prop_oneof![
        (0..3_u8, 80..83_u16).prop_map(|(host, port)| {
            VirtualServerKey::tcp(Ipv4Addr::new(192, 168, 1, host).into(), port)
        }),
        (1..3_u32).prop_map(|mark| VirtualServerKey::Fwmark {
            mark: NonZeroU32::new(mark).expect("from 1"),
            family: AddressFamily::V4,
        }),
    ]
}

pub(super) fn any_settings() -> impl Strategy<Value = VirtualServerSettings> {
    let scheduler = prop_oneof![Just(Scheduler::Rr), Just(Scheduler::Wlc)];
    (scheduler, prop_oneof![Just(0), Just(300_u32)]).prop_map(|(scheduler, timeout_s)| {
        VirtualServerSettings::new(scheduler, AddressFamily::V4).with_persistence(timeout_s)
    })
}

pub(crate) fn any_destination() -> impl Strategy<Value = Destination> {
    let connections = prop_oneof![
        Just(None),
        Just(Some(Connections::default())),
        Just(Some(Connections { active: 1, inactive: 0, persistent: 0 })),
        Just(Some(Connections { active: 0, inactive: 0, persistent: 7 })),
    ];
    let forwarding = prop_oneof![Just(Forwarding::Route), Just(Forwarding::Masq)];
    (0..3_u32, forwarding, connections).prop_map(|(weight, forwarding, connections)| Destination {
        settings: DestinationSettings::new(weight, forwarding),
        connections,
    })
}

pub(super) fn any_virtual_server() -> impl Strategy<Value = VirtualServer> {
    let key = (0..5_u8).prop_map(|host| DestinationKey {
        address: Ipv4Addr::new(10, 0, 0, host).into(),
        port: 80,
    });
    let destinations = prop::collection::btree_map(key, any_destination(), 0..5);
    (any_settings(), destinations).prop_map(|(settings, destinations)| VirtualServer {
        settings,
        destinations: destinations.into_iter().collect(),
        foreign: false,
    })
}

pub(super) fn any_table() -> impl Strategy<Value = Table> {
    prop::collection::btree_map(any_key(), any_virtual_server(), 0..7).prop_map(Table::from_iter)
}

pub(super) fn any_ownership() -> impl Strategy<Value = Ownership> {
    prop::collection::vec(any_key(), 0..7).prop_map(Ownership::from_iter)
}

/// Sets the connections of every real server.
pub(super) fn set_connections(table: &mut Table, connections: Option<Connections>) {
    for server in table.virtual_servers.values_mut().map(Arc::make_mut) {
        server.destinations.change(|_, destination| destination.connections = connections);
    }
}

/// Without what only an observed table has.
pub(super) fn wanted(table: &Table) -> Table {
    let mut table = table.clone();
    set_connections(&mut table, None);
    for server in table.virtual_servers.values_mut() {
        Arc::make_mut(server).foreign = false;
    }
    table
}

/// All that is to be written, at once.
pub(super) fn all_planned(reconciler: &mut Reconciler, now: Duration) -> Vec<Operation> {
    let (mut work, mut operations) = (reconciler.plan(now), Vec::new());
    reconciler.take(&mut work, usize::MAX, &mut operations);
    operations
}
