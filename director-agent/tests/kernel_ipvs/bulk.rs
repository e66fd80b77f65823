//! How long it takes to program many virtual servers, beside `ipvsadm -R`.
//!
//! Each side wants a kernel of its own, just booted: deleted real servers stay in the kernel for two minutes, and
//! every addition looks through them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulcrum_director::ipvs::IpvsHandle;
use fulcrum_ipvs::Table;
use fulcrum_model::Scheduler;

use crate::witness::{Failure, bare, driver, equal, restore, server, want, web};

/// Real servers of each virtual server.
const WEIGHTS: [(u8, u32); 10] =
    [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1)];

/// Prints one line of the driver's figures.
pub(crate) async fn run(state_dir: &Path, virtual_servers: u16) -> ExitCode {
    told(measure(state_dir, virtual_servers).await)
}

/// Prints one line of ipvsadm's figure.
pub(crate) fn run_ipvsadm(virtual_servers: u16) -> ExitCode {
    told(measure_ipvsadm(virtual_servers))
}

fn told(result: Result<String, Failure>) -> ExitCode {
    match result {
        Ok(figures) => {
            println!("bulk: {figures}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("bulk FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn table_of(virtual_servers: u16) -> Table {
    let name = |index: u16| {
        let [third, fourth] = index.to_be_bytes();
        web(third, fourth)
    };
    (0..virtual_servers).map(|index| (name(index), server(Scheduler::Rr, &WEIGHTS))).collect()
}

fn measure_ipvsadm(virtual_servers: u16) -> Result<String, Failure> {
    let mut rules = String::new();
    for (key, server) in &table_of(virtual_servers).virtual_servers {
        let vip = key.to_string().replace("TCP ", "");
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "-A -t {vip} -s rr");
        for rip in server.destinations.keys() {
            let _ = writeln!(rules, "-a -t {vip} -r {rip} -g -w 1");
        }
    }
    let began = Instant::now();
    restore(&rules)?;
    Ok(format!("{virtual_servers} x 10: ipvsadm -R {} ms", began.elapsed().as_millis()))
}

async fn measure(state_dir: &Path, virtual_servers: u16) -> Result<String, Failure> {
    let whole = table_of(virtual_servers);
    let (handle, snapshots) = driver(state_dir).await?;
    let began = Instant::now();
    want(&handle, 1, whole.clone()).await?;
    let programmed = began.elapsed();
    let began = Instant::now();
    let read = handle.read().await.map_err(|error| error.to_string())?.table;
    let reading = began.elapsed();
    equal("what was read", bare(read), whole.clone())?;

    let one_weight = weight_changes(&handle, &whole, 2, 20).await?;
    let reader = handle.clone();
    let reading_whole = tokio::spawn(async move { reader.read().await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let during = weight_changes(&handle, &whole, 500, 1).await?;
    reading_whole.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let mut more = whole.clone();
    more.virtual_servers.insert(web(250, 1), Arc::new(server(Scheduler::Rr, &WEIGHTS)));
    let began = Instant::now();
    want(&handle, 1000, more).await?;
    let one_more = began.elapsed();
    let problems = snapshots.borrow().problems.clone();
    equal("problems", problems, vec![])?;
    Ok(format!(
        "{virtual_servers} x 10: driver {} ms, read back {} ms; then one weight {} us (median of 20), one \
         during a whole read {} us, one virtual server more {} us",
        programmed.as_millis(),
        reading.as_millis(),
        one_weight.as_micros(),
        during.as_micros(),
        one_more.as_micros(),
    ))
}

/// The median time of one weight's change in the whole table.
async fn weight_changes(
    handle: &IpvsHandle,
    whole: &Table,
    first_generation: u64,
    changes: u32,
) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for turn in 0..changes {
        let mut changed = whole.clone();
        let key = web(1, 1);
        let server = changed.virtual_servers.get_mut(&key).ok_or("no such virtual server")?;
        let destinations = &mut Arc::make_mut(server).destinations;
        let (name, mut destination) = destinations.iter().next().ok_or("no real server")?;
        destination.settings.weight = turn % 2;
        destinations.insert(name, destination);
        let began = Instant::now();
        want(handle, first_generation + u64::from(turn), changed).await?;
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    times.sort();
    Ok(times[times.len() / 2])
}
