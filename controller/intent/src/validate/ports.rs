//! Direct routing and tunnelling keep the packet's port: it cannot be mapped (ipvsadm(8), PACKET-FORWARDING-METHOD).

use fulcrum_model::resource::Kind;
use fulcrum_model::{ForwardingMethod, Name, Port};

use super::some_of;
use crate::catalog::{Catalog, Seat};
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, server) in &catalog.virtual_servers {
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        // Under a firewall mark, and where every port is taken, ports stay as they are.
        let Some(port) = server.listen.port() else { continue };
        let differs =
            |seat: &Seat<'_>| seat.server.port != port && !maps_ports(seat.forwarding(server));
        let differing: Vec<Seat<'_>> = catalog.seats(pool).filter(differs).collect();
        if let Some(first) = differing.first() {
            let who = who(first.forwarding(server));
            findings.push(tell(request, (name, port, &server.pool), who, &differing));
        }
    }
    findings
}

fn maps_ports(forwarding: ForwardingMethod) -> bool {
    match forwarding {
        ForwardingMethod::Nat => true,
        ForwardingMethod::Dr | ForwardingMethod::Tunnel => false,
    }
}

fn who(forwarding: ForwardingMethod) -> &'static str {
    match forwarding {
        ForwardingMethod::Dr => "DR",
        ForwardingMethod::Tunnel => "a tunnel",
        ForwardingMethod::Nat => "NAT",
    }
}

/// Told at the virtual server, or at what the request changed under it.
fn tell(
    request: &Request,
    (name, port, pool): (&Name, Port, &Name),
    who: &str,
    differing: &[Seat<'_>],
) -> Finding {
    let ports: Vec<String> =
        differing.iter().map(|seat| format!("{} on {}", seat.name, seat.server.port)).collect();
    let at_virtual_server = (
        Place::new(Kind::VirtualServer, name, "spec.port", port),
        format!(
            "{who} cannot map ports, and of pool {pool} serve {}; use equal ports, or nat",
            some_of(&ports)
        ),
    );
    let at_real_servers = differing.iter().map(|seat| {
        let text = format!(
            "virtual server {name} has port {port} and {who} cannot map ports; use equal ports, or nat"
        );
        (Place::new(Kind::RealServer, seat.name, "spec.port", seat.server.port), text)
    });
    let at_pool = differing.iter().map(|seat| {
        let text = format!(
            "serves on port {}, virtual server {name} has port {port}, and {who} cannot map ports; \
             use equal ports, or nat",
            seat.server.port
        );
        let found = format!("{:?}", seat.name.as_str());
        (Place::new(Kind::Pool, pool, &seat.place.field(), found), text)
    });
    request.tell(std::iter::once(at_virtual_server).chain(at_real_servers).chain(at_pool))
}
