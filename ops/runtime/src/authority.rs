//! An authority of our own: gives certificates with identities, and what asks for them.
//!
//! Private keys stay where they were made: whoever wants a certificate sends a request (PKCS #10, RFC 2986), of which only the public key
//! is taken. What the certificate says is the authority's word.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate;
use crate::durable;
use crate::identity::{Identity, Program};
use crate::tls::{self, TlsError};

/// Longest request taken, in bytes: some hundred are usual.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;
/// A certificate is good from this long before it is given, for clocks differ.
const BEFORE: Duration = Duration::from_mins(10);

/// An authority cannot be used, or does not give a certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] TlsError),
    /// Its files are no authority's.
    #[error(
        "{what}: {source}; the key must be that of the first certificate in the authority's file"
    )]
    Unusable {
        /// What was read.
        what: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The key is of another certificate.
    #[error("the authority's key does not fit the first certificate in its file")]
    AnotherKey,
    /// The request cannot be read, or is not signed by its own key.
    #[error("the request for a certificate cannot be used: {0}")]
    Request(String),
    /// A name cannot stand in a certificate.
    #[error("{name:?} cannot stand in a certificate: {source}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Sign(#[from] rcgen::Error),
}

/// An authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    subject: Vec<u8>,
    ends: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// What a new authority is made of.
#[derive(Debug)]
pub struct NewAuthority {
    /// Its certificate in PEM.
    pub certificate: String,
    /// Its private key in PEM.
    pub key: String,
}

/// Makes an authority for a trust domain that lasts so long.
///
/// # Errors
/// [`AuthorityError::Sign`].
pub fn create(
    trust_domain: &str,
    now: SystemTime,
    lasts: Duration,
) -> Result<NewAuthority, AuthorityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // A number of its own, so that an authority is told from the one before it.
    let name = format!("Fulcrum authority of {trust_domain} {:08x}", rand::random::<u32>());
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + lasts).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(NewAuthority { certificate, key: key.serialize_pem() })
}

impl Authority {
    /// The authority whose certificate is the first in a file, with its key.
    ///
    /// # Errors
    /// [`AuthorityError`] when a file cannot be read, or both do not fit.
    pub fn load(ca: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let what = |path: &Path| path.display().to_string();
        let pem = tls::read("authority", ca, "CERTIFICATE")?;
        let key_pem = tls::read("authority's private key", key, "PRIVATE KEY")?;
        let pair = KeyPair::from_pem(&String::from_utf8_lossy(&key_pem))
            .map_err(|source| AuthorityError::Unusable { what: what(key), source })?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| TlsError::Content {
            what: "authority",
            path: ca.to_owned(),
            label: "CERTIFICATE",
        })?;
        let read = X509Certificate::from_der(&certificate);
        let (subject, public) = read
            .map(|(_, it)| (it.subject().as_raw().to_vec(), it.public_key().raw.to_vec()))
            .unwrap_or_default();
        if public != pair.subject_public_key_info() {
            return Err(AuthorityError::AnotherKey);
        }
        let ends = certificate::end_of(&certificate).unwrap_or(SystemTime::UNIX_EPOCH);
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|source| AuthorityError::Unusable { what: what(ca), source })?;
        Ok(Self { issuer, certificate, subject, ends })
    }

    /// Its certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Whether a certificate with that issuer, in DER, is its own.
    pub fn has_issued(&self, issuer: &[u8]) -> bool {
        self.subject == issuer
    }

    /// Gives a certificate in DER for the public key of a request. It ends with the authority at the latest. A controller's bears the
    /// addresses that it is reached by; others are clients alone.
    ///
    /// # Errors
    /// [`AuthorityError`] when the request cannot be read.
    pub fn issue(
        &self,
        request: &[u8],
        identity: &Identity,
        addresses: &[String],
        now: SystemTime,
        lasts: Duration,
    ) -> Result<Vec<u8>, AuthorityError> {
        if request.len() > MAX_REQUEST_BYTES {
            let text = format!("{} bytes: at most {MAX_REQUEST_BYTES}", request.len());
            return Err(AuthorityError::Request(text));
        }
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request)
            .map_err(|error| AuthorityError::Request(error.to_string()))?;
        let named = |name: &str, source| AuthorityError::Name { name: name.to_owned(), source };
        let mut params = CertificateParams::new(addresses.to_vec())
            .map_err(|source| named(&addresses.join(", "), source))?;
        let uri = identity.to_string();
        let uri = uri.as_str().try_into().map_err(|source| named(&identity.to_string(), source))?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.path());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if identity.program == Program::Controller {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BEFORE).into();
        params.not_after = (now + lasts).min(self.ends).into();
        Ok(params.signed_by(&request.public_key, &self.issuer)?.der().to_vec())
    }
}

