//! Runs a program of the controller's host.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fulcrum_model::CommandChannel;
use fulcrum_runtime::process_group::ProcessGroup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::queue::Message;
use super::text::{self, Sender};
use super::{Fault, Home};

/// Where programs are looked for that the program itself runs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of what it writes when it fails.
const OUTPUT_BYTES: u64 = 256;
/// Permission bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Runs the program with a message, and returns when it has ended with status 0.
pub(super) async fn send(
    command: &CommandChannel,
    message: &Message,
    sender: &Sender,
    home: &Home,
) -> Result<(), Fault> {
    let path = find(command, home).await?;
    let fault = |error: &dyn std::fmt::Display| Fault(format!("{}: {error}", path.display()));
    let mut child = Command::new(&path)
        .args(&command.arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fault(&error))?;
    let group = ProcessGroup::of(&child);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let input = text::json(message, sender).to_string();
    let mut said = Vec::new();
    let ran = tokio::time::timeout(command.timeout, async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not read it all is no reason to fail.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let read = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(OUTPUT_BYTES).read_to_end(&mut said).await;
            }
        };
        let ((), (), status) = tokio::join!(write, read, child.wait());
        status
    });
    let status = match ran.await {
        Ok(status) => status.map_err(|error| fault(&error))?,
        Err(_) => return Err(fault(&format_args!("did not end within {:?}", command.timeout))),
    };
    group.has_ended();
    if status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&said)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Err(fault(&format_args!("{status}: {}", said.trim())))
}

/// The program, if it may be run: what others could have put or changed there is not.
async fn find(command: &CommandChannel, home: &Home) -> Result<PathBuf, Fault> {
    let program = &command.program;
    let Some(directory) = &home.commands else {
        let text = format!(
            "{program}: this controller runs no programs: set command_dir of [notifications] in its configuration"
        );
        return Err(Fault(text));
    };
    let path = directory.join(program);
    for looked_at in [directory, &path] {
        check(looked_at).await?;
    }
    Ok(path)
}

async fn check(path: &Path) -> Result<(), Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault(format!("{}: {error}", path.display()));
    let metadata = tokio::fs::symlink_metadata(path).await.map_err(|error| fault(&error))?;
    let me = nix::unistd::geteuid().as_raw();
    if metadata.is_symlink() {
        return Err(fault(&"is a link, which is not followed: put the program itself there"));
    }
    if ![0, me].contains(&metadata.uid()) || metadata.permissions().mode() & OTHERS_WRITE != 0 {
        let remedy = "others may change it: give it to root, and take the right to write from group and others";
        return Err(fault(&remedy));
    }
    Ok(())
}
