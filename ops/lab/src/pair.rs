//! The two directors, run by Fulcrum or by keepalived on the same two nodes, so that only the program differs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::cluster::config;
use crate::net::adverts::AdvertEar;
use crate::net::link::Cable;
use crate::net::topology::{self, DIRECTORS, Node};
use crate::peers::keepalived;
use crate::process::{Launch, Process, run, wait_until};
use crate::say;
use crate::settings::Settings;

/// How long a director may take to become Active once started: adverts of 1 s take 3.6 s, a busy machine the rest.
const BECOME_ACTIVE: Duration = Duration::from_secs(40);
/// How long a director may take to end after a signal.
const STOP: Duration = Duration::from_secs(20);
/// The program of Fulcrum's side.
pub(crate) const PROGRAM: &str = "fulcrum-director";

/// Whose program runs on the directors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Ours.
    Fulcrum,
    /// Debian's keepalived.
    Keepalived,
}

impl Side {
    /// For figures' names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fulcrum => "fulcrum",
            Self::Keepalived => "keepalived",
        }
    }
}

/// The running directors.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Whose.
    pub(crate) side: Side,
    /// With which settings.
    pub(crate) settings: Settings,
    /// Environment of Fulcrum's program.
    pub(crate) env: Vec<(String, String)>,
    running: [Option<Process>; 2],
    cables: [Cable; 2],
    /// Hears the first director's adverts at the second.
    ear: AdvertEar,
}

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paths<'a> {
    /// Configuration and state.
    pub(crate) dir: &'a Path,
    /// Logs.
    pub(crate) logs: &'a Path,
    /// Fulcrum's programs.
    pub(crate) bin_dir: &'a Path,
}

impl Pair {
    /// Nothing runs yet.
    pub(crate) fn new(side: Side, settings: Settings) -> Result<Self> {
        Ok(Self {
            side,
            settings,
            env: Vec::new(),
            running: [None, None],
            cables: [Cable::of(DIRECTORS[0].name)?, Cable::of(DIRECTORS[1].name)?],
            ear: AdvertEar::at(DIRECTORS[1].name)?,
        })
    }

    /// Starts one director's program, and does not wait.
    pub(crate) fn start(&mut self, index: usize, paths: Paths<'_>) -> Result<()> {
        let node = DIRECTORS[index];
        let launch = match self.side {
            Side::Keepalived => keepalived::launch(node, &self.settings, paths.dir)?,
            Side::Fulcrum => launch_director(node, paths, &self.env)?,
        };
        self.running[index] = Some(Process::start(paths.logs, launch)?);
        Ok(())
    }

    /// Starts those that do not run.
    pub(crate) fn start_missing(&mut self, paths: Paths<'_>) -> Result<()> {
        for index in 0..DIRECTORS.len() {
            if !self.running[index].as_mut().is_some_and(Process::is_running) {
                self.start(index, paths)?;
            }
        }
        Ok(())
    }

