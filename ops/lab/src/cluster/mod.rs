//! Fulcrum on the seed's nodes: three controllers, two real-server agents, `lvsctl`. The directors are a
//! [`crate::pair::Pair`], because keepalived takes their place in comparisons.

pub(crate) mod config;
pub(crate) mod manifest;
pub(crate) mod pki;
pub(crate) mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::net::topology::{CLIENT, CONTROLLERS, Node, WEBS};
use crate::process::{Launch, Process, wait_until};
use crate::say;
use crate::settings::Settings;

/// How long a program may take until it says that it is ready, on a busy machine.
pub(crate) const READY: Duration = Duration::from_mins(1);
/// What a program logs when it serves.
const READY_WORD: &str = "ready";
/// How long a program may take to end after SIGTERM.
pub(crate) const STOP: Duration = Duration::from_secs(20);
/// How long the whole cluster may take to converge.
const CONVERGE: Duration = Duration::from_secs(90);

/// A program of Fulcrum beside the directors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    /// Controller, by its place in [`CONTROLLERS`].
    Controller(usize),
    /// Real-server agent, by its place in [`WEBS`].
    RealServer(usize),
}

/// All of them, in the order in which they are started.
pub(crate) const MEMBERS: [Member; 5] = [
    Member::Controller(0),
    Member::Controller(1),
    Member::Controller(2),
    Member::RealServer(0),
    Member::RealServer(1),
];

impl Member {
    /// Its host.
    pub(crate) fn node(self) -> Node {
        match self {
            Self::Controller(index) => CONTROLLERS[index],
            Self::RealServer(index) => WEBS[index],
        }
    }

    /// Its program's name.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Controller(_) => "fulcrum-controller",
            Self::RealServer(_) => "fulcrum-realserver",
        }
    }

    fn config(self, dir: &Path) -> String {
        match self {
            Self::Controller(_) => {
                let name = self.node().name;
                let data_dir = dir.join(name).join("controller");
                let tls = pki::files(dir, name);
                config::controller(name, &config::peers(), &data_dir, tls.as_ref())
            }
            Self::RealServer(_) => config::agent(self.node(), dir, "realserver"),
        }
    }

    fn arguments(self, config: &Path) -> Vec<String> {
        let mut arguments = vec!["--config".to_owned(), config.to_string_lossy().into_owned()];
        match self {
            Self::Controller(_) => {}
            Self::RealServer(_) => arguments.push("run".to_owned()),
        }
        arguments
    }
}

/// The running programs.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    logs: PathBuf,
    bin_dir: PathBuf,
    /// Environment of every program: telemetry, where a scenario wants it.
    pub(crate) env: Vec<(String, String)>,
    running: BTreeMap<Member, Process>,
    applied: Option<Settings>,
}

