//! What is wrong with a host, whichever agent runs there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::{Code, HostRole, Look};
use fulcrum_proto::v1::{Finding, Unchecked};

use super::facts::{Certificate, Disk, HostFacts, Manager, PacketFilter};

/// A certificate that ends within this time is told of: long enough for people who are on holiday.
pub const ENDS_SOON: Duration = Duration::from_hours(14 * 24);
/// Below this a plan of usual size may not be saved.
const NO_ROOM: u64 = 1 << 20;
/// Below this something fills the disk.
const LITTLE_ROOM: u64 = 64 << 20;
/// Below this something makes files without end: a program of ours makes some ten.
const FEW_INODES: u64 = 1_000;

/// What both agents look at. VIPs stand on `vip_interfaces`; clients' packets come in by `client_interfaces`.
pub fn host(
    role: HostRole,
    host: &HostFacts,
    vip_interfaces: &BTreeSet<String>,
    client_interfaces: &BTreeSet<String>,
    now: SystemTime,
) -> Look {
    let mut findings = packet_filter(role, &host.packet_filter, client_interfaces);
    findings.extend(managers(host, vip_interfaces));
    findings.extend(host.disk.iter().filter_map(disk));
    findings.extend(host.certificates.iter().filter_map(|file| certificate(role, file, now)));
    let unchecked = unseen_disk(host.disk.as_ref()).into_iter();
    let unchecked = unchecked.chain(no_certificates(&host.certificates)).collect();
    Look { findings, unchecked }
}

/// A program that has no certificates: nothing of them is well.
pub fn no_certificates(certificates: &[Certificate]) -> Option<Unchecked> {
    let is_plain = certificates.is_empty();
    is_plain.then(|| Code::Certificate.unchecked("no [tls] is configured: there are none"))
}

/// A disk that cannot be seen.
pub fn unseen_disk(disk: Option<&Disk>) -> Option<Unchecked> {
    disk.is_none().then(|| Code::DiskSpace.unchecked("the room on its disk cannot be read"))
}

/// A director in dr and tunnel sees clients' half alone. Without `net.ipv4.vs.conntrack` IPVS takes its packets out of
/// tracking on their way on, so that each is the first of its connection for the next rule: a FIN or RST as first packet
/// is invalid (Linux `net/netfilter/nf_conntrack_proto_tcp.c`), and in nat so is every answer. A real server sees both
/// halves, except of connections that began before its tracking did.
fn packet_filter(
    role: HostRole,
    filter: &PacketFilter,
    interfaces: &BTreeSet<String>,
) -> Vec<Finding> {
    let is_director = match role {
        HostRole::Director => true,
        HostRole::RealServer => false,
        // No client's packet comes by.
        HostRole::Controller => return Vec::new(),
    };
    // Without VIPs no packet matters.
    if interfaces.is_empty() {
        return Vec::new();
    }
    let drops = match filter {
        PacketFilter::TracksNothing => return Vec::new(),
        PacketFilter::Unseen(why) => {
            return vec![Code::ConntrackInvalid.warning(
                "",
                format!("the packet filter's rules cannot be read: {why}"),
                "install nftables and let the agent run `nft`; by hand, see whether rules drop \
                 state INVALID",
            )];
        }
        // Whoever is liberal with packets outside the window loses sight of nothing on a real server.
        PacketFilter::Seen { is_liberal: true, .. } if !is_director => return Vec::new(),
        PacketFilter::Seen { drops, .. } => drops,
    };
    let third = if is_director { "forward" } else { "output" };
    let concerns = |hook: &str| ["prerouting", "input", third].contains(&hook);
    let takes = |named: &BTreeSet<String>| {
        interfaces.iter().any(|interface| {
            named.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => interface.starts_with(start),
                None => name == interface,
            })
        })
    };
    let drops = drops
        .iter()
        .filter(|drop| concerns(&drop.hook) && drop.interfaces.as_ref().is_none_or(takes));
    let finding = |chain: &str, hook: &str| {
        if is_director {
            return Code::ConntrackInvalid.error(
                chain,
                format!(
                    "a rule at {hook} drops packets of state invalid: of connections through IPVS a \
                     director sees one half alone, so their ends, and in nat every answer, are dropped"
                ),
                format!(
                    "`nft -a list chain {chain}` shows it: accept packets to the VIPs, and in nat those of \
                     real servers, before that rule, or `nft delete rule {chain} handle HANDLE`"
                ),
            );
        }
        Code::ConntrackInvalid.warning(
            chain,
            format!(
                "a rule at {hook} drops packets of state invalid: connections that began before \
                 tracking did, or that it has lost sight of, hang"
            ),
            format!(
                "accept packets of the VIPs before that rule (`nft -a list chain {chain}`), or \
                 `sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1`"
            ),
        )
    };
    drops.map(|drop| finding(&drop.chain, &drop.hook)).collect()
}

