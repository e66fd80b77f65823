//! Resources from the wire.

use std::collections::BTreeMap;

use fulcrum_model::resource::{Director, Handover, Kind, RealServer, Resource, Site, Spec};
use fulcrum_model::{IpvsSettings, Name, Port, Revision};

use super::fields::Fields;
use super::{
    FieldViolation, access, check, instance, ipvs_settings, notification, pool, restart,
    virtual_server,
};
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
            WireSpec::Pool(wire) => pool::pool(fields, wire).map(Spec::Pool),
            WireSpec::VirtualServer(wire) => {
                virtual_server::virtual_server(fields, wire).map(Spec::VirtualServer)
            }
            WireSpec::Handover(wire) => handover(fields, wire).map(Spec::Handover),
            WireSpec::Drain(wire) => pool::drain(fields, wire).map(Spec::Drain),
            WireSpec::Restart(wire) => restart::restart(fields, wire).map(Spec::Restart),
            WireSpec::NotificationPolicy(wire) => notification::policy(fields, wire)
                .map(|policy| Spec::NotificationPolicy(Box::new(policy))),
            WireSpec::AccessRule(wire) => access::access_rule(fields, wire).map(Spec::AccessRule),
            WireSpec::JoinToken(wire) => access::join_token(fields, wire).map(Spec::JoinToken),
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
    let ipvs = match &wire.ipvs {
        None => Some(IpvsSettings::default()),
        Some(wire) => ipvs_settings::ipvs_settings(&mut fields.within("ipvs"), wire),
    };
    Some(Director {
        site: site?,
        dip: dip?,
        dip_ipv6: dip_ipv6?,
        interface: interface?,
        ipvs: ipvs?,
    })
}

fn real_server(
    fields: &mut Fields<'_>,
    wire: &v1::RealServer,
    own_name: Option<&Name>,
) -> Option<RealServer> {
    let site = fields.name("site", &wire.site, "name the site that the real server stands in");
    let rip = fields.address("rip", &wire.rip, "the real server's own address");
    let port = fields.number("port", wire.port, Port::new);
    let agent = match wire.agent.as_str() {
        "" => own_name.cloned(),
        agent => fields.name("agent", agent, "name the agent"),
    };
    let probe = check::server_probe(&mut fields.within("probe"), wire.probe.as_ref());
    Some(RealServer { site: site?, rip: rip?, port: port?, agent: agent?, probe: probe? })
}

fn handover(fields: &mut Fields<'_>, wire: &v1::Handover) -> Option<Handover> {
    let missing = "name the VRRP instance that is handed over";
    let vrrp_instance = fields.name("vrrp_instance", &wire.vrrp_instance, missing);
    let to = fields.name("to", &wire.to, "name the director that shall be Active");
    let remarks = fields
        .remarks([("reason", wire.reason.as_str()), ("requested_by", wire.requested_by.as_str())]);
    let [reason, requested_by] = remarks?;
    Some(Handover { vrrp_instance: vrrp_instance?, to: to?, reason, requested_by })
}
