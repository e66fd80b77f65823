//! Everything that intent can say of IPVS, programmed by both directors and read back by `ipvsadm`, which knows nothing of
//! us; then edited, where nothing may be deleted; then taken away.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, manifest, text};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{self, DIRECTORS};
use crate::pair::{launch_director, signal_all};
use crate::process::{Process, run as run_program, wait_until};
use crate::say;

/// How long a change may take until it is in both kernels.
const PROGRAM: Duration = Duration::from_secs(60);
/// The schedulers of the lab's kernel. It has no `twos`.
const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];
/// VIPs of the two instances.
const VIPS: [&str; 3] = ["192.168.1.150", "192.168.1.151", "192.168.1.152"];
const VIPS6: [&str; 2] = ["fe80::150", "2001:db8::150"];

/// A virtual server as a manifest says it, and as `ipvsadm -S -n` prints it.
struct Row {
    name: &'static str,
    spec: &'static str,
    /// Flags of `-A` after the protocol's.
    rule: &'static str,
    pool: &'static Pool,
    /// Flags of each `-a`.
    entries: &'static [&'static str],
}

/// Real servers as a manifest says them.
struct Pool {
    name: &'static str,
    members: &'static str,
}

const V4: Pool = Pool {
    name: "v4",
    members: "{real_server: r1}, \
              {real_server: r2, weight: 65535, upper_threshold: 100, lower_threshold: 50}, \
              {real_server: r3, weight: 0}",
};
const MIXED: Pool = Pool {
    name: "mixed",
    members: "{real_server: r1, forwarding: dr}, {real_server: r4, forwarding: nat}, \
              {real_server: r3, forwarding: tunnel}",
};
const V6: Pool = Pool { name: "v6", members: "{real_server: s1}, {real_server: s2, weight: 7}" };

