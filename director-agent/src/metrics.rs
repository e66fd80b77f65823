//! What the director measures. Names carry units; labels are bounded by the program's own words.

use std::time::Duration;

use fulcrum_model::ProbeKind;
use fulcrum_proto::v1;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use crate::checks::Outcome;

/// The instruments.
#[derive(Clone, Debug)]
pub struct Metrics {
    check_duration: Histogram<f64>,
    evidence_to_kernel: Histogram<f64>,
    ipvs_edits: Counter<u64>,
    ipvs_round: Gauge<f64>,
    vrrp_state: Gauge<u64>,
    vrrp_transitions: Counter<u64>,
    connections_missing: Gauge<u64>,
    connections_synchronised: Counter<u64>,
    vrrp_lateness: Gauge<f64>,
}

impl Metrics {
    /// Instruments of the global meter; they measure nothing before telemetry is set up.
    pub fn new() -> Self {
        let meter = global::meter("fulcrum-director");
        Self {
            check_duration: meter
                .f64_histogram("lvs.check.duration")
                .with_unit("s")
                .with_description("Time that a try of a check took")
                .with_boundaries(vec![
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                    10.0,
                ])
                .build(),
            evidence_to_kernel: meter
                .f64_histogram("lvs.evidence.to_kernel")
                .with_unit("s")
                .with_description(
                    "Time from the receipt of evidence until the kernel had the weight",
                )
                .with_boundaries(vec![
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                ])
                .build(),
            ipvs_edits: meter
                .u64_counter("lvs.ipvs.edits")
                .with_unit("{edit}")
                .with_description("Edits made to the kernel's IPVS table")
                .build(),
            ipvs_round: meter
                .f64_gauge("lvs.ipvs.round")
                .with_unit("s")
                .with_description(
                    "Time of the last whole round of looks at the kernel's IPVS table: drift is found within it",
                )
                .build(),
            vrrp_state: meter
                .u64_gauge("lvs.vrrp.state")
                .with_description("State of a VRRP instance: 0 Initialize, 1 Backup, 2 Active")
                .build(),
            vrrp_transitions: meter
                .u64_counter("lvs.vrrp.transitions")
                .with_unit("{transition}")
                .with_description("Changes of a VRRP instance's state")
                .build(),
            connections_missing: meter
                .u64_gauge("lvs.sync.missing")
                .with_unit("{connection}")
                .with_description(
                    "Connections of the Active that a Backup lacked when last compared",
                )
                .build(),
            connections_synchronised: meter
                .u64_counter("lvs.sync.connections")
                .with_unit("{connection}")
                .with_description("Connections sent to a Backup that lacked them, or received so")
                .build(),
            vrrp_lateness: meter
                .f64_gauge("lvs.vrrp.wakeup_lateness")
                .with_unit("s")
                .with_description("How late the VRRP thread woke, since start")
                .build(),
        }
    }

    /// A try of a check has ended.
    pub fn checked(&self, probe: &ProbeKind, outcome: &Outcome, took: Duration) {
        let probe = probe.as_str();
        let outcome = match outcome {
            Outcome::Passed | Outcome::Remarked(_) => "passed",
            Outcome::Failed(_) | Outcome::Silent(_) => "failed",
            Outcome::NotTried(_) => "not_tried",
        };
        let labels = [KeyValue::new("probe", probe), KeyValue::new("outcome", outcome)];
        self.check_duration.record(took.as_secs_f64(), &labels);
    }

    /// Evidence has reached the kernel.
    pub fn evidence_applied(&self, took: Duration) {
        self.evidence_to_kernel.record(took.as_secs_f64(), &[]);
    }

    /// Edits were made since the last time: `action` is added, edited, deleted or `drift_repaired`.
    pub fn ipvs_edited(&self, action: &'static str, edits: u64) {
        if edits > 0 {
            self.ipvs_edits.add(edits, &[KeyValue::new("action", action)]);
        }
    }

    /// A whole round of looks at the kernel's table took so long.
    pub fn ipvs_looked_through(&self, took: Duration) {
        self.ipvs_round.record(took.as_secs_f64(), &[]);
    }

    /// A VRRP instance is in a state. The plan bounds the instances.
    pub fn vrrp_state(&self, instance: &str, state: v1::VrrpState) {
        let number = match state {
            v1::VrrpState::Unspecified | v1::VrrpState::Initialize => 0,
            v1::VrrpState::Backup => 1,
            v1::VrrpState::Active => 2,
        };
        self.vrrp_state.record(number, &[KeyValue::new("vrrp_instance", instance.to_owned())]);
    }

    /// A Backup lacked so many of the Active's connections.
    pub fn connections_missing(&self, instance: &str, missing: u32) {
        let label = KeyValue::new("vrrp_instance", instance.to_owned());
        self.connections_missing.record(missing.into(), &[label]);
    }

    /// Connections were sent or received since the last time; `direction` is sent or received.
    pub fn connections_synchronised(&self, instance: &str, direction: &'static str, more: u64) {
        if more > 0 {
            let instance = KeyValue::new("vrrp_instance", instance.to_owned());
            let labels = [instance, KeyValue::new("direction", direction)];
            self.connections_synchronised.add(more, &labels);
        }
    }

    /// How late the VRRP thread woke: the 99.9th percentile and the latest.
    pub fn vrrp_late(&self, lateness: &v1::VrrpLateness) {
        for (quantile, micros) in [("0.999", lateness.p999_us), ("1", lateness.max_us)] {
            let time = Duration::from_micros(micros).as_secs_f64();
            self.vrrp_lateness.record(time, &[KeyValue::new("quantile", quantile)]);
        }
    }

    /// A VRRP instance has changed its state.
    pub fn vrrp_changed(&self, instance: &str) {
        self.vrrp_transitions.add(1, &[KeyValue::new("vrrp_instance", instance.to_owned())]);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
