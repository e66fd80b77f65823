//! Why a real server has its weight, and a VIP its director: the chain of evidence, with times.
//!
//! ```text
//!   name, address -> real servers, VIPs -> intent, what each director decided and saw, what the agent told
//! ```

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::duration_to_text;
use fulcrum_proto::v1;
use fulcrum_proto::v1::check::Probe;

use super::assess::reasons;
use super::local::{frozen, local_drain};
use super::render::{drained, listen};
use super::time::{ago, span};
use super::tunnels;
use super::view::{View, verdict_word, vrrp_state_word};
use super::vrrp;
use crate::paint::Paint;
use crate::table::{Cell, Table};
use crate::text::Node;

/// The chain of one thing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// What is explained.
    pub(crate) subject: String,
    links: Vec<Link>,
}

/// Somebody's word.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    /// Whose: `intent`, `director d1`, `agent web1`.
    who: String,
    /// What.
    what: String,
    /// Since when, or how long ago.
    when: Option<String>,
}

/// Explains what has this name or address: a real server by its name or RIP, a virtual server by its name, or a VIP. None when
/// nothing has.
pub(crate) fn explain(topology: &v1::Topology, subject: &str, now: SystemTime) -> Vec<Chain> {
    let view = View::new(topology);
    let mut chains = Vec::new();
    for (name, instance) in &view.vrrp_instances {
        let is_of = |vip: &String| vip.split('/').next() == Some(subject);
        if *name == subject || instance.vips.iter().any(is_of) {
            chains.push(role(&view, name, instance, now));
        }
    }
    for (name, server) in &view.virtual_servers {
        let is_asked_whole = *name == subject || server.vip == subject;
        let pool = view.pools.get(server.pool.as_str());
        for member in pool.map(|pool| pool.members.as_slice()).unwrap_or_default() {
            let real = view.real_servers.get(member.real_server.as_str());
            let is_asked = member.real_server == subject
                || real.is_some_and(|real| {
                    real.rip == subject || format!("{}:{}", real.rip, real.port) == subject
                });
            if is_asked || is_asked_whole {
                chains.push(weight(&view, (name, server), member, now));
            }
        }
    }
    chains
}

/// Everything that [`explain`] knows by name.
pub(crate) fn subjects(topology: &v1::Topology) -> Vec<String> {
    let view = View::new(topology);
    let names = view.real_servers.keys().chain(view.virtual_servers.keys());
    names.chain(view.vrrp_instances.keys()).map(|name| (*name).to_owned()).collect()
}

/// Who holds the VIPs of an instance, and why.
fn role(view: &View<'_>, name: &str, instance: &v1::VrrpInstance, now: SystemTime) -> Chain {
    let mut links = Vec::new();
    let members = instance.members.iter();
    let members: Vec<_> = members.map(|m| format!("{} {}", m.director, m.priority)).collect();
    links.push(Link {
        who: "intent".to_owned(),
        what: format!("VRID {}, priorities {}", instance.vrid, members.join(", ")),
        when: None,
    });
    if let Some(order) = view.handovers.get(name) {
        links.push(Link { who: "intent".to_owned(), what: vrrp::order(name, order), when: None });
    }
    for member in &instance.members {
        let who = director(view, &member.director);
        let Some(seen) = view.vrrp(&member.director, name) else {
            links.push(Link { who, what: "nothing told".to_owned(), when: None });
            continue;
        };
        let mut what = vec![vrrp_state_word(seen.state()).to_owned()];
        if !seen.active_router.is_empty() {
            what.push(format!("hears {}", seen.active_router));
        }
        what.extend(vrrp::details(seen));
        let when = seen.since.map(|since| format!("for {}", ago(since, now)));
        links.push(Link { who: who.clone(), what: what.join(", "), when });
        let faults = seen.faults.iter().map(|fault| format!("it must not be Active: {fault}"));
        links.extend(faults.map(|what| Link { who: who.clone(), what, when: None }));
        for track in &seen.tracks {
            let state = track.state().as_str_name().trim_start_matches("TRACK_STATE_");
            let what = format!("{} is {}: {}", track.target, state.to_lowercase(), track.detail);
            links.push(Link { who: who.clone(), what, when: None });
        }
    }
    Chain { subject: format!("{} of {name}", instance.vips.join(", ")), links }
}

