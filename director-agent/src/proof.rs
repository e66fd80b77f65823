//! Asks the segments who has each VIP, and tells who answers and must not.
//!
//! What it does: sends ARP probes for the VIPs of this director's instances, on their interfaces, and
//! hands what comes back to [`fulcrum_vrrp::proof`], which concludes. Where somebody else answers, it
//! also asks for the real servers' addresses, so that a MAC gets a name. What it never does: answer,
//! announce, claim an address, run on the VRRP thread or change a weight. IPv6 is not asked.
//!
//! Start reading at [`Task::run`]; `segment` alone touches the network.

mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fulcrum_vrrp::Role;
use fulcrum_vrrp::proof::{Conclusion, Heard, Mac, Other, Proof, Standing, Verdict};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::vrrp::{InstanceStatus, VrrpSnapshot, mac_text};
use segment::Answers;

/// VIPs that are asked for together on an interface; the next ones follow when their answers are in. So
/// no more than 64 broadcasts a second, however many VIPs there are.
const VIPS_PER_ROUND: usize = 32;
/// Addresses of real servers that are asked for together while somebody is to be named.
const REAL_SERVERS_PER_ROUND: usize = 256;

/// Tells the task what it cannot see. The task ends when this is dropped.
#[derive(Debug)]
pub struct ProofHandle {
    orders: watch::Sender<Orders>,
    task: AbortHandle,
}

/// What a director knows of its segments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProofSnapshot {
    /// By VIP and interface.
    pub vips: BTreeMap<(Ipv4Addr, String), VipProof>,
}

/// What stands of a VIP. Times are the director's [`Clock`]'s.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VipProof {
    /// None before anything was concluded.
    pub conclusion: Option<Conclusion>,
    /// Who else answers, by MAC.
    pub offenders: BTreeMap<Mac, Offender>,
}

/// Somebody who answers and must not.
#[derive(Clone, Debug, PartialEq)]
pub struct Offender {
    /// What was heard of it.
    pub heard: Other,
    /// Addresses of real servers and directors that have the same MAC.
    pub addresses: BTreeSet<Ipv4Addr>,
}

#[derive(Clone, Debug, Default)]
struct Orders {
    /// Addresses of the plan's real servers.
    real_servers: Arc<BTreeSet<Ipv4Addr>>,
    /// Counts what may have changed on the segment.
    hurries: u64,
}

impl ProofHandle {
    /// Asks for the VIPs that VRRP sees. The receiver is told of news; times and counts come along.
    pub fn spawn(
        clock: Clock,
        vrrp: watch::Receiver<VrrpSnapshot>,
    ) -> (Self, watch::Receiver<ProofSnapshot>) {
        let (orders, ordered) = watch::channel(Orders::default());
        let (told, snapshot) = watch::channel(ProofSnapshot::default());
        let task = Task { clock, proofs: BTreeMap::new(), whose: BTreeMap::new(), cursor: 0, told };
        let task = tokio::spawn(task.run(vrrp, ordered)).abort_handle();
        (Self { orders, task }, snapshot)
    }

    /// These are the addresses of the plan's real servers from now on.
    pub fn set_real_servers(&self, real_servers: BTreeSet<Ipv4Addr>) {
        self.orders.send_modify(|orders| {
            orders.real_servers = Arc::new(real_servers);
            orders.hurries += 1;
        });
    }

    /// Something has changed on the segment: a real server has bound a VIP, or booted.
    pub fn hasten(&self) {
        self.orders.send_modify(|orders| orders.hurries += 1);
    }
}

impl Drop for ProofHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Key = (Ipv4Addr, String);

/// All that it knows.
struct Task {
    clock: Clock,
    proofs: BTreeMap<Key, Proof>,
    /// By interface and address: the MACs that answered for a real server or a director.
    whose: BTreeMap<(String, Ipv4Addr), BTreeSet<Mac>>,
    /// Real servers asked for so far, to take them in turn.
    cursor: usize,
    told: watch::Sender<ProofSnapshot>,
}

/// What is asked on one interface.
#[derive(Debug, Default)]
struct Questions {
    vips: BTreeMap<Ipv4Addr, Standing>,
    /// Directors and real servers.
    hosts: BTreeSet<Ipv4Addr>,
}

