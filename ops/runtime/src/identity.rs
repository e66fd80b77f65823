//! Who a certificate was made for.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Longest name in bytes; more of it is cut off.
const MAX_BYTES: usize = 255;

/// The common name of a certificate in DER, or else its first DNS name; none when it has neither or cannot be read. It is text of a
/// verified certificate, but still made by others: control characters are left out and its length is bounded.
pub fn holder(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let dns = || {
        let names = certificate.subject_alternative_name().ok().flatten()?;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            // Of x509-parser's enum; no other form is a name that people know.
            _ => None,
        })
    };
    let name = common.filter(|name| !name.is_empty()).or_else(dns)?;
    let mut plain: String = name.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=MAX_BYTES).rev().find(|end| plain.is_char_boundary(*end)).unwrap_or(0);
    plain.truncate(end);
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(common: Option<&str>, dns: &[&str]) -> Vec<u8> {
        let names: Vec<String> = dns.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("good names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(rcgen::DnType::CommonName, common);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn a_certificate_names_its_holder() {
        let long = "x".repeat(300);
        let cases = [
            (made(Some("anna"), &["c1"]), Some("anna".to_owned())),
            (made(None, &["c1", "c2"]), Some("c1".to_owned())),
            (made(Some(""), &["c1"]), Some("c1".to_owned())),
            (made(Some("an\nna"), &[]), Some("anna".to_owned())),
            (made(Some(&long), &[]), Some("x".repeat(255))),
            (made(None, &[]), None),
            (b"no certificate".to_vec(), None),
        ];
        for (der, expected) in cases {
            assert_eq!(holder(&der), expected);
        }
    }
}
