//! The addresses of a virtual router.

use std::net::Ipv4Addr;

/// One to 255 addresses, in the order in which they are advertised (RFC 9568 §5.2.5, §5.2.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList(Vec<Ipv4Addr>);

/// Why a list is no [`AddressList`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a virtual router has 1 to 255 addresses, not {found}")]
pub struct AddressListError {
    /// How many were given.
    pub found: usize,
}

impl AddressList {
    /// Most addresses that an advert can count.
    pub const MAX: usize = 255;

    /// # Errors
    /// [`AddressListError`] outside 1 to 255 addresses.
    pub fn new(addresses: Vec<Ipv4Addr>) -> Result<Self, AddressListError> {
        if (1..=Self::MAX).contains(&addresses.len()) {
            Ok(Self(addresses))
        } else {
            Err(AddressListError { found: addresses.len() })
        }
    }

    /// The addresses in order.
    pub fn as_slice(&self) -> &[Ipv4Addr] {
        &self.0
    }

    /// How many there are, as the wire counts them.
    pub fn count(&self) -> u8 {
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }

    /// Whether both hold the same addresses in any order: the order on the wire means nothing.
    pub fn has_same_members(&self, other: &Self) -> bool {
        let sorted = |list: &Self| {
            let mut addresses = list.0.clone();
            addresses.sort_unstable();
            addresses
        };
        sorted(self) == sorted(other)
    }
}
