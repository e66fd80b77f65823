//! What the agent measures of the servers on its host. The plan bounds the servers, and with them the labels.

use fulcrum_model::Verdict;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use crate::tomcat::watcher::Report;

/// The instruments.
#[derive(Clone, Debug)]
pub struct Metrics {
    in_service: Gauge<u64>,
    verdicts: Counter<u64>,
    probe_duration: Histogram<f64>,
    threads_busy: Gauge<u64>,
    threads_max: Gauge<u64>,
    sessions: Gauge<u64>,
    contexts_stopped: Gauge<u64>,
    gc_share: Gauge<f64>,
    gc_pause: Histogram<f64>,
    jvm_threads: Gauge<u64>,
}

impl Metrics {
    /// Instruments of the global meter; they measure nothing before telemetry is set up.
    pub fn new() -> Self {
        let meter = global::meter("fulcrum-realserver");
        Self {
            in_service: meter
                .u64_gauge("lvs.server.up")
                .with_description("1 while the agent's verdict of a server is up or saturated")
                .build(),
            verdicts: meter
                .u64_counter("lvs.server.verdicts")
                .with_unit("{verdict}")
                .with_description("Changes of the agent's verdict of a server")
                .build(),
            probe_duration: meter
                .f64_histogram("lvs.server.probe.duration")
                .with_unit("s")
                .with_description("Time until a server answered the agent's probe")
                .with_boundaries(vec![
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                ])
                .build(),
            threads_busy: meter
                .u64_gauge("tomcat.threads.busy")
                .with_unit("{thread}")
                .with_description("Threads of the connector that serve requests")
                .build(),
            threads_max: meter
                .u64_gauge("tomcat.threads.limit")
                .with_unit("{thread}")
                .with_description("Most threads that the connector may have")
                .build(),
            sessions: meter
                .u64_gauge("tomcat.sessions")
                .with_unit("{session}")
                .with_description("Sessions that are active, over all contexts")
                .build(),
            contexts_stopped: meter
                .u64_gauge("tomcat.contexts.stopped")
                .with_unit("{context}")
                .with_description("Contexts that are stopped or failed to start")
                .build(),
            gc_share: meter
                .f64_gauge("tomcat.gc.share")
                .with_unit("1")
                .with_description("Share of the last 10 s that the JVM spent in collectors' pauses")
                .build(),
            gc_pause: meter
                .f64_histogram("tomcat.gc.pause")
                .with_unit("s")
                .with_description("Collectors' pauses; the mean of those within one look")
                .with_boundaries(vec![0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
                .build(),
            jvm_threads: meter
                .u64_gauge("tomcat.jvm.threads")
                .with_unit("{thread}")
                .with_description("Threads of the JVM that live")
                .build(),
        }
    }

    /// A server was looked at; `before` is the verdict that was told last.
    pub fn seen(&self, report: &Report, before: Option<Verdict>) {
        let evidence = &report.evidence;
        let server = KeyValue::new("real_server", evidence.real_server.to_string());
        let labels = std::slice::from_ref(&server);
        let serves = match evidence.verdict {
            Verdict::Up | Verdict::Saturated => 1,
            Verdict::Draining | Verdict::Stopping | Verdict::Down | Verdict::Unknown => 0,
        };
        self.in_service.record(serves, labels);
        if let Some(took) = evidence.probe_time.filter(|_| report.is_try) {
            self.probe_duration.record(took.as_secs_f64(), labels);
        }
        if let Some(load) = evidence.load.filter(|load| load.max_threads > 0) {
            self.threads_busy.record(u64::from(load.busy_threads), labels);
            self.threads_max.record(u64::from(load.max_threads), labels);
            self.sessions.record(u64::from(load.sessions), labels);
            self.contexts_stopped.record(u64::from(load.contexts_stopped), labels);
        }
        if let Some(pace) = report.pace {
            self.gc_share.record(f64::from(pace.gc_share_permille) / 1000.0, labels);
            self.jvm_threads.record(u64::from(pace.live_threads), labels);
            if let Ok(pauses) = u32::try_from(pace.pauses)
                && pauses > 0
            {
                self.gc_pause.record(pace.pause_time.as_secs_f64() / f64::from(pauses), labels);
            }
        }
        if before != Some(evidence.verdict) {
            let verdict = KeyValue::new("verdict", evidence.verdict.as_str());
            self.verdicts.add(1, &[server, verdict]);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
