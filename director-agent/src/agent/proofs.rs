//! What is wrong on this director's host and on its segments, as findings with their remedies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use fulcrum_model::{Name, VipEvidence};
use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::v1;
use fulcrum_session::ClockReading;
use fulcrum_vrrp::proof::{Conclusion, Mac, Verdict};

use super::Agent;
use crate::clock::Clock;
use crate::findings;
use crate::proof::{Offender, ProofSnapshot, VipProof};
use crate::vrrp::{VrrpSnapshot, mac_text};

/// Most proofs that are told.
const MOST_PROOFS: usize = 256;

/// A real server that has an address.
struct Owner<'a> {
    real_server: &'a Name,
    agent: &'a Name,
}

/// Real servers by address.
type Owners<'a> = BTreeMap<Ipv4Addr, Vec<Owner<'a>>>;

impl Agent {
    /// What is wrong, and what is not known.
    pub(super) fn host_look(&self, vrrp: &VrrpSnapshot) -> Look {
        let seen = self.proofs_seen.borrow();
        let said =
            |agent: &Name, vip| self.decider.vip_evidence(self.clock.now(), agent, IpAddr::V4(vip));
        Look::merge([
            arp_look(&seen, &self.owners_of(&seen), said),
            ClockReading::newest(self.skew.as_ref()),
            findings::vrrp(vrrp).into(),
            self.found.borrow().clone(),
        ])
    }

    /// Who answers ARP for each VIP, those with offenders first.
    pub(super) fn arp_proofs(&self) -> Vec<v1::ArpProof> {
        let seen = self.proofs_seen.borrow();
        let owners = self.owners_of(&seen);
        let mut proofs: Vec<_> = seen.vips.iter().collect();
        proofs
            .sort_by_key(|((vip, interface), proof)| (proof.offenders.is_empty(), *vip, interface));
        proofs.truncate(MOST_PROOFS);
        proofs
            .into_iter()
            .map(|((vip, interface), proof)| to_wire(*vip, interface, proof, &owners, self.clock))
            .collect()
    }

    /// Lets the proofs know the plan's real servers, once for each plan.
    pub(super) fn follow_real_servers(&mut self) {
        if self.asked_by == self.plans.in_force().cloned() {
            return;
        }
        self.asked_by = self.plans.in_force().cloned();
        let all = self.destinations().filter_map(|destination| ipv4(destination.rip));
        self.proofs.set_real_servers(all.collect());
    }

    /// Each real server of the plan; those that share one list once.
    fn destinations(&self) -> impl Iterator<Item = &fulcrum_model::plan::DestinationPlan> {
        let mut seen = BTreeSet::new();
        let servers = self.decider.servers().values();
        let servers = servers.filter(move |server| seen.insert(server.destinations.as_ptr()));
        servers.flat_map(|server| server.all_destinations())
    }

    /// The real servers that have an offender's address.
    fn owners_of(&self, seen: &ProofSnapshot) -> Owners<'_> {
        let offenders = seen.vips.values().flat_map(|proof| proof.offenders.values());
        let wanted: BTreeSet<Ipv4Addr> =
            offenders.flat_map(|offender| &offender.addresses).copied().collect();
        let mut owners = Owners::new();
        if wanted.is_empty() {
            return owners;
        }
        for destination in self.destinations() {
            let Some(rip) = ipv4(destination.rip).filter(|rip| wanted.contains(rip)) else {
                continue;
            };
            let here = owners.entry(rip).or_default();
            if here.iter().all(|owner| owner.real_server != &destination.real_server) {
                let (real_server, agent) = (&destination.real_server, &destination.agent);
                here.push(Owner { real_server, agent });
            }
        }
        for owners in owners.values_mut() {
            owners.sort_by_key(|owner| owner.real_server);
        }
        owners
    }
}

/// What stands of the VIPs, where it is wrong or nobody knows. `said` gives what an agent says of a VIP on its host, if its word counts.
fn arp_look<'a>(
    seen: &ProofSnapshot,
    owners: &Owners<'_>,
    said: impl Fn(&Name, Ipv4Addr) -> Option<&'a VipEvidence>,
) -> Look {
    let (mut findings, mut unchecked) = (Vec::new(), Vec::new());
    if seen.vips.is_empty() {
        unchecked.push(Code::ArpProof.unchecked("it has no IPv4 VIP to ask for yet"));
    }
    for ((vip, interface), proof) in &seen.vips {
        let stands = proof.conclusion.as_ref().map(|stands| stands.verdict);
        match stands {
            Some(Verdict::Unanswered) => findings.push(unanswered(*vip, interface)),
            Some(Verdict::Undecided) => unchecked.push(Code::ArpProof.unchecked(format!(
                "whether it is the Active that answers for {vip} cannot be told: its own address is not on {interface}"
            ))),
            None => unchecked.push(Code::ArpProof.unchecked(format!(
                "of {vip} on {interface} nothing was concluded yet"
            ))),
            Some(Verdict::Proven | Verdict::Offended) => {}
        }
        for (mac, offender) in &proof.offenders {
            let owner = offender
                .addresses
                .iter()
                .find_map(|address| Some((*address, owners.get(address)?.first()?)));
            let (who, remedy) = match (owner, offender.addresses.first()) {
                (Some((rip, owner)), _) => {
                    real_server(*vip, rip, owner, offender, said(owner.agent, *vip))
                }
                (None, Some(director)) => another_director(*vip, *director),
                (None, None) => stranger(*vip),
            };
            let mac = mac_text(*mac);
            findings.push(Code::ArpProof.error(
                vip.to_string(),
                format!("VIP {vip} on {interface} is also answered by {mac}, {who}"),
                remedy,
            ));
        }
    }
    Look { findings, unchecked }
}

