//! Names of resources and agents.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A resource's or agent's name: 1 to 63 of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter or digit.
/// A copy shares the text.
///
/// ```
/// use fulcrum_model::Name;
/// assert!("web-1.example".parse::<Name>().is_ok());
/// assert!("Web_1".parse::<Name>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Longest name in bytes, as a DNS label.
const MAX_BYTES: usize = 63;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// # Errors
    /// [`NameError`] tells the first rule that the text breaks.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else {
            return Err(NameError::Empty);
        };
        if text.len() > MAX_BYTES {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if let Some(found) = text
            .chars()
            .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-' || *c == '.'))
        {
            return Err(NameError::Character { found });
        }
        if !is_alphanumeric(first) || !is_alphanumeric(last) {
            return Err(NameError::Edge);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is required")]
    Empty,
    /// Longer than 63 bytes.
    #[error("a name has at most 63 bytes, this one has {bytes}: shorten it")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that names may not hold.
    #[error("a name holds only a-z, 0-9, '-' and '.', not {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// Begins or ends with '-' or '.'.
    #[error("a name begins and ends with a letter or digit")]
    Edge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        let cases: [(&str, Result<(), NameError>); 8] = [
            ("a", Ok(())),
            ("web-1.example", Ok(())),
            ("", Err(NameError::Empty)),
            ("Web", Err(NameError::Character { found: 'W' })),
            ("a_b", Err(NameError::Character { found: '_' })),
            ("-a", Err(NameError::Edge)),
            ("a.", Err(NameError::Edge)),
            ("ä", Err(NameError::Character { found: 'ä' })),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Name>().map(|_| ()), expected, "{text:?}");
        }
        let long = "a".repeat(64);
        assert_eq!(long.parse::<Name>(), Err(NameError::TooLong { bytes: 64 }));
    }
}
