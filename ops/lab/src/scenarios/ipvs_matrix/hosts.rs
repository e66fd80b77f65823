//! The real servers' hosts, which the agents alone make ready: that they are, that what others spoil is put right, and that
//! afterwards they are as they were before.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{GUE_PORT, VIPS6};
use crate::contest::millis;
use crate::findings::Findings;
use crate::net::topology::{Node, VIP, WEBS, ip_batch, set_sysctl};
use crate::process::{run as run_program, wait, wait_until};
use crate::say;

/// How long agents may take for a plan: they hear of it at once, and connections keep a VIP for a minute.
const PLANNED: Duration = Duration::from_mins(2);
/// Longest time from what another program does until it is put right: agents hear of addresses and devices at once, and
/// look at settings and ports each second.
const REPAIRED: Duration = Duration::from_secs(5);
/// Time between two looks, each of which starts `ip` some times on the machine's one processor.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The same where all of a host is looked at, by a dozen programs.
const WHOLE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Devices that the cases need, one of each kind.
const DEVICES: [(&str, &str); 5] = [
    ("ipip", "fulcrum-ipip-0"),
    ("sit", "fulcrum-sit-0"),
    ("ip6tnl", "fulcrum-ip6-0"),
    ("gre", "fulcrum-gre-0"),
    ("ip6gre", "fulcrum-gre6-0"),
];
/// Settings that an agent writes, or may.
const SETTINGS: [&str; 5] = [
    "net.ipv4.conf.*.arp_ignore",
    "net.ipv4.conf.*.arp_announce",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv6.conf.*.disable_ipv6",
    "net.ipv6.conf.*.proxy_ndp",
];

/// What another program does to the first real server's host.
const BLOWS: [(&str, Blow); 8] = [
    ("vip", Blow::Ip("addr del 192.168.1.150/32 dev lo")),
    ("vip6", Blow::Ip("addr del 2001:db8::150/128 dev lo")),
    ("device", Blow::Ip("link del fulcrum-ipip-0")),
    ("device_down", Blow::Ip("link set fulcrum-gre6-0 down")),
    ("device_address", Blow::Ip("addr del 192.0.0.8/32 dev fulcrum-gre-0")),
    ("port", Blow::Ip("fou del port 6080")),
    ("arp_ignore", Blow::Sysctl("net/ipv4/conf/all/arp_ignore", "0")),
    ("rp_filter", Blow::Sysctl("net/ipv4/conf/fulcrum-ipip-0/rp_filter", "1")),
];

enum Blow {
    Ip(&'static str),
    Sysctl(&'static str, &'static str),
}

/// What each host holds: addresses, devices, routes, ports of fou, settings, each a line.
pub(super) fn states() -> Result<Vec<BTreeSet<String>>> {
    WEBS.iter().map(|web| state(*web)).collect()
}

fn state(web: Node) -> Result<BTreeSet<String>> {
    let mut text = String::new();
    for words in [
        ["-o", "address", "show"].as_slice(),
        &["-o", "-d", "link", "show"],
        &["-4", "route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["fou", "show"],
    ] {
        text.push_str(&run_program("ip", &[["-netns", web.name].as_slice(), words].concat())?);
    }
    let sysctl = ["netns", "exec", web.name, "sysctl", "--ignore"];
    for pattern in SETTINGS {
        let pattern = pattern.replace('.', r"\.").replace('*', "[^.]*");
        let pattern = format!("--pattern=^{pattern}$");
        text.push_str(&run_program("ip", &[sysctl.as_slice(), &["-a", &pattern]].concat())?);
    }
    // What the kernel learns of a path, and forgets by itself, is nobody's setting.
    let lines = text.lines().filter(|line| !line.contains(" expires "));
    Ok(lines.map(|line| line.trim().to_owned()).collect())
}

/// Waits until the agents have made both hosts ready.
pub(super) fn wait_prepared() -> Result<()> {
    for web in WEBS {
        wait_until(&format!("{}'s agent has made its host ready", web.name), PLANNED, || {
            Ok(is_whole(web)?.then_some(()))
        })?;
    }
    Ok(())
}

/// Whether a host has what its agent's plan needs.
fn is_whole(web: Node) -> Result<bool> {
    let ip = |words: &[&str]| run_program("ip", &[["-netns", web.name].as_slice(), words].concat());
    let lo = ip(&["-o", "address", "show", "dev", "lo"])?;
    let has_vips =
        lo.contains(&format!(" {VIP}/32 ")) && lo.contains(&format!(" {}/128 ", VIPS6[1]));
    if !has_vips {
        return Ok(false);
    }
    for (kind, name) in DEVICES {
        if !ip(&["-o", "link", "show", "up", "type", kind])?.contains(&format!(" {name}@")) {
            return Ok(false);
        }
    }
    if !ip(&["-o", "-4", "address", "show", "dev", "fulcrum-gre-0"])?.contains(" 192.0.0.8/32 ") {
        return Ok(false);
    }
    let port = format!("port {GUE_PORT} gue");
    let ports = [ip(&["-4", "fou", "show"])?, ip(&["-6", "fou", "show"])?];
    let settings = ["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"];
    let loose = "net.ipv4.conf.fulcrum-ipip-0.rp_filter";
    let words = [["netns", "exec", web.name].as_slice(), &settings, &[loose]].concat();
    let settings = run_program("ip", &words)?;
    Ok(ports.iter().all(|ports| ports.contains(&port)) && settings == "1\n2\n")
}

/// Each blow, and how soon its damage is put right.
pub(super) fn spoil(findings: &mut Findings) -> Result<()> {
    let [web, _] = WEBS;
    for (name, blow) in &BLOWS {
        match blow {
            Blow::Ip(line) => ip_batch(Some(web.name), &[(*line).to_owned()])?,
            Blow::Sysctl(setting, value) => set_sysctl(web.name, setting, value)?,
        }
        let struck = Instant::now();
        let repaired = wait_until(&format!("{name} is put right"), PLANNED, || {
            let is_whole = is_whole(web)?;
            std::thread::sleep(LOOK_EVERY);
            Ok(is_whole.then(|| struck.elapsed()))
        })?;
        let figure = format!("host_{name}_repaired_ms");
        findings.figure(figure.clone(), millis(repaired));
        findings.at_most(&figure, millis(repaired), millis(REPAIRED));
    }
    Ok(())
}

/// Waits until both hosts are as they were.
pub(super) fn wait_undone(before: &[BTreeSet<String>], findings: &mut Findings) {
    let begun = Instant::now();
    for (web, before) in WEBS.into_iter().zip(before) {
        let mut differs = Vec::new();
        let what = format!("{}'s host is as it was", web.name);
        let undone = wait(&what, PLANNED, WHOLE_LOOK_EVERY, || {
            let now = state(web)?;
            differs = now.symmetric_difference(before).cloned().collect();
            Ok(differs.is_empty().then_some(()))
        });
        findings.require(
            undone.is_ok(),
            format!("{}'s host is as it was before its agent's plan: {differs:?}", web.name),
        );
    }
    findings.figure("hosts_undone_ms", millis(begun.elapsed()));
    say!(
        "  both hosts are as they were before, {} lines",
        before.iter().map(BTreeSet::len).sum::<usize>()
    );
}
