//! A table of 10,000 entries in which another program changes things: found and put right within seconds by the least edit,
//! told, and looked for at next to no cost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;

use super::ipvs_scale::table::{entries, virtual_server};
use crate::cluster::told::{self, Writes};
use crate::cluster::{Cluster, manifest};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{DIRECTORS, Node};
use crate::pair::launch_director;
use crate::peers::crowd::{self, Crowd, PORT, rip};
use crate::process::{Process, wait_until};
use crate::say;
use crate::watch::ipvsadm;

/// The director.
const DIRECTOR: Node = DIRECTORS[0];
/// Virtual servers, how many of them are at each VIP, and real servers of each: 10,000 entries.
const VIRTUAL_SERVERS: u16 = 1_000;
/// Time between two checks of a real server, which are not what is measured.
const TRIED_EVERY: Duration = Duration::from_secs(5);
const AT_EACH_VIP: u16 = 100;
const REAL_SERVERS: u16 = 9;
/// Entries of a virtual server.
const WITH_REAL_SERVERS: usize = REAL_SERVERS as usize + 1;
/// How long programming, or a repair that is late, may take.
const PATIENCE: Duration = Duration::from_mins(3);
/// Time between two looks: each starts ipvsadm on the machine's one processor.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a report may take, and the time between two looks at reports, which hold the whole table.
const REPORTED: Duration = Duration::from_secs(30);
const LOOK_AT_REPORTS_EVERY: Duration = Duration::from_secs(1);
/// Longest time from the change to the repair.
const REPAIRED: Duration = Duration::from_secs(10);
/// What is left alone must stand for longer than a repair takes.
const LEFT_ALONE: Duration = Duration::from_secs(12);
/// How long the agent is watched at rest, after how much rest, and the most of one processor that it may take.
const QUIET: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(10);
/// Of the thread that dumps the table.
const MOST_CPU_PERCENT: f64 = 2.0;
const LOOKING_THREAD: &str = "ipvs";
/// A virtual server that nobody ordered.
const FOREIGN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 80);

/// What another program does to a virtual server of ours, and the edits that put it right.
struct Blow {
    name: &'static str,
    /// Words of ipvsadm; VIP and RIP stand for those of the virtual server.
    words: &'static [&'static str],
    repair: Writes,
}

const NO_WRITES: Writes = Writes { added: 0, edited: 0, deleted: 0, repaired: 0 };
const BLOWS: [Blow; 4] = [
    Blow {
        name: "weight",
        words: &["-e", "-t", "VIP", "-r", "RIP", "-m", "-w", "50"],
        repair: Writes { edited: 1, repaired: 1, ..NO_WRITES },
    },
    Blow {
        name: "destination",
        words: &["-d", "-t", "VIP", "-r", "RIP"],
        repair: Writes { added: 1, repaired: 1, ..NO_WRITES },
    },
    Blow {
        name: "virtual_server",
        words: &["-D", "-t", "VIP"],
        repair: Writes { added: WITH_REAL_SERVERS, repaired: WITH_REAL_SERVERS, ..NO_WRITES },
    },
    Blow {
        name: "scheduler",
        words: &["-E", "-t", "VIP", "-s", "lc"],
        repair: Writes { edited: 1, repaired: 1, ..NO_WRITES },
    },
];

/// All of it, with one director.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.with_tables_of(&[DIRECTOR], |lab| drift(lab, findings))
}

fn drift(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, paths) = lab.controllers()?;
    let crowd = Crowd::start()?;
    cluster.apply_text(&large(""))?;
    let agent = Process::start(paths.logs, launch_director(DIRECTOR, paths, &[])?)?;
    let wanted = usize::from(VIRTUAL_SERVERS) * usize::from(REAL_SERVERS + 1);
    wait_until("the whole table stands, with its weights", PATIENCE, || {
        let ends = is_whole(0)? && is_whole(VIRTUAL_SERVERS - 1)?;
        Ok((ends && entries(DIRECTOR.name)? == wanted).then_some(()))
    })?;
    findings.figure("entries", count(wanted));

    std::thread::sleep(SETTLE);
    let shares = shares_over(QUIET, &agent)?;
    findings.figure("look_cpu_percent", shares.look);
    findings.figure("quiet_cpu_percent", shares.agent);
    findings.at_most("look_cpu_percent", shares.look, MOST_CPU_PERCENT);

    for (number, blow) in (100..).step_by(200).zip(&BLOWS) {
        strike(cluster, number, blow, findings)?;
    }
    foreign(cluster, findings)?;
    agent.kill()?;
    crowd.stop()
}

