//! Planned virtual servers both ways.

use fulcrum_model::plan::{DestinationPlan, DrainPlan, VirtualServerPlan};
use fulcrum_model::{ForwardingMethod, Port, Weight};

use super::each;
use crate::convert::duration::duration_to_wire;
use crate::convert::fields::Fields;
use crate::convert::virtual_server::{
    Address, address_to_wire, listen, listen_to_wire, options, options_to_wire, persistence_timeout,
};
use crate::convert::{ConvertError, check, dynamic_weights, enums, pool};
use crate::v1;

impl From<&VirtualServerPlan> for v1::VirtualServerPlan {
    fn from(plan: &VirtualServerPlan) -> Self {
        let (vip, port, protocol) = address_to_wire(&plan.listen);
        let mut options = v1::VirtualServerOptions {
            quorum: Some(pool::quorum_to_wire(plan.quorum)),
            sorry_server: plan.sorry_server.as_ref().map(destination_to_wire),
            slow_start: plan.slow_start.map(duration_to_wire),
            dynamic_weights: plan.dynamic_weights.map(dynamic_weights::to_wire),
            ..options_to_wire(&plan.options)
        };
        listen_to_wire(&plan.listen, &mut options);
        if plan.listen.vip().is_none() {
            options.vips = plan.vips.iter().map(ToString::to_string).collect();
        }
        Self {
            name: plan.name.to_string(),
            vip,
            port,
            protocol,
            scheduler: enums::scheduler_to_wire(plan.scheduler).into(),
            forwarding: enums::forwarding_to_wire(plan.forwarding).into(),
            persistence_timeout: plan.persistence_timeout.map(duration_to_wire),
            destinations: plan.destinations.iter().map(destination_to_wire).collect(),
            check: Some(check::check_to_wire(&plan.check)),
            agent: enums::agent_requirement_to_wire(plan.agent).into(),
            options: Some(options),
        }
    }
}

fn destination_to_wire(destination: &DestinationPlan) -> v1::DestinationPlan {
    v1::DestinationPlan {
        real_server: destination.real_server.to_string(),
        rip: destination.rip.to_string(),
        port: u32::from(destination.port.get()),
        weight: u32::from(destination.weight.get()),
        agent: destination.agent.to_string(),
        upper_threshold: destination.thresholds.upper,
        lower_threshold: destination.thresholds.lower,
        forwarding: enums::forwarding_to_wire(destination.forwarding).into(),
        drain: destination.drain.as_ref().map(|drain| v1::DrainPlan {
            name: drain.name.to_string(),
            reason: drain.reason.clone(),
            requested_by: drain.requested_by.clone(),
            grace: drain.grace.map(duration_to_wire),
        }),
    }
}

impl TryFrom<&v1::VirtualServerPlan> for VirtualServerPlan {
    type Error = ConvertError;

    /// # Errors
    /// [`ConvertError`] with every bad field.
    fn try_from(wire: &v1::VirtualServerPlan) -> Result<Self, ConvertError> {
        Fields::read(|fields| virtual_server(fields, wire))
    }
}

/// A plan of a release without options, as an agent may have it on disk, says none.
pub(super) fn virtual_server(
    fields: &mut Fields<'_>,
    wire: &v1::VirtualServerPlan,
) -> Option<VirtualServerPlan> {
    let none = v1::VirtualServerOptions::default();
    let said = wire.options.as_ref().unwrap_or(&none);
    let name = fields.name("name", &wire.name, "name the virtual server");
    let address = Address { vip: &wire.vip, port: wire.port, protocol: wire.protocol };
    let listen = listen(fields, &address, said, None);
    let scheduler = enums::scheduler(fields, "scheduler", wire.scheduler, None);
    let forwarding = enums::forwarding(fields, "forwarding", wire.forwarding, None);
    let persistence = persistence_timeout(fields, wire.persistence_timeout.as_ref());
    let destinations = each(fields, "destinations", &wire.destinations, |fields, wire| {
        destination(fields, wire, forwarding)
    });
    let check = check::check(&mut fields.within("check"), wire.check.as_ref());
    let agent = enums::agent_requirement(fields, "agent", wire.agent, None);
    let mut fields = fields.within("options");
    let options = options(&mut fields, said);
    let quorum = pool::quorum(&mut fields.within("quorum"), said.quorum.as_ref());
    let sorry_server = match &said.sorry_server {
        None => Some(None),
        Some(wire) => destination(&mut fields.within("sorry_server"), wire, forwarding).map(Some),
    };
    let slow_start = pool::slow_start(&mut fields, said.slow_start.as_ref());
    let dynamic_weights = dynamic_weights::read(&mut fields, said.dynamic_weights.as_ref());
    let vips =
        each(&mut fields, "vips", &said.vips, |fields, vip| fields.address("", vip, "the VIP"));
    let (listen, vips) = (listen?, vips?);
    Some(VirtualServerPlan {
        name: name?,
        vips: listen.vip().map_or(vips, |vip| vec![vip]),
        listen,
        scheduler: scheduler?,
        forwarding: forwarding?,
        persistence_timeout: persistence?,
        destinations: destinations?.into(),
        check: check?,
        agent: agent?,
        options: options?,
        quorum: quorum?,
        sorry_server: sorry_server?,
        slow_start: slow_start?,
        dynamic_weights: dynamic_weights?,
    })
}

/// `forwarding` is the virtual server's.
fn destination(
    fields: &mut Fields<'_>,
    wire: &v1::DestinationPlan,
    forwarding: Option<ForwardingMethod>,
) -> Option<DestinationPlan> {
    let real_server = fields.name("real_server", &wire.real_server, "name the real server");
    let rip = fields.address("rip", &wire.rip, "the real server's address");
    let port = fields.number("port", wire.port, Port::new);
    let weight = fields.number("weight", wire.weight, Weight::new);
    let agent = fields.name("agent", &wire.agent, "name the agent of its host");
    let thresholds = pool::thresholds(fields, wire.upper_threshold, wire.lower_threshold);
    let own_forwarding = pool::forwarding(fields, wire.forwarding);
    let drain = match &wire.drain {
        None => Some(None),
        Some(wire) => drain(&mut fields.within("drain"), wire).map(Box::new).map(Some),
    };
    Some(DestinationPlan {
        real_server: real_server?,
        rip: rip?,
        port: port?,
        weight: weight?,
        agent: agent?,
        thresholds: thresholds?,
        forwarding: own_forwarding?.or(forwarding)?,
        drain: drain?,
    })
}

fn drain(fields: &mut Fields<'_>, wire: &v1::DrainPlan) -> Option<DrainPlan> {
    let name = fields.name("name", &wire.name, "name the drain");
    let remarks = fields
        .remarks([("reason", wire.reason.as_str()), ("requested_by", wire.requested_by.as_str())]);
    let grace = pool::grace(fields, wire.grace.as_ref());
    let [reason, requested_by] = remarks?;
    Some(DrainPlan { name: name?, reason, requested_by, grace: grace? })
}
