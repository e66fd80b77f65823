//! Cases in which something goes wrong, or others get in the way.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fulcrum_director::ipvs::IpvsSnapshot;
use fulcrum_ipvs::Table;
use fulcrum_model::Scheduler;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::witness::{
    Failure, agrees, bare, driver, equal, eventually, run, server, stop, table, tell, until, want,
    web,
};

/// A real server with a connection gets weight 0, keeps the connection, and goes when it ends.
pub(crate) async fn connections_hold_what_leaves(directory: &Path) -> Result<(), Failure> {
    // The virtual server and its real server are this host's own: IPVS takes the connection all the same.
    let lo = |word: &str| {
        run("ip", &format!("address {word} 10.9.7.1/32 dev lo"))?;
        run("ip", &format!("address {word} 10.8.0.7/32 dev lo"))
    };
    lo("add")?;
    let result = hold_a_connection(directory).await;
    lo("del")?;
    result
}

async fn hold_a_connection(directory: &Path) -> Result<(), Failure> {
    let words = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).await.map_err(words)?;
    let (handle, mut snapshots) = driver(directory).await?;
    let key = web(7, 1);
    want(&handle, 1, table(&[(key, server(Scheduler::Rr, &[(7, 1)]))])).await?;
    let mut client = TcpStream::connect((Ipv4Addr::new(10, 9, 7, 1), 80)).await.map_err(words)?;
    let (mut accepted, _) = listener.accept().await.map_err(words)?;

    want(&handle, 2, table(&[(key, server(Scheduler::Rr, &[]))])).await?;
    let is_held = |s: &IpvsSnapshot| {
        let held = s.table.virtual_servers[&key].destinations.values().next();
        let connections = held.and_then(|held| held.connections);
        held.is_some_and(|held| held.settings.weight == 0)
            && connections.is_some_and(|c| c.active == 1)
    };
    until(&mut snapshots, "weight 0, one connection", is_held).await?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    client.write_all(b"still here").await.map_err(words)?;
    let mut text = [0; 10];
    accepted.read_exact(&mut text).await.map_err(words)?;
    equal("what was read", &text, b"still here")?;
    equal("nothing was deleted", snapshots.borrow().edits.deleted, 0)?;

    // A reset ends the connection in the kernel's table within 10 s (its timeout of closed connections).
    drop(accepted);
    client.set_zero_linger().map_err(words)?;
    drop(client);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let is_gone = |s: &IpvsSnapshot| s.table.virtual_servers[&key].destinations.is_empty();
    let snapshot = until(&mut snapshots, "gone with its last connection", is_gone).await?;
    equal("deleted", snapshot.edits.deleted, 1)
}

/// A network namespace whose lo is down refuses real servers.
pub(crate) async fn says_that_lo_is_down(directory: &Path) -> Result<(), Failure> {
    let directory = directory.to_owned();
    // Namespaces belong to a thread, and the driver's thread inherits them.
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let (handle, _snapshots) = driver(&directory).await?;
            let wanted = table(&[(web(0, 1), server(Scheduler::Rr, &[(1, 1)]))]);
            match want(&handle, 1, wanted).await {
                Err(words) if words.contains("lo is down") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    });
    thread.join().map_err(|_| "the thread panicked".to_owned())?
}

/// With the smallest receive buffer most acknowledgements are lost.
pub(crate) async fn lost_answers_are_found_by_reading(directory: &Path) -> Result<(), Failure> {
    let setting = "net.core.rmem_max";
    let before = run("sysctl", &format!("-n {setting}"))?;
    run("sysctl", &format!("-qw {setting}=4096"))?;
    let spawned = driver(directory).await;
    run("sysctl", &format!("-qw {setting}={}", before.trim()))?;
    let (handle, mut snapshots) = spawned?;
    let weights: Vec<(u8, u32)> = (1..=9).map(|host| (host, 1)).collect();
    let many = |weights: &[(u8, u32)]| -> Table {
        (0..200).map(|fourth| (web(2, fourth), server(Scheduler::Rr, weights))).collect()
    };
    let wanted = many(&weights);
    want(&handle, 1, wanted.clone()).await?;
    let is_there = |s: &IpvsSnapshot| bare(s.table.clone()) == wanted;
    let snapshot = until(&mut snapshots, "programmed", is_there).await?;
    agrees(&snapshot)?;
    let wanted = many(&[(1, 7)]);
    want(&handle, 2, wanted.clone()).await?;
    let read = handle.read().await.map_err(|error| error.to_string())?.table;
    let weight = |table: &Table| -> u32 {
        let servers = table.virtual_servers.values();
        servers.flat_map(|server| server.destinations.values()).map(|d| d.settings.weight).sum()
    };
    equal("the weights", weight(&read), weight(&wanted))
}

