//! VRRP while its host is busy: adverts of 100 ms while a large table is programmed and many real servers are probed,
//! adverts of 10 ms while programs want the processor and netlink is busy. No failover is due, so each is a false one.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::cluster::{Cluster, Member, manifest};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{self, CONTROLLERS, DIRECTORS, VIP, ip_batch};
use crate::pair::{Paths, launch_director, signal_all};
use crate::peers::crowd::{self, Crowd, PORT};
use crate::process::{Launch, Process, wait_until};
use crate::say;
use crate::scenarios::ipvs_scale::table::entries;
use crate::watch::claims::{ClaimWatch, Claims};

/// Virtual servers, and the real servers of each: 100,000 rules on either director.
const VIRTUAL_SERVERS: u8 = 100;
const REAL_SERVERS: u16 = 1_000;
/// Time between adverts under either load.
const RELAXED: Duration = Duration::from_millis(100);
const TIGHT: Duration = Duration::from_millis(10);
/// How long programs may take to start and elect.
const ELECT: Duration = Duration::from_secs(40);
/// How long the table may take on either director, one processor for all.
const PROGRAM: Duration = Duration::from_mins(5);
/// Time between two looks at the table.
const LOOK_AT_TABLE_EVERY: Duration = Duration::from_secs(3);
/// Time between two probes of a real server by the same director, and how long they are watched once the table stands.
const PROBED_EVERY: Duration = Duration::from_secs(5);
const PROBED: Duration = Duration::from_secs(15);
/// How long adverts of 10 ms are watched, and how many programs want the processor meanwhile.
const BUSY: Duration = Duration::from_secs(10);
const BUSY_PROGRAMS: usize = 4;
/// Routes that are added and deleted again in one breath by the netlink load.
const ROUTES: u8 = 100;

/// Both directors at work, adverts heard.
struct Ground<'a> {
    cluster: &'a mut Cluster,
    paths: Paths<'a>,
    agents: Vec<Process>,
}

/// Both loads.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.with_tables_of(&DIRECTORS, |lab| both(lab, findings))
}

fn both(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, paths) = lab.controllers()?;
    let mut ground = Ground { cluster, paths, agents: Vec::new() };
    busy_host(&mut ground, findings)?;
    // The large table comes last: no controller lives at its end.
    let servers = Crowd::start()?;
    let result = large_table(&mut ground, findings);
    servers.stop()?;
    result
}

/// 100,000 rules, and 1,000 real servers that both directors probe.
fn large_table(ground: &mut Ground<'_>, findings: &mut Findings) -> Result<()> {
    ground.start(RELAXED)?;
    let watch = ClaimWatch::start()?;
    let begin = Instant::now();
    let before: Vec<usize> = ground.agents.iter().map(plans_applied).collect();
    ground.cluster.apply_text(&large(RELAXED))?;
    for (agent, before) in ground.agents.iter().zip(before) {
        wait_until(&format!("{} has programmed its table", agent.name), PROGRAM, || {
            Ok((plans_applied(agent) > before).then_some(()))
        })?;
    }
    // What two directors tell of 200,000 weights would be the controllers' load, on the same one processor.
    for index in 0..CONTROLLERS.len() {
        ground.cluster.stop(Member::Controller(index), Signal::SIGKILL)?;
    }
    let rules = usize::from(VIRTUAL_SERVERS) * usize::from(REAL_SERVERS);
    let wanted = rules + usize::from(VIRTUAL_SERVERS);
    for director in DIRECTORS {
        wait_until(&format!("{} has {wanted} entries", director.name), PROGRAM, || {
            // Reading the table takes a second of the one processor itself.
            std::thread::sleep(LOOK_AT_TABLE_EVERY);
            Ok((entries(director.name)? >= wanted).then_some(()))
        })?;
    }
    let programmed = begin.elapsed();
    let answered = tried()?;
    std::thread::sleep(PROBED);
    let answered = tried()? - answered;
    let claims = watch.stop()?;
    findings.figure("rules", count(rules));
    findings.figure("programmed_s", programmed.as_secs_f64());
    findings.figure("real_servers", f64::from(REAL_SERVERS));
    findings.figure("probes_answered", count(answered));
    // One round may be cut off at either end.
    let due = (PROBED.as_secs() / PROBED_EVERY.as_secs() - 1) * u64::from(REAL_SERVERS);
    let due = usize::try_from(due)? * DIRECTORS.len();
    findings.require(answered >= due, format!("{answered} probes were answered, {due} are due"));
    told(RELAXED, &claims, findings);
    ground.stop()
}

/// Tries of both directors until now.
fn tried() -> Result<usize> {
    DIRECTORS.into_iter().map(Crowd::tried_by).sum()
}

