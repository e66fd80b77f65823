//! ipvsadm, and small tables.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulcrum_director::ipvs::{Desired, IpvsHandle, IpvsSnapshot, kernel_to_wire, table_to_wire};
use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, DestinationSettings, Forwarding, Table,
    VirtualServer, VirtualServerKey, VirtualServerSettings,
};
use fulcrum_model::Scheduler;
use fulcrum_proto::ipvsadm;
use tokio::sync::watch;

/// What a case says when it fails.
pub(crate) type Failure = String;

/// Runs ipvsadm with these words, separated by blanks.
pub(crate) fn tell(words: &str) -> Result<String, Failure> {
    run("ipvsadm", words)
}

/// Runs a program with these words, separated by blanks.
pub(crate) fn run(program: &str, words: &str) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {words}: {said}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ipvsadm -R` with these rules.
pub(crate) fn restore(rules: &str) -> Result<(), Failure> {
    let mut child = Command::new("ipvsadm")
        .arg("-R")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ipvsadm -R: {error}"))?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    input.write_all(rules.as_bytes()).map_err(|error| format!("ipvsadm -R: {error}"))?;
    drop(input);
    let status = child.wait().map_err(|error| format!("ipvsadm -R: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("ipvsadm -R: {status}")) }
}

/// Fails unless ipvsadm prints what the driver's snapshot says, to the letter.
pub(crate) fn agrees(snapshot: &IpvsSnapshot) -> Result<(), Failure> {
    let printed = tell("-Ln")?;
    let kernel = snapshot.kernel.as_ref().map(kernel_to_wire);
    let ours = ipvsadm::listing(
        ipvsadm::Format::default(),
        kernel.as_ref(),
        &table_to_wire(&snapshot.table, &snapshot.traffic, None),
    );
    equal("ipvsadm -Ln and ours", printed, ours)
}

/// Fails unless both are equal.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    left: T,
    right: T,
) -> Result<(), Failure> {
    if left == right { Ok(()) } else { Err(format!("{what}:\n  {left:?}\n  {right:?}")) }
}

/// The virtual server 10.9.`third`.`fourth`:80.
pub(crate) fn web(third: u8, fourth: u8) -> VirtualServerKey {
    VirtualServerKey::tcp(Ipv4Addr::new(10, 9, third, fourth).into(), 80)
}

/// A virtual server with real servers 10.8.0.n:80 of these weights, by direct routing.
pub(crate) fn server(scheduler: Scheduler, weights: &[(u8, u32)]) -> VirtualServer {
    let destination = |(host, weight): &(u8, u32)| {
        let key = DestinationKey { address: Ipv4Addr::new(10, 8, 0, *host).into(), port: 80 };
        let settings = DestinationSettings::new(*weight, Forwarding::Route);
        (key, Destination { settings, connections: None })
    };
    VirtualServer {
        settings: VirtualServerSettings::new(scheduler, AddressFamily::V4),
        destinations: weights.iter().map(destination).collect(),
        foreign: false,
    }
}

/// A table of these.
pub(crate) fn table(servers: &[(VirtualServerKey, VirtualServer)]) -> Table {
    servers.iter().cloned().collect()
}

/// A table as it was read, without what only a kernel knows.
pub(crate) fn bare(mut table: Table) -> Table {
    for server in table.virtual_servers.values_mut().map(Arc::make_mut) {
        server.destinations.change(|_, destination| destination.connections = None);
    }
    table
}

/// A driver of this network namespace.
pub(crate) async fn driver(
    directory: &Path,
) -> Result<(IpvsHandle, watch::Receiver<IpvsSnapshot>), Failure> {
    IpvsHandle::spawn(directory).await.map_err(|error| error.to_string())
}

/// Ends a driver and waits for it.
pub(crate) async fn stop(handle: IpvsHandle, mut snapshots: watch::Receiver<IpvsSnapshot>) {
    drop(handle);
    while snapshots.changed().await.is_ok() {}
}

/// Wants a table and waits until it is in the kernel.
pub(crate) async fn want(
    handle: &IpvsHandle,
    generation: u64,
    table: Table,
) -> Result<(), Failure> {
    let desired = Desired { generation, revision: generation, table, ..Desired::default() };
    handle.set_desired(desired);
    handle.converged(generation).await.map_err(|refused| refused.to_string())
}

/// Waits until the snapshot is as `is_wanted` says.
pub(crate) async fn until(
    snapshots: &mut watch::Receiver<IpvsSnapshot>,
    what: &str,
    is_wanted: impl FnMut(&IpvsSnapshot) -> bool,
) -> Result<IpvsSnapshot, Failure> {
    let patience = Duration::from_secs(5);
    let waited = tokio::time::timeout(patience, snapshots.wait_for(is_wanted)).await;
    let waited = waited.map(|found| found.map(|snapshot| snapshot.clone()));
    let found = match waited {
        Ok(Ok(snapshot)) => Ok(snapshot),
        Ok(Err(_)) => Err(format!("{what}: the driver has ended")),
        Err(_) => Err(format!("{what}: not within {} s", patience.as_secs())),
    };
    found.map_err(|error| {
        let told = snapshots.borrow();
        format!("{error}; {:?}, {:?}, {:?}", told.edits, told.problems, told.table)
    })
}

/// Waits until `is_so`, for 5 s.
pub(crate) async fn eventually(
    what: &str,
    is_so: impl Fn() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if is_so()? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{what}: not within 5 s; {}", tell("-Ln")?))
}