/// Another program's change, and its repair.
fn strike(cluster: &Cluster, number: u16, blow: &Blow, findings: &mut Findings) -> Result<()> {
    let before = told::writes(cluster, DIRECTOR)?;
    let (vip, rip) = (vip(number), format!("{}:{PORT}", rip(0)));
    let vip_word = vip.to_string();
    let words: Vec<&str> = blow
        .words
        .iter()
        .map(|word| match *word {
            "VIP" => vip_word.as_str(),
            "RIP" => rip.as_str(),
            other => other,
        })
        .collect();
    let name = blow.name;
    say!("{name}: ipvsadm {}", words.join(" "));
    ipvsadm::run(DIRECTOR, &words)?;
    let struck = Instant::now();
    let repaired = wait_until(&format!("{name}: {vip} is as before"), PATIENCE, || {
        std::thread::sleep(LOOK_EVERY);
        Ok(is_whole(number)?.then(Instant::now))
    })?;
    findings.figure(format!("{name}_repaired_ms"), millis(repaired - struck));
    findings.at_most(&format!("{name}_repaired_ms"), millis(repaired - struck), millis(REPAIRED));

    let what = format!("the director tells of {vip}");
    let drift = wait_until(&what, REPORTED, || {
        std::thread::sleep(LOOK_AT_REPORTS_EVERY);
        let told = told::of(cluster, DIRECTOR)?;
        let all = told["ipvs_drift"].as_array().cloned().unwrap_or_default();
        let names_it =
            |drift: &Value| drift["entry"].as_str().is_some_and(|entry| entry.contains(&vip_word));
        Ok(all.into_iter().find(names_it))
    });
    match drift {
        Ok(drift) => say!("  told: {drift}"),
        Err(error) => findings.require(false, format!("{name}: {error:#}")),
    }
    let writes = told::writes(cluster, DIRECTOR)?.since(before);
    findings.require(
        writes == blow.repair,
        format!("{name}: repaired by the least edit, {:?}: {writes:?}", blow.repair),
    );
    Ok(())
}

/// A virtual server of another program: left alone and reported, until the director is told to have IPVS for itself.
fn foreign(cluster: &mut Cluster, findings: &mut Findings) -> Result<()> {
    let at = FOREIGN.to_string();
    ipvsadm::run(DIRECTOR, &["-A", "-t", &at, "-s", "wlc"])?;
    ipvsadm::run(DIRECTOR, &["-a", "-t", &at, "-r", "10.66.3.1:80", "-m", "-w", "3"])?;
    std::thread::sleep(LEFT_ALONE);
    findings.require(stands()?, "a foreign virtual server is left alone");
    let vip = FOREIGN.ip().to_string();
    let told = wait_until("the foreign virtual server is reported", REPORTED, || {
        std::thread::sleep(LOOK_AT_REPORTS_EVERY);
        let told = told::of(cluster, DIRECTOR)?;
        let servers = told["ipvs"].as_array().map_or(&[][..], Vec::as_slice);
        let found = servers.iter().any(|it| it["vip"] == vip.as_str() && it["foreign"] == true);
        Ok(found.then_some(()))
    });
    findings.require(told.is_ok(), "a foreign virtual server is reported as foreign");

    cluster.apply_text(&large(", ipvs: {exclusive: true}"))?;
    let ordered = Instant::now();
    let gone = wait_until("the foreign virtual server is gone", REPAIRED, || {
        std::thread::sleep(LOOK_EVERY);
        Ok((!stands()?).then(Instant::now))
    });
    if let Ok(gone) = gone {
        findings.figure("exclusive_removed_ms", millis(gone - ordered));
    }
    findings.require(gone.is_ok(), "with exclusive, a foreign virtual server is removed");
    Ok(())
}

