//! A Tomcat is killed, the Active director loses power, the leader is killed: what is told of it, in which order, by every controller, and
//! by mail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, Member, text};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{CONTROLLERS, Node, SORRY};
use crate::pair::Side;
use crate::peers::mail::{self, MailServer};
use crate::process::wait_told;
use crate::say;
use crate::settings::FAST;

/// Longest wait for anything here.
const LONG: Duration = Duration::from_mins(1);
/// Longest time from a kill of a Tomcat until every controller tells of it.
const TOLD_MS: f64 = 10_000.0;

/// What must be told of the blows, in this order.
const EXPECTED: [(&str, &str, &str); 3] = [
    ("real_server_out", "web1", "real server web1 is out of web"),
    ("became_active", "vi-1", "director d2 is Active in vi-1"),
    ("real_server_in", "web1", "real server web1 is in rotation again"),
];

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    // What was told of a thing often damps what is told of it: begin with nothing told.
    lab.take_down();
    let dir = lab.dir.clone();
    let mut stage = lab.stage(Side::Fulcrum, &FAST)?;
    stage.pause_client()?;
    let mails = MailServer::start(&dir, stage.paths.logs)?;
    let policy = dir.join("policy.yaml");
    fs::write(&policy, manifest())?;
    stage.cluster.must(&["apply", "-f", &policy.to_string_lossy()])?;
    let before = told(stage.cluster, CONTROLLERS[0])?.last().map_or(0, |event| event.sequence);

    let at = stage.segment.tomcats[0].kill()?;
    wait_everywhere(stage.cluster, &CONTROLLERS, before, &EXPECTED[..1])?;
    let told_ms = millis(at.elapsed());
    findings.figure("told_ms", told_ms);
    findings.at_most("told_ms", told_ms, TOLD_MS);

    stage.pair.power_off(0)?;
    wait_everywhere(stage.cluster, &CONTROLLERS, before, &EXPECTED[..2])?;
    let events = told(stage.cluster, CONTROLLERS[0])?;
    let failover = events.iter().rev().find(|event| event.kind == "became_active");
    let cause = failover.map_or("", |event| event.cause.as_str());
    findings.require(
        cause == "director d1 is not heard any more",
        format!("the failover is told with its cause: {cause:?}"),
    );
    wait_mail(&mails, &EXPECTED[..2])?;

    // The leader goes, and what happens then is told by another one.
    let leader = leader(stage.cluster)?;
    stage.cluster.stop(Member::Controller(leader), Signal::SIGKILL)?;
    let killed = Instant::now();
    stage.segment.tomcats[0].start(stage.paths.logs)?;
    stage.segment.tomcats[0].wait_ready()?;
    let others: Vec<Node> = CONTROLLERS
        .into_iter()
        .enumerate()
        .filter(|(at, _)| *at != leader)
        .map(|(_, it)| it)
        .collect();
    wait_everywhere(stage.cluster, &others, before, &EXPECTED)?;
    wait_mail(&mails, &EXPECTED)?;
    findings.figure("told_after_leader_killed_ms", millis(killed.elapsed()));

    stage.cluster.start(Member::Controller(leader))?;
    stage.cluster.wait_ready(Member::Controller(leader))?;
    judge(stage.cluster, before, findings)?;
    judge_mails(&mails, findings)?;

    stage.cluster.must(&["delete", "notification-policy", "ops"])?;
    stage.pair.power_on(0)?;
    stage.pair.start(0, stage.paths)?;
    stage.pair.wait_first_active()
}

/// Mail for all that matters, soon.
fn manifest() -> String {
    format!(
        "kind: NotificationPolicy\nname: ops\nspec:\n  group_wait: 1s\n  group_interval: 2s\n  smtp: {{server: {}, port: {}, \
         from: lvs@example.com, to: [ops@example.com], connect_timeout: 30s, router_id: lvs-lab}}\n",
        SORRY.address,
        mail::PORT
    )
}

/// An event as `lvsctl` prints it for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    sequence: u64,
    kind: String,
    subject: String,
    text: String,
    cause: String,
}

impl Event {
    fn is(&self, (kind, subject, text): (&str, &str, &str)) -> bool {
        self.kind == kind && self.subject == subject && self.text == text
    }
}

