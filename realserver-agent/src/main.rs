//! The program of the real-server agent; the library beside it does the work.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use fulcrum_realserver::{agent, by_hand, config};
use fulcrum_runtime::explain::explain;
use fulcrum_runtime::{manual, shutdown, telemetry};

/// Binds VIPs to loopback with ARP kept quiet, watches the servers of this host, and reports their health.
#[derive(Parser)]
#[command(name = "fulcrum-realserver", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, default_value = "/etc/fulcrum/realserver.toml", global = true)]
    config: PathBuf,
    /// State directory for start, stop and status without a configuration file.
    #[arg(long, global = true)]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run as a daemon (the default).
    Run,
    /// Silence ARP, then bind VIPs to loopback; go on after a stop.
    Start {
        /// A VIP to bind, beside those that are known.
        #[arg(long)]
        vip: Vec<IpAddr>,
    },
    /// Unbind our VIPs and restore the ARP settings; a running agent keeps its hands off until start.
    Stop,
    /// Tell what is bound and whether ARP is quiet; exit code 1 when it is not as it should be.
    Status,
}

fn main() -> ExitCode {
    if let Some(code) = manual::write_if_asked(Arguments::command(), manual::Section::Daemons) {
        return code;
    }
    let arguments = Arguments::parse();
    // Two workers: one may be shutting telemetry down while the other serves it.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(anyhow::Error::new(error).context("start the runtime")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fulcrum-realserver: {}", explain(error.as_ref()));
        ExitCode::from(2)
    })
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let command = arguments.command.unwrap_or(Command::Run);
    if let Command::Run = command {
        let config = config::load(&arguments.config)?;
        let telemetry = telemetry::init("fulcrum-realserver", config.name.as_str())?;
        let result = agent::run(config, shutdown::token()?).await;
        telemetry.shutdown().await;
        return result.map(|()| ExitCode::SUCCESS);
    }
    let state_dir = match arguments.state_dir {
        Some(state_dir) => state_dir,
        None if arguments.config.exists() => config::load(&arguments.config)?.state_dir,
        None => config::default_state_dir(),
    };
    match command {
        Command::Start { vip } => by_hand::start(&state_dir, &vip).await,
        Command::Stop => by_hand::stop(&state_dir).await,
        Command::Status | Command::Run => by_hand::status(&state_dir).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_manual_explain_everything() {
        assert_eq!(manual::unexplained(Arguments::command()), Vec::<String>::new());
    }
}
