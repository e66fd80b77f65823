//! A whole Linux kernel as a user program: Debian's `user-mode-linux`, on the host's own file system.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::inner;
use crate::process::{track, untrack, wait_until};
use crate::say;

/// Room for two Java machines, seven programs of ours and their files in memory.
const MEMORY: &str = "1536M";
/// Lines of the console that are told when a boot breaks.
const TAIL: usize = 40;
/// What the boot itself says that tells nobody anything.
const NOISE: [&str; 4] =
    ["SELinux:", "mmapper_init", "Failed to initialize ubd", "reboot: System halted"];

/// What user-mode-linux needs on processors with a larger register state than it knows; it says why.
const XSTATE: &str = include_str!("../../uml/xstate.c");

/// Boots it with `script` as its first program and waits for its end.
///
/// # Errors
/// When it panics, hangs or ends before the scenarios have ended, with the console's tail.
pub(crate) fn boot(script: &Path, out: &Path, timeout: Duration) -> Result<()> {
    say!("booting user-mode-linux (at most {} s)", timeout.as_secs());
    // Its memory is a file; a file system in memory makes it fast.
    let memory_dir = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { out };
    let xstate = compile_xstate(out)?;
    let mut child = Command::new("setpriv")
        // When the lab is killed, its machine goes too.
        .args(["--pdeathsig", "KILL", "linux.uml"])
        .arg(format!("mem={MEMORY}"))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "panic=-1"])
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("uml_dir={}", out.display()))
        .arg(format!("init={}", script.display()))
        .env_clear()
        .env("HOME", out)
        .env("LD_PRELOAD", xstate)
        .env("TMPDIR", memory_dir)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start linux.uml (packages user-mode-linux and util-linux)")?;
    let group = Pid::from_raw(child.id().cast_signed());
    track(group);
    let console = child.stdout.take().context("the machine has no console")?;
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let kept = Arc::clone(&tail);
    let reader = std::thread::spawn(move || {
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
    });
    let ended = wait_until("the machine powers off", timeout, || Ok(child.try_wait()?));
    // Also after a regular end: the machine's processes are processes of the host, in this group.
    let _ = killpg(group, Signal::SIGKILL);
    untrack(group);
    let _ = child.wait();
    let _ = reader.join();
    if ended.is_ok() && out.join(inner::FINISHED).exists() {
        return Ok(());
    }
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<&str> = tail.iter().map(String::as_str).collect();
    let how = match ended {
        Ok(status) => format!("ended early ({status})"),
        Err(error) => format!("hung: {error}"),
    };
    bail!("the user-mode-linux machine {how}; its console's last lines:\n{}", lines.join("\n"))
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
