//! 10,000 established connections through a director whose agent ends and starts again twenty times, by a signal or by
//! kill -9, and each time the intent changes while it is away.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::ipvs_diff::intent::Intent;
use super::ipvs_diff::on_servers;
use super::ipvs_diff::random::Random;
use crate::client::kept::Kept;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{CLIENT, DIRECTORS, Node, PORT, VIP};
use crate::pair::launch_director;
use crate::process::{Process, wait_until};
use crate::say;
use crate::watch::ipvsadm;

/// The one director: another would take the VIP, and with it connections that it does not know.
const DIRECTOR: Node = DIRECTORS[0];
/// Connections, and how often each asks.
const ESTABLISHED: usize = 10_000;
const EVERY: Duration = Duration::from_secs(10);
/// Files that a program may have open: a connection is one.
const FILES: u64 = 32_768;
/// Times that the agent ends.
const RESTARTS: usize = 20;
/// What the numbers begin with; another seed is another run.
const SEED: u64 = 0x5245_5354;
/// How long the connections may take to open, with the election before.
const OPEN: Duration = Duration::from_mins(2);
/// How long the agent may take to end, and to have the newest intent in the kernel once it is started again.
const END: Duration = Duration::from_secs(30);
const PROGRAM: Duration = Duration::from_secs(20);
/// How long a connection may take to be answered at the end: TCP waits ever longer before it repeats a request.
const ANSWER: Duration = Duration::from_secs(30);

/// All restarts.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    // For this program, which is the client, and for the servers that it starts.
    setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES)?;
    lab.with_tables_of(&[DIRECTOR], |lab| on_servers(lab, |lab| restarts(lab, findings)))
}

fn restarts(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, ears, paths) = lab.watched_controllers()?;
    let Some(ear) = ears.first() else {
        bail!("no deletion can be heard: the kernel has no nlmon device");
    };
    let mut random = Random::of_seed(SEED);
    let mut intent = Intent::first(&mut random);
    cluster.apply_text(&intent.manifest())?;
    let start = || Process::start(paths.logs, launch_director(DIRECTOR, paths, &[])?);
    let mut agent = start()?;
    ipvsadm::wait(DIRECTOR, "the first intent", &intent.rules(), PROGRAM)?;
    let target = SocketAddrV4::new(VIP, PORT);
    let kept = wait_until("connections through the VIP are open", OPEN, || {
        Ok(Kept::open(CLIENT.name, target, ESTABLISHED, EVERY).ok())
    })?;
    say!("{ESTABLISHED} connections are open");

    let (mut changed, mut deleted, mut slowest) = (0, 0, Duration::ZERO);
    for turn in 1..=RESTARTS {
        let signal = if turn.is_multiple_of(2) { Signal::SIGTERM } else { Signal::SIGKILL };
        let begin = Instant::now();
        agent.signal(signal)?;
        agent.wait(END)?;
        let next = intent.next(&mut random);
        cluster.apply_text(&next.manifest())?;
        let staying = intent.staying(&next);
        changed += intent.rules().symmetric_difference(&next.rules()).count();
        intent = next;
        let started = Instant::now();
        agent = start()?;
        ipvsadm::wait(DIRECTOR, &format!("intent {turn}"), &intent.rules(), PROGRAM)?;
        slowest = slowest.max(started.elapsed());
        deleted += ear.deleted_of(&staying, begin);
    }
    let end = Instant::now();
    let alive = kept.alive_since(end, ANSWER)?;
    say!("{alive} of {ESTABLISHED} connections live ({})", kept.why());
    agent.kill()?;
    findings.figure("restarts", count(RESTARTS));
    findings.figure("rules_changed_meanwhile", count(changed));
    findings.figure("slowest_to_the_newest_intent_ms", millis(slowest));
    findings.figure("established", count(ESTABLISHED));
    findings.figure("established_alive", count(alive));
    findings.at_most("entries that stayed deleted", count(deleted), 0.0);
    findings.require(changed >= RESTARTS, "the intent changed while the agent was away");
    findings.require(alive == ESTABLISHED, "every established connection is alive at the end");
    Ok(())
}
