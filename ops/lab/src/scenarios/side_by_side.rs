//! keepalived and Fulcrum on the same nodes with the same settings in the same run: both columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::contest::{self, count, millis};
use crate::findings::{Findings, trim};
use crate::lab::Lab;
use crate::pair::Side;
use crate::settings::{FAST, SEED, Settings};

/// One figure of both sides.
struct Row {
    what: &'static str,
    settings: &'static str,
    figure: String,
    values: BTreeMap<Side, f64>,
}

/// Measures what was not measured yet in this boot, and prints both columns.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut rows = Vec::new();
    for (settings, adverts) in [(&SEED, "1s_adverts"), (&FAST, "100ms_adverts")] {
        rows.extend(failover_rows(lab, settings, adverts)?);
        rows.extend(crash_rows(lab, settings, adverts)?);
    }
    eprint!("{}", table(&rows));
    for row in &rows {
        for (side, value) in &row.values {
            findings.figure(format!("{}_{}", side.as_str(), row.figure), *value);
        }
        if row.values.len() != 2 {
            bail!("{} was not measured on both sides", row.figure);
        }
    }
    Ok(())
}

/// Power loss and planned stop. The seed's planned stop has the plain names of the scenario `handover`.
fn failover_rows(lab: &mut Lab, settings: &Settings, adverts: &str) -> Result<Vec<Row>> {
    let results = contest::failovers(lab, settings)?;
    let suffix = if *settings == SEED { String::new() } else { format!("_{adverts}") };
    let mut outage = Row::new("power loss: outage, ms", settings, &format!("outage_ms_{adverts}"));
    let mut requests = Row::new("planned stop: requests", settings, &format!("requests{suffix}"));
    let mut failed = Row::new("planned stop: failed", settings, &format!("failed{suffix}"));
    for (side, result) in &results {
        outage.values.insert(*side, result.outage()?);
        let (of, lost) = result.handover()?;
        requests.values.insert(*side, of);
        failed.values.insert(*side, lost);
    }
    Ok(vec![outage, requests, failed])
}

fn crash_rows(lab: &mut Lab, settings: &Settings, adverts: &str) -> Result<Vec<Row>> {
    let suffix = if *settings == SEED { String::new() } else { format!("_{adverts}") };
    let row = |what, figure: &str| Row::new(what, settings, &format!("{figure}{suffix}"));
    let mut out = row("Tomcat killed: out of both tables, ms", "out_of_tables_ms");
    let mut back = row("Tomcat back: in both tables, ms", "back_in_ms");
    let mut requests = row("Tomcat killed: requests", "crash_requests");
    let mut failed = row("Tomcat killed: failed", "crash_failed");
    for side in [Side::Fulcrum, Side::Keepalived] {
        let crash = contest::crash(lab, side, settings)?;
        out.values.insert(side, millis(crash.out_of_tables));
        back.values.insert(side, millis(crash.back_in));
        requests.values.insert(side, count(crash.requests));
        failed.values.insert(side, count(crash.failed));
    }
    Ok(vec![out, back, requests, failed])
}

impl Row {
    fn new(what: &'static str, settings: &Settings, figure: &str) -> Self {
        Self { what, settings: settings.name, figure: figure.to_owned(), values: BTreeMap::new() }
    }
}

/// Both columns, for people.
fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "\n{:<40} {:<16} {:>12} {:>12}\n{}\n",
        "",
        "settings",
        "Fulcrum",
        "keepalived",
        "-".repeat(83)
    );
    for row in rows {
        let cell = |side| row.values.get(&side).map_or("-".to_owned(), |value| trim(*value));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<40} {:<16} {:>12} {:>12}",
            row.what,
            row.settings,
            cell(Side::Fulcrum),
            cell(Side::Keepalived)
        );
    }
    text.push('\n');
    text
}
