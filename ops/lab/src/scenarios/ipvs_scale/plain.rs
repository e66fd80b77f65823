//! The table by those who only write it: a loop that sends, and ipvsadm.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::table::{Bare, require_entries};
use super::{REAL_SERVERS, VIRTUAL_SERVERS};
use crate::cluster::text;
use crate::contest::millis;
use crate::net::namespace;

/// The example of the director's crate that sends and does no more.
const RAW_LOOP: &str = "examples/ipvs_raw_loop";
/// Where the addresses of virtual servers and of real servers begin.
const FIRST_VIP: u32 = u32::from_be_bytes([10, 9, 0, 0]);
const FIRST_RIP: u32 = u32::from_be_bytes([10, 8, 0, 1]);

/// The address of a virtual server.
pub(super) fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_VIP + number)
}

/// The address of a real server.
pub(super) fn rip(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_RIP + u32::from(number))
}

/// Milliseconds of a loop that sends so many requests at once, asks for no answer and reads nothing back, in the bare namespace that
/// was made for it; `more` says what its table is like.
pub(super) fn raw_loop(bin_dir: &Path, _place: &Bare, batch: u16, more: &[String]) -> Result<f64> {
    let program = bin_dir.join(RAW_LOOP);
    if !program.exists() {
        bail!(
            "{} is missing: build it with cargo build --release --workspace --example ipvs_raw_loop",
            program.display()
        );
    }
    let mut command = Command::new(program);
    command.args(["--virtual-servers", &VIRTUAL_SERVERS.to_string()]);
    command.args(["--real-servers", &REAL_SERVERS.to_string()]);
    command.args(["--batch", &batch.to_string()]).args(more);
    let output = run(command.stdin(Stdio::null()))?;
    require_entries(Bare::NAME, whole_table())?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    told["took_ms"].as_f64().context("the loop did not say how long it took")
}

/// Milliseconds of `ipvsadm -R`.
pub(super) fn ipvsadm(dir: &Path) -> Result<f64> {
    let mut rules = String::new();
    for server in 0..VIRTUAL_SERVERS {
        let vip = vip(server);
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "-A -t {vip}:80 -s rr");
        for number in 0..REAL_SERVERS {
            let _ = writeln!(rules, "-a -t {vip}:80 -r {}:80 -g -w 1", rip(number));
        }
    }
    let path = dir.join("rules");
    fs::write(&path, rules)?;
    let bare = Bare::new()?;
    let began = Instant::now();
    run(Command::new("ipvsadm").arg("-R").stdin(File::open(&path)?))?;
    let took = began.elapsed();
    require_entries(Bare::NAME, whole_table())?;
    drop(bare);
    Ok(millis(took))
}

/// Entries of the whole table.
fn whole_table() -> usize {
    VIRTUAL_SERVERS as usize * (usize::from(REAL_SERVERS) + 1)
}

/// Runs a program in the bare namespace to its end.
fn run(command: &mut Command) -> Result<Output> {
    let output = namespace::inside(Bare::NAME, || command.output().context("cannot start it"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, text(&output.stderr));
    }
    Ok(output)
}