const ROWS: [Row; 15] = [
    Row {
        name: "dr",
        spec: "vip: 192.168.1.150, port: 80, forwarding: dr, scheduler: wrr",
        rule: "-t 192.168.1.150:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -g -w 1",
            "-r 10.66.0.2:80 -g -w 65535 -x 100 -y 50",
            "-r 10.66.0.3:80 -g -w 0",
        ],
    },
    Row {
        name: "nat",
        spec: "vip: 192.168.1.150, port: 8443, forwarding: nat, scheduler: wlc",
        rule: "-t 192.168.1.150:8443 -s wlc",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -m -w 1",
            "-r 10.66.0.2:80 -m -w 65535 -x 100 -y 50",
            "-r 10.66.0.3:80 -m -w 0",
        ],
    },
    Row {
        name: "ipip",
        spec: "vip: 192.168.1.151, port: 80, forwarding: tunnel",
        rule: "-t 192.168.1.151:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1",
            "-r 10.66.0.2:80 -i -w 65535 -x 100 -y 50",
            "-r 10.66.0.3:80 -i -w 0",
        ],
    },
    Row {
        name: "gue",
        spec: "vip: 192.168.1.151, port: 80, protocol: udp, forwarding: tunnel, \
               tunnel: {type: gue, port: 6080, checksum: remote}",
        rule: "-u 192.168.1.151:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
            "-r 10.66.0.2:80 -i -w 65535 -x 100 -y 50 --tun-type gue --tun-port 6080 --tun-remcsum",
            "-r 10.66.0.3:80 -i -w 0 --tun-type gue --tun-port 6080 --tun-remcsum",
        ],
    },
    Row {
        name: "gre",
        spec: "vip: 192.168.1.152, port: 80, forwarding: tunnel, \
               tunnel: {type: gre, checksum: full}",
        rule: "-t 192.168.1.152:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1 --tun-type gre --tun-csum",
            "-r 10.66.0.2:80 -i -w 65535 -x 100 -y 50 --tun-type gre --tun-csum",
            "-r 10.66.0.3:80 -i -w 0 --tun-type gre --tun-csum",
        ],
    },
    Row {
        name: "mixed",
        spec: "vip: 192.168.1.152, port: 80, protocol: udp",
        rule: "-u 192.168.1.152:80 -s wrr",
        pool: &MIXED,
        entries: &[
            "-r 10.66.0.1:80 -g -w 1",
            "-r 10.66.0.4:8080 -m -w 1",
            "-r 10.66.0.3:80 -i -w 1",
        ],
    },
    Row {
        name: "one-packet",
        spec: "vip: 192.168.1.150, port: 53, protocol: udp, forwarding: nat, scheduler: rr, \
               one_packet: true",
        rule: "-u 192.168.1.150:53 -s rr -o",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "sctp",
        spec: "vip: 192.168.1.150, port: 80, protocol: sctp, forwarding: dr",
        rule: "--sctp-service 192.168.1.150:80 -s wrr",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -g -w WEIGHT"],
    },
    Row {
        name: "mark",
        spec: "fwmark: 5, forwarding: dr, scheduler: sh, hash_port: true, hash_fallback: true",
        rule: "-f 5 -s sh -b sh-fallback,sh-port",
        pool: &ONE,
        entries: &["-r 10.66.0.1:0 -g -w WEIGHT"],
    },
    Row {
        name: "every-port",
        spec: "vip: 192.168.1.151, all_ports: true, forwarding: dr, persistence_timeout: 300s, \
               persistence_netmask: 255.255.255.0",
        rule: "-t 192.168.1.151:0 -s wrr -p 300 -M 255.255.255.0",
        pool: &ONE,
        entries: &["-r 10.66.0.1:0 -g -w WEIGHT"],
    },
    Row {
        name: "sip",
        spec: "vip: 192.168.1.150, port: 5060, protocol: udp, forwarding: nat, \
               persistence_timeout: 60s, persistence_engine: sip, one_packet: true",
        rule: "-u 192.168.1.150:5060 -s wrr -p 60 --pe sip -o",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "maglev",
        spec: "vip: 192.168.1.150, port: 8444, forwarding: nat, scheduler: mh, hash_port: true, \
               hash_fallback: true",
        rule: "-t 192.168.1.150:8444 -s mh -b mh-fallback,mh-port",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "dr6",
        spec: "vrrp_instance: vi-6, vip: \"2001:db8::150\", port: 80, forwarding: dr, \
               persistence_timeout: 60s, persistence_netmask: \"64\"",
        rule: "-t [2001:db8::150]:80 -s wrr -p 60 -M 64",
        pool: &V6,
        entries: &["-r [2001:db8:1::1]:80 -g -w 1", "-r [2001:db8:1::2]:80 -g -w 7"],
    },
    Row {
        name: "mark6",
        spec: "vrrp_instance: vi-6, fwmark: 5, fwmark_ipv6: true, forwarding: nat",
        rule: "-f 5 -6 -s wrr",
        pool: &V6,
        entries: &["-r [2001:db8:1::1]:0 -m -w 1", "-r [2001:db8:1::2]:0 -m -w 7"],
    },
    Row {
        name: "six-in-four",
        spec: "vrrp_instance: vi-6, vip: \"2001:db8::150\", port: 80, protocol: udp, \
               forwarding: tunnel",
        rule: "-u [2001:db8::150]:80 -s wrr",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -i -w WEIGHT"],
    },
];

/// One real server, without thresholds.
const ONE: Pool = Pool { name: "one", members: "{real_server: r1, weight: WEIGHT}" };

/// Programs, edits and removes.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.raise_network()?;
    lab.watch_tables(false);
    topology::enable_ipv6(&DIRECTORS)?;
    let outcome = programmed(lab, findings);
    lab.take_down();
    for director in DIRECTORS {
        signal_all(director, Signal::SIGKILL)?;
        topology::forget_like_a_reboot(director)?;
    }
    topology::disable_ipv6(&DIRECTORS)?;
    lab.watch_tables(true);
    outcome
}

