//! What a pool asks for fits the virtual servers that it serves.

use fulcrum_model::Scheduler;
use fulcrum_model::resource::Kind;

use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, server) in &catalog.virtual_servers {
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        let hashes = matches!(server.scheduler, Scheduler::Sh | Scheduler::Mh);
        if pool.slow_start.is_none() || !hashes {
            continue;
        }
        let scheduler = server.scheduler;
        findings.push(request.tell([
            (
                Place::new(Kind::VirtualServer, name, "spec.scheduler", scheduler),
                format!(
                    "pool {} has slow_start, and each of its steps would move clients of a hash; use \
                     another scheduler, or a pool without it",
                    server.pool
                ),
            ),
            (
                Place::new(Kind::Pool, &server.pool, "spec.slow_start", "given"),
                format!(
                    "virtual server {name} has scheduler {scheduler}, and each step would move \
                     clients of its hash; leave it out, or use another pool there"
                ),
            ),
        ]));
    }
    findings
}