impl Task {
    async fn run(
        mut self,
        mut vrrp: watch::Receiver<VrrpSnapshot>,
        mut orders: watch::Receiver<Orders>,
    ) {
        let mut hurries = 0;
        loop {
            self.stand(&vrrp.borrow_and_update());
            let ordered = orders.borrow_and_update().clone();
            let now = self.clock.now();
            if ordered.hurries != hurries {
                hurries = ordered.hurries;
                self.proofs.values_mut().for_each(|proof| proof.hasten(now));
            }
            let due = self.proofs.values().filter_map(Proof::due).min();
            if due.is_some_and(|due| due <= now) {
                self.round(now, &vrrp, &ordered.real_servers).await;
                self.tell();
                continue;
            }
            self.tell();
            let rest = async {
                match due {
                    Some(due) => tokio::time::sleep_until(self.clock.at(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = vrrp.changed() => if changed.is_err() { return },
                changed = orders.changed() => if changed.is_err() { return },
                () = rest => {}
            }
        }
    }

    /// Takes where this director stands towards each VIP.
    fn stand(&mut self, seen: &VrrpSnapshot) {
        let now = self.clock.now();
        let mut standings: BTreeMap<Key, Standing> = BTreeMap::new();
        for status in seen.instances.values() {
            for vip in &status.seen_vips {
                let IpAddr::V4(address) = vip.address else { continue };
                let standing = standing(status, vip.virtual_mac);
                standings.insert((address, vip.interface.clone()), standing);
            }
        }
        self.proofs.retain(|key, _| standings.contains_key(key));
        for (key, standing) in standings {
            self.proofs.entry(key).or_default().stand(now, standing);
        }
        if !self.proofs.values().any(Proof::has_others) {
            self.whose.clear();
        }
    }

    /// Asks for the VIPs that are due, on all interfaces at once, and takes the answers.
    async fn round(
        &mut self,
        now: Duration,
        vrrp: &watch::Receiver<VrrpSnapshot>,
        real_servers: &BTreeSet<Ipv4Addr>,
    ) {
        let mut asking = JoinSet::new();
        for (interface, questions) in self.questions(now, real_servers) {
            asking.spawn(async move {
                let targets = questions.vips.keys().chain(&questions.hosts).copied().collect();
                let answers = segment::ask(&interface, &targets).await;
                (interface, questions, answers)
            });
        }
        while let Some(asked) = asking.join_next().await {
            let Ok((interface, questions, answers)) = asked else { continue };
            // Answers count for who is Active now and was when it was asked.
            self.stand(&vrrp.borrow());
            match answers {
                Ok(answers) => self.hear(now, &interface, &questions, &answers),
                Err(error) => {
                    tracing::debug!(interface, %error, "cannot ask who has the VIPs");
                    for vip in questions.vips.into_keys() {
                        if let Some(proof) = self.proofs.get_mut(&(vip, interface.clone())) {
                            proof.postpone(now);
                        }
                    }
                }
            }
        }
    }

    fn questions(
        &mut self,
        now: Duration,
        real_servers: &BTreeSet<Ipv4Addr>,
    ) -> BTreeMap<String, Questions> {
        let mut due: Vec<(Duration, &Key, &Proof)> = self
            .proofs
            .iter()
            .filter_map(|(key, proof)| Some((proof.due()?, key, proof)))
            .filter(|(due, ..)| *due <= now)
            .collect();
        due.sort_by_key(|(due, key, _)| (*due, *key));
        let mut questions: BTreeMap<String, Questions> = BTreeMap::new();
        let mut wants_names = BTreeSet::new();
        for (_, (vip, interface), proof) in due {
            let asked = questions.entry(interface.clone()).or_default();
            if asked.vips.len() >= VIPS_PER_ROUND {
                continue;
            }
            let standing = proof.standing();
            asked.vips.insert(*vip, standing);
            if let Standing::Hears { active: IpAddr::V4(active), .. } = standing {
                asked.hosts.insert(active);
            }
            if proof.has_others() {
                wants_names.insert(interface.clone());
            }
        }
        if !wants_names.is_empty() {
            let turn = in_turn(real_servers, &mut self.cursor);
            for interface in wants_names {
                questions.entry(interface).or_default().hosts.extend(&turn);
            }
        }
        questions
    }

    fn hear(&mut self, now: Duration, interface: &str, questions: &Questions, answers: &Answers) {
        let of = |address: &Ipv4Addr| answers.claims.get(address).cloned().unwrap_or_default();
        for host in &questions.hosts {
            let macs = of(host).into_keys().collect();
            self.whose.insert((interface.to_owned(), *host), macs);
        }
        for (vip, standing) in &questions.vips {
            let Some(proof) = self.proofs.get_mut(&(*vip, interface.to_owned())) else { continue };
            let active = match standing {
                Standing::Hears { active: IpAddr::V4(active), .. } => {
                    of(active).into_keys().collect()
                }
                Standing::Hears { active: IpAddr::V6(_), .. }
                | Standing::Holds { .. }
                | Standing::Apart => BTreeSet::new(),
            };
            let heard = Heard { own: answers.own, claims: of(vip), active };
            proof.hear(now, *standing, &heard);
        }
    }

    /// Tells what stands; wakes who listens where that is news.
    fn tell(&self) {
        let vips = self.proofs.iter().map(|((vip, interface), proof)| {
            let offenders = proof.offenders().map(|(mac, heard)| {
                let addresses = self.addresses(interface, mac);
                (mac, Offender { heard: *heard, addresses })
            });
            let offenders = offenders.collect();
            let conclusion = proof.conclusion().cloned();
            ((*vip, interface.clone()), VipProof { conclusion, offenders })
        });
        let snapshot = ProofSnapshot { vips: vips.collect() };
        self.told.send_if_modified(|last| {
            let is_new = news(last) != news(&snapshot);
            if is_new {
                log(last, &snapshot);
            }
            *last = snapshot;
            is_new
        });
    }

    fn addresses(&self, interface: &str, mac: Mac) -> BTreeSet<Ipv4Addr> {
        let here =
            self.whose.iter().filter(|((on, _), macs)| on == interface && macs.contains(&mac));
        here.map(|((_, address), _)| *address).collect()
    }
}

fn standing(status: &InstanceStatus, virtual_mac: Option<Mac>) -> Standing {
    match (status.role, status.active_router) {
        (Role::Active, _) if status.holds_alone => Standing::Holds { virtual_mac },
        (Role::Backup, Some(active)) => Standing::Hears { active, virtual_mac },
        (Role::Active | Role::Backup | Role::Initialize, _) => Standing::Apart,
    }
}

/// The next real servers to be asked for; `cursor` counts on.
fn in_turn(real_servers: &BTreeSet<Ipv4Addr>, cursor: &mut usize) -> Vec<Ipv4Addr> {
    let Some(first) = cursor.checked_rem(real_servers.len()) else { return Vec::new() };
    let taken = real_servers.len().min(REAL_SERVERS_PER_ROUND);
    *cursor = first + taken;
    real_servers.iter().cycle().skip(first).take(taken).copied().collect()
}

/// What is news of a VIP: not that it was asked for once more.
type News<'a> = (Option<Verdict>, Option<Mac>, Vec<(Mac, &'a BTreeSet<Ipv4Addr>)>);

fn news(snapshot: &ProofSnapshot) -> BTreeMap<&Key, News<'_>> {
    let news = snapshot.vips.iter().map(|(key, proof)| {
        let stands = proof.conclusion.as_ref();
        let offenders = proof.offenders.iter().map(|(mac, offender)| (*mac, &offender.addresses));
        let verdict = stands.map(|conclusion| conclusion.verdict);
        let answered_by = stands.and_then(|conclusion| conclusion.answered_by);
        (key, (verdict, answered_by, offenders.collect()))
    });
    news.collect()
}

