//! The first part: what the kernel holds is what intent says, to the letter.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::rows::{MIXED, ONE, ROWS, Row, SCHEDULERS, V4, V6};
use super::{instances, server};
use crate::cluster::{Cluster, text, told};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::net::topology::{DIRECTORS, Node};
use crate::process::{run as run_program, wait_until};
use crate::say;
use crate::watch::ipvsadm::{self, Rules};

/// How long a change may take until it is in both kernels.
const PROGRAM: Duration = Duration::from_secs(20);

/// Programs, edits and removes.
pub(super) fn run(cluster: &mut Cluster, findings: &mut Findings) -> Result<()> {
    let (text, first) = everything(&Variant::FIRST);
    let programmed = compare("everything", cluster, &text, &first)?;
    for director in DIRECTORS {
        let (found, wanted) = (ipvsadm::thresholds(director)?, thresholds());
        let what = format!("{} has the wanted thresholds: {found:?}", director.name);
        findings.require(found == wanted, what);
        same_timeouts(cluster, director)?;
    }
    findings.figure("entries", count(first.len()));
    findings.figure("programmed_ms", millis(programmed));

    let before = told::writes_of_both(cluster)?;
    let (text, second) = everything(&Variant::SECOND);
    compare("an edit of each kind", cluster, &text, &second)?;
    let wanted = second.difference(&first).count() * DIRECTORS.len();
    let edits = told::writes_of_both(cluster)?.since(before);
    findings.figure("edits", count(edits.edited));
    findings.require(edits.edited == wanted, format!("{wanted} entries were edited"));
    let others = count(edits.added + edits.deleted);
    findings.at_most("entries added and deleted by edits", others, 0.0);

    let refused = refused_scheduler(cluster)?;
    findings.require(
        refused.contains("twos") && refused.contains("ip_vs_twos"),
        format!("a scheduler that the kernel lacks is refused by name: {refused}"),
    );
    compare("nothing", cluster, &instances(), &Rules::new())?;
    findings.require(true, "both kernels held what was wanted, to the letter, three times");
    Ok(())
}

/// Waits until `lvsctl` tells a director's timeouts as `ipvsadm` does.
fn same_timeouts(cluster: &Cluster, director: Node) -> Result<()> {
    let theirs = ["netns", "exec", director.name, "ipvsadm", "-l", "--timeout"];
    let theirs = run_program("ip", &theirs)?;
    let what = format!("lvsctl tells the timeouts of {}: {theirs:?}", director.name);
    wait_until(&what, PROGRAM, || {
        let ours = cluster.lvsctl(&["ipvs", "--director", director.name, "--timeout"])?;
        Ok((text(&ours.stdout).trim() == theirs.trim()).then_some(()))
    })
}

/// What differs between the first table and its edit.
struct Variant {
    scheduler: &'static str,
    weight: u32,
    persistence: &'static str,
}

impl Variant {
    const FIRST: Self = Self { scheduler: "rr", weight: 1, persistence: "60" };
    const SECOND: Self = Self { scheduler: "lc", weight: 9, persistence: "120" };
}

/// A manifest of every row and every scheduler, and the rules that `ipvsadm -S -n` prints of it.
fn everything(variant: &Variant) -> (String, Rules) {
    let (mut text, mut rules) = (instances(), Rules::new());
    real_servers(&mut text, variant.weight);
    for row in &ROWS {
        server(&mut text, row.name, row.spec, row.pool.name);
        rules_of(row, variant.weight, &mut rules);
    }
    let schedulers = SCHEDULERS.map(|name| (format!("by-{name}"), name, String::new()));
    let persistence = variant.persistence;
    let edited = [
        ("edited".to_owned(), variant.scheduler, String::new()),
        ("persistent".to_owned(), "rr", format!(", persistence_timeout: {persistence}s")),
    ];
    for ((name, scheduler, more), port) in schedulers.into_iter().chain(edited).zip(9001..) {
        let fields = format!(
            "vip: 192.168.1.150, port: {port}, forwarding: nat, scheduler: {scheduler}{more}"
        );
        server(&mut text, &name, &fields, ONE.name);
        let flags = if more.is_empty() { String::new() } else { format!(" -p {persistence}") };
        rules.insert(format!("-A -t 192.168.1.150:{port} -s {scheduler}{flags}"));
        let weight = variant.weight;
        rules.insert(format!("-a -t 192.168.1.150:{port} -r 10.66.0.1:80 -m -w {weight}"));
    }
    (text, rules)
}

/// The real servers and pools of the rows. Nobody serves there: while all checks of a pool fail, all weights are kept.
fn real_servers(text: &mut String, weight: u32) {
    for number in 1..=4 {
        let port = if number == 4 { 8080 } else { 80 };
        // Writing to a String cannot fail.
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
}

fn rules_of(row: &Row, weight: u32, rules: &mut Rules) {
    rules.insert(format!("-A {}", row.rule));
    let service = row.rule.split(" -s ").next().unwrap_or_default();
    rules.extend(row.entries.iter().map(|entry| {
        let entry = entry.replace("WEIGHT", &weight.to_string());
        format!("-a {service} {entry}")
    }));
}

/// The thresholds of all rows.
fn thresholds() -> Rules {
    let of_row = |row: &Row| {
        let service = row.rule.split(" -s ").next().unwrap_or_default();
        row.pool.thresholds.iter().map(move |entry| format!("{service} -r {entry}"))
    };
    ROWS.iter().flat_map(of_row).collect()
}

/// Applies a manifest and waits until both kernels hold exactly these rules; how long that took from the acknowledgement.
fn compare(what: &str, cluster: &mut Cluster, text: &str, expected: &Rules) -> Result<Duration> {
    cluster.apply_text(text)?;
    let begin = Instant::now();
    ipvsadm::wait_both(what, expected, PROGRAM)?;
    say!("  both kernels hold {what}: {} rules", expected.len());
    Ok(begin.elapsed())
}

/// What the directors say of a scheduler that the lab's kernel does not have.
fn refused_scheduler(cluster: &mut Cluster) -> Result<String> {
    let (mut text, _) = everything(&Variant::SECOND);
    let fields = "vip: 192.168.1.150, port: 9100, forwarding: nat, scheduler: twos";
    server(&mut text, "by-twos", fields, ONE.name);
    cluster.apply_text(&text)?;
    let output = cluster.lvsctl(&["wait", "--timeout", "20s"])?;
    Ok(format!("{}{}", self::text(&output.stdout), self::text(&output.stderr)))
}
