//! Channels to other programs.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tls::{ClientTls, TlsError, TlsFiles};

/// A peer that answers no handshake, of TCP and TLS together, for this long is tried elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent peer is asked for a sign of life this often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// and given up when none comes for this long: a dead host is noticed within 3 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A channel cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The endpoint is not `host:port`.
    #[error("{endpoint:?} is no endpoint: write host:port, for example 192.168.1.131:7400")]
    Endpoint {
        /// As it was given.
        endpoint: String,
    },
    /// Plain text beyond loopback.
    #[error(
        "{endpoint} is beyond loopback and would be plain text: give [tls] in the configuration, or allow it with \
         `insecure = true` or --insecure"
    )]
    PlainText {
        /// As it was given.
        endpoint: String,
    },
    /// A TLS file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A channel that connects when it is first used, and again whenever it must. Call it inside a tokio runtime.
/// `endpoint` is `host:port`, an IPv6 address in brackets.
///
/// # Errors
/// [`TransportError`] when the endpoint is malformed or a TLS file cannot be used; never because the peer is away.
pub fn connect_lazy(endpoint: &str, tls: Option<&TlsFiles>) -> Result<Channel, TransportError> {
    host(endpoint)?;
    let malformed = || TransportError::Endpoint { endpoint: endpoint.to_owned() };
    // TLS is a matter of the connector below, so the channel itself is told of none.
    let builder = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|_| malformed())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match tls {
        None => Ok(builder.connect_lazy()),
        Some(files) => {
            let tls = ClientTls::load(files)?;
            connect_with(builder, endpoint, move || tls.config())
        }
    }
}

/// A channel with TLS settings that stay as they are. As [`connect_lazy`] otherwise.
///
/// # Errors
/// [`TransportError::Endpoint`] when the endpoint is malformed.
pub fn connect_once(
    endpoint: &str,
    config: Arc<rustls::ClientConfig>,
) -> Result<Channel, TransportError> {
    host(endpoint)?;
    let builder = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|_| TransportError::Endpoint { endpoint: endpoint.to_owned() })?;
    connect_with(builder.connect_timeout(CONNECT_TIMEOUT), endpoint, move || Arc::clone(&config))
}

fn connect_with(
    builder: Endpoint,
    endpoint: &str,
    config: impl Fn() -> Arc<rustls::ClientConfig> + Send + 'static,
) -> Result<Channel, TransportError> {
    let malformed = |_| TransportError::Endpoint { endpoint: endpoint.to_owned() };
    let name = ServerName::try_from(host(endpoint)?.to_owned()).map_err(malformed)?;
    let endpoint = endpoint.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let (config, name, endpoint) = (config(), name.clone(), endpoint.clone());
        async move {
            let stream = TcpStream::connect(endpoint).await?;
            stream.set_nodelay(true)?;
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Ok(builder.connect_with_connector_lazy(connector))
}

/// Refuses plain text beyond loopback, for listeners and connections alike, unless it was allowed.
///
/// # Errors
/// [`TransportError::PlainText`] with the remedy; [`TransportError::Endpoint`] when it is not `host:port`.
pub fn check_plaintext(
    endpoint: &str,
    tls: Option<&TlsFiles>,
    insecure: bool,
) -> Result<(), TransportError> {
    let host = host(endpoint)?;
    let is_loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if tls.is_some() || insecure || is_loopback {
        return Ok(());
    }
    Err(TransportError::PlainText { endpoint: endpoint.to_owned() })
}

/// The host of `host:port`, without brackets.
fn host(endpoint: &str) -> Result<&str, TransportError> {
    let malformed = || TransportError::Endpoint { endpoint: endpoint.to_owned() };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(malformed)?;
    port.parse::<u16>().map_err(|_| malformed())?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(address) => Ok(address),
        None if host.is_empty() || host.contains([':', '/', '@', ' ']) => Err(malformed()),
        None => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_loopback() {
        let files = TlsFiles { ca: "a".into(), cert: "b".into(), key: "c".into() };
        let cases = [
            ("127.0.0.1:7400", None, false, true),
            ("127.8.0.1:7400", None, false, true),
            ("[::1]:7400", None, false, true),
            ("localhost:7400", None, false, true),
            ("0.0.0.0:7400", None, false, false),
            ("192.168.1.131:7400", None, false, false),
            ("192.168.1.131:7400", None, true, true),
            ("192.168.1.131:7400", Some(&files), false, true),
            ("controller.example:7400", None, false, false),
        ];
        for (endpoint, tls, insecure, expected) in cases {
            assert_eq!(check_plaintext(endpoint, tls, insecure).is_ok(), expected, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_host_and_port() {
        for bad in ["", "c1", "c1:", "c1:x", ":7400", "http://c1:7400", "::1:7400", "c1:70000"] {
            assert!(
                matches!(connect_lazy(bad, None), Err(TransportError::Endpoint { .. })),
                "{bad:?}"
            );
        }
        for good in ["c1:7400", "10.0.0.1:1", "[::1]:7400"] {
            assert!(connect_lazy(good, None).is_ok(), "{good}");
        }
    }
}
