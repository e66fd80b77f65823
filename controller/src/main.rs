//! `fulcrum-controller`.

mod restoring;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};
use fulcrum_controller::config::Config;
use fulcrum_controller::serve;
use fulcrum_runtime::{manual, shutdown, telemetry};

/// Once told to stop, the process ends within this time whatever hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The controller: keeps the cluster's intent, answers the API and serves the agents.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make this controller's store from a backup: the first of a new cluster, which the other controllers then join.
    Restore(restoring::Arguments),
}

/// How it serves.
#[derive(Debug, clap::Args)]
struct Serve {
    /// The configuration file.
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// One controller on 127.0.0.1:7400, without certificates, for trying things out.
    #[arg(long)]
    dev: bool,
    /// Where --dev keeps its data.
    #[arg(long, value_name = "DIR", requires = "dev", default_value = "fulcrum-dev")]
    data_dir: PathBuf,
    /// Allows plain text beyond loopback.
    #[arg(long)]
    insecure: bool,
}

fn main() -> ExitCode {
    if let Some(code) = manual::write_if_asked(Arguments::command(), manual::Section::Daemons) {
        return code;
    }
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Some(Verb::Restore(arguments)) => restoring::run(&arguments),
        None => run(arguments.serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fulcrum-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Serve) -> anyhow::Result<()> {
    let mut config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::dev(arguments.data_dir),
    };
    config.insecure |= arguments.insecure;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Telemetry needs two, whatever the machine has.
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(config));
    // What still blocks a thread is left behind.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("fulcrum-controller", &config.name)?;
    let token = shutdown::token().context("cannot listen for SIGTERM")?;
    let listeners = serve::bind(&config).await?;
    let served = serve::run(config, listeners, token.clone());
    let stopping_too_long = async {
        token.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let served = tokio::select! {
        served = served => served.map_err(anyhow::Error::from),
        () = stopping_too_long => Err(anyhow::anyhow!("stopping took longer than 10 s and was broken off")),
    };
    telemetry.shutdown().await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_manual_explain_everything() {
        assert_eq!(manual::unexplained(Arguments::command()), Vec::<String>::new());
    }
}
