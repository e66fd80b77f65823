//! Each program of Fulcrum ends and is started again, one after the other, under load.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::client::RATE;
use crate::cluster::MEMBERS;
use crate::contest::count;
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::topology::DIRECTORS;
use crate::pair::Side;
use crate::settings::SEED;

/// Requests that may fail beside an outage that is allowed: those under way when it began.
const SLACK: f64 = 3.0;

/// By SIGTERM, as an upgrade does: nobody notices.
pub(crate) fn upgrade(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    restart_each(lab, findings, Signal::SIGTERM)?;
    let failed = findings.get("failed").unwrap_or(f64::INFINITY);
    findings.at_most("failed", failed, 0.0);
    Ok(())
}

/// By SIGKILL: at most the time that VRRP takes to see an Active router go.
pub(crate) fn crash(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    restart_each(lab, findings, Signal::SIGKILL)?;
    let failed = findings.get("failed").unwrap_or(f64::INFINITY);
    let bound = RATE * SEED.vrrp_outage().as_secs_f64() + SLACK;
    findings.figure("failed_bound", bound);
    findings.at_most("failed", failed, bound);
    Ok(())
}

fn restart_each(lab: &mut Lab, findings: &mut Findings, signal: Signal) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &SEED)?;
    let begin = Instant::now();
    for member in MEMBERS {
        stage.cluster.stop(member, signal)?;
        stage.cluster.start(member)?;
        stage.cluster.wait_ready(member)?;
        stage.wait_whole()?;
    }
    // The Backup first, as an operator would.
    for index in (0..DIRECTORS.len()).rev() {
        restart_director(&mut stage, index, signal)?;
    }
    let end = Instant::now();
    let window = stage.client.settled(begin, end);
    crate::say!("{} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    let deleted = stage.segment.deleted_since(begin);
    findings.figure("requests", count(window.count()));
    findings.figure("failed", count(window.failed()));
    findings.figure("ipvs_entries_deleted", count(deleted));
    findings.at_most("ipvs_entries_deleted", count(deleted), 0.0);
    findings.require(
        window.count() > 0 && window.gap_to_end() < Duration::from_secs(1),
        "the page is answered at the end",
    );
    Ok(())
}

fn restart_director(stage: &mut Stage<'_>, index: usize, signal: Signal) -> Result<()> {
    match signal {
        Signal::SIGKILL => stage.pair.kill(index)?,
        _ => stage.pair.terminate(index)?,
    };
    stage.pair.reap(index)?;
    stage.pair.start(index, stage.paths)?;
    stage.pair.wait_ready(index)?;
    stage.wait_whole()
}
