//! What is measured beside calls.

use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;

use crate::sessions::Hub;

/// Has the gauges read from the hub whenever metrics are collected, for as long as it lives.
pub fn observe(hub: &Arc<Hub>) {
    let meter = opentelemetry::global::meter("fulcrum-controller");
    let revision_of: Weak<Hub> = Arc::downgrade(hub);
    meter
        .u64_observable_gauge("lvs.raft.applied_revision")
        .with_unit("{revision}")
        .with_description("Revision of the intent that this controller has applied")
        .with_callback(move |gauge| {
            if let Some(hub) = revision_of.upgrade() {
                gauge.observe(hub.planned().version.revision, &[]);
            }
        })
        .build();
    let attached_of = Arc::downgrade(hub);
    meter
        .u64_observable_gauge("lvs.agents.attached")
        .with_unit("{agent}")
        .with_description("Agents attached to this controller")
        .with_callback(move |gauge| {
            if let Some(hub) = attached_of.upgrade() {
                let attached = hub.attached();
                let role = |role| [KeyValue::new("role", role)];
                gauge.observe(attached.directors, &role("director"));
                gauge.observe(attached.real_servers, &role("realserver"));
            }
        })
        .build();
}