/// All that a controller tells, by its own word.
fn told(cluster: &Cluster, controller: Node) -> Result<Vec<Event>> {
    let output = cluster.lvsctl_at(controller, &["events", "--limit", "1000", "-o", "json"])?;
    if !output.status.success() {
        bail!("lvsctl events: {}", text(&output.stderr));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let events = answer["events"].as_array().context("it tells no events")?;
    events.iter().map(event).collect()
}

fn event(value: &Value) -> Result<Event> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sequence = &value["sequence"];
    let sequence =
        sequence.as_u64().or_else(|| sequence.as_str().and_then(|text| text.parse().ok()));
    Ok(Event {
        sequence: sequence.with_context(|| format!("an event without its place: {value}"))?,
        kind: word(&value["kind"]),
        subject: word(&value["subject"]["name"]),
        text: word(&value["text"]),
        cause: word(&value["cause"]),
    })
}

/// Waits until each controller tells these after that event, in this order.
fn wait_everywhere(
    cluster: &Cluster,
    controllers: &[Node],
    before: u64,
    expected: &[(&str, &str, &str)],
) -> Result<()> {
    for controller in controllers {
        let what = format!("{} tells {expected:?}", controller.name);
        wait_told(&what, LONG, || {
            let events = told(cluster, *controller).unwrap_or_default();
            let mut newer = events.iter().filter(|event| event.sequence > before);
            let are_all = expected.iter().all(|wanted| newer.any(|event| event.is(*wanted)));
            Ok(are_all.then_some(()))
        })?;
    }
    Ok(())
}

/// Waits until mail has told all of these.
fn wait_mail(mails: &MailServer, expected: &[(&str, &str, &str)]) -> Result<()> {
    wait_told(&format!("mail tells {expected:?}"), LONG, || {
        let all = mails.mails()?.join("\n");
        Ok(expected.iter().all(|(_, _, text)| all.contains(text)).then_some(()))
    })
}

fn leader(cluster: &Cluster) -> Result<usize> {
    let output = cluster.lvsctl(&["-o", "json", "status"])?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let topology = status.get("topology").unwrap_or(&status);
    let leader = topology["controllers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|it| it["role"] == "leader")
        .and_then(|it| it["name"].as_str())
        .context("nobody leads")?;
    CONTROLLERS.iter().position(|node| node.name == leader).context("the leader is no controller")
}

/// Every controller, the killed one too, tells the same, and each blow once.
fn judge(cluster: &Cluster, before: u64, findings: &mut Findings) -> Result<()> {
    for controller in &CONTROLLERS[1..] {
        let same = wait_told(&format!("{} tells the same", controller.name), LONG, || {
            // What happens meanwhile is told by all, a moment apart.
            let (first, other) = (told(cluster, CONTROLLERS[0])?, told(cluster, *controller)?);
            Ok((first == other).then_some(()))
        });
        findings.require(same.is_ok(), format!("{} tells what c1 tells", controller.name));
    }
    // The killed one has caught up only now.
    let first = told(cluster, CONTROLLERS[0])?;
    for wanted in EXPECTED {
        let times =
            first.iter().filter(|event| event.sequence > before && event.is(wanted)).count();
        findings.require(times == 1, format!("{:?} is told once: {times}", wanted.2));
    }
    for event in first.iter().filter(|event| event.sequence > before) {
        say!("  {} {}: {} ({})", event.sequence, event.kind, event.text, event.cause);
    }
    Ok(())
}

/// No mail came more than twice, and those that came twice are the same mail.
fn judge_mails(mails: &MailServer, findings: &mut Findings) -> Result<()> {
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    let all = mails.mails()?;
    for mail in &all {
        let id = mail.lines().find_map(|line| line.strip_prefix("Message-ID: "));
        *by_id.entry(id.context("a mail has its identity")?.to_owned()).or_insert(0) += 1;
    }
    let lines = all.iter().filter(|mail| mail.contains(EXPECTED[0].2));
    let ids: BTreeSet<_> =
        lines.filter_map(|mail| mail.lines().find(|line| line.starts_with("Message-ID"))).collect();
    let repeated = all.len() - by_id.len();
    findings.figure("mails", count(all.len()));
    findings.figure("mails_repeated", count(repeated));
    findings.require(ids.len() == 1, "the dead Tomcat is told in one mail");
    findings.at_most("mails_repeated", count(repeated), 1.0);
    Ok(())
}
