//! A reconciler's life beside a kernel that other programs edit too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::tables::{
    all_planned, any_key, any_table, any_virtual_server, key, set_connections, virtual_server,
    wanted,
};
use crate::codec::Refusal;
use crate::operation::OperationKind;
use crate::{
    Allowances, ApplyError, Connections, Destinations, Operation, Ownership, Reconciler, Removals,
    Table, VirtualServer, VirtualServerKey, diff,
};

const NOW: Duration = Duration::from_secs(5);
const ALLOWANCE: Duration = Duration::from_mins(1);
/// Operations that are written together.
const PART: usize = 3;

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// Another table is wanted.
    Want(Table),
    /// Another program puts an entry there, or takes it away.
    Meddle(VirtualServerKey, Option<VirtualServer>),
    /// The driver writes what is to be written.
    Write,
    /// The driver reads everything.
    Read,
}

fn any_event() -> impl Strategy<Value = Event> {
    let meddling = (any_key(), prop::option::of(any_virtual_server()));
    prop_oneof![
        2 => any_table().prop_map(|table| Event::Want(wanted(&table))),
        2 => meddling.prop_map(|(key, server)| Event::Meddle(key, server)),
        3 => Just(Event::Write),
        3 => Just(Event::Read),
    ]
}

/// A kernel's table, and what the driver knows of it.
struct World {
    kernel: Table,
    reconciler: Reconciler,
    desired: Option<Table>,
    repairs: usize,
}

