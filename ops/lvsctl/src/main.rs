//! `lvsctl`: the operator's tool, over the same public API that programs use.
//!
//! One file per verb under `verbs/`. What it never does: know a field of a manifest by itself (the API's descriptors
//! do), or decide what is valid (the API does). Start reading at `cli.rs`, then at the verb.

mod cli;
mod connect;
mod doctor;
mod drain;
mod events;
mod exit;
mod handover;
mod history;
mod import;
mod ipvs;
mod local;
mod manifest;
mod order;
mod out;
mod paint;
mod rollout;
mod status;
mod suggest;
mod table;
mod text;
mod verbs;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use fulcrum_runtime::manual;
use tracing::Instrument;

use cli::{Cli, Verb};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    if let Some(code) = manual::write_if_asked(Cli::command(), manual::Section::Commands) {
        return code;
    }
    let Cli { global, verb } = Cli::parse();
    // Two workers: telemetry is sent by one while the other is blocked at the end.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(global, verb)),
        Err(error) => Err(Failure::new(Exit::Unhealthy, format!("cannot start threads: {error}"))),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("lvsctl: {failure}");
            failure.exit.into()
        }
    }
}

async fn run(global: cli::Global, verb: Verb) -> Result<Exit, Failure> {
    let telemetry = fulcrum_runtime::telemetry::init("lvsctl", &std::process::id().to_string())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let span = verb.span();
    let result = match verb {
        Verb::Apply(arguments) => verbs::apply::run(&global, arguments).instrument(span).await,
        Verb::Delete(arguments) => verbs::delete::run(&global, arguments).instrument(span).await,
        Verb::Label(arguments) => verbs::label::run(&global, arguments).instrument(span).await,
        Verb::Get(arguments) => verbs::get::run(&global, arguments).instrument(span).await,
        Verb::History(arguments) => verbs::history::run(&global, arguments).instrument(span).await,
        Verb::Audit(arguments) => verbs::audit::run(&global, arguments).instrument(span).await,
        Verb::Rollback(arguments) => {
            verbs::rollback::run(&global, arguments).instrument(span).await
        }
        Verb::Confirm(arguments) => verbs::confirm::run(&global, arguments).instrument(span).await,
        Verb::Status => verbs::status::run(&global).instrument(span).await,
        Verb::Doctor(arguments) => verbs::doctor::run(&global, arguments).instrument(span).await,
        Verb::Explain(arguments) => verbs::explain::run(&global, arguments).instrument(span).await,
        Verb::Ipvs(arguments) => verbs::ipvs::run(&global, arguments).instrument(span).await,
        Verb::Import(arguments) => span.in_scope(|| verbs::import::run(&global, arguments)),
        Verb::Controller(arguments) => {
            verbs::controller::run(&global, arguments).instrument(span).await
        }
        Verb::Backup(arguments) => verbs::backup::run(&global, arguments).instrument(span).await,
        // A watch may last for days: its calls are traced one by one.
        Verb::Events(arguments) => verbs::events::run(&global, arguments).await,
        Verb::Watch => verbs::watch::run(&global).await,
        Verb::Wait(arguments) => verbs::wait::run(&global, arguments).instrument(span).await,
        Verb::Handover(arguments) => {
            verbs::handover::run(&global, arguments).instrument(span).await
        }
        Verb::Drain(arguments) => verbs::drain::run(&global, arguments).instrument(span).await,
        Verb::Undrain(arguments) => verbs::undrain::run(&global, arguments).instrument(span).await,
        Verb::Rollout(arguments) => verbs::rollout::run(&global, arguments).instrument(span).await,
        Verb::Freeze(arguments) => verbs::freeze::run(&global, arguments).instrument(span).await,
        Verb::Thaw(arguments) => verbs::thaw::run(&global, arguments).instrument(span).await,
        Verb::Whoami => verbs::whoami::run(&global).instrument(span).await,
        Verb::Token(arguments) => verbs::token::run(&global, arguments).instrument(span).await,
        Verb::Join(arguments) => verbs::join::run(&global, arguments).instrument(span).await,
        Verb::Ca(arguments) => span.in_scope(|| verbs::ca::run(&global, arguments)),
        Verb::Completion(arguments) => verbs::completion::run(arguments),
    };
    telemetry.shutdown().await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_manual_explain_everything() {
        assert_eq!(manual::unexplained(Cli::command()), Vec::<String>::new());
    }
}
