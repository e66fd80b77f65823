//! The story of the cluster, told with its measured times: it comes up, pages alternate, a Tomcat is killed, a director
//! loses power, all controllers are killed, everything recovers.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::client;
use crate::cluster::{Member, text};
use crate::contest::millis;
use crate::findings::Findings;
use crate::lab::{Lab, Stage, both};
use crate::net::topology::{CLIENT, CONTROLLERS, DIRECTORS, PORT, VIP, WEBS};
use crate::pair::Side;
use crate::say::elapsed_s;
use crate::settings::FAST;

/// Longest wait for anything in the story.
const LONG: Duration = Duration::from_mins(1);
/// How long the page must be steady before the story goes on.
const STEADY: Duration = Duration::from_millis(500);
/// Reloads that are shown.
const SHOWN: usize = 10;

/// Tells it; each chapter's time is a figure.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let [d1, d2] = DIRECTORS;
    let [web1, web2] = WEBS;
    chapter("The cluster comes up");
    tell(&format!(
        "two directors ({} {}, {} {}), two Tomcats ({}, {}), three controllers, one VIP {VIP}",
        d1.name, d1.address, d2.name, d2.address, web1.address, web2.address
    ));
    let begin = Instant::now();
    let mut stage = lab.stage(Side::Fulcrum, &FAST)?;
    let up = begin.elapsed();
    tell(&format!(
        "up after {:.1} s, Tomcats and all; the client reloads the page 100 times a second",
        up.as_secs_f64()
    ));
    findings.figure("up_s", up.as_secs_f64());
    show(&text(&stage.cluster.lvsctl(&["status"])?.stdout));

    chapter("Pages alternate");
    tell(&reloads()?);

    tomcat_dies(&mut stage, findings)?;
    director_dies(&mut stage, findings)?;
    controllers_die(&mut stage, findings)?;

    chapter("Everything is as it was");
    show(&text(&stage.cluster.lvsctl(&["status"])?.stdout));
    let window = stage.client.settled(begin + up, Instant::now());
    tell(&format!(
        "{} pages were asked for in all this; {} failed: {}",
        window.count(),
        window.failed(),
        window.failures()
    ));
    Ok(())
}

fn tomcat_dies(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    chapter("A Tomcat is killed (kill -9)");
    let address = stage.segment.tomcats[0].address();
    let at = stage.segment.tomcats[0].kill()?;
    let tables = &stage.segment.tables;
    let gone = tables
        .wait_all("it is out of both tables", &both(), at, LONG, |table| !table.serves(address))?;
    tell(&format!(
        "out of both directors' tables after {:.0} ms, told by the agent on its host",
        millis(gone - at)
    ));
    findings.figure("out_of_tables_ms", millis(gone - at));
    stage.segment.tomcats[0].start(stage.paths.logs)?;
    stage.segment.tomcats[0].wait_ready()?;
    stage.wait_whole()?;
    let lost = stage.client.settled(at, Instant::now());
    tell(&format!("started again, and back in both tables; {} requests failed", lost.failed()));
    Ok(())
}

fn director_dies(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let name = DIRECTORS[0].name;
    chapter("The Active director loses power");
    let at = stage.pair.power_off(0)?;
    stage.client.wait_answer_since(at + Duration::from_millis(1), LONG)?;
    stage.client.wait_steady(STEADY, LONG)?;
    let window = stage.client.settled(at.checked_sub(STEADY).unwrap_or(at), Instant::now());
    let outage = window.outage().unwrap_or_default();
    tell(&format!(
        "{} took the VIP over: outage {:.0} ms at adverts of {} ms",
        DIRECTORS[1].name,
        millis(outage),
        FAST.advert.as_millis()
    ));
    findings.figure("outage_ms", millis(outage));
    let back = Instant::now();
    stage.pair.power_on(0)?;
    stage.pair.start(0, stage.paths)?;
    stage.wait_whole()?;
    let lost = stage.client.settled(back, Instant::now());
    tell(&format!("{name} is back and Active again; {} requests failed by that", lost.failed()));
    Ok(())
}

fn controllers_die(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    chapter("All controllers are killed, then a Tomcat");
    for index in 0..CONTROLLERS.len() {
        stage.cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    stage.client.wait_steady(STEADY, LONG)?;
    tell("no controller lives; pages are answered");
    let address = stage.segment.tomcats[1].address();
    let at = stage.segment.tomcats[1].kill()?;
    let tables = &stage.segment.tables;
    let gone = tables
        .wait_all("it is out of both tables", &both(), at, LONG, |table| !table.serves(address))?;
    tell(&format!(
        "the Tomcat is out of both tables after {:.0} ms, by the directors' own probes",
        millis(gone - at)
    ));
    findings.figure("headless_out_of_tables_ms", millis(gone - at));
    stage.segment.tomcats[1].start(stage.paths.logs)?;
    stage.cluster.start_missing()?;
    stage.segment.tomcats[1].wait_ready()?;
    stage.wait_whole()?;
    tell("controllers and Tomcat are started again");
    Ok(())
}

/// Ten reloads in words. The client at work takes its turns between them, so both Tomcats show, not strictly in turn.
fn reloads() -> Result<String> {
    let target = std::net::SocketAddrV4::new(VIP, PORT);
    let mut shown = Vec::new();
    for _ in 0..SHOWN {
        let page = client::get_once(CLIENT.name, target, "/")?;
        match client::page::judge(page.as_bytes(), true) {
            Some(Ok(web)) => shown.push(web),
            other => shown.push(format!("{other:?}")),
        }
    }
    Ok(shown.join(" "))
}

fn chapter(title: &str) {
    eprintln!("\n── {title} ── {:.0} s", elapsed_s());
}

fn tell(text: &str) {
    eprintln!("   {text}");
}

fn show(text: &str) {
    for line in text.lines() {
        eprintln!("   | {line}");
    }
}
