//! The part of the lab that runs on the user's machine: chooses the ground, starts the inner part there, prints results.

mod emulated;
mod host;
mod interrupt;
mod machines;
mod script;
mod twin;
mod uml;

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::catalog::{Ground, Scenario};
use crate::contest::Effort;
use crate::findings::Findings;
use crate::inner;
use crate::peers::collector;
use crate::say;

pub(crate) use uml::Clock;

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
    /// What the time of a user-mode-linux machine is.
    pub(crate) clock: Clock,
    /// Machines at the same time; as many as the host has room for when none.
    pub(crate) machines: Option<u8>,
    /// How often things are measured.
    pub(crate) effort: Effort,
    /// Keep the logs even when all passed.
    pub(crate) keep: bool,
}

/// Where scenarios that need IPVS run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// A user-mode-linux kernel.
    Uml,
    /// Debian's kernel on a processor that QEMU emulates.
    Emulated,
    /// The running kernel, in network namespaces.
    Plain,
}

/// Time for the boot and for bringing the cluster up, once a boot.
const BRING_UP: Duration = Duration::from_mins(5);
/// A machine with a clock of its own may take this much longer by the host's, when the host is busy with other things.
const OWN_CLOCK: u32 = 2;
/// How often new results are looked for.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Runs them all; answers whether all passed.
pub(crate) fn run(request: &Request) -> Result<bool> {
    let dir = tempfile::Builder::new().prefix("fulcrum-lab-").tempdir()?;
    interrupt::guard(dir.path().to_owned())?;
    let machines = request.machines.map_or_else(|| machines::most(request), usize::from);
    let runs = Runs { request, dir: dir.path(), begun: AtomicUsize::new(0) };
    let mut failures = Vec::new();
    for of_ground in request.scenarios.chunk_by(|one, next| one.ground == next.ground) {
        let machines = if of_ground[0].ground == Ground::Kernel { machines } else { 1 };
        failures.extend(runs.at_once(&machines::share(of_ground, machines)));
    }
    if request.keep || !failures.is_empty() {
        let kept = dir.keep();
        say!("logs are kept in {}", kept.display());
    }
    tell_end(request.scenarios.len(), &failures);
    Ok(failures.is_empty())
}

/// What runs of one invocation share.
struct Runs<'a> {
    request: &'a Request,
    /// Each has a directory in it.
    dir: &'a Path,
    begun: AtomicUsize,
}

