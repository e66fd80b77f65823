//! What is tried on this host: programs and files.

use std::future::pending;
use std::io;

use fulcrum_model::fuse::Remark;
use fulcrum_model::{CommandCheck, FileCheck, Weight};
use tokio::io::AsyncReadExt as _;

use super::endpoint::Endpoint;
use super::{Attempt, Outcome, failed};
use crate::track::command::{self, CommandHome, Fault};

/// As much of a file is read.
const FILE_BYTES: u64 = 64;
/// An exit status of so much gives weight 0 (keepalived: `misc_dynamic`).
const WEIGHT_ZERO: i32 = 2;

/// Runs a program. The caller bounds the time; when it waits no longer the program is killed with all that it started.
pub(super) async fn run(
    endpoint: &Endpoint,
    check: &CommandCheck,
    home: Option<&CommandHome>,
) -> Attempt {
    let (rip, port) = (endpoint.address.ip().to_string(), endpoint.address.port().to_string());
    let arguments = check.arguments.iter();
    let arguments: Vec<_> =
        arguments.map(|text| text.replace("{rip}", &rip).replace("{port}", &port)).collect();
    let program = &check.program;
    let ended = match command::run_until(program, &arguments, home, pending()).await {
        Ok(ended) => ended,
        Err(Fault::NotRun(words)) => return Err(Outcome::NotTried(words)),
        Err(Fault::TimedOut) => return failed(format!("command {program} did not end")),
    };
    match ended.status.code() {
        Some(0) => Ok(None),
        Some(status) if check.sets_weight && status >= WEIGHT_ZERO => {
            let weight = u64::try_from(status - WEIGHT_ZERO).ok().and_then(|w| Weight::new(w).ok());
            let text = format!("command {program} gives weight {}", status - WEIGHT_ZERO);
            Ok(Some(Remark { weight, text }))
        }
        Some(_) | None => failed(ended.to_string()),
    }
}

/// Looks at a file's number.
pub(super) async fn file(check: &FileCheck) -> Attempt {
    let path = &check.path;
    let fault = |error: io::Error| Outcome::NotTried(format!("{path}: {error}"));
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut text).await.map_err(fault)?;
    let text = String::from_utf8_lossy(&text);
    match text.split_whitespace().next().map(str::parse::<i64>) {
        None | Some(Ok(0)) => Ok(None),
        Some(Ok(number)) => failed(format!("{path} holds {number}")),
        Some(Err(_)) => Err(Outcome::NotTried(format!(
            "{path} begins with no number: write 0 into it for up, or 1 for down"
        ))),
    }
}
