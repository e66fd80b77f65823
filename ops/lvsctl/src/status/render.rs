//! Text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use fulcrum_proto::v1;

use super::assess::{is_out, reasons};
use super::local::{host, orders};
use super::time::{ago, clock};
use super::tunnels;
use super::view::{View, controller_role_word, verdict_word, vrrp_state_word};
use super::vrrp;
use crate::doctor;
use crate::paint::Paint;
use crate::table::{Cell, Table};

/// The whole cluster.
pub(crate) fn topology(
    topology: &v1::Topology,
    problems: &[String],
    now: SystemTime,
    paint: Paint,
) -> String {
    let view = View::new(topology);
    let head = format!("cluster {}, revision {}", topology.cluster_id, topology.revision);
    let mut text = head_and_problems(&head, problems, paint);
    if let Some(waiting) = &topology.unconfirmed {
        text.push_str(&unconfirmed(waiting));
    }
    text.push_str(&section("CONTROLLERS", &controllers(topology, paint), paint));
    text.push_str(&section("DIRECTORS", &directors(&view, now, paint), paint));
    if !view.handovers.is_empty() {
        let mut orders = String::new();
        for (instance, order) in &view.handovers {
            // Writing to a String cannot fail.
            let _ = writeln!(orders, "  {}", vrrp::order(instance, order));
        }
        text.push_str(&section("HAND-OVERS", &orders, paint));
    }
    text.push_str(&section("VIRTUAL SERVERS", &virtual_servers(&view, paint), paint));
    text.push_str(&section("REAL SERVERS", &real_servers(&view, now, paint), paint));
    text
}

/// A change that is undone unless somebody keeps it.
fn unconfirmed(waiting: &v1::Revision) -> String {
    let v1::Revision { revision, who, reason, .. } = waiting;
    let until = waiting.confirm_by.and_then(|time| SystemTime::try_from(time).ok());
    let until = until.map(clock).unwrap_or_default();
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!(
        "  revision {revision} by {who}{why} waits to be confirmed until {until}, and is undone then: `lvsctl confirm {revision}` keeps it\n"
    )
}

/// An agent, whom it is attached to, and what it runs on.
pub(super) fn standing(agent: &str, controller: &str, plan: Option<&v1::PlanVersion>) -> String {
    let controller = match controller {
        "" => "attached to no controller".to_owned(),
        controller => format!("attached to {controller}"),
    };
    let plan =
        plan.map_or("no plan".to_owned(), |plan| format!("plan of revision {}", plan.revision));
    format!("{agent}, {controller}, {plan}")
}

/// One director, by its own account.
pub(crate) fn director(
    found: &v1::GetDirectorStatusResponse,
    problems: &[String],
    now: SystemTime,
    paint: Paint,
) -> String {
    let observed = found.observed.clone().unwrap_or_default();
    let agent = format!("director {}", found.name);
    let head = standing(&agent, &found.controller, found.plan.as_ref());
    let mut text = head_and_problems(&head, problems, paint);
    text.push_str(&orders(observed.frozen.as_ref(), &observed.local_drains, now, paint));
    text.push_str(&host(&observed.findings, &observed.unchecked, paint));
    let mut instances = Table::default();
    for vrrp in &observed.vrrp_instances {
        instances.row(instance_row(&vrrp.instance, Some(vrrp), now, paint));
    }
    text.push_str(&section("VRRP INSTANCES", &instances.render("  "), paint));
    let mut weights = Table::default();
    for decision in &observed.weights {
        weights.row([
            decision.virtual_server.clone().into(),
            decision.real_server.clone().into(),
            weight_cell(Some(decision), paint),
            reasons(decision).into(),
        ]);
    }
    text.push_str(&section("WEIGHTS", &weights.render("  "), paint));
    text
}

pub(super) fn head_and_problems(head: &str, problems: &[String], paint: Paint) -> String {
    if problems.is_empty() {
        return format!("{}: {}\n", paint.bold(head), paint.good("healthy"));
    }
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    let count = paint.bad(&format!("{} {noun}", problems.len()));
    let mut text = format!("{}: {count}\n", paint.bold(head));
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {problem}", paint.bad("!"));
    }
    text
}

pub(super) fn section(title: &str, body: &str, paint: Paint) -> String {
    let body = if body.is_empty() { "  none\n" } else { body };
    format!("\n{}\n{body}", paint.bold(title))
}

fn controllers(topology: &v1::Topology, paint: Paint) -> String {
    let mut table = Table::default();
    for controller in &topology.controllers {
        let role = if controller.reachable {
            controller_role_word(controller.role()).into()
        } else {
            Cell::painted("out of reach", |text| paint.bad(text))
        };
        table.row([
            controller.name.clone().into(),
            role,
            controller.endpoint.clone().into(),
            format!("revision {}", controller.applied_revision).into(),
        ]);
    }
    let mut text = table.render("  ");
    for controller in &topology.controllers {
        text.push_str(&findings(&format!("  {}  ", controller.name), &controller.findings));
    }
    text
}