impl World {
    fn new(kernel: Table) -> Self {
        let none = Ownership::default();
        let reconciler = Reconciler::new(&none, BTreeSet::new(), kernel.clone(), ALLOWANCE);
        Self { kernel, reconciler, desired: None, repairs: 0 }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Want(table) => {
                self.desired = Some(table.clone());
                self.reconciler.want(Arc::new(table), Allowances::default());
            }
            Event::Meddle(key, Some(server)) => {
                self.kernel.virtual_servers.insert(key, Arc::new(server));
            }
            Event::Meddle(key, None) => {
                self.kernel.virtual_servers.remove(&key);
            }
            Event::Write => self.write(),
            Event::Read => self.read(),
        }
    }

    fn write(&mut self) {
        let planned = all_planned(&mut self.reconciler, NOW);
        self.agrees_with_whole_tables(&planned);
        let (mut work, mut part) = (self.reconciler.plan(NOW), Vec::new());
        let mut written = Vec::new();
        let mut told_at_the_end = self.reconciler.clone();
        loop {
            let mark = work.mark();
            self.reconciler.take(&mut work, PART, &mut part);
            if part.is_empty() {
                break;
            }
            written.extend_from_slice(&part);
            let done = self.write_part(&part);
            let is_whole = done.len() == part.len() && told_at_the_end.is_plain();
            if !is_whole || !work.note_done(mark) {
                told_at_the_end.all_done(&done);
            }
        }
        assert!(work.is_empty());
        told_at_the_end.made_whole(work.done());
        assert_eq!(told_at_the_end.held(), self.reconciler.held(), "told at the end or at once");
        assert_eq!(written, planned, "in parts or at once");
        for key in self.reconciler.stale().clone() {
            self.read_one(key);
        }
        self.reconciler.end_turn();
    }

    /// Gives those that were done.
    fn write_part(&mut self, part: &[Operation]) -> Vec<Operation> {
        let mut done = Vec::new();
        for operation in part {
            let key = *operation.virtual_server();
            assert!(self.reconciler.made().made(&key), "{operation}: foreign");
            match operation.apply(&mut self.kernel) {
                Ok(()) => done.push(operation.clone()),
                Err(
                    ApplyError::Exists | ApplyError::NoVirtualServer | ApplyError::NoDestination,
                ) => self.reconciler.unsure(key),
            }
        }
        // Told together or one by one comes to the same.
        let mut one_by_one = self.reconciler.clone();
        let repairs = done.iter().filter(|operation| one_by_one.done(operation)).count();
        assert_eq!(self.reconciler.all_done(&done), repairs);
        assert_eq!(self.reconciler.held(), one_by_one.held());
        self.repairs += repairs;
        done
    }

    /// Looking at what may differ alone finds what looking at everything finds. But for deletions: those wait until
    /// they are fresh.
    fn agrees_with_whole_tables(&self, planned: &[Operation]) {
        let (made, held) = (self.reconciler.made(), self.reconciler.held());
        let Some(desired) = &self.desired else {
            assert_eq!(planned, []);
            return;
        };
        let mut removals = Removals::default();
        removals.follow(desired, held, made, NOW, ALLOWANCE);
        let whole = diff(desired, held, made, &removals, NOW);
        let stays = |operation: &&Operation| operation.kind() != OperationKind::Delete;
        let (planned, whole) = (planned.iter().filter(stays), whole.iter().filter(stays));
        assert_eq!(planned.collect::<Vec<_>>(), whole.collect::<Vec<_>>());
    }

    fn read(&mut self) {
        let held = self.reconciler.held().virtual_servers.keys();
        let keys: BTreeSet<_> = held.chain(self.kernel.virtual_servers.keys()).copied().collect();
        for key in keys {
            self.read_one(key);
        }
    }

    fn kernel_holds(&self, key: VirtualServerKey) -> Option<VirtualServer> {
        self.kernel.virtual_servers.get(&key).map(|server| VirtualServer::clone(server))
    }

    fn read_one(&mut self, key: VirtualServerKey) {
        self.reconciler.observe(key, self.kernel_holds(key), NOW);
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_wanted_table_comes_to_stand(
        kernel in any_table(),
        events in prop::collection::vec(any_event(), 0..20),
        last in any_table(),
    ) {
        let mut world = World::new(kernel);
        for event in events {
            world.take(event);
        }
        let last = wanted(&last);
        world.take(Event::Want(last.clone()));
        let ours = world.reconciler.made().clone();
        let foreign = |world: &World| {
            let mut table = world.kernel.clone();
            table.virtual_servers.retain(|key, _| !ours.made(key));
            wanted(&table)
        };
        let before = foreign(&world);
        // Read, add and zero; read, delete. The connections end in between.
        for _ in 0..3 {
            set_connections(&mut world.kernel, Some(Connections::default()));
            world.take(Event::Read);
            world.take(Event::Write);
        }
        let after = foreign(&world);
        prop_assert_eq!(&after, &before, "foreign entries");
        let mut expected = last;
        expected.virtual_servers.extend(before.virtual_servers);
        prop_assert_eq!(wanted(&world.kernel), expected);
        prop_assert_eq!(wanted(world.reconciler.held()), wanted(&world.kernel));
    }

    #[test]
    fn alone_there_is_no_drift(kernel in any_table(), tables in prop::collection::vec(any_table(), 1..5)) {
        let mut world = World::new(kernel);
        for table in tables {
            world.take(Event::Want(wanted(&table)));
            for _ in 0..2 {
                world.write();
                set_connections(&mut world.kernel, Some(Connections::default()));
                let keys: Vec<_> = world.kernel.virtual_servers.keys().copied().collect();
                for key in keys {
                    let found = world.kernel_holds(key);
                    prop_assert_eq!(world.reconciler.observe(key, found, NOW), vec![]);
                }
            }
        }
        prop_assert_eq!(world.repairs, 0);
    }

    #[test]
    fn what_was_refused_waits_for_its_retry(table in any_table()) {
        let table = wanted(&table);
        let mut world = World::new(Table::default());
        world.take(Event::Want(table.clone()));
        let refusal = Refusal { errno: 2, text: String::new() };
        let planned = all_planned(&mut world.reconciler, NOW);
        let is_server = |o: &&Operation| matches!(o, Operation::AddVirtualServer { .. });
        for operation in planned.iter().filter(is_server) {
            prop_assert!(world.reconciler.refused(operation, refusal.clone()), "news");
            prop_assert!(!world.reconciler.refused(operation, refusal.clone()), "no news");
        }
        prop_assert_eq!(all_planned(&mut world.reconciler, NOW), vec![], "nor their real servers");
        prop_assert_eq!(world.reconciler.refusals().count(), table.virtual_servers.len());
        prop_assert_eq!(world.reconciler.retry(), !table.virtual_servers.is_empty());
        prop_assert_eq!(all_planned(&mut world.reconciler, NOW), planned.clone());
        for operation in planned.iter().filter(is_server) {
            prop_assert!(!world.reconciler.refused(operation, refusal.clone()), "no news yet");
        }
        let other = Refusal { errno: 12, ..refusal };
        for operation in planned.iter().filter(is_server) {
            prop_assert!(world.reconciler.refused(operation, other.clone()), "for another reason");
        }
    }
}

