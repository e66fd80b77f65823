//! Judges each call before its handler sees it, and tells the handler who calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fulcrum_runtime::listener::Peer;
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

use super::gate::{Gate, Pass};
use super::methods::Row;

/// A tower layer that asks the gate. Handlers find the [`Caller`](super::Caller) among a request's extensions.
#[derive(Clone, Debug)]
pub struct GateLayer {
    gate: Arc<Gate>,
    rows: &'static [Row],
    bounded: bool,
}

impl GateLayer {
    /// For a listener with these methods. With `bounded`, callers may not call without end.
    pub fn new(gate: Arc<Gate>, rows: &'static [Row], bounded: bool) -> Self {
        Self { gate, rows, bounded }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, by: self.clone() }
    }
}

/// The service that [`GateLayer`] makes.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    by: GateLayer,
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Gated<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: Default + Send + 'static,
{
    type Response = http::Response<GatedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<RequestBody>) -> Self::Future {
        let GateLayer { gate, rows, bounded } = &self.by;
        let peer = request.extensions().get::<Peer>();
        match gate.admit(rows, *bounded, request.uri().path(), peer) {
            Ok((caller, pass)) => {
                request.extensions_mut().insert(caller);
                let answer = self.inner.call(request);
                Box::pin(
                    async move { Ok(answer.await?.map(|inner| GatedBody { inner, _pass: pass })) },
                )
            }
            Err(status) => {
                let answer = status.into_http::<ResponseBody>();
                let answer = answer.map(|inner| GatedBody { inner, _pass: None });
                Box::pin(async move { Ok(answer) })
            }
        }
    }
}

/// An answer's body; the call is over when it is dropped.
#[derive(Debug)]
pub struct GatedBody<B> {
    inner: B,
    _pass: Option<Pass>,
}

impl<B: Body + Unpin> Body for GatedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
