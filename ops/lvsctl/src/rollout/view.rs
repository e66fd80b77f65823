//! A pool in a rollout, as it stands: what each real server was ordered, and what keeps it from the next step.

use fulcrum_proto::v1;

use super::Rollout;
use super::options::ATTEMPT;
use crate::drain;
use crate::order::Cluster;

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) pool: String,
    /// Its members, in the pool's order.
    pub(crate) servers: Vec<Server>,
    /// Time over which weights rise.
    pub(crate) slow_start: std::time::Duration,
    /// Directors that may forward without knowing what is ordered now.
    pub(crate) unattached: Vec<String>,
    /// Whether its real servers have agents.
    pub(crate) has_agents: bool,
}

/// A real server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// This rollout drains it.
    pub(crate) is_drained: bool,
    /// Orders of others that stand against a rollout.
    pub(crate) foreign: Vec<String>,
    /// This rollout's order to restart it.
    pub(crate) restart: Option<Restart>,
    /// What keeps it from being stopped without loss, once it is drained.
    pub(crate) connected: Vec<String>,
    /// Why it is not seen to serve.
    pub(crate) unhealthy: Vec<String>,
    /// Why it takes no new connections.
    pub(crate) out_of_rotation: Vec<String>,
    /// Where its weight is not whole yet.
    pub(crate) rising: Vec<String>,
    /// Who does not have the newest plan.
    pub(crate) behind: Vec<String>,
}

/// An order to restart, and what its agent told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) state: v1::RestartState,
    pub(crate) detail: String,
}

impl View {
    /// A pool in a rollout, or before one. `revision` is the newest that this program wrote. None when there is no such pool.
    pub(crate) fn new(
        cluster: &Cluster,
        pool_name: &str,
        rollout: Option<&Rollout>,
        revision: u64,
    ) -> Option<Self> {
        let pool = cluster.pools.get(pool_name)?;
        let slow_start = pool.slow_start.and_then(|it| it.try_into().ok()).unwrap_or_default();
        let servers = pool
            .members
            .iter()
            .map(|member| server(cluster, &member.real_server, rollout, revision))
            .collect();
        let mut unattached: Vec<String> = seats(cluster, None)
            .filter(|(server, _, _)| server.1.pool == pool_name)
            .map(|(_, director, _)| director.to_owned())
            .filter(|director| !cluster.is_attached(director))
            .collect();
        unattached.sort();
        unattached.dedup();
        Some(Self {
            pool: pool_name.to_owned(),
            servers,
            slow_start,
            unattached,
            has_agents: pool.agent() != v1::AgentRequirement::None,
        })
    }

    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }
}

/// A virtual server, by name.
type Named<'a> = (&'a str, &'a v1::VirtualServer);

/// Each director that programs a virtual server, of those whose pool has a real server; with whether it is attached.
fn seats<'a>(
    cluster: &'a Cluster,
    real_server: Option<&'a str>,
) -> impl Iterator<Item = (Named<'a>, &'a str, bool)> {
    let uses = move |server: &v1::VirtualServer| {
        let pool = cluster.pools.get(&server.pool);
        let members = pool.map(|pool| pool.members.as_slice()).unwrap_or_default();
        real_server.is_none_or(|name| members.iter().any(|member| member.real_server == name))
    };
    let servers = cluster.virtual_servers.iter().filter(move |(_, server)| uses(server));
    servers.flat_map(move |(name, server)| {
        let instance = cluster.instances.get(&server.vrrp_instance);
        let members = instance.map(|instance| instance.members.as_slice()).unwrap_or_default();
        members.iter().map(move |member| {
            let director = member.director.as_str();
            ((name.as_str(), server), director, cluster.is_attached(director))
        })
    })
}

