//! Plans of the classic cluster, whole, and what a pool without agents makes of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use fulcrum_model::Weight;
use fulcrum_model::resource::{AgentRequirement, Resource, Spec};

use super::{VIP, director, intent, name, pool, real_server, seed, virtual_server, vrrp_instance};
use crate::{AgentDiff, AgentId, AgentRole, Intent, Planner, diff_agents, plan_director};

/// Every agent's plan as text.
fn plans(intent: &Intent) -> String {
    let planner = Planner::new(intent);
    let mut text = String::new();
    for agent in planner.agents() {
        let AgentId { role, name } = &agent;
        let plan = match role {
            AgentRole::Director => format!("{:#?}", planner.director(name)),
            AgentRole::RealServer => format!("{:#?}", planner.real_server(name)),
        };
        writeln!(text, "{agent}\n{plan}\n").expect("a string takes all");
    }
    text
}

/// Compares with `src/tests/golden/NAME`; with UPDATE=1 in the environment, writes it.
#[expect(clippy::disallowed_methods, reason = "a test rewrites its golden file when told to")]
fn golden(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden").join(file);
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, found).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run with UPDATE=1 and review the difference of {file}");
}

#[test]
fn the_classic_cluster() {
    golden("seed.txt", &plans(&intent(seed())));
}

#[test]
fn two_instances_of_unicast_and_an_unnamed_director() {
    let mut set = seed();
    set.push(director("d3", "main", "192.168.1.137"));
    let mut second = vrrp_instance("vi-2", 52, &["192.168.1.151"], &[("d2", 100), ("d1", 90)]);
    if let Spec::VrrpInstance(instance) = &mut second.spec {
        instance.unicast = true;
        instance.members[0].interface = Some("eth1".to_owned());
    }
    set.push(second);
    let intent = intent(set);
    let plan = plan_director(&intent, &name("d2"));
    let vi2 = &plan.vrrp_instances[&name("vi-2")];
    assert_eq!(vi2.unicast_peers, [super::ip("192.168.1.135")], "itself is no peer");
    assert_eq!(vi2.interface, "eth1");
    assert_eq!(plan.virtual_servers.len(), 1);
    let unused = plan_director(&intent, &name("d3"));
    assert!(unused.vrrp_instances.is_empty() && unused.virtual_servers.is_empty());
    assert_eq!(plan_director(&intent, &name("nobody")), unused);
}

fn without_agent(mut pool: Resource) -> Resource {
    if let Spec::Pool(pool) = &mut pool.spec {
        pool.agent = AgentRequirement::None;
    }
    pool
}

#[test]
fn pools_without_agents_need_none() {
    let mut set = seed();
    set.push(real_server("redis1", "192.168.1.141", 6379));
    set.push(real_server("redis2", "192.168.1.142", 6379));
    set.push(real_server("idle", "192.168.1.143", 80));
    set.push(without_agent(pool("redis", &["redis1", "redis2"])));
    // redis2 is also in a pool that requires its agent.
    set.push(pool("watched", &["redis2"]));
    let mut redis = virtual_server("redis", VIP, 6379);
    if let Spec::VirtualServer(server) = &mut redis.spec {
        server.pool = name("redis");
    }
    set.push(redis);
    let intent = intent(set);
    let planner = Planner::new(&intent);
    let agents: Vec<String> = planner.agents().iter().map(ToString::to_string).collect();
    assert_eq!(
        agents,
        [
            "director/d1",
            "director/d2",
            "realserver/idle",
            "realserver/redis2",
            "realserver/web1",
            "realserver/web2",
        ]
    );
    let redis2 = planner.real_server(&name("redis2"));
    assert_eq!(redis2.servers.len(), 1);
    assert!(redis2.vips.is_empty(), "the pool that has the VIP says that there is no agent");
    assert!(planner.real_server(&name("redis1")).servers.is_empty());
}

#[test]
fn differences_name_the_objects() {
    let before = intent(seed());
    let mut set = seed();
    for resource in &mut set {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.members[0].weight = Weight::new(5).expect("in range");
        }
    }
    let told = |diffs: Vec<AgentDiff>| -> BTreeMap<String, String> {
        diffs
            .into_iter()
            .map(|diff| {
                let text = format!("+{} -{}", diff.changed.join(","), diff.removed.join(","));
                (diff.agent.to_string(), text)
            })
            .collect()
    };
    let expect = |expected: &[(&str, &str)]| -> BTreeMap<String, String> {
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(
        told(diff_agents(&before, &intent(set))),
        expect(&[
            ("director/d1", "+virtual-server/web -"),
            ("director/d2", "+virtual-server/web -"),
        ]),
        "a weight is the directors' matter"
    );
    assert_eq!(
        told(diff_agents(&Intent::default(), &before)),
        expect(&[
            ("director/d1", "+ipvs,virtual-server/web,vrrp/vi-1 -"),
            ("director/d2", "+ipvs,virtual-server/web,vrrp/vi-1 -"),
            ("realserver/web1", "+host -"),
            ("realserver/web2", "+host -"),
        ])
    );
    assert_eq!(
        told(diff_agents(&before, &Intent::default())),
        expect(&[
            ("director/d1", "+ -ipvs,virtual-server/web,vrrp/vi-1"),
            ("director/d2", "+ -ipvs,virtual-server/web,vrrp/vi-1"),
            ("realserver/web1", "+ -host"),
            ("realserver/web2", "+ -host"),
        ])
    );
}
