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
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::inner;
use crate::process::{track, untrack, wait_until};
use crate::say;

/// Room for two Java machines, seven programs of ours and their files in memory.
const MEMORY: &str = "1536M";
/// Hardware address of the first machine's end of a wire.
const FIRST_MAC: &str = "02:00:00:00:00:01";
/// Lines of the console that are told when a boot breaks.
const TAIL: usize = 40;
/// What the boot itself says that tells nobody anything.
const NOISE: [&str; 4] =
    ["SELinux:", "mmapper_init", "Failed to initialize ubd", "reboot: System halted"];

/// What user-mode-linux needs on processors with a larger register state than it knows; it says why.
const XSTATE: &str = include_str!("../../uml/xstate.c");

/// How a machine is booted.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    /// Its first program.
    pub(crate) script: &'a Path,
    /// A directory of its own for what the kernel keeps.
    pub(crate) dir: &'a Path,
    /// Memory as the kernel's command line has it.
    pub(crate) memory: &'a str,
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
    wire: Option<BorrowedFd<'_>>,
    timeout: Duration,
) -> Result<()> {
    say!("booting user-mode-linux (at most {} s)", timeout.as_secs());
    let wire = wire.map(|end| (end, FIRST_MAC));
    let mut machine = Machine::start(&Boot { script, dir: out, memory: MEMORY, wire })?;
    let ended = wait_until("the machine powers off", timeout, || Ok(machine.child.try_wait()?));
    let tail = machine.end();
    if ended.is_ok() && out.join(inner::FINISHED).exists() {
        return Ok(());
    }
    let how = match ended {
        Ok(status) => format!("ended early ({status})"),
        Err(error) => format!("hung: {error}"),
    };
    bail!("the user-mode-linux machine {how}; its console's last lines:\n{tail}")
}

impl Machine {
    /// Starts it, and does not wait.
    pub(crate) fn start(boot: &Boot<'_>) -> Result<Self> {
        let out = boot.dir;
        // Its memory is a file; a file system in memory makes it fast.
        let memory_dir = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { out };
        let xstate = compile_xstate(out)?;
        // When the lab is killed, its machine goes too.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "linux.uml"])
            .arg(format!("mem={}", boot.memory))
            .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "panic=-1"])
            .args(["con=null", "con0=null,fd:1"])
            .arg(format!("uml_dir={}", out.display()))
            .arg(format!("init={}", boot.script.display()))
            .env_clear()
            .env("HOME", out)
            .env("LD_PRELOAD", xstate)
            .env("TMPDIR", memory_dir)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
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
        let mut child = command
            .spawn()
            .context("cannot start linux.uml (packages user-mode-linux and util-linux)")?;
        drop(inherited);
        let group = Pid::from_raw(child.id().cast_signed());
        track(group);
        let console = child.stdout.take().context("the machine has no console")?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        let console = Some(std::thread::spawn(move || listen(console, &kept)));
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
fn listen(console: ChildStdout, kept: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(console).lines().map_while(Result::ok) {
        let line = line.trim_end().to_owned();
        if NOISE.iter().any(|noise| line.contains(noise)) {
            continue;
        }
        eprintln!("{line}");
        let mut tail = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// Compiles the library that is preloaded; its path.
fn compile_xstate(out: &Path) -> Result<PathBuf> {
    let (source, library) = (out.join("xstate.c"), out.join("xstate.so"));
    std::fs::write(&source, XSTATE)?;
    let output = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .context("cannot run cc, which Rust links with (package gcc)")?;
    if !output.status.success() {
        bail!("cc failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(library)
}
