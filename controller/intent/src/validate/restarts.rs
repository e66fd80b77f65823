//! An order to restart names a real server that an agent attends, once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fulcrum_model::Name;
use fulcrum_model::resource::Kind;

use crate::catalog::Catalog;
use crate::orders;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: BTreeMap<&Name, &Name> = BTreeMap::new();
    for (name, (restart, _)) in &catalog.restarts {
        let place = |name| {
            let found = format!("{:?}", restart.real_server.as_str());
            Place::new(Kind::Restart, name, "spec.real_server", found)
        };
        if catalog.real_servers.contains_key(&restart.real_server)
            && !orders::is_attended(catalog, &restart.real_server)
        {
            findings.push(place(name).finding(
                "every pool of it says agent: none, so nobody can restart it; set agent: required, or delete the order",
            ));
        }
        match first.entry(&restart.real_server) {
            Entry::Vacant(vacant) => _ = vacant.insert(*name),
            Entry::Occupied(occupied) => {
                let other = *occupied.get();
                let text = |other: &Name| {
                    format!("restart {other} orders it already; delete that one first")
                };
                findings.push(
                    request.tell_later((place(other), text(name)), (place(name), text(other))),
                );
            }
        }
    }
    findings
}
