//! A gray failure: on one real server the VIP leaves the loopback, and its agent is dead. The RIP answers, the VIP does not. The
//! directors' check through the VIP takes it out, says why, and takes it back; keepalived's checker never notices.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::client::RATE;
use crate::cluster::{Member, config, manifest, told};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage, both};
use crate::net::topology::{DIRECTORS, Node, PORT, VIP, WEBS};
use crate::pair::Side;
use crate::process::{run as run_program, wait_told, wait_until};
use crate::say;
use crate::settings::{Check, FAST, Settings};
use crate::watch::ipvsadm;
use crate::watch::table::Table;

/// HTTP every half second, with no try lost.
const CHECKS: Settings = Settings {
    name: "HTTP checks every 500 ms",
    check: Check {
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(500),
        retries: 0,
        retry_delay: Duration::from_millis(500),
        is_http: true,
    },
    ..FAST
};
/// In intervals of the checks, to which one timeout comes: from the VIP's loss until out of both tables, and back.
const MOST_INTERVALS: u32 = 3;
/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests are counted for so long from the VIP's loss, on either side.
const WINDOW: Duration = Duration::from_secs(6);
/// Requests that may fail beside the share that went to the gray real server.
const SLACK: f64 = 5.0;
/// The real server that fails.
const GRAY: usize = 0;

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let mut stage = lab.stage(Side::Fulcrum, &CHECKS)?;
    ask_through_vip(&mut stage, findings)?;
    stage.cluster.stop(Member::RealServer(GRAY), Signal::SIGKILL)?;
    gray(&stage, findings)?;
    sick(&mut stage, findings)?;
    taken_away(&mut stage, findings)?;
    stage.cluster.start_missing()?;
    stage.wait_whole()?;
    drop(stage);
    beside_keepalived(lab, findings)
}

/// The intent with a check through the VIP.
fn through_vip() -> Result<String> {
    let text = manifest::seed(&CHECKS);
    let whole = text.replace("check: {http: {},", "check: {http: {}, through_vip: {},");
    if whole == text {
        bail!("the manifest has no such check: {text}");
    }
    Ok(whole)
}

/// Asks for it: both directors try, and nobody sees the entries that they do it by but the kernel.
fn ask_through_vip(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    stage.cluster.apply_text(&through_vip()?)?;
    stage.cluster.wait_converged()?;
    for director in DIRECTORS {
        for web in WEBS {
            wait_told(
                &format!("{} passes by the VIP at {}", web.name, director.name),
                PATIENCE,
                || Ok(says(stage, director, web)?.path.ends_with("PASSING").then_some(())),
            )?;
        }
        let name = director.name;
        let kernel = ipvsadm::run(director, &["-L", "-n"])?;
        findings.require(
            ways(&kernel) == WEBS.len(),
            format!("{name}: the kernel has a way to each: {kernel}"),
        );
        let socket = config::socket(director, stage.paths.dir).to_string_lossy().into_owned();
        let listed = stage.cluster.lvsctl(&["--socket", &socket, "ipvs", "--plain"])?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let is_hidden = listed.contains(&VIP.to_string()) && ways(&listed) == 0;
        findings
            .require(is_hidden, format!("{name}: lvsctl ipvs lists no way of a check: {listed}"));
        let observed = told::local(stage.cluster, director)?;
        let problems = observed["problems"].to_string();
        let is_at_peace = !problems.contains("through the VIP");
        findings.require(is_at_peace, format!("{name} suspects no way: {problems}"));
        let accepts = accept_local(director)?;
        findings.require(accepts == "1", format!("{name}: accept_local is {accepts} for answers"));
    }
    Ok(())
}

/// Entries for ways of checks in what ipvsadm prints, by their marks (ops/docs/checks.md).
fn ways(table: &str) -> usize {
    let marks = table.lines().filter_map(|line| line.strip_prefix("FWM"));
    let marks = marks.filter_map(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
    marks.filter(|mark| mark >> 16 == 0x4655).count()
}

/// The VIP leaves one real server, and comes back.
fn gray(stage: &Stage<'_>, findings: &mut Findings) -> Result<()> {
    let web = WEBS[GRAY];
    let bound = CHECKS.check.interval * MOST_INTERVALS + CHECKS.check.timeout;
    let at = Instant::now();
    vip(web, "del")?;
    let gone = wait_tables(stage, "out of both tables", at, |table| !serves(table, web))?;
    let out_ms = millis(gone - at);
    findings.figure("gray_out_ms", out_ms);
    findings.at_most("milliseconds from the VIP's loss to out", out_ms, millis(bound));
    for director in DIRECTORS {
        let said = says(stage, director, web)?;
        say!("  {} says: {said:?}", director.name);
        findings.require(
            said.reasons.starts_with("gray: the RIP answers, the VIP does not")
                && said.path.ends_with("FAILING")
                && said.probe.ends_with("PASSING"),
            format!("{} says that the VIP does not answer: {said:?}", director.name),
        );
    }
    let explained = wait_told("lvsctl explain tells of the way", PATIENCE, || {
        let output = stage.cluster.lvsctl(&["explain", web.name])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.contains("check through the VIP: fails").then_some(text))
    });
    findings.require(explained.is_ok(), "lvsctl explain names the way");
    let window = stage.client.settled(at, at + WINDOW);
    say!("  {} of {} requests failed: {}", window.failed(), window.count(), window.failures());
    let most = RATE * (gone - at).as_secs_f64() / count(WEBS.len()) + SLACK;
    findings.figure("fulcrum_failed", count(window.failed()));
    findings.at_most("requests that failed", count(window.failed()), most);

    let bound_at = Instant::now();
    vip(web, "add")?;
    let back = wait_tables(stage, "back in both tables", bound_at, |table| serves(table, web))?;
    findings.figure("gray_back_ms", millis(back - bound_at));
    findings.at_most(
        "milliseconds from the VIP's return to in",
        millis(back - bound_at),
        millis(bound),
    );
    Ok(())
}

