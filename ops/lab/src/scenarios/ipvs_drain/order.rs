//! A real server is drained by order: nobody notices, and the order outlives who carries it out.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{LONG, SLACK, SLOW_START, STEADY, TARGET, WEB, WEIGHT};
use crate::client::Window;
use crate::client::kept::Kept;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Stage, both};
use crate::net::topology::{CLIENT, WEBS};
use crate::say;

/// How long requests are counted: 2,000 of them, and a few.
const WINDOW: Duration = Duration::from_millis(20_100);
/// The part of it before the order.
const BEFORE: Duration = Duration::from_secs(1);
/// Connections that are open all the time, and how often each asks.
const ESTABLISHED: usize = 20;
const EVERY: Duration = Duration::from_millis(500);
/// How long an established connection may take to be answered afterwards.
const ANSWER: Duration = Duration::from_secs(15);
/// The other real server must be warm, or nobody rises.
const WARM: Duration = SLOW_START.saturating_add(Duration::from_secs(1));

/// The order, as an operator would write it.
const ORDER: &str = "kind: Drain\nname: web1-new-kernel\nspec: {real_server: web1, reason: new kernel, \
                     requested_by: the lab}\n";

/// The order while requests are made; answers with when all directors had carried it out.
pub(super) fn drain(stage: &Stage<'_>, findings: &mut Findings) -> Result<Instant> {
    let kept = Kept::open(CLIENT.name, TARGET, ESTABLISHED, EVERY)?;
    let begin = Instant::now();
    std::thread::sleep(BEFORE);
    let path = stage.paths.dir.join("drain.yaml");
    fs::write(&path, ORDER)?;
    stage.cluster.must(&["apply", "-f", &path.to_string_lossy()])?;
    stage.cluster.wait_converged()?;
    let acknowledged = Instant::now();
    let end = (begin + WINDOW).max(acknowledged + BEFORE);
    let window = stage.client.settled(begin, end);
    let alive = kept.alive_since(end, ANSWER)?;
    let late = answered_by_web(&window, acknowledged);
    say!("drain: {} of {} failed: {}", window.failed(), window.count(), window.failures());
    findings.figure("drain_requests", count(window.count()));
    findings.figure("drain_failed", count(window.failed()));
    findings.figure("drain_new_connections_after", count(late));
    findings.figure("drain_established", count(ESTABLISHED));
    findings.figure("drain_established_alive", count(alive));
    findings.require(window.count() >= 2_000, "drain: 2,000 requests were made");
    findings.at_most("drain_failed", count(window.failed()), 0.0);
    findings.at_most("drain_new_connections_after", count(late), 0.0);
    findings.require(
        alive == ESTABLISHED,
        format!("drain: {alive} of {ESTABLISHED} established connections go on ({})", kept.why()),
    );
    Ok(acknowledged)
}

/// The agent of the first director restarts, then that director loses its power and comes back.
pub(super) fn survive(
    stage: &mut Stage<'_>,
    acknowledged: Instant,
    findings: &mut Findings,
) -> Result<()> {
    stage.pair.terminate(0)?;
    stage.pair.reap(0)?;
    stage.pair.start(0, stage.paths)?;
    stage.pair.wait_ready(0)?;
    stage.pair.wait_first_active()?;
    stage.client.wait_steady(STEADY, LONG)?;
    let off = stage.pair.power_off(0)?;
    stage.client.wait_answer_since(off + Duration::from_millis(1), LONG)?;
    stage.client.wait_steady(STEADY, LONG)?;
    stage.pair.power_on(0)?;
    stage.pair.start(0, stage.paths)?;
    stage.pair.wait_ready(0)?;
    stage.pair.wait_first_active()?;
    stage.cluster.wait_converged()?;
    stage.client.wait_steady(STEADY, LONG)?;
    let window = stage.client.settled(acknowledged, Instant::now());
    let late = answered_by_web(&window, acknowledged);
    findings.figure("survive_new_connections", count(late));
    findings.at_most("survive_new_connections", count(late), 0.0);
    for director in both() {
        let served = stage.segment.tables.first_since(director, acknowledged, |t| t.serves(WEB));
        findings.require(
            served.is_none(),
            format!(
                "the drain survives restart and failover in every sample of {director}'s table"
            ),
        );
    }
    Ok(())
}

/// The order is taken back: the weight rises in steps.
pub(super) fn undrain(stage: &Stage<'_>, findings: &mut Findings) -> Result<()> {
    std::thread::sleep(WARM);
    let at = Instant::now();
    stage.cluster.must(&["undrain", WEBS[0].name])?;
    let tables = &stage.segment.tables;
    let whole = "the real server that was drained has its whole weight";
    tables.wait_all(whole, &both(), at, LONG, |table| table.weight(WEB) == Some(WEIGHT))?;
    for director in both() {
        let steps = tables.weights_since(director, at, WEB);
        let weights: Vec<u32> = steps.iter().filter_map(|(_, weight)| *weight).collect();
        say!("undrain: weights on {director}: {weights:?}");
        let begin = steps.iter().find(|(_, weight)| weight.is_some_and(|weight| weight > 0));
        let begin = begin.context("its weight has risen")?.0;
        let end = steps.last().context("its weight has risen")?.0;
        let edits = count(steps.len() - 1);
        findings.figure(format!("undrain_rise_ms_{director}"), millis(end - begin));
        findings.figure(format!("undrain_edits_{director}"), edits);
        findings.require(weights.is_sorted(), format!("undrain: weights only rise on {director}"));
        findings.at_most(&format!("undrain_edits_{director}"), edits, f64::from(WEIGHT));
        findings.require(
            (SLOW_START.saturating_sub(SLACK)..=SLOW_START + SLACK).contains(&(end - begin)),
            format!("undrain: the rise on {director} takes the time of slow start"),
        );
    }
    stage.client.wait_steady(STEADY, LONG)
}

/// Requests since then that the drained real server answered.
fn answered_by_web(window: &Window, since: Instant) -> usize {
    let later = window.requests.iter().filter(|request| request.started >= since);
    later.filter(|request| request.answer.as_deref().is_ok_and(|web| web == WEBS[0].name)).count()
}
