//! A virtual server's real servers have its address family, unless a tunnel reaches them; and checks are made from an
//! address of their real servers' family.

use fulcrum_model::resource::{Kind, Pool, VirtualServer};
use fulcrum_model::{ForwardingMethod, Name};

use crate::catalog::{Catalog, Seat};
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let pools = catalog.pools.iter();
    let mut findings: Vec<_> =
        pools.filter_map(|(name, pool)| foreign_source(request, catalog, name, pool)).collect();
    for (name, server) in &catalog.virtual_servers {
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        let differs = |seat: &Seat<'_>| seat.server.rip.is_ipv6() != server.listen.is_ipv6();
        let Some(seat) = catalog.seats(pool).find(differs) else { continue };
        let is_synchronised = catalog
            .vrrp_instances
            .get(&server.vrrp_instance)
            .is_some_and(|instance| instance.options.connection_sync.is_some());
        // The kernel's rules (`ip_vs_genl_set_cmd`, net/netfilter/ipvs/ip_vs_ctl.c).
        let why = match seat.forwarding(server) {
            ForwardingMethod::Dr | ForwardingMethod::Nat => {
                "only a tunnel leads from one family to the other; use forwarding: tunnel, or a real \
                 server of the same family"
            }
            ForwardingMethod::Tunnel if is_synchronised => {
                "the kernel does not synchronise connections of mixed families; leave connection_sync \
                 out, or use a real server of the same family"
            }
            ForwardingMethod::Tunnel => continue,
        };
        findings.push(tell(request, (name, server), &seat, why));
    }
    findings
}

/// A check cannot be made from an address of the other family.
fn foreign_source(
    request: &Request,
    catalog: &Catalog<'_>,
    name: &Name,
    pool: &Pool,
) -> Option<Finding> {
    let source = pool.check.source?;
    let differs = |seat: &Seat<'_>| seat.server.rip.is_ipv6() != source.is_ipv6();
    let seat = catalog.seats(pool).find(differs)?;
    let rip = seat.server.rip;
    let remedy = "give a source of the same family, leave it out, or use a pool for each family";
    Some(request.tell([
        (
            Place::new(Kind::Pool, name, "spec.check.source", format!("{:?}", source.to_string())),
            format!("real server {} is {rip}, and cannot be tried from there; {remedy}", seat.name),
        ),
        (
            Place::new(Kind::RealServer, seat.name, "spec.rip", format!("{:?}", rip.to_string())),
            format!("pool {name} checks from {source}, which is of the other family; {remedy}"),
        ),
    ]))
}

/// Told at the virtual server, or at what the request changed under it.
fn tell(
    request: &Request,
    (name, server): (&Name, &VirtualServer),
    seat: &Seat<'_>,
    why: &str,
) -> Finding {
    let rip = seat.server.rip;
    let quoted = |name: &Name| format!("{:?}", name.as_str());
    request.tell([
        (
            Place::new(Kind::VirtualServer, name, "spec.pool", quoted(&server.pool)),
            format!("its real server {} is {rip}, and {why}", seat.name),
        ),
        (
            Place::new(Kind::RealServer, seat.name, "spec.rip", format!("{:?}", rip.to_string())),
            format!(
                "pool {} serves virtual server {name} ({}), and {why}",
                server.pool, server.listen
            ),
        ),
        (
            Place::new(Kind::Pool, &server.pool, &seat.place.field(), quoted(seat.name)),
            format!(
                "is {rip}, the pool serves virtual server {name} ({}), and {why}",
                server.listen
            ),
        ),
    ])
}
