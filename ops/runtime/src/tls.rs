//! TLS identity from files: both sides of every hop show a certificate of the same authority.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// The `[tls]` section of a configuration file. PEM files.
#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificates of the authorities that peers' certificates are checked against.
    pub ca: PathBuf,
    /// This program's certificate, with its intermediates.
    pub cert: PathBuf,
    /// Private key of `cert`.
    pub key: PathBuf,
}

/// A TLS file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read the TLS {what} {path}: {source}; check [tls] in the configuration", path = path.display())]
    Read {
        /// What the file holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{path} holds no PEM {label}: it should be the TLS {what}", path = path.display())]
    Content {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// PEM label that was looked for.
        label: &'static str,
    },
}

/// For a listener. A client without a certificate of `ca` is refused.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn server_config(files: &TlsFiles) -> Result<ServerTlsConfig, TlsError> {
    let Loaded { ca, identity } = load(files)?;
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(ca).client_auth_optional(false))
}

/// For a connection. The server's certificate must be of `ca` and name the host that was asked for.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn client_config(files: &TlsFiles) -> Result<ClientTlsConfig, TlsError> {
    let Loaded { ca, identity } = load(files)?;
    Ok(ClientTlsConfig::new().identity(identity).ca_certificate(ca))
}

struct Loaded {
    ca: Certificate,
    identity: Identity,
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let ca = read("authority", &files.ca, "CERTIFICATE")?;
    let cert = read("certificate", &files.cert, "CERTIFICATE")?;
    let key = read("private key", &files.key, "PRIVATE KEY")?;
    Ok(Loaded { ca: Certificate::from_pem(ca), identity: Identity::from_pem(cert, key) })
}

/// Reads a PEM file and makes sure that it holds a block of its kind, for rustls would name neither file nor field.
pub(crate) fn read(
    what: &'static str,
    path: &Path,
    label: &'static str,
) -> Result<Vec<u8>, TlsError> {
    let bytes = std::fs::read(path).map_err(|source| TlsError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let is_there = text.lines().any(|line| {
        line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{label}-----"))
    });
    if is_there { Ok(bytes) } else { Err(TlsError::Content { what, path: path.to_owned(), label }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let certified = rcgen::generate_simple_self_signed(vec!["c1".to_owned()])
            .expect("a plain name is a valid subject");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("cert.pem"), certified.cert.pem())?;
        std::fs::write(path("key.pem"), certified.signing_key.serialize_pem())?;
        let files = |ca: &str, cert: &str, key: &str| TlsFiles {
            ca: path(ca),
            cert: path(cert),
            key: path(key),
        };
        let cases = [
            (files("cert.pem", "cert.pem", "key.pem"), None),
            (files("absent.pem", "cert.pem", "key.pem"), Some("absent.pem")),
            (files("cert.pem", "key.pem", "key.pem"), Some("no PEM CERTIFICATE")),
            (files("cert.pem", "cert.pem", "cert.pem"), Some("no PEM PRIVATE KEY")),
        ];
        for (files, expected) in cases {
            let found = server_config(&files).err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(found, None),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|e| e.contains(part)), "{found:?}");
                }
            }
            assert_eq!(client_config(&files).is_err(), expected.is_some());
        }
        Ok(())
    }
}
