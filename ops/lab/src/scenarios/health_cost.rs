//! What checks cost: a thousand real servers, each tried by TCP, beside keepalived's `TCP_CHECK` in the same boot.
//!
//! Both sides are measured in turn, several times, and each pair gives one ratio. In user-mode-linux processor time is counted by ticks of
//! 10 ms: who runs when one falls has all of it. That is right on average, so a window holds some hundreds of them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};

use crate::cluster::{Cluster, Member, manifest};
use crate::contest::{count, millis};
use crate::findings::{Findings, median};
use crate::lab::Lab;
use crate::net::topology::{self, CONTROLLERS, DIRECTORS, VIP};
use crate::pair::{Paths, Side, launch_director, signal_all};
use crate::peers::crowd::{self, Crowd, PORT, rip};
use crate::peers::keepalived;
use crate::process::{Launch, Process, wait_until};
use crate::say;
use crate::scenarios::ipvs_scale::table::entries;

/// The director whose checks are measured; the other one does nothing.
const DIRECTOR: topology::Node = DIRECTORS[0];
/// Real servers, each tried so often on either side.
const REAL_SERVERS: u16 = 1_000;
/// Time between tries: the first with which keepalived makes those that are due. What is late is cheaper, for it comes in heaps.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// Pairs of measurements that are told, and most that are made for them.
const PAIRS: usize = 5;
const MOST_PAIRS: usize = 9;
/// How long each measurement lasts.
const WINDOW: Duration = Duration::from_secs(8);
/// How long a program is given until its table stands, and then until its tries have drifted apart.
const PATIENCE: Duration = Duration::from_mins(3);
const SETTLE: Duration = Duration::from_secs(3);
/// Tries that may be missing or too many, of a hundred: keepalived waits its interval after each try has ended. Where more are missing the
/// host was busy with something else, and what it took away counts as the program's: such a pair is left out.
const TOLERATED_PERCENT: usize = 25;
/// Most that a try of Fulcrum's may cost of one of keepalived's.
const MOST_OF_KEEPALIVED: f64 = 0.8;

/// What was measured of one side, once.
struct Cost {
    processor: Duration,
    tries: usize,
}

impl Cost {
    fn per_try_us(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / count(self.tries.max(1))
    }

    /// Made what was due, with some tolerance.
    fn is_on_time(&self, interval: Duration) -> bool {
        self.tries.abs_diff(due(interval)) * 100 <= due(interval) * TOLERATED_PERCENT
    }
}

/// Tries that are due in a window.
fn due(interval: Duration) -> usize {
    let rounds = WINDOW.as_secs() / interval.as_secs();
    usize::from(REAL_SERVERS) * usize::try_from(rounds).unwrap_or(usize::MAX)
}

/// Both sides in turn.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.with_tables_of(&[DIRECTOR], |lab| {
        let (cluster, paths) = lab.controllers()?;
        let crowd = Crowd::start()?;
        let interval = measurable(paths)?;
        save_plan(cluster, paths, interval)?;
        let mut pairs = Vec::with_capacity(PAIRS);
        let mut disturbed = 0;
        while pairs.len() < PAIRS && pairs.len() + disturbed < MOST_PAIRS {
            let pair = (fulcrum(paths)?, keepalived(paths, interval)?);
            if pair.0.is_on_time(interval) && pair.1.is_on_time(interval) {
                pairs.push(pair);
            } else {
                say!("  left out: one of the two was not on time");
                disturbed += 1;
            }
        }
        crowd.stop()?;
        findings.figure("interval_ms", millis(interval));
        findings.figure("pairs", count(pairs.len()));
        findings.figure("pairs_disturbed", count(disturbed));
        told(Side::Fulcrum, pairs.iter().map(|(cost, _)| cost), findings)?;
        told(Side::Keepalived, pairs.iter().map(|(_, cost)| cost), findings)?;
        compared(&pairs, findings)
    })
}

/// The shortest interval with which keepalived is on time, here.
fn measurable(paths: Paths<'_>) -> Result<Duration> {
    let [shortest, longer] = INTERVALS;
    let is_on_time = keepalived(paths, shortest)?.is_on_time(shortest);
    Ok(if is_on_time { shortest } else { longer })
}

fn told<'a>(
    side: Side,
    costs: impl Iterator<Item = &'a Cost>,
    findings: &mut Findings,
) -> Result<()> {
    let per_try: Vec<f64> = costs.map(Cost::per_try_us).collect();
    let middle = median(&per_try).context("the host is too busy: no pair was on time")?;
    findings.figure(format!("{}_per_try_us", side.as_str()), middle);
    let least = per_try.into_iter().fold(f64::INFINITY, f64::min);
    findings.figure(format!("{}_per_try_least_us", side.as_str()), least);
    Ok(())
}

