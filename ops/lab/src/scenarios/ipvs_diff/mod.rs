//! Random intents one after the other, on two real kernels: each holds exactly what is wanted, nothing that stays is ever
//! deleted, and what is right already is not written. Between them another program has its hands in a table.

pub(super) mod intent;
mod other_program;
pub(super) mod random;

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::client::kept::Kept;
use crate::cluster::told;
use crate::cluster::{Cluster, READY};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::endpoint::Endpoint;
use crate::net::quiet;
use crate::net::topology::{self, CLIENT, DIRECTORS, PORT, VIP, WEBS};
use crate::pair::{Paths, launch_director, start_in_turn};
use crate::peers::answerer;
use crate::peers::crowd::Crowd;
use crate::process::{Process, wait_until};
use crate::say;
use crate::watch::edits::EditEar;
use crate::watch::ipvsadm::{self, Rules};
use intent::Intent;
use other_program::OtherProgram;
use random::Random;

/// What the numbers begin with; another seed is another run.
const SEED: u64 = 0x4c56_5300;
/// Intents.
const STEPS: usize = 24;
/// After every so many of them the same is applied once more.
const REPEAT_EVERY: usize = 6;
/// Another program acts after every so many of them, and the Backup's agent is killed in the middle.
const INTERFERE_EVERY: usize = 4;
/// How long a change may take until it is in both kernels, with the checks of new real servers.
const PROGRAM: Duration = Duration::from_secs(20);
/// How long the first director may take to be Active.
const ELECT: Duration = Duration::from_secs(40);
/// How long an agent that was started again has to write what it should not.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a report may take, and the time between two looks at reports.
const REPORTED: Duration = Duration::from_secs(30);
const LOOK_AT_REPORTS_EVERY: Duration = Duration::from_secs(1);
/// Connections through the virtual server that stays, and how often each asks.
const ESTABLISHED: usize = 20;
const EVERY: Duration = Duration::from_millis(500);
/// How long one may take to be answered at the end.
const ANSWER: Duration = Duration::from_secs(15);

/// All steps.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.with_tables_of(&DIRECTORS, |lab| on_servers(lab, |lab| steps(lab, findings)))
}

/// Works with real servers that answer, those of the intent's pools and those that hold its VIP.
pub(super) fn on_servers(lab: &mut Lab, work: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let crowd = Crowd::start()?;
    let endpoint: Endpoint = format!("tcp/0.0.0.0:{PORT}").parse()?;
    let mut servers = Vec::new();
    for web in WEBS {
        quiet::hold(web, &[VIP])?;
        servers.push(answerer::start(web, &[endpoint], &lab.logs)?);
    }
    let outcome = work(lab);
    drop(servers);
    for web in WEBS {
        quiet::release(web, &[VIP])?;
    }
    crowd.stop()?;
    outcome
}

fn steps(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, ears, paths) = lab.watched_controllers()?;
    if ears.is_empty() {
        bail!("no deletion can be heard: the kernel has no nlmon device");
    }
    let mut random = Random::of_seed(SEED);
    let intent = Intent::first(&mut random);
    cluster.apply_text(&intent.manifest())?;
    let agents = start_in_turn(paths, 1)?;
    let mut run = Run {
        cluster,
        ears,
        paths,
        agents,
        intent,
        random,
        other: OtherProgram::default(),
        deleted_of_staying: 0,
        needless_writes: 0,
        slowest: Duration::ZERO,
        slowest_repair: Duration::ZERO,
    };
    run.wait_held("the first intent")?;
    let target = SocketAddrV4::new(VIP, PORT);
    let kept = wait_until("connections through the VIP are open", ELECT, || {
        Ok(Kept::open(CLIENT.name, target, ESTABLISHED, EVERY).ok())
    })?;
    for step in 1..=STEPS {
        run.step(step)?;
        if step == STEPS / 2 {
            run.restart_backup()?;
        }
        if step % INTERFERE_EVERY == 0 {
            run.interfere()?;
        }
    }
    let end = Instant::now();
    let alive = kept.alive_since(end, ANSWER)?;
    say!("{alive} of {ESTABLISHED} connections live ({})", kept.why());
    findings.figure("established", count(ESTABLISHED));
    findings.figure("established_alive", count(alive));
    findings.require(alive == ESTABLISHED, "every established connection is alive at the end");
    run.tell(findings)
}

