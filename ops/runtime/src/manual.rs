//! Manual pages, made of what the command line is parsed by.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

/// The option that writes the pages. It is for packagers, and in no help text.
const OPTION: &str = "--man-pages";

/// Where a program's pages belong (man-pages(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Commands that users run.
    Commands,
    /// Daemons.
    Daemons,
}

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its file name, as `lvsctl-apply.1`.
    pub file: String,
    /// Its text in roff.
    pub text: Vec<u8>,
}

/// Writes the program's pages when its arguments are `--man-pages DIR` and nothing else, before they
/// are parsed: then the program ends with this code.
pub fn write_if_asked(command: Command, section: Section) -> Option<ExitCode> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let [option, directory] = arguments.as_slice() else { return None };
    if option != OPTION {
        return None;
    }
    let written = pages(command, section).and_then(|pages| write(&pages, Path::new(directory)));
    Some(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write manual pages to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    })
}

fn write(pages: &[Page], directory: &Path) -> io::Result<()> {
    pages.iter().try_for_each(|page| std::fs::write(directory.join(&page.file), &page.text))
}

/// A page of the program, and one of each of its visible subcommands.
///
/// # Errors
/// Of writing into memory: none that is known.
pub fn pages(command: Command, section: Section) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    every(&command).into_iter().map(|command| page(command.clone(), section)).collect()
}

fn page(command: Command, section: Section) -> io::Result<Page> {
    let number = match section {
        Section::Commands => "1",
        Section::Daemons => "8",
    };
    let page = Man::new(command).section(number);
    let mut text = Vec::new();
    page.render(&mut text)?;
    Ok(Page { file: page.get_filename(), text })
}

/// What of a command line its help and its manual leave unexplained: visible subcommands and
/// arguments without a text.
pub fn unexplained(command: Command) -> Vec<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let gaps_of = |command: &Command| {
        let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let gaps: Vec<String> = arguments
            .filter(|argument| argument.get_help().is_none_or(|help| help.to_string().is_empty()))
            .map(|argument| format!("{name}: {argument}"))
            .collect();
        let is_explained = command.get_about().is_some_and(|about| !about.to_string().is_empty());
        gaps.into_iter().chain((!is_explained).then_some(name)).collect::<Vec<_>>()
    };
    every(&command).into_iter().flat_map(gaps_of).collect()
}

/// The command and its visible subcommands, at every depth.
fn every(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).flat_map(every);
    std::iter::once(command).chain(below).collect()
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn tool() -> Command {
        let start = Command::new("start").about("Begin.").arg(Arg::new("where").help("There."));
        let debug = Command::new("debug").hide(true);
        Command::new("tool").about("Does things.").subcommands([start, debug])
    }

    #[test]
    fn every_visible_subcommand_has_a_page() {
        let files = |section| {
            let pages = pages(tool(), section).expect("pages");
            pages.into_iter().map(|page| page.file).collect::<Vec<_>>()
        };
        assert_eq!(files(Section::Commands), ["tool.1", "tool-start.1"]);
        assert_eq!(files(Section::Daemons), ["tool.8", "tool-start.8"]);
        let pages = pages(tool(), Section::Commands).expect("pages");
        let text = String::from_utf8_lossy(&pages[1].text).into_owned();
        assert!(text.contains("Begin.") && text.contains("There."), "{text}");
    }

    #[test]
    fn what_has_no_text_is_named() {
        assert_eq!(unexplained(tool()), Vec::<String>::new());
        let stop = Command::new("stop").arg(Arg::new("now").long("now").num_args(0));
        let hidden = Arg::new("hidden").long("hidden").hide(true);
        let tool = tool().subcommand(stop).arg(hidden);
        assert_eq!(unexplained(tool), ["tool stop: --now", "tool stop"]);
    }
}
