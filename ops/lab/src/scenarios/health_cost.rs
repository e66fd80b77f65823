//! What checks cost: a thousand real servers, each tried by TCP, beside keepalived's `TCP_CHECK` in the same boot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::cluster::{Cluster, Member, manifest};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{self, CONTROLLERS, DIRECTORS, VIP};
use crate::pair::{Paths, launch_director, signal_all};
use crate::peers::crowd::{self, Crowd, PORT, rip};
use crate::peers::keepalived;
use crate::process::{Launch, Process, wait_until};
use crate::say;
use crate::scenarios::ipvs_scale::table::entries;

/// The director whose checks are measured; the other one does nothing.
const DIRECTOR: topology::Node = DIRECTORS[0];
/// Real servers, each tried so often on either side. In user-mode-linux a try takes a millisecond or two of the one processor with the
/// real server's part: a thousand a second would be more than it has, and what is late is then cheaper, for it comes in heaps.
const REAL_SERVERS: u16 = 1_000;
const INTERVAL: Duration = Duration::from_secs(2);
/// How long is measured.
const WINDOW: Duration = Duration::from_secs(30);
/// How long a program is given until its table stands, and then until it is quiet.
const PATIENCE: Duration = Duration::from_mins(3);
const SETTLE: Duration = Duration::from_secs(10);
/// Tries that may be missing or too many, of a hundred: some fall out of the window at its ends, and keepalived waits its interval
/// after each try has ended.
const TOLERATED_PERCENT: usize = 10;

/// Processor time of threads by their names.
type Times = BTreeMap<String, Duration>;

/// What was measured of one side.
struct Cost {
    processor: Duration,
    tries: usize,
}

/// Both sides, one after the other.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.with_tables_of(&[DIRECTOR], |lab| {
        let (cluster, paths) = lab.controllers()?;
        let crowd = Crowd::start()?;
        let fulcrum = fulcrum(cluster, paths, &crowd)?;
        let keepalived = keepalived(paths, &crowd)?;
        crowd.stop()?;
        told("fulcrum", &fulcrum, findings);
        told("keepalived", &keepalived, findings);
        let ratio = per_try_us(&fulcrum) / per_try_us(&keepalived);
        findings.figure("ratio_to_keepalived", ratio);
        findings.at_most("processor time of Fulcrum to keepalived's", ratio, 1.0);
        Ok(())
    })
}

fn told(side: &str, cost: &Cost, findings: &mut Findings) {
    findings.figure(format!("{side}_tries"), count(cost.tries));
    findings.figure(format!("{side}_processor_ms"), millis(cost.processor));
    findings.figure(format!("{side}_per_try_us"), per_try_us(cost));
    let rounds = usize::try_from(WINDOW.as_secs() / INTERVAL.as_secs()).unwrap_or(usize::MAX);
    let due = usize::from(REAL_SERVERS) * rounds;
    let off = due.abs_diff(cost.tries) * 100;
    let what = format!("{side} made {} tries of {due} that are due", cost.tries);
    findings.require(off <= due * TOLERATED_PERCENT, what);
}

fn per_try_us(cost: &Cost) -> f64 {
    cost.processor.as_secs_f64() * 1e6 / count(cost.tries.max(1))
}

/// The whole agent, with all else that it does, from its saved plan: no controller takes part of the processor.
fn fulcrum(cluster: &mut Cluster, paths: Paths<'_>, crowd: &Crowd) -> Result<Cost> {
    cluster.apply_text(&intent())?;
    let agent = Process::start(paths.logs, launch_director(DIRECTOR, paths, &[])?)?;
    wait_for_table()?;
    for index in 0..CONTROLLERS.len() {
        cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    let cost = measure(crowd, || processor_time(&[agent.pid()]))?;
    agent.kill()?;
    forget()?;
    Ok(cost)
}

/// Its process of checks and its parent; VRRP is not part of it.
fn keepalived(paths: Paths<'_>, crowd: &Crowd) -> Result<Cost> {
    let home = paths.dir.join("keepalived-checks");
    fs::create_dir_all(&home)?;
    let (file, mut args) = keepalived::arguments(&home);
    args.push("--check".to_owned());
    fs::write(&file, keepalived_config())?;
    // A director loses its routes with its address.
    Crowd::route(DIRECTOR)?;
    let launch = Launch {
        node: Some(DIRECTOR.name),
        label: "keepalived".to_owned(),
        program: "keepalived".into(),
        args,
        env: Vec::new(),
    };
    let process = Process::start(paths.logs, launch)?;
    wait_for_table()?;
    let checkers = fs::read_to_string(home.join("c.pid"))?;
    let checkers = checkers.trim().parse().context("keepalived's checkers have no number")?;
    let cost = measure(crowd, || processor_time(&[process.pid(), checkers]))?;
    process.kill()?;
    forget()?;
    Ok(cost)
}

fn forget() -> Result<()> {
    signal_all(DIRECTOR, Signal::SIGKILL)?;
    topology::forget_like_a_reboot(DIRECTOR)
}

fn wait_for_table() -> Result<()> {
    let wanted = usize::from(REAL_SERVERS) + 1;
    wait_until(&format!("{wanted} entries stand"), PATIENCE, || {
        Ok((entries(DIRECTOR.name)? == wanted).then_some(()))
    })
}

fn measure(crowd: &Crowd, processor: impl Fn() -> Result<Times>) -> Result<Cost> {
    std::thread::sleep(SETTLE);
    let (before, accepted, began) = (processor()?, crowd.accepted(), Instant::now());
    std::thread::sleep(WINDOW.saturating_sub(began.elapsed()));
    let tries = crowd.accepted() - accepted;
    let mut cost = Cost { processor: Duration::ZERO, tries };
    for (name, after) in processor()? {
        let ran = after.saturating_sub(before.get(&name).copied().unwrap_or_default());
        say!("  thread {name}: {} ms", millis(ran).round());
        cost.processor += ran;
    }
    Ok(cost)
}

/// Processor time of programs by the names of their threads, their system calls among it: the scheduler's own count, in
/// nanoseconds (proc(5), schedstat).
fn processor_time(pids: &[u32]) -> Result<Times> {
    let mut times = Times::new();
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let read = |file| {
                let path = task.join(file);
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
            };
            let (name, text) = (read("comm")?, read("schedstat")?);
            let ran = text.split_whitespace().next().context("schedstat is empty")?;
            *times.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(ran.parse()?);
        }
    }
    Ok(times)
}

fn intent() -> String {
    let instance = manifest::instance_with(Duration::from_secs(1), &[VIP]);
    let servers = crowd::manifest_with_pool(REAL_SERVERS, INTERVAL);
    format!(
        "{instance}{servers}---\nkind: VirtualServer\nname: v\nspec: {{vrrp_instance: vi-1, vip: {VIP}, port: {PORT}, \
         protocol: tcp, scheduler: rr, forwarding: dr, pool: all}}\n"
    )
}

fn keepalived_config() -> String {
    let mut text = format!(
        "virtual_server {VIP} {PORT} {{\n    delay_loop {}\n    lb_algo rr\n    lb_kind DR\n    \
         protocol TCP\n",
        INTERVAL.as_secs()
    );
    for number in 0..REAL_SERVERS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    real_server {} {PORT} {{\n        weight 1\n        TCP_CHECK {{\n            \
             connect_timeout 1\n        }}\n    }}",
            rip(number)
        );
    }
    text.push_str("}\n");
    text
}
