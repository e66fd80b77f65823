//! Three controllers on loopback with a real disk; clients apply without pause; the leader is killed, and comes back, a
//! few times. Whatever was acknowledged must be there at the end, on every controller.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cluster::config::{self, Peer};
use crate::cluster::{READY, text};
use crate::contest::{count, millis};
use crate::findings::{Findings, median};
use crate::lab::Lab;
use crate::process::{Launch, Process, wait_until};
use crate::say;

/// Kills of the leader.
const KILLS: usize = 5;
/// Clients that apply at the same time.
const WRITERS: usize = 2;
/// Writes that must have been acknowledged between two kills, so that there is something to lose.
const BETWEEN: usize = 10;
/// Longest median time from a kill until a write that began after it is acknowledged.
const NEXT_WRITE_MS: f64 = 3000.0;
/// How long a controller may lag behind the others.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Longest wait for anything here.
const LONG: Duration = Duration::from_mins(1);

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut trio = Trio::start(lab)?;
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::start(number, &trio.peers, &lab.bin_dir, &lab.dir))
        .collect();
    let mut next_writes = Vec::new();
    for kill in 1..=KILLS {
        let before = acknowledged(&writers).len();
        wait_until("writes are acknowledged", LONG, || {
            Ok((acknowledged(&writers).len() >= before + BETWEEN).then_some(()))
        })?;
        let leader = trio.leader()?;
        let at = Instant::now();
        trio.running[leader].take().context("the leader does not run")?.kill()?;
        let next = wait_until("a write after the kill is acknowledged", LONG, || {
            Ok(writers.iter().filter_map(|writer| writer.first_begun_after(at)).min())
        })?;
        let took = millis(next - at);
        say!(
            "kill {kill}: leader {} killed; next write done after {took:.0} ms",
            trio.peers[leader].name
        );
        next_writes.push(took);
        trio.start_one(leader)?;
        trio.wait_ready(leader)?;
    }
    let mut acked = BTreeSet::new();
    let mut refused = 0;
    for writer in writers {
        let (names, failures) = writer.stop()?;
        acked.extend(names);
        refused += failures;
    }
    say!("{} writes acknowledged, {refused} not", acked.len());
    let mut lost = 0;
    for peer in &trio.peers {
        lost = lost.max(missing_at(peer, &acked, &lab.bin_dir)?);
    }
    findings.figure("acked", count(acked.len()));
    findings.figure("lost", count(lost));
    let next_write_ms = median(&next_writes).context("no write after a kill")?;
    findings.figure("next_write_ms", next_write_ms);
    findings.at_most("lost", count(lost), 0.0);
    findings.at_most("next_write_ms (median)", next_write_ms, NEXT_WRITE_MS);
    findings.require(acked.len() >= KILLS * BETWEEN, "enough was acknowledged to tell");
    Ok(())
}

/// Three controllers on loopback.
struct Trio {
    peers: Vec<Peer>,
    dir: PathBuf,
    logs: PathBuf,
    bin_dir: PathBuf,
    running: Vec<Option<Process>>,
}

