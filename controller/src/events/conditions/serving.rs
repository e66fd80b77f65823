//! What serves: real servers, quorums, and IPVS tables that another program changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::event::{Details, DriftDetails, ServingDetails};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind, VrrpState};

use super::{Condition, Conditions, Ended, SHORT_HOLD, Told, condition, event, told_value, with};
use crate::events::world::World;
use fulcrum_model::resource::{Kind, Spec};

/// Most virtual servers that an event names.
const MOST_NAMED: usize = 16;
/// Real servers are told a little later, so that one event names all virtual servers.
const OUT_HOLD: Duration = Duration::from_secs(1);

pub(super) fn list(world: &World, told: &Told, conditions: &mut Conditions) {
    for (name, out) in out(world) {
        conditions.insert(format!("real-server/{name}"), out);
    }
    for (key, _, observed) in world.directors() {
        for server in observed.quorum_lost.iter().filter(|name| decides(world, observed, name)) {
            let text = format!("virtual server {server} lost its quorum");
            let what = (EventKind::QuorumLost, EventSeverity::Error);
            let event = event(world, what, (EventSubjectKind::VirtualServer, server), text);
            let reasons = why_lost(observed, server);
            let event =
                with(event, reasons.join("; "), serving(server, key.name.as_str(), reasons));
            conditions.insert(format!("quorum/{server}"), condition("lost", 5, SHORT_HOLD, event));
        }
        if let Some(drift) = drift(world, told, key.name.as_str(), observed) {
            conditions.insert(format!("drift/{}", key.name), drift);
        }
    }
}

/// Whether the director is Active for a virtual server: what others would do is not told.
fn decides(world: &World, observed: &v1::DirectorObserved, virtual_server: &str) -> bool {
    world.virtual_server(virtual_server).is_some_and(|server| {
        observed.vrrp_instances.iter().any(|instance| {
            instance.instance == server.vrrp_instance.as_str()
                && instance.state() == VrrpState::Active
        })
    })
}

fn why_lost(observed: &v1::DirectorObserved, virtual_server: &str) -> Vec<String> {
    let out = observed
        .weights
        .iter()
        .filter(|decision| decision.virtual_server == virtual_server && decision.weight == 0);
    let why = out.take(4).map(|decision| {
        let reason = decision.reasons.first().map_or("no weight", String::as_str);
        format!("{}: {reason}", decision.real_server)
    });
    why.collect()
}

fn serving(virtual_server: &str, director: &str, reasons: Vec<String>) -> Details {
    Details::Serving(ServingDetails {
        virtual_servers: vec![virtual_server.to_owned()],
        director: director.to_owned(),
        reasons,
    })
}

/// Real servers that a director which is Active gives no weight.
fn out(world: &World) -> BTreeMap<&str, Condition> {
    let mut found: BTreeMap<&str, (&str, BTreeSet<&str>, &[String])> = BTreeMap::new();
    for (key, known, observed) in world.directors() {
        for out in known.out.iter().filter(|out| decides(world, observed, &out.virtual_server)) {
            let entry = found.entry(&out.real_server);
            let (_, servers, _) =
                entry.or_insert_with(|| (key.name.as_str(), BTreeSet::new(), &out.reasons[..]));
            servers.insert(&out.virtual_server);
        }
    }
    let told = found.into_iter().map(|(name, (director, servers, reasons))| {
        let servers: Vec<String> =
            servers.into_iter().take(MOST_NAMED).map(str::to_owned).collect();
        let what = (EventKind::RealServerOut, EventSeverity::Warning);
        let text = format!("real server {name} is out of {}", servers.join(", "));
        let event = event(world, what, (EventSubjectKind::RealServer, name), text);
        let details = ServingDetails {
            virtual_servers: servers,
            director: director.to_owned(),
            reasons: reasons.to_vec(),
        };
        let event = with(event, reasons.join("; "), Details::Serving(details));
        let mut condition = condition("out", 6, OUT_HOLD, event);
        condition.trace_of = agent_of(world, name);
        (name, condition)
    });
    told.collect()
}

fn agent_of(world: &World, real_server: &str) -> Option<String> {
    let found = &world.resource(Kind::RealServer, real_server)?.spec;
    if let Spec::RealServer(server) = found { Some(server.agent.to_string()) } else { None }
}

/// Whether a director is heard that is Active for something: it would tell of real servers that are out.
fn somebody_decides(world: &World) -> bool {
    world.directors().any(|(_, _, observed)| {
        let mut states = observed.vrrp_instances.iter().map(v1::VrrpObserved::state);
        states.any(|state| state == VrrpState::Active)
    })
}

pub(super) fn real_server_ended(world: &World, name: &str) -> Ended {
    if world.resource(Kind::RealServer, name).is_none() {
        return Ended::Gone;
    }
    if !somebody_decides(world) {
        return Ended::Unknown;
    }
    let what = (EventKind::RealServerIn, EventSeverity::Info);
    let text = format!("real server {name} is in rotation again");
    let event = event(world, what, (EventSubjectKind::RealServer, name), text);
    let mut condition = condition("", 6, OUT_HOLD, event);
    condition.trace_of = agent_of(world, name);
    Ended::Well(Box::new(condition))
}

pub(super) fn quorum_ended(world: &World, name: &str) -> Ended {
    if world.virtual_server(name).is_none() {
        return Ended::Gone;
    }
    let Some((key, _, _)) =
        world.directors().find(|(_, _, observed)| decides(world, observed, name))
    else {
        return Ended::Unknown;
    };
    let what = (EventKind::QuorumBack, EventSeverity::Info);
    let text = format!("virtual server {name} has its quorum again");
    let event = event(world, what, (EventSubjectKind::VirtualServer, name), text);
    let event = with(event, String::new(), serving(name, key.name.as_str(), Vec::new()));
    Ended::Well(Box::new(condition("", 5, SHORT_HOLD, event)))
}

/// What a director put right since it was told; its condition is the time of the newest.
fn drift(
    world: &World,
    told: &Told,
    director: &str,
    observed: &v1::DirectorObserved,
) -> Option<Condition> {
    let at = |drift: &v1::IpvsDrift| {
        drift.found_at.map_or(0, |at| {
            at.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(at.nanos))
        })
    };
    let newest = observed.ipvs_drift.first()?;
    let before: i64 = told_value(told, &format!("drift/{director}")).parse().unwrap_or(0);
    let new = observed.ipvs_drift.iter().filter(|drift| at(drift) > before).count();
    let count = u32::try_from(new).unwrap_or(u32::MAX);
    let what = (EventKind::DriftRepaired, EventSeverity::Warning);
    let text = match count {
        0 | 1 => format!("director {director} put {} right", newest.entry),
        count => {
            format!("director {director} put {} and {} more right", newest.entry, count - 1)
        }
    };
    let event = event(world, what, (EventSubjectKind::Director, director), text);
    let cause = format!("another program changed it: {}", newest.found);
    let details = DriftDetails {
        entry: newest.entry.clone(),
        found: newest.found.clone(),
        repair: newest.repair.clone(),
        count,
    };
    // Times that go back, as a clock set right does, are passed over.
    let value = at(newest).max(before).to_string();
    Some(condition(&value, 7, Duration::ZERO, with(event, cause, Details::Drift(details))))
}
