//! Orders at agents themselves, and a real-server agent by its own account.

use std::fmt::Write as _;
use std::time::SystemTime;

use fulcrum_proto::v1;

use super::render::{head_and_problems, section, standing};
use super::time::span;
use super::tunnels;
use super::view::verdict_word;
use crate::paint::Paint;
use crate::table::{Cell, Table};

/// A freeze in words: `frozen by ann, ends in 12m3s: new disk (3 edits are held back)`.
pub(crate) fn frozen(freeze: &v1::Freeze, now: SystemTime) -> String {
    let v1::Freeze { owner, reason, held_edits, .. } = freeze;
    let end = end(freeze.expires_at, now);
    format!("frozen by {owner}, {end}: {reason} ({held_edits} edits are held back)")
}

/// A local drain in words: `web1 drained by bob, ends in 12m3s: slow`.
pub(crate) fn local_drain(drain: &v1::LocalDrain, now: SystemTime) -> String {
    let v1::LocalDrain { real_server, owner, reason, .. } = drain;
    format!("{real_server} drained by {owner}, {}: {reason}", end(drain.expires_at, now))
}

fn end(expires_at: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let at = expires_at.and_then(|at| SystemTime::try_from(at).ok()).unwrap_or(now);
    format!("ends in {}", span(at.duration_since(now).unwrap_or_default()))
}

/// The section of orders at an agent; empty when there are none.
pub(super) fn orders(
    freeze: Option<&v1::Freeze>,
    drains: &[v1::LocalDrain],
    now: SystemTime,
    paint: Paint,
) -> String {
    let frozen = freeze.map(|freeze| frozen(freeze, now));
    let drains = drains.iter().map(|drain| local_drain(drain, now));
    let mut lines = String::new();
    for line in frozen.into_iter().chain(drains) {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "  {line}");
    }
    if lines.is_empty() { lines } else { section("LOCAL ORDERS", &lines, paint) }
}

/// What the agent finds on its host, each with its remedy, and what it could not look at; empty when there is neither.
pub(super) fn host(findings: &[v1::Finding], unchecked: &[v1::Unchecked], paint: Paint) -> String {
    let mut lines = String::new();
    for finding in findings {
        let v1::Finding { code, subject, found, remedy, .. } = finding;
        let word = match finding.severity() {
            v1::Severity::Error => paint.bad("error"),
            v1::Severity::Warning | v1::Severity::Unspecified => "warning".to_owned(),
        };
        let colon = if subject.is_empty() { "" } else { ": " };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "  {word} [{code}] {subject}{colon}{found}");
        let _ = writeln!(lines, "      {} {remedy}", paint.dim("remedy:"));
    }
    for v1::Unchecked { code, why } in unchecked {
        let _ = writeln!(lines, "  {} [{code}] {why}", paint.dim("not known"));
    }
    if lines.is_empty() { lines } else { section("HOST", &lines, paint) }
}

/// What is unhealthy at one real-server agent, by its own account.
pub(crate) fn real_server_problems(found: &v1::GetRealServerStatusResponse) -> Vec<String> {
    let mut problems = Vec::new();
    if found.plan.is_none() {
        problems.push(
            "the agent has no plan: name it in a RealServer of the intent and let it attach to a controller"
                .to_owned(),
        );
    } else if found.controller.is_empty() {
        problems.push(
            "the agent is attached to no controller, so no director hears it: the directors' own checks decide; check \
             the controllers and the network to them"
                .to_owned(),
        );
    }
    let evidence = found.evidence.clone().unwrap_or_default();
    for server in &evidence.servers {
        let is_well = match server.verdict() {
            v1::Verdict::Up | v1::Verdict::Saturated | v1::Verdict::Draining => true,
            v1::Verdict::Unspecified
            | v1::Verdict::Unknown
            | v1::Verdict::Stopping
            | v1::Verdict::Down => false,
        };
        if !is_well {
            let (word, reasons) = (verdict_word(server.verdict()), server.reasons.join("; "));
            problems.push(format!("{} is {word}: {reasons}", server.real_server));
        }
    }
    for vip in evidence.vips.iter().filter(|vip| !vip.bound || !vip.arp_safe) {
        problems.push(format!("VIP {}: {}", vip.vip, vip.detail));
    }
    problems.extend(found.observed.clone().unwrap_or_default().problems);
    problems
}

/// One real-server agent, by its own account.
pub(crate) fn real_server(
    found: &v1::GetRealServerStatusResponse,
    problems: &[String],
    now: SystemTime,
    paint: Paint,
) -> String {
    let agent = format!("real server's agent {}", found.name);
    let head = standing(&agent, &found.controller, found.plan.as_ref());
    let mut text = head_and_problems(&head, problems, paint);
    let observed = found.observed.clone().unwrap_or_default();
    text.push_str(&orders(observed.frozen.as_ref(), &observed.local_drains, now, paint));
    text.push_str(&host(&observed.findings, &observed.unchecked, paint));
    let evidence = found.evidence.clone().unwrap_or_default();
    let mut servers = Table::default();
    for server in &evidence.servers {
        let cells: [Cell; 3] = [
            server.real_server.clone().into(),
            verdict_word(server.verdict()).into(),
            server.reasons.join("; ").into(),
        ];
        servers.row(cells);
    }
    text.push_str(&section("SERVERS", &servers.render("  "), paint));
    let mut vips = Table::default();
    for vip in &evidence.vips {
        let bound = if vip.bound { "bound to lo" } else { "not bound" };
        let arp = if vip.arp_safe { "quiet" } else { vip.detail.as_str() };
        let cells: [Cell; 3] = [vip.vip.clone().into(), bound.into(), arp.into()];
        vips.row(cells);
    }
    text.push_str(&section("VIPS", &vips.render("  "), paint));
    let mut ends = Table::default();
    tunnels::rows(&mut ends, &observed.tunnel_ends, paint);
    text.push_str(&section("TUNNELS", &ends.render("  "), paint));
    text
}
