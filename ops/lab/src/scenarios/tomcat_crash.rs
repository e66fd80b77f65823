//! kill -9 of one Tomcat under load, with the seed's settings: its agent sees it go.

use anyhow::Result;

use crate::client::RATE;
use crate::contest::{self, count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::WEBS;
use crate::pair::Side;
use crate::settings::SEED;

/// Longest time until out of both directors' tables.
const OUT_MS: f64 = 300.0;
/// Requests that may fail beside the share that went to the dead Tomcat: those under way when it died.
const SLACK: f64 = 3.0;

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let crash = contest::crash(lab, Side::Fulcrum, &SEED)?;
    let out_ms = millis(crash.out_of_tables);
    let share = 1.0 / count(WEBS.len());
    let bound = share * RATE * crash.out_of_tables.as_secs_f64() + SLACK;
    findings.figure("out_of_tables_ms", out_ms);
    findings.figure("back_in_ms", millis(crash.back_in));
    findings.figure("requests", count(crash.requests));
    findings.figure("failed", count(crash.failed));
    findings.figure("failed_bound", bound);
    findings.at_most("out_of_tables_ms", out_ms, OUT_MS);
    findings.at_most("failed", count(crash.failed), bound);
    // The directors' own check must pass again, and it tries once an interval.
    let back = SEED.check.interval + SEED.check.timeout;
    findings.at_most("back_in_ms", millis(crash.back_in), millis(back));
    Ok(())
}
