//! Reads the facts of this network namespace. What cannot be read is left out: it is most often not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fulcrum_model::Cidr;
use fulcrum_runtime::certificate;
use fulcrum_runtime::tls::TlsFiles;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use nix::sys::statvfs::statvfs;
use tokio::io::AsyncReadExt as _;

use super::facts::{Bridge, Certificate, Disk, HostFacts, Interface, Manager, PacketFilter};
use super::packet_filter::invalid_drops;

/// Interfaces that are looked at: a host with more has containers, not more VIPs.
const MOST_INTERFACES: usize = 256;
/// As much of a file is read: those of /proc, /sys and /run that are read here are far smaller.
const MOST_BYTES: u64 = 64 * 1024;
/// As much of the rules is read.
const MOST_RULES_BYTES: u64 = 8 << 20;
/// `ARPHRD_TUNNEL`, `ARPHRD_TUNNEL6`, `ARPHRD_SIT` and `ARPHRD_IPGRE` of `linux/if_arp.h`.
const TUNNELS: [u32; 4] = [768, 769, 776, 778];
/// Longest time for nft: 10,000 rules take it a second.
const NFT_WITHIN: Duration = Duration::from_secs(5);

/// The program's own files.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Where it keeps its state.
    pub state_dir: PathBuf,
    /// Its identity.
    pub tls: Option<TlsFiles>,
}

/// Reads all that is the same for both agents, of these interfaces and of those that carry addresses.
pub fn read(paths: &Paths, names: &BTreeSet<String>, packet_filter: PacketFilter) -> HostFacts {
    HostFacts {
        interfaces: interfaces(names),
        packet_filter,
        disk: disk(&paths.state_dir),
        certificates: certificates(paths.tls.as_ref()),
    }
}

/// The certificates of an identity, each with its end.
pub fn certificates(tls: Option<&TlsFiles>) -> Vec<Certificate> {
    let files = tls.map(certificate::of_identity).unwrap_or_default();
    let files = files.into_iter().map(|(path, ends_at)| Certificate {
        path: path.to_owned(),
        ends_at: ends_at.map_err(|error| error.to_string()),
    });
    files.collect()
}

/// A setting below /proc/sys, by its path there.
pub fn sysctl(path: &str) -> Option<u32> {
    text(&Path::new("/proc/sys").join(path))?.trim().parse().ok()
}

/// A small file's text.
fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