/// The ratio of each pair, from the least to the greatest.
fn compared(pairs: &[(Cost, Cost)], findings: &mut Findings) -> Result<()> {
    let ratio =
        |(fulcrum, keepalived): &(Cost, Cost)| fulcrum.per_try_us() / keepalived.per_try_us();
    let mut ratios: Vec<f64> = pairs.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = median(&ratios).context("nothing was measured")?;
    let [least, .., greatest] = ratios[..] else {
        anyhow::bail!("the host is too busy: one pair shows no spread")
    };
    findings.figure("ratio_to_keepalived", middle);
    findings.figure("ratio_to_keepalived_least", least);
    findings.figure("ratio_to_keepalived_greatest", greatest);
    findings.at_most("processor time of Fulcrum to keepalived's", middle, MOST_OF_KEEPALIVED);
    Ok(())
}

/// Has the agent save a plan, by which it starts alone afterwards: no controller takes part of the processor.
fn save_plan(cluster: &mut Cluster, paths: Paths<'_>, interval: Duration) -> Result<()> {
    cluster.apply_text(&intent(interval))?;
    let agent = Process::start(paths.logs, launch_director(DIRECTOR, paths, &[])?)?;
    wait_for_table()?;
    for index in 0..CONTROLLERS.len() {
        cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    agent.kill()?;
    forget()
}

/// The whole agent, with all else that it does.
fn fulcrum(paths: Paths<'_>) -> Result<Cost> {
    Crowd::route(DIRECTOR)?;
    let agent = Process::start(paths.logs, launch_director(DIRECTOR, paths, &[])?)?;
    wait_for_table()?;
    let cost = measure(Side::Fulcrum, &[agent.pid()])?;
    agent.kill()?;
    forget()?;
    Ok(cost)
}

/// Its process of checks and its parent; VRRP is not part of it.
fn keepalived(paths: Paths<'_>, interval: Duration) -> Result<Cost> {
    let home = paths.dir.join("keepalived-checks");
    fs::create_dir_all(&home)?;
    let (file, mut args) = keepalived::arguments(&home);
    args.push("--check".to_owned());
    fs::write(&file, keepalived_config(interval))?;
    let checkers = home.join("c.pid");
    // Those of an instance that was killed would keep this one from starting.
    for left in [&checkers, &home.join("k.pid")] {
        let _ = fs::remove_file(left);
    }
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
    let checkers = fs::read_to_string(checkers)?;
    let checkers = checkers.trim().parse().context("keepalived's checkers have no number")?;
    let cost = measure(Side::Keepalived, &[process.pid(), checkers])?;
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

fn measure(side: Side, pids: &[u32]) -> Result<Cost> {
    std::thread::sleep(SETTLE);
    let (before, tried) = (processor_time(pids)?, Crowd::tried_by(DIRECTOR)?);
    let began = Instant::now();
    std::thread::sleep(WINDOW.saturating_sub(began.elapsed()));
    let tries = Crowd::tried_by(DIRECTOR)? - tried;
    let cost = Cost { processor: processor_time(pids)?.saturating_sub(before), tries };
    say!("  {}: {} ms for {tries} tries", side.as_str(), millis(cost.processor));
    Ok(cost)
}

/// Processor time of programs: of all their threads, those that have ended too, and of their children that have, their system calls
/// among it (proc(5), stat).
fn processor_time(pids: &[u32]) -> Result<Duration> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.context("the clock has no ticks")?;
    let mut ticks: u64 = 0;
    for pid in pids {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ticks += ticks_in(&text).with_context(|| format!("{} is short", path.display()))?;
    }
    Ok(Duration::from_secs(ticks) / u32::try_from(ticks_per_second)?)
}

/// The times of user and kernel, its own and of children that were waited for: fields 14 to 17.
fn ticks_in(stat: &str) -> Option<u64> {
    // The name, in brackets, may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let times = after_name.split_whitespace().skip(11).take(4);
    let times: Vec<u64> = times.map(|text| text.parse().ok()).collect::<Option<_>>()?;
    (times.len() == 4).then(|| times.iter().sum())
}

fn intent(interval: Duration) -> String {
    let instance = manifest::instance_with(Duration::from_secs(1), &[VIP]);
    let servers = crowd::manifest_with_pool(REAL_SERVERS, interval);
    format!(
        "{instance}{servers}---\nkind: VirtualServer\nname: v\nspec: {{vrrp_instance: vi-1, vip: {VIP}, port: {PORT}, \
         protocol: tcp, scheduler: rr, forwarding: dr, pool: all}}\n"
    )
}

/// A check by the defaults of Fulcrum's.
fn keepalived_config(interval: Duration) -> String {
    let mut text = format!(
        "virtual_server {VIP} {PORT} {{\n    delay_loop {}\n    lb_algo rr\n    lb_kind DR\n    \
         protocol TCP\n",
        interval.as_secs()
    );
    for number in 0..REAL_SERVERS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    real_server {} {PORT} {{\n        weight 1\n        TCP_CHECK {{\n            \
             connect_timeout 1\n            retry 1\n            delay_before_retry 1\n        }}\n    }}",
            rip(number)
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 5 3 20 0 9 0 100";
        assert_eq!(ticks_in(stat), Some(50));
        assert_eq!(ticks_in("7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 30"), None);
        assert_eq!(ticks_in("7"), None);
    }
}
