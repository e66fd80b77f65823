//! Checks through the VIP can be made, and their firewall marks are nobody else's.

use std::collections::BTreeMap;

use fulcrum_model::resource::{Kind, Pool, VirtualServer};
use fulcrum_model::{Listen, Name, Protocol, path};

use crate::catalog::Catalog;
use crate::violation::{Finding, Place, Request};

const MARKS_ARE_OURS: &str =
    "0x46550000 to 0x4655ffff are the marks of Fulcrum's checks through VIPs; use another";

pub(super) fn check(request: &Request, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, pool) in &catalog.pools {
        if let Some(mark) = pool.check.fwmark.filter(|mark| path::is_mark(*mark)) {
            let place = Place::new(Kind::Pool, name, "spec.check.fwmark", mark);
            findings.push(place.finding(MARKS_ARE_OURS));
        }
    }
    let mut made: BTreeMap<&Name, usize> = BTreeMap::new();
    for (name, server) in &catalog.virtual_servers {
        if let Listen::Fwmark { mark, .. } = server.listen
            && path::is_mark(mark)
        {
            let place = Place::new(Kind::VirtualServer, name, "spec.fwmark", mark);
            findings.push(place.finding(MARKS_ARE_OURS));
        }
        let Some(pool) = catalog.pools.get(&server.pool) else { continue };
        if pool.check.through_vip.is_none() {
            continue;
        }
        findings.extend(not_tried(request, catalog, (name, server), pool));
        findings.extend(directors(request, catalog, (name, server), pool, &mut made));
    }
    findings
}

/// A virtual server whose VIP cannot be tried.
fn not_tried(
    request: &Request,
    catalog: &Catalog<'_>,
    (name, server): (&Name, &VirtualServer),
    pool: &Pool,
) -> Option<Finding> {
    let is_ipv6 = server.listen.is_ipv6();
    let (field, found, why) = match server.listen {
        Listen::Fwmark { mark, .. } => ("spec.fwmark", mark.to_string(), "a mark has no address"),
        Listen::Address { port: None, .. } => {
            ("spec.all_ports", "true".to_owned(), "every port is none to try")
        }
        Listen::Address { protocol: Protocol::Udp | Protocol::Sctp, .. } => {
            ("spec.protocol", protocol(&server.listen), "only connections of TCP are tried")
        }
        Listen::Address { protocol: Protocol::Tcp, .. }
            if catalog.seats(pool).any(|seat| seat.server.rip.is_ipv6() != is_ipv6) =>
        {
            let quoted = format!("{:?}", server.pool.as_str());
            ("spec.pool", quoted, "real servers of the other family are not reached in this way")
        }
        Listen::Address { protocol: Protocol::Tcp, .. } => return None,
    };
    let pool = &server.pool;
    Some(request.tell([
        (
            Place::new(Kind::VirtualServer, name, field, found),
            format!(
                "pool {pool} has check.through_vip, and {why}; leave it out there, or use another pool"
            ),
        ),
        (
            Place::new(Kind::Pool, pool, "spec.check.through_vip", "given"),
            format!(
                "the pool serves virtual server {name} ({}), and {why}; leave it out, or use another \
                 pool there",
                server.listen
            ),
        ),
    ]))
}

fn protocol(listen: &Listen) -> String {
    match listen {
        Listen::Address { protocol, .. } => protocol.as_str().to_lowercase(),
        Listen::Fwmark { .. } => String::new(),
    }
}

/// What the virtual server's directors cannot do. `made` counts the checks of each.
fn directors<'a>(
    request: &Request,
    catalog: &Catalog<'a>,
    (name, server): (&Name, &VirtualServer),
    pool: &Pool,
    made: &mut BTreeMap<&'a Name, usize>,
) -> Vec<Finding> {
    let Some(instance) = catalog.vrrp_instances.get(&server.vrrp_instance) else {
        return Vec::new();
    };
    let limit = usize::try_from(path::MARKS).unwrap_or(usize::MAX);
    let mut findings = Vec::new();
    for member in &instance.members {
        let Some((director, spec)) = catalog.directors.get_key_value(&member.director) else {
            continue;
        };
        let count = made.entry(*director).or_default();
        let before = std::mem::replace(count, count.saturating_add(pool.members.len()));
        if before <= limit && *count > limit {
            let place = Place::new(Kind::VirtualServer, name, "spec.pool", count);
            findings.push(place.finding(format!(
                "so many checks through VIPs would director {director} make, and it has firewall \
                 marks for {limit}; leave check.through_vip out of some pools"
            )));
        }
        if spec.ipvs.backup_only != Some(true) {
            continue;
        }
        let why = "IPVS of a Backup with backup_only forwards nothing, not even its own checks through \
                   VIPs";
        findings.push(request.tell([
            (
                Place::new(Kind::Director, director, "spec.ipvs.backup_only", true),
                format!("pool {} has check.through_vip, and {why}; leave one of both out", server.pool),
            ),
            (
                Place::new(Kind::Pool, &server.pool, "spec.check.through_vip", "given"),
                format!("director {director} has ipvs.backup_only, and {why}; leave one of both out"),
            ),
            (
                Place::new(Kind::VirtualServer, name, "spec.pool", format!("{:?}", server.pool.as_str())),
                format!(
                    "it has check.through_vip and director {director} has ipvs.backup_only, and {why}; \
                     leave one of both out"
                ),
            ),
        ]));
    }
    findings
}
