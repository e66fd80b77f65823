//! A VRID names one virtual router of an address family on a segment (RFC 9568 §5.2.3): in a site, on an interface.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::resource::{Kind, VrrpInstance};
use fulcrum_model::{Name, Vrid};

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

/// Site, whether the family is IPv6, and VRID.
type Identity<'a> = (&'a Name, bool, Vrid);

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut by_vrid: BTreeMap<Identity<'_>, Vec<(&Name, &VrrpInstance)>> = BTreeMap::new();
    for (name, instance) in &catalog.vrrp_instances {
        let is_ipv6 = instance.vips.first().is_some_and(|vip| vip.address().is_ipv6());
        let key = (&instance.site, is_ipv6, instance.vrid);
        by_vrid.entry(key).or_default().push((name, instance));
    }
    let mut findings = Vec::new();
    for ((site, family, vrid), instances) in by_vrid.iter().filter(|(_, same)| same.len() > 1) {
        let of_segment = by_vrid.keys().filter(|(used, of, _)| (used, of) == (site, family));
        let used = of_segment.map(|(.., vrid)| *vrid);
        let free = free_vrid(&used.collect());
        for (later, (name, instance)) in instances.iter().enumerate() {
            let collision = instances[..later].iter().find_map(|(other_name, other)| {
                let shared = shared_interfaces(catalog, instance, other);
                (!shared.is_empty()).then_some((other_name, shared))
            });
            let Some((other, shared)) = collision else { continue };
            let place = |name| Place::new(Kind::VrrpInstance, name, "spec.vrid", vrid);
            let text = |other: &Name| {
                let free = free.map_or_else(String::new, |free| format!(", such as {free}"));
                format!(
                    "VRRP instance {other} has this VRID on {} already; use another{free}",
                    some_of(&shared)
                )
            };
            findings
                .push(request.tell_later((place(other), text(name)), (place(name), text(other))));
        }
    }
    findings
}

/// Interfaces on which both would be heard. Unicast instances without a common director never meet.
fn shared_interfaces(catalog: &Catalog<'_>, a: &VrrpInstance, b: &VrrpInstance) -> Vec<String> {
    let (of_a, of_b) = (interfaces(catalog, a), interfaces(catalog, b));
    if a.unicast && b.unicast {
        return of_a.intersection(&of_b).map(|(_, interface)| (*interface).to_owned()).collect();
    }
    let names = |parts: &BTreeSet<(&Name, &str)>| -> BTreeSet<String> {
        parts.iter().map(|(_, interface)| (*interface).to_owned()).collect()
    };
    names(&of_a).intersection(&names(&of_b)).cloned().collect()
}

/// Directors with the interface that each uses for the instance.
pub(super) fn interfaces<'a>(
    catalog: &Catalog<'a>,
    instance: &'a VrrpInstance,
) -> BTreeSet<(&'a Name, &'a str)> {
    instance
        .members
        .iter()
        .filter_map(|member| {
            let director = catalog.directors.get(&member.director)?;
            let interface = member.interface.as_ref().unwrap_or(&director.interface);
            Some((&member.director, interface.as_str()))
        })
        .collect()
}

fn free_vrid(used: &BTreeSet<Vrid>) -> Option<Vrid> {
    (1..=255).filter_map(|vrid| Vrid::new(vrid).ok()).find(|vrid| !used.contains(vrid))
}
