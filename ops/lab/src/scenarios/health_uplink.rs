//! One director is cut off from the real servers, and from nothing else: the Backup, then the Active. Then the agents on the
//! real servers are cut off from the controllers. Whoever is cut off keeps its table, and nobody else's changes. At last the same with
//! a VIP that is handed over.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::Window;
use crate::cluster::told;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::link::Cable;
use crate::net::topology::{CONTROLLERS, DIRECTORS, Node, PORT, WEBS};
use crate::pair::Side;
use crate::process::wait_told;
use crate::say;
use crate::settings::{FAST, Settings};
use crate::watch::table::{Table, TableWatch};

mod hand_over;

const SETTINGS: &Settings = &FAST;
/// How long each cut lasts: checks fail for good after some 4 s.
const CUT: Duration = Duration::from_secs(8);
/// How long the return is watched: each check tries once a second.
const AFTER: Duration = Duration::from_secs(4);
/// The agents' evidence ends while they are away.
const SILENCE: Duration = Duration::from_secs(8);
/// How long the alarm may take: until the checks fail for good, and a report.
const ALARM: Duration = Duration::from_secs(10);
/// What a director that is cut off says of itself, as the agents say that they serve.
const ALARM_WORDS: &str = "this director is cut off from them";
/// How long the page must be steady between two blows.
const STEADY: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_mins(1);

/// What a cut of one director did.
struct Cut {
    /// Weight changes in the tables of the one that was cut off and of the other, until it had been back for a while.
    changes: usize,
    changes_of_other: usize,
    /// Whether the table of the one that was cut off served somebody all the time.
    served: bool,
    window: Window,
    /// From the cut until the alarm stood in the status; ours alone.
    told: Option<Duration>,
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    for side in [Side::Fulcrum, Side::Keepalived] {
        say!("{}, {}", side.as_str(), SETTINGS.name);
        let mut stage = lab.stage(side, SETTINGS)?;
        for (index, role) in [(1, "backup"), (0, "active")] {
            let cut = cut_off(&mut stage, index)?;
            judge(&cut, side, role, findings);
        }
        if side == Side::Fulcrum {
            silence_agents(&mut stage, findings)?;
        }
        stage.client.stop()?;
    }
    hand_over::run(lab, findings)
}

fn judge(cut: &Cut, side: Side, role: &str, findings: &mut Findings) {
    let name = format!("{}_{role}", side.as_str());
    findings.figure(format!("{name}_weight_changes"), count(cut.changes));
    findings.figure(format!("{name}_weight_changes_of_other"), count(cut.changes_of_other));
    findings.figure(format!("{name}_requests"), count(cut.window.count()));
    findings.figure(format!("{name}_failed"), count(cut.window.failed()));
    findings.figure(format!("{name}_emptied"), if cut.served { 0.0 } else { 1.0 });
    if side == Side::Keepalived {
        return;
    }
    findings.at_most(&format!("{role} cut off: its weight changes"), count(cut.changes), 0.0);
    findings.require(cut.served, format!("{role} cut off: its table is never empty"));
    let of_other = count(cut.changes_of_other);
    findings.at_most(&format!("{role} cut off: the other's weight changes"), of_other, 0.0);
    if role == "backup" {
        let failed = count(cut.window.failed());
        findings.at_most("backup cut off: requests failed through the Active", failed, 0.0);
    }
    if let Some(told) = cut.told {
        findings.figure(format!("{name}_alarm_ms"), millis(told));
    }
    findings.require(cut.told.is_some(), format!("{role} cut off: it says so, and then no more"));
}

