//! Resources from the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::resource::{
    AgentRequirement, AuthPass, Director, Kind, Pool, PoolMember, RealServer, Resource, Site, Spec,
    VirtualServer, VrrpChecksum, VrrpInstance, VrrpMember, VrrpVersion,
};
use fulcrum_model::{
    Cidr, ForwardingMethod, Name, Port, Priority, Protocol, Revision, Scheduler, Vrid, Weight,
};

use super::duration::duration_to_text;
use super::fields::{DurationRule, Fields};
use super::{FieldViolation, check, enums};
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
/// Most VIPs of a VRRP instance: the advert counts them in one byte (RFC 9568 §5.2.5).
const MAX_VIPS: usize = 255;
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
            WireSpec::VrrpInstance(wire) => vrrp_instance(fields, wire).map(Spec::VrrpInstance),
            WireSpec::RealServer(wire) => {
                real_server(fields, wire, name.as_ref()).map(Spec::RealServer)
            }
            WireSpec::Pool(wire) => pool(fields, wire).map(Spec::Pool),
            WireSpec::VirtualServer(wire) => virtual_server(fields, wire).map(Spec::VirtualServer),
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
    Some(Director { site: site?, dip: dip?, dip_ipv6: None, interface: interface? })
}

fn vrrp_instance(fields: &mut Fields<'_>, wire: &v1::VrrpInstance) -> Option<VrrpInstance> {
    let site = fields.name("site", &wire.site, "name the site whose directors take part");
    let vrid = fields.number("vrid", wire.vrid, Vrid::new);
    let version = enums::vrrp_version(fields, "version", wire.version, Some(VrrpVersion::V3));
    let advert_interval = advert_interval(fields, version, wire.advert_interval.as_ref());
    let vips = vips(fields, &wire.vips);
    let members = members(fields, &wire.members);
    let auth_pass = auth_pass(fields, version, &wire.auth_pass);
    if wire.unicast && wire.members.len() == 1 {
        fields.refuse(
            "unicast",
            true,
            "there is no other member to send to; add one, or leave it out",
        );
    }
    let default = Some(VrrpChecksum::Deployed);
    let checksum = enums::vrrp_checksum(fields, "checksum", wire.checksum, default);
    Some(VrrpInstance {
        site: site?,
        vrid: vrid?,
        version: version?,
        advert_interval: advert_interval?,
        vips: vips?,
        members: members?,
        preempt: !wire.no_preempt,
        auth_pass: auth_pass?,
        unicast: wire.unicast,
        checksum: checksum?,
        options: fulcrum_model::VrrpOptions::default(),
    })
}

/// v2 counts whole seconds in one byte (RFC 3768 §5.3.7), v3 centiseconds in twelve bits (RFC 9568 §5.2.7).
pub(super) fn advert_interval(
    fields: &mut Fields<'_>,
    version: Option<VrrpVersion>,
    wire: Option<&prost_types::Duration>,
) -> Option<Duration> {
    let (step, most, remedy) = match version? {
        VrrpVersion::V2 | VrrpVersion::V2AndV3 => {
            (Duration::from_secs(1), 255, "VRRPv2 takes whole seconds from 1s to 255s")
        }
        VrrpVersion::V3 => {
            (Duration::from_millis(10), 4095, "VRRPv3 takes 10ms to 40.95s in steps of 10ms")
        }
    };
    let any = DurationRule {
        default: Some(Duration::from_secs(1)),
        min: Duration::ZERO,
        max: Duration::MAX,
    };
    let interval = fields.duration("advert_interval", wire, &any)?;
    let fits = (step..=step * most).contains(&interval)
        && interval.as_nanos().is_multiple_of(step.as_nanos());
    let found = duration_to_text(interval);
    fields.accept("advert_interval", fits.then_some(interval), found, remedy)
}

fn vips(fields: &mut Fields<'_>, wire: &[String]) -> Option<Vec<Cidr>> {
    if wire.is_empty() {
        fields.refuse("vips", "none", "give at least one VIP, such as 192.168.1.150/24");
    }
    if wire.len() > MAX_VIPS {
        let remedy = format_args!("an instance holds at most {MAX_VIPS} VIPs; use another one");
        fields.refuse("vips", wire.len(), remedy);
    }
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    let mut vips = Vec::with_capacity(wire.len());
    for (index, text) in wire.iter().enumerate() {
        let field = format!("vips[{index}]");
        if let Some(vip) = fields.cidr(&field, text) {
            if !seen.insert(vip.address()) {
                fields.refuse(&field, format_args!("{text:?}"), "listed twice; list it once");
            }
            vips.push(vip);
        }
    }
    (vips.len() == wire.len()).then_some(vips)
}

fn members(fields: &mut Fields<'_>, wire: &[v1::VrrpMember]) -> Option<Vec<VrrpMember>> {
    if wire.is_empty() {
        fields.refuse("members", "none", "name at least one director with its priority");
    }
    let mut seen = BTreeSet::new();
    let mut members = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let mut fields = fields.within(&format!("members[{index}]"));
        if !wire.director.is_empty() && !seen.insert(&wire.director) {
            let remedy = "takes part twice; list each director once";
            fields.refuse("director", format_args!("{:?}", wire.director), remedy);
        }
        members.extend(member(&mut fields, wire));
    }
    (members.len() == wire.len()).then_some(members)
}

fn member(fields: &mut Fields<'_>, wire: &v1::VrrpMember) -> Option<VrrpMember> {
    let director = fields.name("director", &wire.director, "name the director");
    let priority = if wire.priority == u32::from(Priority::OWNER.get()) {
        // A VIP that is a director's own address is refused, so nobody owns one (RFC 9568 §5.2.4).
        fields.accept("priority", None, 255, "255 is for an owner of the VIP; use 1 to 254")
    } else {
        fields.number("priority", wire.priority, Priority::new)
    };
    let interface = match wire.interface.as_str() {
        "" => Some(None),
        interface => fields.interface("interface", interface).map(Some),
    };
    Some(VrrpMember { director: director?, priority: priority?, interface: interface? })
}

/// `Some(None)` when there is none; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn auth_pass(
    fields: &mut Fields<'_>,
    version: Option<VrrpVersion>,
    text: &str,
) -> Option<Option<AuthPass>> {
    if text.is_empty() {
        return Some(None);
    }
    // The text is a secret of sorts: what is wrong is told without it.
    if version == Some(VrrpVersion::V3) {
        let remedy = "VRRPv3 has no authentication; leave it out or set version: v2";
        fields.refuse("auth_pass", "given", remedy);
        return None;
    }
    let pass = AuthPass::new(text);
    let found = format_args!("{} bytes", text.len());
    fields.accept("auth_pass", pass, found, "PASS has 1 to 8 bytes").map(Some)
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
