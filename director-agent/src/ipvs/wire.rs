//! What the driver saw, as the API tells it.

use fulcrum_ipvs::codec::Information;
use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, Flags, Netmask, SchedulerName, Table,
    VirtualServer, VirtualServerKey,
};
use fulcrum_proto::v1;

use super::Edits;

/// A table, ordered.
pub fn table_to_wire(table: &Table) -> Vec<v1::IpvsVirtualServer> {
    table.virtual_servers.iter().map(|(key, server)| virtual_server(key, server)).collect()
}

/// What IPVS tells of itself.
pub fn kernel_to_wire(information: &Information) -> v1::IpvsKernel {
    let [major, minor, patch] = information.version;
    v1::IpvsKernel {
        version: format!("{major}.{minor}.{patch}"),
        connection_table_size: information.connection_table_size,
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

fn virtual_server(key: &VirtualServerKey, server: &VirtualServer) -> v1::IpvsVirtualServer {
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
            .map(|(key, held)| real_server(key, held))
            .collect(),
        foreign: server.foreign,
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

fn real_server(key: &DestinationKey, held: &Destination) -> v1::IpvsDestination {
    let connections = held.connections.unwrap_or_default();
    v1::IpvsDestination {
        address: key.address.to_string(),
        port: u32::from(key.port),
        weight: held.settings.weight,
        forwarding: held.settings.forwarding.as_str().to_owned(),
        active_connections: u64::from(connections.active),
        inactive_connections: u64::from(connections.inactive),
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