fn one(name: &str, server: &VirtualServer) -> Table {
    Table::from_iter([(key(name), server.clone())])
}

#[test]
fn drift_is_told_once_and_counted_when_repaired() {
    let (web, server) = ("TCP 10.1.1.1:80", virtual_server());
    let mut world = World::new(Table::default());
    world.take(Event::Want(one(web, &server)));
    world.take(Event::Write);
    let mut changed = server.clone();
    changed.destinations.change(|_, destination| destination.settings.weight = 9);
    let drift = world.reconciler.observe(key(web), Some(changed.clone()), NOW);
    assert_eq!(drift.len(), 1);
    assert_eq!(drift[0].found, "weight 9, forwarding Route");
    assert_eq!(
        drift[0].repair.to_string(),
        "edit real server 10.0.0.1:80 of TCP 10.1.1.1:80 to weight 1, forwarding Route"
    );
    let again = world.reconciler.observe(key(web), Some(changed.clone()), NOW);
    assert_eq!(again, vec![], "told once");
    world.kernel.virtual_servers.insert(key(web), Arc::new(changed));
    world.take(Event::Write);
    assert_eq!(world.repairs, 1);

    // Put right by whoever changed it: nothing of ours.
    let mut changed = server.clone();
    changed.destinations = Destinations::default();
    assert_eq!(world.reconciler.observe(key(web), Some(changed), NOW).len(), 1);
    assert_eq!(world.reconciler.observe(key(web), Some(server), NOW), vec![]);
    assert_eq!(all_planned(&mut world.reconciler, NOW), vec![]);
}

#[test]
fn what_is_gone_is_disowned() {
    let (web, other) = (key("TCP 10.1.1.1:80"), key("TCP 10.1.1.2:80"));
    let made: Ownership = [web, other].into_iter().collect();
    let held = one("TCP 10.1.1.1:80", &virtual_server());
    let mut reconciler = Reconciler::new(&made, BTreeSet::new(), held, ALLOWANCE);
    assert!(reconciler.made().made(&web) && !reconciler.made().made(&other), "never there");
    assert!(reconciler.journal_is_due());
    reconciler.journal_is_written();
    reconciler.observe(web, None, NOW);
    assert!(!reconciler.made().made(&web), "another program deleted it");
    assert!(reconciler.journal_is_due());
    reconciler.observe(web, Some(virtual_server()), NOW);
    assert!(reconciler.held().virtual_servers[&web].foreign, "and made it anew");
}

