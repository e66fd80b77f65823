//! Reads what matters on a director. What cannot be read is left out.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use fulcrum_session::host::facts::PacketFilter;
use fulcrum_session::host::{self, Paths};

use super::Wanted;
use super::judge::{Facts, Presence};

/// As much of a file is read: the kernel's list of modules with what each needs has some hundred KiB.
const MOST_BYTES: u64 = 4 << 20;
/// Processes and descriptors that are looked at.
const MOST_ENTRIES: usize = 65_536;
/// IP protocol of VRRP.
const VRRP: &str = "0070";

/// The facts of this host.
pub(super) fn read(paths: &Paths, wanted: &Wanted, packet_filter: PacketFilter) -> Facts {
    let names: BTreeSet<String> =
        wanted.instances.iter().map(|instance| instance.interface.clone()).collect();
    let is_on = |path: &str| host::sysctl(path).map(|value| value != 0);
    Facts {
        host: host::read(paths, &names, packet_filter),
        missing_modules: missing(&wanted.modules),
        forwards_ipv4: is_on("net/ipv4/ip_forward"),
        forwards_ipv6: is_on("net/ipv6/conf/all/forwarding"),
        machine: machine(),
        other_routers: other_routers(),
    }
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Those that are neither loaded nor built in, each with whether it can be loaded.
fn missing(modules: &BTreeSet<String>) -> Vec<(String, Presence)> {
    let loaded = text(Path::new("/proc/modules")).unwrap_or_default();
    let is_loaded = |module: &str| {
        Path::new("/sys/module").join(module).exists()
            || loaded.lines().any(|line| line.split(' ').next() == Some(module))
    };
    let missing: Vec<&String> = modules.iter().filter(|module| !is_loaded(module)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let release = text(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let directory = Path::new("/lib/modules").join(release.trim());
    let lists = ["modules.builtin", "modules.dep"].map(|list| text(&directory.join(list)));
    let found = missing.into_iter().map(|module| {
        let file = format!("/{module}.ko");
        let is_there = lists.iter().flatten().any(|list| list.contains(&file));
        let presence = match (is_there, &lists[1]) {
            (true, _) => Presence::OnDisk,
            (false, Some(_)) => Presence::Nowhere,
            // A hardened unit hides them (`ProtectKernelModules`).
            (false, None) => Presence::Unknown,
        };
        (module.clone(), presence)
    });
    found.collect()
}

/// Vendor and product as the firmware tells them.
fn machine() -> String {
    let of = |file: &str| text(&Path::new("/sys/class/dmi/id").join(file)).unwrap_or_default();
    format!("{} {}", of("sys_vendor").trim(), of("product_name").trim()).trim().to_owned()
}

/// Other programs of this network namespace that speak VRRP, by their names where those can be seen.
fn other_routers() -> Vec<String> {
    // Before and after, for one of ours may come or go while the tables are read.
    let mut ours = own_sockets();
    let tables = ["/proc/net/raw", "/proc/net/raw6"].map(|path| text(Path::new(path)));
    ours.extend(own_sockets());
    let speaks = tables.iter().flatten().flat_map(|table| table.lines().skip(1)).any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // A raw socket's local port is its protocol; after uid and timeout comes its inode.
        let protocol = words.get(1).and_then(|local| local.rsplit_once(':'));
        protocol.is_some_and(|(_, protocol)| protocol == VRRP)
            && words.get(9).is_some_and(|inode| !ours.contains(*inode))
    });
    let mut names: Vec<String> =
        keepalived().then(|| "keepalived".to_owned()).into_iter().collect();
    if speaks && names.is_empty() {
        names.push("a program with a raw socket of IP protocol 112".to_owned());
    }
    names
}

/// Inodes of this program's sockets.
fn own_sockets() -> BTreeSet<String> {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets =
        descriptors.take(MOST_ENTRIES).filter_map(|entry| fs::read_link(entry.path()).ok());
    let inodes = targets.filter_map(|target| {
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    });
    inodes.collect()
}

/// Whether a process of that name runs in this network namespace. A hardened unit sees no other processes
/// (`ProtectProc`): then their sockets are all there is to see.
fn keepalived() -> bool {
    let Ok(here) = fs::read_link("/proc/self/ns/net") else { return false };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().take(MOST_ENTRIES);
    processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()).any(
        |entry| {
            text(&entry.path().join("comm")).is_some_and(|name| name.trim() == "keepalived")
                && fs::read_link(entry.path().join("ns/net")).is_ok_and(|there| there == here)
        },
    )
}
