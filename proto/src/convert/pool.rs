//! Pools, their members, and drains, both ways.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_model::ipvs::MAX_SLOW_START;
use fulcrum_model::resource::{AgentRequirement, Drain, Pool, PoolMember};
use fulcrum_model::{ForwardingMethod, Quorum, Thresholds, Weight};

use super::duration::{duration_to_text, duration_to_wire};
use super::fields::{DurationRule, Fields};
use super::{check, dynamic_weights, enums};
use crate::v1;

/// Longest grace of a drain.
const MAX_GRACE: Duration = Duration::from_hours(30 * 24);

pub(super) fn pool(fields: &mut Fields<'_>, wire: &v1::Pool) -> Option<Pool> {
    let mut seen = BTreeSet::new();
    let mut members = Vec::with_capacity(wire.members.len());
    for (index, wire) in wire.members.iter().enumerate() {
        let mut fields = fields.within(&format!("members[{index}]"));
        if !wire.real_server.is_empty() && !seen.insert(&wire.real_server) {
            let remedy = "in the pool twice; list each real server once, with its whole weight";
            fields.refuse("real_server", format_args!("{:?}", wire.real_server), remedy);
        }
        members.extend(member(&mut fields, wire));
    }
    let check = check::check(&mut fields.within("check"), wire.check.as_ref());
    let default = Some(AgentRequirement::Required);
    let agent = enums::agent_requirement(fields, "agent", wire.agent, default);
    let quorum = quorum(&mut fields.within("quorum"), wire.quorum.as_ref());
    let sorry_server = match &wire.sorry_server {
        None => Some(None),
        Some(sorry) => {
            let mut fields = fields.within("sorry_server");
            let name = &sorry.real_server;
            if seen.contains(name) {
                let remedy = "a member of the pool; name one that is not, or take it out";
                fields.refuse("real_server", format_args!("{name:?}"), remedy);
            }
            fields.name("real_server", name, "name the real server").map(Some)
        }
    };
    let slow_start = slow_start(fields, wire.slow_start.as_ref());
    let dynamic_weights = dynamic_weights::read(fields, wire.dynamic_weights.as_ref());
    Some(Pool {
        members,
        check: check?,
        agent: agent?,
        quorum: quorum?,
        sorry_server: sorry_server?,
        slow_start: slow_start?,
        dynamic_weights: dynamic_weights?,
    })
}

pub(super) fn pool_to_wire(pool: &Pool) -> v1::Pool {
    let members = pool.members.iter().map(|member| v1::PoolMember {
        real_server: member.real_server.to_string(),
        weight: Some(u32::from(member.weight.get())),
        upper_threshold: member.thresholds.upper,
        lower_threshold: member.thresholds.lower,
        forwarding: forwarding_to_wire(member.forwarding).into(),
    });
    let sorry_server = pool.sorry_server.as_ref();
    v1::Pool {
        members: members.collect(),
        check: Some(check::check_to_wire(&pool.check)),
        agent: enums::agent_requirement_to_wire(pool.agent).into(),
        quorum: Some(quorum_to_wire(pool.quorum)),
        sorry_server: sorry_server.map(|name| v1::SorryServer { real_server: name.to_string() }),
        slow_start: pool.slow_start.map(duration_to_wire),
        dynamic_weights: pool.dynamic_weights.map(dynamic_weights::to_wire),
    }
}

fn member(fields: &mut Fields<'_>, wire: &v1::PoolMember) -> Option<PoolMember> {
    let real_server = fields.name("real_server", &wire.real_server, "name the real server");
    let weight = match wire.weight {
        None => Some(Weight::ONE),
        Some(weight) => fields.number("weight", weight, Weight::new),
    };
    let thresholds = thresholds(fields, wire.upper_threshold, wire.lower_threshold);
    let forwarding = forwarding(fields, wire.forwarding);
    Some(PoolMember {
        real_server: real_server?,
        weight: weight?,
        thresholds: thresholds?,
        forwarding: forwarding?,
    })
}

