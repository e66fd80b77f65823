//! The table that the decided weights ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fulcrum_ipvs::destinations::AllSettings;
use fulcrum_ipvs::plan::{
    destination_key, destinations, path_entry, path_key, virtual_server, virtual_server_key,
};
use fulcrum_ipvs::{Allowances, DestinationKey, Destinations, Table};
use fulcrum_model::fuse::Place;
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::{Listen, Name, Shared, Tunnel};

use super::check::Via;
use super::decided::DecidedPool;
use super::weights::Decider;

/// The whole table of ours, and how long real servers that are out of it may keep their connections.
#[derive(Debug, Default)]
pub struct Wanted {
    table: Table,
    allowances: Allowances,
    shares: Shared<AllSettings>,
}

impl Wanted {
    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Of real servers that leave, where theirs differs from the usual.
    pub fn allowances(&self) -> &Allowances {
        &self.allowances
    }

    /// Takes a virtual server out.
    pub fn remove(&mut self, listen: &Listen) {
        let key = virtual_server_key(listen);
        self.table.virtual_servers.remove(&key);
        self.allowances.set(key, BTreeMap::new());
    }

    /// Takes the way of a check through a VIP out.
    pub fn remove_path(&mut self, via: Via) {
        self.table.virtual_servers.remove(&path_key(via.mark, via.vip));
    }

    /// Puts these virtual servers in, with what is decided of them. Those of one pool share its real servers.
    pub fn put(&mut self, decider: &Decider, names: &BTreeSet<Name>) {
        let mut made: BTreeMap<Grounds<'_>, Made> = BTreeMap::new();
        for name in names {
            let plan = decider.servers().get(name);
            let (Some(plan), Some(pool)) = (plan, decider.pool(name)) else { continue };
            let Made { destinations, allowances } = made
                .entry(Grounds::of(plan, pool))
                .or_insert_with(|| make(plan, pool, &mut self.shares));
            let key = virtual_server_key(&plan.listen);
            let server = virtual_server(plan, destinations.clone());
            self.allowances.set(key, allowances.clone());
            self.table.virtual_servers.insert(key, Arc::new(server));
            let paths = decider.paths().of_server(name).iter().filter_map(|check| check.via);
            for (via, destination) in paths.zip(plan.destinations.iter()) {
                let entry = Arc::new(path_entry(plan, destination));
                self.table.virtual_servers.insert(path_key(via.mark, via.vip), entry);
            }
        }
    }
}

/// All that the real servers of an entry depend on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Grounds<'a> {
    /// These two by where they are kept, for what is equal is kept once.
    destinations: *const DestinationPlan,
    decided: *const DecidedPool,
    sorry_server: Option<&'a DestinationPlan>,
    has_port: bool,
    tunnel: Tunnel,
}

impl<'a> Grounds<'a> {
    fn of(plan: &'a VirtualServerPlan, pool: &DecidedPool) -> Self {
        Self {
            destinations: plan.destinations.as_ptr(),
            decided: pool,
            sorry_server: plan.sorry_server.as_ref(),
            has_port: plan.listen.port().is_some(),
            tunnel: plan.options.tunnel,
        }
    }
}

struct Made {
    destinations: Destinations,
    allowances: BTreeMap<DestinationKey, Duration>,
}

