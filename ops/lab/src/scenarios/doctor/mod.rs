//! What `lvsctl doctor` finds: nothing on the clean cluster, each fault of a host with its code within 35 s, and nothing again
//! when the fault is gone. At last the same of certificates, of a cluster with TLS.

mod certificates;
mod faults;
mod hosts;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use self::faults::World;
use crate::cluster::{Cluster, Member, text};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::pair::Side;
use crate::process::wait_told;
use crate::say;
use crate::settings::{SEED, Settings};

/// The seed's, with a virtual MAC: its device has faults of its own.
const SETTINGS: &Settings =
    &Settings { name: "seed, virtual MAC", options: "  virtual_mac: true\n", ..SEED };
/// Agents look every 30 s; the rest is their way to a controller.
const FOUND_MS: f64 = 35_000.0;
/// The same, after another owner of a VIP and adverts that clash have been forgotten, 30 s after they were heard last.
const GONE_MS: f64 = 75_000.0;
/// Longest time that is waited for either, so that what is late is measured.
const PATIENCE: Duration = Duration::from_secs(150);

/// A host and a code, as `lvsctl doctor` tells them.
type Told = (&'static str, &'static str);

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let Stage { segment, cluster, pair: _, paths, client, .. } =
        lab.stage(Side::Fulcrum, SETTINGS)?;
    client.stop()?;
    clean(cluster, findings);
    let mut world = World::new(segment, cluster, paths, SETTINGS);
    hosts(&mut world, findings)?;
    programs(cluster, findings)?;
    certificates::run(lab, findings)
}

/// The cluster as it should be: every check made that can be made on this machine, and no error.
fn clean(cluster: &Cluster, findings: &mut Findings) {
    let mut last = Report::default();
    let known = wait_told("every check is made", PATIENCE, || {
        last = Report::ask(cluster)?;
        Ok((unknown(&last) == unseen()).then_some(()))
    });
    findings.require(
        known.is_ok(),
        format!("every check of the clean cluster is made: {:?}", unknown(&last)),
    );
    let of_controllers = last.of.keys().filter(|(host, _)| ["c1", "c2", "c3"].contains(&&**host));
    findings.require(of_controllers.count() == 15, "each of three controllers has five checks");
    findings.figure("checks", count(last.of.len()));
    findings.figure("errors_clean", count(last.with("error").len()));
    findings.figure("warnings_clean", count(last.with("warning").len()));
    say!("  warnings of the clean cluster: {:?}", last.with("warning"));
    findings.require(
        last.with("error").is_empty() && last.exit == Some(0),
        format!("the clean cluster has no error: {:?}, exit {:?}", last.with("error"), last.exit),
    );
}

/// What nobody can know here: programs that speak plain text have no certificates, and a machine without firmware does not tell
/// what it is.
fn unseen() -> Vec<String> {
    let has_firmware = std::path::Path::new("/sys/class/dmi/id/sys_vendor").exists();
    let hosts: &[&str] = if has_firmware { &[] } else { &["d1", "d2"] };
    let mut unseen: Vec<String> =
        hosts.iter().map(|host| format!("{host} hypervisor-mac")).collect();
    let plain = ["c1", "c2", "c3", "d1", "d2", "web1", "web2"];
    unseen.extend(plain.iter().map(|host| format!("{host} certificate")));
    // Nor has a Tomcat a connector of TLS.
    unseen.extend(["web1", "web2"].map(|host| format!("{host} server-certificate")));
    unseen.sort();
    unseen
}

/// The checks that are not known, but for one that depends on which controllers the agents chose: a director that is alone at its
/// own cannot be compared.
fn unknown(report: &Report) -> Vec<String> {
    let mut unknown = report.with("unknown");
    unknown.retain(|check| !["d1 agent-fresh", "d2 agent-fresh"].contains(&check.as_str()));
    unknown
}

/// Every fault of the table at once, then each undone.
fn hosts(world: &mut World<'_>, findings: &mut Findings) -> Result<()> {
    let told: Vec<Told> = hosts::ALL.iter().flat_map(|fault| fault.told).copied().collect();
    let outcome = begin_all(world).and_then(|begun| {
        let found = follow(world.cluster, &told, true, begun);
        judge(findings, "found", &told, &found, FOUND_MS);
        findings.figure("faults", count(hosts::ALL.len()));
        findings.figure("findings_expected", count(told.len()));
        let report = Report::ask(world.cluster)?;
        findings
            .require(report.exit == Some(1), format!("errors end it with 1: {:?}", report.exit));
        Ok(())
    });
    // What was begun is undone whatever came of it: the next scenario wants the hosts as they were.
    let ended = Instant::now();
    let undone = hosts::ALL
        .iter()
        .rev()
        .map(|fault| (fault.end)(world).with_context(|| format!("cannot undo: {}", fault.what)));
    let undone: Vec<Result<()>> = undone.collect();
    outcome?;
    undone.into_iter().collect::<Result<()>>()?;
    let gone = follow(world.cluster, &told, false, ended);
    judge(findings, "gone", &told, &gone, GONE_MS);
    let well = wait_told("no error is left", PATIENCE, || {
        Ok(Report::ask(world.cluster)?.with("error").is_empty().then_some(()))
    });
    let left = Report::ask(world.cluster)?.with("error");
    findings.require(well.is_ok(), format!("no error is left when all is undone: {left:?}"));
    Ok(())
}

