//! One trace over all programs: W3C trace context in gRPC metadata and in messages.
//!
//! A span's parent is settled when the span is first entered, or first asked for its context: call [`set_parent`] on a
//! span before entering it, not on the current span.

mod server;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap};
use tonic::service::Interceptor;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use server::{ServerBody, ServerLayer, ServerSpans, server_layer};

/// Header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// The current span as a W3C `traceparent`; empty when there is none, or when traces are off.
pub fn traceparent() -> String {
    let mut carrier = One(String::new());
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.0
}

/// Makes the span of `traceparent` the parent of `span`, which must not have been entered. Text that is no traceparent,
/// the empty one among it, changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    adopt(span, &One(traceparent.to_owned()));
}

/// Adds the current span to outgoing metadata, as `traceparent` and `tracestate`.
pub fn inject(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut IntoMetadata(metadata));
}

/// Adds the current span to every call of a tonic client.
#[derive(Clone, Copy, Debug, Default)]
pub struct InjectInterceptor;

impl Interceptor for InjectInterceptor {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        inject(request.metadata_mut());
        Ok(request)
    }
}

fn adopt(span: &Span, carrier: &dyn Extractor) {
    let context = TraceContextPropagator::new().extract(carrier);
    if context.span().span_context().is_valid() {
        // Fails where traces are off, and there nothing is lost.
        let _ = span.set_parent(context);
    }
}

/// A carrier of the traceparent alone.
struct One(String);

impl Injector for One {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = value;
        }
    }
}

impl Extractor for One {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

struct IntoMetadata<'a>(&'a mut MetadataMap);

impl Injector for IntoMetadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<MetadataKey<Ascii>>(), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct FromHeaders<'a>(&'a http::HeaderMap);

impl Extractor for FromHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// Runs `work` under a subscriber that makes spans, and exports none.
    pub(super) fn traced<T>(work: impl FnOnce() -> T) -> T {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, work)
    }

    #[test]
    fn a_trace_goes_through_text_and_metadata() {
        traced(|| {
            let span = tracing::info_span!("child");
            set_parent(&span, PARENT);
            span.in_scope(|| {
                let own = traceparent();
                assert_eq!(own[..36], PARENT[..36], "the same trace");
                assert_ne!(own, PARENT, "another span");
                let mut metadata = MetadataMap::new();
                inject(&mut metadata);
                let sent = metadata.get(TRACEPARENT).and_then(|value| value.to_str().ok());
                assert_eq!(sent, Some(own.as_str()));
            });
        });
    }

    #[test]
    fn without_a_trace_nothing_is_told() {
        assert_eq!(traceparent(), "");
        let mut metadata = MetadataMap::new();
        inject(&mut metadata);
        assert!(metadata.get(TRACEPARENT).is_none());
    }

    #[test]
    fn a_malformed_parent_changes_nothing() {
        traced(|| {
            for bad in
                ["", "x", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"]
            {
                let span = tracing::info_span!("root");
                set_parent(&span, bad);
                assert_eq!(span.in_scope(traceparent).len(), PARENT.len(), "{bad:?}");
            }
        });
    }
}
