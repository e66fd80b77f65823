//! Adverts: bytes to struct and back.

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Vrid;
use fulcrum_model::resource::VrrpChecksum;

use crate::config::{Centiseconds, Seconds};
use crate::{AddressList, Discard, Family, checksum};

/// Bytes before the addresses.
const FIXED_BYTES: usize = 8;
/// Bytes of version 2's authentication data, which are there whatever the type (RFC 3768 §5.3).
const AUTHENTICATION_BYTES: usize = 8;
/// The only message type.
const TYPE_ADVERT: u8 = 1;
/// Position of the checksum.
const CHECKSUM: std::ops::Range<usize> = 6..8;

/// A VRRP advert (RFC 9568 §5.2, RFC 3768 §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert<'a> {
    /// Virtual router.
    pub vrid: Vrid,
    /// 1 to 255, or 0: the sender leaves.
    pub priority: u8,
    /// The virtual router's addresses.
    pub addresses: AddressList<'a>,
    /// What differs between versions.
    pub body: Body,
}

/// What differs between versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// RFC 3768.
    V2 {
        /// Time between adverts.
        interval: Seconds,
        /// Authentication.
        authentication: Authentication,
    },
    /// RFC 9568.
    V3 {
        /// Greatest time between adverts.
        interval: Centiseconds,
    },
}

/// Version 2's authentication (RFC 2338 §5.3.6).
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Type 0.
    None,
    /// Type 1: a password in plain text, padded with zeroes.
    Pass([u8; AUTHENTICATION_BYTES]),
    /// Another type.
    Other {
        /// Its number, 2 to 255.
        kind: u8,
    },
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Pass(_) => f.write_str("Pass(…)"),
            Self::Other { kind } => write!(f, "Other({kind})"),
        }
    }
}

impl Authentication {
    fn kind(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Pass(_) => 1,
            Self::Other { kind } => *kind,
        }
    }

    fn data(&self) -> [u8; AUTHENTICATION_BYTES] {
        match self {
            Self::Pass(data) => *data,
            Self::None | Self::Other { .. } => [0; AUTHENTICATION_BYTES],
        }
    }
}

impl<'a> Advert<'a> {
    /// Time between the sender's adverts.
    pub fn interval(&self) -> Duration {
        match self.body {
            Body::V2 { interval, .. } => interval.duration(),
            Body::V3 { interval } => interval.duration(),
        }
    }

    /// Bytes of the message itself: what follows it on the wire is a trailer or padding.
    pub fn length(&self) -> usize {
        length(&self.addresses, &self.body)
    }

    /// The bytes of the VRRP message, with its checksum. `form` matters to version 3 over IPv4
    /// alone.
    pub fn encode(&self, source: IpAddr, destination: IpAddr, form: VrrpChecksum) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length());
        append(&mut bytes, self.vrid, self.priority, &self.addresses, &self.body);
        let covered = bytes.len();
        seal(&mut bytes, covered, source, destination, form);
        bytes
    }

    /// Reads a VRRP message of the family of `source`. Reserved bits are ignored; version 3's
    /// checksum over IPv4 counts in both forms, and bytes after the message count whether the
    /// checksum covers them or not (keepalived's trailer: not over IPv4, but over IPv6).
    ///
    /// # Errors
    /// The first reason to discard it that does not depend on configuration.
    pub fn decode(message: &'a [u8], source: IpAddr, destination: IpAddr) -> Result<Self, Discard> {
        let family = Family::of(source);
        let first = *message.first().ok_or(Discard::Length)?;
        let version = first >> 4;
        // Version 2 is for IPv4 alone (RFC 3768 §1).
        if version != 3 && (version != 2 || family == Family::V6) {
            return Err(Discard::Version);
        }
        if first & 0x0f != TYPE_ADVERT {
            return Err(Discard::Type);
        }
        let fixed = message.first_chunk::<FIXED_BYTES>().ok_or(Discard::Length)?;
        let addresses_end = FIXED_BYTES + usize::from(fixed[3]) * family.address_bytes();
        let address_bytes = message.get(FIXED_BYTES..addresses_end).ok_or(Discard::Length)?;
        let authentication = if version == 2 {
            let data = message.get(addresses_end..).ok_or(Discard::Length)?;
            let data = data.first_chunk::<AUTHENTICATION_BYTES>().ok_or(Discard::Length)?;
            Some(Authentication::from_wire(fixed[4], *data))
        } else {
            None
        };
        let end = addresses_end + authentication.as_ref().map_or(0, |_| AUTHENTICATION_BYTES);
        let itself = message.get(..end).ok_or(Discard::Length)?;
        let is_right = |covered: &[u8]| {
            let is_plain = family == Family::V4 && checksum::plain(covered) == 0;
            let pseudo = || checksum::with_pseudo_header(covered, source, destination) == 0;
            is_plain || (version == 3 && pseudo())
        };
        if !is_right(itself) && !is_right(message) {
            return Err(Discard::Checksum);
        }
        let vrid = Vrid::new(u64::from(fixed[1])).map_err(|_| Discard::Vrid)?;
        let addresses =
            AddressList::from_wire(family, address_bytes).map_err(|_| Discard::NoAddress)?;
        if !addresses.begins_as_it_must() {
            return Err(Discard::FirstAddress);
        }
        let body = if let Some(authentication) = authentication {
            let interval = Seconds::new(fixed[5]).ok_or(Discard::ZeroInterval)?;
            Body::V2 { interval, authentication }
        } else {
            let centiseconds = u16::from_be_bytes([fixed[4] & 0x0f, fixed[5]]);
            let interval = Centiseconds::new(centiseconds).ok_or(Discard::ZeroInterval)?;
            Body::V3 { interval }
        };
        Ok(Self { vrid, priority: fixed[2], addresses, body })
    }
}

