//! Numbers with a range.

use std::fmt;

/// A number outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {min} to {max}, not {found}")]
pub struct RangeError {
    /// What the number is.
    pub what: &'static str,
    /// Smallest value allowed.
    pub min: u64,
    /// Greatest value allowed.
    pub max: u64,
    /// The value found.
    pub found: u64,
}

pub(crate) fn in_range(
    what: &'static str,
    min: u64,
    max: u64,
    found: u64,
) -> Result<u64, RangeError> {
    if (min..=max).contains(&found) { Ok(found) } else { Err(RangeError { what, min, max, found }) }
}

/// Virtual router identifier, 1 to 255 (RFC 9568 §5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(u8);

impl Vrid {
    /// # Errors
    /// [`RangeError`] outside 1 to 255.
    pub fn new(value: u64) -> Result<Self, RangeError> {
        in_range("a VRID", 1, 255, value).map(|v| Self(u8::try_from(v).unwrap_or(u8::MAX)))
    }

    /// As on the wire.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// VRRP priority of a participating router, 1 to 255; 255 is the address owner (RFC 9568 §5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The address owner's.
    pub const OWNER: Self = Self(255);
    /// The highest of a router that does not own the address.
    pub const HIGHEST: Self = Self(254);
    /// Of one that is to rank below [`Self::HIGHEST`].
    pub const BELOW_HIGHEST: Self = Self(253);

    /// # Errors
    /// [`RangeError`] outside 1 to 255.
    pub fn new(value: u64) -> Result<Self, RangeError> {
        in_range("a priority", 1, 255, value).map(|v| Self(u8::try_from(v).unwrap_or(u8::MAX)))
    }

    /// As on the wire.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A real server's relative share of new connections, 0 to 65535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Takes no new connections.
    pub const ZERO: Self = Self(0);
    /// The default.
    pub const ONE: Self = Self(1);

    /// # Errors
    /// [`RangeError`] above 65535.
    pub fn new(value: u64) -> Result<Self, RangeError> {
        in_range("a weight", 0, 65535, value).map(|v| Self(u16::try_from(v).unwrap_or(u16::MAX)))
    }

    /// As a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// A TCP or UDP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(u16);

impl Port {
    /// # Errors
    /// [`RangeError`] outside 1 to 65535.
    pub fn new(value: u64) -> Result<Self, RangeError> {
        in_range("a port", 1, 65535, value).map(|v| Self(u16::try_from(v).unwrap_or(u16::MAX)))
    }

    /// As a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// The intent's version: the Raft index of the change. 0 is the empty intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

macro_rules! display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display!(Vrid, Priority, Weight, Port, Revision);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_at_their_edges() {
        assert!(Vrid::new(0).is_err() && Vrid::new(1).is_ok());
        assert!(Vrid::new(255).is_ok() && Vrid::new(256).is_err());
        assert!(Port::new(0).is_err() && Port::new(65535).is_ok() && Port::new(65536).is_err());
        assert!(Weight::new(0).is_ok() && Weight::new(65536).is_err());
        let error = Priority::new(300).expect_err("300 is out of range");
        assert_eq!(error.to_string(), "a priority is 1 to 255, not 300");
    }
}