fn programmed(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, paths) = lab.controllers()?;
    let agents: Result<Vec<Process>> = DIRECTORS
        .iter()
        .map(|director| Process::start(paths.logs, launch_director(*director, paths, &[])?))
        .collect();
    let agents = agents?;
    let (text, first) = everything(&Variant::FIRST);
    let programmed = compare("everything", cluster, &text, &first)?;
    findings.figure("entries", count(first.len()));
    findings.figure("programmed_ms", millis(programmed));

    let before = edits(cluster)?;
    let (text, second) = everything(&Variant::SECOND);
    compare("an edit of each pool and of a scheduler", cluster, &text, &second)?;
    let wanted = count(second.difference(&first).count() * DIRECTORS.len());
    // A report follows a change within a moment.
    let after = wait_until("the directors tell of their edits", PROGRAM, || {
        let after = edits(cluster)?;
        Ok((after.0 - before.0 >= wanted).then_some(after))
    })?;
    findings.figure("edits", after.0 - before.0);
    findings.at_most("entries edited", after.0 - before.0, wanted);
    findings.at_most("entries deleted by edits", after.1 - before.1, 0.0);

    let refused = refused_scheduler(cluster)?;
    findings.require(
        refused.contains("twos") && refused.contains("ip_vs_twos"),
        format!("a scheduler that the kernel lacks is refused by name: {refused}"),
    );

    compare("nothing", cluster, &instances(), &BTreeSet::new())?;
    findings.require(true, "both kernels held what was wanted, to the letter, three times");
    for agent in agents {
        agent.kill()?;
    }
    Ok(())
}

/// What differs between the first table and its edit.
struct Variant {
    scheduler: &'static str,
    weight: u32,
}

impl Variant {
    const FIRST: Self = Self { scheduler: "rr", weight: 1 };
    const SECOND: Self = Self { scheduler: "lc", weight: 9 };
}

/// The instances alone.
fn instances() -> String {
    let vips = VIPS.map(|vip| vip.parse().unwrap_or(topology::VIP));
    let mut text = manifest::instance_with(Duration::from_secs(1), &vips);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "---\nkind: VrrpInstance\nname: vi-6\nspec:\n  site: main\n  vrid: 56\n  version: v3\n  \
         vips: [\"{}/64\", \"{}/64\"]\n  members:\n  - {{director: d1, priority: 100}}\n  \
         - {{director: d2, priority: 90}}\n",
        VIPS6[0], VIPS6[1]
    );
    text
}

/// A manifest of every row and every scheduler, and the rules that `ipvsadm -S -n` prints of it.
fn everything(variant: &Variant) -> (String, BTreeSet<String>) {
    let (mut text, mut rules) = (instances(), BTreeSet::new());
    let weight = variant.weight;
    for number in 1..=4 {
        let port = if number == 4 { 8080 } else { 80 };
        let _ = write!(
            text,
            "---\nkind: RealServer\nname: r{number}\nspec: {{site: main, rip: 10.66.0.{number}, port: {port}}}\n"
        );
    }
    for number in 1..=2 {
        let _ = write!(
            text,
            "---\nkind: RealServer\nname: s{number}\nspec: {{site: main, rip: \"2001:db8:1::{number}\", port: 80}}\n"
        );
    }
    for pool in [&V4, &MIXED, &V6, &ONE] {
        let members = pool.members.replace("WEIGHT", &weight.to_string());
        let _ = write!(
            text,
            "---\nkind: Pool\nname: {}\nspec:\n  agent: none\n  check: {{tcp: {{}}, interval: 1s, timeout: 100ms, \
             retries: 0}}\n  members: [{members}]\n",
            pool.name
        );
    }
    for row in &ROWS {
        server(&mut text, row.name, row.spec, row.pool.name);
        rules.insert(format!("-A {}", row.rule));
        let service = row.rule.split(" -s ").next().unwrap_or_default();
        rules.extend(
            row.entries.iter().map(|entry| {
                format!("-a {service} {}", entry.replace("WEIGHT", &weight.to_string()))
            }),
        );
    }
    for (scheduler, port) in SCHEDULERS.into_iter().zip(9001..) {
        let spec =
            format!("vip: 192.168.1.150, port: {port}, forwarding: nat, scheduler: {scheduler}");
        server(&mut text, &format!("by-{scheduler}"), &spec, ONE.name);
        rules.insert(format!("-A -t 192.168.1.150:{port} -s {scheduler}"));
        rules.insert(format!("-a -t 192.168.1.150:{port} -r 10.66.0.1:80 -m -w {weight}"));
    }
    let spec = format!(
        "vip: 192.168.1.150, port: 9000, forwarding: nat, scheduler: {}",
        variant.scheduler
    );
    server(&mut text, "changing", &spec, ONE.name);
    rules.insert(format!("-A -t 192.168.1.150:9000 -s {}", variant.scheduler));
    rules.insert(format!("-a -t 192.168.1.150:9000 -r 10.66.0.1:80 -m -w {weight}"));
    (text, rules)
}

