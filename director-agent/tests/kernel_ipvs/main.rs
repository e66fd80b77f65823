//! The IPVS driver against a real kernel, with ipvsadm as the independent witness.
//!
//! It needs root, the `ip_vs` modules and `ipvsadm`, and it changes the table of its network namespace: the lab runs it
//! in a kernel of its own. `kernel_ipvs run STATE_DIR` runs every case, prints one line for each and a line of figures at
//! the end; `kernel_ipvs bulk STATE_DIR COUNT` and `kernel_ipvs bulk-ipvsadm COUNT` measure, each in a kernel
//! that has just booted. (`kernel_ipvs hold STATE_DIR` and `read-only STATE_DIR` are what cases start.) Without these words it does
//! nothing, so that test runners may start it.

mod bulk;
mod cases;
mod settings;
mod trouble;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match words.as_slice() {
        ["run", state_dir] => runtime.block_on(cases::run(&PathBuf::from(state_dir))),
        ["hold", state_dir] => runtime.block_on(trouble::hold(&PathBuf::from(state_dir))),
        ["read-only", state_dir] => {
            runtime.block_on(settings::read_only(&PathBuf::from(state_dir)))
        }
        ["bulk", state_dir, count] => match count.parse() {
            Ok(count) => runtime.block_on(bulk::run(&PathBuf::from(state_dir), count)),
            Err(error) => usage(&error),
        },
        ["bulk-ipvsadm", count] => match count.parse() {
            Ok(count) => bulk::run_ipvsadm(count),
            Err(error) => usage(&error),
        },
        _ => ExitCode::SUCCESS,
    }
}

fn usage(error: &std::num::ParseIntError) -> ExitCode {
    eprintln!("the number of virtual servers: {error}");
    ExitCode::from(2)
}
