//! Adverts: bytes to struct and back.

use std::net::Ipv4Addr;
use std::time::Duration;

use fulcrum_model::Vrid;
use fulcrum_model::resource::VrrpChecksum;

use crate::config::{Centiseconds, Seconds};
use crate::{AddressList, Discard, checksum};

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
pub struct Advert {
    /// Virtual router.
    pub vrid: Vrid,
    /// 1 to 255, or 0: the sender leaves.
    pub priority: u8,
    /// The virtual router's addresses.
    pub addresses: AddressList,
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

impl Advert {
    /// Time between the sender's adverts.
    pub fn interval(&self) -> Duration {
        match self.body {
            Body::V2 { interval, .. } => interval.duration(),
            Body::V3 { interval } => interval.duration(),
        }
    }

    /// The bytes of the VRRP message, with its checksum. `form` matters to version 3 alone.
    pub fn encode(&self, source: Ipv4Addr, destination: Ipv4Addr, form: VrrpChecksum) -> Vec<u8> {
        let count = self.addresses.count();
        let mut bytes = match &self.body {
            Body::V2 { interval, authentication } => vec![
                2 << 4 | TYPE_ADVERT,
                self.vrid.get(),
                self.priority,
                count,
                authentication.kind(),
                interval.get(),
                0,
                0,
            ],
            Body::V3 { interval } => {
                let [high, low] = interval.get().to_be_bytes();
                vec![3 << 4 | TYPE_ADVERT, self.vrid.get(), self.priority, count, high, low, 0, 0]
            }
        };
        for address in self.addresses.as_slice() {
            bytes.extend_from_slice(&address.octets());
        }
        let sum = match &self.body {
            Body::V2 { authentication, .. } => {
                bytes.extend_from_slice(&authentication.data());
                checksum::plain(&bytes)
            }
            Body::V3 { .. } => match form {
                VrrpChecksum::Deployed => checksum::with_pseudo_header(&bytes, source, destination),
                VrrpChecksum::Rfc9568 => checksum::plain(&bytes),
            },
        };
        bytes[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads a VRRP message. Reserved bits are ignored; version 3's checksum counts in both forms,
    /// and bytes after the message count when the checksum covers them (RFC 3768 §7.1 asks for the
    /// whole message at least).
    ///
    /// # Errors
    /// The first reason to discard it that does not depend on configuration.
    pub fn decode(
        message: &[u8],
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<Self, Discard> {
        let first = *message.first().ok_or(Discard::Length)?;
        let version = first >> 4;
        if version != 2 && version != 3 {
            return Err(Discard::Version);
        }
        if first & 0x0f != TYPE_ADVERT {
            return Err(Discard::Type);
        }
        let fixed = message.first_chunk::<FIXED_BYTES>().ok_or(Discard::Length)?;
        let addresses_end = FIXED_BYTES + usize::from(fixed[3]) * 4;
        let address_bytes = message.get(FIXED_BYTES..addresses_end).ok_or(Discard::Length)?;
        let is_whole = if version == 2 {
            let data = message.get(addresses_end..).ok_or(Discard::Length)?;
            let data = data.first_chunk::<AUTHENTICATION_BYTES>().ok_or(Discard::Length)?;
            (checksum::plain(message) == 0).then(|| Authentication::from_wire(fixed[4], *data))
        } else {
            let is_right = checksum::plain(message) == 0
                || checksum::with_pseudo_header(message, source, destination) == 0;
            is_right.then_some(Authentication::None)
        };
        let authentication = is_whole.ok_or(Discard::Checksum)?;
        let vrid = Vrid::new(u64::from(fixed[1])).map_err(|_| Discard::Vrid)?;
        let addresses = address_bytes
            .chunks_exact(4)
            .map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
            .collect();
        let addresses = AddressList::new(addresses).map_err(|_| Discard::NoAddress)?;
        let body = if version == 2 {
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
