//! Direct routing and tunnelling keep the packet's port: it cannot be mapped (ipvsadm(8), PACKET-FORWARDING-METHOD).

use fulcrum_model::resource::{Kind, RealServer};
use fulcrum_model::{Name, Port};

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, server) in &catalog.virtual_servers {
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        if !server.forwarding.needs_arp_safety() {
            continue;
        }
        let differing: Vec<(usize, &Name, &RealServer)> =
            catalog.members(pool).filter(|(_, _, real)| real.port != server.port).collect();
        if !differing.is_empty() {
            findings.push(tell(request, (name, server.port, &server.pool), &differing));
        }
    }
    findings
}

/// Told at the virtual server, or at what the request changed under it.
fn tell(
    request: &Request,
    (name, port, pool): (&Name, Port, &Name),
    differing: &[(usize, &Name, &RealServer)],
) -> Finding {
    let ports: Vec<String> =
        differing.iter().map(|(_, real, server)| format!("{real} on {}", server.port)).collect();
    let at_virtual_server = (
        Place::new(Kind::VirtualServer, name, "spec.port", port),
        format!(
            "DR cannot map ports, and of pool {pool} serve {}; use equal ports",
            some_of(&ports)
        ),
    );
    let at_real_servers = differing.iter().map(|(_, real, server)| {
        let text = format!(
            "virtual server {name} has port {port} and DR cannot map ports; use equal ports"
        );
        (Place::new(Kind::RealServer, real, "spec.port", server.port), text)
    });
    let at_pool = differing.iter().map(|(index, real, server)| {
        let field = format!("spec.members[{index}].real_server");
        let text = format!(
            "serves on port {}, virtual server {name} has port {port}, and DR cannot map ports; \
             use equal ports",
            server.port
        );
        (Place::new(Kind::Pool, pool, &field, format!("{:?}", real.as_str())), text)
    });
    request.tell(std::iter::once(at_virtual_server).chain(at_real_servers).chain(at_pool))
}
