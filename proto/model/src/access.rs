//! Who may do what, and who may get a certificate.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Name, NameError};

/// What an operator may do. Each holds what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessRole {
    /// Read, but for secrets.
    Viewer,
    /// Write orders of the day, and labels.
    Operator,
    /// Write everything.
    Admin,
}

impl AccessRole {
    /// As manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which operators a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operators {
    /// All of them.
    All,
    /// These.
    Named(BTreeSet<Name>),
}

impl Operators {
    /// Whether the operator of that name is among them.
    pub fn holds(&self, operator: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name.as_str() == operator),
        }
    }
}

/// What operators may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Which ones.
    pub operators: Operators,
    /// What they may do.
    pub role: AccessRole,
    /// Where they may write; everywhere when empty.
    pub sites: BTreeSet<Name>,
}

/// What a certificate's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A controller.
    Controller,
    /// A director's agent.
    Director,
    /// A real server's agent.
    RealServer,
    /// A person, or a program that acts for one.
    Operator,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Controller, Self::Director, Self::RealServer, Self::Operator];

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

/// Whose certificate: `director/d1`.
///
/// ```
/// use fulcrum_model::access::Holder;
/// assert!("director/d1".parse::<Holder>().is_ok());
/// assert!("directors/d1".parse::<Holder>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// What it is.
    pub part: Part,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part.as_str(), self.name)
    }
}

/// A text names no holder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// It does not begin with a part.
    #[error("write controller/NAME, director/NAME, realserver/NAME or operator/NAME")]
    Part,
    /// What follows is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for Holder {
    type Err = HolderError;

    /// # Errors
    /// [`HolderError`] tells what to write.
    fn from_str(text: &str) -> Result<Self, HolderError> {
        let (part, name) = text.split_once('/').ok_or(HolderError::Part)?;
        let part = Part::ALL.into_iter().find(|known| known.as_str() == part);
        Ok(Self { part: part.ok_or(HolderError::Part)?, name: name.parse()? })
    }
}

/// A certificate that may be asked for, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Whose certificate.
    pub identity: Holder,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// When it ends, since 1970.
    pub expires: Duration,
    /// DNS names and addresses that a controller's certificate is to bear.
    pub addresses: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_a_part_and_a_name() {
        for good in ["controller/c1", "director/d1", "realserver/web-1.example", "operator/anna"] {
            assert_eq!(
                good.parse::<Holder>().map(|holder| holder.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in
            ["", "d1", "director", "director/", "director/D1", "director/d1/x", "root/d1", "/d1"]
        {
            assert!(bad.parse::<Holder>().is_err(), "{bad:?}");
        }
    }
}
