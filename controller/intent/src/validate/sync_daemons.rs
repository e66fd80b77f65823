//! The kernel has one sync daemon of each role per network namespace: what a director's instances want of it must agree.
//! And daemons of directors that share no instance must not hear each other.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::Name;
use fulcrum_model::resource::{Kind, VrrpInstance};
use fulcrum_model::vrrp::ConnectionSync;

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

/// What an instance wants of a director's daemon.
#[derive(Clone, PartialEq, Eq)]
struct Wish<'a> {
    instance: &'a Name,
    site: &'a Name,
    director: &'a Name,
    interface: &'a str,
    sync_id: u8,
}

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let wishes: Vec<Wish<'_>> = catalog
        .vrrp_instances
        .iter()
        .filter_map(|(name, instance)| {
            Some((*name, *instance, instance.options.connection_sync.as_ref()?))
        })
        .flat_map(|(name, instance, sync)| wishes(catalog, name, instance, sync))
        .collect();
    let mut findings = disagreements(request, &wishes);
    findings.extend(strangers(request, &wishes));
    findings
}

fn wishes<'a>(
    catalog: &Catalog<'a>,
    name: &'a Name,
    instance: &'a VrrpInstance,
    sync: &'a ConnectionSync,
) -> Vec<Wish<'a>> {
    let sync_id = sync.sync_id.unwrap_or_else(|| instance.vrid.get());
    let wish = |(director, interface)| Wish {
        instance: name,
        site: &instance.site,
        director,
        interface: sync.interface.as_deref().unwrap_or(interface),
        sync_id,
    };
    super::vrids::interfaces(catalog, instance).into_iter().map(wish).collect()
}

/// Two instances of one director that want different things, each pair of instances told once.
fn disagreements(request: &Request, wishes: &[Wish<'_>]) -> Vec<Finding> {
    let mut first: BTreeMap<&Name, &Wish<'_>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for wish in wishes {
        let other = *first.entry(wish.director).or_insert(wish);
        let is_same = (other.interface, other.sync_id) == (wish.interface, wish.sync_id);
        if is_same || !told.insert((other.instance, wish.instance)) {
            continue;
        }
        let text = |other: &Wish<'_>| {
            format!(
                "VRRP instance {} wants the sync daemon of director {} on {} with sync_id {}, and \
                 a kernel has one; set the same interface and sync_id in both",
                other.instance, wish.director, other.interface, other.sync_id
            )
        };
        findings.push(request.tell_later((place(other), text(wish)), (place(wish), text(other))));
    }
    findings
}

/// Instances without a common director whose daemons are heard on a segment under one identifier.
fn strangers(request: &Request, wishes: &[Wish<'_>]) -> Vec<Finding> {
    let mut directors: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
    for wish in wishes {
        directors.entry(wish.instance).or_default().insert(wish.director);
    }
    let mut segments: BTreeMap<(&Name, &str, u8), Vec<&Wish<'_>>> = BTreeMap::new();
    for wish in wishes {
        let key = (wish.site, wish.interface, wish.sync_id);
        let segment = segments.entry(key).or_default();
        if segment.iter().all(|other| other.instance != wish.instance) {
            segment.push(wish);
        }
    }
    let mut findings = Vec::new();
    for segment in segments.values() {
        // Instances that share a director, directly or by way of others, are one group.
        let mut group: BTreeSet<&Name> = BTreeSet::new();
        let mut rest: Vec<&Wish<'_>> = segment.clone();
        while let Some(next) = rest
            .iter()
            .position(|wish| group.is_empty() || !directors[wish.instance].is_disjoint(&group))
        {
            group.extend(&directors[rest.remove(next).instance]);
        }
        let members: Vec<String> = group.iter().map(ToString::to_string).collect();
        let first = segment[0];
        findings.extend(rest.into_iter().map(|wish| {
            let text = |names: &str| {
                format!(
                    "other directors ({names}) use this sync_id on {} and would take in these \
                     connections; use another sync_id",
                    wish.interface
                )
            };
            let own: Vec<String> =
                directors[wish.instance].iter().map(ToString::to_string).collect();
            request.tell_later(
                (place(first), text(&some_of(&own))),
                (place(wish), text(&some_of(&members))),
            )
        }));
    }
    findings
}

fn place(wish: &Wish<'_>) -> Place {
    let found = format!("{}/{}", wish.interface, wish.sync_id);
    Place::new(Kind::VrrpInstance, wish.instance, "spec.connection_sync", found)
}