fn stands() -> Result<bool> {
    Ok(virtual_server(DIRECTOR.name, FOREIGN)?.is_some())
}

/// Shares of one processor over some time, in percent, by the machine's clock.
struct Shares {
    /// Of the thread that looks at the table.
    look: f64,
    /// Of all threads.
    agent: f64,
}

fn shares_over(time: Duration, process: &Process) -> Result<Shares> {
    let (before, begin) = (seconds_of_threads(process)?, Instant::now());
    std::thread::sleep(time);
    let after = seconds_of_threads(process)?;
    say!("  processor seconds of its threads since their start: {after:?}");
    let elapsed = begin.elapsed().as_secs_f64();
    let share = |wanted: fn(&str) -> bool| {
        let sum = |threads: &[(String, f64)]| -> f64 {
            threads.iter().filter(|(name, _)| wanted(name)).map(|(_, seconds)| seconds).sum()
        };
        100.0 * (sum(&after) - sum(&before)) / elapsed
    };
    if !after.iter().any(|(name, _)| name == LOOKING_THREAD) {
        bail!("the agent has no thread {LOOKING_THREAD:?}: {after:?}");
    }
    Ok(Shares { look: share(|name| name == LOOKING_THREAD), agent: share(|_| true) })
}

/// Each thread's name with its `utime` and `stime` of /proc/PID/task/TID/stat (proc(5)), in seconds.
fn seconds_of_threads(process: &Process) -> Result<Vec<(String, f64)>> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    let ticks_per_second = f64::from(i32::try_from(ticks_per_second)?);
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", process.pid()))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        // The name is in parentheses and may hold anything; the state follows it as the third field.
        let (name, fields) = stat.rsplit_once(')').context("no thread name")?;
        let (_, name) = name.split_once('(').context("no thread name")?;
        let field = |number: usize| -> Result<f64> {
            let word = fields.split_whitespace().nth(number - 3).context("stat is short")?;
            Ok(word.parse()?)
        };
        threads.push((name.to_owned(), (field(14)? + field(15)?) / ticks_per_second));
    }
    Ok(threads)
}

/// Where the virtual server of that number is.
fn vip(number: u16) -> SocketAddrV4 {
    let last = u8::try_from(number / AT_EACH_VIP).unwrap_or(u8::MAX);
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 2, last + 1), 10_000 + number % AT_EACH_VIP)
}

/// Whether it stands as it was ordered, without connections.
fn is_whole(number: u16) -> Result<bool> {
    let printed = virtual_server(DIRECTOR.name, vip(number))?.unwrap_or_default();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    // After the headings, its real servers are in any order.
    let entries = printed.lines().filter(|line| !line.contains("Address:Port"));
    let found: BTreeSet<String> = entries.map(words).collect();
    let entry = |number| format!("-> {}:{PORT} Masq 1 0 0", rip(number));
    let mut wanted: BTreeSet<String> = (0..REAL_SERVERS).map(entry).collect();
    wanted.insert(format!("TCP {} rr", vip(number)));
    Ok(found == wanted)
}

/// The intent; `more` stands in the directors' spec.
fn large(more: &str) -> String {
    let vips: Vec<Ipv4Addr> =
        (0..VIRTUAL_SERVERS / AT_EACH_VIP).map(|it| *vip(it * AT_EACH_VIP).ip()).collect();
    let mut text = manifest::instance_with(Duration::from_secs(1), &vips)
        .replace("interface: eth0}", &format!("interface: eth0{more}}}"));
    text.push_str(&crowd::manifest_with_pool(REAL_SERVERS, TRIED_EVERY));
    for number in 0..VIRTUAL_SERVERS {
        let vip = vip(number);
        let _ = write!(
            text,
            "---\nkind: VirtualServer\nname: v{number}\nspec: {{vrrp_instance: vi-1, vip: {}, port: {}, \
             scheduler: rr, forwarding: nat, pool: all}}\n",
            vip.ip(),
            vip.port()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directors_are_told_more() {
        let text = large(", ipvs: {exclusive: true}");
        assert_eq!(text.matches("interface: eth0, ipvs: {exclusive: true}}").count(), 2);
    }
}
