//! Virtual servers that nobody serves well.

use fulcrum_model::fuse::{OwnProbe, PathProbe};
use fulcrum_model::{Name, Weight};

use super::decided::{Decided, DecidedPool};

/// Most alarms that are told one by one: where a network is down, more of them say nothing more.
const MOST_ALARMS: usize = 20;

/// What is wrong with virtual servers, in words with a remedy, in the order in which they come.
pub fn alarms<'a>(pools: impl Iterator<Item = (&'a Name, &'a DecidedPool)>) -> Vec<String> {
    let mut alarms: Vec<String> = pools.filter_map(|(name, pool)| alarm(name, pool)).collect();
    let more = alarms.len().saturating_sub(MOST_ALARMS);
    alarms.truncate(MOST_ALARMS);
    if more > 0 {
        alarms.push(format!("and {more} more virtual servers without a sound real server"));
    }
    alarms
}

/// The gravest of a virtual server.
fn alarm(virtual_server: &Name, pool: &DecidedPool) -> Option<String> {
    let first = pool.members.first()?;
    let fails = |decided: &Decided| matches!(decided.probe, Some(OwnProbe::Failing(_)));
    let is_kept = |decided: &Decided| decided.weight() > Weight::ZERO;
    if pool.members.iter().all(fails) && pool.members.iter().any(is_kept) {
        return Some(format!(
            "virtual server {virtual_server}: own probes fail for every real server, so all are kept: look at the \
             network between this director and them, or at the check"
        ));
    }
    let has_suspect_way = |decided: &Decided| {
        matches!(decided.path, PathProbe::Failing(_)) && !fails(decided) && is_kept(decided)
    };
    if let Some(kept) = pool.members.iter().find(|decided| has_suspect_way(decided)) {
        return Some(format!(
            "virtual server {virtual_server}: no real server answers this director through the VIP, so {} is kept although its \
             own check there fails: look at accept_local and rp_filter of the interface that answers come in by, at the packet \
             filter, and at the VIP on the real servers",
            kept.real_server
        ));
    }
    if !pool.is_served() {
        let reason = first.reasons.first().map(String::as_str).unwrap_or_default();
        return (!pool.is_waiting()).then(|| {
            format!(
                "virtual server {virtual_server} takes no connections: every weight is 0; {} has it because: {reason}",
                first.real_server
            )
        });
    }
    pool.has_lost_quorum().then(|| quorum_lost(virtual_server, pool))
}

fn quorum_lost(virtual_server: &Name, pool: &DecidedPool) -> String {
    let serves = match pool.serving_sorry_server() {
        Some(sorry) => format!("sorry server {} serves alone", sorry.real_server),
        None => "they serve alone".to_owned(),
    };
    format!(
        "virtual server {virtual_server} has lost its quorum: real servers of weight {} are in rotation, {} is needed, \
         {serves}: bring real servers back, or lower the pool's quorum",
        pool.quorum.in_rotation, pool.quorum.needed
    )
}
