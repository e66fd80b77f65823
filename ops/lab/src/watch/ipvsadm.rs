//! The kernel's table as `ipvsadm -S -n` prints it: a witness that knows nothing of Fulcrum.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::net::topology::{DIRECTORS, Node};
use crate::process::{run as run_program, wait_until};
use crate::say;

/// Rules, one for each entry: `-A -t 192.168.1.150:80 -s rr`, `-a -t 192.168.1.150:80 -r 192.168.1.138:80 -g -w 1`.
pub(crate) type Rules = BTreeSet<String>;

/// Time between two looks: printing the rules keeps the machine's one processor busy.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many differences are told: enough to see what kind they are.
const TOLD: usize = 20;

/// The rules of a director's kernel.
pub(crate) fn rules(director: Node) -> Result<Rules> {
    let printed = run(director, &["-S", "-n"])?;
    Ok(printed.lines().map(|line| line.trim().to_owned()).collect())
}

/// The thresholds of a director's real servers that have some: `-t 192.168.1.150:80 -r 192.168.1.138:80 100 50`.
pub(crate) fn thresholds(director: Node) -> Result<Rules> {
    let printed = run(director, &["-L", "-n", "--thresholds"])?;
    let mut found = Rules::new();
    let mut service = String::new();
    for line in printed.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["TCP", address, ..] => service = format!("-t {address}"),
            ["UDP", address, ..] => service = format!("-u {address}"),
            ["->", _, "0", "0", ..] | [] => {}
            ["->", rip, upper, lower, ..] if upper.parse::<u32>().is_ok() => {
                found.insert(format!("{service} -r {rip} {upper} {lower}"));
            }
            // Other virtual servers have none here, and headings are none.
            _ => service.clear(),
        }
    }
    Ok(found)
}

/// Runs ipvsadm in a director's namespace: another program that looks at the table, or changes it.
pub(crate) fn run(director: Node, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["netns", "exec", director.name, "ipvsadm"];
    all.extend(arguments);
    run_program("ip", &all)
}

/// Waits until both directors' kernels hold exactly these rules.
pub(crate) fn wait_both(what: &str, expected: &Rules, timeout: Duration) -> Result<()> {
    DIRECTORS.into_iter().try_for_each(|director| wait(director, what, expected, timeout))
}

/// Waits until a director's kernel holds exactly these rules; says what is different when it does not come to that.
pub(crate) fn wait(director: Node, what: &str, expected: &Rules, timeout: Duration) -> Result<()> {
    let mut found = Rules::new();
    let held = wait_until(&format!("{} holds {what}", director.name), timeout, || {
        found = rules(director)?;
        let is_held = found == *expected;
        if !is_held {
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(is_held.then_some(()))
    });
    held.with_context(|| {
        let missing: Vec<_> = expected.difference(&found).take(TOLD).collect();
        let strange: Vec<_> = found.difference(expected).take(TOLD).collect();
        say!("  {}: missing: {missing:#?}\n  not wanted: {strange:#?}", director.name);
        format!("{} holds other rules", director.name)
    })
}
