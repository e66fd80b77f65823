//! Two unequal Tomcats behind one VIP, first with weights as planned, then with weights that follow load.
//!
//! Half of the requests are more than the small one has threads for. With weights as planned they queue there; with dynamic
//! weights it is given what it can do. Then all of its threads are taken, and its weight must fall.

use std::fs;
use std::net::SocketAddrV4;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::client::page;
use crate::cluster::manifest;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage, both};
use crate::net::namespace;
use crate::net::topology::{CLIENT, PORT, WEBS};
use crate::pair::Side;
use crate::peers::busy_tomcat::{self, Shape};
use crate::say;
use crate::settings::{FAST, Settings};

/// Of 100 requests a second each is given 50, of which the small one can do 40.
const SHAPES: [Shape; 2] = [
    Shape { threads: 4, page_ms: 100, slow_ms: 8_000 },
    Shape { threads: 40, page_ms: 100, slow_ms: 8_000 },
];
/// How long requests are counted with weights as planned.
const STATIC: Duration = Duration::from_secs(20);
/// Time for what had queued up to end, and for weights to find their place.
const SETTLE: Duration = Duration::from_secs(25);
/// How long requests are counted with weights that follow load.
const DYNAMIC: Duration = Duration::from_mins(1);
/// The p99 with dynamic weights, of that with planned ones.
const MOST_RATIO: f64 = 0.7;
/// Changes of a real server's weight in a minute: two in five seconds.
const MOST_CHANGES: f64 = 24.0;
/// From all threads busy to a lower weight in both tables.
const MOST_FALL_MS: f64 = 2_000.0;
/// Weights are times so much in the table.
const SCALE: u32 = 100;
/// How long a weight may take to change, or a Tomcat to come back.
const LONG: Duration = Duration::from_mins(2);

/// Checks by TCP: a server that is full still accepts, and its weight is the matter here.
const SETTINGS: Settings = Settings { name: "unequal Tomcats", ..FAST };

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &SETTINGS)?;
    reshape(&mut stage, |index, tomcat| busy_tomcat::configure(tomcat, SHAPES[index]))?;
    let measured = measure(&mut stage, findings);
    stage.segment.tomcats.iter_mut().try_for_each(|tomcat| {
        tomcat.kill()?;
        tomcat.configure()
    })?;
    drop(stage);
    lab.take_down();
    measured
}

fn measure(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let web = SocketAddrV4::new(WEBS[0].address, PORT);
    apply(stage, "")?;
    say!("weights as planned");
    let begin = Instant::now();
    let planned = stage.client.settled(begin, begin + STATIC);
    let planned_p99 = millis(planned.p99().context("no request was made")?);
    say!("  {} of {} failed: {}", planned.failed(), planned.count(), planned.failures());

    say!("weights that follow load");
    let at = Instant::now();
    apply(stage, "  dynamic_weights: {}\n")?;
    let tables = &stage.segment.tables;
    tables.wait_all("weights are finer", &both(), at, LONG, |table| {
        WEBS.iter().any(|web| {
            table.weight(SocketAddrV4::new(web.address, PORT)).is_some_and(|weight| weight > 1)
        })
    })?;
    let begin = Instant::now() + SETTLE;
    let followed = stage.client.settled(begin, begin + DYNAMIC);
    let followed_p99 = millis(followed.p99().context("no request was made")?);
    say!("  {} of {} failed: {}", followed.failed(), followed.count(), followed.failures());
    let changes = most_changes(stage, at, begin, begin + DYNAMIC);

    findings.figure("planned_requests", count(planned.count()));
    findings.figure("planned_failed", count(planned.failed()));
    findings.figure("planned_p99_ms", planned_p99);
    findings.figure("dynamic_requests", count(followed.count()));
    findings.figure("dynamic_failed", count(followed.failed()));
    findings.figure("dynamic_p99_ms", followed_p99);
    findings.figure("dynamic_weight_changes_per_minute", changes);
    findings.at_most("dynamic_failed", count(followed.failed()), 0.0);
    findings.at_most(
        "p99 with dynamic weights, of that with planned ones",
        followed_p99 / planned_p99,
        MOST_RATIO,
    );
    findings.at_most("dynamic_weight_changes_per_minute", changes, MOST_CHANGES);
    fall(stage, web, findings)
}

