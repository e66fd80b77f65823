//! One handshake of TLS with a server of this host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_runtime::any_certificate::AnyCertificate;
use fulcrum_runtime::certificate::end_of;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Target;

/// Longest handshake. It is on the own host; a busy Tomcat takes a while.
const TIMEOUT: Duration = Duration::from_secs(5);

/// When the certificate ends that is presented there; else why that is not known, in words. What is read is bounded by TLS itself: a
/// message of the handshake has 64 KiB at most in rustls.
pub(super) async fn ask(target: &Target) -> Result<SystemTime, String> {
    let name = server_name(target)?;
    match tokio::time::timeout(TIMEOUT, shake(target.address, name)).await {
        Ok(end) => end,
        Err(_) => {
            Err(format!("no handshake of TLS within {}", humantime::format_duration(TIMEOUT)))
        }
    }
}

async fn shake(address: SocketAddr, name: ServerName<'static>) -> Result<SystemTime, String> {
    let any = AnyCertificate::new();
    let client = any.client().map_err(|error| format!("TLS: {error}"))?;
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let outcome = TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    let refusal = match outcome {
        Ok(mut stream) => {
            // In good order; whether the server hears of it is nothing to us.
            let _ = stream.shutdown().await;
            None
        }
        Err(error) => Some(error),
    };
    match (any.leaf(), refusal) {
        (Some(leaf), _) => end_of(leaf).map_err(|why| format!("its certificate: {why}")),
        (None, Some(error)) => Err(format!("handshake of TLS: {error}")),
        (None, None) => Err("it presents no certificate".to_owned()),
    }
}

/// Who is asked for. `*.example.org` stands for any one of its hosts; an address is not sent (RFC 6066 §3).
fn server_name(target: &Target) -> Result<ServerName<'static>, String> {
    let Some(host) = &target.host else { return Ok(target.address.ip().into()) };
    let asked = match host.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None => host.clone(),
    };
    ServerName::try_from(asked).map_err(|_| format!("{host:?} is no name for TLS"))
}
