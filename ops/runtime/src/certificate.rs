//! When certificates end.

use std::path::Path;
use std::time::{Duration, SystemTime};

use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
        .filter_map(|pem| end_of(&pem.contents).ok())
        .min()
        .ok_or_else(no_certificate)
}

/// When a certificate ends, by its `notAfter` (RFC 5280 §4.1.2.5). `der` is its DER form, as a peer presents it.
///
/// # Errors
/// It is no certificate, in words.
pub fn end_of(der: &[u8]) -> Result<SystemTime, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    // One from before 1970 has ended just as well then.
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(|| "it ends after all time".to_owned())
}

/// From when and until when a certificate in DER is good.
///
/// # Errors
/// As [`end_of`].
pub fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let begins = u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0);
    Ok((SystemTime::UNIX_EPOCH + Duration::from_secs(begins), end_of(der)?))
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
