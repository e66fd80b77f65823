//! Restarts by order: what they order, what stands against them, and how they end.

use fulcrum_model::resource::{AgentRequirement, Kind, Resource, ResourceKey, Spec};
use fulcrum_model::{RestartPlan, Revision};

use super::{drain, indexed, intent, name, rejections, restart, seed, virtual_server};
use crate::{Intent, Removal, diff_agents, plan_real_server, prepare};

fn with(more: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
    let mut set = seed();
    set.extend(more);
    set
}

/// What web1's agent is ordered: the restart, and whether it is drained.
fn ordered(intent: &Intent) -> (Option<String>, bool) {
    let plan = plan_real_server(intent, &name("web1"));
    let server = &plan.servers[0];
    (server.restart.as_ref().map(|restart| restart.id.clone()), server.drained)
}

#[test]
fn the_agent_of_the_host_gets_the_order_with_its_identity() {
    assert_eq!(ordered(&intent(seed())), (None, false));
    let ours = intent(with([restart("order", "web1")]));
    assert_eq!(ordered(&ours), (Some("order@7".to_owned()), false));
    let other = plan_real_server(&ours, &name("web2"));
    assert_eq!((&other.servers[0].restart, other.servers[0].drained), (&None, false));
    let plan = plan_real_server(&ours, &name("web1")).servers[0].restart.clone();
    let id = RestartPlan::id_of(&name("order"), Revision(7));
    assert_eq!(plan, Some(RestartPlan { id, action: name("restart"), even_if_serving: false }));
}

#[test]
fn written_again_it_is_the_same_order_and_changed_another_one() {
    let write = |intent: &Intent, order: Resource, revision| {
        let prepared = prepare(intent, indexed(vec![order]), &Removal::default(), false);
        let prepared = prepared.expect("valid");
        let mut after = intent.clone();
        after.apply(Revision(revision), prepared.put, prepared.delete);
        after
    };
    let first = intent(with([restart("order", "web1")]));
    let again = write(&first, restart("order", "web1"), 8);
    assert_eq!(ordered(&again).0.as_deref(), Some("order@7"));
    let mut labelled = restart("order", "web1");
    labelled.labels.insert("rollout.attempt".to_owned(), "2".to_owned());
    let changed = write(&again, labelled, 9);
    assert_eq!(ordered(&changed).0.as_deref(), Some("order@9"));
    let diffs = diff_agents(&again, &changed);
    let told: Vec<String> =
        diffs.iter().map(|diff| format!("{}: {:?}", diff.agent, diff.changed)).collect();
    assert_eq!(told, ["realserver/web1: [\"host\"]"]);
}

#[test]
fn drained_means_that_no_virtual_server_gives_it_connections() {
    let cases = [
        (vec![drain("a", "web1", None)], true),
        (vec![drain("a", "web2", None)], false),
        (vec![drain("a", "web1", Some("web"))], true),
        (vec![second_port(), drain("a", "web1", Some("web"))], false),
        (
            vec![second_port(), drain("a", "web1", Some("web")), drain("b", "web1", Some("shop"))],
            true,
        ),
    ];
    for (more, expected) in cases {
        let names: Vec<String> = more.iter().map(|it| it.key().to_string()).collect();
        assert_eq!(ordered(&intent(with(more))).1, expected, "{names:?}");
    }
}

/// Another virtual server that the same real servers stand behind.
fn second_port() -> Resource {
    let mut shop = virtual_server("shop", super::VIP, 80);
    if let Spec::VirtualServer(server) = &mut shop.spec {
        server.listen = fulcrum_model::Listen::Address {
            vip: super::ip(super::VIP),
            port: Some(super::port(80)),
            protocol: fulcrum_model::Protocol::Udp,
        };
    }
    shop
}

#[test]
fn orders_are_refused_with_the_remedy() {
    let current = intent(with([restart("order", "web1")]));
    let mut unattended = seed();
    for resource in &mut unattended {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.agent = AgentRequirement::None;
        }
    }
    assert_eq!(
        rejections(
            &current,
            vec![restart("again", "web1"), restart("b", "web9")],
            &Removal::default()
        ),
        [
            "resources[0].spec.real_server: \"web1\": restart order orders it already; delete that one first",
            "resources[1].spec.real_server: \"web9\": there is no RealServer of this name; did you mean \"web1\"?",
        ]
    );
    assert_eq!(
        rejections(&current, unattended, &Removal::default()),
        [
            "Restart/order.spec.real_server: \"web1\": every pool of it says agent: none, so nobody can restart it; set agent: required, or delete the order",
        ]
    );
}

#[test]
fn prune_leaves_restarts_of_what_stays() {
    let intent = intent(with([restart("order", "web1")]));
    let gone = |set: Vec<Resource>| {
        let prepared = prepare(&intent, indexed(set), &Removal::unlisted(), true).expect("valid");
        let key = ResourceKey { kind: Kind::Restart, name: name("order") };
        prepared.delete.contains(&key)
    };
    assert!(!gone(seed()));
    let mut without = seed();
    without.retain(|resource| resource.name != name("web1"));
    for resource in &mut without {
        if let Spec::Pool(pool) = &mut resource.spec {
            pool.members.retain(|member| member.real_server != name("web1"));
        }
    }
    assert!(gone(without));
}