#[test]
fn nothing_is_deleted_on_old_news() {
    let (web, mut server) = ("TCP 10.1.1.1:80", virtual_server());
    server.destinations.change(|_, destination| {
        destination.settings.weight = 0;
        destination.connections = Some(Connections::default());
    });
    let made: Ownership = [key(web)].into_iter().collect();
    let held = one(web, &server);
    let mut reconciler = Reconciler::new(&made, BTreeSet::new(), held, ALLOWANCE);
    assert_eq!(all_planned(&mut reconciler, NOW), vec![], "nothing was wanted yet");
    reconciler.want(Arc::default(), Allowances::default());
    assert_eq!(all_planned(&mut reconciler, NOW), vec![], "not read in this turn");
    assert_eq!(reconciler.leaving(), [key(web)]);
    reconciler.observe(key(web), Some(server), NOW);
    let kinds: Vec<_> = all_planned(&mut reconciler, NOW).iter().map(Operation::kind).collect();
    assert_eq!(kinds, [OperationKind::Delete, OperationKind::Delete]);
    reconciler.end_turn();
    assert_eq!(all_planned(&mut reconciler, NOW), vec![]);
}

#[test]
fn what_nobody_ordered_goes_in_exclusive_mode() {
    let (web, strange) = ("TCP 10.1.1.1:80", key("TCP 10.9.9.9:25"));
    let mut reconciler =
        Reconciler::new(&Ownership::default(), BTreeSet::new(), Table::default(), ALLOWANCE);
    reconciler.want(Arc::new(one(web, &virtual_server())), Allowances::default());
    for operation in all_planned(&mut reconciler, NOW) {
        reconciler.done(&operation);
    }
    let mut server = virtual_server();
    assert_eq!(reconciler.observe(strange, Some(server.clone()), NOW), vec![]);
    assert!(reconciler.held().virtual_servers[&strange].foreign);
    assert_eq!(all_planned(&mut reconciler, NOW), vec![], "left alone");

    reconciler.set_exclusive(true);
    assert!(!reconciler.held().virtual_servers[&strange].foreign);
    let planned = all_planned(&mut reconciler, NOW);
    let kinds: Vec<_> = planned.iter().map(Operation::kind).collect();
    assert_eq!(kinds, [OperationKind::Edit], "its connections may end first");
    for operation in &planned {
        reconciler.done(operation);
    }
    server.destinations.change(|_, destination| {
        destination.settings.weight = 0;
        destination.connections = Some(Connections::default());
    });
    reconciler.observe(strange, Some(server.clone()), NOW);
    let kinds: Vec<_> = all_planned(&mut reconciler, NOW).iter().map(Operation::kind).collect();
    assert_eq!(kinds, [OperationKind::Delete, OperationKind::Delete]);

    reconciler.set_exclusive(false);
    assert!(reconciler.held().virtual_servers[&strange].foreign, "and is spared again");
    assert_eq!(all_planned(&mut reconciler, NOW), vec![]);
    reconciler.set_exclusive(true);
    reconciler.observe(strange, None, NOW);
    let drift = reconciler.observe(strange, Some(virtual_server()), NOW);
    assert_eq!(drift.len(), 1, "another program that comes back is told of");
}

#[test]
fn a_relay_is_written_and_kept_quiet() {
    let (mark, web) = ("FWM 7", "TCP 10.1.1.1:80");
    let mut world = World::new(Table::default());
    world.reconciler.relay(Some((key(mark), virtual_server())));
    world.desired = Some(one(mark, &virtual_server()));
    world.take(Event::Write);
    assert!(world.kernel.virtual_servers.contains_key(&key(mark)), "before anything was wanted");
    world.take(Event::Want(one(web, &virtual_server())));
    world.desired =
        Some(Table::from_iter([(key(mark), virtual_server()), (key(web), virtual_server())]));
    world.take(Event::Write);
    assert_eq!(world.kernel.virtual_servers.len(), 2);
    assert!(world.reconciler.held().virtual_servers.values().all(|server| !server.foreign));

    world.reconciler.relay(None);
    world.desired = Some(one(web, &virtual_server()));
    for _ in 0..2 {
        world.take(Event::Write);
        set_connections(&mut world.kernel, Some(Connections::default()));
        world.take(Event::Read);
    }
    world.take(Event::Write);
    assert_eq!(wanted(&world.kernel), one(web, &virtual_server()));
    assert!(!world.reconciler.is_relay(&key(mark)) && !world.reconciler.made().made(&key(mark)));
}
