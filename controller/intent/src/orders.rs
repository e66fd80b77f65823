//! Orders of the day that a real server's agent must know: its restart, and whether it is drained.

use std::collections::BTreeMap;

use fulcrum_model::resource::{AgentRequirement, Drain, VirtualServer};
use fulcrum_model::{Name, RestartPlan};

use crate::catalog::Catalog;

/// Restarts by real server. Of several, as in a log that was written under older rules, the first by name.
pub(crate) fn restarts<'a>(catalog: &Catalog<'a>) -> BTreeMap<&'a Name, RestartPlan> {
    let mut restarts = BTreeMap::new();
    for (name, (restart, revision)) in &catalog.restarts {
        restarts.entry(&restart.real_server).or_insert_with(|| RestartPlan {
            id: RestartPlan::id_of(name, *revision),
            action: restart.action.clone(),
            even_if_serving: restart.even_if_serving,
        });
    }
    restarts
}

/// Whether no virtual server gives a real server new connections, by these orders that concern it: one is for all, or each
/// virtual server that may use it has its own.
pub(crate) fn is_drained(
    catalog: &Catalog<'_>,
    real_server: &Name,
    orders: &[(&Name, &Drain)],
) -> bool {
    if orders.iter().any(|(_, drain)| drain.virtual_server.is_none()) {
        return true;
    }
    let has_order =
        |name: &Name| orders.iter().any(|(_, drain)| drain.virtual_server.as_ref() == Some(name));
    let uses = |server: &VirtualServer| {
        catalog.pools.get(&server.pool).is_some_and(|pool| {
            let members = pool.members.iter().map(|member| &member.real_server);
            members.chain(&pool.sorry_server).any(|name| name == real_server)
        })
    };
    // Without an order for one there is none for each: the common case costs no walk.
    !orders.is_empty()
        && catalog.virtual_servers.iter().all(|(name, server)| has_order(name) || !uses(server))
}

/// Whether an agent attends the real server: not when every pool that names it says that there is none.
pub(crate) fn is_attended(catalog: &Catalog<'_>, real_server: &Name) -> bool {
    let mut pools = catalog
        .pools
        .values()
        .filter(|pool| {
            let members = pool.members.iter().map(|member| &member.real_server);
            members.chain(&pool.sorry_server).any(|name| name == real_server)
        })
        .peekable();
    pools.peek().is_none() || pools.any(|pool| pool.agent == AgentRequirement::Required)
}
