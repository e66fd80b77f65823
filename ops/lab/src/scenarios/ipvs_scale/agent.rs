//! Fulcrum's agent with the large table: by a plan of living controllers, edited, restarted, and from its saved plan alone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::plain;
use super::table::{Bare, InPlace, clear, entries, require_entries};
use super::{REAL_SERVERS, VIRTUAL_SERVERS};
use crate::cluster::{Cluster, Member, manifest, told};
use crate::contest::{count, millis, told_ms};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{self, CONTROLLERS, DIRECTORS, Node, ip_batch};
use crate::pair::{Paths, launch_director};
use crate::peers::crowd::{self, Crowd};
use crate::process::{Launch, Process, wait, wait_told, wait_until};
use crate::say;
use crate::watch::weights::WeightEye;

/// The director.
const DIRECTOR: topology::Node = DIRECTORS[0];
/// Virtual servers are at so many VIPs.
const VIPS: u32 = 100;
/// The first port of the virtual servers at a VIP.
const FIRST_PORT: u16 = 10_000;
/// Real servers of the pool that one virtual server alone uses; the pool that takes its place has as many others.
const HUNDRED: u16 = 100;
/// Adverts are not what is measured.
const ADVERT: Duration = Duration::from_secs(1);
/// Virtual servers of one Apply: more at once take an emulated machine longer than controllers wait for one another.
const PART: u32 = 500;
/// How long a program may take for any step.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long it may take to look at the whole table once, with a fiftieth of the one processor.
const ROUND_PATIENCE: Duration = Duration::from_mins(8);
/// How long the agent is left alone before its memory is read: some reports and looks at the table.
const SETTLE: Duration = Duration::from_secs(20);
/// Time between two looks at the table: in user-mode-linux a look takes a few hundred microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What the agent logs when it has written much, and when a plan is in the kernel.
const WRITTEN: &str = "IPVS table programmed";
const APPLIED: &str = "plan applied";

/// What was measured.
pub(super) struct Measured {
    /// The same table by the loop that only sends, of each trial.
    pub(super) raw_loop_ms: Vec<f64>,
    /// From the agent's first write until all stood, from its saved plan and with no controller, of each trial.
    pub(super) programmed_ms: Vec<f64>,
    /// Edits that a restarted agent made to a table that was right.
    pub(super) edits_of_restart: f64,
    /// The agent's memory with the whole table.
    pub(super) resident_mib: f64,
}

/// Runs the director, and leaves it as after a reboot.
pub(super) fn measure(lab: &mut Lab, findings: &mut Findings, trials: u8) -> Result<Measured> {
    lab.raise_network()?;
    // What hears deletions copies every request, and this is about how fast those are.
    let ear = |state: &str| ip_batch(Some(DIRECTOR.name), &[format!("link set lab-nlmon {state}")]);
    let had_ear = ear("down").is_ok();
    let outcome = lab.with_tables_of(&[DIRECTOR], |lab| by_plan(lab, findings, trials));
    if had_ear {
        ear("up")?;
    }
    outcome
}

fn by_plan(lab: &mut Lab, findings: &mut Findings, trials: u8) -> Result<Measured> {
    let (cluster, paths) = lab.controllers()?;
    let crowd = Crowd::start()?;
    let mut director = Director { paths, agent: None };
    cluster.apply_text(&manifest(1))?;
    director.start()?;
    let mut eye = WeightEye::at(DIRECTOR.name)?;
    wait_for(&mut eye, vip_of(0), |weights| count_of(weights, 1) == REAL_SERVERS)?;
    wait_for(&mut eye, lone_vip(), |weights| count_of(weights, 1) == HUNDRED)?;
    director.wait_for_word(APPLIED, 0)?;

    director.programs(&mut eye, cluster, findings)?;
    std::thread::sleep(SETTLE);
    let resident_mib = director.memory_mib("VmRSS")?;
    findings.figure("fulcrum_memory_mib", resident_mib);
    findings.figure("fulcrum_memory_peak_mib", director.memory_mib("VmHWM")?);
    director.edits(&mut eye, cluster, findings)?;
    let edits_of_restart = director.restarts(cluster, findings)?;

    for index in 0..CONTROLLERS.len() {
        cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    director.stop(Signal::SIGKILL)?;
    let standing = entries(DIRECTOR.name)?;
    clear(DIRECTOR)?;
    let (mut raw_loop_ms, mut programmed_ms) = (Vec::new(), Vec::new());
    for trial in 1..=trials {
        say!("trial {trial} of {trials}");
        let place = in_place()?;
        raw_loop_ms.push(plain::raw_loop(paths.bin_dir, &place.bare, 400, &alike())?);
        drop(place);
        programmed_ms.push(director.program_from_disk(standing)?);
    }
    crowd.stop()?;
    Ok(Measured { raw_loop_ms, programmed_ms, edits_of_restart, resident_mib })
}

/// The director's agent, which is started again and again.
struct Director<'a> {
    paths: Paths<'a>,
    agent: Option<Process>,
}

