//! `lvsctl wait`

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use fulcrum_proto::convert::{duration_from_text, duration_to_text, duration_to_wire};
use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{message_to_node, to_json, to_yaml};

/// What to wait for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The revision; the newest one when not given.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    revision: u64,
    /// Longest wait.
    #[arg(long, default_value = DEFAULT_TIMEOUT, value_parser = parse_timeout)]
    timeout: Duration,
}

/// Longest wait unless told otherwise.
pub(crate) const DEFAULT_TIMEOUT: &str = "60s";
/// Longest wait that may be asked for, as the API has it.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// One question to a controller waits this long: so soon another controller is asked when that one dies, and so often a
/// terminal shows who is late.
const TURN: Duration = Duration::from_secs(1);
/// A controller answers within its turn and this.
const GRACE: Duration = Duration::from_secs(5);

/// Reads a timeout such as `60s`.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    duration_from_text(text)
        .filter(|timeout| *timeout <= MAX_TIMEOUT)
        .ok_or_else(|| "write a number and its unit, at most 1h, such as 60s".to_owned())
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let answer = wait(&controllers, arguments.revision, arguments.timeout).await?;
    let name = "fulcrum.v1.WaitConvergedResponse";
    match global.output.unwrap_or(Output::Table) {
        Output::Json => out::print(&to_json(&message_to_node(name, &answer)))?,
        Output::Yaml => out::print(&to_yaml(&message_to_node(name, &answer)))?,
        Output::Table if answer.converged => out::print(&converged(&answer))?,
        Output::Table => {}
    }
    finish(&answer, arguments.timeout)
}

/// One line for people.
pub(crate) fn converged(answer: &v1::WaitConvergedResponse) -> String {
    format!("every agent has applied revision {}\n", answer.revision)
}

/// The exit code, or the failure that names who is late.
pub(crate) fn finish(
    answer: &v1::WaitConvergedResponse,
    timeout: Duration,
) -> Result<Exit, Failure> {
    if answer.converged {
        return Ok(Exit::Ok);
    }
    let mut text = format!(
        "not every agent has applied revision {} after {}:",
        answer.revision,
        duration_to_text(timeout)
    );
    for laggard in &answer.laggards {
        text = format!("{text}\n  {}", told(laggard));
    }
    text.push_str("\n`lvsctl status` tells more; the agents go on by themselves.");
    Err(Failure::new(Exit::TimedOut, text))
}

fn told(laggard: &v1::Laggard) -> String {
    let v1::Laggard { agent, applied_revision, reason } = laggard;
    match applied_revision {
        0 => format!("{agent}: {reason}"),
        applied => format!("{agent} (at revision {applied}): {reason}"),
    }
}

/// Asks in turns until all have it or the time is over. On a terminal, shows who is late meanwhile.
pub(crate) async fn wait(
    controllers: &Controllers,
    revision: u64,
    timeout: Duration,
) -> Result<v1::WaitConvergedResponse, Failure> {
    let start = Instant::now();
    let mut progress = Progress::new();
    let mut revision = revision;
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let turn = left.min(TURN);
        let request = v1::WaitConvergedRequest { revision, timeout: Some(duration_to_wire(turn)) };
        let answer = controllers
            .ask_for(turn + GRACE, |channel| async move {
                connect::intent(channel).wait_converged(request).await
            })
            .await
            .map_err(|refusal| refusal.failure("cannot wait"))?;
        if answer.converged || start.elapsed() >= timeout {
            progress.clear();
            return Ok(answer);
        }
        // The newest revision at the first answer is the one that is waited for.
        revision = answer.revision;
        progress.show(&answer);
    }
}

/// One line on standard error that is written over.
struct Progress {
    enabled: bool,
    width: usize,
}

impl Progress {
    fn new() -> Self {
        Self { enabled: std::io::stderr().is_terminal(), width: 0 }
    }

    fn show(&mut self, answer: &v1::WaitConvergedResponse) {
        let late: Vec<String> = answer.laggards.iter().map(told).collect();
        // One line of a terminal that is not narrow.
        let text: String = format!("waiting for {} agents: {}", late.len(), late.join(", "))
            .chars()
            .take(100)
            .collect();
        self.write(&text);
    }

    fn clear(&mut self) {
        if self.width > 0 {
            self.write("");
            eprint!("\r");
        }
    }

    fn write(&mut self, text: &str) {
        if self.enabled {
            eprint!("\r{text:<width$}", width = self.width);
            // Progress that cannot be shown is no failure.
            let _ = std::io::stderr().flush();
            self.width = text.chars().count();
        }
    }
}