fn directors(view: &View<'_>, now: SystemTime, paint: Paint) -> String {
    let mut text = String::new();
    for (name, agent) in &view.directors {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name}  {}", agent_line(agent, now, paint));
        text.push_str(
            &agent
                .director
                .as_ref()
                .map_or(String::new(), |observed| findings("    ", &observed.findings)),
        );
        let mut table = Table::default();
        let member_of = view
            .vrrp_instances
            .iter()
            .filter(|(_, instance)| instance.members.iter().any(|m| m.director == *name));
        for (instance, _) in member_of {
            table.row(instance_row(instance, view.vrrp(name, instance), now, paint));
        }
        text.push_str(&table.render("    "));
    }
    text
}

/// A line where something is wrong on a host.
fn findings(indent: &str, findings: &[v1::Finding]) -> String {
    doctor::summary(findings).map_or(String::new(), |summary| format!("{indent}{summary}\n"))
}

/// `attached to c1, plan of revision 12`.
fn agent_line(agent: &v1::AgentStatus, now: SystemTime, paint: Paint) -> String {
    let plan = match &agent.ack {
        None => "no plan".to_owned(),
        Some(ack) => {
            let revision = ack.version.as_ref().map_or(0, |version| version.revision);
            let refused = if ack.applied { "" } else { " refused" };
            format!("plan of revision {revision}{refused}")
        }
    };
    if agent.attached {
        return format!("attached to {}, {plan}", agent.controller);
    }
    let told = match agent.last_heard {
        None => format!("not attached, never heard, {plan}"),
        Some(heard) => format!(
            "not attached, last heard {} ago, {plan}; what follows is from then",
            ago(heard, now)
        ),
    };
    paint.bad(&told)
}

fn instance_row(
    instance: &str,
    observed: Option<&v1::VrrpObserved>,
    now: SystemTime,
    paint: Paint,
) -> Vec<Cell> {
    let Some(vrrp) = observed else {
        return vec![instance.into(), Cell::painted("nothing told", |text| paint.bad(text))];
    };
    let word = vrrp_state_word(vrrp.state());
    let state = match vrrp.state() {
        v1::VrrpState::Active => Cell::painted(word, |text| paint.good(text)),
        v1::VrrpState::Backup => word.into(),
        v1::VrrpState::Initialize | v1::VrrpState::Unspecified => {
            Cell::painted(word, |text| paint.bad(text))
        }
    };
    let since = vrrp.since.map_or(String::new(), |since| format!("for {}", ago(since, now)));
    let detail = match vrrp.state() {
        v1::VrrpState::Active if vrrp.vips_bound.is_empty() => "holds no VIP".to_owned(),
        v1::VrrpState::Active => format!("holds {}", vrrp.vips_bound.join(", ")),
        v1::VrrpState::Backup if vrrp.active_router.is_empty() => "hears nobody".to_owned(),
        v1::VrrpState::Backup => format!("hears {}", vrrp.active_router),
        v1::VrrpState::Initialize | v1::VrrpState::Unspecified => String::new(),
    };
    let mut details: Vec<String> =
        std::iter::once(detail).filter(|text| !text.is_empty()).collect();
    details.extend(vrrp::details(vrrp));
    vec![instance.into(), state, since.into(), details.join(", ").into()]
}

fn virtual_servers(view: &View<'_>, paint: Paint) -> String {
    let mut text = String::new();
    for (name, server) in &view.virtual_servers {
        let listen = listen(server);
        let scheduler = server.scheduler().as_str_name().trim_start_matches("SCHEDULER_");
        let v1::VirtualServer { vrrp_instance, pool, .. } = server;
        let scheduler = scheduler.to_lowercase();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name}  {listen} {scheduler}, {vrrp_instance}, pool {pool}");
        text.push_str(&weights(view, name, server, paint).render("    "));
        for drain in view.drains_of(name, server) {
            let _ = writeln!(text, "    {}", drained(drain));
        }
    }
    text
}

/// An order that a real server takes no new connections, for people.
pub(super) fn drained(drain: &v1::Drain) -> String {
    let v1::Drain { real_server, reason, requested_by, .. } = drain;
    let by = if requested_by.is_empty() { "somebody" } else { requested_by };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{real_server} is drained by {by}{reason}")
}

/// What a virtual server takes: `192.168.1.150:80/tcp`, `[2001:db8::1]:*/udp` or `fwmark 5`.
pub(super) fn listen(server: &v1::VirtualServer) -> String {
    if server.fwmark != 0 {
        let family = if server.fwmark_ipv6 { " IPv6" } else { "" };
        return format!("fwmark {}{family}", server.fwmark);
    }
    let protocol = match server.protocol() {
        v1::Protocol::Tcp | v1::Protocol::Unspecified => "tcp",
        v1::Protocol::Udp => "udp",
        v1::Protocol::Sctp => "sctp",
    };
    let port = if server.all_ports { "*".to_owned() } else { server.port.to_string() };
    if server.vip.contains(':') {
        format!("[{}]:{port}/{protocol}", server.vip)
    } else {
        format!("{}:{port}/{protocol}", server.vip)
    }
}

