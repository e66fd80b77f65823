//! One device of a real server's host takes one kind of GRE.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fulcrum_model::resource::{AgentRequirement, Kind};
use fulcrum_model::{ForwardingMethod, Name, Tunnel, TunnelChecksum};

use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

/// The kernel drops what has no checksum on a device that wants one, and the other way round, and has no second device
/// for the same address (`ip_tunnel_rcv` and `ip_tunnel_find`, `net/ipv4/ip_tunnel.c`).
pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut taken: BTreeMap<IpAddr, (TunnelChecksum, &Name)> = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, server) in &catalog.virtual_servers {
        let Tunnel::Gre { checksum } = server.options.tunnel else { continue };
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        if pool.agent != AgentRequirement::Required {
            continue;
        }
        let tunnelled =
            catalog.seats(pool).filter(|it| it.forwarding(server) == ForwardingMethod::Tunnel);
        for seat in tunnelled {
            let (first, of) = *taken.entry(seat.server.rip).or_insert((checksum, name));
            if first == checksum {
                continue;
            }
            let why = |other: &Name| {
                format!(
                    "virtual server {other} reaches {} by gre with another checksum, and the kernel's device there \
                     takes one of them; use the same for both",
                    seat.server.rip
                )
            };
            let place = |name: &Name, checksum: TunnelChecksum| {
                Place::new(Kind::VirtualServer, name, "spec.tunnel.checksum", checksum.as_str())
            };
            findings.push(
                request.tell_later((place(of, first), why(name)), (place(name, checksum), why(of))),
            );
            break;
        }
    }
    findings
}
