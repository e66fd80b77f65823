//! What an agent keeps of a large plan: so many bytes for each entry of the kernel's table, whatever it takes on the way.

use std::net::Ipv4Addr;
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

const VIRTUAL_SERVERS: u32 = 10_000;
const REAL_SERVERS: u32 = 10;
/// For each entry of the table, virtual servers and real servers alike.
const MOST_BYTES: u64 = 200;

/// Virtual servers of ports, each with the same real servers.
fn plan() -> v1::PlanUpdate {
    let second = |seconds| prost_duration(Duration::from_secs(seconds));
    let check = v1::Check {
        probe: Some(v1::check::Probe::Tcp(v1::TcpCheck::default())),
        interval: second(5),
        timeout: second(1),
        retries: Some(1),
        retry_delay: second(1),
        rise: 1,
        port: 0,
        ..v1::Check::default()
    };
    let destinations = (0..REAL_SERVERS).map(|number| v1::DestinationPlan {
        real_server: format!("r{number}"),
        rip: Ipv4Addr::from(0x0a42_0001 + number).to_string(),
        port: 8080,
        weight: 1,
        agent: format!("r{number}"),
        ..v1::DestinationPlan::default()
    });
    let destinations: Vec<_> = destinations.collect();
    let objects = (0..VIRTUAL_SERVERS).map(|number| {
        let name = format!("v{number}");
        let key = format!("virtual-server/{name}");
        let server = v1::VirtualServerPlan {
            name,
            vip: format!("192.168.2.{}", number % 100 + 1),
            port: 10_000 + number / 100,
            protocol: v1::Protocol::Tcp.into(),
            scheduler: v1::Scheduler::Rr.into(),
            forwarding: v1::ForwardingMethod::Nat.into(),
            destinations: destinations.clone(),
            check: Some(check.clone()),
            agent: v1::AgentRequirement::None.into(),
            ..v1::VirtualServerPlan::default()
        };
        v1::PlanObject { key, object: Some(v1::plan_object::Object::VirtualServer(server)) }
    });
    v1::PlanUpdate {
        version: Some(v1::PlanVersion {
            cluster_id: "x".to_owned(),
            incarnation: 1,
            revision: 1,
            ..Default::default()
        }),
        whole: true,
        objects: objects.collect(),
        ..v1::PlanUpdate::default()
    }
}

fn prost_duration<T: TryFrom<Duration>>(duration: Duration) -> Option<T> {
    T::try_from(duration).ok()
}

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
    let update = plan();
    let mut kept = None;
    let measured = allocation_counter::measure(|| kept = Some(take_in(&update)));
    let (_, _, wanted) = kept.expect("it was taken in");
    let entries = u64::from(VIRTUAL_SERVERS * (REAL_SERVERS + 1));
    assert_eq!(u64::try_from(wanted.table().entries()), Ok(entries));
    let bytes = u64::try_from(measured.bytes_current).expect("something is kept");
    println!("{} bytes for each of {entries} entries", bytes / entries);
    assert!(bytes <= MOST_BYTES * entries, "{bytes} bytes for {entries} entries");
}
