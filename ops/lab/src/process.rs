//! Programs that the lab runs: each in a node's network namespace, in its own process group, with a log file of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// How often a state is looked at while waiting for it. Short against every bound that scenarios measure.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// How often a program is asked while waiting for its word.
const ASK: Duration = Duration::from_millis(250);

/// Starts of one program in one run: far more than all scenarios together make.
const MOST_STARTS: u32 = 10_000;

/// A program that the lab started. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    /// `node.program`, for people.
    pub(crate) name: String,
    child: Child,
    log: PathBuf,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The node, whose namespace it runs in; the lab's own namespace when none.
    pub(crate) node: Option<&'static str>,
    /// For the log's name and for people.
    pub(crate) label: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Environment beside the lab's own.
    pub(crate) env: Vec<(String, String)>,
}

impl Process {
    /// Starts it; its output goes to a new file `NODE.LABEL.N.log` in `logs`.
    pub(crate) fn start(logs: &Path, launch: Launch) -> Result<Self> {
        let name = format!("{}.{}", launch.node.unwrap_or("host"), launch.label);
        let log = (1..MOST_STARTS)
            .map(|n| logs.join(format!("{name}.{n}.log")))
            .find(|path| !path.exists())
            .context("no name for the log is free")?;
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = match launch.node {
            // `ip netns exec` becomes the program by exec, so the child's id is the program's.
            Some(node) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", node]).arg(&launch.program);
                command
            }
            None => Command::new(&launch.program),
        };
        heed_signals(&mut command);
        let child = command
            .args(&launch.args)
            .envs(launch.env)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", launch.program.display()))?;
        let process = Self { name, child, log };
        track(process.group());
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to it and to the processes that it forked.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        match killpg(self.group(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(anyhow!("cannot send {signal} to {}: {errno}", self.name)),
        }
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal to its first process alone.
    pub(crate) fn signal_first(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        match nix::sys::signal::kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(anyhow!("cannot send {signal} to {}: {errno}", self.name)),
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > timeout {
                bail!("{} did not end within {timeout:?}", self.name);
            }
            std::thread::sleep(POLL);
        }
    }

    /// SIGKILL to the whole group, and the wait for its end.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(|_| ())
    }

    /// Waits until its output holds a line with `word`; fails at once when it ends before.
    pub(crate) fn wait_for_line(&mut self, word: &str, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.log_text().contains(word) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it said {word:?}:\n{}", self.name, self.tail(20));
            }
            if start.elapsed() > timeout {
                bail!("{} did not say {word:?} within {timeout:?}:\n{}", self.name, self.tail(20));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The last lines of its output.
    pub(crate) fn tail(&self, lines: usize) -> String {
        tail_of(&self.log_text(), lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // Nobody can be told of a failure here, and the machine or namespace ends with the lab anyway.
            let _ = self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
        untrack(self.group());
    }
}

/// The process groups that run now, for [`kill_tracked`].
static GROUPS: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// Lets the program be told to end: the lab blocks those signals to end what it has started first, and the standard library lets a program
/// inherit that.
#[expect(unsafe_code, reason = "no safe way sets the signal mask of a program to start")]
fn heed_signals(command: &mut Command) {
    // SAFETY: what runs between fork and exec is pthread_sigmask(3) alone, which is async-signal-safe and takes no memory.
    unsafe {
        command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?));
    }
}

/// Remembers a process group that was started.
pub(crate) fn track(group: Pid) {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
}

/// Forgets a process group that has ended.
pub(crate) fn untrack(group: Pid) {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
}

/// Kills every process group that runs.
pub(crate) fn kill_tracked() {
    for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // A group that has just ended cannot be killed, and need not be.
        let _ = killpg(*group, Signal::SIGKILL);
    }
}

/// The last lines of a text.
pub(crate) fn tail_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a short program to its end and answers with its standard output; a failure tells its standard error.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} failed ({}): {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until `holds` answers with something.
///
/// # Errors
/// When the time is over, with `what` was waited for.
pub(crate) fn wait_until<T>(
    what: &str,
    timeout: Duration,
    holds: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait(what, timeout, POLL, holds)
}

/// The same where each look asks a program: that takes a machine's processor long, and its own clock hardly counts it.
///
/// # Errors
/// As [`wait_until`].
pub(crate) fn wait_told<T>(
    what: &str,
    timeout: Duration,
    holds: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait(what, timeout, ASK, holds)
}

/// The same with a pause of its own between looks.
///
/// # Errors
/// As [`wait_until`].
pub(crate) fn wait<T>(
    what: &str,
    timeout: Duration,
    pause: Duration,
    mut holds: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = holds()? {
            return Ok(found);
        }
        if start.elapsed() > timeout {
            bail!("waited {timeout:?} in vain: {what}");
        }
        std::thread::sleep(pause);
    }
}
