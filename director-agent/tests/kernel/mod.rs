//! What the tests on a real kernel share.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::resource::{VrrpChecksum, VrrpVersion};
use fulcrum_model::{Cidr, Priority, Vrid, VrrpOptions};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How the program ends; prints why it fails.
pub(crate) fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a program with its arguments, without a shell; answers with its output.
pub(crate) fn shell(words: &str) -> Result<String> {
    let mut words_of = words.split_whitespace();
    let program = words_of.next().ok_or("no program")?;
    let output = Command::new(program).args(words_of).output()?;
    if !output.status.success() {
        return Err(format!("{words}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An instance of version 3 on eth0, with adverts of 100 ms.
pub(crate) fn plan(
    name: &str,
    source: &str,
    vips: Vec<Cidr>,
    priority: u64,
    options: VrrpOptions,
) -> Result<VrrpInstancePlan> {
    Ok(VrrpInstancePlan {
        name: name.parse()?,
        vrid: Vrid::new(51)?,
        version: VrrpVersion::V3,
        advert_interval: Duration::from_millis(100),
        interface: "eth0".to_owned(),
        priority: Priority::new(priority)?,
        preempt: true,
        auth_pass: None,
        vips,
        source: source.parse()?,
        unicast_peers: Vec::new(),
        checksum: VrrpChecksum::Deployed,
        take_over: false,
        options,
    })
}
