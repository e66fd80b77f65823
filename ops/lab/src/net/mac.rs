//! Hardware addresses of Ethernet.

use std::fmt;

use crate::settings::VRID;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl Mac {
    /// All hosts.
    pub(crate) const BROADCAST: Self = Self([0xff; 6]);

    /// That of the virtual router (RFC 9568 §7.3).
    pub(crate) const fn of_virtual_router(is_ipv6: bool) -> Self {
        Self([0, 0, 0x5e, 0, if is_ipv6 { 2 } else { 1 }, VRID])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&parts.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_ip_does() {
        assert_eq!(Mac([0, 0, 0x5e, 0, 1, 51]).to_string(), "00:00:5e:00:01:33");
    }
}
