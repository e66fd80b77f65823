//! Laws of change and plan, attacked with generated intents.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::plan::{DirectorPlan, RealServerHostPlan};
use fulcrum_model::resource::{AgentRequirement, Resource, Spec};
use fulcrum_model::{Revision, Weight};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    director, drain, indexed, name, pool, real_server, restart, site, virtual_server, vrrp_instance,
};
use crate::{AgentId, AgentRole, ChangeAction, Intent, Planner, Removal, diff_agents, prepare};

/// What a generated cluster is made of; every combination is valid.
#[derive(Clone, Debug)]
struct Sketch {
    directors: usize,
    instances: usize,
    real_servers: usize,
    /// Per pool: which real servers, with which weight, and whether the agent is required.
    pools: Vec<(Vec<bool>, u16, bool)>,
    /// Per virtual server: which instance and pool, modulo their number.
    virtual_servers: Vec<(usize, usize)>,
    unicast: bool,
    /// The first real server takes no new connections, nor the second of the first virtual server.
    drained: bool,
    /// The first director takes part in no instance, where there are three.
    first_is_idle: bool,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let pool = (vec(any::<bool>(), 5), any::<u16>(), any::<bool>());
    let virtual_server = (0_usize..9, 0_usize..9);
    let counts = (2_usize..4, 1_usize..4, 0_usize..6);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (counts, vec(pool, 1..4), vec(virtual_server, 0..6), flags).prop_map(
        |((directors, instances, real_servers), pools, virtual_servers, flags)| {
            let (unicast, drained, first_is_idle) = flags;
            Sketch {
                directors,
                instances,
                real_servers,
                pools,
                virtual_servers,
                unicast,
                drained,
                first_is_idle,
            }
        },
    )
}

fn resources(sketch: &Sketch) -> Vec<Resource> {
    let mut set = vec![site("main")];
    for d in 0..sketch.directors {
        set.push(director(&format!("d{d}"), "main", &format!("10.0.0.{}", d + 1)));
    }
    for i in 0..sketch.instances {
        let vip = format!("10.0.1.{}/24", i + 1);
        let vrid = u64::try_from(i + 1).expect("a small number");
        let is_idle = sketch.first_is_idle && sketch.directors == 3;
        let first = if is_idle { "d2" } else { "d0" };
        let mut instance =
            vrrp_instance(&format!("vi{i}"), vrid, &[&vip], &[(first, 100), ("d1", 90)]);
        if let Spec::VrrpInstance(instance) = &mut instance.spec {
            instance.unicast = sketch.unicast;
        }
        set.push(instance);
    }
    for r in 0..sketch.real_servers {
        set.push(real_server(&format!("r{r}"), &format!("10.0.2.{}", r + 1), 80));
    }
    for (p, (members, weight, required)) in sketch.pools.iter().enumerate() {
        let members: Vec<String> = members
            .iter()
            .take(sketch.real_servers)
            .enumerate()
            .filter(|(_, is_member)| **is_member)
            .map(|(r, _)| format!("r{r}"))
            .collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut resource = pool(&format!("p{p}"), &members);
        if let Spec::Pool(pool) = &mut resource.spec {
            let weight = Weight::new(u64::from(*weight)).expect("in range");
            pool.members.iter_mut().for_each(|member| member.weight = weight);
            if !required {
                pool.agent = AgentRequirement::None;
            }
        }
        set.push(resource);
    }
    // One virtual server per instance and port 80 at most: real servers serve on one port.
    let mut taken = BTreeSet::new();
    for (v, (instance, pool)) in sketch.virtual_servers.iter().enumerate() {
        let instance = instance % sketch.instances;
        if !taken.insert(instance) {
            continue;
        }
        let mut server = virtual_server(&format!("v{v}"), &format!("10.0.1.{}", instance + 1), 80);
        if let Spec::VirtualServer(server) = &mut server.spec {
            server.vrrp_instance = name(&format!("vi{instance}"));
            server.pool = name(&format!("p{}", pool % sketch.pools.len()));
        }
        set.push(server);
    }
    set
}

/// The same with its drains and a restart, which outlive what a set without them prunes.
fn resources_with_drains(sketch: &Sketch) -> Vec<Resource> {
    let mut set = resources(sketch);
    if sketch.drained && sketch.real_servers > 1 {
        set.push(drain("of-all", "r0", None));
        let attended = |(members, _, required): &(Vec<bool>, u16, bool)| members[0] && *required;
        if sketch.pools.iter().any(attended) {
            set.push(restart("order", "r0"));
        }
        // The first virtual server is always there.
        let pool = sketch.virtual_servers.first().map(|(_, pool)| pool % sketch.pools.len());
        if pool.is_some_and(|pool| sketch.pools[pool].0[1]) {
            set.push(drain("of-one", "r1", Some("v0")));
        }
    }
    set
}

fn write(current: &Intent, set: &[Resource], revision: u64) -> Intent {
    let prepared = prepare(current, indexed(set.to_vec()), &Removal::unlisted(), true)
        .expect("the sketch is valid");
    let mut intent = current.clone();
    intent.apply(Revision(revision), prepared.put, prepared.delete);
    intent
}

