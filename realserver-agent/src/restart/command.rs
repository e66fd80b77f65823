//! Runs an action: a program of the agent's own configuration, without a shell, for a bounded time.

use std::process::Stdio;

use fulcrum_model::Name;
use fulcrum_runtime::process_group::ProcessGroup;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::actions::Action;

/// What is kept of the end of a command's output, and told when it fails.
const OUTPUT_BYTES: usize = 4 * 1024;
/// How long output is read after the command has ended: what it wrote is there at once.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(100);
/// Where a program is looked for that is given without a path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it until `timeout` is over, which begins now; then, or when nobody waits any more, it is killed with its process
/// group. Its input is empty, its directory the root; its environment says which server and which order.
///
/// # Errors
/// Why it failed, and the last 4 KiB that it wrote.
pub async fn run(
    action: &Action,
    server: &Name,
    id: &str,
    timeout: impl Future<Output = ()>,
) -> Result<(), String> {
    let program = action.command.first().map_or("", String::as_str);
    let mut child = Command::new(program)
        .args(action.command.iter().skip(1))
        .env_clear()
        .env("PATH", PATH)
        .env("FULCRUM_REAL_SERVER", server.as_str())
        .env("FULCRUM_ORDER", id)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = ProcessGroup::of(&child);
    let mut tail = Vec::new();
    let status = tokio::select! {
        biased;
        status = follow(&mut child, &mut tail) => status,
        () = timeout => {
            drop(group);
            // Killed, it ends at once; so that its number is free again.
            let _ = child.wait().await;
            let after = humantime::format_duration(action.timeout);
            return Err(with_output(&format!("{program} did not end within {after} and was killed"), &tail));
        }
    };
    group.has_ended();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(with_output(&format!("{program} failed, {status}"), &tail)),
        Err(error) => Err(format!("{program} cannot be waited for: {error}")),
    }
}

/// Its exit status; the end of its output, as it came, is left in `tail`.
async fn follow(
    child: &mut Child,
    tail: &mut Vec<u8>,
) -> std::io::Result<std::process::ExitStatus> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut chunks = ([0; 1024], [0; 1024]);
    let mut ended = None;
    let last_words = tokio::time::sleep(LAST_WORDS);
    tokio::pin!(last_words);
    loop {
        if stdout.is_none() && stderr.is_none() {
            return match ended {
                Some(status) => Ok(status),
                None => child.wait().await,
            };
        }
        tokio::select! {
            biased;
            read = next(&mut stdout, &mut chunks.0) => keep(tail, &chunks.0[..read]),
            read = next(&mut stderr, &mut chunks.1) => keep(tail, &chunks.1[..read]),
            status = child.wait(), if ended.is_none() => {
                ended = Some(status?);
                last_words.as_mut().reset(tokio::time::Instant::now() + LAST_WORDS);
            }
            // What it started may hold the output open: the command's own end counts.
            () = &mut last_words, if ended.is_some() => (stdout, stderr) = (None, None),
        }
    }
}

/// The next part of a stream, which is forgotten at its end. Never ready once it is.
async fn next(stream: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> usize {
    let Some(open) = stream else { return std::future::pending().await };
    let length = open.read(chunk).await.unwrap_or(0);
    if length == 0 {
        *stream = None;
    }
    length
}

fn keep(tail: &mut Vec<u8>, part: &[u8]) {
    tail.extend_from_slice(part);
    let excess = tail.len().saturating_sub(OUTPUT_BYTES);
    tail.drain(..excess);
}

/// The output's lines below, without what moves a terminal's cursor.
fn with_output(why: &str, tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let clean: String =
        text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
    match clean.trim() {
        "" => why.to_owned(),
        words => format!("{why}: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    async fn sh(script: &str, timeout: impl Future<Output = ()>) -> Result<(), String> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let action = Action { command, timeout: Duration::from_secs(2) };
        run(&action, &"web1".parse().unwrap(), "a@1", timeout).await
    }

    #[tokio::test]
    async fn ends_are_told_with_the_last_words() {
        assert_eq!(sh("exit 0", pending()).await, Ok(()));
        assert_eq!(sh("exit 3", pending()).await, Err("sh failed, exit status: 3".to_owned()));
        assert_eq!(
            sh("echo $FULCRUM_REAL_SERVER $FULCRUM_ORDER; exit 1", pending()).await,
            Err("sh failed, exit status: 1: web1 a@1".to_owned())
        );
        let long =
            sh("i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); done; exit 1", pending());
        let told = long.await.unwrap_err();
        assert!(told.ends_with("line-2999") && !told.contains("line-0\n"), "{told}");
        assert!(told.len() < OUTPUT_BYTES + 100, "{}", told.len());
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed_with_what_it_started() {
        let told = sh("cat /dev/zero >/dev/null & cat /dev/zero >/dev/null", ready(())).await;
        assert_eq!(told, Err("sh did not end within 2s and was killed".to_owned()));
    }

    #[tokio::test]
    async fn what_it_leaves_behind_does_not_hold_it_up() {
        // It keeps the output open for longer than the command lives.
        assert_eq!(sh("setsid sleep 5 & exit 0", pending()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let command = vec!["/no/such/program".to_owned()];
        let action = Action { command, timeout: Duration::from_secs(2) };
        let told = run(&action, &"web1".parse().unwrap(), "a@1", pending()).await.unwrap_err();
        assert!(told.starts_with("/no/such/program cannot be started: No such file"), "{told}");
    }
}
