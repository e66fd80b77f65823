//! What the driver saw, as the API tells it.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_ipvs::codec::{DaemonRole, SyncDaemon};
use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, Entry, Flags, Forwarding, Netmask, SchedulerName,
    Table, VirtualServer, VirtualServerKey,
};
use fulcrum_model::{Tunnel, TunnelChecksum};
use fulcrum_proto::ipvsadm::MISSING;
use fulcrum_proto::v1;

use super::{DriftSeen, Edits, KernelState, Traffic};

/// A table, ordered, with the traffic of its entries where that was read, and with what differs from what is wanted, where that
/// is known. What is wanted and not there stands in it, too. Ways of checks through VIPs are left out: they take nobody's
/// connections but this director's.
pub fn table_to_wire(
    table: &Table,
    traffic: &Traffic,
    wanted: Option<&Table>,
) -> Vec<v1::IpvsVirtualServer> {
    let nothing = Table::default();
    let lacking = wanted.unwrap_or(&nothing).virtual_servers.iter();
    let lacking =
        lacking.filter(|(key, _)| !key.is_path() && !table.virtual_servers.contains_key(key));
    let mut told: Vec<_> = table
        .virtual_servers
        .iter()
        .filter(|(key, _)| !key.is_path())
        .map(|(key, server)| {
            let wish = wanted.map(|wanted| wanted.virtual_servers.get(key).map(Arc::as_ref));
            let mut told = virtual_server(key, server, traffic);
            if let Some(wish) = wish.filter(|_| !server.foreign) {
                differences(&mut told, server, wish);
            }
            told
        })
        .collect();
    told.extend(lacking.map(|(key, server)| v1::IpvsVirtualServer {
        difference: MISSING.to_owned(),
        ..virtual_server(key, server, &Traffic::new())
    }));
    told
}

/// Said of what is there until its connections have ended.
const LEAVING: &str = "leaves";

/// Says what differs; `told` has the real servers of `found` in their order.
fn differences(
    told: &mut v1::IpvsVirtualServer,
    found: &VirtualServer,
    wish: Option<&VirtualServer>,
) {
    told.difference = match wish {
        None => LEAVING.to_owned(),
        Some(wish) if wish.settings == found.settings => String::new(),
        Some(wish) => format!("{} instead of {}", found.settings, wish.settings),
    };
    for ((name, held), told) in found.destinations.iter().zip(&mut told.destinations) {
        told.difference = match wish.and_then(|wish| wish.destinations.get(&name)) {
            None => LEAVING.to_owned(),
            Some(wish) if wish.settings == held.settings => String::new(),
            Some(wish) if wish.settings == held.settings.with_weight(wish.settings.weight) => {
                format!("weight {} instead of {}", held.settings.weight, wish.settings.weight)
            }
            Some(wish) => format!("{} instead of {}", held.settings, wish.settings),
        };
    }
    let wished = wish.into_iter().flat_map(|wish| wish.destinations.iter());
    let lacking = wished.filter(|(name, _)| !found.destinations.contains_key(name));
    told.destinations.extend(lacking.map(|(name, wish)| v1::IpvsDestination {
        difference: MISSING.to_owned(),
        ..real_server(name, wish, None)
    }));
}

/// What other programs changed, as the API tells it.
pub fn drift_to_wire(seen: &DriftSeen) -> v1::IpvsDrift {
    let (server, real_server) = &seen.entry;
    let entry = match real_server {
        None => server.to_string(),
        Some(name) => format!("{name} of {server}"),
    };
    v1::IpvsDrift {
        found_at: Some(seen.found_at.into()),
        entry,
        found: seen.found.clone(),
        repair: seen.repair.clone(),
    }
}

fn statistics(traffic: &Traffic, entry: &Entry) -> Option<v1::IpvsStats> {
    traffic.get(entry).map(|counted| v1::IpvsStats {
        connections: counted.connections,
        packets_in: counted.packets_in,
        packets_out: counted.packets_out,
        bytes_in: counted.bytes_in,
        bytes_out: counted.bytes_out,
        connections_per_s: counted.connections_per_s,
        packets_in_per_s: counted.packets_in_per_s,
        packets_out_per_s: counted.packets_out_per_s,
        bytes_in_per_s: counted.bytes_in_per_s,
        bytes_out_per_s: counted.bytes_out_per_s,
    })
}

/// What IPVS tells beside its table.
pub fn kernel_to_wire(state: &KernelState) -> v1::IpvsKernel {
    let [major, minor, patch] = state.information.version;
    let duration = |seconds: u32| Duration::from_secs(seconds.into()).try_into().ok();
    v1::IpvsKernel {
        version: format!("{major}.{minor}.{patch}"),
        connection_table_size: state.information.connection_table_size,
        tcp_timeout: state.timeouts.tcp_s.and_then(duration),
        tcp_fin_timeout: state.timeouts.tcp_fin_s.and_then(duration),
        udp_timeout: state.timeouts.udp_s.and_then(duration),
        sync_daemons: state.daemons.iter().map(daemon_to_wire).collect(),
    }
}

