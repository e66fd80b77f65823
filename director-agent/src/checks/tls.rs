//! TLS of tries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use fulcrum_model::TlsCheck;
use fulcrum_model::fuse::Remark;
use fulcrum_runtime::any_certificate::AnyCertificate;
use fulcrum_runtime::certificate::end_of;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Outcome;

/// A handshake on a connection, and what is to be told of the certificate. `name` is who is asked for where the check names
/// nobody; `protocols` are offered by ALPN.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    check: &TlsCheck,
    (rip, name): (IpAddr, Option<&str>),
    protocols: &[&[u8]],
    stream: S,
) -> Result<(TlsStream<S>, Option<Remark>), Outcome> {
    let mut config = config(check).await?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = check.server_name.as_deref().or(name);
    let server_name = match name.map(|name| ServerName::try_from(name.to_owned())) {
        Some(Ok(name)) => name,
        Some(Err(_)) => {
            let words = format!("{name:?} is no name for TLS: give tls.server_name");
            return Err(Outcome::NotTried(words));
        }
        // Nobody is asked for: an address is not sent (RFC 6066 section 3).
        None => rip.into(),
    };
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(server_name, stream).await;
    let stream = stream.map_err(|error| Outcome::Failed(format!("TLS handshake: {error}")))?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let remark =
        certificate.and_then(|certificate| ends_soon(check, certificate, SystemTime::now()));
    Ok((stream, remark))
}

async fn config(check: &TlsCheck) -> Result<ClientConfig, Outcome> {
    let no_tls = |error: rustls::Error| Outcome::NotTried(format!("TLS: {error}"));
    let Some(file) = &check.ca_file else {
        // As keepalived does.
        return AnyCertificate::new().client().map_err(no_tls);
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?;
    let fault = |why: String| {
        Outcome::NotTried(format!(
            "{file}: {why}; check.tls.ca_file must be a PEM file on the director"
        ))
    };
    let text = tokio::fs::read(file).await.map_err(|error| fault(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("holds no certificate".to_owned()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What is to be told of a certificate at `now`.
fn ends_soon(
    check: &TlsCheck,
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Option<Remark> {
    let warning = check.expiry_warning?;
    let text = match end_of(certificate) {
        Err(error) => format!("its certificate cannot be read: {error}"),
        Ok(ends) => {
            if ends > now + warning {
                return None;
            }
            let verb = if ends > now { "ends" } else { "ended" };
            let when = humantime::format_rfc3339_seconds(ends);
            format!("its certificate {verb} at {when}: renew it")
        }
    };
    Some(Remark { weight: None, text })
}
