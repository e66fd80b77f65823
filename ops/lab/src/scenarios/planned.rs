//! The Active director goes by plan: requests go on, established connections live, and never do two hosts answer ARP for
//! the VIP.

use std::fs;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::client::kept::Kept;
use crate::contest::count;
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::mac::Mac;
use crate::net::namespace;
use crate::net::topology::{self, CLIENT, DIRECTORS, PORT, VIP, WITNESS};
use crate::pair::Side;
use crate::say;
use crate::settings::{FAST, Settings};
use crate::watch::arp::ArpWitness;

/// How long requests are counted around each move: 1,000 of them, and a few.
const WINDOW: Duration = Duration::from_millis(10_100);
/// The part of it before the move.
const BEFORE: Duration = Duration::from_secs(1);
/// Connections that are open all the time, and how often each asks.
const ESTABLISHED: usize = 50;
const EVERY: Duration = Duration::from_millis(500);
/// How long an established connection may take to be answered afterwards.
const ANSWER: Duration = Duration::from_secs(15);
/// How long one host must answer alone before the move, and how long that may take.
const STEADY: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_secs(30);

/// Two of the witness's questions. One question reaches both hosts, the lab's one processor lets them read it one after the
/// other, and between them the VIP may move: each answers rightly.
const SAME_QUESTION_S: f64 = 0.06;

/// A way to go by plan.
struct Move {
    /// For figures.
    name: &'static str,
    /// For people.
    summary: &'static str,
    /// Who is Active before it.
    from: usize,
    does: fn(&mut Stage<'_>) -> Result<()>,
}

/// They follow each other: each begins where the one before ends.
const MOVES: &[Move] = &[
    Move {
        name: "handover",
        summary: "an order hands the instance over",
        from: 0,
        does: hand_over,
    },
    Move { name: "handback", summary: "the order is taken back", from: 1, does: hand_back },
    Move { name: "drain", summary: "the Active director is drained", from: 0, does: drain },
    Move { name: "undrain", summary: "it takes part again", from: 1, does: undrain },
    Move { name: "stop", summary: "the Active's agent is stopped", from: 0, does: stop },
    Move { name: "start", summary: "it is started and takes over again", from: 1, does: start },
];

/// What runs, with connections told to the other director.
const SETTINGS: &Settings = &Settings {
    name: "100 ms adverts, connection synchronisation",
    options: "  connection_sync: {}\n",
    ..FAST
};

/// Each move in turn, with the same connections open all the time.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, SETTINGS)?;
    let macs = [topology::mac_of(DIRECTORS[0])?, topology::mac_of(DIRECTORS[1])?];
    let witness = ArpWitness::start(WITNESS, VIP)?;
    for one in MOVES {
        witness.wait_sole(macs[one.from], STEADY, SETTLE)?;
        measure(&mut stage, &witness, macs, one, findings)?;
    }
    drop(witness);
    stage.client.stop()
}

fn measure(
    stage: &mut Stage<'_>,
    witness: &ArpWitness,
    macs: [Mac; 2],
    one: &Move,
    findings: &mut Findings,
) -> Result<()> {
    say!("{}: {}", one.name, one.summary);
    let target = SocketAddrV4::new(VIP, PORT);
    let kept = Kept::open(CLIENT.name, target, ESTABLISHED, EVERY)?;
    let begin = Instant::now();
    std::thread::sleep(BEFORE);
    (one.does)(stage)?;
    // The next owner is awaited, so that a move that does nothing has not passed.
    witness.wait_sole(macs[1 - one.from], STEADY, SETTLE)?;
    let end = (begin + WINDOW).max(Instant::now());
    let window = stage.client.settled(begin, end);
    let owners = witness.settled(begin, end)?;
    let alive = kept.alive_since(end, ANSWER)?;
    say!(
        "  {} of {} requests failed: {}; {alive} of {ESTABLISHED} connections live ({}); \
         two owners for {:.3} s, none for {:.3} s",
        window.failed(),
        window.count(),
        window.failures(),
        kept.why(),
        owners.two_owners().as_secs_f64(),
        owners.unowned().as_secs_f64(),
    );
    if alive < ESTABLISHED {
        tell_entries(&kept.lost_since(end))?;
    }
    let name = one.name;
    findings.figure(format!("requests_{name}"), count(window.count()));
    findings.figure(format!("failed_{name}"), count(window.failed()));
    findings.figure(format!("established_{name}"), count(ESTABLISHED));
    findings.figure(format!("established_alive_{name}"), count(alive));
    findings.figure(format!("two_owners_s_{name}"), owners.two_owners().as_secs_f64());
    findings.require(window.count() >= 1_000, format!("{name}: 1,000 requests were made"));
    findings.at_most(&format!("failed_{name}"), count(window.failed()), 0.0);
    findings.require(
        alive == ESTABLISHED,
        format!("{name}: {alive} of {ESTABLISHED} established connections are alive"),
    );
    let two_owners = owners.two_owners().as_secs_f64();
    findings.at_most(&format!("two_owners_s_{name}"), two_owners, SAME_QUESTION_S);
    Ok(())
}

/// Says what both directors know of connections that were lost, by the client's ports.
fn tell_entries(ports: &[u16]) -> Result<()> {
    for director in DIRECTORS {
        let listing = namespace::inside(director.name, || {
            fs::read_to_string("/proc/thread-self/net/ip_vs_conn")
                .context("the kernel has no IPVS connections")
        })?;
        for port in ports {
            let word = format!("{port:04X}");
            let of_port = |line: &&str| line.split_ascii_whitespace().nth(2) == Some(&word);
            let entry = listing.lines().find(of_port).unwrap_or("no entry");
            say!("  lost: client port {port} at {}: {entry}", director.name);
        }
    }
    Ok(())
}

fn hand_over(stage: &mut Stage<'_>) -> Result<()> {
    stage.cluster.must(&["handover", "vi-1", "--to", DIRECTORS[1].name])
}

fn hand_back(stage: &mut Stage<'_>) -> Result<()> {
    stage.cluster.must(&["handover", "vi-1", "--back"])
}

fn drain(stage: &mut Stage<'_>) -> Result<()> {
    stage.cluster.must(&["drain", DIRECTORS[0].name])
}

fn undrain(stage: &mut Stage<'_>) -> Result<()> {
    stage.cluster.must(&["undrain", DIRECTORS[0].name])
}

fn stop(stage: &mut Stage<'_>) -> Result<()> {
    stage.pair.terminate(0)?;
    stage.pair.reap(0)
}

fn start(stage: &mut Stage<'_>) -> Result<()> {
    stage.pair.start(0, stage.paths)?;
    stage.pair.wait_ready(0)
}
