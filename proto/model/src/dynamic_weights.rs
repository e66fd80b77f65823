//! Weights that follow load.

use std::time::Duration;

/// How the weights of a pool follow the load of its real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DynamicWeights {
    /// Least share of the planned weight that is left to the busiest, in percent: 1 to 100.
    pub floor_percent: u8,
    /// Share of busy threads, in percent, up to which a real server has its whole weight: 0 to 95.
    pub target_percent: u8,
    /// Time constant of the mean that takes the place of what was told last.
    pub smoothing: Duration,
}

impl DynamicWeights {
    /// Greatest [`Self::floor_percent`].
    pub const MAX_FLOOR_PERCENT: u8 = 100;
    /// Greatest [`Self::target_percent`]: above it one more request would take all of the weight.
    pub const MAX_TARGET_PERCENT: u8 = 95;
    /// Shortest [`Self::smoothing`]: agents tell load once a second at most.
    pub const MIN_SMOOTHING: Duration = Duration::from_secs(1);
    /// Longest [`Self::smoothing`].
    pub const MAX_SMOOTHING: Duration = Duration::from_mins(5);
}

impl Default for DynamicWeights {
    fn default() -> Self {
        Self { floor_percent: 10, target_percent: 50, smoothing: Duration::from_secs(2) }
    }
}
