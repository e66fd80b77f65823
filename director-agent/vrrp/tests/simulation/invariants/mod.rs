//! What holds, after every step or once it is quiet.

mod hold_follows_role;
mod one_active;
mod strongest_is_active;

use proptest::test_runner::TestCaseError;

use crate::network::Network;

pub(crate) use one_active::one_active;
pub(crate) use strongest_is_active::strongest_is_active;

/// What holds whatever happens.
pub(crate) fn always(network: &Network) -> Result<(), TestCaseError> {
    hold_follows_role::hold_follows_role(network)
}