fn managers<'a>(
    host: &'a HostFacts,
    vip_interfaces: &'a BTreeSet<String>,
) -> impl Iterator<Item = Finding> + 'a {
    vip_interfaces.iter().filter_map(|name| match host.interfaces.get(name)?.manager? {
        Manager::NetworkManager => Some(Code::ManagedInterface.warning(
            name,
            format!(
                "NetworkManager manages {name}, and removes addresses that are not its own \
                     when it configures it"
            ),
            format!(
                "`nmcli device set {name} managed no`, for good by \
                     unmanaged-devices=interface-name:{name} in NetworkManager.conf"
            ),
        )),
        Manager::Networkd => Some(Code::ManagedInterface.warning(
            name,
            format!(
                "systemd-networkd manages {name}, and removes addresses that are not its own \
                     when it starts or reloads"
            ),
            format!(
                "put KeepConfiguration=yes into [Network] of {name}'s .network file, then \
                     `networkctl reload`"
            ),
        )),
    })
}

fn disk(disk: &Disk) -> Option<Finding> {
    let path = disk.path.display().to_string();
    let remedy = format!(
        "`df -h {path}` shows the disk, `du -xh MOUNT | sort -h | tail` what fills it: free space, or move \
         state_dir to another one"
    );
    let mebibytes = disk.free_bytes >> 20;
    if let Some(finding) = inodes(disk) {
        return Some(finding);
    }
    if disk.free_bytes < NO_ROOM {
        let found = "its disk is full: the agent cannot save its plan, so a restart without \
                     controllers runs on an old one";
        return Some(Code::DiskSpace.error(path, found, remedy));
    }
    (disk.free_bytes < LITTLE_ROOM).then(|| {
        Code::DiskSpace.warning(path, format!("its disk has {mebibytes} MiB left"), remedy)
    })
}

/// What is wrong with the number of files that can be made.
pub fn inodes(disk: &Disk) -> Option<Finding> {
    let left = disk.free_inodes?;
    let path = disk.path.display().to_string();
    let remedy = format!(
        "`df -i {path}` shows the file system, `du -x --inodes MOUNT | sort -n | tail` who makes the files: \
         remove them"
    );
    if left == 0 {
        let found = "its file system has no inode left, so no file can be made";
        return Some(Code::DiskSpace.error(path, found, remedy));
    }
    (left < FEW_INODES).then(|| {
        let found = format!("its file system has {left} inodes left");
        Code::DiskSpace.warning(path, found, remedy)
    })
}

/// What is wrong with a certificate of a program.
pub fn certificate(role: HostRole, file: &Certificate, now: SystemTime) -> Option<Finding> {
    let path = file.path.display().to_string();
    let unit = role.unit();
    let ended = match role {
        HostRole::Director | HostRole::RealServer => "no controller is reached with it",
        HostRole::Controller => "agents and other controllers refuse this one",
    };
    let remedy =
        format!("put a new one and its key there, then `systemctl restart {unit}` on this host");
    let ends_at = match &file.ends_at {
        Ok(ends_at) => *ends_at,
        Err(why) => return Some(Code::Certificate.error(path, why, remedy)),
    };
    match ends_at.duration_since(now) {
        Err(_) => Some(Code::Certificate.error(path, format!("it has ended: {ended}"), remedy)),
        Ok(left) if left < ENDS_SOON => {
            let days = left.as_secs() / 86_400;
            // Told by days, so that the report changes once a day.
            Some(Code::Certificate.warning(path, format!("it ends in {days} days"), remedy))
        }
        Ok(_) => None,
    }
}
