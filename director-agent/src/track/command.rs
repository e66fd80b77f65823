//! Runs tracked commands: programs of this host, chosen by name among those that it offers.
//!
//! Who writes intent brings no program and reaches no shell: the agent's configuration names the
//! directory, and what others could have put or changed there is not run.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use caps::CapSet;
use fulcrum_model::vrrp::TrackCommand;
use fulcrum_runtime::process_group::ProcessGroup;
use nix::unistd::{Gid, Uid, geteuid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::Seen;

/// What is kept of a command's output, standard output first, for people.
const OUTPUT_BYTES: usize = 256;
/// How long output is read after the command has ended: what it wrote is there at once.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Permission bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Permission bits that let somebody execute.
const EXECUTE: u32 = 0o111;

/// The commands that this host offers, and as whom they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHome {
    /// Holds them, and nothing else that may be executed.
    pub directory: PathBuf,
    /// Whose rights they have, as user and group; the director's own user, without its capabilities, when none.
    pub user: Option<(Uid, Gid)>,
}

/// Why nothing is known of how a command ended.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It may not be run, or cannot; with the remedy.
    NotRun(String),
    /// The time was over, and it was killed.
    TimedOut,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    program: String,
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// The beginning of what it wrote, in one line.
    words: String,
}

/// Runs it once, for at most its timeout; then it is killed with its process group. Well is exit
/// status 0. The environment is empty, the input too, and the directory is the root.
pub(super) async fn run(command: &TrackCommand, home: Option<&CommandHome>) -> Seen {
    seen_until(command, home, async { tokio::time::sleep(command.pace.timeout).await }).await
}

/// The same, until `timeout` is over. It begins when the command runs.
async fn seen_until(
    command: &TrackCommand,
    home: Option<&CommandHome>,
    timeout: impl Future<Output = ()>,
) -> Seen {
    let program = &command.program;
    match run_until(program, &command.arguments, home, timeout).await {
        // What it says when all is well changes nothing, and need not be told.
        Ok(ended) if ended.status.success() => Ok(format!("command {program} succeeded")),
        Ok(ended) => Err(ended.to_string()),
        Err(Fault::NotRun(words)) => Err(words),
        Err(Fault::TimedOut) => {
            let after = humantime::format_duration(command.pace.timeout);
            Err(format!("command {program} did not end within {after} and was killed"))
        }
    }
}

/// Runs a command once, until `timeout` is over, which begins when it runs; then, or when nobody waits any more, it is killed
/// with its process group.
pub(crate) async fn run_until(
    program: &str,
    arguments: &[String],
    home: Option<&CommandHome>,
    timeout: impl Future<Output = ()>,
) -> Result<Ended, Fault> {
    let path = find(program, home).await.map_err(Fault::NotRun)?;
    let mut command = Command::new(&path);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let user = home.and_then(|home| home.user).filter(|(user, _)| *user != geteuid());
    if let Some((user, group)) = user {
        command.gid(group.as_raw()).uid(user.as_raw());
    }
    let mut child = start(command, user.is_some())
        .await
        .map_err(|error| Fault::NotRun(format!("command {program} cannot be started: {error}")))?;
    let group = ProcessGroup::of(&child);
    let ended = tokio::select! {
        biased;
        ended = follow(&mut child) => Some(ended),
        () = timeout => None,
    };
    match ended {
        Some((Ok(status), output)) => {
            group.has_ended();
            Ok(Ended { program: program.to_owned(), status, words: one_line(&output) })
        }
        Some((Err(error), _)) => {
            Err(Fault::NotRun(format!("command {program} cannot be waited for: {error}")))
        }
        None => {
            drop(group);
            // Killed, it ends at once; so that its number is free again.
            let _ = child.wait().await;
            Err(Fault::TimedOut)
        }
    }
}

