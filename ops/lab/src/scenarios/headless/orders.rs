//! Orders by the agents' local sockets: drains and a freeze while no controller lives, and what is seen of them afterwards.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{LONG, STEADY};
use crate::cluster::{config, manifest, text, told};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Stage, both};
use crate::net::topology::{DIRECTORS, PORT, VIP, WEBS};
use crate::process::wait_told;
use crate::say;
use crate::settings::{Balancing, FAST, Settings};
use crate::watch::ipvsadm;

/// The real server that is drained.
const WEB: SocketAddrV4 = SocketAddrV4::new(WEBS[0].address, PORT);
/// Longest time from the operator's command until a director has carried it out.
const OBEYED: Duration = Duration::from_secs(1);
/// How long the drain stands that ends by itself, and what a busy machine may take besides.
const STANDS: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(1);
/// How often a director looks through a small table is about a second: a change by hand that outlasts this is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// Weight that somebody gives by hand.
const BY_HAND: u32 = 7;
/// The director that is frozen: it takes over meanwhile, and its agent restarts.
pub(super) const FROZEN: usize = 1;
/// What is wanted at last, so that a plan differs.
const HEAVIER: Settings = Settings {
    name: "100 ms adverts, weight 3",
    balancing: Balancing { member: ", weight: 3", ..FAST.balancing },
    ..FAST
};
/// lvsctl's exit codes.
const CONFLICT: i32 = 5;
const TIMED_OUT: i32 = 7;

/// A director's local socket.
fn socket(stage: &Stage<'_>, director: usize) -> PathBuf {
    config::socket(DIRECTORS[director], stage.paths.dir)
}

/// `lvsctl --socket PATH …` of a director.
fn order(stage: &Stage<'_>, director: usize, words: &[&str]) -> Result<Output> {
    let socket = socket(stage, director);
    let socket = socket.to_string_lossy();
    let arguments = [&["--socket", &socket], words].concat();
    stage.cluster.lvsctl(&arguments)
}

/// The same, which must be carried out.
fn must(stage: &Stage<'_>, director: usize, words: &[&str]) -> Result<()> {
    let output = order(stage, director, words)?;
    if !output.status.success() {
        bail!("lvsctl {} ({}): {}", words.join(" "), output.status, text(&output.stderr));
    }
    Ok(())
}

/// Without a controller a real server is drained at each director: at once, nobody notices, and it ends by itself. Whoever would
/// silence the pool is refused.
pub(super) fn drain(stage: &Stage<'_>, findings: &mut Findings) -> Result<()> {
    let seconds = format!("{}s", STANDS.as_secs());
    let words = ["drain", WEBS[0].name, "--owner", "lab", "--reason", "slow", "--for"];
    let begin = Instant::now();
    let tables = &stage.segment.tables;
    let mut slowest = Duration::ZERO;
    for (index, director) in DIRECTORS.iter().enumerate() {
        let at = Instant::now();
        must(stage, index, &[&words[..], &["1m"]].concat())?;
        let out = "the drained real server takes nothing";
        let out = tables.wait_all(out, &[director.name], at, LONG, |table| !table.serves(WEB))?;
        slowest = slowest.max(out - at);
    }
    say!("drained at both directors, each within {:.0} ms", millis(slowest));
    findings.figure("local_drain_ms", millis(slowest));
    findings.at_most("local_drain_ms", millis(slowest), millis(OBEYED));

    let refused = order(stage, 0, &["drain", WEBS[1].name, "--owner", "lab", "--reason", "x"])?;
    let why = text(&refused.stderr);
    findings.require(
        refused.status.code() == Some(CONFLICT) && why.contains("would be left with web1"),
        format!("whoever would silence the pool is refused, and told what would be left: {why}"),
    );
    let drained = Instant::now();
    stage.client.wait_steady(2 * STEADY, LONG)?;

    // The same owner's next order takes the place of the first.
    let again = Instant::now();
    for index in 0..DIRECTORS.len() {
        must(stage, index, &[&words[..], &[&seconds]].concat())?;
    }
    let ordered = Instant::now();
    let back =
        tables.wait_all("the drain is over", &both(), ordered, LONG, |table| table.serves(WEB))?;
    findings.figure("local_drain_stood_ms", millis(back - again));
    findings.require(
        back >= again + STANDS && back <= ordered + STANDS + SLACK,
        format!("a drain of {STANDS:?} ends by itself: it stood for {:?}", back - again),
    );
    let late = stage.client.settled(drained, again);
    let late = late
        .requests
        .iter()
        .filter(|request| request.answer.as_deref().is_ok_and(|web| web == WEBS[0].name));
    findings.at_most("local_drain_new_connections", count(late.count()), 0.0);
    let window = stage.client.settled(begin, Instant::now());
    findings.figure("local_drain_requests", count(window.count()));
    findings.at_most("local_drain_failed", count(window.failed()), 0.0);
    Ok(())
}

