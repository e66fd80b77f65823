//! Who answers ARP for the VIP, as the directors find out by asking: a real server that is not quiet and a foreign host are
//! named, by both of them; a hand-over raises no false alarm.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, Member, told};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::mac::Mac;
use crate::net::namespace;
use crate::net::topology::{self, DIRECTORS, INTRUDER, Node, VIP, WEBS, ip_batch, set_sysctl};
use crate::pair::Side;
use crate::process::wait_told;
use crate::say;
use crate::settings::FAST;

/// The real server that is not quiet, and its place among the members.
const WEB: Node = WEBS[1];
const WEB_AGENT: Member = Member::RealServer(1);
/// What keeps it quiet, with the kernel's defaults in their places.
const LOUD: [(&str, &str); 4] = [
    ("net/ipv4/conf/all/arp_ignore", "0"),
    ("net/ipv4/conf/eth0/arp_ignore", "0"),
    ("net/ipv4/conf/all/arp_announce", "0"),
    ("net/ipv4/conf/eth0/arp_announce", "0"),
];
/// From the fault until both directors name it, and from its end until neither does.
const FOUND: Duration = Duration::from_secs(15);
const CLEARED: Duration = Duration::from_secs(30);
/// From the order of a hand-over until both name the new Active: its own time, 5 s of settling, a question.
const MOVED: Duration = Duration::from_secs(20);
/// Longest wait for what should take some seconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long alarms are looked for after a hand-over: a whole round of questions, and its confirmation.
const QUIET: Duration = Duration::from_secs(13);

/// What a director tells of the VIP.
struct Told {
    verdict: String,
    answered_by: String,
    /// Their MACs and real servers.
    offenders: Vec<(String, String)>,
    /// Texts of findings of this kind.
    findings: Vec<String>,
}

impl Told {
    fn by(cluster: &Cluster, director: Node) -> Result<Self> {
        let observed = told::of(cluster, director)?;
        let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let proofs = list(&observed, "arp_proofs");
        let proof = proofs.into_iter().find(|proof| proof["vip"] == VIP.to_string());
        let proof = proof.unwrap_or_default();
        let offenders = list(&proof, "offenders").into_iter().map(|offender| {
            let names = list(&offender, "real_servers");
            let names: Vec<String> = names.iter().map(text).collect();
            (text(&offender["mac"]), names.join(", "))
        });
        let findings = list(&observed, "findings").into_iter();
        let findings = findings.filter(|finding| finding["code"] == "arp-proof");
        Ok(Self {
            verdict: text(&proof["verdict"]),
            answered_by: text(&proof["answered_by"]),
            offenders: offenders.collect(),
            findings: findings.map(|finding| text(&finding["found"])).collect(),
        })
    }

    /// The Active alone answers, and nothing is wrong.
    fn is_proven(&self, active: Mac) -> bool {
        self.verdict == "proven"
            && self.answered_by == active.to_string()
            && self.offenders.is_empty()
            && self.findings.is_empty()
    }

    /// It names this host, with these words.
    fn names(&self, host: Mac, real_server: &str, words: &[&str]) -> bool {
        let is_offender = self.offenders.contains(&(host.to_string(), real_server.to_owned()));
        let mac = host.to_string();
        let says = |text: &String| text.contains(&mac) && words.iter().all(|w| text.contains(w));
        is_offender && self.verdict == "offended" && self.findings.iter().any(says)
    }
}

/// A clean segment, a real server that is not quiet, a hand-over there and back, a foreign host.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &FAST)?;
    let macs = [topology::mac_of(DIRECTORS[0])?, topology::mac_of(DIRECTORS[1])?];
    let begin = Instant::now();
    wait_proven(stage.cluster, macs[0])?;
    findings.figure("clean_ms", millis(begin.elapsed()));
    loud_real_server(&mut stage, macs[0], findings)?;
    for (name, arguments, to) in [
        ("handover", ["handover", "vi-1", "--to", DIRECTORS[1].name].as_slice(), 1),
        ("handback", ["handover", "vi-1", "--back"].as_slice(), 0),
    ] {
        say!("{name}");
        moves(&stage, name, arguments, macs[to], findings)?;
    }
    foreign_host(&stage, macs[0], findings)?;
    stage.client.stop()
}

