//! Options of VRRP instances both ways, the same for intent and plan.

mod auth;
mod track;

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_model::vrrp::{Announce, ConnectionSync, HeldAddress, VrrpOptions};

use super::duration::duration_to_wire;
use super::fields::{DurationRule, Fields};
use crate::v1;

/// Most addresses held without being advertised: no advert bounds them, and each costs an announcement at a take-over.
const MAX_HELD: usize = 1000;
/// Longest delay and wait: what needs longer is an operator's decision.
const MAX_WAIT: Duration = Duration::from_hours(1);

const DELAY: DurationRule =
    DurationRule { default: Some(Duration::ZERO), min: Duration::ZERO, max: MAX_WAIT };
const REPEAT_AFTER: DurationRule = DurationRule {
    default: Some(Duration::from_secs(1)),
    min: Duration::from_millis(10),
    max: MAX_WAIT,
};
const REFRESH: DurationRule = DurationRule {
    default: Some(Duration::from_mins(1)),
    min: Duration::from_secs(1),
    max: Duration::from_hours(24),
};
const GAP: DurationRule = DurationRule {
    default: Some(Duration::ZERO),
    min: Duration::ZERO,
    max: Duration::from_secs(1),
};
const SYNC_WAIT: DurationRule =
    DurationRule { default: Some(Duration::from_secs(10)), min: Duration::ZERO, max: MAX_WAIT };
/// Most announcements of one kind.
const MAX_REPEAT: u8 = 60;

/// With every default filled in.
pub(super) fn options(fields: &mut Fields<'_>, wire: &v1::VrrpOptions) -> Option<VrrpOptions> {
    let preempt_delay = fields.duration("preempt_delay", wire.preempt_delay.as_ref(), &DELAY);
    let startup_delay = fields.duration("startup_delay", wire.startup_delay.as_ref(), &DELAY);
    let unadvertised_vips = held_addresses(fields, &wire.unadvertised_vips);
    let unicast_min_ttl = match u8::try_from(wire.unicast_min_ttl) {
        Ok(0) => Some(u8::MAX),
        Ok(ttl) => Some(ttl),
        Err(_) => fields.accept("unicast_min_ttl", None, wire.unicast_min_ttl, "use 1 to 255"),
    };
    let announce = announce(&mut fields.within("announce"), wire.announce.as_ref());
    let auth_hmac = match &wire.auth_hmac {
        None => Some(None),
        Some(wire) => auth::auth_hmac(&mut fields.within("auth_hmac"), wire).map(Some),
    };
    let sync_group = match wire.sync_group.as_str() {
        "" => Some(None),
        group => fields.name("sync_group", group, "name the group").map(Some),
    };
    let track = track::tracks(fields, &wire.track);
    let connection_sync = match &wire.connection_sync {
        None => Some(None),
        Some(wire) => connection_sync(&mut fields.within("connection_sync"), wire).map(Some),
    };
    let track_real_servers = match wire.track_real_servers {
        None => Some(None),
        Some(wire) => track::real_servers(&mut fields.within("track_real_servers"), wire).map(Some),
    };
    Some(VrrpOptions {
        preempt_delay: preempt_delay?,
        startup_delay: startup_delay?,
        accept: !wire.no_accept,
        virtual_mac: wire.virtual_mac,
        unadvertised_vips: unadvertised_vips?,
        unicast_min_ttl: unicast_min_ttl?,
        announce: announce?,
        auth_hmac: auth_hmac?,
        sync_group: sync_group?,
        track: track?,
        connection_sync: connection_sync?,
        track_real_servers: track_real_servers?,
    })
}

fn held_addresses(fields: &mut Fields<'_>, wire: &[v1::HeldAddress]) -> Option<Vec<HeldAddress>> {
    if wire.len() > MAX_HELD {
        let remedy = format_args!("an instance holds at most {MAX_HELD} of them; use another one");
        fields.refuse("unadvertised_vips", wire.len(), remedy);
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut held = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let mut fields = fields.within(&format!("unadvertised_vips[{index}]"));
        let address = fields.cidr("address", &wire.address, "an address, such as 10.0.0.1/24");
        let interface = fields.optional_interface("interface", &wire.interface);
        if let Some(address) = address
            && !seen.insert(address.address())
        {
            let found = format_args!("{:?}", wire.address);
            fields.refuse("address", found, "listed twice; list it once");
        }
        if let (Some(address), Some(interface)) = (address, interface) {
            held.push(HeldAddress { address, interface });
        }
    }
    (held.len() == wire.len()).then_some(held)
}

