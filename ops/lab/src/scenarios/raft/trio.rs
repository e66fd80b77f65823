//! Three controllers on loopback, as processes of this host.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::READY;
use crate::cluster::config::{self, Peer};
use crate::lab::Lab;
use crate::process::{Launch, Process, wait_until};
use crate::say;

/// Longest wait for anything here.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Three controllers on loopback.
pub(crate) struct Trio {
    /// The controllers, in the order of their files.
    pub(crate) peers: Vec<Peer>,
    dir: PathBuf,
    logs: PathBuf,
    bin_dir: PathBuf,
    /// Those that run, in that order.
    pub(crate) running: Vec<Option<Process>>,
}

impl Trio {
    /// Starts three with empty stores, the states of which are in `name` below the lab's directory, and waits until they are ready.
    pub(crate) fn start(lab: &Lab, name: &str) -> Result<Self> {
        let mut trio = Self::prepare(lab, name)?;
        for index in 0..trio.peers.len() {
            trio.start_one(index)?;
        }
        for index in 0..trio.peers.len() {
            trio.wait_ready(index)?;
        }
        say!("three controllers run on loopback, state in {}", trio.dir.display());
        Ok(trio)
    }

    /// The same, none of which is started yet.
    pub(crate) fn prepare(lab: &Lab, name: &str) -> Result<Self> {
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
                id: index as u64 + 1,
                name: format!("c{}", index + 1),
                api: pair[0].clone(),
                raft: pair[1].clone(),
            })
            .collect();
        Ok(Self {
            peers,
            dir: lab.dir.join(name),
            logs: lab.logs.clone(),
            bin_dir: lab.bin_dir.clone(),
            running: vec![None, None, None],
        })
    }

    /// Starts one by its file, which is written for it.
    pub(crate) fn start_one(&mut self, index: usize) -> Result<()> {
        let name = self.peers[index].name.clone();
        let file = self.write_file(index)?;
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

    /// Writes the configuration file of one, and gives its path.
    pub(crate) fn write_file(&self, index: usize) -> Result<PathBuf> {
        let name = &self.peers[index].name;
        let home = self.dir.join(name);
        fs::create_dir_all(&home)?;
        let file = home.join("controller.toml");
        fs::write(&file, config::controller(name, &self.peers, &self.data_dir(index), None))?;
        Ok(file)
    }

    /// Where one keeps its state.
    pub(crate) fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.join(&self.peers[index].name).join("data")
    }

    /// Stops one as planned, and waits for its end.
    pub(crate) fn stop_one(&mut self, index: usize) -> Result<()> {
        let mut process = self.running[index].take().context("it does not run")?;
        process.signal(Signal::SIGTERM)?;
        process.wait(LONG).map(drop)
    }

    /// The endpoints of all.
    pub(crate) fn endpoints(&self) -> String {
        endpoints(&self.peers)
    }

    /// Waits until one is ready.
    pub(crate) fn wait_ready(&mut self, index: usize) -> Result<()> {
        self.running[index].as_mut().context("it was not started")?.wait_for_line("ready", READY)
    }

    /// The leader's place, as the controllers tell it.
    pub(crate) fn leader(&self) -> Result<usize> {
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

/// The API endpoints, as lvsctl takes them.
pub(crate) fn endpoints(peers: &[Peer]) -> String {
    peers.iter().map(|peer| peer.api.as_str()).collect::<Vec<_>>().join(",")
}

/// Runs lvsctl to its end.
pub(crate) fn lvsctl(bin_dir: &Path, endpoints: &str, arguments: &[&str]) -> Result<Output> {
    Command::new(bin_dir.join("lvsctl"))
        .args(["--endpoint", endpoints])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run lvsctl")
}
