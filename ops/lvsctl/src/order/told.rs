//! Words at the end of a wait, which all orders share.

use std::time::Duration;

use fulcrum_proto::convert::duration_to_text;

use crate::cli::Output;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{Node, to_json, to_yaml};

/// What is waited for before the cluster was seen.
pub(crate) const UNSEEN: &str = "a controller to tell of the cluster";

/// Prints `text` for people, or `outcome` for programs.
pub(crate) fn tell(
    format: Output,
    text: &str,
    outcome: impl FnOnce() -> Node,
) -> Result<(), Failure> {
    match format {
        Output::Table => out::print(text),
        Output::Json => out::print(&to_json(&outcome())),
        Output::Yaml => out::print(&to_yaml(&outcome())),
    }
}

/// [`tell`]s of the outcome of a wait, with how long it took where all came true; otherwise people are told by
/// [`not_done`].
pub(crate) fn tell_end(
    format: Output,
    done_after: Option<Duration>,
    outcome: impl FnOnce() -> Node,
) -> Result<(), Failure> {
    let done = |time: Duration| format!("done after {:.1} s\n", time.as_secs_f64());
    tell(format, &done_after.map(done).unwrap_or_default(), outcome)
}

/// The time is over; a line for each thing that is waited for, and what to do.
pub(crate) fn not_done(
    timeout: Duration,
    waits_for: impl IntoIterator<Item = String>,
    remedy: &str,
) -> Failure {
    let mut text = format!("not done after {}:", duration_to_text(timeout));
    for line in waits_for {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    text.push('\n');
    text.push_str(remedy);
    Failure::new(Exit::TimedOut, text)
}
