//! An address belongs to one: VIPs, DIPs and RIPs of a site do not get into each other's way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

use fulcrum_model::resource::{Kind, VirtualServer, VrrpInstance};
use fulcrum_model::{Cidr, Listen, Name, Port};

use super::some_of;
use crate::catalog::Catalog;
use crate::planner::is_link_local;
use crate::violation::{Finding, Place, Request};

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for claims in claims(catalog).into_values().filter(|claims| claims.len() > 1) {
        conflicts(request, &claims, &mut findings);
    }
    real_servers(request, catalog, &mut findings);
    virtual_servers(request, catalog, &mut findings);
    findings.extend(unicast_ipv6(catalog));
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
    Held {
        /// Its place among the instance's unadvertised VIPs.
        index: usize,
    },
    Dip,
    Rip,
}

/// Site, link and address. Sites may use the same private addresses, links the same link-local ones; the link is that of
/// the first member, and empty for all other addresses.
type Where<'a> = (&'a Name, &'a str, IpAddr);

fn claims<'a>(catalog: &Catalog<'a>) -> BTreeMap<Where<'a>, Vec<Claim<'a>>> {
    let mut claims: BTreeMap<Where<'a>, Vec<Claim<'a>>> = BTreeMap::new();
    let mut add = |site: &'a Name, link: &'a str, claim: Claim<'a>| {
        let link = if is_link_local(claim.address) { link } else { "" };
        claims.entry((site, link, claim.address)).or_default().push(claim);
    };
    for (name, instance) in &catalog.vrrp_instances {
        let link = link(catalog, instance);
        for (index, vip) in instance.vips.iter().enumerate() {
            let claim = Claim { role: Role::Vip { index }, name, address: vip.address() };
            add(&instance.site, link, claim);
        }
        for (index, held) in instance.options.unadvertised_vips.iter().enumerate() {
            let link = held.interface.as_deref().unwrap_or(link);
            let claim = Claim { role: Role::Held { index }, name, address: held.address.address() };
            add(&instance.site, link, claim);
        }
    }
    for (name, director) in &catalog.directors {
        let dips = [Some(director.dip), director.dip_ipv6.map(IpAddr::V6)];
        for dip in dips.into_iter().flatten() {
            add(&director.site, &director.interface, Claim { role: Role::Dip, name, address: dip });
        }
    }
    for (name, server) in &catalog.real_servers {
        add(&server.site, "", Claim { role: Role::Rip, name, address: server.rip });
    }
    claims
}

fn link<'a>(catalog: &Catalog<'a>, instance: &'a VrrpInstance) -> &'a str {
    let Some(member) = instance.members.first() else { return "" };
    let of_director = || catalog.directors.get(&member.director).map(|d| d.interface.as_str());
    member.interface.as_deref().or_else(of_director).unwrap_or_default()
}

/// Every member has an IPv6 address to be told at.
fn unicast_ipv6(catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_ipv6 = |instance: &VrrpInstance| {
        instance.unicast && instance.vips.first().is_some_and(|vip| vip.address().is_ipv6())
    };
    for (name, instance) in catalog.vrrp_instances.iter().filter(|(_, i)| is_ipv6(i)) {
        for (index, member) in instance.members.iter().enumerate() {
            let director = catalog.directors.get(&member.director);
            if director.is_some_and(|director| director.dip_ipv6.is_none()) {
                let field = format!("spec.members[{index}].director");
                let found = format!("{:?}", member.director.as_str());
                findings.push(Place::new(Kind::VrrpInstance, name, &field, found).finding(
                    "has no dip_ipv6, and adverts go to it by unicast over IPv6; give the \
                     director one, or leave unicast out",
                ));
            }
        }
    }
    findings
}

impl Claim<'_> {
    fn place(&self) -> Place {
        let found = format!("{:?}", self.address.to_string());
        match self.role {
            Role::Vip { index } => {
                Place::new(Kind::VrrpInstance, self.name, &format!("spec.vips[{index}]"), found)
            }
            Role::Held { index } => {
                let field = format!("spec.unadvertised_vips[{index}].address");
                Place::new(Kind::VrrpInstance, self.name, &field, found)
            }
            Role::Dip if self.address.is_ipv6() => {
                Place::new(Kind::Director, self.name, "spec.dip_ipv6", found)
            }
            Role::Dip => Place::new(Kind::Director, self.name, "spec.dip", found),
            Role::Rip => Place::new(Kind::RealServer, self.name, "spec.rip", found),
        }
    }

    fn told(&self) -> String {
        match self.role {
            Role::Vip { .. } | Role::Held { .. } => {
                format!("VRRP instance {} holds it as a VIP", self.name)
            }
            Role::Dip => format!("director {} has it as its own address", self.name),
            Role::Rip => format!("real server {} has it as its own address", self.name),
        }
    }
}

