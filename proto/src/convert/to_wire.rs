//! Resources to the wire, with defaults written out.

use fulcrum_model::IpvsSettings;
use fulcrum_model::resource::{RealServer, Resource, Spec, VrrpInstance};

use super::duration::duration_to_wire;
use super::{
    access, check, enums, ipvs_settings, notification, pool, restart, virtual_server, vrrp,
};
use crate::v1;
use crate::v1::resource::Spec as WireSpec;

/// Writes a resource so that [`resource_from_wire`](super::resource_from_wire) gives an equal one back.
pub fn resource_to_wire(resource: &Resource) -> v1::Resource {
    let spec = match &resource.spec {
        Spec::Site(site) => WireSpec::Site(v1::Site { description: site.description.clone() }),
        Spec::Director(director) => WireSpec::Director(v1::Director {
            site: director.site.to_string(),
            dip: director.dip.to_string(),
            interface: director.interface.clone(),
            dip_ipv6: director.dip_ipv6.map(|dip| dip.to_string()).unwrap_or_default(),
            ipvs: (director.ipvs != IpvsSettings::default())
                .then(|| ipvs_settings::ipvs_settings_to_wire(&director.ipvs)),
        }),
        Spec::VrrpInstance(instance) => WireSpec::VrrpInstance(vrrp_instance(instance)),
        Spec::RealServer(server) => WireSpec::RealServer(real_server(server)),
        Spec::Pool(pool) => WireSpec::Pool(pool::pool_to_wire(pool)),
        Spec::VirtualServer(server) => {
            WireSpec::VirtualServer(virtual_server::virtual_server_to_wire(server))
        }
        Spec::Drain(drain) => WireSpec::Drain(pool::drain_to_wire(drain)),
        Spec::Restart(order) => WireSpec::Restart(restart::restart_to_wire(order)),
        Spec::NotificationPolicy(policy) => {
            WireSpec::NotificationPolicy(notification::policy_to_wire(policy))
        }
        Spec::AccessRule(rule) => WireSpec::AccessRule(access::access_rule_to_wire(rule)),
        Spec::JoinToken(token) => WireSpec::JoinToken(access::join_token_to_wire(token)),
        Spec::Handover(handover) => WireSpec::Handover(v1::Handover {
            vrrp_instance: handover.vrrp_instance.to_string(),
            to: handover.to.to_string(),
            reason: handover.reason.clone(),
            requested_by: handover.requested_by.clone(),
        }),
    };
    v1::Resource {
        metadata: Some(v1::Metadata {
            name: resource.name.to_string(),
            labels: resource.labels.clone(),
            revision: resource.revision.0,
            // A matter of who tells it, see `IntentService`.
            etag: String::new(),
        }),
        spec: Some(spec),
    }
}

/// Stands where a secret is: too long for PASS and too short for HMAC, so that it is never taken for one.
const NOT_SHOWN: &str = "(not shown)";

/// As [`resource_to_wire`], without secrets, for those who watch: each one is `(not shown)`.
pub fn resource_to_watcher(resource: &Resource) -> v1::Resource {
    let mut wire = resource_to_wire(resource);
    hide_secrets(&mut wire);
    wire
}

/// Replaces each secret by `(not shown)`.
pub fn hide_secrets(wire: &mut v1::Resource) {
    if let Some(WireSpec::VrrpInstance(instance)) = &mut wire.spec {
        if !instance.auth_pass.is_empty() {
            NOT_SHOWN.clone_into(&mut instance.auth_pass);
        }
        for key in instance.auth_hmac.iter_mut().flat_map(|auth| &mut auth.keys) {
            NOT_SHOWN.clone_into(&mut key.secret);
        }
    }
}

fn vrrp_instance(instance: &VrrpInstance) -> v1::VrrpInstance {
    let members = instance
        .members
        .iter()
        .map(|member| v1::VrrpMember {
            director: member.director.to_string(),
            priority: u32::from(member.priority.get()),
            interface: member.interface.clone().unwrap_or_default(),
        })
        .collect();
    let options = vrrp::options_to_wire(&instance.options);
    v1::VrrpInstance {
        site: instance.site.to_string(),
        vrid: u32::from(instance.vrid.get()),
        version: enums::vrrp_version_to_wire(instance.version).into(),
        advert_interval: Some(duration_to_wire(instance.advert_interval)),
        vips: instance.vips.iter().map(ToString::to_string).collect(),
        members,
        no_preempt: !instance.preempt,
        auth_pass: instance.auth_pass.as_ref().map_or("", |pass| pass.as_str()).to_owned(),
        unicast: instance.unicast,
        checksum: enums::vrrp_checksum_to_wire(instance.checksum).into(),
        preempt_delay: options.preempt_delay,
        startup_delay: options.startup_delay,
        no_accept: options.no_accept,
        virtual_mac: options.virtual_mac,
        unadvertised_vips: options.unadvertised_vips,
        unicast_min_ttl: options.unicast_min_ttl,
        announce: options.announce,
        auth_hmac: options.auth_hmac,
        sync_group: options.sync_group,
        track: options.track,
        connection_sync: options.connection_sync,
        track_real_servers: options.track_real_servers,
    }
}

fn real_server(server: &RealServer) -> v1::RealServer {
    v1::RealServer {
        site: server.site.to_string(),
        rip: server.rip.to_string(),
        port: u32::from(server.port.get()),
        agent: server.agent.to_string(),
        probe: Some(check::server_probe_to_wire(&server.probe)),
    }
}
