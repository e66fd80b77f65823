//! With `track_real_servers` the Active that is cut off hands its VIP to the other, and where both are cut off one of them keeps it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{AFTER, ALARM, CUT, LONG, STEADY, apart, rejoin};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::topology::{DIRECTORS, WEBS};
use crate::pair::Side;
use crate::say;
use crate::settings::{FAST, Settings};

/// By more than the priorities differ.
const SETTINGS: &Settings = &Settings {
    name: "100 ms adverts, handing over when cut off",
    options: "  track_real_servers: {weight: -50}\n",
    ..FAST
};

pub(super) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    say!("{}, {}", Side::Fulcrum.as_str(), SETTINGS.name);
    let mut stage = lab.stage(Side::Fulcrum, SETTINGS)?;
    one(&mut stage, findings)?;
    both(&mut stage, findings)?;
    stage.client.stop()
}

/// The Active is cut off: the other takes over, until it is back.
fn one(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    say!("{} is cut off from the real servers", DIRECTORS[0].name);
    stage.client.wait_steady(STEADY, LONG)?;
    let apart = apart(&[&DIRECTORS[..1], &WEBS[..]].concat())?;
    let begin = Instant::now();
    let taken = stage.pair.wait_active(1, ALARM);
    let took = begin.elapsed();
    let steady = stage.client.wait_steady(STEADY, CUT);
    std::thread::sleep(CUT.saturating_sub(begin.elapsed()));
    rejoin(&apart)?;
    let back = Instant::now();
    taken?;
    findings.require(steady.is_ok(), "active cut off: the other serves while it lasts");
    // The one that was cut off waits until it is sure, and takes the VIP back.
    stage.wait_whole()?;
    let returned = back.elapsed();
    std::thread::sleep(AFTER.saturating_sub(returned));
    let window = stage.client.settled(begin, Instant::now());
    say!("  {} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    findings.figure("tracked_active_requests", count(window.count()));
    findings.figure("tracked_active_failed", count(window.failed()));
    findings.figure("tracked_taken_over_ms", millis(took));
    findings.figure("tracked_taken_back_ms", millis(returned));
    let check = &SETTINGS.check;
    // A try that is under way, then each that is tolerated, to its timeout; then VRRP.
    let silent = check.interval + (check.timeout + check.retry_delay) * (check.retries + 1);
    let bound = silent + SETTINGS.vrrp_outage();
    findings.at_most("active cut off: taken over in ms", millis(took), millis(bound));
    Ok(())
}

/// Both are cut off: somebody holds the VIP all the same, and serves at once when the way is open again.
fn both(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    say!("both directors are cut off from the real servers");
    stage.client.wait_steady(STEADY, LONG)?;
    let apart = apart(&[&DIRECTORS[..], &WEBS[..]].concat())?;
    let begin = Instant::now();
    // Both are sure by then.
    std::thread::sleep(CUT);
    let held = [0, 1].map(|index| stage.pair.wait_active(index, Duration::from_secs(1)).is_ok());
    say!(
        "  {:.1} s later d1 advertises: {}, d2 advertises: {}",
        begin.elapsed().as_secs_f64(),
        held[0],
        held[1]
    );
    rejoin(&apart)?;
    let back = Instant::now();
    let answered = stage.client.wait_answer_since(back, LONG)?.duration_since(back);
    findings.require(held.contains(&true), "both cut off: one of them is Active");
    findings.figure("tracked_both_answered_ms", millis(answered));
    stage.wait_whole()
}