/// Starts it without the capabilities that systemd gave to the director and whatever it starts (`AmbientCapabilities=`): a command
/// needs none, and nft does. One that runs as another user has none of the director's groups either. A thread has its own of both, so
/// one of its own gives them up.
async fn start(mut command: Command, is_other_user: bool) -> io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    let (tell, started) = oneshot::channel();
    std::thread::Builder::new().name("command".to_owned()).spawn(move || {
        let _in_runtime = runtime.enter();
        let mut cleared = caps::clear(None, CapSet::Ambient).map_err(io::Error::other);
        if is_other_user {
            cleared = cleared.and_then(|()| Ok(rustix::thread::set_thread_groups(&[])?));
        }
        // When nobody waits any more, the command is killed with its handle.
        let _ = tell.send(cleared.and_then(|()| command.spawn()));
    })?;
    started.await.map_err(io::Error::other)?
}

/// Its exit status, and the beginning of its output.
async fn follow(child: &mut Child) -> (io::Result<ExitStatus>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = (child.stdout.take(), child.stderr.take());
    let status = {
        let reading = async {
            tokio::join!(keep(streams.0, &mut stdout), keep(streams.1, &mut stderr));
        };
        tokio::pin!(reading);
        let mut has_read = false;
        let status = tokio::select! {
            biased;
            () = &mut reading => { has_read = true; child.wait().await }
            status = child.wait() => status,
        };
        if !has_read {
            // What it wrote last. A descendant may hold the output open: the command's own end
            // counts.
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
        }
        status
    };
    (status, if stdout.is_empty() { stderr } else { stdout })
}

/// Keeps the beginning of a stream and reads on, so that the writer does not block.
async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; OUTPUT_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// One line, and nothing that moves a terminal's cursor.
fn one_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, status, words } = self;
        // "exit status: 1", "signal: 9 (SIGKILL)".
        write!(f, "command {program} failed, {status}")?;
        if words.is_empty() { Ok(()) } else { write!(f, ": {words}") }
    }
}

/// The program's path, when it is one that may be run.
async fn find(program: &str, home: Option<&CommandHome>) -> Result<PathBuf, String> {
    let Some(CommandHome { directory, .. }) = home else {
        return Err(format!(
            "command {program} is not run: set track_command_dir in the agent's configuration to \
             the directory of the commands that this host offers"
        ));
    };
    let is_plain = !matches!(program, "" | "." | "..") && !program.contains(['/', '\0']);
    if !is_plain {
        return Err(format!(
            "command {program:?} is not run: name a file of track_command_dir, without a path"
        ));
    }
    let path = directory.join(program);
    let look = async {
        let directory_is = tokio::fs::symlink_metadata(directory).await?;
        let file_is = tokio::fs::symlink_metadata(&path).await?;
        io::Result::Ok((directory_is, file_is))
    };
    let (directory_is, file_is) = look.await.map_err(|error| {
        format!("command {program} is not run: {}: {error}; put it there", path.display())
    })?;
    let us = geteuid().as_raw();
    let fault = may_hold(&directory_is, us)
        .err()
        .map(|fault| (directory.as_path(), fault))
        .or_else(|| may_run(&file_is, us).err().map(|fault| (path.as_path(), fault)));
    match fault {
        None => Ok(path),
        Some((path, fault)) => {
            Err(format!("command {program} is not run: {} {fault}", path.display()))
        }
    }
}

fn may_hold(directory: &Metadata, us: u32) -> Result<(), String> {
    if !directory.is_dir() {
        return Err("is no directory: set track_command_dir to one, not to a link".to_owned());
    }
    may_trust(directory, us)
}

fn may_run(file: &Metadata, us: u32) -> Result<(), String> {
    if !file.is_file() {
        return Err("is no regular file: put the program itself there, not a link".to_owned());
    }
    may_trust(file, us)?;
    if file.permissions().mode() & EXECUTE == 0 {
        return Err("cannot be executed: `chmod 755` it".to_owned());
    }
    Ok(())
}

fn may_trust(file: &Metadata, us: u32) -> Result<(), String> {
    let owner = file.uid();
    if owner != 0 && owner != us {
        return Err(format!("belongs to user {owner}: `chown root` it"));
    }
    let mode = file.permissions().mode();
    if mode & OTHERS_WRITE != 0 {
        return Err(format!("may be written by others (mode {:o}): `chmod 755` it", mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