impl Trio {
    fn start(lab: &Lab) -> Result<Self> {
        // Held together, so that no two of them get the same port, and freed before the controllers take them.
        let listeners: std::io::Result<Vec<TcpListener>> =
            (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
        let addresses: std::io::Result<Vec<String>> =
            listeners?.iter().map(|l| l.local_addr().map(|address| address.to_string())).collect();
        let addresses = addresses?;
        let peers: Vec<Peer> = addresses
            .chunks_exact(2)
            .enumerate()
            .map(|(index, pair)| Peer {
                name: format!("c{}", index + 1),
                api: pair[0].clone(),
                raft: pair[1].clone(),
            })
            .collect();
        let mut trio = Self {
            peers,
            dir: lab.dir.join("raft"),
            logs: lab.logs.clone(),
            bin_dir: lab.bin_dir.clone(),
            running: vec![None, None, None],
        };
        for index in 0..trio.peers.len() {
            trio.start_one(index)?;
        }
        for index in 0..trio.peers.len() {
            trio.wait_ready(index)?;
        }
        say!("three controllers run on loopback, state in {}", trio.dir.display());
        Ok(trio)
    }

    fn start_one(&mut self, index: usize) -> Result<()> {
        let name = self.peers[index].name.clone();
        let home = self.dir.join(&name);
        fs::create_dir_all(&home)?;
        let file = home.join("controller.toml");
        fs::write(&file, config::controller(&name, &self.peers, &home.join("data"), None))?;
        let launch = Launch {
            node: None,
            label: format!("raft-{name}"),
            program: self.bin_dir.join("fulcrum-controller"),
            args: vec!["--config".to_owned(), file.to_string_lossy().into_owned()],
            env: Vec::new(),
        };
        self.running[index] = Some(Process::start(&self.logs, launch)?);
        Ok(())
    }

    fn wait_ready(&mut self, index: usize) -> Result<()> {
        self.running[index].as_mut().context("it was not started")?.wait_for_line("ready", READY)
    }

    /// The leader's place, as the controllers tell it.
    fn leader(&self) -> Result<usize> {
        wait_until("a leader is known", LONG, || {
            let output = lvsctl(&self.bin_dir, &endpoints(&self.peers), &["-o", "json", "status"])?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let topology = status.get("topology").unwrap_or(&status);
            let leader = topology["controllers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|controller| controller["role"].as_str().is_some_and(is_leader))
                .and_then(|controller| controller["name"].as_str().map(str::to_owned));
            Ok(leader.and_then(|name| self.peers.iter().position(|peer| peer.name == name)))
        })
    }
}

fn is_leader(role: &str) -> bool {
    role.eq_ignore_ascii_case("leader") || role == "CONTROLLER_ROLE_LEADER"
}

/// A client that applies one new resource after the other.
struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Write>>>,
    thread: JoinHandle<Result<()>>,
}

/// One write.
#[derive(Clone, Debug)]
struct Write {
    name: String,
    began: Instant,
    ended: Instant,
    acknowledged: bool,
}

impl Writer {
    fn start(number: usize, peers: &[Peer], bin_dir: &Path, dir: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&done));
        let (bin_dir, endpoints) = (bin_dir.to_owned(), endpoints(peers));
        let file = dir.join(format!("writer-{number}.yaml"));
        let thread = std::thread::spawn(move || {
            let mut serial = 0;
            while !stopped.load(Ordering::Relaxed) {
                serial += 1;
                let name = format!("site-{number}-{serial}");
                fs::write(&file, format!("kind: Site\nname: {name}\nspec: {{}}\n"))?;
                let path = file.to_string_lossy().into_owned();
                let began = Instant::now();
                let output = lvsctl(&bin_dir, &endpoints, &["apply", "-f", &path])?;
                if output.status.code() == Some(2) {
                    bail!("lvsctl apply: {}", text(&output.stderr));
                }
                let acknowledged = output.status.success();
                let write = Write { name, began, ended: Instant::now(), acknowledged };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(write);
            }
            Ok(())
        });
        Self { stop, done, thread }
    }

    fn writes(&self) -> Vec<Write> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the first acknowledged write that began after `at` was acknowledged.
    fn first_begun_after(&self, at: Instant) -> Option<Instant> {
        self.writes()
            .iter()
            .filter(|write| write.began >= at && write.acknowledged)
            .map(|write| write.ended)
            .min()
    }

    /// The names that were acknowledged, and how many writes were not.
    fn stop(self) -> Result<(Vec<String>, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        let writes = Arc::clone(&self.done);
        self.thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> =
            writes.iter().filter(|write| write.acknowledged).map(|w| w.name.clone()).collect();
        let failures = writes.len() - names.len();
        Ok((names, failures))
    }
}

fn acknowledged(writers: &[Writer]) -> Vec<String> {
    writers
        .iter()
        .flat_map(Writer::writes)
        .filter(|write| write.acknowledged)
        .map(|write| write.name)
        .collect()
}

/// How many of the names a controller does not know, once it had time to catch up.
fn missing_at(peer: &Peer, acked: &BTreeSet<String>, bin_dir: &Path) -> Result<usize> {
    let mut missing = None;
    let caught_up = wait_until("the controller has caught up", CATCH_UP, || {
        let output = lvsctl(bin_dir, &peer.api, &["-o", "json", "get", "Site"])?;
        if output.status.success() {
            let listed = text(&output.stdout);
            let unknown = |name: &&String| !listed.contains(&format!("\"{name}\""));
            missing = Some(acked.iter().filter(unknown).count());
        }
        Ok((missing == Some(0)).then_some(()))
    });
    if let (Err(error), Some(missing)) = (&caught_up, missing) {
        say!("{} misses {missing} acknowledged writes: {error:#}", peer.name);
    }
    missing.with_context(|| format!("{} could not be asked what it knows", peer.name))
}

fn endpoints(peers: &[Peer]) -> String {
    peers.iter().map(|peer| peer.api.as_str()).collect::<Vec<_>>().join(",")
}

fn lvsctl(bin_dir: &Path, endpoints: &str, arguments: &[&str]) -> Result<Output> {
    Command::new(bin_dir.join("lvsctl"))
        .args(["--endpoint", endpoints])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run lvsctl")
}
