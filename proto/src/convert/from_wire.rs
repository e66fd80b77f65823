//! Resources from the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_model::resource::{
    AgentRequirement, Director, Handover, Kind, Pool, PoolMember, RealServer, Resource, Site, Spec,
    VirtualServer,
};
use fulcrum_model::{ForwardingMethod, Name, Port, Protocol, Revision, Scheduler, Weight};

use super::duration::duration_to_text;
use super::fields::{DurationRule, Fields};
use super::{FieldViolation, check, enums, instance};
use crate::v1;
use crate::v1::resource::Spec as WireSpec;

/// Most labels of a resource.
const MAX_LABELS: usize = 64;
/// Longest key of a label in bytes.
const MAX_LABEL_KEY_BYTES: usize = 63;
/// Longest value of a label in bytes.
const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Longest description of a site in bytes.
const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Longest remark on a hand-over in bytes.
const MAX_REMARK_BYTES: usize = 255;
/// Longest persistence: what ipvsadm(8) accepts, 31 days.
const MAX_PERSISTENCE: Duration = Duration::from_hours(31 * 24);

/// Reads the resource at `index` of a request, with defaults filled in as resources.proto documents them.
///
/// What is wrong is added to `errors`, all of it, under `resources[index]`; then there is no resource.
pub fn resource_from_wire(
    index: usize,
    wire: &v1::Resource,
    errors: &mut Vec<FieldViolation>,
) -> Option<Resource> {
    let before = errors.len();
    let mut fields = Fields::new(format!("resources[{index}]"), errors);
    let resource = resource(&mut fields, wire);
    resource.filter(|_| errors.len() == before)
}

fn resource(fields: &mut Fields<'_>, wire: &v1::Resource) -> Option<Resource> {
    let none = v1::Metadata::default();
    let metadata = wire.metadata.as_ref().unwrap_or(&none);
    let name = fields.name("name", &metadata.name, "name the resource");
    labels(fields, &metadata.labels);
    let Some(spec) = &wire.spec else {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        fields.refuse("kind", "none", format_args!("set a spec of one of {}", kinds.join(", ")));
        return None;
    };
    let spec = {
        let mut spec_fields = fields.within("spec");
        let fields = &mut spec_fields;
        match spec {
            WireSpec::Site(wire) => site(fields, wire).map(Spec::Site),
            WireSpec::Director(wire) => director(fields, wire).map(Spec::Director),
            WireSpec::VrrpInstance(wire) => {
                instance::vrrp_instance(fields, wire).map(Spec::VrrpInstance)
            }
            WireSpec::RealServer(wire) => {
                real_server(fields, wire, name.as_ref()).map(Spec::RealServer)
            }
            WireSpec::Pool(wire) => pool(fields, wire).map(Spec::Pool),
            WireSpec::VirtualServer(wire) => virtual_server(fields, wire).map(Spec::VirtualServer),
            WireSpec::Handover(wire) => handover(fields, wire).map(Spec::Handover),
        }
    };
    Some(Resource {
        name: name?,
        labels: metadata.labels.clone(),
        revision: Revision(metadata.revision),
        spec: spec?,
    })
}

fn labels(fields: &mut Fields<'_>, labels: &BTreeMap<String, String>) {
    if labels.len() > MAX_LABELS {
        fields.refuse("labels", labels.len(), format_args!("use at most {MAX_LABELS} labels"));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY_BYTES {
            let remedy = format_args!("a label's key has 1 to {MAX_LABEL_KEY_BYTES} bytes");
            fields.refuse("labels", format_args!("{key:?}"), remedy);
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            let found = format_args!("{key}: {} bytes", value.len());
            let remedy = format_args!("a label's value has at most {MAX_LABEL_VALUE_BYTES} bytes");
            fields.refuse("labels", found, remedy);
        }
    }
}

fn site(fields: &mut Fields<'_>, wire: &v1::Site) -> Option<Site> {
    if wire.description.len() > MAX_DESCRIPTION_BYTES {
        let found = format_args!("{} bytes", wire.description.len());
        fields.refuse(
            "description",
            found,
            format_args!("use at most {MAX_DESCRIPTION_BYTES} bytes"),
        );
        return None;
    }
    Some(Site { description: wire.description.clone() })
}

fn director(fields: &mut Fields<'_>, wire: &v1::Director) -> Option<Director> {
    let site = fields.name("site", &wire.site, "name the site that the director stands in");
    let dip = fields.ipv4("dip", &wire.dip, "the director's own IPv4 address");
    let interface = fields.interface("interface", &wire.interface);
    let dip_ipv6 = match wire.dip_ipv6.as_str() {
        "" => Some(None),
        dip => fields.ipv6("dip_ipv6", dip, "the director's own IPv6 address").map(Some),
    };
    Some(Director { site: site?, dip: dip?, dip_ipv6: dip_ipv6?, interface: interface? })
}

