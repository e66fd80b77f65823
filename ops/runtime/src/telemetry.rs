//! Logs for people on stderr; traces, metrics and logs for a collector over OTLP/gRPC.
//!
//! Variables of ours: `FULCRUM_LOG` filters logs (as `RUST_LOG` elsewhere; `info` when unset), `FULCRUM_LOG_FORMAT=json`
//! writes them as JSON. The rest are OpenTelemetry's own; without an endpoint nothing is exported.
//! A collector that is dead or slow costs nothing but its data: queues are bounded (the SDK's defaults, 2,048 spans and
//! 2,048 logs, and what `OTEL_BSP_*` says), and shutdown takes at most [`SHUTDOWN_TIMEOUT`].

mod export;
mod settings;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

/// Longest time that [`Telemetry::shutdown`] waits for a collector.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Targets of the exporter's own machinery. What they say while exporting must not be exported, or it never ends.
const EXPORTER_TARGETS: [&str; 5] = ["h2", "hyper", "tonic", "tower", "opentelemetry"];

/// What runs behind a program's logs, spans and metrics. End it with [`Telemetry::shutdown`].
#[must_use = "shut it down at the end, or the last seconds of telemetry are lost"]
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Telemetry cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `FULCRUM_LOG` is no filter.
    #[error(
        "FULCRUM_LOG={value:?} is no log filter ({source}): write a level or target=level, for example info or \
             info,fulcrum_director=debug"
    )]
    Filter {
        /// As it was given.
        value: String,
        /// Why.
        source: ParseError,
    },
    /// Another subscriber is installed, so this is the second call.
    #[error("telemetry begins once in a process: {0}")]
    Twice(#[from] TryInitError),
}

/// Begins telemetry for the whole process. Call it once, first of all, inside a tokio runtime of two workers or more.
/// `program` becomes `service.name` (`OTEL_SERVICE_NAME` goes first) and `instance`, such as `d1`, `service.instance.id`.
///
/// Mistakes in `OTEL_*` variables never keep a program from starting: they are logged, and that signal stays off.
///
/// # Errors
/// [`TelemetryError`] for a filter that cannot be read, and at the second call.
pub fn init(program: &'static str, instance: &str) -> Result<Telemetry, TelemetryError> {
    let directives = std::env::var("FULCRUM_LOG").unwrap_or_default();
    let filter = filter(&directives)?;
    let is_json = std::env::var("FULCRUM_LOG_FORMAT").is_ok_and(|format| format == "json");
    let settings = settings::from_variables(|name| std::env::var(name).ok());
    let export::Providers { traces, metrics, logs, problems } =
        export::providers(&settings, program, instance);

    tracing_subscriber::registry()
        .with(stderr_layer(is_json).with_filter(filter.and(filter_fn({
            // The SDK repeats itself every second while a collector is away; export.rs says it once.
            let is_asked_for = directives.contains("opentelemetry");
            move |metadata| is_asked_for || !metadata.target().starts_with("opentelemetry")
        }))))
        .with(traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("fulcrum"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::INFO))
        }))
        .with(match &logs {
            Some(provider) => Some(
                OpenTelemetryTracingBridge::new(provider)
                    .with_filter(self::filter(&directives)?.and(filter_fn(is_not_exporter))),
            ),
            None => None,
        })
        .try_init()?;
    if let Some(provider) = &metrics {
        opentelemetry::global::set_meter_provider(provider.clone());
    }
    for problem in settings.problems.iter().chain(&problems) {
        tracing::warn!("{problem}");
    }
    Ok(Telemetry { traces, metrics, logs })
}

impl Telemetry {
    /// Sends what is queued and stops, within [`SHUTDOWN_TIMEOUT`] whatever the collector does.
    pub async fn shutdown(self) {
        let Self { traces, metrics, logs } = self;
        let traces = traces.map(|p| blocking(move || p.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
        let metrics = metrics.map(|p| blocking(move || p.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
        let logs = logs.map(|p| blocking(move || p.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
        let all = async {
            for ending in [traces, metrics, logs].into_iter().flatten() {
                // A panic of the SDK at the very end is nobody's concern.
                let _ = ending.await;
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await;
    }
}

/// The SDK waits by blocking its thread, which must not be one of tokio's workers: the exporter needs them. Whether the
/// last batch arrived was logged by the exporter.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || drop(work()))
}

/// In force where `FULCRUM_LOG` says nothing else: openraft writes for its developers, and the same lines ten times a second
/// while a controller is away. The controller tells an operator what matters of it.
const DEFAULTS: &str = "info,openraft=off";

fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(format!("{DEFAULTS},{directives}"))
        .map_err(|source| TelemetryError::Filter { value: directives.to_owned(), source })
}

fn stderr_layer<S>(is_json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if is_json {
        layer.json().boxed()
    } else {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        layer.compact().with_ansi(is_terminal).boxed()
    }
}

fn is_not_exporter(metadata: &Metadata<'_>) -> bool {
    !EXPORTER_TARGETS.iter().any(|target| metadata.target().starts_with(target))
}

/// Spans, and the errors in them, which mark their span as failed. Other events travel as logs.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let is_wanted = if metadata.is_span() {
        *metadata.level() <= Level::INFO
    } else {
        *metadata.level() == Level::ERROR
    };
    is_wanted && is_not_exporter(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        let good = [
            ("", "openraft=off,info"),
            ("warn", "openraft=off,warn"),
            ("openraft=debug", "openraft=debug,info"),
            ("debug,fulcrum_session=trace", "fulcrum_session=trace,openraft=off,debug"),
        ];
        for (directives, expected) in good {
            let found = filter(directives).expect("it is a filter").to_string();
            assert_eq!(found, expected, "{directives}");
        }
        let error = filter("fulcrum_session=loud").expect_err("no such level");
        assert!(error.to_string().contains("fulcrum_director=debug"), "{error}");
    }
}