/// The kernel refuses a lower threshold above the upper one (`ip_vs_add_dest`).
pub(super) fn thresholds(fields: &mut Fields<'_>, upper: u32, lower: u32) -> Option<Thresholds> {
    let remedy = if upper == 0 {
        "of use with an upper_threshold alone; give one, or leave it out".to_owned()
    } else {
        format!("it is at most upper_threshold, which is {upper}")
    };
    let fits = (lower <= upper).then_some(Thresholds { upper, lower });
    fields.accept("lower_threshold", fits, lower, &remedy)
}

/// `Some(None)` when it is the virtual server's.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn forwarding(fields: &mut Fields<'_>, found: i32) -> Option<Option<ForwardingMethod>> {
    if found == i32::from(v1::ForwardingMethod::Unspecified) {
        return Some(None);
    }
    enums::forwarding(fields, "forwarding", found, None).map(Some)
}

fn forwarding_to_wire(forwarding: Option<ForwardingMethod>) -> v1::ForwardingMethod {
    forwarding.map_or(v1::ForwardingMethod::Unspecified, enums::forwarding_to_wire)
}

pub(super) fn quorum(fields: &mut Fields<'_>, wire: Option<&v1::Quorum>) -> Option<Quorum> {
    let Some(wire) = wire else { return Some(Quorum::default()) };
    let weight = wire.weight.max(1);
    let remedy = format!("it is below weight, which is {weight}");
    let fits = wire.hysteresis < weight;
    let quorum = fits.then_some(Quorum { weight, hysteresis: wire.hysteresis });
    fields.accept("hysteresis", quorum, wire.hysteresis, &remedy)
}

pub(super) fn quorum_to_wire(quorum: Quorum) -> v1::Quorum {
    v1::Quorum { weight: quorum.weight, hysteresis: quorum.hysteresis }
}

/// `Some(None)` when off.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn slow_start(
    fields: &mut Fields<'_>,
    wire: Option<&prost_types::Duration>,
) -> Option<Option<Duration>> {
    if wire.is_none() {
        return Some(None);
    }
    let rule = DurationRule { default: None, min: Duration::from_secs(1), max: MAX_SLOW_START };
    let duration = fields.duration("slow_start", wire, &rule)?;
    let fits = (duration.subsec_nanos() == 0).then_some(Some(duration));
    fields.accept("slow_start", fits, duration_to_text(duration), "use whole seconds")
}

pub(super) fn drain(fields: &mut Fields<'_>, wire: &v1::Drain) -> Option<Drain> {
    let missing = "name the real server that takes no new connections";
    let real_server = fields.name("real_server", &wire.real_server, missing);
    let virtual_server = match wire.virtual_server.as_str() {
        "" => Some(None),
        name => fields.name("virtual_server", name, "name the virtual server").map(Some),
    };
    let remarks = fields
        .remarks([("reason", wire.reason.as_str()), ("requested_by", wire.requested_by.as_str())]);
    let grace = grace(fields, wire.grace.as_ref());
    let [reason, requested_by] = remarks?;
    Some(Drain {
        real_server: real_server?,
        virtual_server: virtual_server?,
        reason,
        requested_by,
        grace: grace?,
    })
}

/// `Some(None)` when without end.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn grace(
    fields: &mut Fields<'_>,
    wire: Option<&prost_types::Duration>,
) -> Option<Option<Duration>> {
    if wire.is_none() {
        return Some(None);
    }
    let rule = DurationRule { default: None, min: Duration::ZERO, max: MAX_GRACE };
    fields.duration("grace", wire, &rule).map(Some)
}

pub(super) fn drain_to_wire(drain: &Drain) -> v1::Drain {
    v1::Drain {
        real_server: drain.real_server.to_string(),
        virtual_server: drain.virtual_server.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: drain.reason.clone(),
        requested_by: drain.requested_by.clone(),
        grace: drain.grace.map(duration_to_wire),
    }
}