fn make(plan: &VirtualServerPlan, pool: &DecidedPool, shares: &mut Shared<AllSettings>) -> Made {
    let places: BTreeMap<&Name, Place> =
        pool.all().map(|decided| (&decided.real_server, decided.place)).collect();
    let mut destinations =
        destinations(plan, |destination| match places.get(&destination.real_server)? {
            Place::In(weight) => Some(*weight),
            Place::Leaving { .. } => None,
        });
    destinations.share(shares);
    let own_allowance = |destination: &DestinationPlan| match places
        .get(&destination.real_server)?
    {
        Place::In(_) => None,
        Place::Leaving { within } => Some((destination_key(&plan.listen, destination), (*within)?)),
    };
    let allowances = plan.all_destinations().filter_map(own_allowance).collect();
    Made { destinations, allowances }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{name, virtual_server};
    use fulcrum_model::ThroughVip;
    use fulcrum_model::plan::DrainPlan;

    #[test]
    fn one_that_leaves_is_out_of_the_table_with_its_allowance() {
        let grace = Duration::from_mins(1);
        let mut decider = Decider::default();
        let mut wanted = Wanted::default();
        for grace in [Some(grace), None] {
            let mut plan = virtual_server("web", 1, &["web1", "web2"]);
            Arc::make_mut(&mut plan.destinations)[0].drain = Some(Box::new(DrainPlan {
                name: name("web1"),
                reason: String::new(),
                requested_by: String::new(),
                grace,
            }));
            let plan = Arc::new(plan);
            let (effect, _) =
                decider.change_plan(Duration::ZERO, &[Arc::clone(&plan)], &[], |_, _| None);
            wanted.put(&decider, &effect.weights);
            let key = virtual_server_key(&plan.listen);
            let [drained, other] =
                [0, 1].map(|place| destination_key(&plan.listen, &plan.destinations[place]));
            let (table, allowances) = (wanted.table(), wanted.allowances());
            assert_eq!(table.destination(&key, &drained).is_some(), grace.is_none());
            assert!(table.destination(&key, &other).is_some());
            assert_eq!(allowances.get(&key, &drained), grace);
            assert_eq!(allowances.get(&key, &other), None);
        }
    }

    #[test]
    fn those_with_the_same_real_servers_differ_in_what_is_their_own() {
        let first = virtual_server("a", 1, &["web1", "web2"]);
        let mut mark = virtual_server("b", 2, &[]);
        mark.destinations = Arc::clone(&first.destinations);
        mark.listen = Listen::Fwmark { mark: 7.try_into().expect("a mark"), is_ipv6: false };
        let plans = [first, mark].map(Arc::new);
        let mut decider = Decider::default();
        let (effect, _) = decider.change_plan(Duration::ZERO, &plans, &[], |_, _| None);
        let mut wanted = Wanted::default();
        wanted.put(&decider, &effect.weights);
        let ports = plans.each_ref().map(|plan| {
            let server = &wanted.table().virtual_servers[&virtual_server_key(&plan.listen)];
            server.destinations.keys().map(|key| key.port).collect::<Vec<_>>()
        });
        assert_eq!(ports, [vec![80, 80], vec![0, 0]]);
        wanted.remove(&plans[0].listen);
        assert_eq!(wanted.table().virtual_servers.len(), 1);
    }

    #[test]
    fn ways_of_checks_stand_beside_with_their_weight() {
        let mut plan = virtual_server("web", 1, &["web1", "web2"]);
        plan.check.through_vip = Some(ThroughVip { retries: 1, connect_only: false });
        Arc::make_mut(&mut plan.destinations)[0].drain = Some(Box::new(DrainPlan {
            name: name("web1"),
            reason: String::new(),
            requested_by: String::new(),
            grace: None,
        }));
        let plans = [Arc::new(plan)];
        let mut decider = Decider::default();
        let (effect, begun) = decider.change_plan(Duration::ZERO, &plans, &[], |_, _| None);
        assert_eq!(begun.begun.len(), 4, "one at each RIP, one through the VIP to each");
        let mut wanted = Wanted::default();
        wanted.put(&decider, &effect.weights);
        let ways: Vec<_> =
            wanted.table().virtual_servers.iter().filter(|(key, _)| key.is_path()).collect();
        let weights: Vec<_> = ways
            .iter()
            .flat_map(|(_, server)| server.destinations.settings())
            .map(|(_, settings)| settings.weight)
            .collect();
        assert_eq!(weights, [1, 1], "whatever is decided of it");
        let (_, ended) = decider.change_plan(Duration::ZERO, &[], &[name("web")], |_, _| None);
        wanted.remove(&plans[0].listen);
        ended.ended.iter().filter_map(|check| check.via).for_each(|via| wanted.remove_path(via));
        assert!(wanted.table().virtual_servers.is_empty());
    }
}
