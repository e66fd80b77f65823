//! The cluster with TLS: certificates that end soon are told by whoever has them, and no longer when they were replaced.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{FOUND_MS, PATIENCE, Report, SETTINGS, Told, follow, judge};
use crate::cluster::pki::{OPERATOR, Pki};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{CONTROLLERS, DIRECTORS, WEBS};
use crate::pair::Side;
use crate::process::wait_told;
use crate::say;

/// Sooner than anybody is content with.
const SOON: Duration = Duration::from_hours(3 * 24);
const LONG: Duration = Duration::from_hours(90 * 24);
/// Whose certificate ends soon: a controller, a director, and whoever runs lvsctl. A real-server agent looks at that of the
/// controller by TLS, as at a server's of its own host.
const ENDING: [&str; 3] = ["c1", "d2", OPERATOR];
const TOLD: &[Told] = &[
    ("c1", "certificate"),
    ("d2", "certificate"),
    ("cluster", "certificate"),
    ("web1", "server-certificate"),
    ("web2", "server-certificate"),
];

pub(super) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    say!("all programs with TLS, with certificates that end in three days");
    lab.take_down();
    let pki = Pki::make(lab.dir())?;
    let outcome = look(lab, &pki, findings);
    lab.take_down();
    pki.remove()?;
    outcome
}

fn look(lab: &mut Lab, pki: &Pki, findings: &mut Findings) -> Result<()> {
    let nodes = CONTROLLERS.iter().chain(&DIRECTORS).chain(&WEBS);
    let hosts: Vec<(&str, IpAddr)> = nodes
        .map(|node| (node.name, IpAddr::V4(node.address)))
        .chain([(OPERATOR, IpAddr::V4(Ipv4Addr::LOCALHOST))])
        .collect();
    for (name, address) in &hosts {
        pki.issue(name, *address, if ENDING.contains(name) { SOON } else { LONG })?;
    }
    let stage = lab.stage(Side::Fulcrum, SETTINGS)?;
    stage.client.stop()?;
    let cluster = stage.cluster;
    let found = follow(cluster, TOLD, true, Instant::now());
    judge(findings, "found", TOLD, &found, FOUND_MS);
    let well = wait_told("the others' certificates are known to last", PATIENCE, || {
        let report = Report::ask(cluster)?;
        let is_well = |host: &&str| report.is(host, "certificate", "ok");
        Ok(["c2", "c3", "d1", "web1", "web2"].iter().all(is_well).then_some(()))
    });
    findings.require(well.is_ok(), "the other certificates are known to last");
    for (name, address) in &hosts {
        pki.issue(name, *address, LONG)?;
    }
    let replaced = Instant::now();
    // What programs have in files is looked at as it is there. That which a controller presents is the one of its start.
    let gone = &TOLD[..3];
    judge(findings, "gone", gone, &follow(cluster, gone, false, replaced), FOUND_MS);
    Ok(())
}
