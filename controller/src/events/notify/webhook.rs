//! Sends a POST.

use std::sync::Arc;

use bytes::Bytes;
use fulcrum_model::WebhookChannel;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::queue::Message;
use super::text::{self, Sender};
use super::{Fault, Home, files};

/// Longest head of an answer that is read.
const HEAD_BYTES: usize = 64 << 10;

/// Sends a message, and returns when it was answered with 2xx.
pub(super) async fn send(
    hook: &WebhookChannel,
    message: &Message,
    sender: &Sender,
    home: &Home,
) -> Result<(), Fault> {
    let posted = tokio::time::timeout(hook.timeout, post(hook, message, sender, home));
    let status = match posted.await {
        Ok(status) => status?,
        Err(_) => return Err(Fault(format!("{}: no answer within {:?}", hook.url, hook.timeout))),
    };
    if status.is_success() {
        return Ok(());
    }
    Err(Fault(format!("{} answered {status}", hook.url)))
}

async fn post(
    hook: &WebhookChannel,
    message: &Message,
    sender: &Sender,
    home: &Home,
) -> Result<StatusCode, Fault> {
    let url = &hook.url;
    let fault = |error: &dyn std::fmt::Display| Fault(format!("{url}: {error}"));
    let uri: Uri = url.parse().map_err(|error| fault(&error))?;
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let request = request(hook, &uri, message, sender, home).await?;
    let stream = TcpStream::connect((host, port)).await.map_err(|error| fault(&error))?;
    if !is_tls {
        return exchange(stream, request).await.map_err(|error| fault(&error));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| fault(&error))?;
    let connector = TlsConnector::from(Arc::new(config(hook).await?));
    let stream = connector.connect(name, stream).await.map_err(|error| fault(&error))?;
    exchange(stream, request).await.map_err(|error| fault(&error))
}

async fn request(
    hook: &WebhookChannel,
    uri: &Uri,
    message: &Message,
    sender: &Sender,
    home: &Home,
) -> Result<Request<Full<Bytes>>, Fault> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(HOST, host)
        .header(USER_AGENT, "fulcrum-controller")
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        // The same for each try.
        .header("Idempotency-Key", sender.id(message));
    for (name, value) in &hook.headers {
        request = request.header(name, value);
    }
    if let Some(file) = &hook.bearer_token_file {
        let token = files::secret(home, file).await?;
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = text::json(message, sender).to_string();
    let request = request.body(Full::new(Bytes::from(body)));
    // The error of a header's value does not tell it.
    request.map_err(|error| Fault(format!("{}: the request cannot be formed: {error}", hook.url)))
}

async fn config(hook: &WebhookChannel) -> Result<ClientConfig, Fault> {
    let (pem, file) = files::authorities(hook.ca_file.as_deref()).await?;
    let fault = |error: &dyn std::fmt::Display| Fault(format!("{file}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        // A list of many may hold one that rustls does not take.
        let certificate = certificate.map_err(|error| fault(&error))?;
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(fault(&"holds no certificate"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, hyper::Error> {
    let mut builder = http1::Builder::new();
    let (mut sender, connection) =
        builder.max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    // What it says beside its status is not read.
    let status = async { sender.send_request(request).await.map(|answer| answer.status()) };
    tokio::pin!(connection, status);
    tokio::select! {
        biased;
        status = &mut status => status,
        // The connection's end also ends the answer, with the reason.
        _ = &mut connection => status.await,
    }
}
