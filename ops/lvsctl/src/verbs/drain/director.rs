//! `lvsctl drain` of a director.

use std::collections::BTreeSet;

use fulcrum_proto::v1;

use crate::cli::Global;
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::handover::{
    Goal, Wish, best_of, drained, drainer, follow, name_for, order_of, priority_of, write,
};
use crate::order::{Cluster, Waiting};
use crate::out;

/// Frees the director of every VIP.
pub(super) async fn run(
    global: &Global,
    controllers: &Controllers,
    cluster: &Cluster,
    (director, reason): (&str, &str),
    waiting: Waiting,
) -> Result<Exit, Failure> {
    let orders = orders(cluster, director, reason)?;
    if orders.is_empty() {
        out::print(&format!("{director} is Active nowhere, and would not be; nothing to do\n"))?;
        return Ok(Exit::Ok);
    }
    let doing = format!("cannot drain {director}");
    let revision = write(controllers, orders.clone(), Vec::new(), &doing).await?;
    let goals: Vec<Goal> = orders
        .iter()
        .flat_map(|(_, order)| {
            cluster.moved_with(&order.vrrp_instance).into_iter().map(|(instance, _)| Goal {
                instance: instance.to_owned(),
                wish: Wish::Active(order.to.clone()),
                revision,
            })
        })
        .collect();
    follow(controllers, global, waiting, &goals).await
}

/// An order for every instance, or sync group of them, in which the director is or would be Active.
///
/// # Errors
/// [`Exit::Conflict`] with every instance that no other director can take.
fn orders(
    cluster: &Cluster,
    director: &str,
    reason: &str,
) -> Result<Vec<(String, v1::Handover)>, Failure> {
    let mut without = drained(cluster);
    without.insert(director.to_owned());
    let mut orders: Vec<(String, v1::Handover)> = Vec::new();
    let mut stuck = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (name, instance) in &cluster.instances {
        let group = cluster.moved_with(name);
        let is_new = seen.insert(name);
        seen.extend(group.iter().map(|(name, _)| *name));
        let is_concerned =
            group.iter().any(|(name, one)| is_or_would_be(cluster, director, name, one));
        if !is_new || !is_concerned {
            continue;
        }
        match best_of(cluster, name, instance, &without) {
            None => stuck.push(name.as_str()),
            Some(to) => {
                let vrrp_instance = order_of(cluster, name)
                    .map_or(name.clone(), |(_, order)| order.vrrp_instance.clone());
                let order = v1::Handover {
                    vrrp_instance,
                    to: to.to_owned(),
                    reason: reason.to_owned(),
                    requested_by: drainer(director),
                };
                orders.push((name_for(cluster, name), order));
            }
        }
    }
    if stuck.is_empty() {
        return Ok(orders);
    }
    Err(Failure::new(
        Exit::Conflict,
        format!(
            "no other director can be Active in {}: each needs a member that is attached, takes part and is not \
             drained; nothing was changed. `lvsctl status` tells what the others lack.",
            stuck.join(", ")
        ),
    ))
}

/// Whether the director is Active, is ordered to be, or ranks highest among those that can be.
fn is_or_would_be(
    cluster: &Cluster,
    director: &str,
    name: &str,
    instance: &v1::VrrpInstance,
) -> bool {
    if priority_of(instance, director).is_none() {
        return false;
    }
    match order_of(cluster, name) {
        // What is ordered elsewhere already may still be on its way.
        Some((_, order)) => order.to == director,
        None => {
            cluster.is_active(director, name)
                || best_of(cluster, name, instance, &BTreeSet::new()) == Some(director)
        }
    }
}