impl Runs<'_> {
    /// Runs parts of one ground at the same time; answers with the scenarios that did not pass, in the order of the parts.
    fn at_once(&self, parts: &[&[&'static Scenario]]) -> Vec<(&'static Scenario, Line)> {
        std::thread::scope(|scope| {
            let mut started = Vec::new();
            for (part, letter) in parts.iter().zip('A'..='Z') {
                // One alone needs none.
                let label = if parts.len() > 1 { format!("{letter} ") } else { String::new() };
                started.push(scope.spawn(move || self.all(part, &label)));
            }
            let ended = started.into_iter().map(ScopedJoinHandle::join);
            ended.flat_map(|failures| failures.expect("the thread's own panic was told")).collect()
        })
    }

    /// Runs scenarios of one ground, one after the other; answers with those that did not pass. `label` goes before each
    /// line of the machine's console.
    fn all(&self, scenarios: &[&'static Scenario], label: &str) -> Vec<(&'static Scenario, Line)> {
        let mut failures = Vec::new();
        let mut remaining = scenarios;
        while !remaining.is_empty() {
            let run = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
            let out = self.dir.join(format!("run-{run}"));
            let mut lines = run_batch(self.request, remaining, &out, label);
            // Whatever was under way when the machine broke has not passed; the others get a new one.
            if let Some(scenario) = remaining.get(lines.len()) {
                let mut findings = Findings::default();
                findings.gave_up(&anyhow!("the machine ended before the scenario did"));
                let line = Line::of(&findings, scenario.name);
                report(self.request.json, scenario, &line);
                lines.push(line);
            }
            let (done, left) = remaining.split_at(lines.len());
            failures.extend(done.iter().copied().zip(lines).filter(|(_, line)| !line.passed));
            remaining = left;
        }
        failures
    }
}

/// The last lines: how many passed, and why the others did not, so that nobody looks through the whole output for it.
fn tell_end(scenarios: usize, failures: &[(&'static Scenario, Line)]) {
    say!("{} of {scenarios} scenarios passed", scenarios - failures.len());
    for (scenario, line) in failures {
        say!("NOT PASSED: {}", scenario.name);
        for why in &line.broken {
            say!("  {why}");
        }
    }
}

/// Runs scenarios of one ground and reports each as soon as its result is there; answers with the results.
fn run_batch(request: &Request, batch: &[&'static Scenario], out: &Path, label: &str) -> Vec<Line> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let mut reported = Vec::new();
            loop {
                // Looked at before the results, so that none is missed.
                let is_last = ended.load(Ordering::Acquire);
                for (scenario, line) in batch.iter().zip(results(out)).skip(reported.len()) {
                    report(request.json, scenario, &line);
                    reported.push(line);
                }
                if is_last {
                    return reported;
                }
                std::thread::sleep(REPORT_EVERY);
            }
        });
        let made =
            fs::create_dir_all(out.join("logs")).context("cannot make a directory for the run");
        let outcome = made.and_then(|()| match batch[0].ground {
            Ground::Host => inner::run(batch, out, &request.bin_dir, request.effort),
            Ground::Kernel | Ground::Timed => {
                on_kernel(chosen(request.kernel), request, batch, out, label)
            }
            Ground::Twin => on_kernel(Kernel::Uml, request, batch, out, label),
        });
        if let Err(error) = &outcome {
            say!("the run broke: {error:#}");
        }
        ended.store(true, Ordering::Release);
        reporter.join().unwrap_or_default()
    })
}

/// The kernel that was asked for, or the running one where it will do.
fn chosen(kernel: Option<Kernel>) -> Kernel {
    kernel.unwrap_or_else(|| if host::has_ipvs() { Kernel::Plain } else { Kernel::Uml })
}

fn on_kernel(
    kernel: Kernel,
    request: &Request,
    batch: &[&'static Scenario],
    out: &Path,
    label: &str,
) -> Result<()> {
    host::require_programs(kernel)?;
    let needs_collector = batch.iter().any(|scenario| scenario.needs_collector);
    let collector = if needs_collector { Some(collector::install()?) } else { None };
    // Budgets are of the usual effort.
    let budget = batch.iter().map(|scenario| scenario.budget).sum::<Duration>();
    let budget = BRING_UP + budget * request.effort.of_usual();
    let is_of = |ground| batch.iter().any(|scenario| scenario.ground == ground);
    let is_twin = is_of(Ground::Twin);
    // What one of two machines sends arrives at the other by the host's clock.
    let clock = if is_twin || is_of(Ground::Timed) { Clock::Host } else { request.clock };
    let timeout = if clock == Clock::Own { OWN_CLOCK * budget } else { budget };
    let ground = match kernel {
        Kernel::Uml => script::Ground::Uml,
        Kernel::Emulated => script::Ground::Emulated(emulated::install()?),
        Kernel::Plain => script::Ground::Plain,
    };
    let script = script::write(&ground, batch, out, request, collector.as_deref())?;
    match &ground {
        script::Ground::Uml if is_twin => {
            let (first, second) = twin::wire()?;
            let ended = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| twin::serve(out, &second, &ended));
                let wire = Some(first.as_fd());
                let booted = uml::boot(&script, out, clock, wire, label, timeout);
                ended.store(true, Ordering::Release);
                let served = serving.join().unwrap_or(Ok(()));
                booted.and(served)
            })
        }
        script::Ground::Uml => uml::boot(&script, out, clock, None, label, timeout),
        script::Ground::Emulated(kernel) => emulated::boot(kernel, &script, out, label, timeout),
        script::Ground::Plain => host::run_in_namespaces(&script, timeout),
    }
}

/// A scenario's result as the inner part wrote it.
struct Line {
    passed: bool,
    broken: Vec<String>,
    text: String,
}

impl Line {
    fn of(findings: &Findings, scenario: &str) -> Self {
        Self::read(&findings.line(scenario)).expect("what findings write is readable")
    }

    fn read(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let broken = value["broken"].as_array().into_iter().flatten();
        Some(Self {
            passed: value["passed"].as_bool()?,
            broken: broken.filter_map(|why| Some(why.as_str()?.to_owned())).collect(),
            text: text.to_owned(),
        })
    }
}

/// The results so far, in the order of the scenarios.
fn results(out: &Path) -> Vec<Line> {
    let text = fs::read_to_string(out.join(inner::RESULTS)).unwrap_or_default();
    text.lines().filter_map(Line::read).collect()
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