impl Director<'_> {
    fn start(&mut self) -> Result<()> {
        let launch = launch_director(DIRECTOR, self.paths, &[])?;
        self.agent = Some(Process::start(self.paths.logs, launch)?);
        Ok(())
    }

    fn stop(&mut self, signal: Signal) -> Result<()> {
        if let Some(mut agent) = self.agent.take() {
            agent.signal(signal)?;
            agent.wait(PATIENCE)?;
        }
        Ok(())
    }

    fn log(&self) -> Result<String> {
        Ok(self.agent.as_ref().context("the agent was not started")?.log_text())
    }

    /// Waits until its log has `word` once more than so many times.
    fn wait_for_word(&self, word: &str, before: usize) -> Result<()> {
        wait_until(&format!("the agent says {word:?}"), PATIENCE, || {
            Ok((self.log()?.matches(word).count() > before).then_some(()))
        })
    }

    /// The whole table, part by part.
    fn programs(
        &self,
        eye: &mut WeightEye,
        cluster: &Cluster,
        findings: &mut Findings,
    ) -> Result<()> {
        let began = Instant::now();
        for first in (1..VIRTUAL_SERVERS).step_by(PART as usize) {
            let last = (first + PART).min(VIRTUAL_SERVERS);
            let part: String =
                (first..last).map(|number| virtual_server_text(number, "ten")).collect();
            apply(cluster, self.paths.dir, &part)?;
        }
        // Its key is the greatest, so it is written last.
        let last = vip_of(VIRTUAL_SERVERS - 1);
        wait_for(eye, last, |weights| count_of(weights, 1) == REAL_SERVERS)?;
        findings.figure("fulcrum_from_apply_ms", millis(began.elapsed()));
        require_entries(DIRECTOR.name, whole_table())
    }

    /// Small changes of the large table, each from when `lvsctl` begins, and from when Apply has answered.
    fn edits(&self, eye: &mut WeightEye, cluster: &Cluster, findings: &mut Findings) -> Result<()> {
        let more = virtual_server_text(VIRTUAL_SERVERS, "ten");
        let mut one = |name: &str, text: &str, vip, is_wanted: &dyn Fn(&[u32]) -> bool| {
            let began = Instant::now();
            apply(cluster, self.paths.dir, text)?;
            let answered = Instant::now();
            let seen = wait_for(eye, vip, is_wanted)?;
            findings.figure(format!("{name}_ms"), millis(seen.saturating_duration_since(answered)));
            findings.figure(format!("{name}_from_order_ms"), millis(seen - began));
            anyhow::Ok(())
        };
        one("one_virtual_server_more", &more, vip_of(VIRTUAL_SERVERS), &|weights| {
            count_of(weights, 1) == REAL_SERVERS
        })?;
        let heavier = pool_text("hundred", hundred(0), 7);
        one("one_weight_changed", &heavier, lone_vip(), &|weights| count_of(weights, 7) == 1)?;
        let other = pool_text("hundred", hundred(1), 3);
        one("pool_of_100_replaced", &other, lone_vip(), &|weights| {
            (count_of(weights, 3), count_of(weights, 1)) == (1, HUNDRED - 1)
        })
    }

    /// Ends the agent by plan and starts it again; answers with the edits that it then made.
    fn restarts(&mut self, cluster: &Cluster, findings: &mut Findings) -> Result<f64> {
        self.stop(Signal::SIGTERM)?;
        let began = Instant::now();
        self.start()?;
        self.wait_for_word(APPLIED, 0)?;
        findings.figure("restart_ms", millis(began.elapsed()));
        std::thread::sleep(SETTLE);
        findings.figure("fulcrum_memory_restarted_mib", self.memory_mib("VmRSS")?);
        let round_ms =
            wait_told("the agent has gone through the table once", ROUND_PATIENCE, || {
                let told = told::of(cluster, DIRECTOR)?;
                Ok(told["ipvs_round"].as_str().and_then(told_ms))
            })?;
        findings.figure("drift_found_within_ms", round_ms);
        Ok(count(told::writes_reported(cluster, DIRECTOR)?.all()))
    }

    /// Programs a table that was never used by the plan on disk, which has so many entries; answers with the milliseconds from the
    /// first write.
    fn program_from_disk(&mut self, wanted: usize) -> Result<f64> {
        let place = in_place()?;
        let launch = launch_director(DIRECTOR, self.paths, &[])?;
        let launch = Launch { node: Some(Bare::NAME), ..launch };
        self.agent = Some(Process::start(self.paths.logs, launch)?);
        // Each look takes the one processor that the agent has.
        let log = wait_told("the agent has programmed its table", PATIENCE, || {
            let log = self.log()?;
            Ok([APPLIED, WRITTEN].iter().all(|word| log.contains(word)).then_some(log))
        })?;
        require_entries(Bare::NAME, wanted)?;
        self.stop(Signal::SIGKILL)?;
        drop(place);
        took_ms(&log)
    }

    /// A line of its `/proc/PID/status`, in MiB.
    fn memory_mib(&self, name: &str) -> Result<f64> {
        let pid = self.agent.as_ref().context("the agent was not started")?.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("no {name} of the agent"))? / 1024.0)
    }
}