fn announce(fields: &mut Fields<'_>, wire: Option<&v1::VrrpAnnounce>) -> Option<Announce> {
    let Some(wire) = wire else { return Some(Announce::default()) };
    let repeat = match u8::try_from(wire.repeat) {
        Ok(0) => Some(Announce::default().repeat),
        Ok(repeat) if repeat <= MAX_REPEAT => Some(repeat),
        Ok(_) | Err(_) => fields.accept("repeat", None, wire.repeat, "use 1 to 60"),
    };
    let repeat_after = fields.duration("repeat_after", wire.repeat_after.as_ref(), &REPEAT_AFTER);
    let refresh = match &wire.refresh {
        Some(prost_types::Duration { seconds: 0, nanos: 0 }) => Some(None),
        refresh => fields.duration("refresh", refresh.as_ref(), &REFRESH).map(Some),
    };
    let gap = fields.duration("gap", wire.gap.as_ref(), &GAP);
    Some(Announce { repeat: repeat?, repeat_after: repeat_after?, refresh: refresh?, gap: gap? })
}

fn connection_sync(fields: &mut Fields<'_>, wire: &v1::ConnectionSync) -> Option<ConnectionSync> {
    let interface = fields.optional_interface("interface", &wire.interface);
    let sync_id = match wire.sync_id.map(u8::try_from) {
        None => Some(None),
        Some(Ok(id)) => Some(Some(id)),
        Some(Err(_)) => {
            fields.refuse("sync_id", wire.sync_id.unwrap_or_default(), "use 0 to 255");
            None
        }
    };
    let wait = fields.duration("wait", wire.wait.as_ref(), &SYNC_WAIT);
    Some(ConnectionSync {
        interface: interface?,
        sync_id: sync_id?,
        max_missing: wire.max_missing,
        wait: wait?,
    })
}

/// Rules between an instance's options and its other fields.
pub(super) struct Beside {
    pub(super) unicast: bool,
    pub(super) auth_pass: bool,
}

/// Refuses options that do not fit the instance's other fields.
pub(super) fn check_beside(fields: &mut Fields<'_>, options: &VrrpOptions, beside: &Beside) {
    if options.auth_hmac.is_some() && beside.auth_pass {
        let remedy = "adverts carry one authentication or the other; leave auth_pass out";
        fields.refuse("auth_hmac", "given beside auth_pass", remedy);
    }
    if options.unicast_min_ttl < u8::MAX && !beside.unicast {
        let remedy = "multicast adverts always have 255; set unicast: true, or leave it out";
        fields.refuse("unicast_min_ttl", options.unicast_min_ttl, remedy);
    }
}

/// Writes options so that [`options`] gives equal ones back.
pub(super) fn options_to_wire(options: &VrrpOptions) -> v1::VrrpOptions {
    let announce = &options.announce;
    let held = options.unadvertised_vips.iter().map(|held| v1::HeldAddress {
        address: held.address.to_string(),
        interface: held.interface.clone().unwrap_or_default(),
    });
    let connection_sync = options.connection_sync.as_ref().map(|sync| v1::ConnectionSync {
        interface: sync.interface.clone().unwrap_or_default(),
        sync_id: sync.sync_id.map(u32::from),
        max_missing: sync.max_missing,
        wait: Some(duration_to_wire(sync.wait)),
    });
    v1::VrrpOptions {
        preempt_delay: non_zero(options.preempt_delay),
        startup_delay: non_zero(options.startup_delay),
        no_accept: !options.accept,
        virtual_mac: options.virtual_mac,
        unadvertised_vips: held.collect(),
        unicast_min_ttl: u32::from(options.unicast_min_ttl),
        announce: Some(v1::VrrpAnnounce {
            repeat: u32::from(announce.repeat),
            repeat_after: Some(duration_to_wire(announce.repeat_after)),
            refresh: Some(duration_to_wire(announce.refresh.unwrap_or_default())),
            gap: non_zero(announce.gap),
        }),
        auth_hmac: options.auth_hmac.as_ref().map(auth::auth_hmac_to_wire),
        sync_group: options.sync_group.as_ref().map(ToString::to_string).unwrap_or_default(),
        track: options.track.iter().filter_map(track::track_to_wire).collect(),
        connection_sync,
        track_real_servers: options.track_real_servers.map(track::real_servers_to_wire),
    }
}

/// Zero says no more than nothing does.
fn non_zero(duration: Duration) -> Option<prost_types::Duration> {
    (!duration.is_zero()).then(|| duration_to_wire(duration))
}
