//! Who a certificate was made for.
//!
//! Programs and people are named by a URI among a certificate's subject alternative names, as SPIFFE IDs are
//! (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>): `spiffe://TRUST-DOMAIN/director/d1`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Longest name in bytes; more of it is cut off.
const MAX_BYTES: usize = 255;
/// What every identity begins with.
const SCHEME: &str = "spiffe://";
/// Longest name of a program or a person in bytes, as of the intent's names.
const MAX_NAME_BYTES: usize = 63;
/// Longest trust domain in bytes (SPIFFE-ID, section 2.1).
const MAX_DOMAIN_BYTES: usize = 255;

/// What a certificate's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// A controller.
    Controller,
    /// A director's agent.
    Director,
    /// A real server's agent.
    RealServer,
    /// A person, or a program that acts for one.
    Operator,
}

impl Program {
    const ALL: [Self; 4] = [Self::Controller, Self::Director, Self::RealServer, Self::Operator];

    /// As identities spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Director => "director",
            Self::RealServer => "realserver",
            Self::Operator => "operator",
        }
    }
}

/// Who a certificate was made for: `spiffe://fulcrum/director/d1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Whose word it is: identities of different domains have nothing in common.
    pub trust_domain: String,
    /// What the holder is.
    pub program: Program,
    /// The holder's name, in the spelling of the intent's names.
    pub name: String,
}

impl Identity {
    /// Without the trust domain: `director/d1`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.program.as_str(), self.name)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.trust_domain, self.program.as_str(), self.name)
    }
}

/// A certificate's identity cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It has more than one.
    #[error("its certificate has {count} identities, and must have one")]
    Several {
        /// How many.
        count: usize,
    },
    /// It is spelled in another way.
    #[error(
        "its certificate's identity {found:?} is not spiffe://TRUST-DOMAIN/PROGRAM/NAME, PROGRAM being controller, director, realserver \
         or operator"
    )]
    Malformed {
        /// The URI, without control characters and of bounded length.
        found: String,
    },
}

impl FromStr for Identity {
    type Err = IdentityError;

    /// Nothing but the one spelling is taken: no port, escape, query or second slash.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`].
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parsed = || {
            let (trust_domain, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
            let (program, name) = path.split_once('/')?;
            let program = Program::ALL.into_iter().find(|known| known.as_str() == program)?;
            (is_trust_domain(trust_domain) && is_name(name)).then(|| Self {
                trust_domain: trust_domain.to_owned(),
                program,
                name: name.to_owned(),
            })
        };
        parsed().ok_or_else(|| IdentityError::Malformed { found: plain(text) })
    }
}

/// Whether a text may be a trust domain: a-z, 0-9, '.', '-' and '_'.
pub fn is_trust_domain(text: &str) -> bool {
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=MAX_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(is_good)
}

/// As the intent's names: 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit.
fn is_name(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_edge = |byte: Option<u8>| byte.is_some_and(is_alphanumeric);
    text.len() <= MAX_NAME_BYTES
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().last())
        && text.bytes().all(|byte| is_alphanumeric(byte) || b"-.".contains(&byte))
}

/// The identity of a certificate in DER; none when it has no URI of that scheme, or cannot be read.
///
/// # Errors
/// [`IdentityError`] when it has several, or one that is spelled in another way.
pub fn identity(der: &[u8]) -> Result<Option<Identity>, IdentityError> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Ok(None) };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Ok(None) };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        // Of x509-parser's enum; no other form is an identity.
        _ => None,
    });
    // The scheme of a URI has no case (RFC 3986 section 3.1): what only differs in that is malformed, and not another thing.
    let is_ours = |uri: &&str| {
        uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    };
    let found: Vec<&str> = uris.filter(is_ours).collect();
    match found.as_slice() {
        [] => Ok(None),
        [uri] => uri.parse().map(Some),
        several => Err(IdentityError::Several { count: several.len() }),
    }
}

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

/// The DNS names and IP addresses among a certificate's subject alternative names.
pub fn addresses(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(plain(name)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
            _ => None,
        },
        // Of x509-parser's enum; no other form is where a server is reached.
        _ => None,
    };
    names.value.general_names.iter().filter_map(address).collect()
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

    fn with_uris(uris: &[&str]) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        for uri in uris {
            let uri = (*uri).try_into().expect("plain text");
            params.subject_alt_names.push(rcgen::SanType::URI(uri));
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn an_identity_is_read_strictly() {
        let long = "x".repeat(64);
        let good = [
            "fulcrum/controller/c1",
            "example.org/director/d-1",
            "a_b/realserver/web1.x",
            "x/operator/anna",
        ];
        for path in good {
            let uri = format!("spiffe://{path}");
            assert_eq!(uri.parse::<Identity>().map(|it| it.to_string()), Ok(uri));
        }
        let bad = [
            "",
            "spiffe:",
            "spiffe://",
            "spiffe://fulcrum",
            "spiffe://fulcrum/c1",
            "spiffe:///director/d1",
            "spiffe://fulcrum/director/",
            "spiffe://fulcrum/director/d1/",
            "spiffe://fulcrum/director/d1/x",
            "spiffe://fulcrum//director/d1",
            "spiffe://fulcrum/Director/d1",
            "spiffe://fulcrum/director/D1",
            "spiffe://Fulcrum/director/d1",
            "spiffe://fulcrum:1/director/d1",
            "spiffe://u@fulcrum/director/d1",
            "spiffe://fulcrum/director/d1?x",
            "spiffe://fulcrum/director/d1#x",
            "spiffe://fulcrum/director/d%31",
            "spiffe://fulcrum/director/-d1",
            "spiffe://fulcrum/director/d 1",
            "SPIFFE://fulcrum/director/d1",
            "https://fulcrum/director/d1",
            "spiffe://fulcrum/root/d1",
            &format!("spiffe://fulcrum/director/{long}"),
        ];
        for uri in bad {
            assert!(uri.parse::<Identity>().is_err(), "{uri:?}");
        }
    }

    #[test]
    fn a_certificate_has_one_identity_or_none() {
        let d1: Identity = "spiffe://fulcrum/director/d1".parse().expect("it is good");
        let malformed = |found: &str| Err(IdentityError::Malformed { found: found.to_owned() });
        let cases = [
            (with_uris(&[]), Ok(None)),
            (with_uris(&["https://example.org/x"]), Ok(None)),
            (with_uris(&["spiffe://fulcrum/director/d1"]), Ok(Some(d1.clone()))),
            (with_uris(&["https://example.org/x", "spiffe://fulcrum/director/d1"]), Ok(Some(d1))),
            (
                with_uris(&["spiffe://fulcrum/director/d1", "spiffe://fulcrum/controller/c1"]),
                Err(IdentityError::Several { count: 2 }),
            ),
            (with_uris(&["spiffe://fulcrum/d1"]), malformed("spiffe://fulcrum/d1")),
            (
                with_uris(&["Spiffe://fulcrum/director/d1"]),
                malformed("Spiffe://fulcrum/director/d1"),
            ),
            (b"no certificate".to_vec(), Ok(None)),
        ];
        for (der, expected) in cases {
            assert_eq!(identity(&der), expected);
        }
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
