//! The host's settings: set, repaired, put back; and a /proc/sys that takes no writes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use fulcrum_director::ipvs::{HostSettings, IpvsHandle, restore};
use fulcrum_model::{IpvsSettings, SyncThreshold};

use crate::witness::{Failure, driver, equal, eventually, run as command, stop, tell, until};

/// The agent's look at settings comes round every 10 s.
const LOOK: Duration = Duration::from_secs(12);

/// A sysctl's value, its words one blank apart.
pub(crate) fn sysctl(name: &str) -> Result<String, Failure> {
    let printed = command("sysctl", &format!("-n {name}"))?;
    Ok(printed.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// All settings of ours, as sysctl and ipvsadm print them.
fn host() -> Result<String, Failure> {
    let names = [
        "expire_nodest_conn",
        "expire_quiescent_template",
        "conn_reuse_mode",
        "sloppy_tcp",
        "conntrack",
        "backup_only",
        "sync_threshold",
    ];
    let values: Result<Vec<String>, Failure> =
        names.iter().map(|name| sysctl(&format!("net.ipv4.vs.{name}"))).collect();
    let forward = sysctl("net.ipv4.ip_forward")?;
    let timeouts = tell("-L --timeout")?;
    let timeouts = timeouts.trim().trim_start_matches("Timeout (tcp tcpfin udp): ");
    Ok(format!("{} | {forward} | {timeouts}", values?.join(", ")))
}

fn some() -> IpvsSettings {
    IpvsSettings {
        tcp_timeout: Some(Duration::from_mins(10)),
        udp_timeout: Some(Duration::from_secs(30)),
        conntrack: Some(true),
        sync_threshold: SyncThreshold::new(4, 40),
        ip_forward: Some(true),
        ..IpvsSettings::default()
    }
}

async fn settles(handle: &IpvsHandle, ordered: IpvsSettings, wanted: &str) -> Result<(), Failure> {
    handle.set_settings(HostSettings { ordered, ..HostSettings::default() });
    eventually(wanted, || Ok(host()? == wanted)).await.map_err(|error| {
        let found = host().unwrap_or_else(|failure| failure);
        format!("{error}\n  {found}")
    })
}

/// Clears what earlier cases have left.
fn as_booted() -> Result<(), Failure> {
    for (name, value) in [
        ("expire_nodest_conn", "0"),
        ("expire_quiescent_template", "0"),
        ("conn_reuse_mode", "1"),
        ("sloppy_tcp", "0"),
    ] {
        command("sysctl", &format!("-q -w net.ipv4.vs.{name}={value}"))?;
    }
    Ok(())
}

pub(crate) async fn settings_are_set_repaired_and_put_back(
    directory: &Path,
) -> Result<(), Failure> {
    as_booted()?;
    let booted = host()?;
    equal("booted", booted.as_str(), "0, 0, 1, 0, 0, 0, 3 50 | 0 | 900 120 300")?;
    let (handle, mut snapshots) = driver(directory).await?;
    settles(&handle, some(), "1, 1, 3, 0, 1, 0, 4 40 | 1 | 600 120 30").await?;

    // Another program sets one, and ipvsadm another.
    command("sysctl", "-q -w net.ipv4.vs.conntrack=0")?;
    tell("--set 700 0 0")?;
    let look = tokio::time::timeout(
        LOOK,
        snapshots.wait_for(|told| {
            told.problems.iter().any(|p| p.contains("net.ipv4.vs.conntrack was 0"))
        }),
    );
    look.await.map_err(|_| "not told as drift")?.map_err(|error| error.to_string())?;
    equal("repaired", host()?.as_str(), "1, 1, 3, 0, 1, 0, 4 40 | 1 | 600 120 30")?;

    // What is no longer wanted goes back, also in a later life.
    settles(&handle, IpvsSettings::default(), "1, 1, 3, 0, 0, 0, 3 50 | 0 | 900 120 300").await?;
    settles(&handle, some(), "1, 1, 3, 0, 1, 0, 4 40 | 1 | 600 120 30").await?;
    stop(handle, snapshots).await;
    equal("it stands", host()?.as_str(), "1, 1, 3, 0, 1, 0, 4 40 | 1 | 600 120 30")?;
    let (handle, snapshots) = driver(directory).await?;
    let sloppy = IpvsSettings { sloppy_tcp: Some(true), ..some() };
    settles(&handle, sloppy, "1, 1, 3, 1, 1, 0, 4 40 | 1 | 600 120 30").await?;
    stop(handle, snapshots).await;

    // The host is left, with one setting changed by another program.
    set_threshold("5 55")?;
    let restored = restore(directory).await.map_err(|error| error.to_string())?;
    let lines: Vec<String> = restored.iter().map(ToString::to_string).collect();
    println!("  {}", lines.join("\n  "));
    let left =
        "net.ipv4.vs.sync_threshold is 5 55, which another program gave it after us: left alone";
    equal("left", lines.iter().any(|line| line == left), true)?;
    equal("restored", host()?.as_str(), "0, 0, 1, 0, 0, 0, 5 55 | 0 | 900 120 300")?;
    let again = restore(directory).await.map_err(|error| error.to_string())?;
    equal("nothing is left to put back", again.len(), 0)?;
    set_threshold("3 50")
}

/// A value with a blank is one word to sysctl only in a shell.
fn set_threshold(value: &str) -> Result<(), Failure> {
    std::fs::write("/proc/sys/net/ipv4/vs/sync_threshold", value).map_err(|error| error.to_string())
}

/// Starts a driver in a mount namespace whose /proc/sys is read-only, as `ProtectKernelTunables` makes it.
pub(crate) async fn says_what_cannot_be_set(directory: &Path) -> Result<(), Failure> {
    as_booted()?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let script = format!(
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec {} read-only {}",
        own.display(),
        directory.display()
    );
    let child = tokio::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output();
    let output = child.await.map_err(|error| format!("unshare: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in [
        "net.ipv4.vs.expire_nodest_conn cannot be set to 1 (Read-only file system (os error 30)), so clients",
        "net.ipv4.ip_forward cannot be set to 1 (Read-only file system (os error 30)), so answers",
        "give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no ProtectKernelTunables), or set it by \
         hand: `sysctl -w net.ipv4.ip_forward=\"1\"`",
    ] {
        equal(&format!("{expected} in {printed}"), printed.contains(expected), true)?;
    }
    // Netlink knows nothing of mounts.
    equal("not told", printed.contains("ipvs.tcp_timeout"), false)?;
    equal("set and unset", host()?.as_str(), "0, 0, 1, 0, 0, 0, 3 50 | 0 | 600 120 30")?;
    restore(directory).await.map_err(|error| error.to_string())?;
    equal("restored", host()?.as_str(), "0, 0, 1, 0, 0, 0, 3 50 | 0 | 900 120 300")
}

/// The driver of that case: prints its problems.
pub(crate) async fn read_only(directory: &Path) -> ExitCode {
    let told = async {
        let (handle, mut snapshots) = driver(directory).await?;
        handle.set_settings(HostSettings { ordered: some(), ..HostSettings::default() });
        let snapshot = until(&mut snapshots, "problems", |told| told.problems.len() > 4).await?;
        for problem in &snapshot.problems {
            println!("{problem}");
        }
        stop(handle, snapshots).await;
        Ok::<(), Failure>(())
    };
    match told.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
