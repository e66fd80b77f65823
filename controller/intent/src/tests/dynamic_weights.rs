//! Where weights may follow load.

use fulcrum_model::resource::{AgentRequirement, Resource, Spec};
use fulcrum_model::{DynamicWeights, Scheduler};

use super::{intent, name, rejections, seed};
use crate::{Intent, Removal, plan_director};

#[track_caller]
fn check(what: &str, set: Vec<Resource>, expected: &[&str]) {
    let found = rejections(&Intent::default(), set, &Removal::default());
    assert_eq!(found, expected, "{what}");
}

fn set(scheduler: Scheduler, agent: AgentRequirement) -> Vec<Resource> {
    let mut set = seed();
    for resource in &mut set {
        match &mut resource.spec {
            Spec::Pool(pool) => {
                pool.agent = agent;
                pool.dynamic_weights = Some(DynamicWeights::default());
            }
            Spec::VirtualServer(server) => server.scheduler = scheduler,
            _ => {}
        }
    }
    set
}

#[test]
fn weights_follow_load_where_they_are_shares() {
    let refused = |scheduler| {
        let why = match scheduler {
            Scheduler::Sh | Scheduler::Mh => "each change would move clients of its hash",
            Scheduler::Rr | Scheduler::Lc | Scheduler::Dh => "it does not go by weight",
            Scheduler::Fo => "the greatest weight takes all connections",
            Scheduler::Ovf => "a weight is the number of connections before the next one's turn",
            _ => return Vec::new(),
        };
        vec![format!(
            "resources[7].spec.scheduler: {scheduler}: pool tomcats has dynamic_weights, and {why}; use wlc or wrr, or a pool without them"
        )]
    };
    for scheduler in Scheduler::ALL {
        let expected = refused(scheduler);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&scheduler.to_string(), set(scheduler, AgentRequirement::Required), &expected);
    }
}

#[test]
fn weights_follow_load_where_agents_tell_it() {
    let told = [
        "resources[6].spec.dynamic_weights: given: agents tell the load, and the pool has agent: none; leave it out, or require agents",
    ];
    check("none", set(Scheduler::Wlc, AgentRequirement::None), &told);
}

#[test]
fn the_plan_says_how() {
    let intent = intent(set(Scheduler::Wlc, AgentRequirement::Required));
    let plan = plan_director(&intent, &name("d1"));
    let law = plan.virtual_servers[&name("web")].dynamic_weights;
    assert_eq!(law, Some(DynamicWeights::default()));
}
