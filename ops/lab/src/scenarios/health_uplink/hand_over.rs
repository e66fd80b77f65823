//! With `track_real_servers` the Active that is cut off hands its VIP to the other, and where the
//! real servers are gone for both one of them keeps it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{AFTER, ALARM, CUT, LONG, STEADY, apart, rejoin};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::adverts::AdvertEar;
use crate::net::link::Cable;
use crate::net::topology::{DIRECTORS, Node, WEBS};
use crate::pair::Side;
use crate::say;
use crate::settings::{FAST, Settings};

/// Long enough to hear the adverts of an Active.
const ADVERTS: Duration = Duration::from_secs(1);
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
    // What a host sends itself is not heard there.
    let ear = AdvertEar::at(DIRECTORS[0].name)?;
    let apart = apart(&[&DIRECTORS[..1], &WEBS[..]].concat())?;
    let begin = Instant::now();
    let taken = ear.next_of(DIRECTORS[1].address, ALARM);
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

/// The real servers' hosts are gone for both: somebody holds the VIP all the same, and serves at once when they are back.
fn both(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    say!("both real servers' cables are cut");
    stage.client.wait_steady(STEADY, LONG)?;
    let cables: Vec<Cable> = WEBS.iter().map(|web| Cable::of(web.name)).collect::<Result<_>>()?;
    cables.iter().try_for_each(Cable::block)?;
    let begin = Instant::now();
    // Both directors are sure by then.
    std::thread::sleep(CUT);
    let [d1, d2] = DIRECTORS;
    let held = advertises(d1, d2).and_then(|of_d1| Ok([of_d1, advertises(d2, d1)?]));
    cables.iter().try_for_each(Cable::unblock)?;
    let back = Instant::now();
    let held = held?;
    say!("  {:.1} s later, whether each advertises: {held:?}", (back - begin).as_secs_f64());
    findings.require(held.contains(&true), "both cut off: one of them is Active");
    let answered = stage.client.wait_answer_since(back, LONG)?.duration_since(back);
    findings.figure("tracked_both_answered_ms", millis(answered));
    stage.wait_whole()
}

/// Whether the other director hears that one claims the VIP.
fn advertises(one: Node, other: Node) -> Result<bool> {
    Ok(AdvertEar::at(other.name)?.next_of(one.address, ADVERTS).is_ok())
}