fn loud_real_server(stage: &mut Stage<'_>, active: Mac, findings: &mut Findings) -> Result<()> {
    say!("{} answers ARP for the VIP, and its agent is stopped", WEB.name);
    let mac = topology::mac_of(WEB)?;
    let before: Result<Vec<String>> = LOUD.iter().map(|(name, _)| read_sysctl(WEB, name)).collect();
    let before = before?;
    stage.cluster.stop(WEB_AGENT, Signal::SIGTERM)?;
    let begin = Instant::now();
    for (name, value) in LOUD {
        set_sysctl(WEB.name, name, value)?;
    }
    let rip = WEB.address.to_string();
    wait_named(stage.cluster, mac, WEB.name, &[WEB.name, &rip, "arp_ignore"])?;
    let found = begin.elapsed();
    say!("  found: {}", Told::by(stage.cluster, DIRECTORS[1])?.findings.join("; "));
    findings.figure("found_ms", millis(found));
    findings.at_most("milliseconds until both directors name it", millis(found), millis(FOUND));
    let web = stage.segment.tomcats[1].address();
    let serves = DIRECTORS
        .iter()
        .all(|director| stage.segment.tables.at(director.name, Instant::now()).serves(web));
    findings.require(serves, "it keeps its weight: weight 0 would give no VIP back");
    let begin = Instant::now();
    for ((name, _), value) in LOUD.iter().zip(&before) {
        set_sysctl(WEB.name, name, value)?;
    }
    wait_proven(stage.cluster, active)?;
    let cleared = begin.elapsed();
    findings.figure("cleared_ms", millis(cleared));
    findings.at_most("milliseconds until it is cleared", millis(cleared), millis(CLEARED));
    stage.cluster.start(WEB_AGENT)?;
    stage.cluster.wait_ready(WEB_AGENT)?;
    stage.cluster.wait_converged()
}

fn moves(
    stage: &Stage<'_>,
    name: &str,
    arguments: &[&str],
    active: Mac,
    findings: &mut Findings,
) -> Result<()> {
    let begin = Instant::now();
    stage.cluster.must(arguments)?;
    let mut proven = None;
    let mut alarms: Vec<String> = Vec::new();
    // From the order on: whatever is alarmed of in these seconds is false.
    wait_told("the segment is proven and stays quiet", PATIENCE, || {
        let mut all = true;
        for director in DIRECTORS {
            let told = Told::by(stage.cluster, director)?;
            all &= told.is_proven(active);
            alarms.extend(told.findings);
        }
        if all {
            proven.get_or_insert_with(Instant::now);
        }
        Ok((begin.elapsed() > QUIET + MOVED / 2 && proven.is_some()).then_some(()))
    })?;
    alarms.sort();
    alarms.dedup();
    for alarm in &alarms {
        say!("  false alarm: {alarm}");
    }
    let took = proven.context("it was waited for")?.duration_since(begin);
    findings.figure(format!("{name}_proven_ms"), millis(took));
    findings.figure(format!("{name}_false_alarms"), count(alarms.len()));
    findings.at_most(&format!("{name}_proven_ms"), millis(took), millis(MOVED));
    findings.at_most(&format!("{name}_false_alarms"), count(alarms.len()), 0.0);
    Ok(())
}

fn foreign_host(stage: &Stage<'_>, active: Mac, findings: &mut Findings) -> Result<()> {
    say!("a host that is none of ours takes the VIP");
    let mac = topology::mac_of(INTRUDER)?;
    let begin = Instant::now();
    ip_batch(Some(INTRUDER.name), &[format!("address add {VIP}/32 dev eth0")])?;
    wait_named(stage.cluster, mac, "", &["none of the plan's real servers"])?;
    let found = begin.elapsed();
    findings.figure("foreign_found_ms", millis(found));
    findings.at_most("milliseconds until both directors name it", millis(found), millis(FOUND));
    let begin = Instant::now();
    ip_batch(Some(INTRUDER.name), &[format!("address del {VIP}/32 dev eth0")])?;
    wait_proven(stage.cluster, active)?;
    let cleared = begin.elapsed();
    findings.figure("foreign_cleared_ms", millis(cleared));
    findings.at_most("milliseconds until it is cleared", millis(cleared), millis(CLEARED));
    Ok(())
}

fn wait_proven(cluster: &Cluster, active: Mac) -> Result<()> {
    wait_both(cluster, "both directors find the Active alone", |told| told.is_proven(active))
}

fn wait_named(cluster: &Cluster, host: Mac, real_server: &str, words: &[&str]) -> Result<()> {
    let what = format!("both directors name {host}");
    wait_both(cluster, &what, |told| told.names(host, real_server, words))
}

fn wait_both(cluster: &Cluster, what: &str, holds: impl Fn(&Told) -> bool) -> Result<()> {
    wait_told(what, PATIENCE, || {
        for director in DIRECTORS {
            if !holds(&Told::by(cluster, director)?) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

fn read_sysctl(node: Node, name: &str) -> Result<String> {
    namespace::inside(node.name, || {
        let path = format!("/proc/sys/{name}");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(text.trim().to_owned())
    })
}