/// Makes a private key, in PEM.
///
/// # Errors
/// [`AuthorityError::Sign`].
pub fn new_key() -> Result<String, AuthorityError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// A request in DER for a certificate of a private key in PEM.
///
/// # Errors
/// [`AuthorityError::Request`] when the key cannot be used.
pub fn request(key: &str) -> Result<Vec<u8>, AuthorityError> {
    let failed = |error: rcgen::Error| AuthorityError::Request(error.to_string());
    let key = KeyPair::from_pem(key).map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(failed)?.der().to_vec())
}

/// 32 bytes that nobody can guess.
pub fn secret() -> [u8; 32] {
    rand::random()
}

/// SHA-256, as of a certificate's fingerprint or of a secret.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A certificate in PEM.
pub fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    // RFC 7468 section 2: lines of 64.
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// The first certificate of a file, in DER.
///
/// # Errors
/// [`TlsError`] when it holds none.
pub fn first_certificate(path: &Path) -> Result<Vec<u8>, TlsError> {
    let pem = tls::read("certificate", path, "CERTIFICATE")?;
    let read = CertificateDer::from_pem_slice(&pem);
    read.map(|der| der.to_vec()).map_err(|_| TlsError::Content {
        what: "certificate",
        path: path.to_owned(),
        label: "CERTIFICATE",
    })
}

/// Writes a certificate or a key so that it survives power loss; only the owner may read it.
///
/// # Errors
/// Any of the file system.
pub fn save(path: &Path, pem: &str) -> std::io::Result<()> {
    durable::write_atomic(path, pem.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::identity;

    fn authority(directory: &Path, name: &str) -> (Authority, std::path::PathBuf) {
        let made = create("fulcrum", SystemTime::now(), Duration::from_hours(1)).expect("made");
        let path = |end: &str| directory.join(format!("{name}.{end}"));
        save(&path("pem"), &made.certificate).expect("written");
        save(&path("key"), &made.key).expect("written");
        (Authority::load(&path("pem"), &path("key")).expect("it is good"), path("key"))
    }

    #[test]
    fn a_certificate_says_what_the_authority_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let (ours, key) = authority(directory.path(), "ours");
        let (theirs, _) = authority(directory.path(), "theirs");
        let request = request(&new_key().expect("made")).expect("made");
        let issue = |path: &str, addresses: &[&str], lasts| {
            let who: Identity = format!("spiffe://fulcrum/{path}").parse().expect("it is good");
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let now = SystemTime::now();
            let der = ours.issue(&request, &who, &addresses, now, lasts).expect("given");
            assert_eq!(identity(&der), Ok(Some(who)));
            der
        };
        let agent = issue("director/d1", &[], Duration::from_mins(1));
        let (_, read) = X509Certificate::from_der(&agent).expect("it is one");
        assert!(
            ours.has_issued(read.issuer().as_raw()) && !theirs.has_issued(read.issuer().as_raw())
        );
        let uses = read.extended_key_usage().expect("it is there").expect("it is there").value;
        assert!(uses.client_auth && !uses.server_auth);
        // It does not outlive its authority.
        let controller =
            issue("controller/c1", &["192.0.2.1", "c1.example"], Duration::from_hours(9));
        assert!(certificate::end_of(&controller).expect("it ends") <= ours.ends);
        let (_, read) = X509Certificate::from_der(&controller).expect("it is one");
        let uses = read.extended_key_usage().expect("it is there").expect("it is there").value;
        assert!(uses.client_auth && uses.server_auth);
        let names = read.subject_alternative_name().expect("it is there").expect("it is there");
        assert_eq!(names.value.general_names.len(), 3);
        // The key of one does not go with the certificate of another.
        let mixed = Authority::load(&directory.path().join("theirs.pem"), &key);
        assert!(matches!(mixed, Err(AuthorityError::AnotherKey)), "{mixed:?}");
    }

    #[test]
    fn a_request_must_be_signed_by_its_own_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let (ours, _) = authority(directory.path(), "ours");
        let good = request(&new_key().expect("made")).expect("made");
        let mut forged = good.clone();
        *forged.last_mut().expect("it has bytes") ^= 1;
        let who: Identity = "spiffe://fulcrum/director/d1".parse().expect("it is good");
        let issue = |bytes: &[u8]| {
            ours.issue(bytes, &who, &[], SystemTime::now(), Duration::from_mins(1)).is_ok()
        };
        let long = [good.as_slice(), &[0; MAX_REQUEST_BYTES]].concat();
        for (bytes, expected) in [(&good, true), (&forged, false), (&long, false), (&vec![], false)]
        {
            assert_eq!(issue(bytes), expected);
        }
    }

    #[test]
    fn pem_comes_back_as_it_was() {
        let der: Vec<u8> = (0..=255).collect();
        let read = CertificateDer::from_pem_slice(to_pem(&der).as_bytes()).expect("it is PEM");
        assert_eq!(read.as_ref(), der);
    }
}
