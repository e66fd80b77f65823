//! What is waited for, who is chosen, and how orders are named.

use std::collections::BTreeSet;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::outlook::Outlook;
use super::{Goal, Wish, best_of, drained, name_for, order_of};
use crate::order::Cluster;
use crate::order::fixtures::{REVISION, director, resource};

fn instance(name: &str, group: &str) -> v1::Resource {
    let member = |director: &str, priority| v1::VrrpMember {
        director: director.to_owned(),
        priority,
        interface: String::new(),
    };
    let spec = v1::VrrpInstance {
        site: "main".to_owned(),
        members: vec![member("d1", 100), member("d2", 90), member("d3", 90)],
        sync_group: group.to_owned(),
        ..v1::VrrpInstance::default()
    };
    resource(name, Spec::VrrpInstance(spec))
}

fn order(name: &str, instance: &str, to: &str, by: &str) -> v1::Resource {
    let spec = v1::Handover {
        vrrp_instance: instance.to_owned(),
        to: to.to_owned(),
        reason: String::new(),
        requested_by: by.to_owned(),
    };
    resource(name, Spec::Handover(spec))
}

fn agent(name: &str, state: v1::VrrpState) -> v1::AgentStatus {
    director(name, state, Vec::new())
}

/// d1 Active, d2 and d3 Backup.
fn cluster(more: impl IntoIterator<Item = v1::Resource>) -> Cluster {
    let agents = vec![
        agent("d1", v1::VrrpState::Active),
        agent("d2", v1::VrrpState::Backup),
        agent("d3", v1::VrrpState::Backup),
    ];
    let resources = std::iter::once(instance("vi-1", "")).chain(more).collect();
    Cluster::new(&v1::Topology { agents, resources, ..v1::Topology::default() })
}

fn set_state(cluster: &mut Cluster, director: &str, state: v1::VrrpState) {
    vrrp(cluster, director).state = state.into();
}

fn vrrp<'a>(cluster: &'a mut Cluster, director: &str) -> &'a mut v1::VrrpObserved {
    let agent = cluster.agents.get_mut(director).expect("a director");
    &mut agent.director.as_mut().expect("it told").vrrp_instances[0]
}

fn outlook(cluster: &Cluster, wish: Wish) -> (String, String) {
    let goal = Goal { instance: "vi-1".to_owned(), wish, revision: REVISION };
    let Outlook { active, waits_for } = goal.outlook(cluster);
    (active.join(", "), waits_for.join(", "))
}

#[test]
fn a_hand_over_is_done_when_the_target_alone_is_active_by_the_plan() {
    type Edit = fn(&mut Cluster);
    let hand_over = |cluster: &mut Cluster| {
        set_state(cluster, "d1", v1::VrrpState::Backup);
        set_state(cluster, "d2", v1::VrrpState::Active);
    };
    let cases: [(Edit, &str, &str); 9] = [
        (|_| {}, "d1", "d2 to become Active, d1 to become Backup"),
        (
            |c| {
                let ack = c.agents.get_mut("d1").and_then(|agent| agent.ack.as_mut());
                ack.and_then(|ack| ack.version.as_mut()).expect("it has").revision = 12;
            },
            "d1",
            "d1 to apply revision 13, d2 to become Active, d1 to become Backup",
        ),
        (
            |c| {
                let agent = c.agents.get_mut("d2").expect("a director");
                let ack = agent.ack.as_mut().expect("it has");
                (ack.applied, ack.reason) = (false, "no such interface".to_owned());
            },
            "d1",
            "d2, which refuses revision 13: no such interface, d2 to become Active, d1 to become Backup",
        ),
        (
            |c| vrrp(c, "d2").waits_for = "its preempt delay".to_owned(),
            "d1",
            "d2, which waits for its preempt delay, d1 to become Backup",
        ),
        (
            |c| {
                vrrp(c, "d2").connection_sync = Some(v1::ConnectionSyncObserved {
                    missing: 120,
                    compared: true,
                    ..v1::ConnectionSyncObserved::default()
                });
            },
            "d1",
            "d2, to which 120 connections are unknown, d1 to become Backup",
        ),
        (
            |c| vrrp(c, "d2").faults = vec!["interface eth1 is down".to_owned()],
            "d1",
            "d2, which must not be Active: interface eth1 is down, d1 to become Backup",
        ),
        (
            |c| c.agents.get_mut("d2").expect("a director").attached = false,
            "d1",
            "d2, which is not attached, d1 to become Backup",
        ),
        (
            |c| {
                set_state(c, "d2", v1::VrrpState::Active);
                c.agents.get_mut("d1").expect("a director").attached = false;
            },
            "d1, d2",
            "d1, which is not attached and was Active when last heard",
        ),
        (|c| set_state(c, "d2", v1::VrrpState::Active), "d1, d2", "d1 to become Backup"),
    ];
    let wish = || Wish::Active("d2".to_owned());
    for (edit, active, waits_for) in cases {
        let mut cluster = cluster([]);
        edit(&mut cluster);
        assert_eq!(outlook(&cluster, wish()), (active.to_owned(), waits_for.to_owned()));
    }
    let mut done = cluster([]);
    hand_over(&mut done);
    assert_eq!(outlook(&done, wish()), ("d2".to_owned(), String::new()));
    // A member that is not there, and was Backup, holds nothing up.
    done.agents.get_mut("d3").expect("a director").attached = false;
    assert_eq!(outlook(&done, wish()), ("d2".to_owned(), String::new()));
}

