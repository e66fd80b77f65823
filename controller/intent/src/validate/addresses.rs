//! An address belongs to one: VIPs, DIPs and RIPs of a site do not get into each other's way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use fulcrum_model::resource::{Kind, VrrpInstance};
use fulcrum_model::{Name, Port};

use super::some_of;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for claims in claims(catalog).into_values().filter(|claims| claims.len() > 1) {
        conflicts(request, &claims, &mut findings);
    }
    real_servers(request, catalog, &mut findings);
    virtual_servers(request, catalog, &mut findings);
    findings
}

/// Somebody's use of an address.
#[derive(Clone, Copy)]
struct Claim<'a> {
    role: Role,
    name: &'a Name,
    address: IpAddr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Vip {
        /// Its place among the instance's VIPs.
        index: usize,
    },
    Dip,
    Rip,
}

/// Claims by site and address. Sites may use the same private addresses.
fn claims<'a>(catalog: &Catalog<'a>) -> BTreeMap<(&'a Name, IpAddr), Vec<Claim<'a>>> {
    let mut claims: BTreeMap<_, Vec<Claim<'a>>> = BTreeMap::new();
    let mut add = |site: &'a Name, claim: Claim<'a>| {
        claims.entry((site, claim.address)).or_default().push(claim);
    };
    for (name, instance) in &catalog.vrrp_instances {
        for (index, vip) in instance.vips.iter().enumerate() {
            let claim = Claim { role: Role::Vip { index }, name, address: vip.address() };
            add(&instance.site, claim);
        }
    }
    for (name, director) in &catalog.directors {
        add(&director.site, Claim { role: Role::Dip, name, address: director.dip });
    }
    for (name, server) in &catalog.real_servers {
        add(&server.site, Claim { role: Role::Rip, name, address: server.rip });
    }
    claims
}

impl Claim<'_> {
    fn place(&self) -> Place {
        let found = format!("{:?}", self.address.to_string());
        match self.role {
            Role::Vip { index } => {
                Place::new(Kind::VrrpInstance, self.name, &format!("spec.vips[{index}]"), found)
            }
            Role::Dip => Place::new(Kind::Director, self.name, "spec.dip", found),
            Role::Rip => Place::new(Kind::RealServer, self.name, "spec.rip", found),
        }
    }

    fn told(&self) -> String {
        match self.role {
            Role::Vip { .. } => format!("VRRP instance {} holds it as a VIP", self.name),
            Role::Dip => format!("director {} has it as its own address", self.name),
            Role::Rip => format!("real server {} has it as its own address", self.name),
        }
    }
}

/// A VIP is nobody else's address, and a DIP no other director's. A director may be a real server too, and a host may
/// serve on several ports.
fn conflicts(request: &Request, claims: &[Claim<'_>], findings: &mut Vec<Finding>) {
    let first_vip = claims.iter().position(|claim| matches!(claim.role, Role::Vip { .. }));
    let first_dip = claims.iter().position(|claim| claim.role == Role::Dip);
    for (index, claim) in claims.iter().enumerate() {
        let first = match claim.role {
            Role::Vip { .. } | Role::Rip => first_vip,
            Role::Dip => first_vip.or(first_dip),
        };
        let Some(first) = first.filter(|first| *first != index) else { continue };
        let other = &claims[first];
        let text = |other: &Claim<'_>| format!("{}; use another address", other.told());
        findings
            .push(request.tell_later((other.place(), text(claim)), (claim.place(), text(other))));
    }
}

fn real_servers(request: &Request, catalog: &Catalog<'_>, findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(&Name, IpAddr, Port), &Name> = BTreeMap::new();
    for (name, server) in &catalog.real_servers {
        match first.entry((&server.site, server.rip, server.port)) {
            Entry::Vacant(vacant) => _ = vacant.insert(*name),
            Entry::Occupied(occupied) => {
                let place = |name| Place::new(Kind::RealServer, name, "spec.port", server.port);
                let text = |other: &Name| {
                    format!(
                        "real server {other} is {}:{} already; use another port, or that one",
                        server.rip, server.port
                    )
                };
                let other = *occupied.get();
                findings.push(
                    request.tell_later((place(other), text(name)), (place(name), text(other))),
                );
            }
        }
    }
}

fn virtual_servers(request: &Request, catalog: &Catalog<'_>, findings: &mut Vec<Finding>) {
    let mut first = BTreeMap::new();
    for (name, server) in &catalog.virtual_servers {
        let Some(instance) = catalog.vrrp_instances.get(&server.vrrp_instance) else { continue };
        if !instance.vips.iter().any(|vip| vip.address() == server.vip) {
            let found = format!("{:?}", server.vip.to_string());
            let place = Place::new(Kind::VirtualServer, name, "spec.vip", found);
            findings.push(place.finding(no_such_vip(&server.vrrp_instance, instance)));
        }
        match first.entry((&instance.site, server.vip, server.port, server.protocol)) {
            Entry::Vacant(vacant) => _ = vacant.insert(*name),
            Entry::Occupied(occupied) => {
                let place = |name| Place::new(Kind::VirtualServer, name, "spec.port", server.port);
                let text = |other: &Name| {
                    format!(
                        "virtual server {other} is {}:{}/{} already; use another port or protocol",
                        server.vip,
                        server.port,
                        server.protocol.as_str().to_lowercase()
                    )
                };
                let other = *occupied.get();
                findings.push(
                    request.tell_later((place(other), text(name)), (place(name), text(other))),
                );
            }
        }
    }
}

fn no_such_vip(name: &Name, instance: &VrrpInstance) -> String {
    let vips: Vec<String> = instance.vips.iter().map(|vip| vip.address().to_string()).collect();
    format!(
        "VRRP instance {name} holds {}; use one of its VIPs, or add this one to it",
        some_of(&vips)
    )
}
