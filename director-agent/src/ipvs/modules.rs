//! Loads kernel modules where this process may.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Longest wait for modprobe: it reads a few small files.
const PATIENCE: Duration = Duration::from_secs(5);

/// Loads a module with modprobe.
///
/// # Errors
/// In words, why it could not be loaded.
pub(super) async fn load(module: &str) -> Result<(), String> {
    let output = Command::new("modprobe")
        .arg("--")
        .arg(module)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .map_err(|_| format!("modprobe {module} took more than {} s", PATIENCE.as_secs()))?
        .map_err(|error| format!("modprobe cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it said nothing").trim().to_owned();
    Err(said)
}
