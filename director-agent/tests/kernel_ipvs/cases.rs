//! The cases, in order; each begins with an empty table.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use fulcrum_director::ipvs::{Edits, HostSettings, IpvsError, IpvsHandle, IpvsSnapshot, Relay};
use fulcrum_ipvs::{Table, VirtualServerKey};
use fulcrum_model::Scheduler;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::settings::{says_what_cannot_be_set, settings_are_set_repaired_and_put_back, sysctl};
use crate::trouble::{
    a_meddler_is_outlasted, connections_hold_what_leaves, killed_while_it_writes,
    lost_answers_are_found_by_reading, says_that_lo_is_down,
};
use crate::witness::{
    Failure, agrees, bare, driver, equal, eventually, server, stop, table, tell, until, want, web,
};

/// Runs every case and prints one line for each.
pub(crate) async fn run(state_dir: &Path) -> ExitCode {
    let (mut cases, mut failures) = (0, 0);
    macro_rules! case {
        ($name:ident) => {{
            cases += 1;
            let directory = state_dir.join(stringify!($name));
            let began = Instant::now();
            let result = match tell("-C") {
                Ok(_) => $name(&directory).await,
                Err(failure) => Err(failure),
            };
            drivers_have_ended().await;
            let took = began.elapsed().as_millis();
            match result {
                Ok(()) => println!("{:<40} ok {took} ms", stringify!($name)),
                Err(failure) => {
                    failures += 1;
                    println!("{:<40} FAILED {failure}", stringify!($name));
                }
            }
        }};
    }
    case!(programs_edits_and_removes);
    case!(adopts_without_a_write);
    case!(repairs_drift);
    case!(leaves_foreign_entries_alone);
    case!(remembers_what_it_made);
    case!(names_what_is_refused);
    case!(random_tables);
    case!(relays);
    case!(says_which_capability_is_missing);
    case!(connections_hold_what_leaves);
    case!(says_that_lo_is_down);
    case!(lost_answers_are_found_by_reading);
    case!(a_meddler_is_outlasted);
    case!(killed_while_it_writes);
    case!(settings_are_set_repaired_and_put_back);
    case!(says_what_cannot_be_set);
    let passed = failures == 0;
    println!(
        "{{\"scenario\": \"kernel-ipvs\", \"passed\": {passed}, \"figures\": {{\"cases\": {cases}, \"failed\": {failures}}}}}"
    );
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Waits until no driver's thread is left, which would repair what the next case clears away.
async fn drivers_have_ended() {
    let is_driver = |task: std::io::Result<std::fs::DirEntry>| {
        let name = task.and_then(|task| std::fs::read_to_string(task.path().join("comm")));
        name.is_ok_and(|name| name.trim() == "ipvs")
    };
    while std::fs::read_dir("/proc/self/task").is_ok_and(|mut tasks| tasks.any(is_driver)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn edits(added: u64, edited: u64, deleted: u64) -> Edits {
    Edits { added, edited, deleted, drift_repaired: 0 }
}

async fn programs_edits_and_removes(directory: &Path) -> Result<(), Failure> {
    let (handle, mut snapshots) = driver(directory).await?;
    let two = server(Scheduler::Rr, &[(1, 1), (2, 5)]);
    let other = server(Scheduler::Wlc, &[(3, 7)]);
    want(&handle, 1, table(&[(web(0, 1), two), (web(0, 2), other)])).await?;
    let snapshot = until(&mut snapshots, "programmed", |s| s.generation == 1).await?;
    equal("edits", snapshot.edits, edits(5, 0, 0))?;
    agrees(&snapshot)?;

    // One weight is one edit, and soon in the kernel.
    let changed = server(Scheduler::Rr, &[(1, 0), (2, 5)]);
    let other = server(Scheduler::Sed, &[(3, 7)]);
    let began = Instant::now();
    want(&handle, 2, table(&[(web(0, 1), changed.clone()), (web(0, 2), other)])).await?;
    println!("  a weight and a scheduler took {} us", began.elapsed().as_micros());
    let snapshot = until(&mut snapshots, "edited", |s| s.generation == 2).await?;
    equal("edits", snapshot.edits, edits(5, 2, 0))?;
    agrees(&snapshot)?;

    // What leaves gets weight 0, then goes: it has no connections.
    let one = server(Scheduler::Rr, &[(1, 0)]);
    want(&handle, 3, table(&[(web(0, 1), one)])).await?;
    let is_gone = |s: &IpvsSnapshot| s.table.entries() == 2;
    let snapshot = until(&mut snapshots, "removed", is_gone).await?;
    equal("edits", snapshot.edits, edits(5, 4, 3))?;
    agrees(&snapshot)
}

async fn adopts_without_a_write(directory: &Path) -> Result<(), Failure> {
    tell("-A -t 10.9.0.1:80 -s rr")?;
    tell("-a -t 10.9.0.1:80 -r 10.8.0.1:80 -g -w 3")?;
    let (handle, mut snapshots) = driver(directory).await?;
    equal(
        "foreign until planned",
        snapshots.borrow().table.virtual_servers[&web(0, 1)].foreign,
        true,
    )?;
    want(&handle, 1, table(&[(web(0, 1), server(Scheduler::Rr, &[(1, 3)]))])).await?;
    let snapshot = until(&mut snapshots, "adopted", |s| s.generation == 1).await?;
    equal("edits", snapshot.edits, Edits::default())?;
    equal("ours now", snapshot.table.virtual_servers[&web(0, 1)].foreign, false)?;
    // And so it goes when it is planned no longer.
    want(&handle, 2, Table::default()).await?;
    until(&mut snapshots, "gone", |s| s.table.entries() == 0).await.map(|_| ())
}

async fn repairs_drift(directory: &Path) -> Result<(), Failure> {
    let (handle, mut snapshots) = driver(directory).await?;
    let wanted = table(&[(web(0, 1), server(Scheduler::Rr, &[(1, 3), (2, 3)]))]);
    want(&handle, 1, wanted.clone()).await?;
    for (words, repaired) in [
        ("-e -t 10.9.0.1:80 -r 10.8.0.1:80 -g -w 0", 1),
        ("-d -t 10.9.0.1:80 -r 10.8.0.2:80", 2),
        ("-E -t 10.9.0.1:80 -s lc", 3),
        ("-a -t 10.9.0.1:80 -r 10.8.0.77:80 -m -w 9", 4),
        ("-D -t 10.9.0.1:80", 7),
    ] {
        tell(words)?;
        let is_repaired = |s: &IpvsSnapshot| {
            s.edits.drift_repaired == repaired && bare(s.table.clone()) == wanted
        };
        let snapshot = until(&mut snapshots, words, is_repaired).await?;
        agrees(&snapshot)?;
        if !snapshot.problems.iter().any(|p| p.contains("another program changed")) {
            return Err(format!("{words}: not told: {:?}", snapshot.problems));
        }
    }
    Ok(())
}

async fn leaves_foreign_entries_alone(directory: &Path) -> Result<(), Failure> {
    tell("-A -t 10.7.0.1:443 -s sh -b sh-port -p 60 -M 255.255.255.0")?;
    tell("-a -t 10.7.0.1:443 -r 10.8.0.9:443 -m -w 70000 -x 10 -y 5")?;
    tell("-A -f 9 -s wrr")?;
    tell("-A --sctp-service 10.7.0.1:9 -s rr")?;
    tell("-A -u [2001:db8::1]:53 -s rr -o")?;
    let before = tell("-Sn")?;
    let (handle, mut snapshots) = driver(directory).await?;
    want(&handle, 1, table(&[(web(0, 1), server(Scheduler::Rr, &[(1, 1)]))])).await?;
    let snapshot = until(&mut snapshots, "beside", |s| s.generation == 1).await?;
    agrees(&snapshot)?;
    let foreign = snapshot.table.virtual_servers.values().filter(|v| v.foreign).count();
    equal("foreign", foreign, 4)?;
    want(&handle, 2, Table::default()).await?;
    until(&mut snapshots, "alone again", |s| s.table.virtual_servers.len() == 4).await?;
    equal("what is not ours", before, tell("-Sn")?)
}

async fn remembers_what_it_made(directory: &Path) -> Result<(), Failure> {
    let wanted = table(&[
        (web(0, 1), server(Scheduler::Rr, &[(1, 1)])),
        (web(0, 2), server(Scheduler::Rr, &[(1, 1)])),
    ]);
    let (handle, snapshots) = driver(directory).await?;
    want(&handle, 1, wanted.clone()).await?;
    stop(handle, snapshots).await;
    let before = tell("-Ln")?;

    // A restart writes nothing.
    let (handle, mut snapshots) = driver(directory).await?;
    equal(
        "nothing is foreign",
        snapshots.borrow().table.clone().virtual_servers.values().any(|v| v.foreign),
        false,
    )?;
    want(&handle, 1, wanted.clone()).await?;
    let snapshot = until(&mut snapshots, "again", |s| s.generation == 1).await?;
    equal("edits", snapshot.edits, Edits::default())?;
    equal("the table", before, tell("-Ln")?)?;
    stop(handle, snapshots).await;

    // What was planned before the restart and is no longer goes.
    let (handle, mut snapshots) = driver(directory).await?;
    let mut less = wanted;
    less.virtual_servers.remove(&web(0, 2));
    want(&handle, 1, less.clone()).await?;
    until(&mut snapshots, "less", |s| bare(s.table.clone()) == less).await.map(|_| ())
}

async fn names_what_is_refused(directory: &Path) -> Result<(), Failure> {
    let (handle, mut snapshots) = driver(directory).await?;
    let good = (web(0, 1), server(Scheduler::Rr, &[(1, 1)]));
    let missing = (web(0, 2), server(Scheduler::Twos, &[(1, 1), (2, 1)]));
    let refused = want(&handle, 1, table(&[missing, good.clone()])).await;
    let words = refused.err().ok_or("twos was not refused")?;
    if !words.contains("modprobe ip_vs_twos") || !words.contains("10.9.0.2:80") {
        return Err(words);
    }
    let is_told = |s: &IpvsSnapshot| s.problems.iter().any(|p| p.contains("ip_vs_twos"));
    let snapshot = until(&mut snapshots, "told", is_told).await?;
    equal("the other was done", snapshot.edits, edits(2, 0, 0))?;

    // No unicast address.
    let mut broadcast = server(Scheduler::Rr, &[(1, 1)]);
    let (mut name, destination) = broadcast.destinations.iter().next().ok_or("no real server")?;
    name.address = Ipv4Addr::new(224, 0, 0, 1).into();
    broadcast.destinations = [(name, destination)].into();
    let refused = want(&handle, 2, table(&[good.clone(), (web(0, 2), broadcast)])).await;
    let words = refused.err().ok_or("224.0.0.1 was not refused")?;
    if !words.contains("no unicast address") {
        return Err(words);
    }
    // What is no longer wanted is no longer a problem.
    want(&handle, 3, table(&[good])).await?;
    until(&mut snapshots, "clear", |s| s.problems.is_empty() && s.table.entries() == 2)
        .await
        .map(|_| ())
}

async fn random_tables(directory: &Path) -> Result<(), Failure> {
    let scheduler = prop::sample::select(vec![Scheduler::Rr, Scheduler::Wlc, Scheduler::Mh]);
    let weights = prop::collection::btree_map(1..6_u8, 0..4_u32, 0..5);
    let one = (scheduler, weights, prop_oneof![Just(0), Just(90_u32)]).prop_map(
        |(scheduler, weights, timeout_s)| {
            let weights: Vec<_> = weights.into_iter().collect();
            let mut server = server(scheduler, &weights);
            server.settings = server.settings.with_persistence(timeout_s);
            server
        },
    );
    let keys = (0..6_u8).prop_map(|fourth| web(1, fourth));
    let tables = prop::collection::btree_map(keys, one, 0..6).prop_map(Table::from_iter);
    let mut runner = TestRunner::deterministic();
    let (handle, mut snapshots) = driver(directory).await?;
    for generation in 1..=100 {
        let wanted = tables.new_tree(&mut runner).map_err(|error| error.to_string())?.current();
        want(&handle, generation, wanted.clone()).await?;
        let is_there = |s: &IpvsSnapshot| bare(s.table.clone()) == wanted;
        until(&mut snapshots, &format!("table {generation}"), is_there).await?;
        let read = handle.read().await.map_err(|error| error.to_string())?.table;
        equal("what was read", bare(read), wanted)?;
    }
    let snapshot = snapshots.borrow().clone();
    println!("  {:?}", snapshot.edits);
    equal("drift", snapshot.edits.drift_repaired, 0)?;
    equal("problems", snapshot.problems.clone(), vec![])?;
    agrees(&snapshot)
}

async fn relays(directory: &Path) -> Result<(), Failure> {
    let (handle, mut snapshots) = driver(directory).await?;
    handle.set_settings(HostSettings::default());
    let wanted = table(&[(web(0, 1), server(Scheduler::Rr, &[(1, 1)]))]);
    want(&handle, 1, wanted.clone()).await?;
    let mark = NonZeroU32::new(77).ok_or("no mark")?;
    let relay = Relay { mark, director: Ipv4Addr::new(10, 8, 0, 9).into() };
    handle.set_relay(Some(relay));
    eventually("the relay", || {
        Ok(tell("-Ln")?.contains("FWM  77 rr\n  -> 10.8.0.9:0 ") && sloppy_tcp()? == "1")
    })
    .await?;
    // ipvsadm shows it, so we do, but it is neither foreign nor an edit of the plan's.
    let key = VirtualServerKey::Fwmark { mark, family: fulcrum_ipvs::AddressFamily::V4 };
    let is_told = |s: &IpvsSnapshot| s.table.virtual_servers.get(&key).is_some_and(|v| !v.foreign);
    let snapshot = until(&mut snapshots, "told", is_told).await?;
    agrees(&snapshot)?;
    equal("edits", snapshot.edits, edits(2, 0, 0))?;
    let read = handle.read().await.map_err(|error| error.to_string())?.table;
    equal("read", read.virtual_servers.len(), 2)?;

    // A driver that comes after it takes it back before a table is wanted.
    stop(handle, snapshots.clone()).await;
    equal("it stands", sloppy_tcp()?.as_str(), "1")?;
    let (handle, restarted) = driver(directory).await?;
    handle.set_settings(HostSettings::default());
    snapshots = restarted;
    eventually("taken back", || Ok(!tell("-Ln")?.contains("FWM") && sloppy_tcp()? == "0")).await?;
    want(&handle, 1, wanted.clone()).await?;
    let snapshot = until(&mut snapshots, "as before", |s| s.generation == 1).await?;
    equal("edits", snapshot.edits, Edits::default())?;

    // And an end that is wished.
    handle.set_relay(Some(relay));
    eventually("the relay again", || Ok(tell("-Ln")?.contains("FWM  77 rr"))).await?;
    handle.set_relay(None);
    eventually("ended", || Ok(!tell("-Ln")?.contains("FWM") && sloppy_tcp()? == "0")).await?;
    let journal = std::fs::read_to_string(directory.join("ipvs-journal"))
        .map_err(|error| error.to_string())?;
    equal("forgotten", journal.contains(&key.to_string()), false)
}

fn sloppy_tcp() -> Result<String, Failure> {
    sysctl("net.ipv4.vs.sloppy_tcp")
}

async fn says_which_capability_is_missing(directory: &Path) -> Result<(), Failure> {
    let directory = directory.to_owned();
    // Capabilities belong to a thread, and the driver's thread inherits them.
    let thread = std::thread::spawn(move || {
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN)
            .map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        match runtime.block_on(IpvsHandle::spawn(&directory)) {
            Err(IpvsError::MissingCapability) => Ok(()),
            Err(error) => Err(format!("another error: {error}")),
            Ok(_) => Err("it started".to_owned()),
        }
    });
    thread.join().map_err(|_| "the thread panicked".to_owned())?
}
