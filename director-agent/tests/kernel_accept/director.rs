//! The director: the VRRP driver alone, with an instance of each family.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fulcrum_director::vrrp::{VrrpHandle, VrrpSnapshot};
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::{Cidr, VrrpOptions};
use tokio::sync::watch;

use crate::kernel::{self, Result};

pub(crate) const V4: &str = "10.0.0.100";
pub(crate) const V6: &str = "2001:db8::100";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Director {
    vrrp: VrrpHandle,
    seen: watch::Receiver<VrrpSnapshot>,
}

impl Director {
    pub(crate) fn spawn(state_dir: &Path) -> Result<Self> {
        let (vrrp, seen) = VrrpHandle::spawn(state_dir)?;
        Ok(Self { vrrp, seen })
    }

    pub(crate) fn apply(&self, accept: bool, priority: u64) -> Result<()> {
        let first = plan("v4", "10.0.0.1", &[V4], accept, priority)?;
        let second = plan("v6", "::", &["fe80::100", V6], accept, priority)?;
        let plans = [first, second].into_iter().map(|plan| (plan.name.clone(), plan));
        self.vrrp.apply(plans.collect());
        Ok(())
    }

    pub(crate) async fn until(
        &mut self,
        what: &str,
        is_it: impl Fn(&VrrpSnapshot) -> bool,
    ) -> Result<()> {
        let found = tokio::time::timeout(PATIENCE, self.seen.wait_for(is_it)).await;
        let found = found.map(|seen| seen.map(|_| ()));
        found.map_err(|_| format!("{what}: {:?}", self.seen.borrow()))?.map_err(Into::into)
    }

    pub(crate) async fn stop(self) {
        self.vrrp.stop().await;
    }
}

/// Whether every VIP is on its interface.
pub(crate) fn is_held(snapshot: &VrrpSnapshot) -> bool {
    let bound = snapshot.instances.values().map(|instance| instance.vips_bound.len());
    bound.sum::<usize>() == 3
}

/// Looks until it holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let looks = async {
        while !holds()? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, looks).await.map_err(|_| what.to_owned())?
}

/// Holds closed VIPs until it is killed; prints what is wrong, and when they are held.
pub(crate) async fn hold(state_dir: &Path) -> Result<()> {
    let mut director = Director::spawn(state_dir)?;
    director.apply(false, 100)?;
    loop {
        director.seen.changed().await?;
        let snapshot = director.seen.borrow_and_update().clone();
        let problems: Vec<&String> =
            snapshot.instances.values().flat_map(|instance| &instance.problems).collect();
        println!("{} {problems:?}", if is_held(&snapshot) { "held" } else { "not yet" });
    }
}

fn plan(
    name: &str,
    source: &str,
    vips: &[&str],
    accept: bool,
    priority: u64,
) -> Result<VrrpInstancePlan> {
    let vips: Result<Vec<Cidr>> = vips.iter().map(|vip| cidr(vip)).collect();
    let options = VrrpOptions { accept, ..VrrpOptions::default() };
    kernel::plan(name, source, vips?, priority, options)
}

fn cidr(text: &str) -> Result<Cidr> {
    let length = if text.contains(':') { 64 } else { 32 };
    Ok(Cidr::new(text.parse()?, length)?)
}

/// A director in a process of its own, in this namespace.
pub(crate) struct Part {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Part {
    /// `path`: where it finds programs, instead of where this one does.
    pub(crate) fn spawn(state_dir: &Path, word: &str, path: Option<&str>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(word).arg(state_dir).stdout(Stdio::piped());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { child, lines })
    }

    /// Reads until a line holds the text.
    pub(crate) fn wait(&mut self, text: &str) -> Result<()> {
        for line in self.lines.by_ref() {
            let line = line?;
            if line.contains(text) {
                println!("ok: {line}");
                return Ok(());
            }
        }
        Err(format!("it has ended before it said {text:?}").into())
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
