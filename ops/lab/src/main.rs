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
        /// Their names, or `all`.
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
        /// Keep the logs even when all passed.
        #[arg(long)]
        keep: bool,
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
        /// Names of scenarios.
        scenarios: Vec<String>,
    },
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
        Command::Run { scenarios, json, kernel, keep, list: false } => {
            let scenarios = catalog::chosen(&scenarios)?;
            let bin_dir = outer::bin_dir()?;
            outer::run(&outer::Request { scenarios, json, bin_dir, kernel, keep })
        }
        Command::Inner { out, bin_dir, power_off, scenarios } => {
            let done = catalog::chosen(&scenarios)
                .and_then(|scenarios| inner::run(&scenarios, &out, &bin_dir));
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
