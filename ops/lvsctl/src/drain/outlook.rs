//! Where a drain of a real server stands: who has it, and what is left.

use std::net::IpAddr;

use fulcrum_proto::v1;

use crate::order::Cluster;

/// A drain that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) real_server: String,
    /// Of this virtual server only.
    pub(crate) virtual_server: Option<String>,
    pub(crate) wish: Wish,
    /// The revision that ordered it.
    pub(crate) revision: u64,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That nobody is connected any more.
    Drained,
    /// That it is in rotation again.
    InRotation,
}

/// A drain on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Connections by virtual server and director.
    pub(crate) counts: Vec<Count>,
    /// What is still waited for; nothing when it is done.
    pub(crate) waits_for: Vec<String>,
    /// What would be cut if the real server's program were stopped now; nothing when that is safe.
    pub(crate) keeps_from_stopping: Vec<String>,
}

/// What a director's kernel counts of the real server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) virtual_server: String,
    pub(crate) director: String,
    /// The director forwards now; what others count are copies.
    pub(crate) is_active: bool,
    pub(crate) weight: u32,
    pub(crate) active: u64,
    pub(crate) inactive: u64,
    pub(crate) persistent: u64,
}

impl Outlook {
    /// Before the cluster was seen.
    pub(crate) fn unseen(waits_for: Vec<String>) -> Self {
        let keeps_from_stopping = vec![crate::order::UNSEEN.to_owned()];
        Self { waits_for, keeps_from_stopping, ..Self::default() }
    }
}

impl Goal {
    pub(crate) fn outlook(&self, cluster: &Cluster) -> Outlook {
        let mut outlook = Outlook::default();
        let Some(real_server) = cluster.real_servers.get(&self.real_server) else {
            return outlook;
        };
        for (name, server) in self.virtual_servers(cluster) {
            let Some(instance) = cluster.instances.get(&server.vrrp_instance) else { continue };
            for member in &instance.members {
                let director = &member.director;
                if !cluster.is_attached(director) {
                    continue;
                }
                outlook.waits_for.extend(cluster.behind(director, self.revision));
                if cluster.agents.get(director).is_none_or(|agent| agent.director.is_none()) {
                    outlook.waits_for.push(format!("{director} to tell of its table"));
                }
                let is_active = cluster.is_active(director, &server.vrrp_instance);
                let count = Count {
                    virtual_server: name.to_owned(),
                    director: director.clone(),
                    is_active,
                    ..Count::default()
                };
                outlook.counts.extend(counted(cluster, server, real_server, count));
            }
        }
        outlook.waits_for.dedup();
        outlook.keeps_from_stopping = outlook.waits_for.clone();
        if outlook.keeps_from_stopping.is_empty() {
            outlook.keeps_from_stopping = self.connected(&outlook.counts);
            outlook.keeps_from_stopping.extend(busy(cluster, &self.real_server, real_server));
        }
        if outlook.waits_for.is_empty() {
            outlook.waits_for = self.left(&outlook.counts);
        }
        outlook
    }

    /// The virtual servers that it is drained of.
    fn virtual_servers<'a>(
        &'a self,
        cluster: &'a Cluster,
    ) -> impl Iterator<Item = (&'a str, &'a v1::VirtualServer)> {
        cluster.virtual_servers.iter().filter_map(|(name, server)| {
            let is_meant = self.virtual_server.as_ref().is_none_or(|wanted| wanted == name);
            let pool = cluster.pools.get(&server.pool)?;
            let serves = pool.members.iter().any(|member| member.real_server == self.real_server);
            (is_meant && serves).then_some((name.as_str(), server))
        })
    }

    /// What the directors that forward still hold of requests: a closed connection holds none.
    fn connected(&self, counts: &[Count]) -> Vec<String> {
        let left = forwarding(counts).filter_map(|count| {
            let Count { virtual_server, director, weight, active, .. } = count;
            match (self.virtual_server.is_none() && *weight > 0, *active > 0) {
                (true, _) => Some(format!("{director} to give it weight 0 in {virtual_server}")),
                (false, true) => {
                    Some(format!("{active} active connections of {virtual_server} on {director}"))
                }
                (false, false) => None,
            }
        });
        left.collect()
    }

    /// What the directors that forward still hold; where none does, what all hold.
    fn left(&self, counts: &[Count]) -> Vec<String> {
        let left = forwarding(counts).filter_map(|count| match self.wish {
            Wish::Drained if count.weight > 0 => {
                Some(format!("{} to give it weight 0", count.director))
            }
            Wish::Drained if count.active + count.inactive > 0 => Some(format!(
                "{} active and {} inactive connections of {} on {}",
                count.active, count.inactive, count.virtual_server, count.director
            )),
            Wish::InRotation if count.weight == 0 => {
                Some(format!("{} to give it a weight in {}", count.director, count.virtual_server))
            }
            Wish::Drained | Wish::InRotation => None,
        });
        left.collect()
    }
}

/// Of the directors that forward; where none does, of all.
fn forwarding(counts: &[Count]) -> impl Iterator<Item = &Count> {
    let some_active = counts.iter().any(|count| count.is_active);
    counts.iter().filter(move |count| count.is_active || !some_active)
}

/// Requests under way by its own agent's word, where a status page tells them.
fn busy(cluster: &Cluster, name: &str, server: &v1::RealServer) -> Option<String> {
    let load = cluster.evidence_of(name)?.load?;
    let page = server.probe.as_ref().map_or("", |probe| probe.status_url.as_str());
    let authority = page.split("://").nth(1).and_then(|rest| rest.split('/').next());
    let port = authority.and_then(|it| it.rsplit_once(':')).map_or("80", |(_, port)| port);
    // The connector that serves the status page is busy with it while it counts.
    let own = u32::from(port == server.port.to_string());
    let busy = load.busy_threads.saturating_sub(own);
    (busy > 0).then(|| format!("{busy} requests under way in {name}"))
}

/// The kernel's entry of the real server, if the director told of it.
fn counted(
    cluster: &Cluster,
    server: &v1::VirtualServer,
    real_server: &v1::RealServer,
    count: Count,
) -> Option<Count> {
    let observed = cluster.agents.get(&count.director)?.director.as_ref()?;
    let entry = observed.ipvs.iter().find(|entry| is_entry(entry, server))?;
    let has_one_port = server.fwmark == 0 && !server.all_ports;
    let port = if has_one_port { real_server.port } else { 0 };
    let found = entry.destinations.iter().find(|destination| {
        destination.port == port && is_same_address(&destination.address, &real_server.rip)
    })?;
    Some(Count {
        weight: found.weight,
        active: found.active_connections,
        inactive: found.inactive_connections,
        persistent: found.persistent_connections,
        ..count
    })
}

fn is_entry(entry: &v1::IpvsVirtualServer, server: &v1::VirtualServer) -> bool {
    if server.fwmark != 0 {
        return (entry.fwmark, entry.fwmark_ipv6) == (server.fwmark, server.fwmark_ipv6);
    }
    entry.fwmark == 0
        && entry.port == server.port
        && entry.protocol() == server.protocol()
        && is_same_address(&entry.vip, &server.vip)
}

/// However each is spelt.
fn is_same_address(one: &str, other: &str) -> bool {
    let parse = |text: &str| text.parse::<IpAddr>();
    match (parse(one), parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
