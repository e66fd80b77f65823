//! Starts the director agent and ends it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use fulcrum_director::ipvs::{self, Restored};
use fulcrum_director::memory::{self, NotLocked};
use fulcrum_director::{agent, capabilities, checks, config};
use fulcrum_runtime::explain::explain;
use fulcrum_runtime::{manual, shutdown, telemetry, tls};

/// Runs VRRP, programs IPVS and checks real servers, as the controllers' plan says.
#[derive(Parser, Debug)]
#[command(name = "fulcrum-director", version)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Reads the configuration, says what is wrong with it, and ends.
    #[arg(long)]
    check_config: bool,
    /// Allows plain text to controllers beyond loopback, as `insecure = true` in the file does.
    #[arg(long)]
    insecure: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Puts kernel settings back to what they were before the director changed them, and says line by line what it did.
    ///
    /// For a host that Fulcrum leaves. A setting that another program has changed since is left alone. The director must not
    /// run. Exit code 0 when every setting is as it was or left alone, 1 when one could not be put back.
    Restore {
        /// The director's state directory.
        #[arg(long, value_name = "DIR", default_value = config::DEFAULT_STATE_DIR)]
        state_dir: PathBuf,
    },
}

fn main() -> ExitCode {
    if let Some(code) = manual::write_if_asked(Arguments::command(), manual::Section::Daemons) {
        return code;
    }
    let arguments = Arguments::parse();
    let ended = match (&arguments.verb, &arguments.config) {
        (Some(Verb::Restore { state_dir }), _) => restore(state_dir),
        (None, Some(config)) => start(config, &arguments).map(|()| ExitCode::SUCCESS),
        (None, None) => unreachable!("clap wants --config where there is no verb"),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fulcrum-director: {}", explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn restore(state_dir: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let restored = runtime.block_on(ipvs::restore(state_dir))?;
    if restored.is_empty() {
        println!("no setting is changed in this boot and network namespace, nothing to put back");
    }
    for line in &restored {
        println!("{line}");
    }
    let has_failed = restored.iter().any(Restored::has_failed);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn start(path: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let config = config::load(path, arguments.insecure)?;
    if arguments.check_config {
        // Only here: a director serves by its last plan whatever became of its certificates.
        if let Some(files) = &config.tls {
            tls::ClientTls::load(files)?;
        }
        println!("{} is well", path.display());
        return Ok(());
    }
    capabilities::check()?;
    checks::raise_limit();
    let locked = memory::prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Telemetry needs two of them at its end; checks and one session keep no more than four busy.
        .worker_threads(
            std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)),
        )
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let ended = runtime.block_on(run(config, locked));
    // Threads that hang in the kernel must not keep a stopped director alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn run(config: config::Config, locked: Result<(), NotLocked>) -> anyhow::Result<()> {
    let telemetry = telemetry::init("fulcrum-director", config.name.as_str())?;
    if let Err(reason) = locked {
        tracing::info!(%reason, "the program is not locked in memory");
    }
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
    fn a_verb_takes_the_place_of_the_configuration() {
        let cases: [(&[&str], bool); 5] = [
            (&["--config", "/etc/d.toml"], true),
            (&["restore"], true),
            (&["restore", "--state-dir", "/tmp/d"], true),
            (&[], false),
            (&["--config", "/etc/d.toml", "restore"], false),
        ];
        for (words, is_taken) in cases {
            let words = std::iter::once("fulcrum-director").chain(words.iter().copied());
            let parsed = Arguments::try_parse_from(words);
            assert_eq!(parsed.is_ok(), is_taken, "{parsed:?}");
        }
    }

    #[test]
    fn help_and_manual_explain_everything() {
        assert_eq!(manual::unexplained(Arguments::command()), Vec::<String>::new());
    }
}
