//! Who calls, as its certificate says.

use std::time::SystemTime;

use fulcrum_runtime::identity::{Identity, IdentityError};
use fulcrum_runtime::listener::{Credentials, Peer};

/// Stands for a caller without a certificate, as over plain text.
const ANONYMOUS: &str = "anonymous";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody over plain text, which is for loopback and where it was allowed.
    PlainText,
    /// Somebody without a certificate, who wants one.
    Nobody,
    /// The holder of a certificate without an identity of this trust domain.
    Unnamed {
        /// What the certificate names.
        holder: Option<String>,
        /// Why it has no identity, where one was meant.
        fault: Option<String>,
        /// When the certificate ends.
        ends: SystemTime,
    },
    /// The holder of a certificate with an identity.
    Named {
        /// It.
        identity: Identity,
        /// When the certificate ends.
        ends: SystemTime,
        /// The certificate's issuer, in DER.
        issuer: Vec<u8>,
        /// DNS names and IP addresses that it bears.
        addresses: Vec<String>,
    },
}

impl Caller {
    /// By what a connection's other end showed.
    pub fn of(peer: Option<&Peer>, trust_domain: &str) -> Self {
        let certificate = match peer.map(|peer| &peer.credentials) {
            Some(Credentials::PlainText) => return Self::PlainText,
            None | Some(Credentials::NoCertificate) => return Self::Nobody,
            Some(Credentials::Certificate(certificate)) => certificate,
        };
        let (holder, ends) = (certificate.holder.clone(), certificate.ends);
        let fault = match &certificate.identity {
            Ok(Some(identity)) if identity.trust_domain == trust_domain => {
                let (identity, issuer) = (identity.clone(), certificate.issuer.clone());
                let addresses = certificate.addresses.clone();
                return Self::Named { identity, ends, issuer, addresses };
            }
            Ok(Some(identity)) => Some(format!(
                "{identity} is of another trust domain than this cluster, which is of {trust_domain}"
            )),
            Ok(None) => None,
            Err(error @ (IdentityError::Several { .. } | IdentityError::Malformed { .. })) => {
                Some(error.to_string())
            }
        };
        Self::Unnamed { holder, fault, ends }
    }

    /// Its identity, if it has one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Named { identity, .. } => Some(identity),
            Self::PlainText | Self::Nobody | Self::Unnamed { .. } => None,
        }
    }

    /// As the history names it: the identity's URI, or what the certificate names, or `anonymous`.
    pub fn who(&self) -> String {
        match self {
            Self::Named { identity, .. } => identity.to_string(),
            Self::Unnamed { holder: Some(holder), .. } => holder.clone(),
            Self::PlainText | Self::Nobody | Self::Unnamed { holder: None, .. } => {
                ANONYMOUS.to_owned()
            }
        }
    }

    /// When its certificate ends.
    pub fn ends(&self) -> Option<SystemTime> {
        match self {
            Self::Named { ends, .. } | Self::Unnamed { ends, .. } => Some(*ends),
            Self::PlainText | Self::Nobody => None,
        }
    }
}
