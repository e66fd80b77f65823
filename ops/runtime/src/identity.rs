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
    Some(plain(name)).filter(|plain| !plain.is_empty())
}

/// A name that others made, without control characters and of bounded length.
pub fn plain(name: &str) -> String {
    let mut plain = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if plain.len() + letter.len_utf8() > MAX_BYTES {
            break;
        }
        plain.push(letter);
    }
    plain
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

    #[test]
    fn a_plain_name_is_short_and_of_one_line() {
        let (long, wide) = ("x".repeat(10_000), "\u{e4}".repeat(200));
        let cases = [
            ("anna", "anna"),
            ("an\u{1b}[2J\nna", "an[2Jna"),
            (&long, &long[..255]),
            // No half of a letter.
            (&wide, &wide[..254]),
            ("\r\n", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(plain(name), expected);
        }
    }
}
