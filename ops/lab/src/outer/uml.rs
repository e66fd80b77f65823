//! A whole Linux kernel as a user program: Debian's `user-mode-linux`, on the host's own file system.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::inner;
use crate::process::{track, untrack, wait_until};
use crate::say;

/// Room for two Java machines, seven programs of ours and their files in memory.
pub(super) const MEMORY_MIB: u64 = 1536;
/// Hardware address of the first machine's end of a wire.
const FIRST_MAC: &str = "02:00:00:00:00:01";
/// Lines of the console that are told when a boot breaks.
const TAIL: usize = 40;
/// What the boot itself says that tells nobody anything.
const NOISE: [&str; 5] = [
    "SELinux:",
    "mmapper_init",
    "Failed to initialize ubd",
    "reboot: System halted",
    "reboot: Power down",
];

/// What user-mode-linux is given by a preloaded library; each says why.
const SOURCES: [(&str, &str); 2] = [
    ("xstate.c", include_str!("../../uml/xstate.c")),
    ("clock.c", include_str!("../../uml/clock.c")),
];

/// The machine appears this many times as fast as user-mode-linux is here (`clock.c`). A system call of
/// user-mode-linux takes 10 us on a fast host and 100 us on a busy one, a processor's own less than 1 us.
const SLOWDOWN: u32 = 16;

/// What a machine's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// Its own: it passes slower than the host's while the machine works, and is not waited for while it is idle.
    Own,
    /// The host's: what the machine does takes as long as it takes here.
    Host,
}

/// How a machine is booted.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    /// Its first program.
    pub(crate) script: &'a Path,
    /// A directory of its own for what the kernel keeps.
    pub(crate) dir: &'a Path,
    /// Its memory.
    pub(crate) memory_mib: u64,
    pub(crate) clock: Clock,
    /// What goes before each line of its console.
    pub(crate) label: &'a str,
    /// One end of a wire: its interface `vec0`, with this hardware address.
    pub(crate) wire: Option<(BorrowedFd<'a>, &'a str)>,
}

/// A machine that runs.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    group: Pid,
    tail: Arc<Mutex<VecDeque<String>>>,
    console: Option<JoinHandle<()>>,
}

/// Boots a machine with `script` as its first program and waits for its end.
///
/// # Errors
/// When it panics, hangs or ends before the scenarios have ended, with the console's tail.
pub(crate) fn boot(
    script: &Path,
    out: &Path,
    clock: Clock,
    wire: Option<BorrowedFd<'_>>,
    label: &str,
    timeout: Duration,
) -> Result<()> {
    let times = match clock {
        Clock::Own => "times are by its own clock, a machine's that is faster than this one",
        Clock::Host => "times are by this host's clock",
    };
    say!("booting user-mode-linux (at most {} s of this host); {times}", timeout.as_secs());
    let wire = wire.map(|end| (end, FIRST_MAC));
    let boot = Boot { script, dir: out, memory_mib: MEMORY_MIB, clock, wire, label };
    wait_off(Machine::start(&boot)?, "user-mode-linux", out, timeout)
}

/// Waits until a machine of that kind powers off.
///
/// # Errors
/// When it panics, hangs or ends before the scenarios have ended, with the console's tail.
pub(super) fn wait_off(
    mut machine: Machine,
    kind: &str,
    out: &Path,
    timeout: Duration,
) -> Result<()> {
    let ended = wait_until("the machine powers off", timeout, || Ok(machine.child.try_wait()?));
    let tail = machine.end();
    if ended.is_ok() && out.join(inner::FINISHED).exists() {
        return Ok(());
    }
    let how = match ended {
        Ok(status) => format!("ended early ({status})"),
        Err(error) => format!("hung: {error}"),
    };
    bail!("the {kind} machine {how}; its console's last lines:\n{tail}")
}

impl Machine {
    /// Starts it, and does not wait.
    pub(crate) fn start(boot: &Boot<'_>) -> Result<Self> {
        let out = boot.dir;
        // Its memory is a file; a file system in memory makes it fast.
        let memory_dir = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { out };
        let library = compile_library(out)?;
        // When the lab is killed, its machine goes too.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "linux.uml"])
            .arg(format!("mem={}M", boot.memory_mib))
            .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "panic=-1"])
            .args(["con=null", "con0=null,fd:1"])
            .arg(format!("uml_dir={}", out.display()))
            .arg(format!("init={}", boot.script.display()))
            .env_clear()
            .env("HOME", out)
            .env("LD_PRELOAD", library)
            .env("TMPDIR", memory_dir)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if boot.clock == Clock::Own {
            command.env("FULCRUM_LAB_SLOWDOWN", SLOWDOWN.to_string());
        }
        let inherited = match boot.wire {
            None => None,
            Some((end, mac)) => {
                // A copy that the machine inherits; ours is closed as soon as it runs.
                let end = end.try_clone_to_owned()?;
                fcntl(&end, FcntlArg::F_SETFD(FdFlag::empty()))?;
                let number = end.as_raw_fd();
                command.arg(format!("vec0:transport=fd,fd={number},mac={mac},vec=0"));
                Some(end)
            }
        };
        let machine = Self::run(command, boot.label);
        drop(inherited);
        machine
    }

    /// Starts a machine's program, whose output is the console; `label` goes before each line of it.
    pub(super) fn run(mut command: Command, label: &str) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().context("cannot start setpriv (package util-linux)")?;
        let group = Pid::from_raw(child.id().cast_signed());
        track(group);
        let console = child.stdout.take().context("the machine has no console")?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        let label = label.to_owned();
        let console = Some(std::thread::spawn(move || listen(console, &label, &kept)));
        Ok(Self { child, group, tail, console })
    }

    /// Stops or continues the machine's kernel as a hypervisor does: nothing of it runs, and nothing in it is told.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // Its programs are processes that the kernel traces: they wait for it at their next call.
        Ok(kill(self.group, signal)?)
    }

    /// Ends it at once; answers with its console's last lines.
    pub(crate) fn end(mut self) -> String {
        // Also after a regular end: the machine's processes are processes of the host, in this group.
        let _ = killpg(self.group, Signal::SIGKILL);
        untrack(self.group);
        let _ = self.child.wait();
        if let Some(console) = self.console.take() {
            let _ = console.join();
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Vec::from(tail.clone()).join("\n")
    }
}

/// Passes the console on and keeps its end.
fn listen(console: ChildStdout, label: &str, kept: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(console).lines().map_while(Result::ok) {
        let line = line.trim_end().to_owned();
        if NOISE.iter().any(|noise| line.contains(noise)) {
            continue;
        }
        eprintln!("{label}{line}");
        let mut tail = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// Compiles the library that is preloaded; its path.
fn compile_library(out: &Path) -> Result<PathBuf> {
    let library = out.join("uml.so");
    let mut command = Command::new("cc");
    command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library);
    for (name, text) in SOURCES {
        let source = out.join(name);
        std::fs::write(&source, text)?;
        command.arg(source);
    }
    let output = command.output().context("cannot run cc, which Rust links with (package gcc)")?;
    if !output.status.success() {
        bail!("cc failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(library)
}
