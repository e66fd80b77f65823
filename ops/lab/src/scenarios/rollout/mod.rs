//! `lvsctl rollout restart`: both Tomcats of the seed's cluster are restarted one after the other by their agents, under load
//! of new connections and of clients that keep theirs. Then one is bad, and lvsctl is killed in the middle.

mod trouble;

use std::net::SocketAddrV4;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::client::reused::Reused;
use crate::cluster::text;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::topology::{CLIENT, PORT, VIP};
use crate::pair::Side;
use crate::say;
use crate::settings::{Check, FAST, Settings};

/// The pool of the seed's manifest.
const POOL: &str = "tomcats";
/// Clients that keep their connections, and how often each asks. A Tomcat closes a connection after a hundred requests of its
/// own, so that they leave within twenty seconds.
const KEPT: usize = 10;
const EVERY: Duration = Duration::from_millis(200);
/// Requests over the restart of the whole pool, at least.
const REQUESTS: usize = 5_000;
/// So many of the client's take this long, and a little.
const WINDOW: Duration = Duration::from_secs(51);

const CHECKS: Settings = Settings {
    name: "HTTP checks every 500 ms",
    check: Check {
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(500),
        retries: 1,
        retry_delay: Duration::from_millis(200),
        is_http: true,
    },
    ..FAST
};

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &CHECKS)?;
    keep_tomcats(&mut stage, true)?;
    let outcome = measure(&mut stage, findings);
    // Whatever came of it: the next scenario has Tomcats that stay dead when they are killed.
    keep_tomcats(&mut stage, false)?;
    outcome
}

fn measure(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let begin = Instant::now();
    let kept = Reused::start(CLIENT.name, SocketAddrV4::new(VIP, PORT), KEPT, EVERY)?;
    whole(stage, &kept, findings)?;
    trouble::command_fails(stage, findings)?;
    trouble::stays_down(stage, findings)?;
    trouble::lvsctl_is_killed(stage, findings)?;
    let all = stage.client.settled(begin, Instant::now());
    let counts = kept.stop()?;
    say!(
        "all of it: {} of {} new connections failed: {}",
        all.failed(),
        all.count(),
        all.failures()
    );
    findings.figure("all_requests", count(all.count() + counts.answered + counts.failed));
    findings.figure("all_failed", count(all.failed() + counts.failed));
    findings.figure("kept_connections_opened", count(counts.opened));
    findings.require(
        counts.failed == 0,
        format!("no kept connection lost a request ({:?})", counts.why),
    );
    findings.at_most("all_failed", count(all.failed() + counts.failed), 0.0);
    Ok(())
}

/// The pool is restarted, and nobody notices.
fn whole(stage: &mut Stage<'_>, kept: &Reused, findings: &mut Findings) -> Result<()> {
    let (before, restarts) = (kept.counts(), trouble::restarts(stage));
    let begin = Instant::now();
    let output = stage.cluster.lvsctl(&["rollout", "restart", POOL, "--reason", "new JDK"])?;
    let took = begin.elapsed();
    say!("{}", text(&output.stderr));
    expect(&output, 0, "the whole pool is restarted")?;
    let window = stage.client.settled(begin, Instant::now().max(begin + WINDOW));
    let after = kept.counts();
    let requests = window.count() + after.answered - before.answered;
    let failed = window.failed() + after.failed - before.failed;
    say!("rollout: {failed} of {requests} failed: {} {:?}", window.failures(), after.why);
    findings.figure("rollout_ms", millis(took));
    findings.figure("rollout_requests", count(requests));
    findings.figure("rollout_failed", count(failed));
    findings.require(requests >= REQUESTS, format!("rollout: {REQUESTS} requests were made"));
    findings.at_most("rollout_failed", count(failed), 0.0);
    let restarted = trouble::restarts(stage);
    findings.require(
        restarted == restarts.map(|count| count + 1),
        format!("rollout: each Tomcat was restarted once ({restarts:?}, then {restarted:?})"),
    );
    nothing_left(stage, findings, "rollout")
}

/// No order is left in the intent.
fn nothing_left(stage: &Stage<'_>, findings: &mut Findings, what: &str) -> Result<()> {
    let mut left = String::new();
    for kind in ["restarts", "drains"] {
        let output = stage.cluster.lvsctl(&["get", kind])?;
        expect(&output, 0, "lvsctl get")?;
        left.push_str(&text(&output.stdout));
    }
    findings.require(left.trim().is_empty(), format!("{what}: no order is left{}", left.trim()));
    Ok(())
}

/// Fails unless it ended with that exit code.
fn expect(output: &Output, code: i32, what: &str) -> Result<()> {
    if output.status.code() != Some(code) {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        bail!("{what}: expected exit code {code}, not {}: {out}{err}", output.status);
    }
    Ok(())
}

/// Starts both Tomcats anew, one after the other: kept running by a keeper, as a service manager does, or not.
fn keep_tomcats(stage: &mut Stage<'_>, is_kept: bool) -> Result<()> {
    for index in 0..stage.segment.tomcats.len() {
        let tomcat = stage.segment.tomcats.get_mut(index).context("one of them")?;
        if tomcat.is_running() {
            tomcat.kill()?;
        }
        tomcat.keep(is_kept);
        tomcat.start(stage.paths.logs)?;
        tomcat.wait_ready()?;
    }
    stage.wait_whole()
}