impl Cluster {
    /// Nothing runs yet; state will be kept under `dir`.
    pub(crate) fn new(dir: &Path, logs: &Path, bin_dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            bin_dir: bin_dir.to_owned(),
            env: Vec::new(),
            running: BTreeMap::new(),
            applied: None,
        }
    }

    /// Starts what does not run and waits until each says that it is ready.
    pub(crate) fn start_missing(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for member in MEMBERS {
            let runs = self.running.get_mut(&member).is_some_and(Process::is_running);
            if !runs {
                self.start(member)?;
                started.push(member);
            }
        }
        for member in started {
            self.wait_ready(member)?;
        }
        Ok(())
    }

    /// Starts one, and does not wait.
    pub(crate) fn start(&mut self, member: Member) -> Result<()> {
        let home = self.dir.join(member.node().name);
        fs::create_dir_all(&home)?;
        let config = home.join(format!("{}.toml", member.program()));
        fs::write(&config, member.config(&self.dir))?;
        let launch = Launch {
            node: Some(member.node().name),
            label: member.program().to_owned(),
            program: self.bin_dir.join(member.program()),
            args: member.arguments(&config),
            env: self.env.clone(),
        };
        let process = Process::start(&self.logs, launch)?;
        self.running.insert(member, process);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_ready(&mut self, member: Member) -> Result<()> {
        let process = self.running.get_mut(&member).context("it was not started")?;
        process.wait_for_line(READY_WORD, READY)
    }

    /// SIGTERM or SIGKILL, and the wait for its end.
    pub(crate) fn stop(&mut self, member: Member, signal: Signal) -> Result<()> {
        let Some(mut process) = self.running.remove(&member) else { return Ok(()) };
        say!("{signal} to {} on {}", member.program(), member.node().name);
        process.signal_first(signal)?;
        let status = process.wait(STOP)?;
        if signal == Signal::SIGTERM && !status.success() {
            bail!("{} ended with {status} after SIGTERM:\n{}", process.name, process.tail(10));
        }
        Ok(())
    }

    /// Ends every program at once and forgets all state, so that the next start is a new cluster.
    pub(crate) fn destroy(&mut self) {
        self.running.clear();
        self.applied = None;
        for node in CONTROLLERS.into_iter().chain(WEBS) {
            for part in ["controller", "realserver"] {
                // What was never written cannot be removed, and a leftover shows as a failed start.
                let _ = fs::remove_dir_all(self.dir.join(node.name).join(part));
            }
        }
    }

    /// Applies the seed's manifest with these settings, unless that was done last.
    pub(crate) fn apply(&mut self, settings: &Settings) -> Result<()> {
        if self.applied == Some(*settings) {
            return Ok(());
        }
        self.apply_text(&manifest::seed(settings))?;
        self.applied = Some(*settings);
        say!("applied the seed's manifest ({} settings)", settings.name);
        Ok(())
    }

    /// Applies a manifest as the whole intent.
    pub(crate) fn apply_text(&mut self, manifest: &str) -> Result<()> {
        self.applied = None;
        let path = self.dir.join("cluster.yaml");
        fs::write(&path, manifest)?;
        let path = path.to_string_lossy().into_owned();
        // The controllers elect their leader while this is tried.
        wait_until("lvsctl apply is accepted", CONVERGE, || {
            let output = self.lvsctl(&["apply", "-f", &path, "--prune", "--allow-drastic"])?;
            match output.status.code() {
                Some(0) => Ok(Some(())),
                Some(2) => bail!("lvsctl apply: {}", text(&output.stderr)),
                _ => Ok(None),
            }
        })
    }

    /// Waits until every agent has applied the newest revision.
    pub(crate) fn wait_converged(&self) -> Result<()> {
        let timeout = format!("{}s", CONVERGE.as_secs());
        let output = self.lvsctl(&["wait", "--timeout", &timeout])?;
        if !output.status.success() {
            bail!(
                "lvsctl wait ({}): {}{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        Ok(())
    }

    /// Runs an order of `lvsctl`, which must be carried out.
    pub(crate) fn must(&self, arguments: &[&str]) -> Result<()> {
        let output = self.lvsctl(arguments)?;
        if !output.status.success() {
            bail!(
                "lvsctl {} ({}): {}{}",
                arguments.join(" "),
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts `lvsctl` on the client's node, and does not wait.
    pub(crate) fn start_lvsctl(&self, logs: &Path, arguments: &[&str]) -> Result<Process> {
        let mut args = self.access();
        args.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let launch = Launch {
            node: Some(CLIENT.name),
            label: "lvsctl".to_owned(),
            program: self.bin_dir.join("lvsctl"),
            args,
            env: self.env.clone(),
        };
        Process::start(logs, launch)
    }

    /// Runs `lvsctl` on the client's node, with every controller as endpoint.
    pub(crate) fn lvsctl(&self, arguments: &[&str]) -> Result<Output> {
        self.lvsctl_by(self.access(), arguments)
    }

    /// Runs `lvsctl` on the client's node, with one controller as endpoint.
    pub(crate) fn lvsctl_at(&self, controller: Node, arguments: &[&str]) -> Result<Output> {
        self.lvsctl_by(self.access_to(config::api(controller)), arguments)
    }

    fn lvsctl_by(&self, access: Vec<String>, arguments: &[&str]) -> Result<Output> {
        Command::new("ip")
            .args(["netns", "exec", CLIENT.name])
            .arg(self.bin_dir.join("lvsctl"))
            .args(access)
            .args(arguments)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .context("cannot run lvsctl")
    }

    /// How `lvsctl` reaches every controller.
    fn access(&self) -> Vec<String> {
        self.access_to(CONTROLLERS.map(config::api).join(","))
    }

    fn access_to(&self, endpoint: String) -> Vec<String> {
        let mut arguments = vec!["--endpoint".to_owned(), endpoint];
        if let Some(files) = pki::files(&self.dir, pki::OPERATOR) {
            let named =
                [("--tls-ca", files.ca), ("--tls-cert", files.cert), ("--tls-key", files.key)];
            let named = named.map(|(name, path)| [name.to_owned(), path.display().to_string()]);
            arguments.extend(named.into_iter().flatten());
        }
        arguments
    }
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