#[test]
fn taking_back_waits_for_the_highest_that_can() {
    let mut cluster = cluster([]);
    set_state(&mut cluster, "d1", v1::VrrpState::Backup);
    set_state(&mut cluster, "d2", v1::VrrpState::Active);
    let waits_for = |cluster: &Cluster| outlook(cluster, Wish::Highest).1;
    assert_eq!(waits_for(&cluster), "d1 to become Active, d2 to become Backup");
    cluster.instances.get_mut("vi-1").expect("it is there").no_preempt = true;
    assert_eq!(waits_for(&cluster), "", "nobody preempts");
    cluster.instances.get_mut("vi-1").expect("it is there").no_preempt = false;
    vrrp(&mut cluster, "d1").faults = vec!["gateway".to_owned()];
    assert_eq!(waits_for(&cluster), "", "d1 cannot");
}

#[test]
fn the_best_is_the_highest_that_is_there_and_well() {
    let mut cluster = cluster([]);
    let best = |cluster: &Cluster, without: &[&str]| {
        let without: BTreeSet<String> = without.iter().map(|name| (*name).to_owned()).collect();
        let instance = &cluster.instances["vi-1"];
        best_of(cluster, "vi-1", instance, &without).map(str::to_owned)
    };
    assert_eq!(best(&cluster, &[]).as_deref(), Some("d1"));
    assert_eq!(best(&cluster, &["d1"]).as_deref(), Some("d2"), "equal ones by name");
    set_state(&mut cluster, "d2", v1::VrrpState::Initialize);
    assert_eq!(best(&cluster, &["d1"]).as_deref(), Some("d3"));
    cluster.agents.get_mut("d3").expect("a director").attached = false;
    assert_eq!(best(&cluster, &["d1"]), None);
}

#[test]
fn orders_are_found_by_what_they_move_and_named_once() {
    let cluster = cluster([
        instance("vi-2", "edge"),
        instance("vi-3", "edge"),
        order("vi-1", "vi-2", "d2", "drain/d1"),
    ]);
    let found = |instance: &str| order_of(&cluster, instance).map(|(name, _)| name);
    assert_eq!(found("vi-1"), None);
    assert_eq!((found("vi-2"), found("vi-3")), (Some("vi-1"), Some("vi-1")), "of one group");
    assert_eq!(name_for(&cluster, "vi-3"), "vi-1", "the one there is");
    assert_eq!(name_for(&cluster, "vi-1"), "vi-1-2", "its name is taken");
    assert_eq!(drained(&cluster), BTreeSet::from(["d1".to_owned()]));
}
