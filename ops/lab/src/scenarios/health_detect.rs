//! A Tomcat that dies and one that hangs: how long new connections still go there, with the same fast checks on both sides.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::cluster::told;
use crate::contest::{FULL, millis};
use crate::findings::{Findings, median};
use crate::lab::{Lab, Segment, Stage, both};
use crate::pair::Side;
use crate::process::wait_until;
use crate::say;
use crate::settings::PROMPT;

/// Kills of a Tomcat, each side; of Fulcrum's [`FULL`] times as many with `--full`.
const KILLS: u8 = 5;
/// From kill -9 until out of both tables.
const MOST_KILL_MS: f64 = 100.0;
/// From SIGSTOP until out of both tables, in intervals of the checks.
const MOST_HANG_INTERVALS: f64 = 3.0;
/// How long one may take to leave a table, and to come back: a Tomcat that was killed thrice is held.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a report of an agent takes to be seen in the status, at most.
const TOLD: Duration = Duration::from_secs(10);

/// Of one side, milliseconds.
struct Measured {
    kills: Vec<f64>,
    /// From kill -9 until the agent of the host saw the exit; of Fulcrum alone.
    exits_seen: Vec<f64>,
    hang: f64,
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    for side in [Side::Fulcrum, Side::Keepalived] {
        let kills = match side {
            Side::Fulcrum if lab.contest.effort.is_full => KILLS * FULL,
            Side::Fulcrum | Side::Keepalived => KILLS,
        };
        let measured = measure(lab, side, kills)?;
        let worst_kill = worst(&measured.kills);
        let middle = median(&measured.kills).context("no kill was measured")?;
        let name = side.as_str();
        findings.figure(format!("{name}_kills"), f64::from(kills));
        findings.figure(format!("{name}_kill_out_ms"), middle);
        findings.figure(format!("{name}_kill_out_worst_ms"), worst_kill);
        findings.figure(format!("{name}_hang_out_ms"), measured.hang);
        if let Some(seen) = median(&measured.exits_seen) {
            findings.figure("exit_seen_ms", seen);
            findings.figure("exit_seen_worst_ms", worst(&measured.exits_seen));
        }
        if side == Side::Fulcrum {
            findings.at_most("milliseconds from a Tomcat's death to out", worst_kill, MOST_KILL_MS);
            let intervals = measured.hang / millis(PROMPT.check.interval);
            findings.at_most("check intervals from a hang to out", intervals, MOST_HANG_INTERVALS);
        }
    }
    Ok(())
}

fn worst(measured: &[f64]) -> f64 {
    measured.iter().copied().fold(0.0, f64::max)
}

fn measure(lab: &mut Lab, side: Side, times: u8) -> Result<Measured> {
    say!("{}, {}", side.as_str(), PROMPT.name);
    let mut stage = lab.stage(side, &PROMPT)?;
    let mut kills = Vec::with_capacity(times.into());
    let mut exits_seen = Vec::new();
    for turn in 0..times {
        let (out, seen) = kill(&mut stage, side, usize::from(turn % 2))?;
        kills.push(millis(out));
        exits_seen.extend(seen.map(millis));
    }
    let hang = millis(hang(&mut stage)?);
    say!("  out after {kills:.1?} ms when killed, after {hang:.1} ms when stopped");
    say!("  the exit was seen after {exits_seen:.1?} ms");
    Ok(Measured { kills, exits_seen, hang })
}

/// From kill -9 until out of both tables, and until the agent saw the exit; it is back afterwards.
fn kill(stage: &mut Stage<'_>, side: Side, which: usize) -> Result<(Duration, Option<Duration>)> {
    let Segment { tomcats, .. } = &mut *stage.segment;
    let at = tomcats[which].kill()?;
    let killed = SystemTime::now().checked_sub(at.elapsed()).context("the clock is at zero")?;
    let out = wait_out(stage, which, at)?;
    let seen = match side {
        Side::Fulcrum => Some(exit_seen(stage, which, killed)?),
        Side::Keepalived => None,
    };
    let Segment { tomcats, .. } = &mut *stage.segment;
    tomcats[which].start(stage.paths.logs)?;
    tomcats[which].wait_ready()?;
    wait_back(stage, which, out)?;
    Ok((out - at, seen))
}

/// From the kill until its host's agent saw the exit, by the agent's own word.
fn exit_seen(stage: &Stage<'_>, which: usize, killed: SystemTime) -> Result<Duration> {
    let node = stage.segment.tomcats[which].node;
    wait_until("the exit is told", TOLD, || {
        let seen = told::exit_seen_at(stage.cluster, node)?;
        // That of an earlier kill is told until this one is.
        Ok(seen.and_then(|seen| seen.duration_since(killed).ok()))
    })
}

/// From SIGSTOP, after which the kernel still accepts connections, until out of both tables; it is back afterwards.
fn hang(stage: &mut Stage<'_>) -> Result<Duration> {
    let at = Instant::now();
    stage.segment.tomcats[0].signal(Signal::SIGSTOP)?;
    let out = wait_out(stage, 0, at);
    stage.segment.tomcats[0].signal(Signal::SIGCONT)?;
    let out = out?;
    wait_back(stage, 0, out)?;
    Ok(out - at)
}

fn wait_out(stage: &Stage<'_>, which: usize, since: Instant) -> Result<Instant> {
    let address = stage.segment.tomcats[which].address();
    let tables = &stage.segment.tables;
    tables.wait_all("out of both tables", &both(), since, PATIENCE, |table| !table.serves(address))
}

fn wait_back(stage: &Stage<'_>, which: usize, out: Instant) -> Result<Instant> {
    let address = stage.segment.tomcats[which].address();
    let since = out + Duration::from_millis(1);
    let tables = &stage.segment.tables;
    tables.wait_all("back in both tables", &both(), since, PATIENCE, |table| table.serves(address))
}
