//! How long it takes to program many virtual servers, beside `ipvsadm -R`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulcrum_director::ipvs::IpvsHandle;
use fulcrum_ipvs::Table;
use fulcrum_model::Scheduler;

use crate::witness::{Failure, bare, driver, equal, restore, server, stop, table, tell, want, web};

/// Times that each side programs the table, in turn, for the machine is never quite the same.
const ROUNDS: usize = 5;

/// Prints one line of figures.
pub(crate) async fn run(state_dir: &Path, virtual_servers: u16) -> ExitCode {
    match measure(state_dir, virtual_servers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("bulk FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(state_dir: &Path, virtual_servers: u16) -> Result<(), Failure> {
    let weights: Vec<(u8, u32)> = (1..=10).map(|host| (host, 1)).collect();
    let name = |index: u16| {
        let [third, fourth] = index.to_be_bytes();
        web(third, fourth)
    };
    let servers: Vec<_> =
        (0..virtual_servers).map(|index| (name(index), server(Scheduler::Rr, &weights))).collect();
    let whole = table(&servers);

    let mut rules = String::new();
    for (key, server) in &whole.virtual_servers {
        let vip = key.to_string().replace("TCP ", "");
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "-A -t {vip} -s rr");
        for rip in server.destinations.keys() {
            let _ = writeln!(rules, "-a -t {vip} -r {rip} -g -w 1");
        }
    }
    let mut ipvsadm = Vec::new();
    let mut ours = Vec::new();
    for round in 0..ROUNDS {
        tell("-C")?;
        let began = Instant::now();
        restore(&rules)?;
        ipvsadm.push(began.elapsed());
        tell("-C")?;
        let (handle, snapshots) = driver(&state_dir.join(round.to_string())).await?;
        let began = Instant::now();
        want(&handle, 1, whole.clone()).await?;
        ours.push(began.elapsed());
        stop(handle, snapshots).await;
    }
    tell("-C")?;
    let (handle, snapshots) = driver(&state_dir.join("last")).await?;
    want(&handle, 1, whole.clone()).await?;
    let began = Instant::now();
    let read = handle.read().await.map_err(|error| error.to_string())?;
    let reading = began.elapsed();
    equal("what was read", bare(read), whole.clone())?;

    let one_weight = weight_changes(&handle, &whole, 2, 20).await?;
    let reader = handle.clone();
    let reading_whole = tokio::spawn(async move { reader.read().await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let during = weight_changes(&handle, &whole, 500, 1).await?;
    reading_whole.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let mut more = whole.clone();
    more.virtual_servers.insert(web(250, 1), Arc::new(server(Scheduler::Rr, &weights)));
    let began = Instant::now();
    want(&handle, 1000, more).await?;
    let one_more = began.elapsed();
    println!(
        "bulk: {virtual_servers} x 10, {ROUNDS} rounds: ipvsadm -R {}, driver {}; read back {} ms; then one weight {} us \
         (median of 20), one during a whole read {} us, one virtual server more {} us; problems {:?}",
        median_and_least(ipvsadm),
        median_and_least(ours),
        reading.as_millis(),
        one_weight.as_micros(),
        during.as_micros(),
        one_more.as_micros(),
        snapshots.borrow().problems,
    );
    Ok(())
}

fn median_and_least(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{} ms (least {} ms)", times[times.len() / 2].as_millis(), times[0].as_millis())
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
        let destination =
            Arc::make_mut(server).destinations.values_mut().next().ok_or("no real server")?;
        destination.settings.weight = turn % 2;
        let began = Instant::now();
        want(handle, first_generation + u64::from(turn), changed).await?;
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    times.sort();
    Ok(times[times.len() / 2])
}