/// Another program edits without pause; when it stops, the table is as wanted.
pub(crate) async fn a_meddler_is_outlasted(directory: &Path) -> Result<(), Failure> {
    let (handle, snapshots) = driver(directory).await?;
    let wanted = |weight| -> Table {
        let weights = [(1, weight), (2, 5), (3, weight)];
        (0..4).map(|fourth| (web(3, fourth), server(Scheduler::Rr, &weights))).collect()
    };
    want(&handle, 1, wanted(1)).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let meddling = {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut edits = 0;
            while !is_over.load(Ordering::Relaxed) {
                for words in [
                    "-e -t 10.9.3.0:80 -r 10.8.0.1:80 -g -w 99",
                    "-d -t 10.9.3.1:80 -r 10.8.0.2:80",
                    "-D -t 10.9.3.2:80",
                    "-A -t 10.9.3.2:80 -s lc",
                    "-a -t 10.9.3.3:80 -r 10.8.0.55:80 -m",
                    "-E -t 10.9.3.3:80 -s wrr",
                ] {
                    // Refused where ours was quicker.
                    edits += u32::from(tell(words).is_ok());
                }
            }
            edits
        })
    };
    for generation in 2..300 {
        // What is refused meanwhile is another matter.
        let _ = want(&handle, generation, wanted(u32::try_from(generation % 3).unwrap_or(0))).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let edits = meddling.join().map_err(|_| "the meddler panicked".to_owned())?;
    let last = wanted(4);
    want(&handle, 1000, last.clone()).await?;
    // The last meddling may have come after the last look.
    eventually("as wanted", || {
        let snapshot = snapshots.borrow().clone();
        Ok(bare(snapshot.table.clone()) == last && agrees(&snapshot).is_ok())
    })
    .await?;
    println!("  the meddler made {edits} edits, {:?}", snapshots.borrow().edits);
    Ok(())
}

fn many() -> Table {
    let weights: Vec<(u8, u32)> = (1..=10).map(|host| (host, 1)).collect();
    (0..=255).map(|fourth| (web(4, fourth), server(Scheduler::Rr, &weights))).collect()
}

/// kill -9 in the middle of a burst; the next life finishes it and deletes nothing.
pub(crate) async fn killed_while_it_writes(directory: &Path) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for delay_ms in [20, 35, 50, 80, 120] {
        let mut child = Command::new(&program)
            .arg("hold")
            .arg(directory)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())?;
        let (handle, mut snapshots) = driver(directory).await?;
        let adopted = snapshots.borrow().table.clone();
        entries.push(adopted.entries());
        equal("foreign", adopted.virtual_servers.values().any(|v| v.foreign), false)?;
        want(&handle, 1, many()).await?;
        let snapshot = until(&mut snapshots, "finished", |s| s.generation == 1).await?;
        equal("deleted", snapshot.edits.deleted, 0)?;
        equal("all", adopted.entries() as u64 + snapshot.edits.added, 256 * 11)?;
        agrees(&snapshot)?;
        stop(handle, snapshots).await;
        tell("-C")?;
    }
    println!("  entries that the killed had made: {entries:?}");
    Ok(())
}

/// The victim: programs and stays.
pub(crate) async fn hold(directory: &Path) -> ExitCode {
    let handle = match driver(directory).await {
        Ok((handle, _snapshots)) => handle,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(failure) = want(&handle, 1, many()).await {
        eprintln!("{failure}");
        return ExitCode::FAILURE;
    }
    std::future::pending().await
}