/// Who it is, with the setting that is wrong there by its agent's word or by what was heard; and the remedy.
fn real_server(
    vip: Ipv4Addr,
    rip: Ipv4Addr,
    owner: &Owner<'_>,
    offender: &Offender,
    said: Option<&VipEvidence>,
) -> (String, String) {
    let Owner { real_server, agent } = owner;
    let (key, value) = if offender.heard.answers { ("arp_ignore", 1) } else { ("arp_announce", 2) };
    let setting = format!("net.ipv4.conf.{{all,the interface of {rip}}}.{key}");
    let why = match said {
        Some(said) if !said.detail.is_empty() => format!("its agent says: {}", said.detail),
        Some(_) => format!(
            "{setting} is not {value} there, though its agent last found it so: look also into its containers and at \
             its other interfaces"
        ),
        None => format!(
            "{setting} is not {value} there, and agent {agent} says nothing of it: it does not run, or need not"
        ),
    };
    let remedy = format!(
        "on {rip}: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, or start \
         fulcrum-realserver there, which sets both; then `ip neigh flush to {vip}` on clients and routers that \
         have learnt the wrong MAC"
    );
    (format!("which is real server {real_server} ({rip}): {why}"), remedy)
}

fn another_director(vip: Ipv4Addr, director: Ipv4Addr) -> (String, String) {
    let who = format!("which is the director at {director}");
    let remedy = format!(
        "see `lvsctl status` for two Actives, and take {vip} from the one that is not: `ip address del {vip} dev \
         INTERFACE` there, if no agent of ours or keepalived holds it"
    );
    (who, remedy)
}

fn stranger(vip: Ipv4Addr) -> (String, String) {
    let who = "which is none of the plan's real servers".to_owned();
    let remedy = format!(
        "find the host by its MAC (the switch's forwarding table, `bridge fdb show`), and take {vip} from it or set \
         net.ipv4.conf.all.arp_ignore=1 on it"
    );
    (who, remedy)
}

fn unanswered(vip: Ipv4Addr, interface: &str) -> v1::Finding {
    Code::ArpProof.warning(
        vip.to_string(),
        format!("nobody answers ARP for VIP {vip} on {interface}, although the Active lives there"),
        format!(
            "on the Active: `ip address show to {vip}`, and `sysctl net.ipv4.conf.all.arp_ignore`, which must be 0 or 1 \
             there; and filters of ARP (`nft list ruleset`, `arptables -L`, the switch)"
        ),
    )
}

fn to_wire(
    vip: Ipv4Addr,
    interface: &str,
    proof: &VipProof,
    owners: &Owners<'_>,
    clock: Clock,
) -> v1::ArpProof {
    let stands = proof.conclusion.as_ref();
    let offenders = proof.offenders.iter();
    v1::ArpProof {
        vip: vip.to_string(),
        interface: interface.to_owned(),
        verdict: stands.map_or(v1::ArpVerdict::Unspecified, verdict).into(),
        asked_at: stands.map(|stands| clock.wall(stands.asked_at).into()),
        answered_by: stands.and_then(|stands| stands.answered_by).map(mac_text).unwrap_or_default(),
        offenders: offenders
            .map(|(mac, offender)| offence(*mac, offender, owners, clock))
            .collect(),
    }
}

fn offence(mac: Mac, offender: &Offender, owners: &Owners<'_>, clock: Clock) -> v1::ArpOffender {
    let names = offender.addresses.iter().filter_map(|address| owners.get(address)).flatten();
    let names: BTreeSet<&Name> = names.map(|owner| owner.real_server).collect();
    v1::ArpOffender {
        mac: mac_text(mac),
        addresses: offender.addresses.iter().map(ToString::to_string).collect(),
        real_servers: names.into_iter().map(ToString::to_string).collect(),
        count: offender.heard.count,
        last_seen: Some(clock.wall(offender.heard.last_seen).into()),
    }
}

fn verdict(stands: &Conclusion) -> v1::ArpVerdict {
    match stands.verdict {
        Verdict::Proven => v1::ArpVerdict::Proven,
        Verdict::Offended => v1::ArpVerdict::Offended,
        Verdict::Unanswered => v1::ArpVerdict::Unanswered,
        Verdict::Undecided => v1::ArpVerdict::Undecided,
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
