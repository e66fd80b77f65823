//! Fulcrum and keepalived measured in turn on the same nodes with the same settings. What was measured in a boot is kept,
//! so that several scenarios can tell of one measurement.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::findings::median;
use crate::lab::{Lab, Segment, Stage, both};
use crate::pair::Side;
use crate::say;
use crate::settings::{QUICK, SEED, Settings};
use crate::watch::table::TableWatch;

/// Trials of a power loss, each side, when nobody says how many: the fewest that a median is told of.
pub(crate) const TRIALS: u8 = 10;
/// Trials of a planned stop, each side, at most, with settings of which planned stops are told.
const HANDOVERS: u8 = 5;
/// How long requests are counted after a planned stop: 600 of them, as keepalived's were counted.
const HANDOVER_WINDOW: Duration = Duration::from_secs(6);
/// How long the page may stay away after a power loss.
const COME_BACK: Duration = Duration::from_secs(30);
/// The part of a crash's window before the crash.
const BEFORE_CRASH: Duration = Duration::from_secs(1);
/// Around an outage, time that certainly holds a success.
const MARGIN: Duration = Duration::from_millis(300);

/// How often things are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Trials of a power loss, each side; of a planned stop as many, up to [`HANDOVERS`].
    pub(crate) trials: u8,
    /// What is rare is measured [`FULL`] times as often, so that its worst can be told.
    pub(crate) is_full: bool,
}

/// How many times as often.
pub(crate) const FULL: u8 = 10;

impl Effort {
    /// Time that it takes, in multiples of the usual.
    pub(crate) fn of_usual(self) -> u32 {
        u32::from(self.trials.div_ceil(TRIALS)) * if self.is_full { u32::from(FULL) } else { 1 }
    }
}

/// All that was measured so far.
#[derive(Debug)]
pub(crate) struct Contest {
    pub(crate) effort: Effort,
    failovers: Vec<(Settings, BTreeMap<Side, Failovers>)>,
    crashes: Vec<(Side, Settings, Crash)>,
}

/// Trials of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failovers {
    /// Longest outage of each power loss, milliseconds.
    pub(crate) outage_ms: Vec<f64>,
    /// Requests counted at each planned stop.
    pub(crate) handover_requests: Vec<f64>,
    /// Those of them that failed.
    pub(crate) handover_failed: Vec<f64>,
}

/// One crash of a Tomcat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// From the kill until out of both directors' tables.
    pub(crate) out_of_tables: Duration,
    /// From the Tomcat's first answer after its restart until in both directors' tables.
    pub(crate) back_in: Duration,
    /// Requests counted in the window around it.
    pub(crate) requests: usize,
    /// Those of them that failed.
    pub(crate) failed: usize,
}

impl Contest {
    /// Nothing was measured yet.
    pub(crate) fn new(effort: Effort) -> Self {
        Self { effort, failovers: Vec::new(), crashes: Vec::new() }
    }
}

impl Failovers {
    /// The median outage of power losses, milliseconds.
    pub(crate) fn outage(&self) -> Result<f64> {
        median(&self.outage_ms).context("no power loss was measured")
    }

    /// The medians of requests and of failures at planned stops.
    pub(crate) fn handover(&self) -> Result<(f64, f64)> {
        let requests = median(&self.handover_requests).context("no handover was measured")?;
        let failed = median(&self.handover_failed).context("no handover was measured")?;
        Ok((requests, failed))
    }
}

/// Power losses and planned stops of both sides with these settings, trial by trial in turn.
pub(crate) fn failovers(lab: &mut Lab, settings: &Settings) -> Result<BTreeMap<Side, Failovers>> {
    if let Some((_, known)) = lab.contest.failovers.iter().find(|(of, _)| of == settings) {
        return Ok(known.clone());
    }
    let mut results = BTreeMap::from([
        (Side::Fulcrum, Failovers::default()),
        (Side::Keepalived, Failovers::default()),
    ]);
    let trials = lab.contest.effort.trials;
    for trial in 0..trials {
        // Whoever is first in one trial is second in the next.
        let mut sides = [Side::Fulcrum, Side::Keepalived];
        if trial % 2 == 1 {
            sides.reverse();
        }
        for side in sides {
            let handovers = if *settings == QUICK { 0 } else { HANDOVERS };
            let result = results.entry(side).or_default();
            say!("trial {} of {trials}: {}, {}", trial + 1, side.as_str(), settings.name);
            if trial < handovers {
                let (requests, failed) = handover(lab, side, settings)?;
                result.handover_requests.push(count(requests));
                result.handover_failed.push(count(failed));
            }
            result.outage_ms.push(power_loss(lab, side, settings)?);
        }
    }
    lab.contest.failovers.push((*settings, results.clone()));
    Ok(results)
}

