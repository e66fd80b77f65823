//! A drain names a real server that serves where it says, once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fulcrum_model::Name;
use fulcrum_model::resource::{Drain, Kind};

use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: BTreeMap<(&Name, Option<&Name>), &Name> = BTreeMap::new();
    for (name, drain) in &catalog.drains {
        serves(catalog, (name, drain), &mut findings);
        match first.entry((&drain.real_server, drain.virtual_server.as_ref())) {
            Entry::Vacant(vacant) => _ = vacant.insert(*name),
            Entry::Occupied(occupied) => {
                let other = *occupied.get();
                let place = |name| {
                    let found = format!("{:?}", drain.real_server.as_str());
                    Place::new(Kind::Drain, name, "spec.real_server", found)
                };
                let text = |other: &Name| {
                    format!("drain {other} orders it already; change or delete that one")
                };
                findings.push(
                    request.tell_later((place(other), text(name)), (place(name), text(other))),
                );
            }
        }
    }
    findings
}

fn serves(catalog: &Catalog<'_>, (name, drain): (&Name, &Drain), findings: &mut Vec<Finding>) {
    let Some(server) = &drain.virtual_server else { return };
    let Some(found) = catalog.virtual_servers.get(server) else { return };
    let Some(pool) = catalog.pools.get(&found.pool) else { return };
    if pool.members.iter().any(|member| member.real_server == drain.real_server) {
        return;
    }
    let place =
        Place::new(Kind::Drain, name, "spec.virtual_server", format!("{:?}", server.as_str()));
    findings.push(place.finding(format_args!(
        "real server {} is no member of its pool {}; name a virtual server that it serves, or none for all",
        drain.real_server, found.pool
    )));
}
