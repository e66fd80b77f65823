//! Rules across resources. Each rule finds all that breaks it; a rule says nothing of what another one reports.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::resource::{Resource, ResourceKey};

use crate::catalog::Catalog;
use crate::violation::{Finding, Request};

mod addresses;
mod drains;
mod dynamic_weights;
mod families;
mod groups;
mod handovers;
mod paths;
mod pools;
mod ports;
mod references;
mod restarts;
mod sites;
mod sync_daemons;
mod tunnels;
mod vrids;

/// The intent as it would be.
pub(crate) struct Subject<'a> {
    pub(crate) resources: &'a BTreeMap<ResourceKey, Resource>,
    /// Which of them are in the request, and where.
    pub(crate) request: &'a Request,
    /// Resources of the request that could not be read.
    pub(crate) broken: &'a BTreeSet<ResourceKey>,
    /// Resources that go.
    pub(crate) deleted: &'a BTreeSet<&'a ResourceKey>,
    pub(crate) references: References,
}

/// Where references may lead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum References {
    /// To these resources alone.
    Closed,
    /// To others, unknown here.
    Open,
}

/// All that is wrong with it.
pub(crate) fn validate(subject: &Subject<'_>) -> Vec<Finding> {
    let catalog = Catalog::new(subject.resources.values());
    let mut findings = match subject.references {
        References::Closed => references::check(subject, &catalog),
        References::Open => Vec::new(),
    };
    findings.extend(sites::check(subject.request, &catalog));
    findings.extend(addresses::check(subject.request, &catalog));
    findings.extend(vrids::check(subject.request, &catalog));
    findings.extend(groups::check(subject.request, &catalog));
    findings.extend(sync_daemons::check(subject.request, &catalog));
    findings.extend(handovers::check(subject.request, &catalog));
    findings.extend(drains::check(subject.request, &catalog));
    findings.extend(restarts::check(subject.request, &catalog));
    findings.extend(ports::check(subject.request, &catalog));
    findings.extend(families::check(subject.request, &catalog));
    findings.extend(tunnels::check(subject.request, &catalog));
    findings.extend(pools::check(subject.request, &catalog));
    findings.extend(paths::check(subject.request, &catalog));
    findings.extend(dynamic_weights::check(subject.request, &catalog));
    findings
}

/// Names for people, a few of them.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text = format!("{text} and {} more", names.len() - SHOWN);
    }
    text
}
