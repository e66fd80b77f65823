//! From a director's plan to a wanted table.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Weight;
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};

use crate::{
    AddressFamily, Destination, DestinationKey, DestinationSettings, VirtualServer,
    VirtualServerKey, VirtualServerSettings,
};

/// The entry of a planned virtual server, with the weights that `weight` gives its real servers.
///
/// Of two real servers with one address and port the last stands: the kernel can hold only one.
pub fn virtual_server(
    plan: &VirtualServerPlan,
    weight: impl Fn(&DestinationPlan) -> Weight,
) -> (VirtualServerKey, Arc<VirtualServer>) {
    let key = VirtualServerKey::Address {
        transport: plan.protocol.into(),
        vip: plan.vip,
        port: plan.port.get(),
    };
    let settings = VirtualServerSettings::new(plan.scheduler, AddressFamily::of(plan.vip))
        .with_persistence(plan.persistence_timeout.map_or(0, whole_seconds));
    let destinations = plan.destinations.iter().map(|destination| {
        let key = DestinationKey { address: destination.rip, port: destination.port.get() };
        let weight = u32::from(weight(destination).get());
        let settings = DestinationSettings::new(weight, plan.forwarding.into());
        (key, Destination { settings, connections: None })
    });
    let server = VirtualServer { settings, destinations: destinations.collect(), foreign: false };
    (key, Arc::new(server))
}

/// The kernel counts whole seconds; a part of one counts as one, so that persistence asked for is never off.
fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_is_never_rounded_to_off() {
        for (duration, seconds) in [
            (Duration::from_millis(1), 1),
            (Duration::from_mins(5), 300),
            (Duration::from_millis(1500), 2),
            (Duration::MAX, u32::MAX),
        ] {
            assert_eq!(whole_seconds(duration), seconds, "{duration:?}");
        }
    }
}