/// Why a real server has its weight in a virtual server.
fn weight(
    view: &View<'_>,
    (name, server): (&str, &v1::VirtualServer),
    member: &v1::PoolMember,
    now: SystemTime,
) -> Chain {
    let real_server = member.real_server.as_str();
    let real = view.real_servers.get(real_server);
    let address = real.map_or(String::new(), |real| format!(" ({}:{})", real.rip, real.port));
    let subject = format!("{real_server}{address} in {name} ({})", listen(server));
    let mut links = vec![wanted(view, server, member)];
    for drain in view.drains_of(name, server) {
        if drain.real_server == real_server {
            links.push(Link { who: "intent".to_owned(), what: drained(drain), when: None });
        }
    }
    for of in view.directors_of(server) {
        let who = director(view, of);
        let Some(decision) = view.weight(of, name, real_server) else {
            links.push(Link { who, what: "nothing told".to_owned(), when: None });
            continue;
        };
        let when = decision.since.map(|since| format!("for {}", ago(since, now)));
        let load = match decision.load_permille {
            0 => String::new(),
            share => format!(" of {}, load leaves {} %", decision.planned_weight, share / 10),
        };
        let what = format!("weight {}{load}: {}", decision.weight, reasons(decision));
        links.push(Link { who: who.clone(), what, when });
        let way = path(decision.path()).map(str::to_owned);
        links.extend(way.map(|what| Link { who: who.clone(), what, when: None }));
        links.extend(ordered_there(view, of, real_server, now).map(|(what, when)| Link {
            who: who.clone(),
            what,
            when,
        }));
    }
    let agent = real.map_or(real_server, |real| {
        if real.agent.is_empty() { real_server } else { real.agent.as_str() }
    });
    links.extend(told(view, agent, real_server, server, now));
    Chain { subject, links }
}

/// What a director's check through the VIP says; none where none is asked for.
fn path(path: v1::ProbeResult) -> Option<&'static str> {
    match path {
        v1::ProbeResult::Unspecified => None,
        v1::ProbeResult::Pending => Some("check through the VIP: not tried yet"),
        v1::ProbeResult::Passing => Some("check through the VIP: passes"),
        v1::ProbeResult::Failing => Some("check through the VIP: fails"),
    }
}

/// Orders at a director itself, that it is frozen or drains this real server, each with its age.
fn ordered_there<'a>(
    view: &View<'a>,
    director: &str,
    real_server: &'a str,
    now: SystemTime,
) -> impl Iterator<Item = (String, Option<String>)> + use<'a> {
    let observed = view.directors.get(director).and_then(|agent| agent.director.as_ref());
    let age = move |since: Option<prost_types::Timestamp>| {
        since.map(|since| format!("for {}", ago(since, now)))
    };
    let freeze = observed.and_then(|observed| observed.frozen.as_ref()).map(move |freeze| {
        let words = frozen(freeze, now);
        (format!("{words}: the kernel may hold another weight"), age(freeze.since))
    });
    let drains = observed.into_iter().flat_map(|observed| &observed.local_drains);
    let drains = drains.filter(move |drain| drain.real_server == real_server);
    let drains = drains.map(move |drain| (local_drain(drain, now), age(drain.since)));
    freeze.into_iter().chain(drains)
}

fn wanted(view: &View<'_>, server: &v1::VirtualServer, member: &v1::PoolMember) -> Link {
    let weight = member.weight.unwrap_or(1);
    let mut what = format!("weight {weight} of pool {}", server.pool);
    if let Some(pool) = view.pools.get(server.pool.as_str()) {
        let is_asked = pool.agent() != v1::AgentRequirement::None;
        let agent = if is_asked { "its agent is asked" } else { "no agent" };
        // Writing to a String cannot fail.
        let _ = write!(what, "; {}; {agent}", check(pool.check.as_ref()));
    }
    Link { who: "intent".to_owned(), what, when: None }
}

/// `GET / every 1s, down after 2 tries`.
fn check(check: Option<&v1::Check>) -> String {
    let default = v1::Check::default();
    let check = check.unwrap_or(&default);
    let kind = match &check.probe {
        None | Some(Probe::Tcp(v1::TcpCheck { tls: None })) => "TCP".to_owned(),
        Some(Probe::Tcp(_)) => "TLS".to_owned(),
        Some(Probe::Http(http)) => {
            let path = if http.path.is_empty() { "/" } else { &http.path };
            let scheme = if http.tls.is_some() { " over HTTPS" } else { "" };
            format!("GET {path}{scheme}")
        }
        Some(Probe::Grpc(_)) => "gRPC health".to_owned(),
        Some(Probe::Udp(_)) => "UDP".to_owned(),
        Some(Probe::Icmp(_)) => "ICMP echo".to_owned(),
        Some(Probe::Dns(_)) => "DNS".to_owned(),
        Some(Probe::Smtp(_)) => "SMTP".to_owned(),
        Some(Probe::Redis(_)) => "Redis PING".to_owned(),
        Some(Probe::Mysql(_)) => "MySQL handshake".to_owned(),
        Some(Probe::Command(command)) => format!("command {}", command.program),
        Some(Probe::File(file)) => format!("file {}", file.path),
    };
    let interval = check.interval.and_then(|interval| Duration::try_from(interval).ok());
    let interval = duration_to_text(interval.unwrap_or(Duration::from_secs(1)));
    let tries = check.retries.unwrap_or(1).saturating_add(1);
    let noun = if tries == 1 { "try" } else { "tries" };
    let through = if check.through_vip.is_some() { ", through the VIP as well" } else { "" };
    format!("check {kind} every {interval}, down after {tries} failed {noun}{through}")
}