/// Begins every fault; answers with the time when the last of them was there.
fn begin_all(world: &mut World<'_>) -> Result<Instant> {
    for fault in hosts::ALL {
        say!("{}", fault.what);
        (fault.begin)(world).with_context(|| format!("cannot provoke: {}", fault.what))?;
    }
    Ok(Instant::now())
}

/// An agent and a controller that are stopped, which nobody but the controllers can tell.
fn programs(cluster: &mut Cluster, findings: &mut Findings) -> Result<()> {
    const TOLD: &[Told] = &[("web2", "agent-attached"), ("c3", "controller-reachable")];
    let stopped = [Member::RealServer(1), Member::Controller(2)];
    for member in stopped {
        cluster.stop(member, Signal::SIGTERM)?;
    }
    let found = follow(cluster, TOLD, true, Instant::now());
    judge(findings, "found", TOLD, &found, FOUND_MS);
    let report = Report::ask(cluster)?;
    let of_web2 =
        report.of.iter().filter(|((host, code), _)| host == "web2" && code == "listen-address");
    let is_unknown = of_web2.clone().all(|(_, result)| result == "unknown") && of_web2.count() == 1;
    findings.require(is_unknown, "what a stopped agent would look at is not told to be well");
    let of_c3 = report.of.get(&("c3".to_owned(), "disk-space".to_owned()));
    findings.require(
        of_c3.is_some_and(|result| result == "unknown"),
        "what a stopped controller would look at is not told to be well",
    );
    for member in stopped {
        cluster.start(member)?;
    }
    for member in stopped {
        cluster.wait_ready(member)?;
    }
    let gone = follow(cluster, TOLD, false, Instant::now());
    judge(findings, "gone", TOLD, &gone, FOUND_MS);
    Ok(())
}

/// Asks until all of these are told, or none any more; answers with when each was seen so first.
fn follow(
    cluster: &Cluster,
    told: &[Told],
    is_wanted: bool,
    since: Instant,
) -> Vec<Option<Duration>> {
    let mut seen: Vec<Option<Duration>> = vec![None; told.len()];
    let followed = wait_told("the doctor tells it", PATIENCE, || {
        let report = Report::ask(cluster)?;
        let at = since.elapsed();
        for ((host, code), seen) in told.iter().zip(&mut seen) {
            let is_told = report.is_told(host, code);
            if is_told == is_wanted {
                seen.get_or_insert(at);
            } else if !is_wanted {
                // It came back: gone is when it stays so.
                *seen = None;
            }
        }
        Ok(seen.iter().all(Option::is_some).then_some(()))
    });
    if let Err(error) = followed {
        say!("  {error:#}");
    }
    seen
}

fn judge(
    findings: &mut Findings,
    what: &str,
    told: &[Told],
    seen: &[Option<Duration>],
    most_ms: f64,
) {
    let mut worst: f64 = 0.0;
    for ((host, code), at) in told.iter().zip(seen) {
        let ms = at.map(millis);
        worst = worst.max(ms.unwrap_or(f64::INFINITY));
        let in_time = ms.is_some_and(|ms| ms <= most_ms);
        let after = ms.map_or("never".to_owned(), |ms| format!("after {ms:.0} ms"));
        findings.require(in_time, format!("{code} of {host} is {what} {after}"));
    }
    if worst.is_finite() {
        let first = told.first().map_or("", |(_, code)| *code);
        findings.figure(format!("{what}_worst_ms_{}", first.replace('-', "_")), worst);
    }
}

/// What `lvsctl doctor` printed for programs.
#[derive(Debug, Default)]
struct Report {
    exit: Option<i32>,
    /// Result of each check, by host and code.
    of: BTreeMap<(String, String), String>,
}

impl Report {
    fn ask(cluster: &Cluster) -> Result<Self> {
        let output = cluster.lvsctl(&["-o", "json", "doctor"])?;
        let value: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("lvsctl doctor: {}{}", text(&output.stdout), text(&output.stderr))
        })?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut of = BTreeMap::new();
        for host in value["hosts"].as_array().context("no hosts")? {
            let name = match word(&host["name"]) {
                name if name.is_empty() => word(&host["role"]),
                name => name,
            };
            for check in host["checks"].as_array().context("no checks")? {
                of.insert((name.clone(), word(&check["code"])), word(&check["result"]));
            }
        }
        Ok(Self { exit: output.status.code(), of })
    }

    fn is_told(&self, host: &str, code: &str) -> bool {
        self.is(host, code, "warning") || self.is(host, code, "error")
    }

    fn is(&self, host: &str, code: &str, wanted: &str) -> bool {
        let result = self.of.get(&(host.to_owned(), code.to_owned()));
        result.is_some_and(|result| result == wanted)
    }

    /// `host code` of the checks that ended so.
    fn with(&self, result: &str) -> Vec<String> {
        let ended = self.of.iter().filter(|(_, of)| *of == result);
        ended.map(|((host, code), _)| format!("{host} {code}")).collect()
    }
}
