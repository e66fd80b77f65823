//! The part of the lab that runs on the prepared ground: one scenario after the other, a result line for each.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::catalog::Scenario;
use crate::contest::{Contest, Effort};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::process::tail_of;
use crate::say;

/// File of result lines in the output directory, in the order of the scenarios.
pub(crate) const RESULTS: &str = "results.jsonl";
/// File that tells that all scenarios have been run.
pub(crate) const FINISHED: &str = "finished";
/// Lines of each program's log that are shown when a scenario has not passed.
const LOG_LINES: usize = 12;

/// Runs the scenarios and writes each one's result line as soon as there is one.
pub(crate) fn run(
    scenarios: &[&'static Scenario],
    out: &Path,
    bin_dir: &Path,
    effort: Effort,
) -> Result<()> {
    let logs = out.join("logs");
    fs::create_dir_all(&logs)?;
    let scratch = tempfile::Builder::new().prefix("fulcrum-lab-").tempdir()?;
    let mut lab = Lab::new(scratch.path(), &logs, bin_dir, Contest::new(effort));
    for scenario in scenarios {
        say!("=== {}: {}", scenario.name, scenario.summary);
        let (began, before) = (Instant::now(), lengths(&logs));
        let mut findings = Findings::default();
        let result = (scenario.run)(&mut lab, &mut findings);
        if let Err(error) = &result {
            findings.gave_up(error);
        }
        let passed = findings.holds();
        if !passed {
            show_logs(&logs, &before);
        }
        if result.is_err() {
            // What a half-run scenario left behind must not spoil the next one.
            lab.take_down();
        }
        let verdict = if passed { "passed" } else { "NOT PASSED" };
        say!("=== {}: {verdict} after {:.1} s", scenario.name, began.elapsed().as_secs_f64());
        let mut file = OpenOptions::new().create(true).append(true).open(out.join(RESULTS))?;
        writeln!(file, "{}", findings.line(scenario.name))?;
        file.sync_all()?;
    }
    drop(lab);
    File::create(out.join(FINISHED)).context("cannot tell the end")?;
    Ok(())
}

/// How long each log is, in bytes.
fn lengths(logs: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// The end of every log that has become longer. Times of files are the host's, which is not the machine's.
fn show_logs(logs: &Path, before: &BTreeMap<PathBuf, u64>) {
    for (path, length) in lengths(logs) {
        if before.get(&path).is_some_and(|before| *before >= length) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        say!("--- end of {name}");
        eprintln!("{}", tail_of(&text, LOG_LINES));
    }
}
