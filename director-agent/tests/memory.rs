//! What an agent keeps of a large plan: so many bytes for each entry of the kernel's table, whatever it takes on the way.

mod large;

use std::path::Path;
use std::time::Duration;

use fulcrum_director::decide::arp::ArpLatch;
use fulcrum_director::decide::book::{PlanBook, Taken};
use fulcrum_director::decide::check::CheckNews;
use fulcrum_director::decide::wanted::Wanted;
use fulcrum_director::decide::weights::Decider;
use fulcrum_model::fuse::{OwnProbe, Tries};
use fulcrum_proto::v1;
use fulcrum_session::PlanCache;

use self::large::{REAL_SERVERS, VIRTUAL_SERVERS};

/// For each entry of the table, virtual servers and real servers alike.
const MOST_BYTES: u64 = 200;

/// The plan, what is decided of it with every check passed, and the table that is wanted.
fn take_in(update: &v1::PlanUpdate) -> (PlanBook, Decider, Wanted) {
    let mut book = PlanBook::new(PlanCache::empty(Path::new("plan")));
    let Ok(Taken::New(order)) = book.offer(update) else { panic!("the plan is refused") };
    let mut decider = Decider::new(ArpLatch::default());
    let (_, reindexed) =
        decider.change_plan(Duration::ZERO, &order.changed, &order.removed, |_, _| None);
    let passed = |key| CheckNews { key, probe: OwnProbe::Passing, tries: Tries::default() };
    decider.probes(Duration::from_secs(1), reindexed.begun.into_iter().map(passed));
    let mut wanted = Wanted::default();
    let names = decider.servers().keys().cloned().collect();
    wanted.put(&decider, &names);
    (book, decider, wanted)
}

#[test]
fn an_entry_takes_few_bytes() {
    let update = large::plan();
    let mut kept = None;
    let measured = allocation_counter::measure(|| kept = Some(take_in(&update)));
    let (_, _, wanted) = kept.expect("it was taken in");
    let entries = u64::from(VIRTUAL_SERVERS * (REAL_SERVERS + 1));
    assert_eq!(u64::try_from(wanted.table().entries()), Ok(entries));
    let bytes = u64::try_from(measured.bytes_current).expect("something is kept");
    println!("{} bytes for each of {entries} entries", bytes / entries);
    assert!(bytes <= MOST_BYTES * entries, "{bytes} bytes for {entries} entries");
}