/// A row for each real server of the pool, a column for each director.
fn weights(view: &View<'_>, name: &str, server: &v1::VirtualServer, paint: Paint) -> Table {
    let directors = view.directors_of(server);
    let pool = view.pools.get(server.pool.as_str());
    let members = pool.map(|pool| pool.members.as_slice()).unwrap_or_default();
    let mut table = Table::default();
    let dim = |text: &str| Cell::painted(text, |text| paint.dim(text));
    if !members.is_empty() {
        let heads = directors.iter().map(|director| {
            let old = if view.is_attached(director) { "" } else { " (not attached)" };
            dim(&format!("{director}{old}"))
        });
        table.row([dim("REAL SERVER"), dim("")].into_iter().chain(heads).chain([dim("WHY")]));
    }
    for member in members {
        let real_server = member.real_server.as_str();
        let address = view
            .real_servers
            .get(real_server)
            .map_or(String::new(), |real| format!("{}:{}", real.rip, real.port));
        let decisions: Vec<(&str, Option<&v1::WeightDecision>)> = directors
            .iter()
            .map(|director| (*director, view.weight(director, name, real_server)))
            .collect();
        let cells = decisions.iter().map(|(_, decision)| weight_cell(*decision, paint));
        let why = why(&decisions);
        table
            .row([real_server.into(), address.into()].into_iter().chain(cells).chain([why.into()]));
    }
    table
}

fn weight_cell(decision: Option<&v1::WeightDecision>, paint: Paint) -> Cell {
    match decision {
        None => Cell::painted("?", |text| paint.bad(text)),
        Some(decision) if is_out(decision) => {
            Cell::painted(&decision.weight.to_string(), |text| paint.bad(text))
        }
        Some(decision) if decision.weight != decision.planned_weight => {
            format!("{} of {}", decision.weight, decision.planned_weight).into()
        }
        Some(decision) => decision.weight.to_string().into(),
    }
}

/// The reasons, once where the directors agree.
fn why(decisions: &[(&str, Option<&v1::WeightDecision>)]) -> String {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (director, decision) in decisions {
        let reason = decision.map_or("nothing told".to_owned(), reasons);
        by_reason.entry(reason).or_default().push(director);
    }
    if by_reason.len() <= 1 {
        return by_reason.into_keys().next().unwrap_or_default();
    }
    let told = by_reason.into_iter().map(|(why, who)| format!("{}: {why}", who.join(", ")));
    told.collect::<Vec<_>>().join(" | ")
}

fn real_servers(view: &View<'_>, now: SystemTime, paint: Paint) -> String {
    let mut text = String::new();
    for (name, agent) in &view.real_server_agents {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name}  {}", agent_line(agent, now, paint));
        text.push_str(
            &agent
                .real_server
                .as_ref()
                .map_or(String::new(), |observed| findings("    ", &observed.findings)),
        );
        let Some(evidence) = view.evidence.get(name) else { continue };
        let mut table = Table::default();
        for server in &evidence.servers {
            let word = verdict_word(server.verdict());
            let verdict = match server.verdict() {
                v1::Verdict::Up => Cell::painted(word, |text| paint.good(text)),
                v1::Verdict::Saturated | v1::Verdict::Draining => word.into(),
                v1::Verdict::Stopping
                | v1::Verdict::Down
                | v1::Verdict::Unknown
                | v1::Verdict::Unspecified => Cell::painted(word, |text| paint.bad(text)),
            };
            table.row([
                server.real_server.clone().into(),
                verdict,
                server.reasons.join("; ").into(),
            ]);
        }
        for vip in &evidence.vips {
            let word = match (vip.bound, vip.arp_safe) {
                (true, true) => Cell::painted("bound, safe", |text| paint.good(text)),
                (true, false) => Cell::painted("bound, unsafe", |text| paint.bad(text)),
                (false, _) => Cell::painted("not bound", |text| paint.bad(text)),
            };
            table.row([format!("VIP {}", vip.vip).into(), word, vip.detail.clone().into()]);
        }
        if let Some(observed) = &agent.real_server {
            tunnels::rows(&mut table, &observed.tunnel_ends, paint);
        }
        text.push_str(&table.render("    "));
    }
    // Those of pools without agents: the directors' probes alone tell of them, above.
    let mut unattended = Table::default();
    for (name, server) in &view.real_servers {
        let agent = if server.agent.is_empty() { name } else { server.agent.as_str() };
        if !view.real_server_agents.contains_key(agent) {
            unattended.row([(*name).into(), "no agent".into()]);
        }
    }
    text + &unattended.render("  ")
}
