//! A rollout's orders: which there are, and how they are written.

use std::collections::BTreeMap;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::options::{ATTEMPT, ID, ORDINAL, Options, POOL};
use crate::order::{Change, Cluster};

/// A rollout that stands in the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) pool: String,
    pub(crate) options: Options,
}

/// The rollout of a pool that stands in the intent.
pub(crate) fn find(cluster: &Cluster, pool: &str) -> Option<Rollout> {
    let drains = cluster.drains.iter().map(|(name, spec)| (v1::Kind::Drain, name, &spec.reason));
    let restarts =
        cluster.restarts.iter().map(|(name, spec)| (v1::Kind::Restart, name, &spec.reason));
    drains.chain(restarts).find_map(|(kind, name, reason)| {
        let labels = &cluster.metadata(kind, name)?.labels;
        let id = labels.get(ID).filter(|_| labels.get(POOL).is_some_and(|of| of == pool))?;
        let options = Options::from_labels(labels, reason)?;
        Some(Rollout { id: id.clone(), pool: pool.to_owned(), options })
    })
}

impl Rollout {
    /// Whether an order is of this rollout.
    pub(crate) fn owns(&self, cluster: &Cluster, kind: v1::Kind, name: &str) -> bool {
        let metadata = cluster.metadata(kind, name);
        metadata.is_some_and(|metadata| metadata.labels.get(ID) == Some(&self.id))
    }

    /// Names of its orders of a kind.
    pub(crate) fn orders<'a>(
        &'a self,
        cluster: &'a Cluster,
        kind: v1::Kind,
    ) -> impl Iterator<Item = &'a String> {
        let (drains, restarts) = (cluster.drains.keys(), cluster.restarts.keys());
        let of_kind = move |(of, _): &(v1::Kind, &String)| *of == kind;
        drains
            .map(|name| (v1::Kind::Drain, name))
            .chain(restarts.map(|name| (v1::Kind::Restart, name)))
            .filter(of_kind)
            .filter(move |(kind, name)| self.owns(cluster, *kind, name))
            .map(|(_, name)| name)
    }

    /// Orders to drain: the next numbers, one for each.
    pub(crate) fn drain(&self, cluster: &Cluster, real_servers: &[String]) -> Change {
        let used = [v1::Kind::Drain, v1::Kind::Restart]
            .into_iter()
            .flat_map(|kind| self.orders(cluster, kind).map(move |name| (kind, name)))
            .filter_map(|(kind, name)| cluster.metadata(kind, name)?.labels.get(ORDINAL))
            .filter_map(|ordinal| ordinal.parse::<usize>().ok());
        let next = used.max().map_or(1, |last| last + 1);
        let mut change = Change::default();
        change.allow_drastic = self.options.allow_drastic;
        for (ordinal, real_server) in (next..).zip(real_servers) {
            let spec = v1::Drain {
                real_server: real_server.clone(),
                reason: self.options.reason.clone(),
                requested_by: self.requested_by(),
                ..v1::Drain::default()
            };
            let labels = self.labels(&ordinal.to_string(), 1);
            change.put_labelled(self.name(&ordinal.to_string()), labels, Spec::Drain(spec));
        }
        change
    }

    /// Orders to restart, of real servers that this rollout drains. Another `attempt` is another order of the same name.
    pub(crate) fn restart(&self, cluster: &Cluster, real_servers: &[(String, u32)]) -> Change {
        let mut change = Change::default();
        change.allow_drastic = self.options.allow_drastic;
        for (real_server, attempt) in real_servers {
            let ordinal = self.ordinal(cluster, real_server);
            let spec = v1::Restart {
                real_server: real_server.clone(),
                reason: self.options.reason.clone(),
                requested_by: self.requested_by(),
                action: self.options.action.clone(),
                even_if_serving: false,
            };
            let labels = self.labels(&ordinal, *attempt);
            change.put_labelled(self.name(&ordinal), labels, Spec::Restart(spec));
        }
        change
    }

    /// Real servers that are used again.
    pub(crate) fn undrain(&self, cluster: &Cluster, real_servers: &[String]) -> Change {
        let mut change = Change::default();
        for name in self.orders(cluster, v1::Kind::Drain) {
            if real_servers.contains(&cluster.drains[name].real_server) {
                change.delete(v1::Kind::Drain, name.clone());
            }
        }
        change
    }

    /// Nothing of it is left.
    pub(crate) fn finish(&self, cluster: &Cluster) -> Change {
        let mut change = Change::default();
        for kind in [v1::Kind::Drain, v1::Kind::Restart] {
            for name in self.orders(cluster, kind) {
                change.delete(kind, name.clone());
            }
        }
        change
    }

    /// The number of a real server in this rollout, as its drain has it.
    fn ordinal(&self, cluster: &Cluster, real_server: &str) -> String {
        let drain = self
            .orders(cluster, v1::Kind::Drain)
            .find(|name| cluster.drains[*name].real_server == real_server)
            .and_then(|name| cluster.metadata(v1::Kind::Drain, name));
        drain.and_then(|it| it.labels.get(ORDINAL)).cloned().unwrap_or_else(|| "0".to_owned())
    }

    /// Short whatever the pool and its real servers are called.
    fn name(&self, ordinal: &str) -> String {
        format!("rollout-{}-{ordinal}", self.id)
    }

    fn requested_by(&self) -> String {
        format!("rollout/{}", self.pool)
    }

    fn labels(&self, ordinal: &str, attempt: u32) -> BTreeMap<String, String> {
        let mut labels = self.options.to_labels();
        labels.insert(ID.to_owned(), self.id.clone());
        labels.insert(POOL.to_owned(), self.pool.clone());
        labels.insert(ORDINAL.to_owned(), ordinal.to_owned());
        labels.insert(ATTEMPT.to_owned(), attempt.to_string());
        labels
    }
}

/// What an abort leaves, or the real servers whose restart may be under way.
///
/// # Errors
/// Those real servers, each with how far it is.
pub(crate) fn aborted(
    rollout: &Rollout,
    cluster: &Cluster,
    force: bool,
) -> Result<Change, Vec<String>> {
    let under_way = rollout.orders(cluster, v1::Kind::Restart).filter_map(|name| {
        let order = &cluster.restarts[name];
        let state = cluster
            .restart_of(name)
            .map_or(v1::RestartState::Unspecified, v1::RestartEvidence::state);
        match state {
            v1::RestartState::Done | v1::RestartState::Failed => None,
            v1::RestartState::Unspecified => {
                Some(format!("{}: its agent has not told yet of its restart", order.real_server))
            }
            v1::RestartState::Waiting => {
                Some(format!("{}: its restart is ordered, and may begin", order.real_server))
            }
            v1::RestartState::Running => Some(format!("{}: its restart runs", order.real_server)),
        }
    });
    let under_way: Vec<String> = under_way.collect();
    if under_way.is_empty() || force { Ok(rollout.finish(cluster)) } else { Err(under_way) }
}
