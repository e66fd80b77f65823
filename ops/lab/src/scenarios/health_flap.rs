//! A Tomcat that stalls and recovers again and again, by both sides with the same checks: damping lets clients feel the
//! first falls, and no more of them.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage, both};
use crate::net::topology::DIRECTORS;
use crate::pair::Side;
use crate::say;
use crate::settings::PROMPT;
use crate::watch::table::TableWatch;

/// How often it stalls.
const FALLS: usize = 8;
/// How long it stalls, which is longer than a client waits, and how long it is well in between: longer than the first hold
/// of 2 s, shorter than the next of 4 s.
const STALL: Duration = Duration::from_millis(1_500);
const WELL: Duration = Duration::from_secs(3);
/// Falls that clients feel: the first is forgiven, and the second is held for less than [`WELL`].
const FELT: usize = 3;
/// Weight changes of one table: out and back for each fall that is felt.
const MOST_CHANGES: usize = 2 * FELT;
/// The first hold, and what a busy machine may take beside it until the weight is back.
const FIRST_HOLD: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);
/// The longest hold.
const LONGEST_HOLD: Duration = Duration::from_mins(1);
/// How long it may take until it is back for good.
const PATIENCE: Duration = Duration::from_secs(90);

/// What one side did.
struct Measured {
    requests: usize,
    failed: usize,
    /// Of the table with the most.
    changes: usize,
    /// From each recovery until both tables have it back, while they got it back before the next stall.
    back: Vec<Option<Duration>>,
    /// From the last recovery until both tables have it back for good.
    back_at_last: Duration,
    /// The other one was in both tables all the time.
    never_empty: bool,
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let ours = measure(lab, Side::Fulcrum)?;
    let theirs = measure(lab, Side::Keepalived)?;
    findings.figure("falls", count(FALLS));
    for (side, measured) in [(Side::Fulcrum, &ours), (Side::Keepalived, &theirs)] {
        let name = side.as_str();
        findings.figure(format!("{name}_requests"), count(measured.requests));
        findings.figure(format!("{name}_failed"), count(measured.failed));
        findings.figure(format!("{name}_weight_changes"), count(measured.changes));
        findings.figure(format!("{name}_back_at_last_ms"), millis(measured.back_at_last));
        for (number, back) in measured.back.iter().enumerate() {
            if let Some(back) = back {
                findings.figure(format!("{name}_back_{}_ms", number + 1), millis(*back));
            }
        }
    }
    findings.at_most("weight changes of a table", count(ours.changes), count(MOST_CHANGES));
    findings.require(
        ours.failed < theirs.failed,
        format!("fewer requests fail ({}) than with keepalived ({})", ours.failed, theirs.failed),
    );
    findings.require(ours.never_empty, "the other Tomcat is in both tables all the time");
    let [first, second, later @ ..] = &ours.back[..] else { return Ok(()) };
    findings.require(
        first.is_some_and(|back| back < FIRST_HOLD),
        "after the first fall it is back at once",
    );
    findings.require(
        second.is_some_and(|back| back >= FIRST_HOLD && back < FIRST_HOLD + SLACK),
        "after the second fall it is held for 2 s",
    );
    findings.require(
        later.iter().all(Option::is_none),
        "after the third fall it is held for longer than it is ever well",
    );
    findings.require(
        ours.back_at_last >= FIRST_HOLD * 2 && ours.back_at_last <= LONGEST_HOLD + SLACK,
        "the last hold is longer than the first, and at most a minute",
    );
    Ok(())
}

fn measure(lab: &mut Lab, side: Side) -> Result<Measured> {
    say!("{}, {}", side.as_str(), PROMPT.name);
    let stage = lab.stage(side, &PROMPT)?;
    let begin = Instant::now();
    let mut recoveries = Vec::with_capacity(FALLS);
    for _ in 0..FALLS {
        stage.segment.tomcats[0].signal(Signal::SIGSTOP)?;
        std::thread::sleep(STALL);
        stage.segment.tomcats[0].signal(Signal::SIGCONT)?;
        recoveries.push(Instant::now());
        std::thread::sleep(WELL);
    }
    let last = *recoveries.last().context("it stalled")?;
    // The same stretch of time for both, whoever is faster.
    let window = stage.client.settled(begin, last + WELL);
    let back = stage.segment.tables.wait_all(
        "back in both tables",
        &both(),
        last + SETTLED,
        PATIENCE,
        |table| table.serves(stage.segment.tomcats[0].address()),
    )?;
    let measured = told(&stage, begin, &recoveries, (window.count(), window.failed()), back - last);
    say!(
        "  {} of {} requests failed: {}; {} weight changes",
        window.failed(),
        window.count(),
        window.failures(),
        measured.changes
    );
    stage.client.stop()?;
    Ok(measured)
}

/// A stall is over for the checks after this: a try that was under way may still end badly.
const SETTLED: Duration = Duration::from_millis(400);

fn told(
    stage: &Stage<'_>,
    begin: Instant,
    recoveries: &[Instant],
    (requests, failed): (usize, usize),
    back_at_last: Duration,
) -> Measured {
    let [flapping, other] = [0, 1].map(|which| stage.segment.tomcats[which].address());
    let tables = &stage.segment.tables;
    let changes = |director| served_since(tables, director, begin, flapping).len() - 1;
    let never_empty = both().iter().all(|director| {
        served_since(tables, director, begin, other).iter().all(|(_, is_served)| *is_served)
    });
    Measured {
        requests,
        failed,
        changes: DIRECTORS.map(|director| changes(director.name)).into_iter().max().unwrap_or(0),
        back: recoveries.iter().map(|at| back_after(tables, *at, flapping)).collect(),
        back_at_last,
        never_empty,
    }
}

/// From a recovery until both tables have it, if they did before the next stall.
fn back_after(tables: &TableWatch, recovery: Instant, web: SocketAddrV4) -> Option<Duration> {
    let backs = both().map(|director| {
        served_since(tables, director, recovery, web)
            .into_iter()
            .find_map(|(at, is_served)| is_served.then_some(at))
            .filter(|at| *at < recovery + WELL)
    });
    let last = backs.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()?;
    Some(last - recovery)
}

/// Whether the table sends new connections there, from `since` on, each time it changes.
fn served_since(
    tables: &TableWatch,
    director: &str,
    since: Instant,
    web: SocketAddrV4,
) -> Vec<(Instant, bool)> {
    let weights = tables.weights_since(director, since, web).into_iter();
    let mut served: Vec<_> = weights.map(|(at, weight)| (at, weight > Some(0))).collect();
    served.dedup_by_key(|(_, is_served)| *is_served);
    served
}