/// A Tomcat that dies is told as what it is.
fn sick(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let web = WEBS[GRAY];
    let at = stage.segment.tomcats[GRAY].kill()?;
    let gone = wait_tables(stage, "the dead one is out", at, |table| !serves(table, web))?;
    for director in DIRECTORS {
        let said = says(stage, director, web)?;
        findings.require(
            said.reasons.starts_with("own probe fails") && said.probe.ends_with("FAILING"),
            format!("{} says that the Tomcat is dead, not gray: {said:?}", director.name),
        );
    }
    findings.figure("dead_out_ms", millis(gone - at));
    stage.segment.tomcats[GRAY].start(stage.paths.logs)?;
    stage.segment.tomcats[GRAY].wait_ready()?;
    let since = Instant::now();
    wait_tables(stage, "the dead one is back", since, |table| serves(table, web))?;
    Ok(())
}

/// The check leaves the intent, and takes all that was made for it along.
fn taken_away(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    stage.cluster.apply(&CHECKS)?;
    for director in DIRECTORS {
        let gone = wait_until("the ways are gone", PATIENCE, || {
            Ok((ways(&ipvsadm::run(director, &["-L", "-n"])?) == 0).then_some(()))
        });
        findings.require(gone.is_ok(), format!("{}: its ways are gone", director.name));
        let restored = wait_until("accept_local is as before", PATIENCE, || {
            Ok((accept_local(director)? == "0").then_some(()))
        });
        findings.require(restored.is_ok(), format!("{}: accept_local is as before", director.name));
    }
    Ok(())
}

/// The same loss under keepalived's checks of the same pace.
fn beside_keepalived(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let stage = lab.stage(Side::Keepalived, &CHECKS)?;
    let web = WEBS[GRAY];
    stage.cluster.stop(Member::RealServer(GRAY), Signal::SIGKILL)?;
    let at = Instant::now();
    vip(web, "del")?;
    let window = stage.client.settled(at, at + WINDOW);
    vip(web, "add")?;
    let is_kept = both().iter().all(|director| {
        stage.segment.tables.first_since(director, at, |table| !serves(table, web)).is_none()
    });
    say!("  keepalived: {} of {} requests failed", window.failed(), window.count());
    findings.figure("keepalived_failed", count(window.failed()));
    findings.figure("keepalived_noticed", if is_kept { 0.0 } else { 1.0 });
    let fulcrum = findings.get("fulcrum_failed").unwrap_or_default();
    findings
        .require(fulcrum < count(window.failed()), "fewer requests are lost than under keepalived");
    stage.cluster.start_missing()
}

/// Whether the virtual server's table sends new connections there; the way of a check has a weight whatever happens.
fn serves(table: &Table, web: Node) -> bool {
    let server = table.virtual_servers.get(&format!("TCP {}", SocketAddrV4::new(VIP, PORT)));
    let held =
        server.and_then(|server| server.destinations.get(&SocketAddrV4::new(web.address, PORT)));
    held.is_some_and(|(_, weight)| *weight > 0)
}

fn wait_tables(
    stage: &Stage<'_>,
    what: &str,
    since: Instant,
    wanted: impl Fn(&Table) -> bool,
) -> Result<Instant> {
    stage.segment.tables.wait_all(what, &both(), since, PATIENCE, wanted)
}

/// Takes the VIP from a real server's loopback, or gives it back, as a careless hand does.
fn vip(web: Node, action: &str) -> Result<()> {
    let address = format!("{VIP}/32");
    say!("  ip addr {action} {address} dev lo on {}", web.name);
    let words = ["-n", web.name, "addr", action, &address, "dev", "lo"];
    run_program("ip", &words).map(|_| ())
}

fn accept_local(director: Node) -> Result<String> {
    let file = "/proc/sys/net/ipv4/conf/eth0/accept_local";
    let text = run_program("ip", &["netns", "exec", director.name, "cat", file])?;
    Ok(text.trim().to_owned())
}

/// What a director says of a real server.
#[derive(Debug)]
struct Said {
    reasons: String,
    probe: String,
    path: String,
}

fn says(stage: &Stage<'_>, director: Node, web: Node) -> Result<Said> {
    let observed = told::local(stage.cluster, director)?;
    let weights = observed["weights"].as_array().context("it tells no weights")?;
    let of_web = weights.iter().find(|decision| decision["real_server"] == web.name);
    let decision = of_web.with_context(|| format!("it tells nothing of {}", web.name))?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_uppercase();
    let reasons = decision["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
    Ok(Said {
        reasons: reasons.join("; "),
        probe: word(&decision["probe"]),
        path: word(&decision["path"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_asks_through_the_vip() {
        assert!(
            through_vip().expect("it has a check").contains("through_vip: {}, interval: 500ms")
        );
    }
}
