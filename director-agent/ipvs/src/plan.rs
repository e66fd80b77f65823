//! From a director's plan to a wanted table.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::{Listen, PersistenceMask, Port, Scheduler, Weight};

use crate::{
    AddressFamily, Destination, DestinationKey, DestinationSettings, Destinations, Flags,
    Forwarding, Netmask, VirtualServer, VirtualServerKey, VirtualServerSettings,
};

/// What names a planned virtual server in the kernel.
pub fn virtual_server_key(listen: &Listen) -> VirtualServerKey {
    match *listen {
        Listen::Address { vip, port, protocol } => VirtualServerKey::Address {
            transport: protocol.into(),
            vip,
            port: port.map_or(0, Port::get),
        },
        Listen::Fwmark { mark, is_ipv6 } => VirtualServerKey::Fwmark {
            mark,
            family: if is_ipv6 { AddressFamily::V6 } else { AddressFamily::V4 },
        },
    }
}

/// What names a real server of a planned virtual server. Where a virtual server takes more than one port, a packet keeps
/// its own, which the kernel calls port 0.
pub fn destination_key(listen: &Listen, destination: &DestinationPlan) -> DestinationKey {
    let port = listen.port().map_or(0, |_| destination.port.get());
    DestinationKey { address: destination.rip, port }
}

/// The real servers of a planned virtual server, with the weights that `weight` gives them; none keeps one out of the table.
///
/// Of two real servers with one address and port the last stands: the kernel can hold only one.
pub fn destinations(
    plan: &VirtualServerPlan,
    weight: impl Fn(&DestinationPlan) -> Option<Weight>,
) -> Destinations {
    let destinations = plan.all_destinations().filter_map(|destination| {
        let weight = weight(destination)?;
        let key = destination_key(&plan.listen, destination);
        let settings = DestinationSettings {
            weight: u32::from(weight.get()),
            forwarding: Forwarding::new(destination.forwarding, plan.options.tunnel),
            upper_threshold: destination.thresholds.upper,
            lower_threshold: destination.thresholds.lower,
        };
        Some((key, Destination { settings, connections: None }))
    });
    destinations.collect()
}

/// The entry of a planned virtual server, with these real servers.
pub fn virtual_server(plan: &VirtualServerPlan, destinations: Destinations) -> VirtualServer {
    VirtualServer { settings: settings(plan), destinations, foreign: false }
}

/// What names the way of a check through a VIP of that family.
pub fn path_key(mark: NonZeroU32, vip: IpAddr) -> VirtualServerKey {
    VirtualServerKey::Fwmark { mark, family: AddressFamily::of(vip) }
}

/// The way of a check through the VIP to one real server of a planned virtual server. The real server has a weight whatever is
/// decided of it: its way is to stay proven.
pub fn path_entry(plan: &VirtualServerPlan, destination: &DestinationPlan) -> VirtualServer {
    let family = virtual_server_key(&plan.listen).family();
    let forwarding = Forwarding::new(destination.forwarding, plan.options.tunnel);
    let settings = DestinationSettings::new(1, forwarding);
    let key = destination_key(&plan.listen, destination);
    VirtualServer {
        settings: VirtualServerSettings::new(Scheduler::Rr, family),
        destinations: [(key, Destination { settings, connections: None })].into(),
        foreign: false,
    }
}

fn settings(plan: &VirtualServerPlan) -> VirtualServerSettings {
    let family = virtual_server_key(&plan.listen).family();
    let options = &plan.options;
    let mut settings = VirtualServerSettings::new(plan.scheduler, family)
        .with_persistence(plan.persistence_timeout.map_or(0, whole_seconds));
    for (is_set, flag) in [
        (options.hash_fallback, Flags::SCHEDULER_1),
        (options.hash_port, Flags::SCHEDULER_2),
        (options.one_packet, Flags::ONE_PACKET),
    ] {
        if is_set {
            settings.flags = settings.flags.with(flag);
        }
    }
    match options.persistence_mask {
        None => {}
        Some(PersistenceMask::V4(mask)) => settings.netmask = Netmask::V4(mask),
        Some(PersistenceMask::V6(length)) => settings.netmask = Netmask::V6(length.into()),
    }
    settings.persistence_engine =
        options.persistence_engine.map(|engine| engine.as_str().to_owned());
    settings
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
