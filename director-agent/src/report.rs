//! What the director tells of itself, as the wire has it.

use std::net::Ipv4Addr;

use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, Flags, Netmask, Table, VirtualServer,
    VirtualServerKey,
};
use fulcrum_model::fuse::OwnProbe;
use fulcrum_proto::convert::verdict_to_wire;
use fulcrum_proto::v1;
use prost::Message;

use crate::clock::Clock;
use crate::decide::weights::{Decided, Decider};

/// Every weight with its reasons, ordered by virtual server and real server.
pub fn weights(decider: &Decider, clock: Clock) -> Vec<v1::WeightDecision> {
    decider
        .servers()
        .keys()
        .flat_map(|name| {
            let mut decided: Vec<&Decided> = decider.weights(name).iter().collect();
            decided.sort_by(|a, b| a.real_server.cmp(&b.real_server));
            decided.into_iter().map(move |decided| weight(name.as_str(), decided, clock))
        })
        .collect()
}

fn weight(virtual_server: &str, decided: &Decided, clock: Clock) -> v1::WeightDecision {
    v1::WeightDecision {
        virtual_server: virtual_server.to_owned(),
        real_server: decided.real_server.to_string(),
        weight: decided.weight.get().into(),
        planned_weight: decided.planned.get().into(),
        reasons: decided.reasons.clone(),
        probe: probe(&decided.probe).into(),
        verdict: verdict_to_wire(decided.verdict).into(),
        since: Some(clock.wall(decided.since).into()),
    }
}

fn probe(probe: &OwnProbe) -> v1::ProbeResult {
    match probe {
        OwnProbe::Pending => v1::ProbeResult::Pending,
        OwnProbe::Passing => v1::ProbeResult::Passing,
        OwnProbe::Failing(_) => v1::ProbeResult::Failing,
    }
}

/// A table as it was read from the kernel, ordered.
pub fn ipvs(table: &Table) -> Vec<v1::IpvsVirtualServer> {
    table.virtual_servers.iter().map(|(key, server)| virtual_server(key, server)).collect()
}

fn virtual_server(key: &VirtualServerKey, server: &VirtualServer) -> v1::IpvsVirtualServer {
    let settings = &server.settings;
    let named = match key {
        VirtualServerKey::Address { transport, vip, port } => v1::IpvsVirtualServer {
            vip: vip.to_string(),
            port: (*port).into(),
            // Of the numbers that the API names TCP's and UDP's are IANA's too; SCTP's it lets stand.
            protocol: transport.number().into(),
            ..Default::default()
        },
        VirtualServerKey::Fwmark { mark, family } => v1::IpvsVirtualServer {
            fwmark: mark.get(),
            fwmark_ipv6: *family == AddressFamily::V6,
            ..Default::default()
        },
    };
    v1::IpvsVirtualServer {
        scheduler: settings.scheduler.to_string(),
        scheduler_flags: scheduler_flags(settings.scheduler.as_str(), settings.flags),
        persistence_timeout_s: settings.persistence_timeout_s,
        persistence_netmask: netmask(settings.netmask),
        persistence_engine: settings.persistence_engine.clone().unwrap_or_default(),
        one_packet: settings.flags.contains(Flags::ONE_PACKET),
        destinations: server.destinations.iter().map(|(key, d)| destination(key, d)).collect(),
        foreign: server.foreign,
        ..named
    }
}

/// As ipvsadm prints them: some schedulers have names of their own for their flags.
fn scheduler_flags(scheduler: &str, flags: Flags) -> Vec<String> {
    let names = match scheduler {
        "sh" => ["sh-fallback", "sh-port", "flag-3"],
        "mh" => ["mh-fallback", "mh-port", "flag-3"],
        _other => ["flag-1", "flag-2", "flag-3"],
    };
    [Flags::SCHEDULER_1, Flags::SCHEDULER_2, Flags::SCHEDULER_3]
        .into_iter()
        .zip(names)
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn netmask(netmask: Netmask) -> String {
    match netmask {
        Netmask::V4(Ipv4Addr::BROADCAST) | Netmask::V6(128) => String::new(),
        Netmask::V4(mask) => mask.to_string(),
        Netmask::V6(prefix_length) => prefix_length.to_string(),
    }
}

fn destination(key: &DestinationKey, destination: &Destination) -> v1::IpvsDestination {
    let connections = destination.connections.unwrap_or_default();
    v1::IpvsDestination {
        address: key.address.to_string(),
        port: key.port.into(),
        weight: destination.settings.weight,
        forwarding: destination.settings.forwarding.as_str().to_owned(),
        active_connections: connections.active.into(),
        inactive_connections: connections.inactive.into(),
    }
}

/// Largest report in bytes. Receivers take 4 MiB in one message (gRPC's usual limit); the rest is room for its frame.
const MAX_BYTES: usize = 3 << 20;

/// Leaves out what makes a report too large to be received, weights last, and says so in it.
pub fn fit(mut observed: v1::DirectorObserved) -> v1::DirectorObserved {
    let mut left_out = Vec::new();
    if observed.encoded_len() > MAX_BYTES {
        left_out.push(format!("the IPVS table of {} virtual servers", observed.ipvs.len()));
        observed.ipvs.clear();
    }
    if observed.encoded_len() > MAX_BYTES {
        left_out.push(format!("{} weights", observed.weights.len()));
        observed.weights.clear();
    }
    if !left_out.is_empty() {
        observed.problems.push(format!(
            "{} not told to the controllers, as too large for one report: read them with `lvsctl --socket` on the \
             director",
            left_out.join(" and ")
        ));
    }
    observed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(virtual_servers: usize, weights: usize) -> v1::DirectorObserved {
        let vip = "192.168.1.150".to_owned();
        let server = v1::IpvsVirtualServer { vip, port: 80, ..Default::default() };
        let reasons = vec!["own probe passes".to_owned()];
        v1::DirectorObserved {
            ipvs: vec![server; virtual_servers],
            weights: vec![v1::WeightDecision { reasons, ..Default::default() }; weights],
            ..Default::default()
        }
    }

    #[test]
    fn reports_fit_into_a_message() {
        let cases = [
            ("a usual one", observed(2, 4), (2, 4, 0)),
            ("a large table", observed(300_000, 4), (0, 4, 1)),
            ("a large table with many weights", observed(300_000, 300_000), (0, 0, 1)),
        ];
        for (what, given, expected) in cases {
            let told = fit(given);
            assert!(told.encoded_len() <= 4 << 20, "{what}");
            assert_eq!(
                (told.ipvs.len(), told.weights.len(), told.problems.len()),
                expected,
                "{what}"
            );
        }
    }
}