/// A namespace in place of the director's, with the ways that it has.
fn in_place() -> Result<InPlace> {
    let place = Bare::in_place_of(DIRECTOR)?;
    Crowd::route(Node { name: Bare::NAME, ..DIRECTOR })?;
    Ok(place)
}

/// The milliseconds of the first large burst of edits in a log.
fn took_ms(log: &str) -> Result<f64> {
    let line = log.lines().find(|line| line.contains(WRITTEN)).context("it has written little")?;
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("took_ms="));
    Ok(word.with_context(|| format!("no time in {line:?}"))?.parse()?)
}

/// Applies a part of the intent.
fn apply(cluster: &Cluster, dir: &Path, text: &str) -> Result<()> {
    let path = dir.join("part.yaml");
    fs::write(&path, text)?;
    cluster.must(&["apply", "-f", &path.to_string_lossy()])
}

/// Entries of the whole table, with those of the lone virtual server.
fn whole_table() -> usize {
    VIRTUAL_SERVERS as usize * (usize::from(REAL_SERVERS) + 1) + usize::from(HUNDRED) + 1
}

/// What makes the raw loop's table the same as ours. Addresses and ports count: they choose which of its 256 lists of virtual
/// servers the kernel looks through at each addition, and how long those become.
fn alike() -> Vec<String> {
    let first = vip_of(0);
    [
        ("--vips", VIPS.to_string()),
        ("--first-vip", first.ip().to_string()),
        ("--first-port", first.port().to_string()),
        ("--first-rip", crowd::rip(0).to_string()),
        ("--real-port", crowd::PORT.to_string()),
        ("--forwarding", "nat".to_owned()),
    ]
    .map(|(option, value)| [option.to_owned(), value])
    .as_flattened()
    .to_vec()
}

/// How many of them are `weight`.
fn count_of(weights: &[u32], weight: u32) -> u16 {
    let count = weights.iter().filter(|found| **found == weight).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Where the virtual server of that number is.
fn vip_of(number: u32) -> SocketAddrV4 {
    let last = u8::try_from(number % VIPS).unwrap_or(u8::MAX);
    let port = FIRST_PORT + u16::try_from(number / VIPS).unwrap_or(u16::MAX);
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 2, last + 1), port)
}

/// Where the virtual server with a pool of its own is.
fn lone_vip() -> SocketAddrV4 {
    SocketAddrV4::new(*vip_of(0).ip(), 80)
}

/// The numbers of the real servers of a pool of a hundred.
fn hundred(which: u16) -> std::ops::Range<u16> {
    let first = REAL_SERVERS + which * HUNDRED;
    first..first + HUNDRED
}

/// The intent with so many virtual servers of ten real servers, and one of a hundred.
fn manifest(virtual_servers: u32) -> String {
    let vips: Vec<Ipv4Addr> = (0..VIPS).map(|number| *vip_of(number).ip()).collect();
    let mut text = manifest::instance_with(ADVERT, &vips);
    text.push_str(&crowd::manifest(hundred(1).end));
    text.push_str(&pool_text("ten", 0..REAL_SERVERS, 1));
    text.push_str(&pool_text("hundred", hundred(0), 1));
    for number in 0..virtual_servers {
        text.push_str(&virtual_server_text(number, "ten"));
    }
    text.push_str(&virtual_server_at("lone", lone_vip(), "hundred"));
    text
}

/// A pool of weight 1, but for its first real server.
fn pool_text(name: &str, members: std::ops::Range<u16>, first_weight: u32) -> String {
    let first = members.start;
    let weight = |number| if number == first { first_weight } else { 1 };
    let member = |number| format!("{{real_server: r{number}, weight: {}}}", weight(number));
    let members: Vec<String> = members.map(member).collect();
    format!(
        "---\nkind: Pool\nname: {name}\nspec:\n  agent: none\n  check: {{tcp: {{}}, interval: 5s}}\n  members: [{}]\n",
        members.join(", ")
    )
}

fn virtual_server_text(number: u32, pool: &str) -> String {
    virtual_server_at(&format!("v{number}"), vip_of(number), pool)
}

fn virtual_server_at(name: &str, vip: SocketAddrV4, pool: &str) -> String {
    format!(
        "---\nkind: VirtualServer\nname: {name}\nspec: {{vrrp_instance: vi-1, vip: {}, port: {}, protocol: tcp, \
         scheduler: rr, forwarding: nat, pool: {pool}}}\n",
        vip.ip(),
        vip.port()
    )
}

/// Waits until the weights at `vip` are as `is_wanted` says, and tells when that was seen.
fn wait_for(
    eye: &mut WeightEye,
    vip: SocketAddrV4,
    is_wanted: impl Fn(&[u32]) -> bool,
) -> Result<Instant> {
    wait(&format!("virtual server {vip} is as wanted"), PATIENCE, LOOK_EVERY, || {
        Ok(is_wanted(&eye.weights(vip)?).then(Instant::now))
    })
}
