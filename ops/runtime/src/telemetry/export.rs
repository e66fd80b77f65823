//! Providers of the OpenTelemetry SDK with exporters over OTLP/gRPC.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::LogRecord as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter, LogProcessor, SdkLogRecord, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::resource::{
    EnvResourceDetector, ResourceDetector, TelemetryResourceDetector,
};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::settings::{Settings, Signal};
use crate::tls::{self, TlsError};

/// Where Debian's and Red Hat's families keep the authorities that the system trusts.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// One provider for each signal that is on.
pub(super) struct Providers {
    pub(super) traces: Option<SdkTracerProvider>,
    pub(super) metrics: Option<SdkMeterProvider>,
    pub(super) logs: Option<SdkLoggerProvider>,
    /// Why a signal that was asked for is off, in words.
    pub(super) problems: Vec<String>,
}

/// A signal cannot be exported.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "the system's certificate authorities were not found: set OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoAuthorities,
    #[error(transparent)]
    Build(#[from] ExporterBuildError),
    #[error("telemetry was begun outside a tokio runtime")]
    NoRuntime,
}

/// Makes the providers that the settings ask for. Connects to nothing yet.
pub(super) fn providers(settings: &Settings, program: &'static str, instance: &str) -> Providers {
    let resource = resource(settings, program, instance);
    let mut problems = Vec::new();
    let traces = settings.traces.as_ref().map(|signal| traces(signal, &resource));
    let metrics = settings.metrics.as_ref().map(|signal| metrics(signal, &resource));
    let logs = settings.logs.as_ref().map(|signal| logs(signal, &resource));
    Providers {
        traces: kept("traces", traces, &mut problems),
        metrics: kept("metrics", metrics, &mut problems),
        logs: kept("logs", logs, &mut problems),
        problems,
    }
}

fn kept<P>(
    signal: &str,
    result: Option<Result<P, ExportError>>,
    problems: &mut Vec<String>,
) -> Option<P> {
    match result? {
        Ok(provider) => Some(provider),
        Err(error) => {
            problems.push(format!("{signal} are not exported: {error}"));
            None
        }
    }
}

fn resource(settings: &Settings, program: &'static str, instance: &str) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let detectors: [Box<dyn ResourceDetector>; 2] =
        [Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())];
    // What comes later goes first: the operator's variables overrule what the program says of itself.
    let builder = Resource::builder_empty()
        .with_service_name(program)
        .with_attributes([
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("host.name", host.trim().to_owned()),
        ])
        .with_detectors(&detectors);
    match &settings.service_name {
        Some(name) => builder.with_service_name(name.clone()).build(),
        None => builder.build(),
    }
}

fn traces(signal: &Signal, resource: &Resource) -> Result<SdkTracerProvider, ExportError> {
    let builder = with_tls(opentelemetry_otlp::SpanExporter::builder().with_tonic(), signal)?;
    let exporter = Watched::new("traces", builder.build()?);
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(exporter)
        .build())
}

fn metrics(signal: &Signal, resource: &Resource) -> Result<SdkMeterProvider, ExportError> {
    let builder = with_tls(opentelemetry_otlp::MetricExporter::builder().with_tonic(), signal)?;
    let reader = PeriodicReader::builder(Watched::new("metrics", builder.build()?)).build();
    Ok(SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(reader).build())
}

fn logs(signal: &Signal, resource: &Resource) -> Result<SdkLoggerProvider, ExportError> {
    let builder = with_tls(opentelemetry_otlp::LogExporter::builder().with_tonic(), signal)?;
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_log_processor(Timestamps)
        .with_batch_exporter(Watched::new("logs", builder.build()?))
        .build())
}

fn with_tls<B: WithTonicConfig>(builder: B, signal: &Signal) -> Result<B, ExportError> {
    // The channel starts its worker on the runtime at hand.
    tokio::runtime::Handle::try_current().map_err(|_| ExportError::NoRuntime)?;
    if !signal.is_tls {
        return Ok(builder);
    }
    let authorities = match &signal.certificate {
        Some(path) => tls::read("collector's authority", path, "CERTIFICATE")?,
        None => SYSTEM_AUTHORITIES
            .iter()
            .find_map(|path| std::fs::read(Path::new(path)).ok())
            .ok_or(ExportError::NoAuthorities)?,
    };
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
    if let Some((certificate, key)) = &signal.identity {
        config = config.identity(Identity::from_pem(
            tls::read("certificate for the collector", certificate, "CERTIFICATE")?,
            tls::read("private key for the collector", key, "PRIVATE KEY")?,
        ));
    }
    Ok(builder.with_tls_config(config))
}

/// Sets the time of each log record, for the bridge from tracing leaves it at zero.
#[derive(Debug)]
struct Timestamps;

impl LogProcessor for Timestamps {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        if record.timestamp().is_none() {
            record.set_timestamp(SystemTime::now());
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// An exporter whose failures are logged when they begin and when they end, and not at every batch between.
#[derive(Debug)]
struct Watched<E> {
    signal: &'static str,
    inner: E,
    is_failing: AtomicBool,
}

impl<E> Watched<E> {
    fn new(signal: &'static str, inner: E) -> Self {
        Self { signal, inner, is_failing: AtomicBool::new(false) }
    }

    fn noted(&self, result: OTelSdkResult) -> OTelSdkResult {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match (&result, was_failing) {
            (Err(error), false) => {
                tracing::warn!(signal = self.signal, %error, "the collector takes no telemetry; it is dropped");
            }
            (Ok(()), true) => {
                tracing::info!(signal = self.signal, "the collector takes telemetry again");
            }
            (Err(_), true) | (Ok(()), false) => {}
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.noted(self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.noted(self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.noted(self.inner.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
