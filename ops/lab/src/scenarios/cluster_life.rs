//! What an operator does with the controllers themselves, under writes: another one is to lead, one has died for good, and all is to begin anew from a
//! backup. Whatever was acknowledged must be there, and writes wait for a moment only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::raft::missing_at;
use super::raft::trio::{LONG, Trio, lvsctl};
use super::raft::writer::{Write, Writer, acknowledged};
use crate::cluster::text;
use crate::contest::{count, millis, told_ms};
use crate::findings::{Findings, median};
use crate::lab::Lab;
use crate::process::wait_told;
use crate::say;

/// Transfers of the leadership.
const TRANSFERS: usize = 5;
/// Clients that apply at the same time.
const WRITERS: usize = 2;
/// Longest median time for which no write was taken: an election is far longer.
const GAP_MS: f64 = 250.0;
/// Longest time from the death of a controller until its successor votes, with the restarts of the others.
const REPLACED_MS: f64 = 30_000.0;

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut trio = Trio::start(lab, "cluster-life")?;
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::start(number, &trio.peers, &lab.bin_dir, &lab.dir))
        .collect();
    transfers(lab, &trio, &writers, findings)?;
    let file = lab.dir.join("backup");
    let before: BTreeSet<String> = acknowledged(&writers).into_iter().collect();
    let told = back_up(lab, &trio, &file, &writers, findings)?;
    replace_a_dead_one(lab, &mut trio, findings)?;

    let mut acked = BTreeSet::new();
    for writer in writers {
        acked.extend(writer.stop()?.0);
    }
    let mut lost = 0;
    for peer in &trio.peers {
        lost = lost.max(missing_at(peer, &acked, &lab.bin_dir)?);
    }
    findings.figure("acked", count(acked.len()));
    findings.figure("lost", count(lost));
    findings.at_most("lost", count(lost), 0.0);
    for index in 0..trio.peers.len() {
        trio.stop_one(index)?;
    }
    begin_anew(lab, &file, &told, &before, findings)
}

/// Has one controller after the other lead.
fn transfers(lab: &Lab, trio: &Trio, writers: &[Writer], findings: &mut Findings) -> Result<()> {
    let (mut gaps, mut slowest) = (Vec::new(), Vec::new());
    for _ in 0..TRANSFERS {
        let before = acknowledged(writers).len();
        wait_told("writes are acknowledged", LONG, || {
            Ok((acknowledged(writers).len() >= before + 4).then_some(()))
        })?;
        let leader = trio.leader()?;
        let to = &trio.peers[(leader + 1) % trio.peers.len()].name;
        let began = Instant::now();
        let answer = ask(lab, &trio.endpoints(), &["controller", "transfer", to])?;
        let gap = answer["gap"].as_str().and_then(told_ms).context("the answer tells no gap")?;
        if answer["to"] != to.as_str() {
            bail!("{to} was to lead: {answer}");
        }
        let ended = Instant::now();
        wait_told("the writes of then are answered", LONG, || {
            let is_done =
                |writer: &Writer| writer.writes().last().is_some_and(|w| w.began >= ended);
            Ok(writers.iter().all(is_done).then_some(()))
        })?;
        let during: Vec<Write> = writers
            .iter()
            .flat_map(Writer::writes)
            .filter(|write| write.ended >= began && write.began <= ended)
            .collect();
        let longest = during.iter().map(|write| millis(write.ended - write.began));
        let longest = longest.fold(0.0, f64::max);
        say!(
            "{to} leads: writes were not taken for {gap:.1} ms, the slowest lvsctl apply took {longest:.0} ms"
        );
        findings.require(
            during.iter().all(|write| write.acknowledged),
            "every write during a transfer is acknowledged",
        );
        gaps.push(gap);
        slowest.push(longest);
    }
    let gap = median(&gaps).context("no transfer")?;
    findings.figure("transfer_gap_ms", gap);
    findings.figure("transfer_gap_worst_ms", gaps.iter().copied().fold(0.0, f64::max));
    findings.figure("transfer_slowest_apply_ms", slowest.iter().copied().fold(0.0, f64::max));
    findings.at_most("transfer_gap_ms (median)", gap, GAP_MS);
    Ok(())
}

/// Backs up while writes go on. Gives what lvsctl told.
fn back_up(
    lab: &Lab,
    trio: &Trio,
    file: &Path,
    writers: &[Writer],
    findings: &mut Findings,
) -> Result<Value> {
    let (begun, before) = (Instant::now(), acknowledged(writers).len());
    let told = ask(lab, &trio.endpoints(), &["backup", &file.to_string_lossy()])?;
    let took = millis(begun.elapsed());
    say!(
        "backup of revision {} with {} resources in {took:.0} ms; {} writes were acknowledged meanwhile",
        told["revision"],
        told["resources"],
        acknowledged(writers).len() - before
    );
    findings.figure("backup_ms", took);
    findings.figure("backup_bytes", number(&told, "size_bytes")?);
    Ok(told)
}