/// The second director is frozen, and a weight is changed by hand there.
pub(super) fn freeze(stage: &Stage<'_>, web: SocketAddrV4) -> Result<()> {
    must(stage, FROZEN, &["freeze", "--owner", "lab", "--reason", "by hand", "--for", "10m"])?;
    let (vip, web_word, weight) = (format!("{VIP}:{PORT}"), web.to_string(), BY_HAND.to_string());
    ipvsadm::run(DIRECTORS[FROZEN], &["-e", "-t", &vip, "-r", &web_word, "-g", "-w", &weight])?;
    let at = Instant::now();
    let changed = "the weight is as it was set by hand";
    stage.segment.tables.wait_all(changed, &[DIRECTORS[FROZEN].name], at, LONG, |table| {
        table.weight(web) == Some(BY_HAND)
    })?;
    Ok(())
}

/// After all that the frozen director went through, the weight is as it was set; when it is thawed, it is put right.
pub(super) fn thaw(
    stage: &Stage<'_>,
    frozen_at: Instant,
    web: SocketAddrV4,
    findings: &mut Findings,
) -> Result<()> {
    let director = DIRECTORS[FROZEN];
    if let Some(left) = LEFT_ALONE.checked_sub(frozen_at.elapsed()) {
        std::thread::sleep(left);
    }
    let tables = &stage.segment.tables;
    let weights = tables.weights_since(director.name, frozen_at, web);
    let weights: Vec<_> = weights.iter().map(|(_, weight)| *weight).collect();
    findings.require(
        weights == [Some(BY_HAND)],
        format!("frozen, the weight stays as it was set by hand: {weights:?}"),
    );
    let told = order(stage, FROZEN, &["status"])?;
    findings.require(
        text(&told.stdout).contains("LOCAL ORDERS\n  frozen by lab, ends in "),
        "a director that is frozen says so, after a restart too",
    );
    let writes = told::writes(stage.cluster, director)?.all();
    findings.figure("frozen_edits", count(writes));
    findings.at_most("frozen_edits", count(writes), 0.0);
    let at = Instant::now();
    must(stage, FROZEN, &["thaw", "--owner", "lab"])?;
    let right = "the weight is put right";
    let right =
        tables.wait_all(right, &[director.name], at, LONG, |table| table.weight(web) == Some(1))?;
    findings.figure("thawed_ms", millis(right - at));
    findings.at_most("thawed_ms", millis(right - at), millis(OBEYED));
    Ok(())
}

/// The controllers are back: what was ordered at a director is seen by everybody, and a frozen director is named as the laggard.
pub(super) fn reconcile(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let words = ["drain", WEBS[0].name, "--owner", "lab", "--reason", "slow", "--for", "10m"];
    must(stage, 0, &words)?;
    stage.cluster.start_missing()?;
    stage.cluster.wait_converged()?;
    wait_told("the cluster's status tells of the local drain", LONG, || {
        let told = told::of(stage.cluster, DIRECTORS[0])?;
        let drain = &told["local_drains"][0];
        Ok((drain["real_server"] == WEBS[0].name && drain["owner"] == "lab").then_some(()))
    })?;
    let agent = stage.paths.dir.join(WEBS[1].name).join("realserver.sock");
    let agent = stage.cluster.lvsctl(&["--socket", &agent.to_string_lossy(), "status"])?;
    findings.require(
        text(&agent.stdout).starts_with("real server's agent web2, attached to c"),
        format!("a real server's agent tells of itself: {}", text(&agent.stdout)),
    );

    must(stage, 0, &["freeze", "--owner", "lab", "--reason", "by hand", "--for", "10m"])?;
    stage.cluster.apply_text(&manifest::seed(&HEAVIER))?;
    let waited = stage.cluster.lvsctl(&["wait", "--timeout", "3s"])?;
    let laggards = text(&waited.stdout) + &text(&waited.stderr);
    findings.require(
        waited.status.code() == Some(TIMED_OUT)
            && laggards.contains("not applied: frozen by lab until "),
        format!("whoever waits is told who is frozen: {laggards}"),
    );
    must(stage, 0, &["thaw", "--owner", "lab"])?;
    stage.cluster.wait_converged().context("the plan that was held is applied")?;
    must(stage, 0, &["undrain", WEBS[0].name, "--owner", "lab"])?;
    wait_told("the cluster's status tells of no local drain", LONG, || {
        let told = told::of(stage.cluster, DIRECTORS[0])?;
        Ok(told["local_drains"].as_array().is_none_or(Vec::is_empty).then_some(()))
    })
}