/// Everything ordered of everyone; directors without orders are left out.
fn all_plans(intent: &Intent) -> BTreeMap<AgentId, (DirectorPlan, RealServerHostPlan)> {
    let planner = Planner::new(intent);
    planner
        .agents()
        .into_iter()
        .map(|agent| {
            let (director, host) = match agent.role {
                AgentRole::Director => {
                    (planner.director(&agent.name), RealServerHostPlan::default())
                }
                AgentRole::RealServer => {
                    (DirectorPlan::default(), planner.real_server(&agent.name))
                }
            };
            (agent, (director, host))
        })
        // A director is told of its host's settings in any case.
        .filter(|(agent, plans)| agent.role == AgentRole::Director || *plans != Default::default())
        .collect()
}

/// What a plan orders, by key.
fn objects(plans: Option<&(DirectorPlan, RealServerHostPlan)>) -> BTreeMap<String, String> {
    let Some((director, host)) = plans else { return BTreeMap::new() };
    if *host != RealServerHostPlan::default() {
        return [("host".to_owned(), format!("{host:?}"))].into();
    }
    let servers = director.virtual_servers.values().map(|plan| (plan.key(), format!("{plan:?}")));
    let instances = director.vrrp_instances.values().map(|plan| (plan.key(), format!("{plan:?}")));
    let ipvs = ("ipvs".to_owned(), format!("{:?}", director.ipvs));
    servers.chain(instances).chain([ipvs]).collect()
}

proptest! {
    #[test]
    fn prepared_and_applied_nothing_is_left_to_do(a in sketch(), b in sketch()) {
        let before = write(&Intent::default(), &resources(&a), 1);
        let set = resources(&b);
        let prepared = prepare(&before, indexed(set.clone()), &Removal::unlisted(), true).expect("valid");
        let after = write(&before, &set, 2);
        let again = prepare(&after, indexed(set.clone()), &Removal::unlisted(), false).expect("still valid");
        prop_assert_eq!(&again.put, &Vec::new());
        prop_assert_eq!(&again.delete, &Vec::new());
        prop_assert_eq!(&again.changes, &Vec::new());
        prop_assert_eq!(&again.after, &after);
        // What prepare foresaw is what apply did, but for revisions.
        prop_assert!(diff_agents(&prepared.after, &after).is_empty());
        prop_assert_eq!(prepared.after.resources.len(), after.resources.len());
        prop_assert_eq!(after.resources.len(), set.len());
        for change in &prepared.changes {
            let (was, is) = (
                before.resources.contains_key(&change.key),
                after.resources.contains_key(&change.key),
            );
            let expected = match change.action {
                ChangeAction::Create => (false, true),
                ChangeAction::Update => (true, true),
                ChangeAction::Delete => (true, false),
            };
            prop_assert_eq!((was, is), expected);
        }
    }

    #[test]
    fn without_prune_nothing_goes(a in sketch(), b in sketch()) {
        let before = write(&Intent::default(), &resources(&a), 1);
        if let Ok(prepared) = prepare(&before, indexed(resources(&b)), &Removal::default(), false) {
            prop_assert_eq!(prepared.delete, Vec::new());
        }
    }

    #[test]
    fn the_plan_depends_on_the_intent_alone(a in sketch(), b in sketch(), c in sketch()) {
        // Two histories that lead to the same intent.
        let straight = write(&Intent::default(), &resources(&c), 1);
        let mut shuffled = resources(&c);
        shuffled.reverse();
        let mut detour = write(&Intent::default(), &resources(&a), 5);
        detour = write(&detour, &resources(&b), 6);
        detour = write(&detour, &shuffled, 9);
        prop_assert_eq!(all_plans(&straight), all_plans(&detour));
        prop_assert!(diff_agents(&straight, &detour).is_empty());
    }

    #[test]
    fn a_difference_is_found_where_plans_differ(a in sketch(), b in sketch()) {
        let (before, after) = (
            write(&Intent::default(), &resources_with_drains(&a), 1),
            write(&Intent::default(), &resources_with_drains(&b), 1),
        );
        let diffs = diff_agents(&before, &after);
        let (old, new) = (all_plans(&before), all_plans(&after));
        let differing: BTreeSet<&AgentId> =
            old.keys().chain(new.keys()).filter(|agent| old.get(agent) != new.get(agent)).collect();
        prop_assert_eq!(diffs.iter().map(|diff| &diff.agent).collect::<BTreeSet<_>>(), differing);
        for diff in &diffs {
            let (old, new) = (objects(old.get(&diff.agent)), objects(new.get(&diff.agent)));
            let changed = new.iter().filter(|(key, object)| old.get(*key) != Some(*object));
            prop_assert_eq!(&diff.changed, &changed.map(|(key, _)| key.clone()).collect::<Vec<_>>());
            let removed = old.keys().filter(|key| !new.contains_key(*key));
            prop_assert_eq!(&diff.removed, &removed.cloned().collect::<Vec<_>>());
            if diff.agent.role == AgentRole::Director {
                let keys: BTreeSet<&str> = diff.changed.iter().map(String::as_str).collect();
                let part = Planner::new(&after).director_part(&diff.agent.name, &keys);
                let part = objects(Some(&(part, RealServerHostPlan::default())));
                for key in &diff.changed {
                    prop_assert_eq!(part.get(key), new.get(key));
                }
            }
        }
        prop_assert_eq!(diff_agents(&before, &before), Vec::new());
        prop_assert_eq!(diffs.len(), diff_agents(&after, &before).len());
    }
}
