//! The lab: Fulcrum's programs as black boxes on a real kernel, with real Tomcats, keepalived to compare with, and a
//! client that reloads the page.
//!
//! What it does: boots a user-mode-linux kernel where the running one has no IPVS (and uses plain network namespaces
//! where it has), builds the seed's cluster there, runs scenarios and prints their figures. What it never does: import a
//! crate of ours, or touch the user's own network. Start reading at [`catalog`], then one file of `scenarios/`.

mod catalog;
mod client;
mod cluster;
mod contest;
mod findings;
mod inner;
mod lab;
mod net;
mod outer;
mod pair;
mod peers;
mod process;
mod say;
mod scenarios;
mod settings;
mod twin;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use contest::Effort;
use net::endpoint::Endpoint;

/// Runs Fulcrum's programs on a real kernel and measures what a client of the cluster sees.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios; exits with 0 when all passed.
    Run {
        /// Their names, `gate` or `all`.
        scenarios: Vec<String>,
        /// List them instead.
        #[arg(long)]
        list: bool,
        /// Print one JSON line each on standard output.
        #[arg(long)]
        json: bool,
        /// Where scenarios that need IPVS run; chosen by whether the running kernel has it.
        #[arg(long)]
        kernel: Option<outer::Kernel>,
        /// What the time of a user-mode-linux machine is.
        #[arg(long, default_value = "own")]
        clock: outer::Clock,
        /// Machines at the same time, each with its share of the scenarios; as many as the host has room for.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=26))]
        machines: Option<u8>,
        /// Power losses each side in measured comparisons with keepalived, the sides in turn.
        #[arg(long, default_value_t = contest::TRIALS, value_parser = trials())]
        trials: u8,
        /// Measure what is rare often enough to tell its worst: fifty kills in `health-detect`.
        #[arg(long)]
        full: bool,
        /// Keep the logs even when all passed.
        #[arg(long)]
        keep: bool,
    },
    /// A real server of scenarios: answers with its name; they start it.
    #[command(hide = true)]
    Answer {
        /// Its name.
        #[arg(long)]
        name: String,
        /// Where it listens, such as tcp/192.168.1.150:80.
        endpoints: Vec<Endpoint>,
    },
    /// The part that runs on the prepared ground; `run` starts it.
    #[command(hide = true)]
    Inner {
        /// Where results and logs go.
        #[arg(long)]
        out: PathBuf,
        /// Where Fulcrum's programs are.
        #[arg(long)]
        bin_dir: PathBuf,
        /// Power the machine off at the end.
        #[arg(long)]
        power_off: bool,
        /// As `run` was told.
        #[arg(long, value_parser = trials())]
        trials: u8,
        /// As `run` was told.
        #[arg(long)]
        full: bool,
        /// Names of scenarios.
        scenarios: Vec<String>,
    },
}

/// From one, without which there is no median, to a hundred, which take hours.
fn trials() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(1..=100)
}

fn main() -> ExitCode {
    say::elapsed_s();
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fulcrum-lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Run { list: true, .. } => {
            catalog::print();
            Ok(true)
        }
        Command::Run {
            scenarios,
            json,
            kernel,
            clock,
            machines,
            trials,
            full,
            keep,
            list: false,
        } => {
            let scenarios = catalog::chosen(&scenarios)?;
            let bin_dir = outer::bin_dir()?;
            let request = outer::Request {
                scenarios,
                json,
                bin_dir,
                kernel,
                clock,
                machines,
                effort: Effort { trials, is_full: full },
                keep,
            };
            outer::run(&request)
        }
        Command::Answer { name, endpoints } => {
            peers::answerer::serve(&name, &endpoints).map(|()| true)
        }
        Command::Inner { out, bin_dir, power_off, trials, full, scenarios } => {
            let done = catalog::chosen(&scenarios).and_then(|scenarios| {
                inner::run(&scenarios, &out, &bin_dir, Effort { trials, is_full: full })
            });
            if let Err(error) = &done {
                eprintln!("fulcrum-lab: {error:#}");
            }
            if power_off {
                nix::unistd::sync();
                nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF)?;
            }
            done.map(|()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_one_to_a_hundred() {
        let parsed = |arguments: &[&str]| {
            let line = ["fulcrum-lab", "run", "all"].iter().chain(arguments);
            match Cli::try_parse_from(line) {
                Ok(Cli { command: Command::Run { trials, .. } }) => Ok(trials),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(parsed(&[]), Ok(10));
        assert_eq!(parsed(&["--trials", "1"]), Ok(1));
        assert_eq!(parsed(&["--trials", "100"]), Ok(100));
        for (value, why) in [
            ("0", "0 is not in 1..=100"),
            ("101", "101 is not in 1..=100"),
            ("1000", "1000 is not in 1..=100"),
            ("few", "invalid digit found in string"),
        ] {
            let error = parsed(&["--trials", value]).unwrap_err();
            let expected = format!("invalid value '{value}' for '--trials <TRIALS>': {why}");
            assert!(error.contains(&expected), "{error}");
        }
    }
}
