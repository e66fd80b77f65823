//! A hand-over names a member, and nothing stands against it.

use std::collections::BTreeMap;

use fulcrum_model::resource::{Handover, Kind, VrrpInstance};
use fulcrum_model::{Name, Priority};

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: BTreeMap<&Name, (&Name, &Handover)> = BTreeMap::new();
    for (name, handover) in &catalog.handovers {
        let Some(instance) = catalog.vrrp_instances.get(&handover.vrrp_instance) else { continue };
        member(catalog, (name, handover, instance), &mut findings);
        let moved = catalog.moved_with(&handover.vrrp_instance);
        for (moved_name, moved) in &moved {
            owner((name, handover), (moved_name, moved), &mut findings);
        }
        let taken = moved.iter().find_map(|(moved, _)| first.get(moved).copied());
        if let Some((other, _)) = taken {
            let place = |name| {
                let found = format!("{:?}", handover.vrrp_instance.as_str());
                Place::new(Kind::Handover, name, "spec.vrrp_instance", found)
            };
            let text = |other: &Name| {
                format!("hand-over {other} orders it already; change or delete that one")
            };
            findings
                .push(request.tell_later((place(other), text(name)), (place(name), text(other))));
            continue;
        }
        for (moved, _) in moved {
            first.insert(moved, (name, handover));
        }
    }
    findings
}

fn member(
    catalog: &Catalog<'_>,
    (name, handover, instance): (&Name, &Handover, &VrrpInstance),
    findings: &mut Vec<Finding>,
) {
    let to = &handover.to;
    let is_member = instance.members.iter().any(|member| member.director == *to);
    if is_member || !catalog.directors.contains_key(to) {
        return;
    }
    let members: Vec<String> =
        instance.members.iter().map(|member| member.director.to_string()).collect();
    let place = Place::new(Kind::Handover, name, "spec.to", format!("{:?}", to.as_str()));
    findings.push(place.finding(format_args!(
        "is no member of VRRP instance {}; use one of {}, or delete the hand-over",
        handover.vrrp_instance,
        some_of(&members)
    )));
}

/// The owner of an address never gives way (RFC 9568 §6.4.3).
fn owner(
    (name, handover): (&Name, &Handover),
    (moved_name, moved): (&Name, &VrrpInstance),
    findings: &mut Vec<Finding>,
) {
    let Some(owner) = moved.members.iter().find(|member| member.priority == Priority::OWNER) else {
        return;
    };
    let found = format!("{:?}", handover.vrrp_instance.as_str());
    let place = Place::new(Kind::Handover, name, "spec.vrrp_instance", found);
    findings.push(place.finding(format_args!(
        "director {} has priority 255 in VRRP instance {moved_name} and gives way to nobody; lower \
         its priority, or delete the hand-over",
        owner.director
    )));
}