/// What an agent told of a real server, and of the VIP on its host.
fn told(
    view: &View<'_>,
    agent: &str,
    real_server: &str,
    server: &v1::VirtualServer,
    now: SystemTime,
) -> Vec<Link> {
    let who = format!("agent {agent}");
    let Some(status) = view.real_server_agents.get(agent) else { return Vec::new() };
    let link = |what: String, when| Link { who: who.clone(), what, when };
    let Some(evidence) = view.evidence.get(agent) else {
        return vec![link("has told nothing yet".to_owned(), None)];
    };
    let millis = |ms: u32| Duration::from_millis(ms.into());
    let when = Some(format!("{} ago", span(millis(evidence.age_ms))));
    let mut links = Vec::new();
    if !status.attached {
        links.push(link("not attached: what follows is its last word".to_owned(), None));
    }
    for found in evidence.servers.iter().filter(|found| found.real_server == real_server) {
        let mut what = format!("{}: {}", verdict_word(found.verdict()), found.reasons.join("; "));
        // Writing to a String cannot fail.
        if found.pid != 0 {
            let _ = write!(what, "; process {}", found.pid);
        }
        if let Some(load) = &found.load {
            what.push_str(&load_text(load));
        }
        let (epoch, sequence) = (evidence.epoch, evidence.sequence);
        let valid = duration_to_text(millis(evidence.valid_for_ms));
        let _ = write!(what, " (report {epoch}.{sequence}, counts for {valid})");
        links.push(link(what, when.clone()));
        if let Some(at) = found.exit_seen_at {
            let when = Some(format!("{} ago", ago(at, now)));
            links.push(link("saw a process of it end".to_owned(), when));
        }
    }
    for vip in evidence.vips.iter().filter(|vip| vip.vip == server.vip) {
        let word = match (vip.bound, vip.arp_safe) {
            (true, true) if vip.vip.contains(':') => "bound, and quiet",
            (true, true) => "bound, and ARP was quiet before",
            (true, false) => "bound, and not safe",
            (false, _) => "not bound",
        };
        let detail =
            if vip.detail.is_empty() { String::new() } else { format!(": {}", vip.detail) };
        links.push(link(format!("VIP {} {word}{detail}", vip.vip), None));
        let observed = status.real_server.as_ref();
        let ends = observed.map(|of| of.tunnel_ends.as_slice()).unwrap_or_default();
        links.extend(tunnels::of_vip(&vip.vip, ends).into_iter().map(|what| link(what, None)));
    }
    links
}

/// `; 7 of 50 threads busy, 40 sessions, 12.5 ms per request, garbage collection 3.1 %`; what is not told is left out.
fn load_text(load: &v1::ServerLoad) -> String {
    let mut parts = Vec::new();
    if load.max_threads > 0 {
        parts.push(format!("{} of {} threads busy", load.busy_threads, load.max_threads));
        parts.push(format!("{} sessions", load.sessions));
    }
    if load.mean_request_us > 0 {
        let (ms, tenth) = (load.mean_request_us / 1000, load.mean_request_us / 100 % 10);
        parts.push(format!("{ms}.{tenth} ms per request"));
    }
    if load.gc_share_permille > 0 {
        let (percent, tenth) = (load.gc_share_permille / 10, load.gc_share_permille % 10);
        parts.push(format!("garbage collection {percent}.{tenth} %"));
    }
    if load.contexts_stopped > 0 {
        parts.push(format!("contexts stopped: {}", load.contexts_stopped));
    }
    if parts.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) }
}

/// `director d1`, with what its word is worth.
fn director(view: &View<'_>, name: &str) -> String {
    let old = if view.is_attached(name) { "" } else { " (not attached)" };
    format!("director {name}{old}")
}

/// For people.
pub(crate) fn to_text(chains: &[Chain], paint: Paint) -> String {
    let mut text = String::new();
    for chain in chains {
        let mut table = Table::default();
        let mut before = "";
        for link in &chain.links {
            let who = if link.who == before { "" } else { link.who.as_str() };
            before = &link.who;
            let when = link.when.clone().unwrap_or_default();
            table.row([
                Cell::painted(who, |text| paint.dim(text)),
                when.into(),
                link.what.clone().into(),
            ]);
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}{}\n{}", paint.bold(&chain.subject), table.render("  "));
    }
    text
}

/// For programs.
pub(crate) fn to_node(chains: &[Chain]) -> Node {
    let link = |link: &Link| {
        let mut entries = vec![
            ("who".to_owned(), Node::text(&link.who)),
            ("what".to_owned(), Node::text(&link.what)),
        ];
        entries.extend(link.when.iter().map(|when| ("when".to_owned(), Node::text(when))));
        Node::Map(entries)
    };
    let chain = |chain: &Chain| {
        Node::Map(vec![
            ("subject".to_owned(), Node::text(&chain.subject)),
            ("evidence".to_owned(), Node::List(chain.links.iter().map(link).collect())),
        ])
    };
    Node::List(chains.iter().map(chain).collect())
}
