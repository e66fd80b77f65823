//! Addresses with a prefix length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address with its prefix length, such as a VIP: `192.168.1.150/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix_length: u8,
}

impl Cidr {
    /// # Errors
    /// [`CidrError::PrefixLength`] above 32 for IPv4 or 128 for IPv6.
    pub fn new(address: IpAddr, prefix_length: u8) -> Result<Self, CidrError> {
        let max = host_prefix_length(address);
        if prefix_length > max {
            return Err(CidrError::PrefixLength { max, found: prefix_length.to_string() });
        }
        Ok(Self { address, prefix_length })
    }

    /// The address alone, as /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix_length: host_prefix_length(address) }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    pub fn prefix_length(&self) -> u8 {
        self.prefix_length
    }
}

fn host_prefix_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    ///
    /// # Errors
    /// [`CidrError`] tells which part is wrong.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| CidrError::Address { found: address.to_owned() })?;
        let max = host_prefix_length(address);
        match prefix {
            None => Ok(Self::host(address)),
            Some(prefix) => match prefix.parse() {
                Ok(length) => Self::new(address, length),
                Err(_) => Err(CidrError::PrefixLength { max, found: prefix.to_owned() }),
            },
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// Why a text is no [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is no address.
    #[error("{found:?} is no IP address")]
    Address {
        /// That part.
        found: String,
    },
    /// The part after the slash is no prefix length.
    #[error("{found:?} is no prefix length from 0 to {max}")]
    PrefixLength {
        /// Greatest length of the family.
        max: u8,
        /// That part.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, printed) in [
            ("192.168.1.150", Ok("192.168.1.150/32")),
            ("192.168.1.150/24", Ok("192.168.1.150/24")),
            ("::1/64", Ok("::1/64")),
            ("192.168.1.300", Err("\"192.168.1.300\" is no IP address")),
            ("192.168.1.1/33", Err("\"33\" is no prefix length from 0 to 32")),
            ("192.168.1.1/x", Err("\"x\" is no prefix length from 0 to 32")),
        ] {
            let read = text.parse::<Cidr>().map(|c| c.to_string()).map_err(|e| e.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), printed, "{text}");
        }
    }
}
