//! Virtual servers that nobody serves well.

use fulcrum_model::fuse::OwnProbe;
use fulcrum_model::{Name, Weight};

use super::weights::Decided;

/// Most alarms that are told one by one: where a network is down, more of them say nothing more.
const MOST_ALARMS: usize = 20;

/// What is wrong with virtual servers, in words with a remedy, in the order in which they come.
pub fn alarms<'a>(weights: impl Iterator<Item = (&'a Name, &'a [Decided])>) -> Vec<String> {
    let mut alarms: Vec<String> =
        weights.filter_map(|(name, decided)| alarm(name, decided)).collect();
    let more = alarms.len().saturating_sub(MOST_ALARMS);
    alarms.truncate(MOST_ALARMS);
    if more > 0 {
        alarms.push(format!("and {more} more virtual servers without a sound real server"));
    }
    alarms
}

fn alarm(virtual_server: &Name, decided: &[Decided]) -> Option<String> {
    let first = decided.first()?;
    if decided.iter().all(|d| matches!(d.probe, OwnProbe::Failing(_)))
        && decided.iter().any(|d| d.weight > Weight::ZERO)
    {
        return Some(format!(
            "virtual server {virtual_server}: own probes fail for every real server, so all are kept: look at the \
             network between this director and them, or at the check"
        ));
    }
    let is_idle = decided.iter().all(|d| d.weight == Weight::ZERO && !d.is_waiting);
    is_idle.then(|| {
        let reason = first.reasons.first().map(String::as_str).unwrap_or_default();
        format!(
            "virtual server {virtual_server} takes no connections: every weight is 0; {} has it because: {reason}",
            first.real_server
        )
    })
}
