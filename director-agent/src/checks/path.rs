//! Tries that go to a VIP and are forwarded to one real server.
//!
//! The packets leave with a firewall mark, by which IPVS knows the real server also on its own host's way out (`LOCAL_OUT`). Where the
//! kernel has no such entry they would go wherever the VIP leads, which says nothing of the real server: so no try is made then.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fulcrum_ipvs::plan::path_key;
use fulcrum_model::ForwardingMethod;
use tokio::sync::watch;

use super::endpoint::Endpoint;
use super::{Means, Outcome, try_once};
use crate::decide::check::{CheckKey, Via};
use crate::ipvs::{IpvsSnapshot, source_towards};

/// A packet by direct routing is one hop from the director to the real server. One that does not hold the VIP and forwards, as hosts of
/// containers do, would send it on to the VIP's director, and that to another real server, which would answer.
const DIRECT_HOPS: u32 = 2;

/// With it, a director that takes in connections of others forwards nothing, nor what it sends itself.
const BACKUP_ONLY: &str = "/proc/sys/net/ipv4/vs/backup_only";

/// Waits until the kernel has the way of a check, which it has at once where it needs none. False when the IPVS driver has ended.
pub(super) async fn is_there(key: &CheckKey, kernel: &mut watch::Receiver<IpvsSnapshot>) -> bool {
    let Some(via) = key.via else { return true };
    kernel.wait_for(|seen| leads_there(key, via, seen)).await.is_ok()
}

/// Whether the way leads to the real server, and to no other.
fn leads_there(key: &CheckKey, via: Via, kernel: &IpvsSnapshot) -> bool {
    let Some(way) = kernel.table.virtual_servers.get(&path_key(via.mark, via.vip)) else {
        return false;
    };
    match way.destinations.settings().as_slice() {
        [(name, settings)] => name.address == key.rip && settings.weight > 0,
        _ => false,
    }
}

/// Tries once. That a VIP does not answer tells of its way only while the RIP answers: otherwise a server that has just died would be
/// told as gray by whichever check comes first.
pub(super) async fn tried(key: &CheckKey, means: &Means) -> Outcome {
    let outcome = try_once(key, means).await;
    let (Outcome::Failed(seen) | Outcome::Silent(seen), Some(at_rip)) = (&outcome, key.at_rip())
    else {
        return outcome;
    };
    match try_once(&at_rip, means).await {
        Outcome::Passed | Outcome::Remarked(_) => outcome,
        Outcome::Failed(_) | Outcome::Silent(_) | Outcome::NotTried(_) => Outcome::NotTried(
            format!("neither the VIP nor the RIP answers ({seen}), so the way is not to blame"),
        ),
    }
}

/// Where such a try goes, and what its packets look like.
pub(super) fn endpoint(key: &CheckKey, via: Via) -> Result<Endpoint, Outcome> {
    if fs::read_to_string(BACKUP_ONLY).is_ok_and(|value| value.trim() == "1") {
        return Err(Outcome::NotTried(format!(
            "the VIP {} cannot be tried with net.ipv4.vs.backup_only: set it to 0, or leave check.through_vip out",
            via.vip
        )));
    }
    let source = match key.check.source {
        Some(source) => source,
        None => source_towards(key.rip).map_err(|error| {
            Outcome::NotTried(format!("no way to {}, so its VIP is not tried: {error}", key.rip))
        })?,
    };
    let is_nobodys =
        [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED), via.vip]
            .contains(&source);
    if is_nobodys {
        return Err(Outcome::NotTried(format!(
            "this director has no address of its own towards {}: give its interface one, or name it as check.source",
            key.rip
        )));
    }
    let hops = match via.forwarding {
        ForwardingMethod::Dr => Some(DIRECT_HOPS),
        ForwardingMethod::Nat | ForwardingMethod::Tunnel => None,
    };
    let address = SocketAddr::new(via.vip, key.port.get());
    Ok(Endpoint { address, source: Some(source), fwmark: Some(via.mark), hops })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fulcrum_ipvs::plan::path_entry;
    use fulcrum_ipvs::{DestinationSettings, Forwarding, Table};
    use fulcrum_model::ThroughVip;

    use super::*;
    use crate::decide::fixtures::virtual_server;
    use crate::decide::weights::Decider;

    fn key() -> (CheckKey, Via, fulcrum_ipvs::VirtualServer) {
        let mut plan = virtual_server("web", 1, &["web1"]);
        plan.check.through_vip = Some(ThroughVip { retries: 1, connect_only: false });
        let entry = path_entry(&plan, &plan.destinations[0]);
        let plan = Arc::new(plan);
        let mut decider = Decider::default();
        decider.change_plan(std::time::Duration::ZERO, &[Arc::clone(&plan)], &[], |_, _| None);
        let key = CheckKey::clone(&decider.paths().of_server(&plan.name)[0]);
        let via = key.via.expect("a way");
        (key, via, entry)
    }

    #[test]
    fn a_way_leads_to_one_real_server() {
        let (key, via, entry) = key();
        let seen = |entry| {
            let table = Table::from_iter([(path_key(via.mark, via.vip), entry)]);
            IpvsSnapshot { table, ..IpvsSnapshot::default() }
        };
        assert!(!leads_there(&key, via, &IpvsSnapshot::default()));
        assert!(leads_there(&key, via, &seen(entry.clone())));
        let (own, _) = entry.destinations.iter().next().expect("one");
        let other =
            fulcrum_ipvs::DestinationKey { address: IpAddr::V4(Ipv4Addr::LOCALHOST), ..own };
        let destination = |weight| fulcrum_ipvs::Destination {
            settings: DestinationSettings::new(weight, Forwarding::Route),
            connections: None,
        };
        for (what, destinations) in [
            ("it leaves", vec![(own, destination(0))]),
            ("to another", vec![(other, destination(1))]),
            ("to two", vec![(own, destination(1)), (other, destination(0))]),
            ("to none", vec![]),
        ] {
            let entry = fulcrum_ipvs::VirtualServer {
                destinations: destinations.into_iter().collect(),
                ..entry.clone()
            };
            assert!(!leads_there(&key, via, &seen(entry)), "{what}");
        }
    }

    #[test]
    fn tries_go_to_the_vip_from_an_address_of_our_own() {
        let (mut key, via, _) = key();
        key.rip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let found = endpoint(&key, via).expect("loopback is there");
        assert_eq!(found.address, SocketAddr::new(via.vip, 80));
        assert_eq!((found.source, found.fwmark), (Some(key.rip), Some(via.mark)));
        assert_eq!(found.hops, Some(DIRECT_HOPS));
        key.check.source = Some(via.vip);
        assert!(matches!(endpoint(&key, via), Err(Outcome::NotTried(_))), "that is not ours alone");
    }
}
