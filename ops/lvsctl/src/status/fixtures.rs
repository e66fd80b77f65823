//! What tests of the status and the doctor have in common: the classic cluster's agents, and its time.

use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;

/// The revision that every agent has applied.
pub(crate) const REVISION: u64 = 12;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(crate) fn before(seconds: u64) -> Option<prost_types::Timestamp> {
    now().checked_sub(Duration::from_secs(seconds)).map(Into::into)
}

pub(crate) fn plan(revision: u64) -> v1::PlanVersion {
    v1::PlanVersion {
        cluster_id: "6f1c".to_owned(),
        incarnation: 1,
        revision,
        ..Default::default()
    }
}

/// An agent that is well.
pub(crate) fn agent(role: &str, name: &str) -> v1::AgentStatus {
    v1::AgentStatus {
        role: role.to_owned(),
        name: name.to_owned(),
        attached: true,
        controller: "c1".to_owned(),
        ack: Some(v1::PlanAck {
            version: Some(plan(REVISION)),
            applied: true,
            reason: String::new(),
        }),
        last_heard: before(1),
        ..v1::AgentStatus::default()
    }
}
