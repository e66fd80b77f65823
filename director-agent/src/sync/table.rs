//! The kernel's connection table, read.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fulcrum_ipvs::sync::{Connection, Phase, Record};
use fulcrum_ipvs::{DestinationKey, Table, Transport, VirtualServer, VirtualServerKey};

const LISTING: &str = "/proc/net/ip_vs_conn";
/// Connections that are compared: 30 MiB, and what one round can tell. The listing of more takes
/// the kernel, which walks its table anew for every 4 KiB, too long in any case.
pub(super) const MOST_CONNECTIONS: usize = 262_144;

/// The connections of virtual servers at these VIPs that are to outlive a change of roles.
///
/// # Errors
/// What the kernel says.
pub(super) fn read(vips: &BTreeSet<IpAddr>) -> io::Result<Vec<Connection>> {
    let mut listing = BufReader::with_capacity(64 << 10, File::open(LISTING)?);
    let mut found = Vec::new();
    let mut line = String::new();
    while found.len() < MOST_CONNECTIONS {
        line.clear();
        if listing.read_line(&mut line)? == 0 {
            break;
        }
        let Some(connection) = Connection::from_line(&line) else { continue };
        if connection.phase != Phase::Other && vips.contains(&connection.virtual_server.ip()) {
            found.push(connection);
        }
    }
    Ok(found)
}

/// The virtual servers of a director at some VIPs, to tell which connections are theirs.
pub(super) struct Ours(HashMap<(Transport, SocketAddr), Arc<VirtualServer>>);

impl Ours {
    /// Those of the table at these VIPs.
    pub(super) fn new(table: &Table, vips: &BTreeSet<IpAddr>) -> Self {
        let servers = table.virtual_servers.iter().filter_map(|(key, server)| match *key {
            VirtualServerKey::Address { transport, vip, port }
                if !server.foreign && vips.contains(&vip) =>
            {
                Some(((transport, SocketAddr::new(vip, port)), Arc::clone(server)))
            }
            VirtualServerKey::Address { .. } | VirtualServerKey::Fwmark { .. } => None,
        });
        Self(servers.collect())
    }

    /// What tells another kernel of this connection; none when it leads to no real server of ours:
    /// to the director that was Active before, or to one that has left.
    pub(super) fn record(&self, connection: &Connection) -> Option<Record> {
        let server = self.0.get(&(connection.transport, connection.virtual_server))?;
        let (address, port) = (connection.destination.ip(), connection.destination.port());
        let destination = server.destinations.get(&DestinationKey { address, port })?;
        let persistence_s = server.settings.persistence_timeout_s;
        Record::of(connection, destination.settings.forwarding, persistence_s)
    }

    /// Whether another kernel can be told of it.
    pub(super) fn has(&self, connection: &Connection) -> bool {
        self.record(connection).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fulcrum_ipvs::VirtualServerSettings;
    use fulcrum_ipvs::{AddressFamily, Destination, DestinationSettings, Forwarding};
    use fulcrum_model::Scheduler;

    use super::*;

    #[test]
    fn only_connections_to_our_real_servers_are_told() {
        let vip = IpAddr::from(Ipv4Addr::new(10, 0, 0, 100));
        let rip = DestinationKey { address: Ipv4Addr::new(10, 0, 0, 11).into(), port: 80 };
        let settings = DestinationSettings::new(1, Forwarding::Route);
        let server = |foreign| VirtualServer {
            settings: VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4)
                .with_persistence(300),
            destinations: [(rip, Destination { settings, connections: None })].into(),
            foreign,
        };
        let key = |port| VirtualServerKey::tcp(vip, port);
        let table: Table =
            [(key(80), server(false)), (key(81), server(true))].into_iter().collect();
        let ours = Ours::new(&table, &[vip].into());
        for (line, is_told) in [
            ("TCP 0A000009 99BA 0A000064 0050 0A00000B 0050 ESTABLISHED 899", true),
            ("TCP 0A000009 0000 0A000064 0050 0A00000B 0050 ASSURED 299", true),
            ("TCP 0A000009 99BA 0A000064 0050 0A00000B 0050 FIN_WAIT 119", false),
            ("TCP 0A000009 99BA 0A000064 0050 0A000001 0050 ESTABLISHED 899", false),
            ("TCP 0A000009 99BA 0A000064 0051 0A00000B 0050 ESTABLISHED 899", false),
            ("UDP 0A000009 99BA 0A000064 0050 0A00000B 0050 UDP 299", false),
        ] {
            let connection = Connection::from_line(line).expect("a connection");
            assert_eq!(ours.has(&connection), is_told, "{line}");
        }
        let nobody = Ours::new(&table, &BTreeSet::new());
        let line = "TCP 0A000009 99BA 0A000064 0050 0A00000B 0050 ESTABLISHED 899";
        assert!(!nobody.has(&Connection::from_line(line).expect("a connection")));
    }
}