fn server(cluster: &Cluster, name: &str, rollout: Option<&Rollout>, revision: u64) -> Server {
    let is_ours = |kind, order: &str| rollout.is_some_and(|it| it.owns(cluster, kind, order));
    let mut found = Server { name: name.to_owned(), ..Server::default() };
    let mut ordered_at = 0;
    for (order, spec) in cluster.drains.iter().filter(|(_, spec)| spec.real_server == name) {
        if is_ours(v1::Kind::Drain, order) {
            found.is_drained = true;
            let metadata = cluster.metadata(v1::Kind::Drain, order);
            ordered_at = metadata.map_or(0, |metadata| metadata.revision);
        } else {
            found.foreign.push(told("drained", order, &spec.requested_by));
        }
    }
    for (order, spec) in cluster.restarts.iter().filter(|(_, spec)| spec.real_server == name) {
        if is_ours(v1::Kind::Restart, order) {
            found.restart = Some(restart(cluster, order));
        } else {
            found.foreign.push(told("to be restarted", order, &spec.requested_by));
        }
    }
    let goal = drain::Goal {
        real_server: name.to_owned(),
        virtual_server: None,
        wish: drain::Wish::Drained,
        revision: ordered_at,
    };
    found.connected = goal.outlook(cluster).keeps_from_stopping;
    found.unhealthy = verdict(cluster, name);
    weights(cluster, &mut found);
    let directors = seats(cluster, Some(name)).filter(|(_, _, attached)| *attached);
    found.behind =
        directors.filter_map(|(_, director, _)| cluster.behind(director, revision)).collect();
    found.behind.dedup();
    found
}

fn told(what: &str, order: &str, requested_by: &str) -> String {
    let by = if requested_by.is_empty() { String::new() } else { format!(" of {requested_by}") };
    format!("{what} by order {order}{by}")
}

fn restart(cluster: &Cluster, order: &str) -> Restart {
    let metadata = cluster.metadata(v1::Kind::Restart, order);
    let attempt = metadata.and_then(|it| it.labels.get(ATTEMPT)?.parse().ok()).unwrap_or(1);
    let id = cluster.restart_id(order);
    let (state, detail) = match cluster.restart_of(order) {
        Some(told) => (told.state(), told.detail.clone()),
        None => (v1::RestartState::Unspecified, String::new()),
    };
    Restart { id, attempt, state, detail }
}

fn serves(verdict: v1::Verdict) -> bool {
    match verdict {
        v1::Verdict::Up | v1::Verdict::Saturated => true,
        v1::Verdict::Unspecified
        | v1::Verdict::Draining
        | v1::Verdict::Stopping
        | v1::Verdict::Down
        | v1::Verdict::Unknown => false,
    }
}

/// Why the real server's own agent does not say that it serves.
fn verdict(cluster: &Cluster, name: &str) -> Vec<String> {
    match cluster.evidence_of(name) {
        None => vec![format!("its agent to tell of {name}")],
        Some(evidence) if serves(evidence.verdict()) => Vec::new(),
        Some(evidence) => {
            let word = crate::status::verdict_word(evidence.verdict());
            vec![format!("its agent to say up (it says {word}: {})", evidence.reasons.join(", "))]
        }
    }
}

/// What the directors' own checks and decisions say of it.
fn weights(cluster: &Cluster, found: &mut Server) {
    let mut is_programmed = false;
    for ((virtual_server, _), director, _) in
        seats(cluster, Some(&found.name)).filter(|(_, _, attached)| *attached)
    {
        is_programmed = true;
        let observed = cluster.agents.get(director).and_then(|agent| agent.director.as_ref());
        let decision = observed.and_then(|observed| {
            observed.weights.iter().find(|decision| {
                decision.virtual_server == virtual_server && decision.real_server == found.name
            })
        });
        let Some(decision) = decision else {
            let text = format!("{director} to tell of it in {virtual_server}");
            found.unhealthy.push(text.clone());
            found.out_of_rotation.push(text);
            continue;
        };
        if decision.probe() != v1::ProbeResult::Passing {
            found.unhealthy.push(format!("{director}'s check to pass in {virtual_server}"));
        }
        if !serves(decision.verdict()) {
            found.unhealthy.push(format!("{director} to hear from its agent that it is up"));
        }
        let (is, wanted) = (decision.weight, decision.planned_weight);
        let text =
            format!("{director} to give it weight {wanted} in {virtual_server} (it has {is})");
        if is == 0 && wanted > 0 {
            found.out_of_rotation.push(text);
        } else if is < wanted {
            found.rising.push(text);
        }
    }
    found.unhealthy.dedup();
    if !is_programmed {
        let text = "a director to be attached".to_owned();
        found.unhealthy.push(text.clone());
        found.out_of_rotation.push(text);
    }
}
