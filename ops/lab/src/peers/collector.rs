//! A real OTLP collector: rotel, from `PyPI`, installed once into the user's cache. What it received is read from its log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::net::topology::COLLECTOR;
use crate::process::{Launch, Process};
use crate::say;

/// The version that the lab reads the log of.
const PACKAGE: &str = "rotel==0.0.1a15";
/// The OTLP/gRPC port.
const PORT: u16 = 4317;
/// Tells the inner part where the collector's program is.
pub(crate) const VARIABLE: &str = "FULCRUM_LAB_COLLECTOR";

/// Installs it unless it is there; answers with its program.
pub(crate) fn install() -> Result<PathBuf> {
    let venv = cache_dir()?.join(PACKAGE.replace("==", "-"));
    if let Some(program) = program_in(&venv) {
        return Ok(program);
    }
    say!("installing the OTLP collector {PACKAGE} into {}", venv.display());
    let venv_text = venv.to_string_lossy().into_owned();
    let pip = venv.join("bin/pip").to_string_lossy().into_owned();
    for (program, arguments) in [
        ("python3", vec!["-m", "venv", &venv_text]),
        (&pip, vec!["install", "--quiet", "--disable-pip-version-check", PACKAGE]),
    ] {
        let status = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        if !status.success() {
            bail!(
                "the scenario telemetry needs the OTLP collector rotel, and {program} {} failed: install the Debian \
                 package python3-venv, allow pip to reach a package index, or run: python3 -m venv {venv_text} && \
                 {pip} install {PACKAGE}",
                arguments.join(" ")
            );
        }
    }
    program_in(&venv).with_context(|| format!("{PACKAGE} brought no program rotel-agent"))
}

/// Where the lab keeps what it installs for this user.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("fulcrum-lab"))
}

fn program_in(venv: &Path) -> Option<PathBuf> {
    fs::read_dir(venv.join("lib"))
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("site-packages/rotel/rotel-agent"))
        .find(|path| path.is_file())
}

/// The endpoint that programs send to.
pub(crate) fn endpoint() -> String {
    format!("http://{}:{PORT}", COLLECTOR.address)
}

/// A running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Its process, for scenarios that kill or stop it.
    pub(crate) process: Process,
}

impl Collector {
    /// Starts it on its node and waits until it listens.
    pub(crate) fn start(logs: &Path) -> Result<Self> {
        let program = std::env::var_os(VARIABLE)
            .with_context(|| format!("{VARIABLE} is not set: the collector is not installed"))?;
        let endpoint = format!("0.0.0.0:{PORT}");
        let mut args: Vec<String> =
            ["start", "--exporter", "blackhole", "--otlp-grpc-endpoint", &endpoint]
                .map(str::to_owned)
                .to_vec();
        for signal in ["traces", "metrics", "logs"] {
            args.extend(["--debug-log".to_owned(), signal.to_owned()]);
        }
        args.extend(["--debug-log-verbosity", "detailed"].map(str::to_owned));
        let launch = Launch {
            node: Some(COLLECTOR.name),
            label: "rotel".to_owned(),
            program: program.into(),
            args,
            env: Vec::new(),
        };
        let mut process = Process::start(logs, launch)?;
        process.wait_for_line("Starting Rotel", Duration::from_secs(30))?;
        Ok(Self { process })
    }

    /// What it has received so far.
    pub(crate) fn received(&self) -> Received {
        parse(&self.process.log_text())
    }
}

/// What a collector received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Spans.
    pub(crate) spans: Vec<Span>,
    /// Service and metric.
    pub(crate) metrics: BTreeSet<(String, String)>,
    /// Service, instance and message of log records.
    pub(crate) logs: BTreeSet<(String, String, String)>,
}

/// A span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// `service.name` of its program.
    pub(crate) service: String,
    /// `service.instance.id` of its program.
    pub(crate) instance: String,
    /// Its trace.
    pub(crate) trace: String,
    /// Its own id.
    pub(crate) id: String,
    /// Its parent's id; empty at the root.
    pub(crate) parent: String,
    /// Its name.
    pub(crate) name: String,
}

/// What the lines at hand belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Resource,
    Span,
    Metric,
    Log,
    Other,
}

/// Reads the collector's log: `Key : value` lines under headings, a resource's attributes first.
fn parse(log: &str) -> Received {
    let mut received = Received::default();
    let (mut service, mut instance) = (String::new(), String::new());
    let mut part = Part::Other;
    for line in log.lines() {
        let line = line.trim();
        if let Some((heading, _)) = line.split_once(" #") {
            part = match heading {
                "Span" => {
                    received.spans.push(Span {
                        service: service.clone(),
                        instance: instance.clone(),
                        ..Span::default()
                    });
                    Part::Span
                }
                "Metric" => Part::Metric,
                "LogRecord" => Part::Log,
                _ if heading.starts_with("Resource") => Part::Resource,
                _ => Part::Other,
            };
            continue;
        }
        let Some((key, value)) = line.trim_start_matches("-> ").split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        let plain = value.strip_prefix("Str(").and_then(|v| v.strip_suffix(')')).unwrap_or(value);
        match (part, key) {
            (Part::Resource, "service.name") => plain.clone_into(&mut service),
            (Part::Resource, "service.instance.id") => plain.clone_into(&mut instance),
            (Part::Metric, "Name") => {
                received.metrics.insert((service.clone(), plain.to_owned()));
            }
            (Part::Log, "Body") => {
                received.logs.insert((service.clone(), instance.clone(), plain.to_owned()));
            }
            (Part::Span, _) => {
                if let Some(span) = received.spans.last_mut() {
                    match key {
                        "Trace ID" => plain.clone_into(&mut span.trace),
                        "Parent ID" => plain.clone_into(&mut span.parent),
                        "ID" => plain.clone_into(&mut span.id),
                        "Name" => plain.clone_into(&mut span.name),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_collectors_log() {
        let log = "\
ResourceLog #0
Resource SchemaURL: 
Resource attributes:
     -> service.name: Str(fulcrum-director)
     -> service.instance.id: Str(d1)
ScopeLogs #0
LogRecord #0
Body: Str(ready)
    Trace ID       : 
ResourceSpans #0
Resource attributes:
     -> service.name: Str(lvsctl)
ScopeSpans #0
Span #0
    Trace ID       : 0af7
    Parent ID      : 
    ID             : b7ad
    Name           : apply
ResourceMetrics #0
     -> service.name: Str(fulcrum-controller)
Metric #0
Descriptor:
     -> Name: lvs.raft.commits
";
        let received = parse(log);
        let texts = |texts: [&str; 3]| texts.map(str::to_owned);
        let [service, instance, body] = texts(["fulcrum-director", "d1", "ready"]);
        assert!(received.logs.contains(&(service, instance, body)));
        assert_eq!(received.spans.len(), 1);
        let span = &received.spans[0];
        assert_eq!((span.service.as_str(), span.trace.as_str()), ("lvsctl", "0af7"));
        assert_eq!((span.id.as_str(), span.name.as_str()), ("b7ad", "apply"));
        let metric = ("fulcrum-controller".to_owned(), "lvs.raft.commits".to_owned());
        assert!(received.metrics.contains(&metric));
    }
}
