//! A real server's host loses power: nobody refuses, no agent says so, and only tries that get no answer tell. How long new
//! connections still go there, with the same fast checks on both sides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::client::RATE;
use crate::cluster::Member;
use crate::contest::{count, millis};
use crate::findings::{Findings, median};
use crate::lab::{Lab, Stage, both};
use crate::net::link::Cable;
use crate::net::topology::WEBS;
use crate::pair::{Side, signal_all};
use crate::say;
use crate::settings::PROMPT;

/// Power losses, each side.
const LOSSES: usize = 3;
/// From the loss until out of both tables, in intervals of the checks, beside the timeout of the try that tells.
const MOST_INTERVALS: u32 = 3;
/// Requests that may fail beside the share that was sent to the dead host: those that it had under way.
const SLACK: f64 = 5.0;
/// How long it may take to leave a table, and to come back: one that fell thrice is held.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the page must be steady before the next loss.
const STEADY: Duration = Duration::from_millis(500);
/// How long requests are counted after it is out.
const AFTER: Duration = Duration::from_secs(1);

/// One power loss.
struct Loss {
    out_ms: f64,
    failed: f64,
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let most = millis(PROMPT.check.interval * MOST_INTERVALS + PROMPT.check.timeout);
    for side in [Side::Fulcrum, Side::Keepalived] {
        say!("{}, {}", side.as_str(), PROMPT.name);
        let mut stage = lab.stage(side, &PROMPT)?;
        let losses: Vec<Loss> =
            (0..LOSSES).map(|turn| lose(&mut stage, turn % WEBS.len())).collect::<Result<_>>()?;
        stage.client.stop()?;
        let out: Vec<f64> = losses.iter().map(|loss| loss.out_ms).collect();
        let failed: Vec<f64> = losses.iter().map(|loss| loss.failed).collect();
        let worst = out.iter().copied().fold(0.0, f64::max);
        let name = side.as_str();
        findings.figure(format!("{name}_out_ms"), median(&out).context("no loss was measured")?);
        findings.figure(format!("{name}_out_worst_ms"), worst);
        findings.figure(format!("{name}_failed"), median(&failed).context("no loss was measured")?);
        if side == Side::Fulcrum {
            findings.at_most("milliseconds from a host's end to out", worst, most);
            for Loss { out_ms, failed } in losses {
                let share = RATE * out_ms / 1000.0 / count(WEBS.len());
                findings.at_most("requests failed at a host's end", failed, share + SLACK);
            }
        }
    }
    findings.figure("losses", count(LOSSES));
    Ok(())
}

/// The cable first, so that nothing of the end is heard; then every process at once. It is back afterwards, booted again.
fn lose(stage: &mut Stage<'_>, which: usize) -> Result<Loss> {
    let web = WEBS[which];
    stage.client.wait_steady(STEADY, PATIENCE)?;
    let cable = Cable::of(web.name)?;
    say!("power off: {}", web.name);
    let at = Instant::now();
    cable.cut()?;
    signal_all(web, Signal::SIGKILL)?;
    let address = stage.segment.tomcats[which].address();
    let tables = &stage.segment.tables;
    let out = tables
        .wait_all("out of both tables", &both(), at, PATIENCE, |table| !table.serves(address))?;
    let window = stage.client.settled(at, out + AFTER);
    say!(
        "  out after {:.1} ms, {} of {} requests failed: {}",
        millis(out - at),
        window.failed(),
        window.count(),
        window.failures()
    );
    let loss = Loss { out_ms: millis(out - at), failed: count(window.failed()) };
    // What is dead is taken note of.
    stage.segment.tomcats[which].kill()?;
    stage.cluster.stop(Member::RealServer(which), Signal::SIGKILL)?;
    cable.plug()?;
    stage.cluster.start_missing()?;
    stage.segment.tomcats[which].start(stage.paths.logs)?;
    stage.segment.tomcats[which].wait_ready()?;
    let since = out + Duration::from_millis(1);
    let tables = &stage.segment.tables;
    tables
        .wait_all("back in both tables", &both(), since, PATIENCE, |table| table.serves(address))?;
    Ok(loss)
}
