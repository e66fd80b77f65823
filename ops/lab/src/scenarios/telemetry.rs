//! Traces, metrics and logs of every program arrive at a real collector, one trace runs from `lvsctl apply` over the
//! Raft commit to the netlink write on each director; and a collector that hangs or is dead changes nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::contest::{self, count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::DIRECTORS;
use crate::pair::Side;
use crate::peers::collector::{self, Collector, Received, Span};
use crate::process::wait_until;
use crate::say;
use crate::settings::{FAST, SEED};

/// How long telemetry may take to arrive: batches are sent every half second, metrics every second.
const ARRIVE: Duration = Duration::from_secs(30);
/// Longest time out of both tables, with a dead collector as with a living one.
const OUT_MS: f64 = 300.0;
/// The programs that must be heard of.
const PROGRAMS: [&str; 3] = ["fulcrum-controller", "fulcrum-director", "fulcrum-realserver"];
/// The spans of the walk, by part of their names, beside those of the directors.
const COMMIT: &str = "raft.commit";
const WRITE: &str = "ipvs.write";

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    // Programs read their telemetry's settings at start, so this cluster begins anew, and so does the next one.
    lab.take_down();
    lab.env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector::endpoint().as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "500"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "500"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let measured = measure(lab, findings);
    lab.env.clear();
    lab.take_down();
    measured
}

fn measure(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.raise_network()?;
    let collector = Collector::start(&lab.logs)?;
    // The second apply edits what the directors already have.
    lab.stage(Side::Fulcrum, &SEED)?;
    let stage = lab.stage(Side::Fulcrum, &FAST)?;
    let begin = Instant::now();

    let arrived = wait_until("telemetry of every program arrives", ARRIVE, || {
        let received = collector.received();
        Ok((missing(&received).is_empty()).then_some(()))
    });
    let received = collector.received();
    say!(
        "arrived: {} spans, {} metrics, {} different log messages",
        received.spans.len(),
        received.metrics.len(),
        received.logs.len()
    );
    for absent in missing(&received) {
        findings.require(false, format!("{absent} arrives at the collector"));
    }
    if arrived.is_ok() {
        findings.require(true, "one trace runs from lvsctl to each director's netlink write");
    }
    findings.figure("spans", count(received.spans.len()));
    findings.figure("metrics", count(received.metrics.len()));
    findings.figure("trace_spans", count(whole_trace(&received).map_or(0, |trace| trace.len())));

    // A collector that hangs: connections stay open and nothing is read.
    collector.process.signal(Signal::SIGSTOP)?;
    stage.cluster.wait_converged()?;
    stage.client.wait_steady(Duration::from_secs(3), Duration::from_secs(30))?;
    // A collector that is gone.
    collector.process.signal(Signal::SIGCONT)?;
    collector.process.kill()?;
    stage.client.wait_steady(Duration::from_secs(3), Duration::from_secs(30))?;
    let window = stage.client.settled(begin, Instant::now());
    findings.figure("requests", count(window.count()));
    findings.figure("failed", count(window.failed()));
    findings.at_most("failed while the collector hangs and dies", count(window.failed()), 0.0);
    drop(stage);

    let out = contest::out_of_tables_once(lab, &FAST)?;
    findings.figure("out_of_tables_ms", millis(out));
    findings.at_most("out_of_tables_ms with a dead collector", millis(out), OUT_MS);
    Ok(())
}

/// What has not arrived, for people.
fn missing(received: &Received) -> Vec<String> {
    let mut missing = Vec::new();
    for program in PROGRAMS {
        if !received.metrics.iter().any(|(service, _)| service == program) {
            missing.push(format!("a metric of {program}"));
        }
        if !received.logs.iter().any(|(service, _, _)| service == program) {
            missing.push(format!("a log record of {program}"));
        }
        if !received.spans.iter().any(|span| span.service == program) {
            missing.push(format!("a span of {program}"));
        }
    }
    if whole_trace(received).is_none() {
        missing
            .push("one trace from lvsctl over the Raft commit to both netlink writes".to_owned());
    }
    missing
}

/// The spans of a trace that begins at lvsctl and holds the commit and each director's write.
fn whole_trace(received: &Received) -> Option<Vec<&Span>> {
    received.spans.iter().filter(|span| span.service == "lvsctl").find_map(|root| {
        let trace: Vec<&Span> =
            received.spans.iter().filter(|span| span.trace == root.trace).collect();
        let holds = |name: &str, instance: Option<&str>| {
            trace.iter().any(|span| {
                span.name.contains(name) && instance.is_none_or(|it| span.instance == it)
            })
        };
        let whole = holds(COMMIT, None)
            && DIRECTORS.iter().all(|director| holds(WRITE, Some(director.name)));
        whole.then_some(trace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_whole_with_both_writes() {
        let span = |service: &str, instance: &str, name: &str| Span {
            service: service.to_owned(),
            instance: instance.to_owned(),
            trace: "t".to_owned(),
            name: name.to_owned(),
            ..Span::default()
        };
        let mut received = Received {
            spans: vec![
                span("lvsctl", "", "lvsctl apply"),
                span("fulcrum-controller", "c1", "raft.commit"),
                span("fulcrum-director", "d1", "ipvs.write"),
            ],
            ..Received::default()
        };
        assert!(whole_trace(&received).is_none());
        received.spans.push(span("fulcrum-director", "d2", "ipvs.write"));
        assert_eq!(whole_trace(&received).map(|trace| trace.len()), Some(4));
        received.spans[3].trace = "other".to_owned();
        assert!(whole_trace(&received).is_none());
    }
}