fn real_server(
    fields: &mut Fields<'_>,
    wire: &v1::RealServer,
    own_name: Option<&Name>,
) -> Option<RealServer> {
    let site = fields.name("site", &wire.site, "name the site that the real server stands in");
    let rip = fields.ipv4("rip", &wire.rip, "the real server's own IPv4 address");
    let port = fields.number("port", wire.port, Port::new);
    let agent = match wire.agent.as_str() {
        "" => own_name.cloned(),
        agent => fields.name("agent", agent, "name the agent"),
    };
    let probe = check::server_probe(&mut fields.within("probe"), wire.probe.as_ref());
    Some(RealServer { site: site?, rip: rip?, port: port?, agent: agent?, probe: probe? })
}

fn pool(fields: &mut Fields<'_>, wire: &v1::Pool) -> Option<Pool> {
    let mut seen = BTreeSet::new();
    let mut members = Vec::with_capacity(wire.members.len());
    for (index, wire) in wire.members.iter().enumerate() {
        let mut fields = fields.within(&format!("members[{index}]"));
        if !wire.real_server.is_empty() && !seen.insert(&wire.real_server) {
            let remedy = "in the pool twice; list each real server once, with its whole weight";
            fields.refuse("real_server", format_args!("{:?}", wire.real_server), remedy);
        }
        let real_server = fields.name("real_server", &wire.real_server, "name the real server");
        let weight = match wire.weight {
            None => Some(Weight::ONE),
            Some(weight) => fields.number("weight", weight, Weight::new),
        };
        if let (Some(real_server), Some(weight)) = (real_server, weight) {
            members.push(PoolMember { real_server, weight });
        }
    }
    let check = check::check(&mut fields.within("check"), wire.check.as_ref());
    let default = Some(AgentRequirement::Required);
    let agent = enums::agent_requirement(fields, "agent", wire.agent, default);
    Some(Pool { members, check: check?, agent: agent? })
}

fn virtual_server(fields: &mut Fields<'_>, wire: &v1::VirtualServer) -> Option<VirtualServer> {
    let missing = "name the VRRP instance that moves the VIP";
    let vrrp_instance = fields.name("vrrp_instance", &wire.vrrp_instance, missing);
    let vip = fields.ipv4("vip", &wire.vip, "the VIP, one of the VRRP instance's");
    let port = fields.number("port", wire.port, Port::new);
    let protocol = enums::protocol(fields, "protocol", wire.protocol, Some(Protocol::Tcp));
    let scheduler = enums::scheduler(fields, "scheduler", wire.scheduler, Some(Scheduler::Wrr));
    let default = Some(ForwardingMethod::Dr);
    let forwarding = enums::forwarding(fields, "forwarding", wire.forwarding, default);
    let persistence_timeout = persistence_timeout(fields, wire.persistence_timeout.as_ref());
    let pool = fields.name("pool", &wire.pool, "name the pool that serves it");
    Some(VirtualServer {
        vrrp_instance: vrrp_instance?,
        vip: vip?,
        port: port?,
        protocol: protocol?,
        scheduler: scheduler?,
        forwarding: forwarding?,
        persistence_timeout: persistence_timeout?,
        pool: pool?,
    })
}

/// `Some(None)` when off; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn persistence_timeout(
    fields: &mut Fields<'_>,
    wire: Option<&prost_types::Duration>,
) -> Option<Option<Duration>> {
    if wire.is_none() {
        return Some(None);
    }
    let any = DurationRule { default: None, min: Duration::ZERO, max: Duration::MAX };
    let timeout = fields.duration("persistence_timeout", wire, &any)?;
    let fits = (Duration::from_secs(1)..=MAX_PERSISTENCE).contains(&timeout)
        && timeout.subsec_nanos() == 0;
    let found = duration_to_text(timeout);
    let remedy = "use whole seconds from 1s to 2678400s (31 days); leave it out for none";
    fields.accept("persistence_timeout", fits.then_some(timeout), found, remedy).map(Some)
}

fn handover(fields: &mut Fields<'_>, wire: &v1::Handover) -> Option<Handover> {
    let missing = "name the VRRP instance that is handed over";
    let vrrp_instance = fields.name("vrrp_instance", &wire.vrrp_instance, missing);
    let to = fields.name("to", &wire.to, "name the director that shall be Active");
    let mut are_well = true;
    for (field, text) in [("reason", &wire.reason), ("requested_by", &wire.requested_by)] {
        if text.len() > MAX_REMARK_BYTES || text.chars().any(char::is_control) {
            let found = format_args!("{} bytes", text.len());
            fields.refuse(field, found, "use one line of at most 255 bytes");
            are_well = false;
        }
    }
    let (vrrp_instance, to) = (vrrp_instance?, to?);
    let (reason, requested_by) = (wire.reason.clone(), wire.requested_by.clone());
    are_well.then_some(Handover { vrrp_instance, to, reason, requested_by })
}
