//! When certificates end.

use std::path::Path;
use std::time::{Duration, SystemTime};

use x509_parser::pem::Pem;

use crate::tls::{self, TlsError, TlsFiles};

/// When the first of a file's certificates to end does so.
///
/// # Errors
/// [`TlsError`] names the file that cannot be read, or holds no certificate.
pub fn ends_at(path: &Path) -> Result<SystemTime, TlsError> {
    let bytes = tls::read("certificate", path, "CERTIFICATE")?;
    let no_certificate =
        || TlsError::Content { what: "certificate", path: path.to_owned(), label: "CERTIFICATE" };
    Pem::iter_from_buffer(&bytes)
        .filter_map(Result::ok)
        .filter_map(|pem| {
            let certificate = pem.parse_x509().ok()?;
            // One from before 1970 has ended just as well then.
            let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        })
        .min()
        .ok_or_else(no_certificate)
}

/// The files of a TLS identity that hold certificates, with when each ends.
pub fn of_identity(files: &TlsFiles) -> Vec<(&Path, Result<SystemTime, TlsError>)> {
    let paths = [files.ca.as_path(), files.cert.as_path()];
    paths.map(|path| (path, ends_at(path))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_end_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cert.pem");
        let made = |year: i32| {
            let mut params = rcgen::CertificateParams::new(vec!["c1".to_owned()]).expect("a name");
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("signed").pem()
        };
        std::fs::write(&path, made(2035) + &made(2031)).expect("written");
        let ends = ends_at(&path).expect("a certificate");
        assert_eq!(ends, SystemTime::UNIX_EPOCH + Duration::from_hours(534_720));
        std::fs::write(&path, "nothing").expect("written");
        assert!(ends_at(&path).is_err());
        assert!(ends_at(&directory.path().join("absent")).is_err());
    }
}
