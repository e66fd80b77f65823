//! What is referred to exists.

use fulcrum_model::Name;
use fulcrum_model::resource::{Kind, ResourceKey};

use super::Subject;
use crate::catalog::Catalog;
use crate::violation::{Finding, Place};

/// Most references that get a suggestion: each compares with every name of its kind.
const MAX_SUGGESTIONS: usize = 100;
/// A name is suggested when at most this share of its letters differs.
const MIN_SIMILARITY: f64 = 0.6;

pub(super) fn check(subject: &Subject<'_>, catalog: &Catalog<'_>) -> Vec<Finding> {
    let mut references = Followed { subject, catalog, findings: Vec::new() };
    for (name, director) in &catalog.directors {
        references.follow((Kind::Director, name), "spec.site", (Kind::Site, &director.site));
    }
    for (name, instance) in &catalog.vrrp_instances {
        let from = (Kind::VrrpInstance, *name);
        references.follow(from, "spec.site", (Kind::Site, &instance.site));
        for (index, member) in instance.members.iter().enumerate() {
            let field = format!("spec.members[{index}].director");
            references.follow(from, &field, (Kind::Director, &member.director));
        }
    }
    for (name, server) in &catalog.real_servers {
        references.follow((Kind::RealServer, name), "spec.site", (Kind::Site, &server.site));
    }
    for (name, pool) in &catalog.pools {
        for (index, member) in pool.members.iter().enumerate() {
            let field = format!("spec.members[{index}].real_server");
            references.follow((Kind::Pool, name), &field, (Kind::RealServer, &member.real_server));
        }
        if let Some(sorry) = &pool.sorry_server {
            let field = "spec.sorry_server.real_server";
            references.follow((Kind::Pool, name), field, (Kind::RealServer, sorry));
        }
    }
    for (name, server) in &catalog.virtual_servers {
        let from = (Kind::VirtualServer, *name);
        let instance = (Kind::VrrpInstance, &server.vrrp_instance);
        references.follow(from, "spec.vrrp_instance", instance);
        references.follow(from, "spec.pool", (Kind::Pool, &server.pool));
    }
    for (name, handover) in &catalog.handovers {
        let from = (Kind::Handover, *name);
        let instance = (Kind::VrrpInstance, &handover.vrrp_instance);
        references.follow(from, "spec.vrrp_instance", instance);
        references.follow(from, "spec.to", (Kind::Director, &handover.to));
    }
    for (name, drain) in &catalog.drains {
        let from = (Kind::Drain, *name);
        references.follow(from, "spec.real_server", (Kind::RealServer, &drain.real_server));
        if let Some(server) = &drain.virtual_server {
            references.follow(from, "spec.virtual_server", (Kind::VirtualServer, server));
        }
    }
    for (name, (restart, _)) in &catalog.restarts {
        let real_server = (Kind::RealServer, &restart.real_server);
        references.follow((Kind::Restart, name), "spec.real_server", real_server);
    }
    for (name, policy) in &catalog.notification_policies {
        for (index, site) in policy.sites.iter().enumerate() {
            let field = format!("spec.sites[{index}]");
            references.follow((Kind::NotificationPolicy, name), &field, (Kind::Site, site));
        }
    }
    for (name, rule) in &catalog.access_rules {
        for (index, site) in rule.sites.iter().enumerate() {
            let field = format!("spec.sites[{index}]");
            references.follow((Kind::AccessRule, name), &field, (Kind::Site, site));
        }
    }
    references.findings
}

struct Followed<'a> {
    subject: &'a Subject<'a>,
    catalog: &'a Catalog<'a>,
    findings: Vec<Finding>,
}

impl Followed<'_> {
    fn follow(&mut self, from: (Kind, &Name), field: &str, (kind, name): (Kind, &Name)) {
        if self.catalog.holds(kind, name) {
            return;
        }
        let key = ResourceKey { kind, name: name.clone() };
        if self.subject.broken.contains(&key) {
            return;
        }
        let remedy = if self.subject.deleted.contains(&key) {
            format!("{key} would be deleted by this request; keep it, or stop using it")
        } else if let Some(similar) = self.similar(kind, name) {
            format!("there is no {kind} of this name; did you mean {:?}?", similar.as_str())
        } else {
            format!("there is no {kind} of this name; create it in the same set")
        };
        let found = format!("{:?}", name.as_str());
        self.findings.push(Place::new(from.0, from.1, field, found).finding(remedy));
    }

    fn similar(&self, kind: Kind, name: &Name) -> Option<&Name> {
        if self.findings.len() >= MAX_SUGGESTIONS {
            return None;
        }
        self.catalog
            .names(kind)
            .into_iter()
            .map(|known| {
                let similarity =
                    strsim::normalized_damerau_levenshtein(name.as_str(), known.as_str());
                (similarity, known)
            })
            .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
            // Equal ones: the first by name, so that every controller says the same.
            .max_by(|(a, first), (b, second)| a.total_cmp(b).then_with(|| second.cmp(first)))
            .map(|(_, known)| known)
    }
}