/// Cuts a director off from the real servers, and takes it back.
fn cut_off(stage: &mut Stage<'_>, index: usize) -> Result<Cut> {
    let (director, other) = (DIRECTORS[index], DIRECTORS[1 - index]);
    say!("{} is cut off from the real servers", director.name);
    stage.client.wait_steady(STEADY, LONG)?;
    let apart = apart(&[&[director], &WEBS[..]].concat())?;
    let begin = Instant::now();
    let mut told = None;
    if stage.pair.side == Side::Fulcrum {
        wait_told("the alarm stands in the status", ALARM, || alarms(stage, director, true))?;
        told = Some(begin.elapsed());
    }
    std::thread::sleep(CUT.saturating_sub(begin.elapsed()));
    rejoin(&apart)?;
    let back = Instant::now();
    if stage.pair.side == Side::Fulcrum {
        wait_told("the alarm is over", ALARM, || alarms(stage, director, false))?;
    }
    std::thread::sleep(AFTER.saturating_sub(back.elapsed()));
    stage.wait_whole()?;
    let end = Instant::now();
    let tables = &stage.segment.tables;
    let cut = Cut {
        changes: changes(tables, director, begin),
        changes_of_other: changes(tables, other, begin),
        served: served(tables, director, begin),
        window: stage.client.settled(begin, end),
        told,
    };
    say!(
        "  {} weight changes, {} of the other's; {} of {} requests failed: {}",
        cut.changes,
        cut.changes_of_other,
        cut.window.failed(),
        cut.window.count(),
        cut.window.failures()
    );
    Ok(cut)
}

/// The agents are cut off from the controllers: they are silent, and the directors' own checks decide.
fn silence_agents(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    say!("the agents on the real servers are cut off from the controllers");
    stage.client.wait_steady(STEADY, LONG)?;
    let apart = apart(&[&WEBS[..], &CONTROLLERS[..]].concat())?;
    let begin = Instant::now();
    std::thread::sleep(SILENCE);
    let silent = wait_told("the agents are unknown to the directors", LONG, || {
        let observed = told::of(stage.cluster, DIRECTORS[0])?;
        Ok(observed.to_string().contains("agent unknown").then_some(()))
    });
    rejoin(&apart)?;
    silent?;
    stage.wait_whole()?;
    let window = stage.client.settled(begin, Instant::now());
    let tables = &stage.segment.tables;
    let changes: usize = DIRECTORS.iter().map(|director| changes(tables, *director, begin)).sum();
    findings.figure("agents_silent_weight_changes", count(changes));
    findings.figure("agents_silent_failed", count(window.failed()));
    findings.at_most("agents silent: weight changes", count(changes), 0.0);
    findings.at_most("agents silent: requests failed", count(window.failed()), 0.0);
    Ok(())
}

/// Sets these nodes apart: none of them reaches another, and each reaches all others.
fn apart(nodes: &[Node]) -> Result<Vec<Cable>> {
    let cables: Vec<Cable> =
        nodes.iter().map(|node| Cable::of(node.name)).collect::<Result<_>>()?;
    for cable in &cables {
        cable.set_apart()?;
    }
    Ok(cables)
}

fn rejoin(cables: &[Cable]) -> Result<()> {
    cables.iter().try_for_each(Cable::rejoin)
}

/// Answers when the alarm stands in what the director told, or when it does not, as wanted.
fn alarms(stage: &Stage<'_>, director: Node, wanted: bool) -> Result<Option<()>> {
    let observed = told::of(stage.cluster, director)?;
    let problems = observed["problems"].as_array().cloned().unwrap_or_default();
    let mut texts = problems.iter().filter_map(|problem| problem.as_str());
    let stands = texts.any(|problem| problem.contains(ALARM_WORDS));
    Ok((stands == wanted).then_some(()))
}

/// Weight changes of both real servers in a table.
fn changes(tables: &TableWatch, director: Node, since: Instant) -> usize {
    let of = |web| tables.weights_since(director.name, since, web).len() - 1;
    addresses().into_iter().map(of).sum()
}

/// Whether a table has served somebody all the time.
fn served(tables: &TableWatch, director: Node, since: Instant) -> bool {
    let is_empty = |table: &Table| !addresses().into_iter().any(|web| table.serves(web));
    tables.first_since(director.name, since, is_empty).is_none()
}

fn addresses() -> [SocketAddrV4; 2] {
    WEBS.map(|web| SocketAddrV4::new(web.address, PORT))
}
