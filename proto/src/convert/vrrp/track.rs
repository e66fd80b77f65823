//! What an instance depends on.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_model::vrrp::{
    GatewayMethod, GatewayProbe, Track, TrackCommand, TrackPace, TrackRealServers, TrackTarget,
};

use crate::convert::command;
use crate::convert::duration::duration_to_wire;
use crate::convert::fields::{DurationRule, Fields};
use crate::v1;
use crate::v1::vrrp_track::Target;

/// Most targets of an instance: each may cost a probe or a process a second.
const MAX_TRACKS: usize = 64;
/// Greatest change of a priority that leaves it between 1 and 254.
const MAX_WEIGHT: i32 = 253;
/// Most tries in a row.
const MAX_COUNT: u8 = 100;
/// All of them.
const ALL_PERCENT: u8 = 100;

const SECOND: Option<Duration> = Some(Duration::from_secs(1));
const INTERVAL: DurationRule =
    DurationRule { default: SECOND, min: Duration::from_millis(100), max: Duration::from_hours(1) };
const TIMEOUT: DurationRule =
    DurationRule { default: SECOND, min: Duration::from_millis(10), max: Duration::from_hours(1) };

pub(super) fn tracks(fields: &mut Fields<'_>, wire: &[v1::VrrpTrack]) -> Option<Vec<Track>> {
    if wire.len() > MAX_TRACKS {
        let remedy = format_args!("an instance tracks at most {MAX_TRACKS} targets");
        fields.refuse("track", wire.len(), remedy);
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut tracks = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let mut fields = fields.within(&format!("track[{index}]"));
        let read = track(&mut fields, wire);
        if let Some(track) = &read
            && !seen.insert(track.target.clone())
        {
            fields.refuse("", "the same target again", "list each target once");
        }
        tracks.extend(read);
    }
    (tracks.len() == wire.len()).then_some(tracks)
}

fn track(fields: &mut Fields<'_>, wire: &v1::VrrpTrack) -> Option<Track> {
    let target = match &wire.target {
        None => {
            let remedy = "give one of interface, address, route, gateway, command or agent";
            fields.accept("", None, "no target", remedy)
        }
        Some(Target::Interface(name)) => {
            fields.interface("interface", name).map(TrackTarget::Interface)
        }
        Some(Target::Address(address)) => {
            fields.address("address", address, "the address").map(TrackTarget::Address)
        }
        Some(Target::Route(route)) => fields.route("route", route).map(TrackTarget::Route),
        Some(Target::Gateway(wire)) => {
            gateway(&mut fields.within("gateway"), wire).map(TrackTarget::Gateway)
        }
        Some(Target::Command(wire)) => {
            command(&mut fields.within("command"), wire).map(TrackTarget::Command)
        }
        Some(Target::Agent(v1::TrackAgent {})) => Some(TrackTarget::Agent),
    };
    let weight = match wire.weight {
        0 => Some(None),
        weight => {
            let fits = i16::try_from(weight).ok().filter(|_| weight.abs() <= MAX_WEIGHT);
            let remedy = "a weight is -253 to 253; leave it out to forbid to be Active";
            fields.accept("weight", fits, weight, remedy).map(Some)
        }
    };
    Some(Track { target: target?, weight: weight? })
}

/// What becomes of a director that is cut off from the real servers.
pub(super) fn real_servers(
    fields: &mut Fields<'_>,
    wire: v1::TrackRealServers,
) -> Option<TrackRealServers> {
    let weight =
        i16::try_from(wire.weight).ok().filter(|_| (-MAX_WEIGHT..0).contains(&wire.weight));
    let remedy = "a weight is -253 to -1, by more than the members' priorities differ";
    let weight = fields.accept("weight", weight, wire.weight, remedy);
    let silent_percent = match u8::try_from(wire.silent_percent) {
        Ok(0) => Some(ALL_PERCENT),
        Ok(percent) if percent <= ALL_PERCENT => Some(percent),
        Ok(_) | Err(_) => {
            let remedy = "use 1 to 100, or leave it out for all";
            fields.accept("silent_percent", None, wire.silent_percent, remedy)
        }
    };
    Some(TrackRealServers { weight: weight?, silent_percent: silent_percent? })
}

