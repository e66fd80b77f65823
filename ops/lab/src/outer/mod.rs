//! The part of the lab that runs on the user's machine: chooses the ground, starts the inner part there, prints results.

mod host;
mod interrupt;
mod script;
mod twin;
mod uml;

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::catalog::{Ground, Scenario};
use crate::contest;
use crate::findings::Findings;
use crate::inner;
use crate::peers::collector;
use crate::say;

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The scenarios, in order.
    pub(crate) scenarios: Vec<&'static Scenario>,
    /// Print the machine-readable lines.
    pub(crate) json: bool,
    /// Where Fulcrum's programs are.
    pub(crate) bin_dir: PathBuf,
    /// Where the kernel scenarios run; chosen by the running kernel when none.
    pub(crate) kernel: Option<Kernel>,
    /// Power losses each side in measured comparisons.
    pub(crate) trials: u8,
    /// Keep the logs even when all passed.
    pub(crate) keep: bool,
}

/// Where scenarios that need IPVS run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// A user-mode-linux kernel.
    Uml,
    /// The running kernel, in network namespaces.
    Plain,
}

/// Time for the boot and for bringing the cluster up, once a boot.
const BRING_UP: Duration = Duration::from_mins(5);
/// How often new results are looked for.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Runs them all; answers whether all passed.
pub(crate) fn run(request: &Request) -> Result<bool> {
    let dir = tempfile::Builder::new().prefix("fulcrum-lab-").tempdir()?;
    interrupt::guard(dir.path().to_owned())?;
    let mut all_passed = true;
    let mut remaining = request.scenarios.clone();
    let mut round = 0;
    while let Some(first) = remaining.first() {
        let ground = first.ground;
        let take = remaining.iter().take_while(|scenario| scenario.ground == ground).count();
        let batch = remaining[..take].to_vec();
        round += 1;
        let out = dir.path().join(format!("run-{round}"));
        fs::create_dir_all(out.join("logs"))?;
        let passed = run_batch(request, ground, &batch, &out);
        let mut done = passed.len();
        all_passed &= passed.into_iter().all(|passed| passed);
        // Whatever was under way when the machine broke has not passed; the others get a new one.
        if done < batch.len() {
            let result =
                Line { passed: false, text: Findings::default().line(batch[done].name, false) };
            report(request.json, batch[done], &result);
            all_passed = false;
            done += 1;
        }
        remaining.drain(..done);
    }
    if request.keep || !all_passed {
        let kept = dir.keep();
        say!("logs are kept in {}", kept.display());
    }
    Ok(all_passed)
}

/// Runs scenarios of one ground and reports each as soon as its result is there; answers with which have passed.
fn run_batch(
    request: &Request,
    ground: Ground,
    batch: &[&'static Scenario],
    out: &Path,
) -> Vec<bool> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let mut passed = Vec::new();
            loop {
                // Looked at before the results, so that none is missed.
                let is_last = ended.load(Ordering::Acquire);
                for (scenario, line) in batch.iter().zip(results(out)).skip(passed.len()) {
                    passed.push(line.passed);
                    report(request.json, scenario, &line);
                }
                if is_last {
                    return passed;
                }
                std::thread::sleep(REPORT_EVERY);
            }
        });
        let outcome = match ground {
            Ground::Host => inner::run(batch, out, &request.bin_dir, request.trials),
            Ground::Kernel => on_kernel(request.kernel, request, batch, out),
            Ground::Twin => on_kernel(Some(Kernel::Uml), request, batch, out),
        };
        if let Err(error) = &outcome {
            say!("the run broke: {error:#}");
        }
        ended.store(true, Ordering::Release);
        reporter.join().unwrap_or_default()
    })
}

fn on_kernel(
    chosen: Option<Kernel>,
    request: &Request,
    batch: &[&'static Scenario],
    out: &Path,
) -> Result<()> {
    let kernel = match chosen {
        Some(kernel) => kernel,
        None if host::has_ipvs() => Kernel::Plain,
        None => Kernel::Uml,
    };
    host::require_programs(kernel)?;
    let needs_collector = batch.iter().any(|scenario| scenario.needs_collector);
    let collector = if needs_collector { Some(collector::install()?) } else { None };
    // Budgets are of the usual number of trials.
    let budget = batch.iter().map(|scenario| scenario.budget).sum::<Duration>();
    let timeout = BRING_UP + budget * u32::from(request.trials.div_ceil(contest::TRIALS));
    let script = script::write(kernel, batch, out, request, collector.as_deref())?;
    match kernel {
        Kernel::Uml if batch.iter().any(|scenario| scenario.ground == Ground::Twin) => {
            let (first, second) = twin::wire()?;
            let ended = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| twin::serve(out, &second, &ended));
                let booted = uml::boot(&script, out, Some(first.as_fd()), timeout);
                ended.store(true, Ordering::Release);
                let served = serving.join().unwrap_or(Ok(()));
                booted.and(served)
            })
        }
        Kernel::Uml => uml::boot(&script, out, None, timeout),
        Kernel::Plain => host::run_in_namespaces(&script, timeout),
    }
}

/// A scenario's result as the inner part wrote it.
struct Line {
    passed: bool,
    text: String,
}

/// The results so far, in the order of the scenarios.
fn results(out: &Path) -> Vec<Line> {
    let text = fs::read_to_string(out.join(inner::RESULTS)).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(Line { passed: value["passed"].as_bool()?, text: line.to_owned() })
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "the result lines are this program's output")]
fn report(json: bool, scenario: &Scenario, result: &Line) {
    if json {
        println!("{}", result.text);
    } else {
        let figures = serde_json::from_str::<serde_json::Value>(&result.text)
            .map(|value| value["figures"].to_string())
            .unwrap_or_default();
        let verdict = if result.passed { "passed" } else { "NOT PASSED" };
        println!("{:<22} {verdict:<10} {figures}", scenario.name);
    }
}

/// Where Fulcrum's programs are: `FULCRUM_BIN_DIR`, or the release directory of the cargo target that holds this program.
pub(crate) fn bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("FULCRUM_BIN_DIR") {
        return Ok(PathBuf::from(dir).canonicalize()?);
    }
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let target = own.parent().and_then(Path::parent).context("this program is in no directory")?;
    let release = target.join("release");
    if !release.is_dir() {
        bail!("{} does not exist: build with cargo build --release", release.display());
    }
    Ok(release)
}
