//! Recorded scenarios of the rules of RFC 9568, RFC 3768 and RFC 5798, one file for each.
//!
//! A line that begins with `>` is an input; the lines after it are what the instance does. Run with
//! `UPDATE=1` to record them anew, and review the difference.
//!
//! Inputs: `new` with what the plan says; `at` a time in milliseconds; `due`, which goes to the
//! deadline and ticks; `hear`, a packet of another router; `find`, addresses that an earlier life has
//! left; `place`, which brings the addresses to where they belong; and the names of [`Input`]'s
//! others.

mod host;
mod scenario;

use std::fs;
use std::path::{Path, PathBuf};

use scenario::Scenario;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let entries = fs::read_dir(directory).expect("the scenarios' directory");
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files
}

/// The text with what is said after each input replaced by what is done.
fn play(text: &str) -> String {
    let mut scenario = Scenario::default();
    let mut played = String::new();
    for line in text.lines() {
        if let Some(input) = line.strip_prefix("> ") {
            played.push_str(line);
            played.push('\n');
            for output in scenario.take(input) {
                played.push_str("  ");
                played.push_str(&output);
                played.push('\n');
            }
        } else if !line.starts_with("  ") {
            played.push_str(line);
            played.push('\n');
        }
    }
    played
}

#[expect(clippy::disallowed_methods, reason = "who runs the test says whether to record")]
fn is_recording() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn scenarios_play_as_they_are_recorded() {
    let update = is_recording();
    let mut differ = Vec::new();
    for file in files() {
        let recorded = fs::read_to_string(&file).expect("a readable scenario");
        let played = play(&recorded);
        if played == recorded {
            continue;
        }
        if update {
            fs::write(&file, played).expect("a writable scenario");
        } else {
            differ.push(format!("{}:\n{played}", file.display()));
        }
    }
    assert!(differ.is_empty(), "UPDATE=1 records anew:\n{}", differ.join("\n"));
    assert!(files().len() >= 25, "every rule has its scenario");
}
