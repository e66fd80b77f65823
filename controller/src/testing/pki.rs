//! Authorities and certificates of the tests, as files.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fulcrum_runtime::tls::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// An authority with a directory of its own.
pub(crate) struct Pki {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a writable directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority of {}", directory.display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it signs");
        let pki = Self { directory: directory.to_owned(), authority };
        pki.write("ca.pem", &pki.authority.pem());
        pki.write("ca.key", &pki.authority.key().serialize_pem());
        pki
    }

    /// The authority's private key.
    pub(crate) fn ca_key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// A certificate for 127.0.0.1 that names `spiffe://fulcrum/PATH`, such as `controller/c1`.
    pub(crate) fn issue(&self, path: &str) -> TlsFiles {
        self.made(path, &[&format!("spiffe://fulcrum/{path}")])
    }

    /// A certificate without identity.
    pub(crate) fn unnamed(&self, holder: &str) -> TlsFiles {
        self.made(holder, &[])
    }

    /// A certificate with these URIs.
    pub(crate) fn made(&self, holder: &str, uris: &[&str]) -> TlsFiles {
        self.until(holder, uris, SystemTime::now() + Duration::from_hours(1))
    }

    /// A certificate as [`Self::issue`] gives it that ended a while ago: clocks of certificates count seconds.
    pub(crate) fn ended(&self, path: &str) -> TlsFiles {
        let ended = SystemTime::now() - Duration::from_secs(10);
        self.until(path, &[&format!("spiffe://fulcrum/{path}")], ended)
    }

    fn until(&self, holder: &str, uris: &[&str], ends: SystemTime) -> TlsFiles {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        params.distinguished_name.push(DnType::CommonName, holder);
        for uri in uris {
            let uri = (*uri).try_into().expect("plain text");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        // Not long ago, so that nobody finds it worth renewing.
        params.not_before = (SystemTime::now() - Duration::from_mins(1)).into();
        params.not_after = ends.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("it signs");
        let name = holder.replace('/', "-");
        TlsFiles {
            ca: self.directory.join("ca.pem"),
            cert: self.write(&format!("{name}.pem"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    }
}
