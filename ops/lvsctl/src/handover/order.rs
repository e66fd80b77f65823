//! Orders as resources: which there are, how they are named, and writing them.

use std::collections::BTreeSet;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use crate::connect::Controllers;
use crate::exit::Failure;
use crate::order::{self, Change, Cluster};

/// Who requests what a drain makes: `drain/DIRECTOR`.
const DRAIN: &str = "drain/";

/// Who requests the orders of a director's drain.
pub(crate) fn drainer(director: &str) -> String {
    format!("{DRAIN}{director}")
}

/// Directors that some drain keeps free.
pub(crate) fn drained(cluster: &Cluster) -> BTreeSet<String> {
    let requesters = cluster.handovers.values().map(|handover| &handover.requested_by);
    requesters.filter_map(|by| by.strip_prefix(DRAIN)).map(str::to_owned).collect()
}

/// The order that moves an instance, itself or with its sync group, with its name.
pub(crate) fn order_of<'a>(
    cluster: &'a Cluster,
    instance: &str,
) -> Option<(&'a str, &'a v1::Handover)> {
    let moved = cluster.moved_with(instance);
    let moves = |handover: &v1::Handover| {
        handover.vrrp_instance == instance
            || moved.iter().any(|(name, _)| *name == handover.vrrp_instance)
    };
    let mut orders = cluster.handovers.iter();
    orders.find(|(_, order)| moves(order)).map(|(name, order)| (name.as_str(), order))
}

/// The name of an instance's order: that of the one there is, or the instance's own, or with a number that is free.
pub(crate) fn name_for(cluster: &Cluster, instance: &str) -> String {
    if let Some((name, _)) = order_of(cluster, instance) {
        return name.to_owned();
    }
    let numbered = (2..).map(|number| format!("{instance}-{number}"));
    std::iter::once(instance.to_owned())
        .chain(numbered)
        .find(|name| !cluster.handovers.contains_key(name))
        .unwrap_or_else(|| instance.to_owned())
}

/// Writes and deletes orders, all or none. The revision afterwards.
pub(crate) async fn write(
    controllers: &Controllers,
    put: Vec<(String, v1::Handover)>,
    delete: Vec<String>,
    doing: &str,
) -> Result<u64, Failure> {
    let mut change = Change::default();
    for (name, handover) in put {
        change.put(name, Spec::Handover(handover));
    }
    for name in delete {
        change.delete(v1::Kind::Handover, name);
    }
    order::write(controllers, change, doing).await
}