pub(super) fn real_servers_to_wire(track: TrackRealServers) -> v1::TrackRealServers {
    v1::TrackRealServers {
        weight: i32::from(track.weight),
        silent_percent: u32::from(track.silent_percent),
    }
}

fn gateway(fields: &mut Fields<'_>, wire: &v1::TrackGateway) -> Option<GatewayProbe> {
    let address = fields.address("address", &wire.address, "the gateway's address");
    let method = match v1::GatewayMethod::try_from(wire.method) {
        Ok(v1::GatewayMethod::Unspecified | v1::GatewayMethod::Arp) => Some(GatewayMethod::Arp),
        Ok(v1::GatewayMethod::Icmp) => Some(GatewayMethod::Icmp),
        Err(_) => fields.accept("method", None, wire.method, "use arp or icmp"),
    };
    let pace =
        pace(fields, (wire.interval.as_ref(), wire.timeout.as_ref()), (wire.rise, wire.fall));
    Some(GatewayProbe { address: address?, method: method?, pace: pace? })
}

fn command(fields: &mut Fields<'_>, wire: &v1::TrackCommand) -> Option<TrackCommand> {
    let program = command::program(fields, &wire.program);
    let arguments = command::arguments(fields, &wire.arguments);
    let pace =
        pace(fields, (wire.interval.as_ref(), wire.timeout.as_ref()), (wire.rise, wire.fall));
    Some(TrackCommand { program: program?, arguments: arguments?, pace: pace? })
}

fn pace(
    fields: &mut Fields<'_>,
    (interval, timeout): (Option<&prost_types::Duration>, Option<&prost_types::Duration>),
    (rise, fall): (u32, u32),
) -> Option<TrackPace> {
    let interval = fields.duration("interval", interval, &INTERVAL);
    let timeout = fields.duration("timeout", timeout, &TIMEOUT);
    let mut count = |field: &str, found: u32| match u8::try_from(found) {
        Ok(0) => Some(1),
        Ok(count) if count <= MAX_COUNT => Some(count),
        Ok(_) | Err(_) => fields.accept(field, None, found, "use 1 to 100"),
    };
    let (rise, fall) = (count("rise", rise), count("fall", fall));
    Some(TrackPace { interval: interval?, timeout: timeout?, rise: rise?, fall: fall? })
}

/// None of what an instance tracks by a field of its own.
pub(super) fn track_to_wire(track: &Track) -> Option<v1::VrrpTrack> {
    let target = match &track.target {
        TrackTarget::Interface(name) => Target::Interface(name.clone()),
        TrackTarget::Address(address) => Target::Address(address.to_string()),
        TrackTarget::Route(route) => Target::Route(route.to_string()),
        TrackTarget::Gateway(GatewayProbe { address, method, pace }) => {
            let method = match method {
                GatewayMethod::Arp => v1::GatewayMethod::Arp,
                GatewayMethod::Icmp => v1::GatewayMethod::Icmp,
            };
            Target::Gateway(v1::TrackGateway {
                address: address.to_string(),
                method: method.into(),
                interval: Some(duration_to_wire(pace.interval)),
                timeout: Some(duration_to_wire(pace.timeout)),
                rise: u32::from(pace.rise),
                fall: u32::from(pace.fall),
            })
        }
        TrackTarget::Command(TrackCommand { program, arguments, pace }) => {
            Target::Command(v1::TrackCommand {
                program: program.clone(),
                arguments: arguments.clone(),
                interval: Some(duration_to_wire(pace.interval)),
                timeout: Some(duration_to_wire(pace.timeout)),
                rise: u32::from(pace.rise),
                fall: u32::from(pace.fall),
            })
        }
        TrackTarget::Agent => Target::Agent(v1::TrackAgent {}),
        TrackTarget::RealServers(_) => return None,
    };
    Some(v1::VrrpTrack { target: Some(target), weight: i32::from(track.weight.unwrap_or(0)) })
}