/// Kills a follower for good, and has another one take its place under a new id.
fn replace_a_dead_one(lab: &Lab, trio: &mut Trio, findings: &mut Findings) -> Result<()> {
    let leader = trio.leader()?;
    let dead = (leader + 1) % trio.peers.len();
    let begun = Instant::now();
    trio.running[dead].take().context("it does not run")?.kill()?;
    fs::remove_dir_all(trio.data_dir(dead))?;
    trio.peers[dead].id = 4;
    // As an operator does it: the others get the new list one by one, and then the new one starts.
    for index in (0..trio.peers.len()).filter(|index| *index != dead) {
        trio.stop_one(index)?;
        trio.start_one(index)?;
        trio.wait_ready(index)?;
    }
    trio.start_one(dead)?;
    let endpoints = trio.endpoints();
    wait_told("the new controller votes", LONG, || {
        let told = ask(lab, &endpoints, &["controller", "list"]);
        let members = told.ok().and_then(|told| told["members"].as_array().cloned());
        let is_done = members.is_some_and(|members| {
            members.len() == 3
                && members.iter().all(|m| m["problem"] == "" && m["reachable"] == true)
                && members.iter().any(|m| m["id"] == 4 && m["role"] != "learner")
        });
        Ok(is_done.then_some(()))
    })?;
    let took = millis(begun.elapsed());
    say!(
        "{} was dead for good, and votes again under id 4 after {took:.0} ms",
        trio.peers[dead].name
    );
    findings.figure("replaced_ms", took);
    findings.at_most("replaced_ms", took, REPLACED_MS);
    Ok(())
}

/// A new cluster from the backup: restored on one controller, joined by two.
fn begin_anew(
    lab: &Lab,
    file: &Path,
    told: &Value,
    before: &BTreeSet<String>,
    findings: &mut Findings,
) -> Result<()> {
    let mut trio = Trio::prepare(lab, "cluster-life-restored")?;
    let begun = Instant::now();
    let config = trio.write_file(0)?;
    let output = Command::new(lab.bin_dir.join("fulcrum-controller"))
        .arg("restore")
        .arg(file)
        .arg("--config")
        .arg(&config)
        .output()?;
    if !output.status.success() {
        bail!("fulcrum-controller restore: {}", text(&output.stderr));
    }
    findings.figure("restore_ms", millis(begun.elapsed()));
    trio.start_one(0)?;
    trio.wait_ready(0)?;
    wait_told("the restored controller leads", LONG, || {
        let told = ask(lab, &trio.peers[0].api, &["controller", "list"])?;
        Ok((told["leader"] == trio.peers[0].name.as_str()).then_some(()))
    })?;
    for index in 1..trio.peers.len() {
        trio.start_one(index)?;
        trio.wait_ready(index)?;
    }
    wait_told("all three vote", LONG, || {
        let told = ask(lab, &trio.peers[0].api, &["controller", "list"])?;
        let members = told["members"].as_array().cloned().unwrap_or_default();
        Ok(members.iter().all(|member| member["problem"] == "").then_some(()))
    })?;
    findings.figure("restored_cluster_ms", millis(begun.elapsed()));
    let (mut missing, mut different) = (0, 0);
    for peer in &trio.peers {
        missing = missing.max(missing_at(peer, before, &lab.bin_dir)?);
        let listed = ask(lab, &peer.api, &["get", "all"])?;
        let found = listed.as_array().map(|all| all.len() as u64);
        let history = ask(lab, &peer.api, &["history", "--limit", "1"])?;
        let newest = history["revisions"][0]["revision"].clone();
        if found != told["resources"].as_u64() || newest != told["revision"] {
            different += 1;
        }
    }
    findings.figure("restored_missing", count(missing));
    findings.at_most("restored_missing", count(missing), 0.0);
    findings.require(
        different == 0,
        "each restored controller has the backup's resources and revision",
    );
    let client = Writer::start(WRITERS, &trio.peers, &lab.bin_dir, &lab.dir);
    let written = wait_told("a write of the new cluster is acknowledged", LONG, || {
        Ok(client.writes().into_iter().find(|write| write.acknowledged))
    });
    client.stop()?;
    written.map(drop)
}

/// What lvsctl answers a program.
fn ask(lab: &Lab, endpoints: &str, arguments: &[&str]) -> Result<Value> {
    let mut all = vec!["-o", "json"];
    all.extend(arguments);
    let output = lvsctl(&lab.bin_dir, endpoints, &all)?;
    if !output.status.success() {
        bail!("lvsctl {}: {}", arguments.join(" "), text(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("lvsctl told no JSON")
}

fn number(told: &Value, field: &str) -> Result<f64> {
    told[field].as_f64().with_context(|| format!("{field} is no number in {told}"))
}
