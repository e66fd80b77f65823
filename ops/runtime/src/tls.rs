//! TLS identity from files: both sides of every hop show a certificate of the same authority.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::Deserialize;

use crate::identity::{self, Identity, IdentityError, Program};

/// gRPC's protocol, as TLS names it (RFC 7301, RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";
/// Files are looked at this often at most. A certificate is replaced long before it ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// Whose the certificate is cannot be told.
    #[error("{path}: {source}", path = path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// It is PEM, and yet of no use.
    #[error("the TLS {what} {path} cannot be used: {reason}; check [tls] in the configuration", path = path.display())]
    Unusable {
        /// What the file holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Whether clients of a listener must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// One of `ca`, or there is no connection.
    Required,
    /// One of `ca` or none.
    Optional,
}

/// TLS of a listener. Files that were replaced are taken up by the next connection, and open ones stay.
#[derive(Debug)]
pub struct ServerTls(Reloaded<rustls::ServerConfig>);

impl ServerTls {
    /// A client with a certificate of another authority is refused, and one without is where they are required.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(files: &TlsFiles, clients: ClientCertificates) -> Result<Self, TlsError> {
        Reloaded::load(files, move |loaded| server(loaded, clients)).map(Self)
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        self.0.current(Instant::now())
    }
}

/// TLS of connections to others. Files that were replaced are taken up by the next connection, and open ones stay.
#[derive(Debug)]
pub struct ClientTls(Reloaded<rustls::ClientConfig>);

impl ClientTls {
    /// The server's certificate must be of `ca` and name the host that was asked for; where it names a program, that is a controller of
    /// our own trust domain.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Reloaded::load(files, client).map(Self)
    }

    /// Towards a server whose authority is known and to whom no certificate is shown, as before there is one.
    ///
    /// # Errors
    /// [`TlsError`] when the authority cannot be used.
    pub fn without_certificate(authority: &[u8]) -> Result<rustls::ClientConfig, TlsError> {
        let path = PathBuf::from("the authority");
        let unusable = |reason: rustls::Error| TlsError::Unusable {
            what: "authority",
            path: path.clone(),
            reason: reason.to_string(),
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.to_vec())).map_err(unusable)?;
        let provider = Arc::new(ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<rustls::ClientConfig> {
        self.0.current(Instant::now())
    }
}

/// The identity of the certificate in `cert`; none when it has none.
///
/// # Errors
/// [`TlsError`] when the file cannot be read, or its identity cannot be told.
pub fn own_identity(files: &TlsFiles) -> Result<Option<Identity>, TlsError> {
    let bytes = read("certificate", &files.cert, "CERTIFICATE")?;
    let chain = certificates("certificate", &files.cert, &bytes)?;
    let leaf = chain.first().map(|leaf| identity::identity(leaf)).transpose();
    leaf.map(Option::flatten)
        .map_err(|source| TlsError::Identity { path: files.cert.clone(), source })
}

