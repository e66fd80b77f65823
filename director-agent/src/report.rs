//! What the director tells of itself, as the wire has it.

use std::time::Duration;

use fulcrum_ipvs::sync::Hold;
use fulcrum_model::Name;
use fulcrum_model::fuse::{OwnProbe, PathProbe};
use fulcrum_proto::convert::verdict_to_wire;
use fulcrum_proto::v1;
use fulcrum_vrrp::track::{Health, Weighed};
use fulcrum_vrrp::{LatenessSummary, Role};
use prost::Message;

use crate::clock::{Clock, Reading};
use crate::decide::decided::Decided;
use crate::decide::weights::Decider;
use crate::sync::{SyncRole, SyncSnapshot};
use crate::vrrp::{InstanceStatus, Rival, VrrpSnapshot, mac_text};

/// Every weight with its reasons, ordered by virtual server and real server.
pub fn weights(decider: &Decider, clock: Clock) -> Vec<v1::WeightDecision> {
    let read = clock.reading();
    decider
        .pools()
        .flat_map(|(name, pool)| {
            let mut decided: Vec<&Decided> = pool.all().collect();
            decided.sort_by(|a, b| a.real_server.cmp(&b.real_server));
            decided.into_iter().map(move |decided| weight(name.as_str(), decided, read))
        })
        .collect()
}

fn weight(virtual_server: &str, decided: &Decided, read: Reading) -> v1::WeightDecision {
    v1::WeightDecision {
        virtual_server: virtual_server.to_owned(),
        real_server: decided.real_server.to_string(),
        weight: decided.weight().get().into(),
        planned_weight: decided.planned.get().into(),
        reasons: decided.reasons.to_vec(),
        probe: probe(decided.probe.as_ref()).into(),
        verdict: verdict_to_wire(decided.verdict).into(),
        since: Some(read.wall(decided.since).into()),
        path: path(&decided.path).into(),
        load_permille: decided.load_share.map_or(0, u32::from),
    }
}

fn probe(probe: Option<&OwnProbe>) -> v1::ProbeResult {
    match probe {
        None => v1::ProbeResult::Unspecified,
        Some(OwnProbe::Pending) => v1::ProbeResult::Pending,
        Some(OwnProbe::Passing | OwnProbe::Remarked(_)) => v1::ProbeResult::Passing,
        Some(OwnProbe::Failing(_)) => v1::ProbeResult::Failing,
    }
}

fn path(path: &PathProbe) -> v1::ProbeResult {
    match path {
        PathProbe::NotAsked => v1::ProbeResult::Unspecified,
        PathProbe::Untried => v1::ProbeResult::Pending,
        PathProbe::Passing => v1::ProbeResult::Passing,
        PathProbe::Failing(_) => v1::ProbeResult::Failing,
    }
}

/// Virtual servers whose pools have lost their quorum, ordered.
pub fn quorum_lost(decider: &Decider) -> Vec<String> {
    let lost = decider.pools().filter(|(_, pool)| pool.has_lost_quorum());
    lost.map(|(name, _)| name.to_string()).collect()
}

/// How late the VRRP thread woke; none before it has.
pub fn lateness(seen: &VrrpSnapshot) -> Option<v1::VrrpLateness> {
    let LatenessSummary { wakes, p999, max } = seen.lateness;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    (wakes > 0).then(|| v1::VrrpLateness { wakes, p999_us: micros(p999), max_us: micros(max) })
}

/// Each VRRP instance, ordered by name.
pub fn vrrp(seen: &VrrpSnapshot) -> Vec<v1::VrrpObserved> {
    seen.instances.iter().map(|(name, status)| instance(name, status)).collect()
}

