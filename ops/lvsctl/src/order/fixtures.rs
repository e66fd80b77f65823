//! Resources and directors that tests of orders speak of.

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

/// The revision that every director has applied.
pub(crate) const REVISION: u64 = 13;

pub(crate) fn resource(name: &str, spec: Spec) -> v1::Resource {
    let metadata = v1::Metadata { name: name.to_owned(), ..v1::Metadata::default() };
    v1::Resource { metadata: Some(metadata), spec: Some(spec) }
}

/// A director with its part in vi-1 and its IPVS table.
pub(crate) fn director(
    name: &str,
    state: v1::VrrpState,
    ipvs: Vec<v1::IpvsVirtualServer>,
) -> v1::AgentStatus {
    let vrrp = v1::VrrpObserved {
        instance: "vi-1".to_owned(),
        state: state.into(),
        ..v1::VrrpObserved::default()
    };
    let version = v1::PlanVersion { revision: REVISION, ..v1::PlanVersion::default() };
    v1::AgentStatus {
        role: "director".to_owned(),
        name: name.to_owned(),
        attached: true,
        ack: Some(v1::PlanAck { version: Some(version), applied: true, reason: String::new() }),
        director: Some(v1::DirectorObserved {
            vrrp_instances: vec![vrrp],
            ipvs,
            ..v1::DirectorObserved::default()
        }),
        ..v1::AgentStatus::default()
    }
}
