//! What works together stands in one site.

use std::collections::BTreeMap;

use fulcrum_model::Name;
use fulcrum_model::resource::{Kind, Pool, VirtualServer};

use crate::catalog::{Catalog, Seat};
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    members(catalog, &mut findings);
    for (name, server) in &catalog.virtual_servers {
        let instance = catalog.vrrp_instances.get(&server.vrrp_instance);
        if let (Some(instance), Some(pool)) = (instance, catalog.pools.get(&server.pool)) {
            real_servers(request, catalog, (name, server, &instance.site), pool, &mut findings);
        }
    }
    agents(request, catalog, &mut findings);
    findings
}

/// An instance's directors share its segment.
fn members(catalog: &Catalog<'_>, findings: &mut Vec<Finding>) {
    for (name, instance) in &catalog.vrrp_instances {
        for (index, member) in instance.members.iter().enumerate() {
            let Some(director) = catalog.directors.get(&member.director) else { continue };
            if director.site != instance.site {
                let field = format!("spec.members[{index}].director");
                let found = format!("{:?}", member.director.as_str());
                findings.push(Place::new(Kind::VrrpInstance, name, &field, found).finding(
                    format_args!(
                        "stands in site {}, the instance in site {}; use directors of one site",
                        director.site, instance.site
                    ),
                ));
            }
        }
    }
}

/// A director forwards to real servers of its own site.
fn real_servers(
    request: &Request,
    catalog: &Catalog<'_>,
    (name, server, site): (&Name, &VirtualServer, &Name),
    pool: &Pool,
    findings: &mut Vec<Finding>,
) {
    for Seat { place, name: real_server_name, server: real_server, .. } in catalog.seats(pool) {
        if &real_server.site == site {
            continue;
        }
        let real_site = &real_server.site;
        let told_at = [
            (
                Place::new(Kind::VirtualServer, name, "spec.pool", quoted(&server.pool)),
                format!(
                    "its real server {real_server_name} stands in site {real_site}, VRRP instance \
                     {} in site {site}; use real servers of the instance's site",
                    server.vrrp_instance
                ),
            ),
            (
                Place::new(Kind::RealServer, real_server_name, "spec.site", quoted(real_site)),
                format!(
                    "pool {} holds it and serves virtual server {name} of site {site}; use that \
                     site, or take it out of the pool",
                    server.pool
                ),
            ),
            (
                Place::new(Kind::Pool, &server.pool, &place.field(), quoted(real_server_name)),
                format!(
                    "stands in site {real_site}, and the pool serves virtual server {name} of \
                     site {site}; use real servers of that site"
                ),
            ),
        ];
        findings.push(request.tell(told_at));
    }
}

/// An agent lives on one host.
fn agents(request: &Request, catalog: &Catalog<'_>, findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<&Name, (&Name, &Name)> = BTreeMap::new();
    for (name, server) in &catalog.real_servers {
        let (other, site) = *first.entry(&server.agent).or_insert((*name, &server.site));
        if *site == server.site {
            continue;
        }
        let place = |name| Place::new(Kind::RealServer, name, "spec.agent", quoted(&server.agent));
        let text = |other: &Name, site: &Name| {
            format!(
                "real server {other} of site {site} names this agent too, and an agent lives on \
                 one host; give each host's agent its own name"
            )
        };
        findings.push(request.tell_later(
            (place(other), text(name, &server.site)),
            (place(name), text(other, site)),
        ));
    }
}

fn quoted(name: &Name) -> String {
    format!("{:?}", name.as_str())
}
