//! A span and a duration for each call that a server answers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http_body::{Body, Frame};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::Status;
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{FromHeaders, adopt};

/// Bounds of `rpc.server.call.duration` in seconds: those of the semantic conventions, and finer ones below, where our
/// budgets are.
const BOUNDS_S: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    10.0,
];
/// Longest method that a span is named by; a caller may write anything there.
const MAX_METHOD_BYTES: usize = 100;
/// Label of calls to methods that do not exist, so that callers cannot make labels up.
const OTHER: &str = "_OTHER";

/// A tower layer that opens a span for each call, child of the caller's, and records `rpc.server.call.duration` in seconds
/// with `rpc.method` and `rpc.response.status_code` (OpenTelemetry semantic conventions for gRPC). A streaming call lasts
/// as long as its stream. Between controllers a call that belongs to no trace gets no span. Make it after [`crate::telemetry::init`].
pub fn server_layer() -> ServerLayer {
    let duration = opentelemetry::global::meter("fulcrum")
        .f64_histogram("rpc.server.call.duration")
        .with_unit("s")
        .with_description("Duration of calls that this program answered")
        .with_boundaries(BOUNDS_S.to_vec())
        .build();
    ServerLayer { duration }
}

/// See [`server_layer`].
#[derive(Clone, Debug)]
pub struct ServerLayer {
    duration: Histogram<f64>,
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerSpans<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerSpans { inner, duration: self.duration.clone() }
    }
}

/// The service that [`ServerLayer`] makes.
#[derive(Clone, Debug)]
pub struct ServerSpans<S> {
    inner: S,
    duration: Histogram<f64>,
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for ServerSpans<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<ServerBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let method = method(request.uri().path());
        let span = if is_idle_talk(&method, request.headers()) {
            Span::none()
        } else {
            tracing::info_span!("rpc", otel.name = %method, otel.kind = "server")
        };
        adopt(&span, &FromHeaders(request.headers()));
        span.set_attribute("rpc.system.name", "grpc");
        span.set_attribute("rpc.method", method.clone());
        let mut call = Call {
            span: span.clone(),
            method,
            started: Instant::now(),
            code: None,
            duration: self.duration.clone(),
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let response = answer.await?;
                // An error before the first message comes in the headers; all else in the trailers.
                call.note(response.headers());
                Ok(response.map(|inner| ServerBody { inner, call }))
            }
            .instrument(span),
        )
    }
}

/// The answer's body, which ends the span when it ends.
#[derive(Debug)]
pub struct ServerBody<B> {
    inner: B,
    call: Call,
}

impl<B: Body + Unpin> Body for ServerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { inner, call } = self.get_mut();
        let _entered = call.span.enter();
        let frame = ready!(Pin::new(inner).poll_frame(context));
        if let Some(trailers) = frame.as_ref().and_then(|f| f.as_ref().ok()?.trailers_ref()) {
            call.code = code_of(trailers).or(call.code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// A call under way; recorded when dropped, so that one that the caller gave up is recorded too.
#[derive(Debug)]
struct Call {
    span: Span,
    method: String,
    started: Instant,
    code: Option<Code>,
    duration: Histogram<f64>,
}

impl Call {
    fn note(&mut self, headers: &http::HeaderMap) {
        self.code = code_of(headers).or(self.code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let method = if code == Code::Unimplemented { OTHER } else { &self.method };
        self.duration.record(
            self.started.elapsed().as_secs_f64(),
            &[
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.to_owned()),
                KeyValue::new("rpc.response.status_code", code_name(code)),
            ],
        );
        self.span.set_attribute("rpc.response.status_code", code_name(code));
        if is_servers_fault(code) {
            self.span.set_status(Status::error(code_name(code)));
        }
    }
}

/// `/fulcrum.v1.IntentService/Apply` without its first slash.
fn method(path: &str) -> String {
    path.trim_start_matches('/').chars().take(MAX_METHOD_BYTES).collect()
}

/// Controllers show each other many times a second that they are there; only what belongs to a trace is worth a span.
fn is_idle_talk(method: &str, headers: &http::HeaderMap) -> bool {
    method.starts_with("fulcrum.internal.") && !headers.contains_key(super::TRACEPARENT)
}

fn code_of(headers: &http::HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// The codes that mark a server's span as failed, by the semantic conventions; the others are the caller's own.
fn is_servers_fault(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use http_body_util::{BodyExt, StreamBody};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("no test panics while it holds the lock").extend(batch);
            Ok(())
        }
    }

    type Frames = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, String>>>>;

    fn answer(
        header: Option<&'static str>,
        trailer: Option<&'static str>,
    ) -> http::Response<Frames> {
        let mut frames = vec![Ok(Frame::data(Bytes::from_static(b"x")))];
        if let Some(status) = trailer {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            frames.push(Ok(Frame::trailers(trailers)));
        }
        let mut response = http::Response::new(StreamBody::new(tokio_stream::iter(frames)));
        if let Some(status) = header {
            response.headers_mut().insert("grpc-status", http::HeaderValue::from_static(status));
        }
        response
    }

    /// The exported span of one call that was answered with these statuses.
    fn span_of(header: Option<&'static str>, trailer: Option<&'static str>) -> SpanData {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        tracing::subscriber::with_default(subscriber, || {
            let service = tower::service_fn(move |_: http::Request<()>| async move {
                Ok::<_, std::convert::Infallible>(answer(header, trailer))
            });
            let request = http::Request::builder()
                .uri("http://c1:7400/fulcrum.v1.IntentService/Apply")
                .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .body(())
                .expect("a valid request");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime without drivers needs nothing");
            runtime.block_on(async {
                let response = server_layer().layer(service).call(request).await;
                let Ok(response) = response;
                let _ = response.into_body().collect().await;
            });
        });
        let spans = kept.0.lock().expect("no test panics while it holds the lock");
        spans.first().cloned().expect("one span was exported")
    }

    #[test]
    fn controllers_signs_of_life_get_no_span() {
        let traced = http::HeaderMap::from_iter([(
            http::HeaderName::from_static(super::super::TRACEPARENT),
            http::HeaderValue::from_static(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        )]);
        let cases = [
            ("fulcrum.internal.v1.RaftService/AppendEntries", http::HeaderMap::new(), true),
            ("fulcrum.internal.v1.RaftService/ForwardApply", traced, false),
            ("fulcrum.v1.IntentService/Apply", http::HeaderMap::new(), false),
        ];
        for (method, headers, expected) in cases {
            assert_eq!(is_idle_talk(method, &headers), expected, "{method}");
        }
    }

    #[test]
    fn a_call_is_a_span_with_its_status() {
        let cases = [
            (None, Some("0"), "OK", false),
            (Some("5"), None, "NOT_FOUND", false),
            (None, Some("13"), "INTERNAL", true),
            (None, Some("999"), "UNKNOWN", true),
            (None, None, "CANCELLED", false),
        ];
        for (header, trailer, code, is_error) in cases {
            let span = span_of(header, trailer);
            assert_eq!(span.name, "fulcrum.v1.IntentService/Apply");
            assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
            let told =
                span.attributes.iter().find(|a| a.key.as_str() == "rpc.response.status_code");
            assert_eq!(told.map(|a| a.value.to_string()), Some(code.to_owned()));
            assert_eq!(matches!(span.status, Status::Error { .. }), is_error, "{code}");
        }
    }
}