/// The run so far.
struct Run<'a> {
    cluster: &'a mut Cluster,
    ears: &'a [EditEar],
    paths: Paths<'a>,
    agents: Vec<Process>,
    intent: Intent,
    random: Random,
    other: OtherProgram,
    /// Deletions that kernels were asked for of entries that stayed.
    deleted_of_staying: usize,
    /// Writes where all was right.
    needless_writes: usize,
    slowest: Duration,
    slowest_repair: Duration,
}

impl Run<'_> {
    fn start(&self, director: topology::Node) -> Result<Process> {
        Process::start(self.paths.logs, launch_director(director, self.paths, &[])?)
    }

    /// The next intent, and now and then once more the same.
    fn step(&mut self, step: usize) -> Result<()> {
        let next = self.intent.next(&mut self.random);
        let staying = self.intent.staying(&next);
        let begin = Instant::now();
        self.cluster.apply_text(&next.manifest())?;
        let acknowledged = Instant::now();
        self.intent = next;
        self.wait_held(&format!("intent {step}"))?;
        self.slowest = self.slowest.max(acknowledged.elapsed());
        self.deleted_of_staying +=
            self.ears.iter().map(|ear| ear.deleted_of(&staying, begin)).sum::<usize>();

        if !step.is_multiple_of(REPEAT_EVERY) {
            return Ok(());
        }
        self.cluster.wait_converged()?;
        let before = told::writes_of_both(self.cluster)?;
        self.cluster.apply_text(&self.intent.manifest())?;
        self.cluster.wait_converged()?;
        self.needless_writes += told::writes_of_both(self.cluster)?.since(before).all();
        Ok(())
    }

    /// Waits until both kernels hold what is wanted and what another program has put there.
    fn wait_held(&self, what: &str) -> Result<()> {
        let wanted = self.intent.rules();
        let [first, second] = DIRECTORS;
        let with_foreign: Rules = wanted.union(self.other.foreign()).cloned().collect();
        ipvsadm::wait(first, what, &with_foreign, PROGRAM)?;
        ipvsadm::wait(second, what, &wanted, PROGRAM)
    }

    /// Another program changes the first director's table; ours is put right, the rest is left alone.
    fn interfere(&mut self) -> Result<()> {
        let what = self.other.act(DIRECTORS[0], &self.intent.rules(), &mut self.random)?;
        let begin = Instant::now();
        self.wait_held(&format!("the same after {what}"))?;
        self.slowest_repair = self.slowest_repair.max(begin.elapsed());
        Ok(())
    }

    /// The Backup's agent is killed and started again: what it finds is right.
    fn restart_backup(&mut self) -> Result<()> {
        let Some(agent) = self.agents.pop() else { bail!("no agent runs") };
        agent.kill()?;
        let mut agent = self.start(DIRECTORS[1])?;
        agent.wait_for_line("ready", READY)?;
        self.agents.push(agent);
        self.cluster.wait_converged()?;
        std::thread::sleep(SETTLE);
        self.needless_writes += told::writes(self.cluster, DIRECTORS[1])?.all();
        self.wait_held("the same after a restart")
    }

    fn tell(self, findings: &mut Findings) -> Result<()> {
        let wanted = self.other.virtual_servers();
        let told = wait_until("the foreign virtual servers are reported", REPORTED, || {
            std::thread::sleep(LOOK_AT_REPORTS_EVERY);
            let told = told::of(self.cluster, DIRECTORS[0])?;
            let servers = told["ipvs"].as_array().map_or(&[][..], Vec::as_slice);
            let foreign = servers.iter().filter(|server| server["foreign"] == true).count();
            Ok((foreign == wanted).then_some(()))
        });
        let repaired = told::writes(self.cluster, DIRECTORS[0])?.repaired;
        findings.figure("steps", count(STEPS));
        findings.figure("entries_at_the_end", count(self.intent.rules().len()));
        findings.figure("entries_that_stayed_deleted", count(self.deleted_of_staying));
        findings.figure("needless_writes", count(self.needless_writes));
        findings.figure("slowest_step_ms", millis(self.slowest));
        findings.figure("interferences", count(self.other.acts()));
        findings.figure("entries_repaired", count(repaired));
        findings.figure("slowest_repair_ms", millis(self.slowest_repair));
        findings.figure("foreign_virtual_servers", count(wanted));
        findings.require(true, "both kernels held what was wanted after each step");
        findings.at_most("entries that stayed deleted", count(self.deleted_of_staying), 0.0);
        findings.at_most("needless writes", count(self.needless_writes), 0.0);
        findings.require(repaired > 0, "what another program changed was counted as drift");
        findings.require(told.is_ok(), format!("{wanted} virtual servers are reported as foreign"));
        for agent in self.agents {
            agent.kill()?;
        }
        Ok(())
    }
}