/// A planned stop of the Active director; answers with requests and failures.
fn handover(lab: &mut Lab, side: Side, settings: &Settings) -> Result<(usize, usize)> {
    let stage = lab.stage(side, settings)?;
    let at = stage.pair.terminate(0)?;
    stage.pair.reap(0)?;
    let end = at + HANDOVER_WINDOW;
    let window = stage.client.settled(at, end);
    say!("  {} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    stage.client.wait_steady(MARGIN, COME_BACK)?;
    Ok((window.count(), window.failed()))
}

/// A power loss of the Active director right after an advert; answers with the longest outage in milliseconds.
fn power_loss(lab: &mut Lab, side: Side, settings: &Settings) -> Result<f64> {
    let mut stage = lab.stage(side, settings)?;
    let outage = outage_of_power_loss(&mut stage)?;
    // The next trial brings both directors up anew, whichever side it is.
    stage.pair.take_down()?;
    Ok(millis(outage))
}

/// The first director of the pair loses power right after an advert; answers with the longest outage.
pub(crate) fn outage_of_power_loss(stage: &mut Stage<'_>) -> Result<Duration> {
    let (at, after_advert) = stage.pair.power_off_first_after_advert()?;
    stage.client.wait_answer_since(at + Duration::from_millis(1), COME_BACK)?;
    stage.client.wait_steady(MARGIN, COME_BACK)?;
    let window = stage.client.settled(at.checked_sub(MARGIN).unwrap_or(at), Instant::now());
    let outage = window.outage().context("the page did not come back")?;
    say!(
        "  cut {:.1} ms after an advert: outage {:.0} ms, {} requests failed",
        millis(after_advert),
        millis(outage),
        window.failed()
    );
    Ok(outage)
}

/// kill -9 of the first Tomcat under load, and its return.
pub(crate) fn crash(lab: &mut Lab, side: Side, settings: &Settings) -> Result<Crash> {
    let known = lab.contest.crashes.iter().find(|(s, of, _)| *s == side && of == settings);
    if let Some((_, _, crash)) = known {
        return Ok(*crash);
    }
    say!("crash of a Tomcat: {}, {}", side.as_str(), settings.name);
    let stage = lab.stage(side, settings)?;
    let begin = Instant::now();
    std::thread::sleep(BEFORE_CRASH);
    let Segment { tomcats, tables, .. } = &mut *stage.segment;
    let tomcat = &mut tomcats[0];
    let address = tomcat.address();
    let at = tomcat.kill()?;
    let gone = wait_out(tables, address, at, settings)?;
    let out_of_tables = gone - at;
    say!("  out of both tables after {:.1} ms", millis(out_of_tables));
    tomcat.start(stage.paths.logs)?;
    let serves = tomcat.wait_ready()?;
    // Counted from `gone`, and so with the time that the Tomcat takes to start.
    let patience = longest_detection(settings) + (serves - gone);
    let back = tables.wait_all(
        "the Tomcat is back in both tables",
        &both(),
        gone + Duration::from_millis(1),
        patience,
        |table| table.serves(address),
    )?;
    // It may have been taken back between its first answer and our next look at it.
    let back_in = back.saturating_duration_since(serves);
    say!("  back in both tables {:.1} ms after its first answer", millis(back_in));
    let window = crash_window(settings);
    let end = (begin + window).max(back);
    let window = stage.client.settled(begin, end);
    say!("  {} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    let crash = Crash { out_of_tables, back_in, requests: window.count(), failed: window.failed() };
    lab.contest.crashes.push((side, *settings, crash));
    Ok(crash)
}

/// From kill -9 of the first Tomcat until out of both tables, Fulcrum's directors. It is started again.
pub(crate) fn out_of_tables_once(lab: &mut Lab, settings: &Settings) -> Result<Duration> {
    let stage = lab.stage(Side::Fulcrum, settings)?;
    let Segment { tomcats, tables, .. } = &mut *stage.segment;
    let address = tomcats[0].address();
    let at = tomcats[0].kill()?;
    let gone = wait_out(tables, address, at, settings)?;
    tomcats[0].start(stage.paths.logs)?;
    tomcats[0].wait_ready()?;
    Ok(gone - at)
}

fn wait_out(
    tables: &TableWatch,
    address: SocketAddrV4,
    killed: Instant,
    settings: &Settings,
) -> Result<Instant> {
    let what = "the killed Tomcat is out of both tables";
    tables.wait_all(what, &both(), killed, longest_detection(settings), |t| !t.serves(address))
}

/// Longest time in which a check notices what it checks, and a program acts, on a busy machine.
fn longest_detection(settings: &Settings) -> Duration {
    settings.check.detection() + settings.check.timeout + Duration::from_secs(10)
}

/// How long requests are counted around a crash: time for the slowest detection and the return.
fn crash_window(settings: &Settings) -> Duration {
    if *settings == SEED { Duration::from_secs(40) } else { Duration::from_secs(15) }
}

/// Milliseconds of a duration as `lvsctl` tells it: `12.3ms`, `456us` or `1s`.
pub(crate) fn told_ms(text: &str) -> Option<f64> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let number: f64 = text[..split].parse().ok()?;
    let unit = match &text[split..] {
        "s" => 1000.0,
        "ms" => 1.0,
        "us" => 0.001,
        "ns" => 0.000_001,
        _ => return None,
    };
    Some(number * unit)
}

/// Milliseconds with fraction.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}