    /// Waits until the first director, and no other, sends adverts that claim the VIP.
    pub(crate) fn wait_first_active(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.ear.next_of(DIRECTORS[0].address, Duration::from_secs(1)) {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > BECOME_ACTIVE => {
                    return Err(error.context(self.why_not(0)));
                }
                Err(_) => self.require_running()?,
            }
        }
    }

    fn require_running(&mut self) -> Result<()> {
        for index in 0..DIRECTORS.len() {
            if !self.running[index].as_mut().is_some_and(Process::is_running) {
                bail!("a director's program ended: {}", self.why_not(index));
            }
        }
        Ok(())
    }

    fn why_not(&self, index: usize) -> String {
        let tail = self.running[index].as_ref().map_or(String::new(), |process| process.tail(15));
        format!("{} did not become Active:\n{tail}", DIRECTORS[index].name)
    }

    /// Cuts the first director's power right after an advert: its cable, then its program by SIGKILL. Answers with the
    /// moment of the cut and how long after the advert it was done.
    pub(crate) fn power_off_first_after_advert(&mut self) -> Result<(Instant, Duration)> {
        let process = self.running[0].as_ref().context("the first director does not run")?;
        let advert = self.ear.next_of(DIRECTORS[0].address, BECOME_ACTIVE)?;
        let at = Instant::now();
        self.cables[0].cut()?;
        process.signal(Signal::SIGKILL)?;
        let done = Instant::now().duration_since(advert.heard);
        self.reap(0)?;
        Ok((at, done))
    }

    /// Cuts a director's power: its cable, then its program by SIGKILL.
    pub(crate) fn power_off(&mut self, index: usize) -> Result<Instant> {
        let process = self.running[index].as_ref().context("that director does not run")?;
        say!("power off: {}", DIRECTORS[index].name);
        let at = Instant::now();
        self.cables[index].cut()?;
        process.signal(Signal::SIGKILL)?;
        self.reap(index)?;
        Ok(at)
    }

    /// A director's cable.
    pub(crate) fn cable(&self, index: usize) -> &Cable {
        &self.cables[index]
    }

    /// What a power cut leaves: nothing in memory, the disk as it was. Then the cable is in again.
    pub(crate) fn power_on(&mut self, index: usize) -> Result<()> {
        topology::forget_like_a_reboot(DIRECTORS[index])?;
        self.cables[index].plug()
    }

    /// SIGTERM to a director's program; answers with the moment before. The end is awaited by [`Self::reap`].
    pub(crate) fn terminate(&mut self, index: usize) -> Result<Instant> {
        self.signal(index, Signal::SIGTERM)
    }

    /// SIGKILL to a director's program alone: its kernel lives on.
    pub(crate) fn kill(&mut self, index: usize) -> Result<Instant> {
        self.signal(index, Signal::SIGKILL)
    }

    /// A signal to the process that runs VRRP on a director: Fulcrum's agent, keepalived's child for it.
    pub(crate) fn signal_router(&self, index: usize, signal: Signal, dir: &Path) -> Result<()> {
        let process = self.running[index].as_ref().context("that director does not run")?;
        match self.side {
            Side::Fulcrum => process.signal_first(signal),
            Side::Keepalived => send(keepalived::router_pid(DIRECTORS[index], dir)?, signal),
        }
    }

    fn signal(&mut self, index: usize, signal: Signal) -> Result<Instant> {
        let process = self.running[index].as_ref().context("that director does not run")?;
        say!("{signal} to {}'s {}", DIRECTORS[index].name, self.side.as_str());
        let at = Instant::now();
        if signal == Signal::SIGKILL {
            process.signal(signal)?;
        } else {
            process.signal_first(signal)?;
        }
        Ok(at)
    }

    /// Waits for the end of a director's program.
    pub(crate) fn reap(&mut self, index: usize) -> Result<()> {
        match self.running[index].take() {
            Some(mut process) => process.wait(STOP).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Waits until a director's program says that it is ready. keepalived does not say so.
    pub(crate) fn wait_ready(&mut self, index: usize) -> Result<()> {
        let Some(process) = self.running[index].as_mut() else {
            bail!("that director does not run");
        };
        let word = match self.side {
            Side::Fulcrum => "ready",
            Side::Keepalived => "Startup complete",
        };
        process.wait_for_line(word, BECOME_ACTIVE)
    }

    /// Ends both and leaves both nodes as after a reboot, cables in.
    pub(crate) fn take_down(&mut self) -> Result<()> {
        for index in 0..DIRECTORS.len() {
            if let Some(process) = self.running[index].take() {
                process.kill()?;
            }
        }
        for (index, director) in DIRECTORS.into_iter().enumerate() {
            // What a program started outside its group must not serve for the next one.
            signal_all(director, Signal::SIGKILL)?;
            self.power_on(index)?;
        }
        Ok(())
    }
}

/// Starts both directors' agents of Fulcrum, the second once the first is Active in so many instances: what is measured then
/// does not begin with a hand-over and its relay.
pub(crate) fn start_in_turn(paths: Paths<'_>, instances: usize) -> Result<Vec<Process>> {
    let start = |director| Process::start(paths.logs, launch_director(director, paths, &[])?);
    let first = start(DIRECTORS[0])?;
    wait_until("the first director is Active", BECOME_ACTIVE, || {
        let active = first.log_text().matches("role=Active").count();
        Ok((active >= instances).then_some(()))
    })?;
    Ok(vec![first, start(DIRECTORS[1])?])
}

/// What starts Fulcrum's agent on a director: writes its configuration.
pub(crate) fn launch_director(
    node: Node,
    paths: Paths<'_>,
    env: &[(String, String)],
) -> Result<Launch> {
    let home = paths.dir.join(node.name);
    fs::create_dir_all(&home)?;
    let file = home.join("director.toml");
    fs::write(&file, config::agent(node, paths.dir, "director"))?;
    Ok(Launch {
        node: Some(node.name),
        label: PROGRAM.to_owned(),
        program: paths.bin_dir.join(PROGRAM),
        args: vec!["--config".to_owned(), file.to_string_lossy().into_owned()],
        env: env.to_vec(),
    })
}

/// A signal to every process of a director, whichever group it is in.
pub(crate) fn signal_all(director: Node, signal: Signal) -> Result<()> {
    // The youngest first: a child whose parent dies may be told to end in good order, which is not what is asked for.
    for pid in processes_of(director.name)?.into_iter().rev() {
        send(pid, signal)?;
    }
    Ok(())
}

/// The processes in a node's network namespace, the oldest first.
fn processes_of(node: &str) -> Result<Vec<Pid>> {
    let text = run("ip", &["netns", "pids", node])?;
    let mut pids: Vec<Pid> = text
        .split_whitespace()
        .map(|pid| Ok(Pid::from_raw(pid.parse().context("ip netns pids printed no number")?)))
        .collect::<Result<_>>()?;
    pids.sort();
    Ok(pids)
}

fn send(pid: Pid, signal: Signal) -> Result<()> {
    match nix::sys::signal::kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(anyhow!("cannot send {signal} to process {pid}: {errno}")),
    }
}
