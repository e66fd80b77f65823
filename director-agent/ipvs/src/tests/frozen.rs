//! A freeze holds everything back, and leaves no traces when it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::tables::{
    all_planned, any_key, any_table, any_virtual_server, key, virtual_server, wanted,
};
use crate::codec::Refusal;
use crate::{Allowances, Ownership, Reconciler, Table, VirtualServer, VirtualServerKey};

const NOW: Duration = Duration::from_secs(5);
const ALLOWANCE: Duration = Duration::from_mins(1);

/// What is read or wanted meanwhile.
#[derive(Clone, Debug)]
enum Event {
    Want(Table),
    Read(VirtualServerKey, Option<VirtualServer>),
}

fn any_event() -> impl Strategy<Value = Event> {
    let reading = (any_key(), prop::option::of(any_virtual_server()));
    prop_oneof![
        any_table().prop_map(|table| Event::Want(wanted(&table))),
        reading.prop_map(|(key, server)| Event::Read(key, server)),
    ]
}

fn take(reconciler: &mut Reconciler, event: Event) {
    match event {
        Event::Want(table) => reconciler.want(Arc::new(table), Allowances::default()),
        Event::Read(key, found) => {
            reconciler.observe(key, found, NOW);
        }
    }
}

proptest! {
    #[test]
    fn what_comes_meanwhile_is_written_after_it(
        kernel in any_table(),
        first in any_table(),
        events in prop::collection::vec(any_event(), 0..10),
    ) {
        let none = Ownership::default();
        let mut free = Reconciler::new(&none, BTreeSet::new(), kernel, ALLOWANCE);
        take(&mut free, Event::Want(wanted(&first)));
        for operation in all_planned(&mut free, NOW) {
            free.done(&operation);
        }
        let mut frozen = free.clone();
        frozen.set_frozen(true);
        for event in events {
            take(&mut free, event.clone());
            take(&mut frozen, event);
            prop_assert_eq!(all_planned(&mut frozen, NOW), vec![]);
        }
        let held_back = frozen.held_back(NOW);
        let planned = all_planned(&mut free, NOW);
        prop_assert!(held_back >= planned.len(), "{} of {:?}", held_back, planned);
        prop_assert_eq!(free.held_back(NOW), 0, "nothing is frozen");
        frozen.set_frozen(false);
        prop_assert_eq!(all_planned(&mut frozen, NOW), planned);
    }
}

#[test]
fn relays_are_written_all_the_same() {
    let (mark, web) = (key("FWM 7"), key("TCP 10.1.1.1:80"));
    let none = Ownership::default();
    let mut reconciler = Reconciler::new(&none, BTreeSet::new(), Table::default(), ALLOWANCE);
    reconciler.set_frozen(true);
    reconciler.want(Arc::new(Table::from_iter([(web, virtual_server())])), Allowances::default());
    reconciler.relay(Some((mark, virtual_server())));
    let planned = all_planned(&mut reconciler, NOW);
    assert!(planned.iter().all(|operation| *operation.virtual_server() == mark), "{planned:?}");
    assert_eq!((planned.len(), reconciler.held_back(NOW)), (2, 2), "two entries each");
}

#[test]
fn what_was_refused_before_is_told_during_it() {
    let none = Ownership::default();
    let mut reconciler = Reconciler::new(&none, BTreeSet::new(), Table::default(), ALLOWANCE);
    let table = Table::from_iter([(key("TCP 10.1.1.1:80"), virtual_server())]);
    reconciler.want(Arc::new(table), Allowances::default());
    let planned = all_planned(&mut reconciler, NOW);
    reconciler.refused(&planned[0], Refusal { errno: 2, text: String::new() });
    reconciler.set_frozen(true);
    assert_eq!(all_planned(&mut reconciler, NOW), vec![]);
    assert_eq!(reconciler.refusals().count(), 1);
}
