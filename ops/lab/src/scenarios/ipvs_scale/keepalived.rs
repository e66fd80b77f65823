//! keepalived with a table of a tenth of the size, without checks: its first programming, and its reload after one virtual
//! server was added to its file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::plain::{rip, vip};
use super::table::{Bare, entries};
use super::{FEW_VIRTUAL_SERVERS, REAL_SERVERS};
use crate::contest::millis;
use crate::peers::keepalived;
use crate::process::{Launch, Process, wait_until};

/// How long it may take for either.
const PATIENCE: Duration = Duration::from_mins(5);

/// What it took, in milliseconds.
pub(super) struct Times {
    pub(super) programmed_ms: f64,
    pub(super) reloaded_ms: f64,
}

/// From its start, and from the signal to reload, until the kernel has it all.
pub(super) fn measure(dir: &Path, logs: &Path) -> Result<Times> {
    let home = dir.join("keepalived-scale");
    fs::create_dir_all(&home)?;
    let (file, mut args) = keepalived::arguments(&home);
    args.push("--check".to_owned());
    let bare = Bare::new()?;
    fs::write(&file, config(FEW_VIRTUAL_SERVERS))?;
    let launch = Launch {
        node: Some(Bare::NAME),
        label: "keepalived".to_owned(),
        program: "keepalived".into(),
        args,
        env: Vec::new(),
    };
    let began = Instant::now();
    let process = Process::start(logs, launch)?;
    let programmed = wait_for(FEW_VIRTUAL_SERVERS, began)?;
    fs::write(&file, config(FEW_VIRTUAL_SERVERS + 1))?;
    let began = Instant::now();
    process.signal_first(Signal::SIGHUP)?;
    let reloaded = wait_for(FEW_VIRTUAL_SERVERS + 1, began)?;
    process.kill()?;
    drop(bare);
    Ok(Times { programmed_ms: programmed, reloaded_ms: reloaded })
}

/// Milliseconds since `began` when so many virtual servers stand.
fn wait_for(virtual_servers: u32, began: Instant) -> Result<f64> {
    let wanted = virtual_servers as usize * (usize::from(REAL_SERVERS) + 1);
    wait_until(&format!("keepalived has programmed {wanted} entries"), PATIENCE, || {
        Ok((entries(Bare::NAME)? >= wanted).then_some(()))
    })?;
    Ok(millis(began.elapsed()))
}

fn config(virtual_servers: u32) -> String {
    let mut text = String::new();
    for server in 0..virtual_servers {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "virtual_server {} 80 {{\n    lb_algo rr\n    lb_kind DR\n    protocol TCP\n",
            vip(server)
        );
        for number in 0..REAL_SERVERS {
            let _ =
                writeln!(text, "    real_server {} 80 {{\n        weight 1\n    }}", rip(number));
        }
        text.push_str("}\n");
    }
    text
}
