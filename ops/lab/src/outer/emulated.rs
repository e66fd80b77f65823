//! A whole machine of which every instruction is emulated: Debian's kernel in QEMU, on the host's own file system by 9P.
//!
//! In user-mode-linux a system call or a page fault takes as long as hundreds of instructions more than on a processor. Here all
//! take longer, and about as much: what two programs take beside one another is as on a processor that is slow. It needs neither
//! root nor the host's kernel.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use super::uml::{self, Machine};
use crate::peers::collector;
use crate::process::run;
use crate::say;

/// Memory of a machine in MiB: half of it may be files that 9P keeps.
const MEMORY_MIB: u64 = 3072;
/// The package that depends on the kernel's own.
const META_PACKAGE: &str = "linux-image-amd64";
/// What leads to the host's file system.
const MODULES: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];

/// The first program of all: finds the host's file system and goes on there.
const INIT: &str = "#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
for module in MODULES; do $bb modprobe $module; done
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose host /root || $bb poweroff -f
exec $bb switch_root /root \"$($bb sed 's/.*script=//;s/ .*//' /proc/cmdline)\"
";

/// A kernel that was unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    dir: PathBuf,
    release: String,
}

impl Kernel {
    /// Its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.release)
    }
}

/// Gets Debian's kernel into the user's cache, unless it is there.
pub(super) fn install() -> Result<Kernel> {
    if env::consts::ARCH != "x86_64" {
        bail!(
            "an emulated machine is made for x86-64 hosts alone; run with --kernel uml or --kernel plain"
        );
    }
    let cache = collector::cache_dir()?;
    let package = kernel_package()?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let kernel = Kernel { dir: cache.join(&package), release };
    if kernel.dir.is_dir() {
        return Ok(kernel);
    }
    fs::create_dir_all(&cache)?;
    say!("unpacking Debian's {package} into {}", cache.display());
    let scratch = tempfile::tempdir_in(&cache)?;
    // It downloads to where it runs.
    let download = "cd \"$1\" && apt-get download -qq \"$2\"";
    run("sh", &["-c", download, "sh", &scratch.path().to_string_lossy(), &package]).with_context(
        || format!("an emulated machine needs the package {package}: let apt-get download it"),
    )?;
    let deb = fs::read_dir(scratch.path())?.flatten().map(|entry| entry.path()).next();
    let deb = deb.with_context(|| format!("apt-get download {package} brought no file"))?;
    let unpacked = scratch.path().join("unpacked");
    let unpacked_text = unpacked.to_string_lossy();
    run("dpkg-deb", &["-x", &deb.to_string_lossy(), &unpacked_text])?;
    run("depmod", &["-b", &unpacked_text, &kernel.release])?;
    fs::rename(&unpacked, &kernel.dir)?;
    Ok(kernel)
}

/// The newest kernel's package.
fn kernel_package() -> Result<String> {
    let text = run("apt-cache", &["depends", META_PACKAGE])?;
    let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = depends.filter(|package| package.starts_with("linux-image-"));
    package.map(str::to_owned).with_context(|| {
        format!("apt knows no {META_PACKAGE}: run apt-get update, or choose --kernel uml or plain")
    })
}

/// Boots a machine with `script` as its first program on the host's file system and waits for its end.
pub(super) fn boot(
    kernel: &Kernel,
    script: &Path,
    out: &Path,
    label: &str,
    timeout: Duration,
) -> Result<()> {
    say!(
        "booting an emulated machine (at most {} s); its times are of a slow processor",
        timeout.as_secs()
    );
    let initramfs = initramfs(kernel, out)?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
        .args(["-m", &MEMORY_MIB.to_string(), "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel.dir.join("boot").join(format!("vmlinuz-{}", kernel.release)))
        .arg("-initrd")
        .arg(initramfs)
        .args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap"])
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 script={}", script.display()));
    uml::wait_off(Machine::run(command, label)?, "emulated", out, timeout)
}

/// The first file system: busybox, and the modules that lead to the host's.
fn initramfs(kernel: &Kernel, out: &Path) -> Result<PathBuf> {
    let root = out.join("initramfs");
    for part in ["bin", "proc", "root"] {
        fs::create_dir_all(root.join(part))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("/bin/busybox (package busybox-static)")?;
    let modules = Path::new("lib/modules").join(&kernel.release);
    let dir = kernel.dir.to_string_lossy();
    let mut wanted = vec!["-d", &dir, "-S", &kernel.release, "--show-depends", "-a"];
    wanted.extend(MODULES);
    for line in run("modprobe", &wanted)?.lines() {
        let Some(file) = line.trim().strip_prefix("insmod ").map(|file| Path::new(file.trim()))
        else {
            continue;
        };
        let below = file.strip_prefix(&kernel.dir)?;
        let copy = root.join(below);
        fs::create_dir_all(copy.parent().context("a module is in a directory")?)?;
        fs::copy(file, copy)?;
    }
    for list in ["modules.order", "modules.builtin"] {
        fs::copy(kernel.dir.join(&modules).join(list), root.join(&modules).join(list))?;
    }
    let root_text = root.to_string_lossy();
    run("depmod", &["-b", &root_text, &kernel.release])?;
    let init = root.join("init");
    fs::write(&init, INIT.replace("MODULES", &MODULES.join(" ")))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = out.join("initramfs.cpio");
    let pack = "cd \"$1\" && find . | cpio --quiet -o -H newc > \"$2\"";
    run("sh", &["-c", pack, "sh", &root_text, &archive.to_string_lossy()])?;
    Ok(archive)
}
