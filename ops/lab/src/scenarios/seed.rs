//! The seed's cluster comes up; the page is reloaded 200 times and both Tomcats answer in turn; what `lvsctl` says and
//! what the kernels hold agree.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::client::{self, page};
use crate::cluster::{Cluster, text};
use crate::contest::count;
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::topology::{CLIENT, DIRECTORS, PORT, VIP, WEBS};
use crate::pair::Side;
use crate::process::{run as run_program, wait_until};
use crate::say;
use crate::settings::SEED;

/// How often the page is reloaded.
const RELOADS: usize = 200;
/// How old a director's report may be.
const AGREE: Duration = Duration::from_secs(15);

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let Stage { client, cluster, .. } = lab.stage(Side::Fulcrum, &SEED)?;
    // Only one client: the answers of one alone alternate.
    client.stop()?;
    let target = SocketAddrV4::new(VIP, PORT);
    let mut answers = Vec::new();
    let mut failed = 0;
    for _ in 0..RELOADS {
        match client::get_once(CLIENT.name, target, "/")
            .map(|text| page::judge(text.as_bytes(), true))
        {
            Ok(Some(Ok(web))) => answers.push(web),
            Ok(other) => {
                say!("a reload failed: {other:?}");
                failed += 1;
            }
            Err(error) => {
                say!("a reload failed: {error:#}");
                failed += 1;
            }
        }
    }
    let mut by_web: BTreeMap<&str, usize> = BTreeMap::new();
    for web in &answers {
        *by_web.entry(web).or_default() += 1;
    }
    let repeats = answers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    findings.figure("requests", count(RELOADS));
    findings.figure("failed", count(failed));
    for web in WEBS {
        let answered = by_web.get(web.name).copied().unwrap_or_default();
        findings.figure(format!("answers_{}", web.name), count(answered));
    }
    findings.at_most("failed", count(failed), 0.0);
    findings.at_most("answers of the same Tomcat twice in a row", count(repeats), 0.0);
    for director in DIRECTORS {
        agree(cluster, director.name, findings);
    }
    Ok(())
}

/// What the controllers tell of a director's table against what `ipvsadm -Ln` prints on it. The report may be a moment
/// old, so it has a little time to become equal.
fn agree(cluster: &Cluster, director: &str, findings: &mut Findings) {
    let mut kernel = Vec::new();
    let mut told = Vec::new();
    let equal = wait_until("the status tells the kernel's table", AGREE, || {
        let printed = run_program("ip", &["netns", "exec", director, "ipvsadm", "-Ln"])?;
        kernel = from_ipvsadm(&printed);
        // Exit code 1 tells of problems, and the status is printed all the same.
        let status = text(&cluster.lvsctl(&["-o", "json", "status"])?.stdout);
        told = from_status(&status, director)?;
        Ok((told == kernel).then_some(()))
    });
    if equal.is_err() {
        say!("  ipvsadm -Ln on {director}: {kernel:?}\n  lvsctl status: {told:?}");
    }
    findings.require(
        equal.is_ok() && kernel.len() == 1 + WEBS.len(),
        format!("lvsctl status and ipvsadm -Ln agree on {director}"),
    );
}

/// Virtual servers and real servers, one a line, as `ipvsadm -Ln` prints them but without connection counts. Those by
/// firewall mark are left out: for some time after a hand-over one relays connections in flight.
fn from_ipvsadm(printed: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut by_mark = false;
    for line in printed.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["->", "RemoteAddress:Port", ..] => {}
            ["FWM", ..] => by_mark = true,
            ["->", ..] if by_mark => {}
            ["->", address, forwarding, weight, ..] => {
                lines.push(format!("{address} {forwarding} {weight}"));
            }
            [protocol @ ("TCP" | "UDP"), address, scheduler, ..] => {
                by_mark = false;
                lines.push(format!("{protocol} {address} {scheduler}"));
            }
            _ => {}
        }
    }
    lines.sort();
    lines
}

/// The same from `lvsctl -o json status`, the API's Topology as JSON.
fn from_status(status: &str, director: &str) -> Result<Vec<String>> {
    let status: Value = serde_json::from_str(status).context("lvsctl status is no JSON")?;
    let topology = status.get("topology").unwrap_or(&status);
    let agents = topology["agents"].as_array().context("the status has no agents")?;
    let agent = agents
        .iter()
        .find(|agent| agent["role"] == "director" && agent["name"] == director)
        .with_context(|| format!("the status does not know director {director}"))?;
    let mut lines = Vec::new();
    let servers = agent["director"]["ipvs"].as_array().into_iter().flatten();
    for server in servers.filter(|server| server["fwmark"].as_u64().unwrap_or_default() == 0) {
        let protocol = match server["protocol"].as_str() {
            Some("PROTOCOL_UDP" | "udp") => "UDP",
            _ => "TCP",
        };
        let word = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        lines.push(format!(
            "{protocol} {}:{} {}",
            word(&server["vip"]),
            server["port"],
            word(&server["scheduler"])
        ));
        for destination in server["destinations"].as_array().into_iter().flatten() {
            // A weight of zero is left out of the API's JSON.
            let weight = destination["weight"].as_u64().unwrap_or_default();
            lines.push(format!(
                "{}:{} {} {weight}",
                word(&destination["address"]),
                destination["port"],
                word(&destination["forwarding"])
            ));
        }
    }
    lines.sort();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_views_are_compared_in_one_form() {
        let printed = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.1.150:80 rr
  -> 192.168.1.138:80             Route   1      0          0
  -> 192.168.1.139:80             Route   0      3          9
FWM  1186 rr
  -> 192.168.1.136:0              Route   0      1          0
";
        let status = r#"{"topology": {"agents": [
            {"role": "realserver", "name": "d1"},
            {"role": "director", "name": "d1", "director": {"ipvs": [
                {"vip": "192.168.1.150", "port": 80, "protocol": "PROTOCOL_TCP", "scheduler": "rr", "destinations": [
                    {"address": "192.168.1.139", "port": 80, "forwarding": "Route"},
                    {"address": "192.168.1.138", "port": 80, "forwarding": "Route", "weight": 1}
                ]}
            ]}}
        ]}}"#;
        let kernel = from_ipvsadm(printed);
        assert_eq!(kernel.len(), 3);
        assert_eq!(from_status(status, "d1").expect("a status"), kernel);
        assert!(from_status(status, "d2").is_err());
    }
}
