//! The intervals that follow from priority and advert interval.

use std::time::Duration;

use fulcrum_model::Priority;

use crate::Wire;

/// `Skew_Time`: a lower priority waits longer, so that one Backup takes over before the others.
/// Version 3: `((256 - priority) * Active_Adver_Interval) / 256` (RFC 9568 §6.1); version 2: the
/// same of one second (RFC 3768 §6.1).
pub fn skew(wire: &Wire, priority: Priority, active_interval: Duration) -> Duration {
    let scale = match wire {
        Wire::V2 { .. } => Duration::from_secs(1),
        Wire::V3 { .. } | Wire::V2AndV3 { .. } => active_interval,
    };
    scale * (256 - u32::from(priority.get())) / 256
}

/// `Active_Down_Interval`: silence after which a Backup takes over (RFC 9568 §6.1).
pub fn down_interval(wire: &Wire, priority: Priority, active_interval: Duration) -> Duration {
    3 * active_interval + skew(wire, priority, active_interval)
}
