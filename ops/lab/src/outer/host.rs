//! What the user's machine has, and the ground of plain namespaces on it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Kernel;
use crate::peers::{frr, tomcat};
use crate::process::{track, untrack, wait_until};

/// Programs of the lab and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("ipvsadm", "ipvsadm"),
    ("keepalived", "keepalived"),
    ("java", "default-jre-headless"),
    ("modprobe", "kmod"),
    ("setpriv", "util-linux"),
];

/// Whether the running kernel has IPVS and we may use it.
pub(crate) fn has_ipvs() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return false;
    }
    // Where ip_vs is a module that is not loaded yet, this loads it; where it is missing, nothing happens.
    let _ = Command::new("modprobe").arg("ip_vs").stderr(Stdio::null()).status();
    Path::new("/proc/net/ip_vs").exists()
}

/// Fails with what to install when something is missing.
pub(crate) fn require_programs(kernel: Kernel) -> Result<()> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_in_path(program))
        .map(|(_, package)| *package)
        .collect();
    if kernel == Kernel::Uml && !is_in_path("linux.uml") {
        packages.push("user-mode-linux");
    }
    if kernel == Kernel::Emulated {
        let programs = [
            ("qemu-system-x86_64", "qemu-system-x86"),
            ("busybox", "busybox-static"),
            ("cpio", "cpio"),
        ];
        packages.extend(
            programs
                .iter()
                .filter(|(program, _)| !is_in_path(program))
                .map(|(_, package)| *package),
        );
    }
    if !Path::new(tomcat::HOME).is_dir() {
        packages.push("tomcat10");
    }
    if !Path::new(frr::HOME).is_dir() {
        packages.push("frr");
    }
    if !packages.is_empty() {
        bail!(
            "the lab needs programs that are not here; install them: apt-get install {}",
            packages.join(" ")
        );
    }
    if kernel == Kernel::Plain && !nix::unistd::geteuid().is_root() {
        bail!("network namespaces need root; as another user, run with --kernel uml");
    }
    Ok(())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}

/// Runs the inner part in mount and process namespaces of its own, which end with it.
pub(crate) fn run_in_namespaces(script: &Path, timeout: Duration) -> Result<()> {
    let mut child = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(script)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot run unshare (package util-linux)")?;
    let group = Pid::from_raw(child.id().cast_signed());
    track(group);
    let ended = wait_until("the scenarios end", timeout, || Ok(child.try_wait()?));
    untrack(group);
    if ended.is_err() {
        killpg(group, Signal::SIGKILL)?;
        child.wait()?;
    }
    ended.map(|_| ())
}