/// Most changes of one real server's weight in one table within that time, a minute.
fn most_changes(stage: &Stage<'_>, since: Instant, from: Instant, to: Instant) -> f64 {
    let mut most = 0;
    for director in both() {
        for web in WEBS {
            let address = SocketAddrV4::new(web.address, PORT);
            let weights = stage.segment.tables.weights_since(director, since, address);
            let told: Vec<_> = weights
                .iter()
                .map(|(at, weight)| (at.duration_since(since).as_secs(), weight.unwrap_or(0)))
                .collect();
            say!("  {} on {director}, second and weight: {told:?}", web.name);
            let within = weights.iter().filter(|(at, _)| *at > from && *at <= to).count();
            most = most.max(within);
        }
    }
    count(most) * 60.0 / (to - from).as_secs_f64()
}

/// All threads of the small one are taken, by requests to its own address.
fn fall(stage: &mut Stage<'_>, web: SocketAddrV4, findings: &mut Findings) -> Result<()> {
    stage.pause_client()?;
    let tables = &stage.segment.tables;
    let whole = |table: &crate::watch::table::Table| table.weight(web) == Some(SCALE);
    tables.wait_all("idle, it has its whole weight", &both(), Instant::now(), LONG, whole)?;
    let at = Instant::now();
    let taken: Vec<_> = (0..SHAPES[0].threads).map(|_| occupy(web)).collect();
    let fallen = tables.wait_all("without a thread, it has less", &both(), at, LONG, |table| {
        table.weight(web).is_some_and(|weight| weight < SCALE)
    })?;
    let fall = millis(fallen - at);
    for thread in taken {
        thread.join().map_err(|_| anyhow::anyhow!("a request panicked"))??;
    }
    findings.figure("busy_to_lower_weight_ms", fall);
    findings.at_most("busy_to_lower_weight_ms", fall, MOST_FALL_MS);
    let weight = tables.at(both()[0], fallen).weight(web).unwrap_or(0);
    findings.figure("weight_without_a_thread", f64::from(weight));
    findings.require(weight > 0, "it stays in rotation");
    Ok(())
}

/// Takes one of its threads for a while.
fn occupy(web: SocketAddrV4) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        namespace::enter(CLIENT.name)?;
        page::get(web, busy_tomcat::SLOW_PATH, LONG).map(|_| ())
    })
}

/// The seed's cluster with weights that count and load that is told, and these lines of the pool.
fn apply(stage: &mut Stage<'_>, pool: &str) -> Result<()> {
    let file = stage.paths.dir.join("status-password");
    fs::write(&file, busy_tomcat::PASSWORD)?;
    stage.cluster.apply_text(&unequal(&busy_tomcat::probe(&file), pool))?;
    stage.cluster.wait_converged()
}

fn unequal(probe: &str, pool: &str) -> String {
    manifest::seed(&SETTINGS)
        .replace("probe: {http_path: /}", &format!("probe: {probe}"))
        .replace("scheduler: rr", "scheduler: wrr")
        .replace("---\nkind: VirtualServer", &format!("{pool}---\nkind: VirtualServer"))
}

/// Both Tomcats end, and start in another shape.
fn reshape(
    stage: &mut Stage<'_>,
    shape: impl Fn(usize, &crate::peers::tomcat::Tomcat) -> Result<()>,
) -> Result<()> {
    for (index, tomcat) in stage.segment.tomcats.iter_mut().enumerate() {
        tomcat.kill()?;
        shape(index, tomcat)?;
        tomcat.start(stage.paths.logs)?;
    }
    for tomcat in &mut stage.segment.tomcats {
        tomcat.wait_ready()?;
    }
    stage.wait_whole()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_says_what_is_measured() {
        let text = unequal("{status_user: x}", "  dynamic_weights: {}\n");
        assert_eq!(text.matches("probe: {status_user: x}").count(), WEBS.len());
        assert!(text.contains("\n  dynamic_weights: {}\n---\nkind: VirtualServer"), "{text}");
        assert!(text.contains("scheduler: wrr") && !text.contains("scheduler: rr"));
    }
}
