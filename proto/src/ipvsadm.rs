//! ipvsadm's text (1.31): a table and connections as it prints them, and rules as it takes them.
//!
//! Start reading at [`listing`] (`ipvsadm -L`), [`save`] (`-S`), [`parse`] (`-R`) and [`connection_line`] (`-Lc`).

mod connections;
mod host;
mod listing;
mod options;
mod parse;
mod rule;
mod save;

use std::net::IpAddr;

use crate::v1;

pub use connections::{connection_line, connections_title};
pub use host::{daemons, timeouts};
pub use listing::{Columns, Format, listing, scheduling, service};
pub use parse::{Mistake, Names, NumberedServer, Rules, parse};
pub use save::save;

/// The difference of an entry that is wanted and that the kernel's table lacks.
pub const MISSING: &str = "missing";

/// What tells virtual servers apart, in ipvsadm's order: by address before by firewall mark, IPv4 first, then protocol,
/// address and port. ipvsadm subtracts addresses as signed numbers, so that 9.0.0.0 comes after 192.168.0.0; here they
/// are in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerKey {
    fwmark: u32,
    is_ipv6: bool,
    protocol: i32,
    vip: Option<IpAddr>,
    port: u32,
}

impl ServerKey {
    /// That of a virtual server.
    pub fn of(server: &v1::IpvsVirtualServer) -> Self {
        let vip = server.vip.parse::<IpAddr>().ok();
        Self {
            fwmark: server.fwmark,
            is_ipv6: server.fwmark_ipv6 || vip.is_some_and(|vip| vip.is_ipv6()),
            protocol: server.protocol,
            vip,
            port: server.port,
        }
    }
}

/// What tells the real servers of a virtual server apart, in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DestinationKey {
    address: Option<IpAddr>,
    port: u32,
}

impl DestinationKey {
    /// That of a real server.
    pub fn of(destination: &v1::IpvsDestination) -> Self {
        Self { address: destination.address.parse().ok(), port: destination.port }
    }
}

/// Virtual servers in order.
fn in_order(servers: &[v1::IpvsVirtualServer]) -> Vec<&v1::IpvsVirtualServer> {
    let mut servers: Vec<_> = servers.iter().collect();
    servers.sort_by_cached_key(|server| ServerKey::of(server));
    servers
}

/// A virtual server's real servers in order.
fn destinations_in_order(server: &v1::IpvsVirtualServer) -> Vec<&v1::IpvsDestination> {
    let mut destinations: Vec<_> = server.destinations.iter().collect();
    destinations.sort_by_cached_key(|destination| DestinationKey::of(destination));
    destinations
}

/// Address and port, with brackets around IPv6.
pub fn socket(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests;
