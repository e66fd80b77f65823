//! Starts the director agent and ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use fulcrum_director::{agent, capabilities, checks, config};
use fulcrum_runtime::explain::explain;
use fulcrum_runtime::{manual, shutdown, telemetry, tls};

/// Runs VRRP, programs IPVS and checks real servers, as the controllers' plan says.
#[derive(Parser, Debug)]
#[command(name = "fulcrum-director", version)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Reads the configuration, says what is wrong with it, and ends.
    #[arg(long)]
    check_config: bool,
    /// Allows plain text to controllers beyond loopback, as `insecure = true` in the file does.
    #[arg(long)]
    insecure: bool,
}

fn main() -> ExitCode {
    if let Some(code) = manual::write_if_asked(Arguments::command(), manual::Section::Daemons) {
        return code;
    }
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fulcrum-director: {}", explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.config, arguments.insecure)?;
    if arguments.check_config {
        // Only here: a director serves by its last plan whatever became of its certificates.
        if let Some(files) = &config.tls {
            tls::client_config(files)?;
        }
        println!("{} is well", arguments.config.display());
        return Ok(());
    }
    capabilities::check()?;
    checks::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Telemetry needs two of them at its end; checks and one session keep no more than four busy.
        .worker_threads(
            std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)),
        )
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let ended = runtime.block_on(run(config));
    // Threads that hang in the kernel must not keep a stopped director alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn run(config: config::Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("fulcrum-director", config.name.as_str())?;
    let shutdown = shutdown::token().context("cannot listen for signals")?;
    let bound = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(agent::STOP_BOUND).await;
        }
    };
    let ended = tokio::select! {
        ended = agent::run(config, shutdown) => ended.map_err(anyhow::Error::from),
        () = bound => Err(anyhow::anyhow!("the director did not stop in time")),
    };
    telemetry.shutdown().await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_manual_explain_everything() {
        assert_eq!(manual::unexplained(Arguments::command()), Vec::<String>::new());
    }
}