/// A VIP is nobody else's address, and a DIP no other director's. A director may be a real server too, and a host may
/// serve on several ports.
fn conflicts(request: &Request, claims: &[Claim<'_>], findings: &mut Vec<Finding>) {
    let first_vip = claims.iter().position(|claim| is_vip(claim.role));
    let first_dip = claims.iter().position(|claim| claim.role == Role::Dip);
    for (index, claim) in claims.iter().enumerate() {
        let first = match claim.role {
            Role::Vip { .. } | Role::Held { .. } | Role::Rip => first_vip,
            Role::Dip => first_vip.or(first_dip),
        };
        let Some(first) = first.filter(|first| *first != index) else { continue };
        let other = &claims[first];
        let text = |other: &Claim<'_>| format!("{}; use another address", other.told());
        findings
            .push(request.tell_later((other.place(), text(claim)), (claim.place(), text(other))));
    }
}

fn is_vip(role: Role) -> bool {
    matches!(role, Role::Vip { .. } | Role::Held { .. })
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
        held(name, server, instance, findings);
        match first.entry((&instance.site, server.listen)) {
            Entry::Vacant(vacant) => _ = vacant.insert(*name),
            Entry::Occupied(occupied) => {
                let place = |name| taken_at(name, &server.listen);
                let text = |other: &Name| taken(other, &server.listen);
                let other = *occupied.get();
                findings.push(
                    request.tell_later((place(other), text(name)), (place(name), text(other))),
                );
            }
        }
    }
}

/// The VIP is one of the instance's; under a firewall mark it has one of the mark's family.
fn held(name: &Name, server: &VirtualServer, instance: &VrrpInstance, findings: &mut Vec<Finding>) {
    match server.listen {
        Listen::Address { vip, .. } if !vips(instance).any(|held| held == vip) => {
            let found = format!("{:?}", vip.to_string());
            let place = Place::new(Kind::VirtualServer, name, "spec.vip", found);
            findings.push(place.finding(no_such_vip(&server.vrrp_instance, instance)));
        }
        Listen::Fwmark { is_ipv6, .. } if !vips(instance).any(|vip| vip.is_ipv6() == is_ipv6) => {
            let place = Place::new(Kind::VirtualServer, name, "spec.fwmark_ipv6", is_ipv6);
            findings.push(place.finding(no_such_vip(&server.vrrp_instance, instance)));
        }
        Listen::Address { .. } | Listen::Fwmark { .. } => {}
    }
}

/// The field that another virtual server has the same in.
fn taken_at(name: &Name, listen: &Listen) -> Place {
    let (field, found) = match listen {
        Listen::Address { port: Some(port), .. } => ("spec.port", port.to_string()),
        Listen::Address { port: None, .. } => ("spec.all_ports", "true".to_owned()),
        Listen::Fwmark { mark, .. } => ("spec.fwmark", mark.to_string()),
    };
    Place::new(Kind::VirtualServer, name, field, found)
}

fn taken(other: &Name, listen: &Listen) -> String {
    match listen {
        Listen::Address { vip, port: Some(port), protocol } => format!(
            "virtual server {other} is {}/{} already; use another port or protocol",
            SocketAddr::new(*vip, port.get()),
            protocol.as_str().to_lowercase()
        ),
        Listen::Address { vip, port: None, protocol } => format!(
            "virtual server {other} takes every port of {vip}/{} already; use another VIP or protocol",
            protocol.as_str().to_lowercase()
        ),
        Listen::Fwmark { .. } => {
            format!("virtual server {other} takes this mark already; use another one")
        }
    }
}

/// All that the Active holds, advertised or not.
fn vips(instance: &VrrpInstance) -> impl Iterator<Item = IpAddr> {
    let held = instance.options.unadvertised_vips.iter().map(|held| held.address.address());
    instance.vips.iter().map(Cidr::address).chain(held)
}

fn no_such_vip(name: &Name, instance: &VrrpInstance) -> String {
    let vips: Vec<String> = vips(instance).map(|vip| vip.to_string()).collect();
    format!(
        "VRRP instance {name} holds {}; use one of its VIPs, or add this one to it",
        some_of(&vips)
    )
}
