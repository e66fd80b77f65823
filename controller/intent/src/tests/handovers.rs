//! Hand-overs: what they order, what stands against them, and how they end.

use std::collections::BTreeSet;

use fulcrum_model::resource::{Kind, Resource, ResourceKey, Spec};
use fulcrum_model::{Priority, Revision};

use super::{handover, indexed, intent, name, rejections, seed, vrrp_instance};
use crate::{Intent, Planner, Removal, prepare};

/// Priorities of the members of an instance, a take-over marked, as each director's plan has them.
fn priorities(intent: &Intent, instance: &str) -> String {
    let planner = Planner::new(intent);
    let told = ["d1", "d2"].map(|director| {
        let plan = planner.director(&name(director));
        let plan = &plan.vrrp_instances[&name(instance)];
        format!("{director} {}{}", plan.priority, if plan.take_over { "!" } else { "" })
    });
    told.join(", ")
}

fn with(mut set: Vec<Resource>, more: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
    set.extend(more);
    set
}

fn grouped(mut resource: Resource) -> Resource {
    if let Spec::VrrpInstance(instance) = &mut resource.spec {
        instance.options.sync_group = Some(name("edge"));
    }
    resource
}

fn set_priority(resource: &mut Resource, member: usize, priority: u64) {
    if let Spec::VrrpInstance(instance) = &mut resource.spec {
        instance.members[member].priority = Priority::new(priority).expect("in range");
    }
}

#[test]
fn the_target_outranks_all_others() {
    assert_eq!(priorities(&intent(seed()), "vi-1"), "d1 100, d2 90");
    let to = |director| intent(with(seed(), [handover("h", "vi-1", director)]));
    assert_eq!(priorities(&to("d2"), "vi-1"), "d1 100, d2 254!");
    assert_eq!(priorities(&to("d1"), "vi-1"), "d1 254!, d2 90");
    let mut high = seed();
    set_priority(&mut high[3], 0, 254);
    let high = intent(with(high, [handover("h", "vi-1", "d2")]));
    assert_eq!(priorities(&high, "vi-1"), "d1 253, d2 254!");
}

#[test]
fn a_sync_group_moves_as_one() {
    let mut set: Vec<Resource> = seed().into_iter().map(grouped).collect();
    set.push(grouped(vrrp_instance("vi-2", 52, &["10.0.0.1/24"], &[("d1", 80), ("d2", 120)])));
    set.push(vrrp_instance("vi-3", 53, &["10.0.0.2/24"], &[("d1", 80), ("d2", 70)]));
    let after = intent(with(set.clone(), [handover("h", "vi-1", "d2")]));
    assert_eq!(priorities(&after, "vi-1"), "d1 100, d2 254!");
    assert_eq!(priorities(&after, "vi-2"), "d1 80, d2 254!");
    assert_eq!(priorities(&after, "vi-3"), "d1 80, d2 70");
    assert_eq!(
        rejections(&after, vec![handover("i", "vi-2", "d1")], &Removal::default()),
        [
            "resources[0].spec.vrrp_instance: \"vi-2\": hand-over h orders it already; change or delete that one"
        ]
    );
}

#[test]
fn what_cannot_be_obeyed_is_refused() {
    let refused = |set: Vec<Resource>| rejections(&Intent::default(), set, &Removal::default());
    assert_eq!(
        refused(with(
            seed(),
            [super::director("d3", "main", "192.168.1.137"), handover("h", "vi-1", "d3")]
        )),
        [
            "resources[9].spec.to: \"d3\": is no member of VRRP instance vi-1; use one of d1, d2, or delete the hand-over"
        ]
    );
    assert_eq!(
        refused(with(seed(), [handover("h", "vi-2", "d4")])),
        [
            "resources[8].spec.vrrp_instance: \"vi-2\": there is no VrrpInstance of this name; did you mean \"vi-1\"?",
            "resources[8].spec.to: \"d4\": there is no Director of this name; create it in the same set",
        ]
    );
    let mut owned = seed();
    set_priority(&mut owned[3], 0, 255);
    assert_eq!(
        refused(with(owned, [handover("h", "vi-1", "d2")])),
        [
            "resources[8].spec.vrrp_instance: \"vi-1\": director d1 has priority 255 in VRRP instance vi-1 and gives way to nobody; lower its priority, or delete the hand-over"
        ]
    );
    let standing = intent(with(seed(), [handover("h", "vi-1", "d2")]));
    let alone = vrrp_instance("vi-1", 51, &["192.168.1.150/24"], &[("d1", 100)]);
    assert_eq!(
        rejections(&standing, vec![alone], &Removal::default()),
        [
            "Handover/h.spec.to: \"d2\": is no member of VRRP instance vi-1; use one of d1, or delete the hand-over"
        ]
    );
}

#[test]
fn it_stands_until_it_is_deleted() {
    let standing = intent(with(seed(), [handover("h", "vi-1", "d2")]));
    let applied = |set: Vec<Resource>, removal: &Removal| {
        let prepared = prepare(&standing, indexed(set), removal, true).expect("valid");
        let mut after = standing.clone();
        after.apply(Revision(8), prepared.put, prepared.delete);
        after
    };
    let pruned = applied(seed(), &Removal::unlisted());
    assert_eq!(priorities(&pruned, "vi-1"), "d1 100, d2 254!", "manifests applied again");
    assert!(applied(Vec::new(), &Removal::unlisted()).resources.is_empty(), "with its instance");
    let key = ResourceKey { kind: Kind::Handover, name: name("h") };
    let named = Removal { named: BTreeSet::from([key.clone()]), ..Removal::default() };
    let back = applied(Vec::new(), &named);
    assert_eq!(priorities(&back, "vi-1"), "d1 100, d2 90");
    assert_eq!(back.resources, intent(seed()).resources);
    let again = prepare(&back, Vec::new(), &named, true).expect("what is gone may be deleted");
    assert_eq!(again.delete, Vec::new());
    assert_eq!(
        rejections(&standing, vec![handover("h", "vi-1", "d1")], &named),
        [
            "resources[0].name: \"h\": Handover h is to be deleted by the same request; do one of both"
        ]
    );
}
