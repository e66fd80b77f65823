//! Weights follow load where somebody tells it, and where a weight is a share.

use fulcrum_model::Scheduler;
use fulcrum_model::resource::{AgentRequirement, Kind};

use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, pool) in &catalog.pools {
        match pool.agent {
            AgentRequirement::None if pool.dynamic_weights.is_some() => {
                let place = Place::new(Kind::Pool, name, "spec.dynamic_weights", "given");
                findings.push(place.finding(
                    "agents tell the load, and the pool has agent: none; leave it out, or require agents",
                ));
            }
            AgentRequirement::None | AgentRequirement::Required => {}
        }
    }
    for (name, server) in &catalog.virtual_servers {
        let pool = catalog.pools.get(&server.pool);
        if pool.is_none_or(|pool| pool.dynamic_weights.is_none()) {
            continue;
        }
        let Some(why) = misuse(server.scheduler) else { continue };
        let scheduler = server.scheduler;
        findings.push(request.tell([
            (
                Place::new(Kind::VirtualServer, name, "spec.scheduler", scheduler),
                format!(
                    "pool {} has dynamic_weights, and {why}; use wlc or wrr, or a pool without them",
                    server.pool
                ),
            ),
            (
                Place::new(Kind::Pool, &server.pool, "spec.dynamic_weights", "given"),
                format!(
                    "virtual server {name} has scheduler {scheduler}, and {why}; leave it out, or use \
                     another pool there"
                ),
            ),
        ]));
    }
    findings
}

/// Why weights cannot follow load with that scheduler; none where they can.
fn misuse(scheduler: Scheduler) -> Option<&'static str> {
    match scheduler {
        Scheduler::Sh | Scheduler::Mh => Some("each change would move clients of its hash"),
        Scheduler::Rr | Scheduler::Lc | Scheduler::Dh => Some("it does not go by weight"),
        Scheduler::Fo => Some("the greatest weight takes all connections"),
        Scheduler::Ovf => Some("a weight is the number of connections before the next one's turn"),
        Scheduler::Wrr
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => None,
    }
}
