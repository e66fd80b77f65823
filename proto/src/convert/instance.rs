//! VRRP instances from the wire.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::resource::{AuthPass, VrrpChecksum, VrrpInstance, VrrpMember, VrrpVersion};
use fulcrum_model::{Cidr, Priority, Vrid};

use super::duration::duration_to_text;
use super::fields::{DurationRule, Fields};
use super::{enums, vrrp};
use crate::v1;

/// Most VIPs of a VRRP instance: the advert counts them in one byte (RFC 9568 §5.2.5).
const MAX_VIPS: usize = 255;

pub(super) fn vrrp_instance(
    fields: &mut Fields<'_>,
    wire: &v1::VrrpInstance,
) -> Option<VrrpInstance> {
    let site = fields.name("site", &wire.site, "name the site whose directors take part");
    let vrid = fields.number("vrid", wire.vrid, Vrid::new);
    let version = enums::vrrp_version(fields, "version", wire.version, Some(VrrpVersion::V3));
    let advert_interval = advert_interval(fields, version, wire.advert_interval.as_ref());
    let vips = vips(fields, version, &wire.vips);
    let members = members(fields, &wire.members);
    let auth_pass = auth_pass(fields, version, &wire.auth_pass);
    if wire.unicast && wire.members.len() == 1 {
        fields.refuse(
            "unicast",
            true,
            "there is no other member to send to; add one, or leave it out",
        );
    }
    let options = vrrp::options(fields, &options(wire));
    if let Some(options) = &options {
        let auth_pass = !wire.auth_pass.is_empty();
        vrrp::check_beside(fields, options, &vrrp::Beside { unicast: wire.unicast, auth_pass });
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
        options: options?,
    })
}

/// The options among the fields.
fn options(wire: &v1::VrrpInstance) -> v1::VrrpOptions {
    v1::VrrpOptions {
        preempt_delay: wire.preempt_delay,
        startup_delay: wire.startup_delay,
        no_accept: wire.no_accept,
        virtual_mac: wire.virtual_mac,
        unadvertised_vips: wire.unadvertised_vips.clone(),
        unicast_min_ttl: wire.unicast_min_ttl,
        announce: wire.announce,
        auth_hmac: wire.auth_hmac.clone(),
        sync_group: wire.sync_group.clone(),
        track: wire.track.clone(),
        connection_sync: wire.connection_sync.clone(),
        track_real_servers: wire.track_real_servers,
    }
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

fn vips(
    fields: &mut Fields<'_>,
    version: Option<VrrpVersion>,
    wire: &[String],
) -> Option<Vec<Cidr>> {
    if wire.is_empty() {
        fields.refuse("vips", "none", "give at least one VIP, such as 192.168.1.150/24");
    }
    if wire.len() > MAX_VIPS {
        let remedy = format_args!("an instance holds at most {MAX_VIPS} VIPs; use another one");
        fields.refuse("vips", wire.len(), remedy);
    }
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    let mut vips: Vec<Cidr> = Vec::with_capacity(wire.len());
    for (index, text) in wire.iter().enumerate() {
        let field = format!("vips[{index}]");
        if let Some(vip) = fields.cidr(&field, text, "the VIP, such as 192.168.1.150/24") {
            if !seen.insert(vip.address()) {
                fields.refuse(&field, format_args!("{text:?}"), "listed twice; list it once");
            }
            let first = vips.first().map_or(vip, |first| *first);
            if let Some(remedy) = misfit(version, index, vip.address(), first.address()) {
                fields.refuse(&field, format_args!("{text:?}"), remedy);
            }
            vips.push(vip);
        }
    }
    (vips.len() == wire.len()).then_some(vips)
}

/// Why a VIP does not fit its version, place and family.
fn misfit(
    version: Option<VrrpVersion>,
    index: usize,
    vip: IpAddr,
    first: IpAddr,
) -> Option<&'static str> {
    if vip.is_ipv6() != first.is_ipv6() {
        return Some(
            "an instance advertises one family; use another instance, or unadvertised_vips",
        );
    }
    let IpAddr::V6(vip) = vip else { return None };
    match (index, version) {
        // VRRPv2 has no IPv6; the first tells it for all.
        (0, Some(VrrpVersion::V2 | VrrpVersion::V2AndV3)) => {
            Some("VRRPv2 knows IPv4 alone; set version: v3")
        }
        // RFC 9568 §5.2.9
        (0, Some(VrrpVersion::V3) | None) if !vip.is_unicast_link_local() => {
            Some("the first IPv6 VIP is link-local, such as fe80::1/64; put one before it")
        }
        _ => None,
    }
}

fn members(fields: &mut Fields<'_>, wire: &[v1::VrrpMember]) -> Option<Vec<VrrpMember>> {
    if wire.is_empty() {
        fields.refuse("members", "none", "name at least one director with its priority");
    }
    let (mut seen, mut has_owner) = (BTreeSet::new(), false);
    let mut members = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let mut fields = fields.within(&format!("members[{index}]"));
        if !wire.director.is_empty() && !seen.insert(&wire.director) {
            let remedy = "takes part twice; list each director once";
            fields.refuse("director", format_args!("{:?}", wire.director), remedy);
        }
        let owner = u32::from(Priority::OWNER.get());
        if wire.priority == owner && std::mem::replace(&mut has_owner, true) {
            let remedy = "another member has it, and an address has one owner; use 1 to 254";
            fields.refuse("priority", owner, remedy);
        }
        members.extend(member(&mut fields, wire));
    }
    (members.len() == wire.len()).then_some(members)
}

fn member(fields: &mut Fields<'_>, wire: &v1::VrrpMember) -> Option<VrrpMember> {
    let director = fields.name("director", &wire.director, "name the director");
    let priority = fields.number("priority", wire.priority, Priority::new);
    let interface = fields.optional_interface("interface", &wire.interface);
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
    if matches!(version, Some(VrrpVersion::V3 | VrrpVersion::V2AndV3)) {
        let remedy = "VRRPv3 has no authentication; leave it out or set version: v2";
        fields.refuse("auth_pass", "given", remedy);
        return None;
    }
    let pass = AuthPass::new(text);
    let found = format_args!("{} bytes", text.len());
    fields.accept("auth_pass", pass, found, "PASS has 1 to 8 bytes").map(Some)
}
