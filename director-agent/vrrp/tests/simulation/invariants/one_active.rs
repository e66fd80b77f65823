//! On a quiet segment exactly one router is Active, and exactly one answers ARP for the VIPs.

use fulcrum_vrrp::{Place, Role};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::network::Network;

pub(crate) fn one_active(network: &Network) -> Result<(), TestCaseError> {
    let active = network.nodes().filter(|node| node.instance.role() == Role::Active).count();
    prop_assert_eq!(active, 1);
    let answering = network.nodes().filter(|node| node.hold.place() == Place::Interface).count();
    prop_assert_eq!(answering, 1);
    Ok(())
}