fn daemon_to_wire(daemon: &SyncDaemon) -> v1::IpvsSyncDaemon {
    let role = match daemon.role {
        DaemonRole::Master => v1::SyncRole::Sender,
        DaemonRole::Backup => v1::SyncRole::Receiver,
    };
    v1::IpvsSyncDaemon {
        role: role.into(),
        interface: daemon.interface.clone(),
        sync_id: daemon.sync_id.into(),
    }
}

impl From<Edits> for v1::IpvsEdits {
    fn from(edits: Edits) -> Self {
        Self {
            added: edits.added,
            edited: edits.edited,
            deleted: edits.deleted,
            drift_repaired: edits.drift_repaired,
        }
    }
}

fn virtual_server(
    key: &VirtualServerKey,
    server: &VirtualServer,
    traffic: &Traffic,
) -> v1::IpvsVirtualServer {
    let settings = &server.settings;
    let named = v1::IpvsVirtualServer {
        scheduler: settings.scheduler.to_string(),
        scheduler_flags: scheduler_flags(&settings.scheduler, settings.flags),
        persistence_timeout_s: settings.persistence_timeout_s,
        persistence_netmask: persistence_netmask(settings.netmask),
        persistence_engine: settings.persistence_engine.clone().unwrap_or_default(),
        one_packet: settings.flags.contains(Flags::ONE_PACKET),
        destinations: server
            .destinations
            .iter()
            .map(|(name, held)| real_server(name, held, statistics(traffic, &(*key, Some(name)))))
            .collect(),
        foreign: server.foreign,
        stats: statistics(traffic, &(*key, None)),
        ..v1::IpvsVirtualServer::default()
    };
    match *key {
        VirtualServerKey::Address { transport, vip, port } => v1::IpvsVirtualServer {
            vip: vip.to_string(),
            port: u32::from(port),
            protocol: i32::from(transport.number()),
            ..named
        },
        VirtualServerKey::Fwmark { mark, family } => v1::IpvsVirtualServer {
            fwmark: mark.get(),
            fwmark_ipv6: family == AddressFamily::V6,
            ..named
        },
    }
}

fn real_server(
    key: DestinationKey,
    held: Destination,
    stats: Option<v1::IpvsStats>,
) -> v1::IpvsDestination {
    let connections = held.connections.unwrap_or_default();
    let (tunnel_type, tunnel_port, checksum) = match held.settings.forwarding {
        Forwarding::Tunnel(Tunnel::Ipip) => ("ipip", 0, None),
        Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => ("gue", port.get(), Some(checksum)),
        Forwarding::Tunnel(Tunnel::Gre { checksum }) => ("gre", 0, Some(checksum)),
        Forwarding::Masq | Forwarding::Local | Forwarding::Route | Forwarding::Bypass => {
            ("", 0, None)
        }
    };
    v1::IpvsDestination {
        address: key.address.to_string(),
        port: u32::from(key.port),
        weight: held.settings.weight,
        forwarding: held.settings.forwarding.as_str().to_owned(),
        active_connections: u64::from(connections.active),
        inactive_connections: u64::from(connections.inactive),
        persistent_connections: u64::from(connections.persistent),
        upper_threshold: held.settings.upper_threshold,
        lower_threshold: held.settings.lower_threshold,
        tunnel_type: tunnel_type.to_owned(),
        tunnel_port: tunnel_port.into(),
        tunnel_checksum: checksum.map_or("", TunnelChecksum::as_str).to_owned(),
        stats,
        difference: String::new(),
    }
}

/// As ipvsadm names them: two schedulers have names of their own for the first two.
fn scheduler_flags(scheduler: &SchedulerName, flags: Flags) -> Vec<String> {
    let names: &[&str] = match scheduler.as_str() {
        "sh" => &["sh-fallback", "sh-port"],
        "mh" => &["mh-fallback", "mh-port"],
        _ => &["flag-1", "flag-2", "flag-3"],
    };
    let bits = [Flags::SCHEDULER_1, Flags::SCHEDULER_2, Flags::SCHEDULER_3];
    let set = names.iter().zip(bits).filter(|(_, bit)| flags.contains(*bit));
    set.map(|(name, _)| (*name).to_owned()).collect()
}

fn persistence_netmask(netmask: Netmask) -> String {
    let is_host =
        netmask == Netmask::host(AddressFamily::V4) || netmask == Netmask::host(AddressFamily::V6);
    match netmask {
        _ if is_host => String::new(),
        Netmask::V4(mask) => mask.to_string(),
        Netmask::V6(prefix_length) => prefix_length.to_string(),
    }
}

#[cfg(test)]
mod tests;
