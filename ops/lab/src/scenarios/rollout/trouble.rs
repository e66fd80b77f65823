//! What goes wrong in a rollout: a command that fails, a Tomcat that does not come up, lvsctl killed.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{POOL, expect, nothing_left};
use crate::cluster::text;
use crate::findings::Findings;
use crate::lab::Stage;
use crate::process::wait_until;
use crate::say;

/// How long a restart may take to begin: its drain waits for a hundred requests of each kept connection.
const BEGINS: Duration = Duration::from_mins(3);

/// How often the agents' commands have restarted each Tomcat.
pub(super) fn restarts(stage: &Stage<'_>) -> [usize; 2] {
    [0, 1].map(|index| stage.segment.tomcats[index].restarts())
}

/// Stopped at web1, drained and named; web2 serves and was not touched.
fn stopped(stage: &Stage<'_>, findings: &mut Findings, what: &str, said: &str) -> Result<()> {
    let output = stage.cluster.lvsctl(&["rollout", "status", POOL])?;
    expect(&output, 0, "lvsctl rollout status")?;
    let status = text(&output.stdout);
    findings.require(
        said.contains("rollout resume") && status.contains("web2: due"),
        format!("{what}: it stops, says how to go on, and leaves web2 alone"),
    );
    let [web1, web2] = [0, 1].map(|index| stage.segment.tomcats[index].address());
    let tables = &stage.segment.tables;
    let now = std::time::Instant::now();
    for director in crate::lab::both() {
        let table = tables.at(director, now);
        findings.require(
            !table.serves(web1) && table.serves(web2),
            format!("{what}: on {director} web1 is drained and web2 serves"),
        );
    }
    Ok(())
}

fn resume(stage: &mut Stage<'_>, findings: &mut Findings, what: &str) -> Result<()> {
    let output = stage.cluster.lvsctl(&["rollout", "resume", POOL])?;
    say!("{}", text(&output.stderr));
    expect(&output, 0, "the rollout goes on")?;
    nothing_left(stage, findings, what)?;
    stage.wait_whole()
}

/// The command fails on web1; mended, the rollout goes on.
pub(super) fn command_fails(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let before = restarts(stage);
    stage.segment.tomcats[0].refuse_restarts(true)?;
    let output = stage.cluster.lvsctl(&["rollout", "restart", POOL])?;
    expect(&output, 1, "it stops where the command fails")?;
    let said = text(&output.stderr);
    say!("{said}");
    findings.require(said.contains("refused by the lab"), "command fails: its last words are told");
    stopped(stage, findings, "command fails", &said)?;
    findings.require(restarts(stage) == before, "command fails: no Tomcat was restarted");
    stage.segment.tomcats[0].refuse_restarts(false)?;
    resume(stage, findings, "command fails")?;
    let after = restarts(stage);
    findings.require(
        after == before.map(|count| count + 1),
        format!("command fails: mended, each is restarted once ({before:?}, then {after:?})"),
    );
    Ok(())
}

/// web1 does not come up again; mended, the rollout goes on.
pub(super) fn stays_down(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let before = restarts(stage);
    stage.segment.tomcats[0].break_configuration(true)?;
    let output = stage.cluster.lvsctl(&["rollout", "restart", POOL, "--health-timeout", "20s"])?;
    expect(&output, 1, "it stops where a Tomcat does not come up")?;
    let said = text(&output.stderr);
    say!("{said}");
    findings
        .require(said.contains("does not serve"), "stays down: it is told that it does not serve");
    stopped(stage, findings, "stays down", &said)?;
    stage.segment.tomcats[0].break_configuration(false)?;
    stage.segment.tomcats[0].wait_ready()?;
    resume(stage, findings, "stays down")?;
    let after = restarts(stage);
    findings.require(
        after == before.map(|count| count + 1),
        format!("stays down: each was restarted once, web1 not again ({before:?}, then {after:?})"),
    );
    Ok(())
}

/// kill -9 of lvsctl while web1 restarts; another one goes on.
pub(super) fn lvsctl_is_killed(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let before = restarts(stage);
    let killed = stage.cluster.start_lvsctl(stage.paths.logs, &["rollout", "restart", POOL])?;
    wait_until("web1 is being restarted", BEGINS, || {
        Ok((restarts(stage)[0] > before[0]).then_some(()))
    })?;
    killed.signal(Signal::SIGKILL)?;
    drop(killed);
    let output = stage.cluster.lvsctl(&["rollout", "restart", POOL])?;
    expect(&output, 5, "a second rollout is refused while one is under way")?;
    resume(stage, findings, "lvsctl killed")?;
    let after = restarts(stage);
    findings.require(
        after == before.map(|count| count + 1),
        format!("lvsctl killed: each was restarted once ({before:?}, then {after:?})"),
    );
    Ok(())
}