fn server(loaded: Loaded, clients: ClientCertificates) -> Result<rustls::ServerConfig, TlsError> {
    let Loaded { roots, chain, key, files } = loaded;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = match clients {
        ClientCertificates::Required => verifier,
        ClientCertificates::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|error| files.unusable("authority", &error))?;
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| files.unusable("certificate", &error))?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| files.unusable("private key", &error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session that is resumed is not verified again: it would outlive the certificate that began it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(loaded: Loaded) -> Result<rustls::ClientConfig, TlsError> {
    let Loaded { roots, chain, key, files } = loaded;
    let provider = Arc::new(ring::default_provider());
    let own = chain.first().and_then(|leaf| identity::identity(leaf).ok().flatten());
    let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let inner = inner.build().map_err(|error| files.unusable("authority", &error))?;
    let trust_domain = own.map(|own| own.trust_domain);
    let verifier = Arc::new(ControllerVerifier { inner, trust_domain });
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| files.unusable("certificate", &error))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(|error| files.unusable("private key", &error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// What the files hold.
struct Loaded {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: TlsFiles,
}

impl TlsFiles {
    fn unusable(&self, what: &'static str, error: &dyn std::fmt::Display) -> TlsError {
        let path = match what {
            "authority" => &self.ca,
            "certificate" => &self.cert,
            _ => &self.key,
        };
        TlsError::Unusable { what, path: path.clone(), reason: error.to_string() }
    }

    fn load(&self) -> Result<Loaded, TlsError> {
        let ca = read("authority", &self.ca, "CERTIFICATE")?;
        let cert = read("certificate", &self.cert, "CERTIFICATE")?;
        let key = read("private key", &self.key, "PRIVATE KEY")?;
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates("authority", &self.ca, &ca)?);
        if taken == 0 {
            return Err(
                self.unusable("authority", &"none of its certificates can be an authority's")
            );
        }
        let chain = certificates("certificate", &self.cert, &cert)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| self.unusable("private key", &error))?;
        Ok(Loaded { roots: Arc::new(roots), chain, key, files: self.clone() })
    }
}

fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let unusable = |reason: String| TlsError::Unusable { what, path: path.to_owned(), reason };
    match read {
        Ok(read) if read.is_empty() => Err(unusable("it holds none".to_owned())),
        Ok(read) => Ok(read),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// As webpki verifies a server; and one that names a program is a controller, so that an agent's certificate passes for none.
#[derive(Debug)]
struct ControllerVerifier {
    inner: Arc<WebPkiServerVerifier>,
    trust_domain: Option<String>,
}

impl ControllerVerifier {
    fn check(&self, leaf: &[u8]) -> Result<(), rustls::Error> {
        let Some(own) = &self.trust_domain else { return Ok(()) };
        match identity::identity(leaf) {
            // A controller of before identities. Those of our releases then bore a URI of another spelling.
            Ok(None) | Err(IdentityError::Malformed { .. }) => Ok(()),
            Ok(Some(it)) if it.program == Program::Controller && it.trust_domain == *own => Ok(()),
            Ok(Some(it)) => Err(rustls::Error::General(format!(
                "the server is {it}, and no controller of {own}"
            ))),
            Err(error @ IdentityError::Several { .. }) => {
                Err(rustls::Error::General(format!("the server: {error}")))
            }
        }
    }
}

impl ServerCertVerifier for ControllerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        self.check(leaf)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Settings made of the files, and made again when those change.
struct Reloaded<C> {
    files: TlsFiles,
    make: Box<dyn Fn(Loaded) -> Result<C, TlsError> + Send + Sync>,
    state: Mutex<State<C>>,
}

struct State<C> {
    config: Arc<C>,
    /// The files as they were last looked at, good or bad.
    seen: [Stamp; 3],
    looked: Instant,
}

/// Tells a file that was replaced or written: its inode, length and time of change.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

impl<C> Reloaded<C> {
    fn load(
        files: &TlsFiles,
        make: impl Fn(Loaded) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let seen = stamps(files);
        let config = Arc::new(make(files.load()?)?);
        let state = Mutex::new(State { config, seen, looked: Instant::now() });
        Ok(Self { files: files.clone(), make: Box::new(make), state })
    }

    /// Those that the files hold. Files that cannot be used, as a pair of which one is not yet written, change nothing.
    fn current(&self, now: Instant) -> Arc<C> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= LOOK_EVERY {
            state.looked = now;
            let seen = stamps(&self.files);
            if seen != state.seen {
                state.seen = seen;
                match self.files.load().and_then(|loaded| (self.make)(loaded)) {
                    Ok(config) => {
                        tracing::info!(cert = %self.files.cert.display(), "TLS files were replaced: new connections use them");
                        state.config = Arc::new(config);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "TLS files were replaced and cannot be used: going on with the old ones");
                    }
                }
            }
        }
        Arc::clone(&state.config)
    }
}

impl<C> std::fmt::Debug for Reloaded<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &TlsFiles) -> [Stamp; 3] {
    [&files.ca, &files.cert, &files.key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.modified().ok()))
    })
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
    fn replaced_files_are_taken_up_once_they_are_good() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let files = TlsFiles { ca: path("ca"), cert: path("cert"), key: path("key") };
        let write = |cert: &rcgen::CertifiedKey<rcgen::KeyPair>| {
            std::fs::write(&files.ca, cert.cert.pem())?;
            std::fs::write(&files.cert, cert.cert.pem())
        };
        let made = || rcgen::generate_simple_self_signed(vec!["c1".to_owned()]).expect("a name");
        let (first, second) = (made(), made());
        write(&first)?;
        std::fs::write(&files.key, first.signing_key.serialize_pem())?;
        let tls = Reloaded::load(&files, client).expect("they are good");
        let mut now = Instant::now();
        let before = tls.current(now);
        // A new certificate with the old key: half of a pair is not used.
        write(&second)?;
        now += LOOK_EVERY;
        assert!(Arc::ptr_eq(&before, &tls.current(now)));
        std::fs::write(&files.key, second.signing_key.serialize_pem() + "\n")?;
        assert!(Arc::ptr_eq(&before, &tls.current(now)), "not looked at that soon");
        now += LOOK_EVERY;
        let after = tls.current(now);
        assert!(!Arc::ptr_eq(&before, &after));
        now += LOOK_EVERY;
        assert!(Arc::ptr_eq(&after, &tls.current(now)));
        Ok(())
    }

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
            let server = ServerTls::load(&files, ClientCertificates::Required);
            let found = server.err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(found, None),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|e| e.contains(part)), "{found:?}");
                }
            }
            assert_eq!(ClientTls::load(&files).is_err(), expected.is_some());
        }
        Ok(())
    }
}
