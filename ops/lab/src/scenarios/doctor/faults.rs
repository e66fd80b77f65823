//! The ground on which faults are provoked, and what several of them need.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cluster::{Cluster, manifest};
use crate::lab::Segment;
use crate::net::namespace;
use crate::net::topology::{Node, set_sysctl};
use crate::pair::Paths;
use crate::process::{Launch, Process, run};
use crate::settings::Settings;

/// A fault of a host, and what `lvsctl doctor` is to tell of it.
pub(super) struct Fault {
    /// For people.
    pub(super) what: &'static str,
    /// Host and code of each finding that it makes.
    pub(super) told: &'static [super::Told],
    /// Provokes it.
    pub(super) begin: fn(&mut World<'_>) -> Result<()>,
    /// Undoes it, also where it was begun in part.
    pub(super) end: fn(&mut World<'_>) -> Result<()>,
}

/// The cluster, and what faults keep to be undone.
pub(super) struct World<'a> {
    pub(super) segment: &'a mut Segment,
    pub(super) cluster: &'a mut Cluster,
    pub(super) paths: Paths<'a>,
    settings: &'static Settings,
    /// Programs that run beside, by a name of ours.
    beside: Vec<(&'static str, Process)>,
    /// Sysctls with what they were.
    before: Vec<(Node, String, String)>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        segment: &'a mut Segment,
        cluster: &'a mut Cluster,
        paths: Paths<'a>,
        settings: &'static Settings,
    ) -> Self {
        let (beside, before) = (Vec::new(), Vec::new());
        Self { segment, cluster, paths, settings, beside, before }
    }

    /// Sets a sysctl and remembers what it was; `name` with slashes.
    pub(super) fn set(&mut self, node: Node, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        let old = namespace::inside(node.name, || {
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        })?;
        self.before.push((node, name.to_owned(), old.trim().to_owned()));
        set_sysctl(node.name, name, value)
    }

    /// Takes [`Self::set`] back, for every setting of the node.
    pub(super) fn unset(&mut self, node: Node) -> Result<()> {
        let (ours, others) = self.before.drain(..).partition(|(of, _, _)| *of == node);
        self.before = others;
        let ours: Vec<(Node, String, String)> = ours;
        ours.iter().rev().try_for_each(|(node, name, old)| set_sysctl(node.name, name, old))
    }

    /// Starts a program that [`Self::stop`] ends.
    pub(super) fn start(&mut self, name: &'static str, launch: Launch) -> Result<()> {
        let process = Process::start(self.paths.logs, launch)?;
        self.keep(name, process);
        Ok(())
    }

    /// Keeps a program that runs for [`Self::stop`].
    pub(super) fn keep(&mut self, name: &'static str, process: Process) {
        self.beside.push((name, process));
    }

    /// A program that was kept; whoever drops it kills it.
    pub(super) fn take(&mut self, name: &str) -> Option<Process> {
        let at = self.beside.iter().position(|(known, _)| *known == name)?;
        Some(self.beside.remove(at).1)
    }

    /// Ends a program in good order, if it runs.
    pub(super) fn stop(&mut self, name: &str) -> Result<()> {
        let Some(mut process) = self.take(name) else { return Ok(()) };
        process.signal_first(nix::sys::signal::Signal::SIGTERM)?;
        process.wait(crate::cluster::STOP).map(|_| ())
    }

    /// The intent as the scenario began with, and more resources.
    pub(super) fn apply_with(&mut self, more: &str) -> Result<()> {
        let manifest = manifest::seed(self.settings) + more;
        self.cluster.apply_text(&manifest)
    }

    /// A verb of the real-server agent's program, by hand on its host.
    pub(super) fn by_hand(&self, node: Node, verb: &str) -> Result<()> {
        let program = self.paths.bin_dir.join("fulcrum-realserver");
        let config = self.paths.dir.join(node.name).join("fulcrum-realserver.toml");
        let of = |path: &Path| path.to_string_lossy().into_owned();
        let (program, config) = (of(&program), of(&config));
        run("ip", &["netns", "exec", node.name, &program, "--config", &config, verb]).map(|_| ())
    }
}

/// Index of a node's interface.
pub(super) fn index_of(node: Node, interface: &str) -> Result<u32> {
    namespace::inside(node.name, || {
        nix::net::if_::if_nametoindex(interface)
            .with_context(|| format!("{} has no {interface}", node.name))
    })
}