fn instance(name: &Name, status: &InstanceStatus) -> v1::VrrpObserved {
    let discarded = status.discarded.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
    v1::VrrpObserved {
        instance: name.to_string(),
        state: role(status.role).into(),
        since: Some(status.since.into()),
        active_router: status.active_router.map(|router| router.to_string()).unwrap_or_default(),
        became_active: status.became_active,
        adverts_sent: status.adverts_sent,
        adverts_received: status.adverts_received,
        discarded: discarded.collect(),
        vips_bound: status.vips_bound.iter().map(ToString::to_string).collect(),
        // Where it must not be Active, no priority is in force.
        priority: if status.faults.is_empty() { status.priority.into() } else { 0 },
        faults: status.faults.clone(),
        waits_for: status.waits_for.clone(),
        tracks: status.tracks.iter().map(track).collect(),
        duplicate_owners: status.rivals.iter().map(duplicate_owner).collect(),
        ..v1::VrrpObserved::default()
    }
}

/// Adds what is seen of the instances' connections.
pub fn connections(instances: &mut [v1::VrrpObserved], seen: &SyncSnapshot) {
    for observed in instances {
        let status = seen.instances.iter().find(|(name, _)| name.as_str() == observed.instance);
        let Some((_, status)) = status else { continue };
        if status.hold == Some(Hold::Held) {
            observed.waits_for = match status.missing {
                Some((missing, _)) => format!("{missing} connections that are unknown here"),
                None => "the connections to be compared".to_owned(),
            };
        }
        observed.connection_sync = Some(v1::ConnectionSyncObserved {
            role: match status.role {
                SyncRole::Idle => v1::SyncRole::Unspecified,
                SyncRole::Master => v1::SyncRole::Sender,
                SyncRole::Backup => v1::SyncRole::Receiver,
            }
            .into(),
            missing: status.missing.map_or(0, |(missing, _)| missing.into()),
            compared: status.missing.is_some(),
            resynced: status.connections_sent,
            last_resync: status.last_sent.map(Into::into),
            detail: seen.problems.join("; "),
        });
    }
}

fn duplicate_owner(rival: &Rival) -> v1::DuplicateOwner {
    v1::DuplicateOwner {
        address: rival.address.to_string(),
        mac: mac_text(rival.mac),
        interface: rival.interface.clone(),
        seen_by: "ARP".to_owned(),
        count: rival.count,
        last_seen: Some(rival.last_seen.into()),
    }
}

fn track(weighed: &Weighed) -> v1::TrackObserved {
    let state = match weighed.health {
        Health::Untried => v1::TrackState::Pending,
        Health::Well => v1::TrackState::Well,
        Health::Unwell => v1::TrackState::Unwell,
    };
    v1::TrackObserved {
        target: weighed.target.clone(),
        state: state.into(),
        adds: weighed.adds,
        required: weighed.is_required,
        detail: weighed.seen.clone(),
    }
}

fn role(role: Role) -> v1::VrrpState {
    match role {
        Role::Initialize => v1::VrrpState::Initialize,
        Role::Backup => v1::VrrpState::Backup,
        Role::Active => v1::VrrpState::Active,
    }
}

/// Most entries of an IPVS table that are told to controllers: with addresses of usual length 2 MiB.
pub const MOST_ENTRIES: usize = 40_000;

/// Most weights that are told to controllers: with names and reasons of usual length 2 MiB.
pub const MOST_WEIGHTS: usize = 10_000;

/// Largest report in bytes. Receivers take 4 MiB in one message (gRPC's usual limit); the rest is room for its frame.
const MAX_BYTES: usize = 3 << 20;

/// Leaves out what makes a report too large to be received, weights last, and says so in it, with what was left out
/// already.
pub fn fit(mut observed: v1::DirectorObserved, mut left_out: Vec<String>) -> v1::DirectorObserved {
    if observed.encoded_len() > MAX_BYTES && !observed.ipvs.is_empty() {
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
            let told = fit(given, Vec::new());
            assert!(told.encoded_len() <= 4 << 20, "{what}");
            assert_eq!(
                (told.ipvs.len(), told.weights.len(), told.problems.len()),
                expected,
                "{what}"
            );
        }
    }
}
