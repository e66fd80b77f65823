//! What the standard variables ask for, as far as the SDK leaves that to us.

use std::path::PathBuf;

/// What to export.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Spans.
    pub(super) traces: Option<Signal>,
    /// Metrics.
    pub(super) metrics: Option<Signal>,
    /// Logs.
    pub(super) logs: Option<Signal>,
    /// `OTEL_SERVICE_NAME`.
    pub(super) service_name: Option<String>,
    /// What was asked for and cannot be done, in words.
    pub(super) problems: Vec<String>,
}

/// How to export one signal. The endpoint's address, headers, timeout and compression are read by the exporter itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    /// The endpoint asks for TLS.
    pub(super) is_tls: bool,
    /// Authorities to check the collector against; the system's when none.
    pub(super) certificate: Option<PathBuf>,
    /// Own certificate and key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the variables through `variable`, for which an empty one counts as unset (OpenTelemetry specification,
/// environment variables).
pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Settings {
    let read = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut settings = Settings { service_name: read("OTEL_SERVICE_NAME"), ..Settings::default() };
    if read("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return settings;
    }
    let problems = &mut settings.problems;
    settings.traces = signal("TRACES", &read, problems);
    settings.metrics = signal("METRICS", &read, problems);
    settings.logs = signal("LOGS", &read, problems);
    settings
}

fn signal(
    name: &str,
    read: &impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Option<Signal> {
    // The signal's own variable goes before the one for all.
    let of = |what: &str| {
        read(&format!("OTEL_EXPORTER_OTLP_{name}_{what}"))
            .or_else(|| read(&format!("OTEL_EXPORTER_OTLP_{what}")))
    };
    let exporter = format!("OTEL_{name}_EXPORTER");
    match read(&exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return None,
        Some(other) => {
            problems.push(format!("{exporter}={other} is not known here: use otlp or none"));
            return None;
        }
    }
    let endpoint = of("ENDPOINT")?;
    if let Some(protocol) = of("PROTOCOL").filter(|protocol| protocol != "grpc") {
        problems.push(format!(
            "{name} are not exported: the OTLP protocol {protocol} is not spoken here, set it to grpc and give the \
             collector's gRPC endpoint (mostly port 4317)"
        ));
        return None;
    }
    let is_insecure = of("INSECURE").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_tls = match endpoint.split_once("://") {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https"),
        None => !is_insecure,
    };
    let identity = of("CLIENT_CERTIFICATE").zip(of("CLIENT_KEY"));
    Some(Signal {
        is_tls,
        certificate: of("CERTIFICATE").map(PathBuf::from),
        identity: identity.map(|(cert, key)| (cert.into(), key.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which signals are on (traces, metrics, logs), and how many problems are told.
    fn check(variables: &[(&str, &str)], expected: [bool; 3], problems: usize) {
        let settings = from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        let found =
            [settings.traces.is_some(), settings.metrics.is_some(), settings.logs.is_some()];
        assert_eq!(found, expected, "{variables:?}");
        assert_eq!(settings.problems.len(), problems, "{:?}", settings.problems);
    }

    #[test]
    fn variables_choose_the_signals() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        check(&[], [false; 3], 0);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], [false; 3], 0);
        check(&[ALL], [true; 3], 0);
        check(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:1")], [false, false, true], 0);
        check(&[ALL, ("OTEL_SDK_DISABLED", "TRUE")], [false; 3], 0);
        check(&[ALL, ("OTEL_SDK_DISABLED", "1")], [true; 3], 0);
        check(&[ALL, ("OTEL_TRACES_EXPORTER", "none")], [false, true, true], 0);
        check(&[ALL, ("OTEL_METRICS_EXPORTER", "prometheus")], [true, false, true], 1);
        check(&[ALL, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], [false; 3], 3);
        check(&[ALL, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")], [true; 3], 0);
    }

    #[test]
    fn tls_follows_the_endpoint() {
        let cases = [
            ("http://c:4317", None, false),
            ("https://c:4317", None, true),
            ("c:4317", None, true),
            ("c:4317", Some("true"), false),
            ("https://c:4317", Some("true"), true),
        ];
        for (endpoint, insecure, expected) in cases {
            let settings = from_variables(|name| match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
                "OTEL_EXPORTER_OTLP_INSECURE" => insecure.map(str::to_owned),
                "OTEL_EXPORTER_OTLP_CERTIFICATE" => Some("ca.pem".to_owned()),
                "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE" => Some("logs.pem".to_owned()),
                _ => None,
            });
            let expect = |ca: &str| {
                Some(Signal {
                    is_tls: expected,
                    certificate: Some(PathBuf::from(ca)),
                    identity: None,
                })
            };
            assert_eq!(settings.traces, expect("ca.pem"), "{endpoint}");
            assert_eq!(settings.logs, expect("logs.pem"), "{endpoint}");
        }
    }
}