impl Body {
    /// The version on the wire.
    pub fn version(&self) -> u8 {
        match self {
            Self::V2 { .. } => 2,
            Self::V3 { .. } => 3,
        }
    }

    fn authentication_bytes(&self) -> usize {
        match self {
            Self::V2 { .. } => AUTHENTICATION_BYTES,
            Self::V3 { .. } => 0,
        }
    }
}

/// Bytes of a message of `addresses` and `body`.
pub(crate) fn length(addresses: &AddressList<'_>, body: &Body) -> usize {
    FIXED_BYTES + addresses.octets().len() + body.authentication_bytes()
}

/// Appends a message whose checksum is still zero.
pub(crate) fn append(
    bytes: &mut Vec<u8>,
    vrid: Vrid,
    priority: u8,
    addresses: &AddressList<'_>,
    body: &Body,
) {
    let version = body.version();
    let [high, low] = match body {
        Body::V2 { interval, authentication } => [authentication.kind(), interval.get()],
        Body::V3 { interval } => interval.get().to_be_bytes(),
    };
    let count = addresses.count();
    let fixed = [version << 4 | TYPE_ADVERT, vrid.get(), priority, count, high, low, 0, 0];
    bytes.extend_from_slice(&fixed);
    bytes.extend_from_slice(addresses.octets());
    if let Body::V2 { authentication, .. } = body {
        bytes.extend_from_slice(&authentication.data());
    }
}

/// Writes the checksum of a message, whose first `covered` bytes it covers over IPv4; over IPv6,
/// where the kernel writes it, it covers all of them.
pub(crate) fn seal(
    message: &mut [u8],
    covered: usize,
    source: IpAddr,
    destination: IpAddr,
    form: VrrpChecksum,
) {
    let is_version_2 = message.first().is_some_and(|first| first >> 4 == 2);
    let itself = message.get(..covered).unwrap_or(message);
    let sum = match (Family::of(source), form) {
        (Family::V6, _) => checksum::with_pseudo_header(message, source, destination),
        (Family::V4, VrrpChecksum::Deployed) if !is_version_2 => {
            checksum::with_pseudo_header(itself, source, destination)
        }
        (Family::V4, VrrpChecksum::Deployed | VrrpChecksum::Rfc9568) => checksum::plain(itself),
    };
    if let Some(field) = message.get_mut(CHECKSUM) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

impl Authentication {
    fn from_wire(kind: u8, data: [u8; AUTHENTICATION_BYTES]) -> Self {
        match kind {
            0 => Self::None,
            1 => Self::Pass(data),
            kind => Self::Other { kind },
        }
    }
}

#[cfg(test)]
mod tests;
