//! On a quiet segment nobody outranks the Active and wants to preempt.

use fulcrum_vrrp::Role;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::network::Network;

pub(crate) fn strongest_is_active(network: &Network) -> Result<(), TestCaseError> {
    let active = network.nodes().find(|node| node.instance.role() == Role::Active);
    let Some(active) = active else { return Err(TestCaseError::fail("nobody is Active")) };
    let ruling = active.instance.config().priority;
    for node in network.nodes() {
        let config = node.instance.config();
        prop_assert!(!config.preempt || config.priority <= ruling, "{:?}", config);
    }
    Ok(())
}
