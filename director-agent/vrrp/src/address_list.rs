//! The addresses of a virtual router.

use std::net::{IpAddr, Ipv6Addr};

use crate::Family;
use crate::family::is_link_local;

/// One to 255 addresses of one family, in the order in which they are advertised (RFC 9568 §5.2.5,
/// §5.2.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList {
    family: Family,
    addresses: Vec<IpAddr>,
}

/// Why a list is no [`AddressList`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// Too few or too many.
    #[error("a virtual router has 1 to 255 addresses, not {found}")]
    Count {
        /// How many were given.
        found: usize,
    },
    /// IPv4 and IPv6 together.
    #[error(
        "{found} is not of the family of {first}: give each family a virtual router of its own"
    )]
    Families {
        /// The first address.
        first: IpAddr,
        /// The first one of another family.
        found: IpAddr,
    },
}

impl AddressList {
    /// Most addresses that an advert can count.
    pub const MAX: usize = 255;

    /// # Errors
    /// [`AddressListError`] outside 1 to 255 addresses, or when they are of both families.
    pub fn new(addresses: Vec<IpAddr>) -> Result<Self, AddressListError> {
        let count = AddressListError::Count { found: addresses.len() };
        let first = match addresses.first() {
            Some(first) if addresses.len() <= Self::MAX => *first,
            Some(_) | None => return Err(count),
        };
        let family = Family::of(first);
        if let Some(found) = addresses.iter().find(|address| Family::of(**address) != family) {
            return Err(AddressListError::Families { first, found: *found });
        }
        Ok(Self { family, addresses })
    }

    /// From the wire: whole addresses of one family.
    ///
    /// # Errors
    /// [`AddressListError::Count`] outside 1 to 255 addresses.
    pub(crate) fn from_wire(family: Family, bytes: &[u8]) -> Result<Self, AddressListError> {
        let address = |octets: &[u8]| match family {
            Family::V4 => <[u8; 4]>::try_from(octets).map(IpAddr::from).ok(),
            Family::V6 => <[u8; 16]>::try_from(octets).map(Ipv6Addr::from).map(IpAddr::V6).ok(),
        };
        Self::new(bytes.chunks_exact(family.address_bytes()).filter_map(address).collect())
    }

    /// The family of all of them.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The addresses in order.
    pub fn as_slice(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// How many there are, as the wire counts them.
    pub fn count(&self) -> u8 {
        u8::try_from(self.addresses.len()).unwrap_or(u8::MAX)
    }

    /// Whether it may be advertised: over IPv6 the first address is link-local (RFC 9568 §5.2.9).
    pub fn begins_as_it_must(&self) -> bool {
        self.family == Family::V4 || self.addresses.first().is_some_and(|a| is_link_local(*a))
    }

    /// Whether both hold the same addresses in any order: the order on the wire means nothing.
    pub fn has_same_members(&self, other: &Self) -> bool {
        let sorted = |list: &Self| {
            let mut addresses = list.addresses.clone();
            addresses.sort_unstable();
            addresses
        };
        // Equal lists, the usual case, need no copies.
        self.addresses == other.addresses || sorted(self) == sorted(other)
    }
}