/// Says who is newly found, and what is over.
fn log(before: &ProofSnapshot, after: &ProofSnapshot) {
    for ((vip, interface), proof) in &after.vips {
        let old = before.vips.get(&(*vip, interface.clone()));
        let was = |mac: &Mac| old.is_some_and(|old| old.offenders.contains_key(mac));
        for mac in proof.offenders.keys().filter(|mac| !was(mac)) {
            let mac = mac_text(*mac);
            tracing::error!(%vip, interface, mac, "somebody else answers ARP for a VIP");
        }
        let verdict = |proof: &VipProof| proof.conclusion.as_ref().map(|stands| stands.verdict);
        match (old.and_then(verdict), verdict(proof)) {
            (Some(Verdict::Offended | Verdict::Unanswered), Some(Verdict::Proven)) => {
                tracing::info!(%vip, interface, "only the Active answers ARP for a VIP again");
            }
            (Some(before), Some(Verdict::Unanswered)) if before != Verdict::Unanswered => {
                tracing::warn!(%vip, interface, "nobody answers ARP for a VIP");
            }
            (_, Some(_) | None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_servers_are_asked_for_in_turn() {
        let few: BTreeSet<Ipv4Addr> = (1..4).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        let mut cursor = 0;
        assert_eq!(in_turn(&few, &mut cursor).len(), 3);
        assert_eq!(in_turn(&few, &mut cursor).len(), 3, "all of them each time");
        assert_eq!(in_turn(&BTreeSet::new(), &mut cursor), Vec::<Ipv4Addr>::new());
        let many: BTreeSet<Ipv4Addr> = (0..600).map(|n| Ipv4Addr::from(0x0a00_0000 + n)).collect();
        let mut cursor = 0;
        let asked: BTreeSet<Ipv4Addr> = (0..3).flat_map(|_| in_turn(&many, &mut cursor)).collect();
        assert_eq!(asked, many);
    }

    #[test]
    fn a_director_that_settles_stands_apart() {
        let mut status = InstanceStatus::refused(String::new(), std::time::SystemTime::UNIX_EPOCH);
        let active = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let mac = Some([0, 0, 0x5e, 0, 1, 51]);
        status.active_router = Some(active);
        for (role, holds_alone, expected) in [
            (Role::Initialize, false, Standing::Apart),
            (Role::Backup, false, Standing::Hears { active, virtual_mac: mac }),
            (Role::Active, false, Standing::Apart),
            (Role::Active, true, Standing::Holds { virtual_mac: mac }),
        ] {
            (status.role, status.holds_alone) = (role, holds_alone);
            assert_eq!(standing(&status, mac), expected, "{role:?}");
        }
    }
}
