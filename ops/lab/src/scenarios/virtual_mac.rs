//! The VIP with the virtual router's MAC: it moves without a neighbour learning anything new, and no host ever answers with
//! its own.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contest::{self, count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::mac::Mac;
use crate::net::routers::RouterEars;
use crate::net::topology::{DIRECTORS, VIP, WITNESS};
use crate::pair::Side;
use crate::say;
use crate::settings::{FAST, PRIORITY_BACKUP, Settings, vrrp_outage};
use crate::watch::arp::ArpWitness;

const MAC: Mac = Mac::of_virtual_router(false);
/// How long requests are counted around each move.
const WINDOW: Duration = Duration::from_secs(6);
const BEFORE: Duration = Duration::from_secs(1);
/// How long it alone must answer before anything is measured, and how long that may take.
const STEADY: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_secs(30);
/// What a failover may take longer than the standard's time, on the lab's one processor.
const LATE: Duration = Duration::from_millis(500);

const SETTINGS: &Settings =
    &Settings { name: "100 ms adverts, virtual MAC", options: "  virtual_mac: true\n", ..FAST };

/// A hand-over there and back, then a power loss.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, SETTINGS)?;
    let ears = RouterEars::at(&DIRECTORS)?;
    let witness = ArpWitness::start(WITNESS, VIP)?;
    witness.wait_sole(MAC, STEADY, SETTLE)?;
    let begin = Instant::now();
    for (name, arguments, to) in [
        ("handover", ["handover", "vi-1", "--to", DIRECTORS[1].name].as_slice(), 1),
        ("handback", ["handover", "vi-1", "--back"].as_slice(), 0),
    ] {
        say!("{name}");
        moves(&mut stage, &ears, findings, name, arguments, to)?;
    }
    say!("the Active director loses power");
    let outage = contest::outage_of_power_loss(&mut stage)?;
    let bound = vrrp_outage(3, SETTINGS.advert, PRIORITY_BACKUP) + LATE;
    findings.figure("outage_ms", millis(outage));
    findings.at_most("outage_ms", millis(outage), millis(bound));
    let end = Instant::now();
    let watched = witness.settled(begin, end)?;
    let others = watched.questions.iter().flat_map(|question| &question.owners);
    let others = others.filter(|owner| **owner != MAC).count();
    let answered = watched.questions.iter().filter(|question| !question.owners.is_empty()).count();
    findings.figure("arp_answers", count(answered));
    findings.figure("arp_answers_of_other_macs", count(others));
    findings.at_most("arp_answers_of_other_macs", count(others), 0.0);
    findings.require(answered > 0, "the VIP is answered for");
    drop(witness);
    stage.client.stop()?;
    stage.pair.take_down()
}

fn moves(
    stage: &mut Stage<'_>,
    ears: &RouterEars,
    findings: &mut Findings,
    name: &str,
    arguments: &[&str],
    to: usize,
) -> Result<()> {
    let begin = Instant::now();
    std::thread::sleep(BEFORE);
    stage.cluster.must(arguments)?;
    ears.forget()?;
    ears.next_claim(to, SETTLE)?;
    let end = (begin + WINDOW).max(Instant::now());
    let window = stage.client.settled(begin, end);
    say!("  {} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    ears.forget()?;
    let advert = ears.next_claim(to, SETTLE)?.advert;
    findings.require(advert.mac == MAC, format!("{name}: adverts come from {}", advert.mac));
    findings.figure(format!("requests_{name}"), count(window.count()));
    findings.figure(format!("failed_{name}"), count(window.failed()));
    findings.at_most(&format!("failed_{name}"), count(window.failed()), 0.0);
    Ok(())
}
