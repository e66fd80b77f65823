//! The MAC address of a virtual router.

use fulcrum_model::Vrid;

use crate::Family;

/// `00-00-5E-00-01-{VRID}` for IPv4, `00-00-5E-00-02-{VRID}` for IPv6 (RFC 9568 §7.3).
pub fn virtual_mac(vrid: Vrid, family: Family) -> [u8; 6] {
    let block = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0x00, 0x00, 0x5e, 0x00, block, vrid.get()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_a_block() {
        let vrid = Vrid::new(51).expect("a VRID");
        assert_eq!(virtual_mac(vrid, Family::V4), [0, 0, 0x5e, 0, 1, 51]);
        assert_eq!(virtual_mac(vrid, Family::V6), [0, 0, 0x5e, 0, 2, 51]);
    }
}
