//! A large IPVS table, 10,000 virtual servers of 10 real servers each: how fast it is programmed, edited and taken over by
//! Fulcrum's agent, beside `ipvsadm -R`, keepalived, and a loop that does nothing but send to the kernel.
//!
//! Each side has a table of its own that was never used: the kernel looks through real servers that were deleted in the last
//! minutes at each addition.

mod agent;
mod keepalived;
mod plain;
pub(crate) mod table;

use anyhow::{Context as _, Result};

use crate::contest::count;
use crate::findings::{Findings, median};
use crate::lab::Lab;
use crate::say;

/// Virtual servers, and real servers of each: 110,000 entries.
const VIRTUAL_SERVERS: u32 = 10_000;
const REAL_SERVERS: u16 = 10;
/// Virtual servers of keepalived, which takes seconds for as many.
const FEW_VIRTUAL_SERVERS: u32 = 1_000;
/// Trials at most: each programs a whole table twice, by the raw loop and by the agent, one after the other, since a machine is
/// not as fast at one time as at another.
const MOST_TRIALS: u8 = 9;
/// Fulcrum's agent may take this much longer than the loop that only sends.
const MOST_RATIO: f64 = 1.3;
/// Memory that the agent may take: so much, and so much for each entry.
const BASE_MIB: f64 = 30.0;
const BYTES_PER_ENTRY: f64 = 200.0;

/// All sides.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let bare = table::Bare::new()?;
    findings.figure("raw_loop_of_64_ms", plain::raw_loop(&lab.bin_dir, &bare, 64, &[])?);
    drop(bare);
    findings.figure("ipvsadm_ms", plain::ipvsadm(&lab.dir)?);
    let keepalived = keepalived::measure(&lab.dir, &lab.logs)?;
    findings.figure("keepalived_1000_ms", keepalived.programmed_ms);
    findings.figure("keepalived_1000_reload_ms", keepalived.reloaded_ms);

    let trials = lab.contest.effort.trials.min(MOST_TRIALS);
    let agent = agent::measure(lab, findings, trials)?;
    told(findings, "raw_loop_ms", &agent.raw_loop_ms)?;
    told(findings, "fulcrum_ms", &agent.programmed_ms)?;
    let pairs = agent.programmed_ms.iter().zip(&agent.raw_loop_ms);
    let ratios: Vec<f64> = pairs.map(|(fulcrum, raw)| fulcrum / raw).collect();
    let ratio = told(findings, "fulcrum_to_raw_loop", &ratios)?;
    findings.at_most("Fulcrum's time to the raw loop's", ratio, MOST_RATIO);
    findings.at_most("edits of a restarted agent", agent.edits_of_restart, 0.0);
    let entries = f64::from(VIRTUAL_SERVERS) * f64::from(REAL_SERVERS + 1);
    let most_mib = BASE_MIB + BYTES_PER_ENTRY * entries / f64::from(1 << 20);
    findings.figure("entries", entries);
    findings.at_most("the agent's memory in MiB", agent.resident_mib, most_mib);
    Ok(())
}

/// Tells the median of some trials.
fn told(findings: &mut Findings, name: &str, values: &[f64]) -> Result<f64> {
    say!("  {name} of {} trials: {values:?}", count(values.len()));
    let middle = median(values).with_context(|| format!("{name} was not measured"))?;
    findings.figure(name, middle);
    Ok(middle)
}