fn interfaces(names: &BTreeSet<String>) -> BTreeMap<String, Interface> {
    // Those that were asked for first: others make way for them.
    let mut found: BTreeMap<String, Interface> =
        names.iter().map(|name| (name.clone(), Interface::default())).collect();
    for address in getifaddrs().into_iter().flatten() {
        let name = address.interface_name;
        if found.len() >= MOST_INTERFACES && !found.contains_key(&name) {
            continue;
        }
        let interface = found.entry(name).or_default();
        let ip = address.address.as_ref().and_then(ip_of);
        let mask = address.netmask.as_ref().and_then(ip_of);
        if let (Some(ip), Some(mask)) = (ip, mask) {
            interface.addresses.extend(Cidr::new(ip, prefix_length(mask)));
        }
    }
    for (name, interface) in &mut found {
        describe(name, interface);
    }
    found.retain(|_, interface| interface.index != 0);
    found
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn prefix_length(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

fn describe(name: &str, interface: &mut Interface) {
    let device = Path::new("/sys/class/net").join(name);
    let number = |file: &str| text(&device.join(file))?.trim().parse::<u32>().ok();
    interface.index = number("ifindex").unwrap_or(0);
    interface.mtu = number("mtu");
    interface.is_tunnel = number("type").is_some_and(|of| TUNNELS.contains(&of));
    // IFF_UP of linux/if.h is the lowest bit.
    interface.is_up = text(&device.join("flags")).is_some_and(|flags| {
        let digits = flags.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16).is_ok_and(|flags| flags & 1 == 1)
    });
    let setting = |whose: &str, key: &str| sysctl(&format!("net/ipv4/conf/{whose}/{key}"));
    interface.rp_filter = setting(name, "rp_filter").max(setting("all", "rp_filter"));
    interface.send_redirects =
        [name, "all"].iter().any(|whose| setting(whose, "send_redirects").is_some_and(|v| v != 0));
    interface.bridge = bridge(name, &device);
    interface.manager = manager(interface.index);
}

fn bridge(name: &str, device: &Path) -> Option<Bridge> {
    let (name, directory) = match fs::read_link(device.join("brport/bridge")) {
        Ok(of) => {
            let name = of.file_name()?.to_string_lossy().into_owned();
            let directory = Path::new("/sys/class/net").join(&name).join("bridge");
            (name, directory)
        }
        Err(_) => (name.to_owned(), device.join("bridge")),
    };
    let is_set = |file: &str| Some(text(&directory.join(file))?.trim() != "0");
    Some(Bridge {
        name,
        is_snooping: is_set("multicast_snooping")?,
        is_querier: is_set("multicast_querier")?,
    })
}

fn manager(index: u32) -> Option<Manager> {
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let managed = text(&Path::new("/run/NetworkManager/devices").join(index.to_string()));
    let managed = managed.and_then(|text| value(&text, "managed"));
    if managed.is_some_and(|value| value == "true" || value == "1") {
        return Some(Manager::NetworkManager);
    }
    let link = text(&Path::new("/run/systemd/netif/links").join(index.to_string()))?;
    let state = value(&link, "ADMIN_STATE")?;
    if state != "configured" && state != "configuring" {
        return None;
    }
    let files = ["NETWORK_FILE", "NETWORK_FILE_DROPINS"].map(|key| value(&link, key));
    let kept = files
        .iter()
        .flatten()
        .flat_map(|paths| paths.split(':'))
        .filter_map(|path| value(&text(Path::new(path))?, "KeepConfiguration"))
        .next_back();
    let keeps = kept.is_some_and(|value| ["yes", "true", "1", "on", "static"].contains(&&*value));
    (!keeps).then_some(Manager::Networkd)
}

/// Room on the disk of a directory; none where it cannot be seen.
pub fn disk(path: &Path) -> Option<Disk> {
    let found = statvfs(path).ok()?;
    Some(Disk {
        path: path.to_owned(),
        free_bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        // Some file systems count no inodes at all.
        free_inodes: (found.files() > 0).then(|| found.files_available()),
    })
}

/// The rules about connection tracking, as nft tells them.
pub(super) async fn packet_filter() -> PacketFilter {
    if sysctl("net/netfilter/nf_conntrack_max").is_none() {
        return PacketFilter::TracksNothing;
    }
    let seen = tokio::time::timeout(NFT_WITHIN, ruleset()).await;
    let drops = match seen {
        Err(_) => Err(format!("nft did not end within {} s", NFT_WITHIN.as_secs())),
        Ok(Err(why)) => Err(why),
        Ok(Ok(json)) => {
            invalid_drops(&json).map_err(|error| format!("nft printed no JSON: {error}"))
        }
    };
    match drops {
        Ok(drops) => {
            let liberal = sysctl("net/netfilter/nf_conntrack_tcp_be_liberal");
            PacketFilter::Seen { drops, is_liberal: liberal.is_some_and(|value| value != 0) }
        }
        Err(why) => PacketFilter::Unseen(why),
    }
}

async fn ruleset() -> Result<String, String> {
    let mut nft = tokio::process::Command::new("nft")
        .args(["-j", "list", "ruleset"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("nft cannot be run: {error}"))?;
    let mut json = String::new();
    if let Some(stdout) = nft.stdout.take() {
        let read = stdout.take(MOST_RULES_BYTES).read_to_string(&mut json).await;
        read.map_err(|error| format!("nft cannot be heard: {error}"))?;
    }
    let ended = nft.wait().await.map_err(|error| format!("nft cannot be waited for: {error}"))?;
    if ended.success() { Ok(json) } else { Err(format!("nft ended with {ended}")) }
}
