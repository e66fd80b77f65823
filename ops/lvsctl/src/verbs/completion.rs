//! `lvsctl completion SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::out;

/// For which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell; for bash: `source <(lvsctl completion bash)`.
    shell: Shell,
}

pub(crate) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "lvsctl", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
