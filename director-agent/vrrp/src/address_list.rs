//! The addresses of a virtual router.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Family;
use crate::family::{self, is_link_local};

/// Most addresses that an advert can count.
const MOST: usize = 255;

/// One to 255 addresses of one family, in the order in which they are advertised (RFC 9568 §5.2.5,
/// §5.2.9). That of a received advert borrows the packet, so that reading one allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressList<'a> {
    family: Family,
    /// As on the wire.
    octets: Cow<'a, [u8]>,
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

impl AddressList<'static> {
    /// # Errors
    /// [`AddressListError`] outside 1 to 255 addresses, or when they are of both families.
    pub fn new(addresses: Vec<IpAddr>) -> Result<Self, AddressListError> {
        let count = AddressListError::Count { found: addresses.len() };
        let first = match addresses.first() {
            Some(first) if addresses.len() <= MOST => *first,
            Some(_) | None => return Err(count),
        };
        let family = Family::of(first);
        if let Some(found) = addresses.iter().find(|address| Family::of(**address) != family) {
            return Err(AddressListError::Families { first, found: *found });
        }
        let mut octets = Vec::with_capacity(addresses.len() * family.address_bytes());
        for address in addresses {
            family::append(&mut octets, address);
        }
        Ok(Self { family, octets: Cow::Owned(octets) })
    }
}

impl<'a> AddressList<'a> {
    /// Most addresses that an advert can count.
    pub const MAX: usize = MOST;

    /// From the wire: whole addresses of one family.
    ///
    /// # Errors
    /// [`AddressListError::Count`] outside 1 to 255 addresses.
    pub(crate) fn from_wire(family: Family, octets: &'a [u8]) -> Result<Self, AddressListError> {
        match octets.len() / family.address_bytes() {
            1..=MOST => Ok(Self { family, octets: Cow::Borrowed(octets) }),
            found => Err(AddressListError::Count { found }),
        }
    }

    /// The family of all of them.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.octets.chunks_exact(self.family.address_bytes()).filter_map(address)
    }

    /// How many there are, as the wire counts them.
    pub fn count(&self) -> u8 {
        u8::try_from(self.octets.len() / self.family.address_bytes()).unwrap_or(u8::MAX)
    }

    /// As on the wire.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether it may be advertised: over IPv6 the first address is link-local (RFC 9568 §5.2.9).
    pub fn begins_as_it_must(&self) -> bool {
        self.family == Family::V4 || self.iter().next().is_some_and(is_link_local)
    }

    /// Whether both hold the same addresses in any order: the order on the wire means nothing.
    pub fn has_same_members(&self, other: &AddressList<'_>) -> bool {
        // Equal lists, the usual case, need no sorting.
        self == other || (self.count() == other.count() && self.sorted() == other.sorted())
    }

    /// In ascending order, with zeroes at the end: on the stack, because adverts of any order come
    /// from the network.
    fn sorted(&self) -> [IpAddr; MOST] {
        let mut sorted = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MOST];
        let mut length = 0;
        for (slot, address) in sorted.iter_mut().zip(self.iter()) {
            *slot = address;
            length += 1;
        }
        sorted[..length].sort_unstable();
        sorted
    }
}

impl std::fmt::Debug for AddressList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into()).ok()
}
