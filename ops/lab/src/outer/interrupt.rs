//! Ctrl-C and SIGTERM: what the lab started ends with it. user-mode-linux has helpers that outlive their kernel, so that
//! its death alone is not enough.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::process;
use crate::say;

/// Exit code after an interruption, as shells have it.
const INTERRUPTED: i32 = 130;

/// From now on, an interruption kills all that runs, removes `dir` and ends the program. Called before any thread is
/// made, because threads inherit which signals are blocked; so do programs, and [`process::Process::start`] unblocks them there.
pub(crate) fn guard(dir: PathBuf) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    std::thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        say!("{signal}: ending what runs");
        process::kill_tracked();
        // What cannot be removed is left in the directory of temporary files.
        let _ = fs::remove_dir_all(&dir);
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
