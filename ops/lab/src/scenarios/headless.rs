//! Every controller is killed. Then real servers are drained and a director is frozen by the local sockets, a Tomcat dies, a
//! director dies, and director agents restart: the directors' own probes and their plans on disk are all that is left. At last
//! the controllers come back.

mod orders;

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::client::RATE;
use crate::cluster::Member;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, both};
use crate::net::topology::{CONTROLLERS, DIRECTORS, WEBS};
use crate::pair::Side;
use crate::say;
use crate::settings::FAST;

/// Requests that may fail beside those that the bound counts: those under way when something died.
const SLACK: f64 = 3.0;
/// Longest wait for what should take a second or two.
const LONG: Duration = Duration::from_mins(1);
/// How long the page must be steady between two blows.
const STEADY: Duration = Duration::from_millis(500);

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &FAST)?;
    let begin = Instant::now();
    for index in 0..CONTROLLERS.len() {
        stage.cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    stage.client.wait_steady(STEADY, LONG)?;
    orders::drain(&stage, findings)?;

    let dead = stage.segment.tomcats[0].address();
    let alive = stage.segment.tomcats[1].address();
    let at = stage.segment.tomcats[0].kill()?;
    let tables = &stage.segment.tables;
    let right = "the dead Tomcat is out of the table and the other in";
    let gone = tables
        .wait_all(right, &both(), at, LONG, |table| !table.serves(dead) && table.serves(alive))?;
    let out_ms = millis(gone - at);
    say!("out of both tables after {out_ms:.0} ms, without a controller");
    stage.client.wait_steady(STEADY, LONG)?;

    // What is done by hand at the other director outlasts all that follows.
    orders::freeze(&stage, alive)?;
    let frozen_at = Instant::now();

    // The Active director dies, and comes back: its table is empty, its plan is on disk.
    let off = stage.pair.power_off(0)?;
    stage.client.wait_answer_since(off + Duration::from_millis(1), LONG)?;
    stage.client.wait_steady(STEADY, LONG)?;
    stage.pair.power_on(0)?;
    stage.pair.start(0, stage.paths)?;
    stage.pair.wait_first_active()?;
    let on = Instant::now();
    tables
        .wait_all(right, &both(), on, LONG, |table| !table.serves(dead) && table.serves(alive))?;
    stage.client.wait_steady(STEADY, LONG)?;

    // The other director's agent restarts beside its table.
    stage.pair.terminate(1)?;
    stage.pair.reap(1)?;
    stage.pair.start(1, stage.paths)?;
    stage.pair.wait_ready(1)?;
    stage.client.wait_steady(STEADY, LONG)?;
    orders::thaw(&stage, frozen_at, alive, findings)?;
    for director in DIRECTORS {
        let table = tables.now(director.name);
        findings.require(
            !table.serves(dead) && table.serves(alive),
            format!("at the end, {right} of {}", director.name),
        );
    }

    let window = stage.client.settled(begin, Instant::now());
    say!("{} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    let share = 1.0 / count(WEBS.len());
    let detection = FAST.check.detection().as_secs_f64();
    let bound = RATE * (detection * share + FAST.vrrp_outage().as_secs_f64()) + SLACK;
    findings.figure("requests", count(window.count()));
    findings.figure("failed", count(window.failed()));
    findings.figure("failed_bound", bound);
    findings.figure("out_of_table_ms", out_ms);
    findings.at_most("failed", count(window.failed()), bound);
    orders::reconcile(&mut stage, findings)
}