fn server(text: &mut String, name: &str, spec: &str, pool: &str) {
    let instance = if spec.contains("vrrp_instance") { "" } else { "vrrp_instance: vi-1, " };
    let _ = write!(
        text,
        "---\nkind: VirtualServer\nname: {name}\nspec: {{{instance}{spec}, pool: {pool}}}\n"
    );
}

/// Applies a manifest and waits until both kernels hold exactly these rules; how long that took from the acknowledgement.
fn compare(
    what: &str,
    cluster: &mut Cluster,
    text: &str,
    expected: &BTreeSet<String>,
) -> Result<Duration> {
    cluster.apply_text(text)?;
    let begin = Instant::now();
    for director in DIRECTORS {
        let mut found = BTreeSet::new();
        let held = wait_until(&format!("{} holds {what}", director.name), PROGRAM, || {
            let printed =
                run_program("ip", &["netns", "exec", director.name, "ipvsadm", "-S", "-n"])?;
            found = printed.lines().map(|line| line.trim().to_owned()).collect();
            Ok((found == *expected).then_some(()))
        });
        if held.is_err() {
            let missing: Vec<_> = expected.difference(&found).collect();
            let strange: Vec<_> = found.difference(expected).collect();
            say!("  missing: {missing:#?}\n  not wanted: {strange:#?}");
        }
        held?;
    }
    say!("  both kernels hold {what}: {} rules", expected.len());
    Ok(begin.elapsed())
}

/// Entries edited and deleted by both directors since their start.
fn edits(cluster: &Cluster) -> Result<(f64, f64)> {
    // Exit code 1 tells of problems, and the status is printed all the same.
    let status = text(&cluster.lvsctl(&["-o", "json", "status"])?.stdout);
    let status: Value = serde_json::from_str(&status).context("lvsctl status is no JSON")?;
    let topology = status.get("topology").unwrap_or(&status);
    let agents = topology["agents"].as_array().context("the status has no agents")?;
    let (mut edited, mut deleted) = (0.0, 0.0);
    for agent in agents.iter().filter(|agent| agent["role"] == "director") {
        let edits = &agent["director"]["edits"];
        edited += edits["edited"].as_f64().unwrap_or_default();
        deleted += edits["deleted"].as_f64().unwrap_or_default();
    }
    Ok((edited, deleted))
}

/// What the directors say of a scheduler that the lab's kernel does not have.
fn refused_scheduler(cluster: &mut Cluster) -> Result<String> {
    let (mut text, _) = everything(&Variant::SECOND);
    let spec = "vip: 192.168.1.150, port: 9100, forwarding: nat, scheduler: twos";
    server(&mut text, "by-twos", spec, ONE.name);
    cluster.apply_text(&text)?;
    let output = cluster.lvsctl(&["wait", "--timeout", "20s"])?;
    Ok(format!("{}{}", self::text(&output.stdout), self::text(&output.stderr)))
}
