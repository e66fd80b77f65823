//! Connection synchronisation on a real kernel: two directors, a real server and a client, each in a network namespace.
//!
//! It needs root, the modules `ip_vs`, `ip_vs_rr`, `veth` and `bridge`, and `ip`. `kernel_sync run DIR` lets a client hold
//! 200 connections through direct routing and moves the role between the directors: by the failure of the Active, by
//! failback, and by a planned stop, each time counting the connections that still answer. The other words are its
//! parts. Without words it does nothing, so that test runners may start it.

mod director;
#[path = "../kernel/mod.rs"]
mod kernel;
mod peers;
mod run;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["run", dir] => run::run(Path::new(dir)),
        ["director", address, priority, state_dir] => {
            director::run(address, priority, Path::new(state_dir))
        }
        ["serve"] => peers::serve(),
        ["hold", count] => peers::hold(count),
        _ => Ok(()),
    };
    kernel::exit_code(result)
}
