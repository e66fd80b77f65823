//! A sync group moves as a whole: on every director that has a part of it, it has all of it.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::Name;
use fulcrum_model::resource::{Kind, VrrpInstance};

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut first: BTreeMap<(&Name, &Name), (&Name, &VrrpInstance)> = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, instance) in &catalog.vrrp_instances {
        let Some(group) = &instance.options.sync_group else { continue };
        let key = (&instance.site, group);
        let (other, first) = *first.entry(key).or_insert((*name, *instance));
        if members(instance) == members(first) {
            continue;
        }
        let place = |name| {
            let found = format!("{:?}", group.as_str());
            Place::new(Kind::VrrpInstance, name, "spec.sync_group", found)
        };
        let text = |other: &Name, instance: &VrrpInstance| {
            let names: Vec<String> = members(instance).iter().map(ToString::to_string).collect();
            format!(
                "VRRP instance {other} of this group has the members {}; give all of a group the \
                 same members",
                some_of(&names)
            )
        };
        findings.push(
            request.tell_later(
                (place(other), text(name, instance)),
                (place(name), text(other, first)),
            ),
        );
    }
    findings
}

fn members(instance: &VrrpInstance) -> BTreeSet<&Name> {
    instance.members.iter().map(|member| &member.director).collect()
}
