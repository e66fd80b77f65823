//! Virtual servers that nobody serves well.

use fulcrum_model::fuse::{HOLD, Hold, OwnProbe, PathProbe};
use fulcrum_model::{Name, Verdict, Weight};

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
    let is_kept = |decided: &Decided| decided.weight() > Weight::ZERO;
    if pool.members.iter().all(fails) && pool.members.iter().any(is_kept) {
        return Some(format!(
            "virtual server {virtual_server}: own probes fail for every real server, so all are kept{}",
            cut_off(pool)
        ));
    }
    if let Some(Hold { silent, of, within, .. }) = pool.hold() {
        return Some(format!(
            "virtual server {virtual_server}: {silent} of {of} real servers fell silent within {:.1} s, so their weights are held \
             until somebody answers, at most {} s{}",
            within.as_secs_f64(),
            HOLD.as_secs(),
            cut_off(pool)
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

/// What the agents of those whose probe fails make likely, with a remedy.
fn cut_off(pool: &DecidedPool) -> String {
    // One that is answered wrongly is not cut off.
    let silent = pool.members.iter().filter(|decided| fails(decided) && decided.is_silent);
    let well = silent.filter(|decided| match decided.verdict {
        Verdict::Up | Verdict::Saturated => true,
        Verdict::Unknown | Verdict::Draining | Verdict::Stopping | Verdict::Down => false,
    });
    match well.count() {
        0 => ": look at the network between this director and them, or at the check".to_owned(),
        well => format!(
            "; the agents of {well} of them say that they serve: this director is cut off from them, look at its network"
        ),
    }
}

fn fails(decided: &Decided) -> bool {
    matches!(decided.probe, Some(OwnProbe::Failing(_)))
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
