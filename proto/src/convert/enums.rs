//! Enumerations both ways. Reading takes a default for a value that is not given; none where it must be.

use fulcrum_model::resource::{AgentRequirement, VrrpChecksum, VrrpVersion};
use fulcrum_model::{ForwardingMethod, Protocol, Scheduler, Verdict};

use super::fields::Fields;
use crate::v1;

pub(super) fn vrrp_version(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<VrrpVersion>,
) -> Option<VrrpVersion> {
    let version = match v1::VrrpVersion::try_from(found) {
        Ok(v1::VrrpVersion::Unspecified) => default,
        Ok(v1::VrrpVersion::V2) => Some(VrrpVersion::V2),
        Ok(v1::VrrpVersion::V3) => Some(VrrpVersion::V3),
        Ok(v1::VrrpVersion::V2AndV3) => Some(VrrpVersion::V2AndV3),
        Err(_) => None,
    };
    fields.accept(field, version, found, "use v2, v3 or v2_and_v3")
}

pub(super) fn vrrp_version_to_wire(version: VrrpVersion) -> v1::VrrpVersion {
    match version {
        VrrpVersion::V2 => v1::VrrpVersion::V2,
        VrrpVersion::V3 => v1::VrrpVersion::V3,
        VrrpVersion::V2AndV3 => v1::VrrpVersion::V2AndV3,
    }
}

pub(super) fn vrrp_checksum(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<VrrpChecksum>,
) -> Option<VrrpChecksum> {
    let checksum = match v1::VrrpChecksum::try_from(found) {
        Ok(v1::VrrpChecksum::Unspecified) => default,
        Ok(v1::VrrpChecksum::Deployed) => Some(VrrpChecksum::Deployed),
        Ok(v1::VrrpChecksum::Rfc9568) => Some(VrrpChecksum::Rfc9568),
        Err(_) => None,
    };
    fields.accept(field, checksum, found, "use deployed or rfc9568")
}

pub(super) fn vrrp_checksum_to_wire(checksum: VrrpChecksum) -> v1::VrrpChecksum {
    match checksum {
        VrrpChecksum::Deployed => v1::VrrpChecksum::Deployed,
        VrrpChecksum::Rfc9568 => v1::VrrpChecksum::Rfc9568,
    }
}

pub(super) fn agent_requirement(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<AgentRequirement>,
) -> Option<AgentRequirement> {
    let requirement = match v1::AgentRequirement::try_from(found) {
        Ok(v1::AgentRequirement::Unspecified) => default,
        Ok(v1::AgentRequirement::Required) => Some(AgentRequirement::Required),
        Ok(v1::AgentRequirement::None) => Some(AgentRequirement::None),
        Err(_) => None,
    };
    fields.accept(field, requirement, found, "use required or none")
}

pub(super) fn agent_requirement_to_wire(requirement: AgentRequirement) -> v1::AgentRequirement {
    match requirement {
        AgentRequirement::Required => v1::AgentRequirement::Required,
        AgentRequirement::None => v1::AgentRequirement::None,
    }
}

pub(super) fn protocol(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<Protocol>,
) -> Option<Protocol> {
    let protocol = match v1::Protocol::try_from(found) {
        Ok(v1::Protocol::Unspecified) => default,
        Ok(v1::Protocol::Tcp) => Some(Protocol::Tcp),
        Ok(v1::Protocol::Udp) => Some(Protocol::Udp),
        Ok(v1::Protocol::Sctp) => Some(Protocol::Sctp),
        Err(_) => None,
    };
    fields.accept(field, protocol, found, "use tcp, udp or sctp")
}

pub(super) fn protocol_to_wire(protocol: Protocol) -> v1::Protocol {
    match protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
    }
}

pub(super) fn forwarding(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<ForwardingMethod>,
) -> Option<ForwardingMethod> {
    let method = match v1::ForwardingMethod::try_from(found) {
        Ok(v1::ForwardingMethod::Unspecified) => default,
        Ok(v1::ForwardingMethod::Dr) => Some(ForwardingMethod::Dr),
        Ok(v1::ForwardingMethod::Nat) => Some(ForwardingMethod::Nat),
        Ok(v1::ForwardingMethod::Tunnel) => Some(ForwardingMethod::Tunnel),
        Err(_) => None,
    };
    fields.accept(field, method, found, "use dr, nat or tunnel")
}

pub(super) fn forwarding_to_wire(forwarding: ForwardingMethod) -> v1::ForwardingMethod {
    match forwarding {
        ForwardingMethod::Dr => v1::ForwardingMethod::Dr,
        ForwardingMethod::Nat => v1::ForwardingMethod::Nat,
        ForwardingMethod::Tunnel => v1::ForwardingMethod::Tunnel,
    }
}

pub(super) fn scheduler(
    fields: &mut Fields<'_>,
    field: &str,
    found: i32,
    default: Option<Scheduler>,
) -> Option<Scheduler> {
    let scheduler = match v1::Scheduler::try_from(found) {
        Ok(v1::Scheduler::Unspecified) => default,
        Ok(given) => Scheduler::ALL.into_iter().find(|s| scheduler_to_wire(*s) == given),
        Err(_) => None,
    };
    let remedy = "use rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh or twos";
    fields.accept(field, scheduler, found, remedy)
}

pub(super) fn scheduler_to_wire(scheduler: Scheduler) -> v1::Scheduler {
    match scheduler {
        Scheduler::Rr => v1::Scheduler::Rr,
        Scheduler::Wrr => v1::Scheduler::Wrr,
        Scheduler::Lc => v1::Scheduler::Lc,
        Scheduler::Wlc => v1::Scheduler::Wlc,
        Scheduler::Lblc => v1::Scheduler::Lblc,
        Scheduler::Lblcr => v1::Scheduler::Lblcr,
        Scheduler::Dh => v1::Scheduler::Dh,
        Scheduler::Sh => v1::Scheduler::Sh,
        Scheduler::Sed => v1::Scheduler::Sed,
        Scheduler::Nq => v1::Scheduler::Nq,
        Scheduler::Fo => v1::Scheduler::Fo,
        Scheduler::Ovf => v1::Scheduler::Ovf,
        Scheduler::Mh => v1::Scheduler::Mh,
        Scheduler::Twos => v1::Scheduler::Twos,
    }
}

pub(super) fn verdict(fields: &mut Fields<'_>, field: &str, found: i32) -> Option<Verdict> {
    let verdict = match v1::Verdict::try_from(found) {
        Ok(v1::Verdict::Unspecified) | Err(_) => None,
        Ok(v1::Verdict::Up) => Some(Verdict::Up),
        Ok(v1::Verdict::Saturated) => Some(Verdict::Saturated),
        Ok(v1::Verdict::Draining) => Some(Verdict::Draining),
        Ok(v1::Verdict::Stopping) => Some(Verdict::Stopping),
        Ok(v1::Verdict::Down) => Some(Verdict::Down),
        Ok(v1::Verdict::Unknown) => Some(Verdict::Unknown),
    };
    let remedy = "use up, saturated, draining, stopping, down or unknown";
    fields.accept(field, verdict, found, remedy)
}

/// A verdict as on the wire.
pub fn verdict_to_wire(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Up => v1::Verdict::Up,
        Verdict::Saturated => v1::Verdict::Saturated,
        Verdict::Draining => v1::Verdict::Draining,
        Verdict::Stopping => v1::Verdict::Stopping,
        Verdict::Down => v1::Verdict::Down,
        Verdict::Unknown => v1::Verdict::Unknown,
    }
}
