//! An Active holds the VIPs, and a VIP is on the interface of nobody else but one that waits for
//! its successor.

use fulcrum_vrrp::{Hold, Place, Role};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::network::Network;

pub(crate) fn hold_follows_role(network: &Network) -> Result<(), TestCaseError> {
    for node in network.nodes() {
        let (role, hold) = (node.instance.role(), node.hold);
        prop_assert_eq!(role == Role::Active, hold == Hold::Held, "{:?}", hold);
        let is_yielding = matches!(hold, Hold::Yielding { .. });
        prop_assert!(hold.place() != Place::Interface || role == Role::Active || is_yielding);
    }
    Ok(())
}
