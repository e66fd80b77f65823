//! Three controllers on loopback with a real disk; clients apply without pause; the leader is killed, and comes back, a
//! few times. Whatever was acknowledged must be there at the end, on every controller.

pub(crate) mod trio;
pub(crate) mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::trio::{LONG, Trio, lvsctl};
use self::writer::{Writer, acknowledged};
use crate::cluster::config::Peer;
use crate::cluster::text;
use crate::contest::{count, millis};
use crate::findings::{Findings, median};
use crate::lab::Lab;
use crate::process::wait_until;
use crate::say;

/// Kills of the leader.
const KILLS: usize = 5;
/// Clients that apply at the same time.
const WRITERS: usize = 2;
/// Writes that must have been acknowledged between two kills, so that there is something to lose.
const BETWEEN: usize = 10;
/// Longest median time from a kill until a write that began after it is acknowledged.
const NEXT_WRITE_MS: f64 = 3000.0;
/// How long a controller may lag behind the others.
const CATCH_UP: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut trio = Trio::start(lab, "raft")?;
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::start(number, &trio.peers, &lab.bin_dir, &lab.dir))
        .collect();
    let mut next_writes = Vec::new();
    for kill in 1..=KILLS {
        let before = acknowledged(&writers).len();
        wait_until("writes are acknowledged", LONG, || {
            Ok((acknowledged(&writers).len() >= before + BETWEEN).then_some(()))
        })?;
        let leader = trio.leader()?;
        let at = Instant::now();
        trio.running[leader].take().context("the leader does not run")?.kill()?;
        let next = wait_until("a write after the kill is acknowledged", LONG, || {
            Ok(writers.iter().filter_map(|writer| writer.first_begun_after(at)).min())
        })?;
        let took = millis(next - at);
        say!(
            "kill {kill}: leader {} killed; next write done after {took:.0} ms",
            trio.peers[leader].name
        );
        next_writes.push(took);
        trio.start_one(leader)?;
        trio.wait_ready(leader)?;
    }
    let mut acked = BTreeSet::new();
    let mut refused = 0;
    for writer in writers {
        let (names, failures) = writer.stop()?;
        acked.extend(names);
        refused += failures;
    }
    say!("{} writes acknowledged, {refused} not", acked.len());
    let mut lost = 0;
    for peer in &trio.peers {
        lost = lost.max(missing_at(peer, &acked, &lab.bin_dir)?);
    }
    findings.figure("acked", count(acked.len()));
    findings.figure("lost", count(lost));
    let next_write_ms = median(&next_writes).context("no write after a kill")?;
    findings.figure("next_write_ms", next_write_ms);
    findings.at_most("lost", count(lost), 0.0);
    findings.at_most("next_write_ms (median)", next_write_ms, NEXT_WRITE_MS);
    findings.require(acked.len() >= KILLS * BETWEEN, "enough was acknowledged to tell");
    Ok(())
}

/// How many of the names a controller does not know, once it had time to catch up.
pub(crate) fn missing_at(peer: &Peer, acked: &BTreeSet<String>, bin_dir: &Path) -> Result<usize> {
    let mut missing = None;
    let caught_up = wait_until("the controller has caught up", CATCH_UP, || {
        let output = lvsctl(bin_dir, &peer.api, &["-o", "json", "get", "Site"])?;
        if output.status.success() {
            let listed = text(&output.stdout);
            let unknown = |name: &&String| !listed.contains(&format!("\"{name}\""));
            missing = Some(acked.iter().filter(unknown).count());
        }
        Ok((missing == Some(0)).then_some(()))
    });
    if let (Err(error), Some(missing)) = (&caught_up, missing) {
        say!("{} misses {missing} acknowledged writes: {error:#}", peer.name);
    }
    missing.with_context(|| format!("{} could not be asked what it knows", peer.name))
}