/// How many plans an agent has applied by the word of its log, which it writes when the table is programmed.
fn plans_applied(agent: &Process) -> usize {
    agent.log_text().matches("plan applied").count()
}

/// Programs that want the processor, and requests that change routes, on both directors' hosts.
fn busy_host(ground: &mut Ground<'_>, findings: &mut Findings) -> Result<()> {
    ground.start(TIGHT)?;
    let watch = ClaimWatch::start()?;
    let busy: Result<Vec<Process>> =
        (0..BUSY_PROGRAMS).map(|index| spin(ground.paths, index)).collect();
    let busy = busy?;
    let begin = Instant::now();
    let mut edits = 0;
    while begin.elapsed() < BUSY {
        for director in DIRECTORS {
            edits += change_routes(director.name)?;
        }
    }
    let claims = watch.stop()?;
    for process in busy {
        process.kill()?;
    }
    findings.figure("netlink_edits", count(edits));
    told(TIGHT, &claims, findings);
    ground.stop()
}

fn told(interval: Duration, claims: &Claims, findings: &mut Findings) {
    let adverts = format!("{}ms", interval.as_millis());
    say!("  adverts of {adverts}: {:?}", claims.adverts);
    findings.figure(format!("adverts_{adverts}"), count(claims.adverts[0]));
    findings.figure(format!("false_failovers_{adverts}"), count(claims.failovers));
    findings.figure(format!("longest_advert_gap_ms_{adverts}"), millis(claims.longest_gap()));
    let late = millis(claims.late_p999(interval));
    findings.figure(format!("advert_late_ms_p999_{adverts}"), late);
    // 10 ms are at the edge of what a kernel with one processor and its own timers of some milliseconds can do: told.
    if interval == RELAXED {
        let false_ones = count(claims.failovers);
        findings.at_most(&format!("false failovers, {adverts}"), false_ones, 0.0);
    }
    findings.require(claims.adverts[0] > 0, format!("the Active sent adverts, {adverts}"));
}

impl Ground<'_> {
    /// Both directors with an instance of that interval and nothing else, the first one Active.
    fn start(&mut self, advert: Duration) -> Result<()> {
        self.cluster.apply_text(&manifest::instance_with(advert, &[VIP]))?;
        for director in DIRECTORS {
            let launch = launch_director(director, self.paths, &[])?;
            self.agents.push(Process::start(self.paths.logs, launch)?);
        }
        let begin = Instant::now();
        // Whoever starts first may lead for a moment.
        loop {
            let watch = ClaimWatch::start()?;
            std::thread::sleep(advert * 20);
            let claims = watch.stop()?;
            if claims.adverts[0] > 10 && claims.adverts[1] == 0 {
                return Ok(());
            }
            if begin.elapsed() > ELECT {
                bail!("{} is not alone Active: {claims:?}", DIRECTORS[0].name);
            }
        }
    }

    fn stop(&mut self) -> Result<()> {
        for agent in self.agents.drain(..) {
            agent.kill()?;
        }
        for director in DIRECTORS {
            signal_all(director, Signal::SIGKILL)?;
            topology::forget_like_a_reboot(director)?;
        }
        Ok(())
    }
}

/// The manifest with all virtual and real servers.
fn large(advert: Duration) -> String {
    let vips: Vec<Ipv4Addr> =
        (1..=VIRTUAL_SERVERS).map(|last| Ipv4Addr::new(192, 168, 2, last)).collect();
    let mut text = manifest::instance_with(advert, &vips);
    text.push_str(&crowd::manifest_with_pool(REAL_SERVERS, PROBED_EVERY));
    for (number, vip) in vips.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\nkind: VirtualServer\nname: v{number}\nspec: {{vrrp_instance: vi-1, vip: {vip}, \
             port: {PORT}, protocol: tcp, scheduler: rr, forwarding: dr, pool: all}}\n"
        );
    }
    text
}

fn spin(paths: Paths<'_>, index: usize) -> Result<Process> {
    let launch = Launch {
        node: Some(DIRECTORS[index % DIRECTORS.len()].name),
        label: "busy".to_owned(),
        program: "sh".into(),
        args: vec!["-c".to_owned(), "while :; do :; done".to_owned()],
        env: Vec::new(),
    };
    Process::start(paths.logs, launch)
}

/// Adds and deletes routes; answers with the number of requests.
fn change_routes(director: &str) -> Result<usize> {
    let change = |verb| (1..=ROUTES).map(move |n| format!("route {verb} 10.99.{n}.0/24 dev lo"));
    let lines: Vec<String> = change("add").chain(change("del")).collect();
    ip_batch(Some(director), &lines)?;
    Ok(lines.len())
}
