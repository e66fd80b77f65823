//! A real server's host is cut off with connections established: they are kept, or they are reset.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{LONG, STEADY, TARGET, WEB, out_within};
use crate::client::kept::Kept;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Stage, both};
use crate::net::link::Cable;
use crate::net::topology::{CLIENT, WEBS};
use crate::process::wait_until;
use crate::say;

/// Connections that are open all the time, and how often each asks: their repeated requests are spread over the time.
const ESTABLISHED: usize = 40;
const EVERY: Duration = Duration::from_millis(400);
/// How long the host is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long an established connection may take to be answered afterwards: TCP repeats a request 6.2 s after it was sent.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest time from the cut to the first reset.
const FIRST_RESET: Duration = Duration::from_secs(2);
/// Longest time to the last one: a request sent [`EVERY`] after the cut, which TCP repeats after 0.2, 0.6, 1.4 and 3 s.
const LAST_RESET: Duration = Duration::from_millis(4_500);

/// The host comes back, and every connection with it.
pub(super) fn keep(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let kept = Kept::open(CLIENT.name, TARGET, ESTABLISHED, EVERY)?;
    let (cable, at) = cut(stage, findings, "keep")?;
    std::thread::sleep(AWAY.saturating_sub(at.elapsed()));
    let broken = kept.broken();
    cable.plug()?;
    let back = Instant::now();
    let alive = kept.alive_since(back, ANSWER)?;
    let waited = kept_by_web(&kept, at);
    say!("keep: {alive} of {ESTABLISHED} connections live ({}), {waited} still wait", kept.why());
    findings.figure("keep_established", count(ESTABLISHED));
    findings.figure("keep_established_alive", count(alive));
    findings.require(broken.is_empty(), "keep: no connection is reset while the host is away");
    findings.require(alive == ESTABLISHED, "keep: every connection goes on when the host is back");
    stage.wait_whole()
}

/// Every connection that leads there is reset.
pub(super) fn reset(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let kept = Kept::open(CLIENT.name, TARGET, ESTABLISHED, EVERY)?;
    let (cable, at) = cut(stage, findings, "reset")?;
    // Others have been answered by then, and whoever has not is at the host that is away.
    let settled = wait_until("the connections of the dead are reset", LONG, || {
        let gone = kept.broken().len();
        Ok((gone > 0 && gone == kept_by_web(&kept, at)).then_some(()))
    });
    let broken = kept.broken();
    let waiting = kept_by_web(&kept, at).saturating_sub(broken.len());
    cable.plug()?;
    let (first, last) = (broken.first().map(|(at, _)| *at), broken.last().map(|(at, _)| *at));
    let after = |moment: Option<Instant>| moment.map_or(f64::INFINITY, |m| millis(m - at));
    let resets = broken.iter().filter(|(_, why)| why.contains("reset")).count();
    say!("reset: {resets} of {} broken were reset, {waiting} still wait", broken.len());
    findings.figure("reset_connections", count(resets));
    findings.require(settled.is_ok(), "reset: every connection of the dead real server ends");
    findings.require(resets == broken.len() && resets > 0, "reset: they end by a reset");
    findings.figure("reset_first_ms", after(first));
    findings.figure("reset_last_ms", after(last));
    findings.at_most("reset_first_ms", after(first), millis(FIRST_RESET));
    findings.at_most("reset_last_ms", after(last), millis(LAST_RESET));
    stage.wait_whole()
}

/// Cuts the host off and waits until both tables send nobody there.
fn cut(stage: &Stage<'_>, findings: &mut Findings, name: &str) -> Result<(Cable, Instant)> {
    stage.client.wait_steady(STEADY, LONG)?;
    let cable = Cable::of(WEBS[0].name)?;
    say!("{name}: the cable of {} is cut", WEBS[0].name);
    let at = Instant::now();
    cable.cut()?;
    let tables = &stage.segment.tables;
    let out = tables.wait_all("it takes no connections", &both(), at, LONG, |t| !t.serves(WEB))?;
    findings.figure(format!("{name}_out_of_tables_ms"), millis(out - at));
    findings.at_most(&format!("{name}_out_of_tables_ms"), millis(out - at), millis(out_within()));
    Ok((cable, at))
}

/// Connections that have not been answered since the cut: a request was under way to the dead, or was sent there.
fn kept_by_web(kept: &Kept, at: Instant) -> usize {
    kept.lost_since(at).len()
}
