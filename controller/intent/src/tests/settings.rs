//! Plans of a director's settings of IPVS.

use fulcrum_model::resource::{Resource, Spec};
use fulcrum_model::{ForwardingMethod, IpvsSettings};

use super::{director, intent, name, seed};
use crate::{AgentDiff, Intent, diff_agents, plan_director};

/// The classic cluster, whose pool's first member is reached by `forwarding`, with a director that takes part in nothing.
fn cluster(forwarding: ForwardingMethod, given: Option<bool>) -> Intent {
    let mut set = seed();
    set.push(director("d3", "main", "192.168.1.137"));
    for Resource { spec, .. } in &mut set {
        match spec {
            Spec::Pool(pool) => pool.members[0].forwarding = Some(forwarding),
            Spec::Director(director) => director.ipvs.ip_forward = given,
            _ => {}
        }
    }
    intent(set)
}

#[test]
fn nat_needs_forwarding_unless_the_director_says_otherwise() {
    use ForwardingMethod::{Dr, Nat};
    for (forwarding, given, planned) in [
        (Dr, None, None),
        (Nat, None, Some(true)),
        (Nat, Some(false), Some(false)),
        (Dr, Some(true), Some(true)),
    ] {
        let intent = cluster(forwarding, given);
        let expected = IpvsSettings { ip_forward: planned, ..IpvsSettings::default() };
        assert_eq!(plan_director(&intent, &name("d1")).ipvs, expected, "{forwarding} {given:?}");
        let idle = plan_director(&intent, &name("d3")).ipvs.ip_forward;
        assert_eq!(idle, given, "it has no virtual server");
    }
}

#[test]
fn a_change_of_settings_is_told_per_agent() {
    let told = |before: &Intent, after: &Intent| -> Vec<String> {
        let told = |diff: &AgentDiff| {
            let ipvs = |keys: &[String]| keys.iter().any(|key| key == "ipvs");
            let (changed, removed) = (ipvs(&diff.changed), ipvs(&diff.removed));
            (changed || removed).then(|| format!("{} {changed} {removed}", diff.agent))
        };
        diff_agents(before, after).iter().filter_map(told).collect()
    };
    let dr = cluster(ForwardingMethod::Dr, None);
    let nat = cluster(ForwardingMethod::Nat, None);
    assert_eq!(told(&dr, &nat), ["director/d1 true false", "director/d2 true false"]);
    assert_eq!(told(&dr, &dr), Vec::<String>::new());
    let small = intent(seed());
    let mut set = seed();
    set.push(director("d3", "main", "192.168.1.137"));
    let grown = intent(set);
    assert_eq!(told(&small, &grown), ["director/d3 true false"]);
    assert_eq!(told(&grown, &small), ["director/d3 false true"]);
}
