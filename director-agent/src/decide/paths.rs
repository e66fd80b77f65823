//! Checks through VIPs: which are wanted, and the firewall mark of each.
//!
//! A mark comes from what is tried, by a hash, so that most keep theirs over a restart and are the same on every director. Of two
//! with the same hash the later one gets the next that is free; it keeps that for as long as it is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use fulcrum_model::plan::VirtualServerPlan;
use fulcrum_model::{ForwardingMethod, Listen, Name, path};

use super::check::{CheckKey, Via};

/// What is tried: a VIP and port, and the real server that shall answer.
type Target = (SocketAddr, SocketAddr);

/// The checks through VIPs of a plan.
#[derive(Debug, Default)]
pub struct Paths {
    marks: Marks,
    /// In the order of its destinations.
    of_server: BTreeMap<Name, Vec<Arc<CheckKey>>>,
    /// None while nobody wants it any more.
    by_key: BTreeMap<Arc<CheckKey>, Option<Name>>,
}

impl Paths {
    /// Those of a virtual server, in the order of its destinations; none when none are asked for.
    pub fn of_server(&self, virtual_server: &Name) -> &[Arc<CheckKey>] {
        self.of_server.get(virtual_server).map_or(&[], Vec::as_slice)
    }

    /// The virtual server whose weights depend on one.
    pub fn server_of(&self, key: &CheckKey) -> Option<&Name> {
        self.by_key.get(key)?.as_ref()
    }

    /// Every one.
    pub fn all(&self) -> impl Iterator<Item = &CheckKey> {
        self.by_key.keys().map(Arc::as_ref)
    }

    /// Leaves those of a virtual server behind, for what is put in next most often wants them again.
    pub(super) fn take_out(&mut self, virtual_server: &Name, left: &mut BTreeSet<Arc<CheckKey>>) {
        for key in self.of_server.remove(virtual_server).unwrap_or_default() {
            if let Some(server) = self.by_key.get_mut(&key) {
                *server = None;
            }
            left.insert(key);
        }
    }

    /// Takes those of a virtual server, and adds those that nobody wanted before to `begun`.
    pub(super) fn put_in(&mut self, server: &VirtualServerPlan, begun: &mut Vec<CheckKey>) {
        let Some(through) = server.check.through_vip else { return };
        let Listen::Address { vip, port: Some(port), .. } = server.listen else { return };
        let mut keys = Vec::with_capacity(server.destinations.len());
        for destination in server.destinations.iter() {
            let real_server = (destination.rip, destination.port.get()).into();
            let target = ((vip, port.get()).into(), real_server);
            // A plan that asks for more than there are marks was refused.
            let Some(mark) = self.marks.assign(target) else { return };
            let forwarding = destination.forwarding;
            let via = Via { vip, mark, port: destination.port, forwarding };
            let key = CheckKey::through_vip(real_server, port, via, &server.check, through);
            keys.push(Arc::new(key));
        }
        for key in &keys {
            if self.by_key.insert(Arc::clone(key), Some(server.name.clone())).is_none() {
                begun.push(CheckKey::clone(key));
            }
        }
        self.of_server.insert(server.name.clone(), keys);
    }

    /// Forgets those of `left` that nobody wants any more, and answers with them.
    pub(super) fn let_go(&mut self, left: BTreeSet<Arc<CheckKey>>) -> Vec<CheckKey> {
        let is_unwanted = |key: &Arc<CheckKey>| matches!(self.by_key.get(key), Some(None));
        let ended: Vec<Arc<CheckKey>> = left.into_iter().filter(is_unwanted).collect();
        if ended.is_empty() {
            return Vec::new();
        }
        for key in &ended {
            self.by_key.remove(key);
        }
        let used: BTreeSet<NonZeroU32> = self.all().filter_map(|key| Some(key.via?.mark)).collect();
        for mark in ended.iter().filter_map(|key| Some(key.via?.mark)) {
            if !used.contains(&mark) {
                self.marks.release(mark);
            }
        }
        ended.iter().map(|key| CheckKey::clone(key)).collect()
    }
}

/// How many checks through VIPs a virtual server asks for.
pub fn count(server: &VirtualServerPlan) -> usize {
    server.check.through_vip.map_or(0, |_| server.destinations.len())
}

/// Which marks are whose.
#[derive(Debug, Default)]
struct Marks {
    of_target: BTreeMap<Target, NonZeroU32>,
    taken: BTreeMap<NonZeroU32, Target>,
}

impl Marks {
    /// The target's mark; none when every mark is another's.
    fn assign(&mut self, target: Target) -> Option<NonZeroU32> {
        if let Some(known) = self.of_target.get(&target) {
            return Some(*known);
        }
        let first = hash(&target) % path::MARKS;
        let numbers = (first..path::MARKS).chain(0..first);
        let mark = numbers.filter_map(path::mark).find(|mark| !self.taken.contains_key(mark))?;
        self.taken.insert(mark, target);
        self.of_target.insert(target, mark);
        Some(mark)
    }

    fn release(&mut self, mark: NonZeroU32) {
        if let Some(target) = self.taken.remove(&mark) {
            self.of_target.remove(&target);
        }
    }
}

/// FNV-1a: it says the same in every build, and on every director.
fn hash((vip, real_server): &Target) -> u32 {
    let bytes = [vip, real_server].into_iter().flat_map(|address| {
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets.into_iter().chain(address.port().to_be_bytes())
    });
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Via {
    /// Whether its answers come from the VIP itself, as with dr and tunnel.
    pub fn is_answered_by_vip(&self) -> bool {
        match self.forwarding {
            ForwardingMethod::Dr | ForwardingMethod::Tunnel => true,
            ForwardingMethod::Nat => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_model::{Check, ProbeKind, ThroughVip};

    use super::*;
    use crate::decide::fixtures::{name, rip, virtual_server};

    fn server(text: &str, vip: u8, real_servers: &[&str]) -> VirtualServerPlan {
        let mut server = virtual_server(text, vip, real_servers);
        server.check.through_vip = Some(ThroughVip { retries: 4, connect_only: false });
        server
    }

    /// Changes as the index does; gives the RIPs and marks of those begun and ended.
    fn change(
        paths: &mut Paths,
        gone: &[&str],
        servers: &[VirtualServerPlan],
    ) -> [Vec<(IpAddr, u32)>; 2] {
        let (mut left, mut begun) = (BTreeSet::new(), Vec::new());
        for text in gone {
            paths.take_out(&name(text), &mut left);
        }
        for server in servers {
            paths.put_in(server, &mut begun);
        }
        let ended = paths.let_go(left);
        [begun, ended].map(|keys| {
            keys.iter().map(|key| (key.rip, key.via.expect("a way").mark.get())).collect()
        })
    }

    #[test]
    fn a_change_begins_and_ends_what_differs() {
        let mut paths = Paths::default();
        let [begun, ended] = change(&mut paths, &[], &[server("a", 1, &["web1", "web2"])]);
        assert_eq!((begun.len(), ended.len()), (2, 0));
        assert_eq!(paths.of_server(&name("a")).len(), 2);

        let [more, ended] = change(
            &mut paths,
            &["a"],
            &[server("a", 1, &["web2", "web3"]), server("b", 2, &["web2"])],
        );
        assert_eq!(
            more.iter().map(|(rip, _)| *rip).collect::<Vec<_>>(),
            [rip("web3"), rip("web2")]
        );
        assert_eq!(ended, [begun[0]], "web2 of a goes on as it was");

        // What moves to another name goes on, too.
        let [begun, ended] = change(&mut paths, &["b"], &[server("c", 2, &["web2"])]);
        assert_eq!((begun.len(), ended.len()), (0, 0));
        let key = CheckKey::clone(&paths.of_server(&name("c"))[0]);
        assert_eq!(paths.server_of(&key), Some(&name("c")));
        assert_eq!(change(&mut paths, &["a", "c"], &[])[1].len(), 3);
        assert!(paths.all().next().is_none() && paths.marks.taken.is_empty());
        assert!(paths.marks.of_target.is_empty());
    }

    #[test]
    fn a_key_has_its_own_pace_and_goes_to_the_vip() {
        let mut paths = Paths::default();
        let mut plan = server("a", 1, &["web1"]);
        plan.check.fwmark = NonZeroU32::new(7);
        change(&mut paths, &[], &[plan]);
        let key = CheckKey::clone(&paths.of_server(&name("a"))[0]);
        assert_eq!((key.check.retries, key.check.fwmark, key.port.get()), (4, None, 80));
        assert_eq!(key.check.through_vip, None);
        let mut paths = Paths::default();
        let mut plan = server("a", 1, &["web1"]);
        plan.check.probe = ProbeKind::Icmp;
        plan.check.through_vip = Some(ThroughVip { retries: 0, connect_only: true });
        change(&mut paths, &[], &[plan]);
        assert_eq!(paths.of_server(&name("a"))[0].check.probe, ProbeKind::Tcp(None));
        assert_ne!(*paths.of_server(&name("a"))[0], CheckKey::clone(&key));
        assert_eq!(count(&virtual_server("a", 1, &["web1"])), 0);
        assert_eq!(CheckKey::new(rip("web1"), key.port, &Check::default()).via, None);
    }

    #[test]
    fn marks_are_the_same_everywhere_and_never_shared() {
        let target = |host: u32| {
            let [_, a, b, c] = host.to_be_bytes();
            let socket = |ip: [u8; 4]| SocketAddr::from((ip, 80));
            (socket([192, 168, 1, 150]), socket([10, a, b, c]))
        };
        let mut marks = Marks::default();
        let first = marks.assign(target(1)).expect("there is room");
        assert!(path::is_mark(first));
        assert_eq!(Marks::default().assign(target(1)), Some(first), "whoever asks");
        let of_many: BTreeSet<_> =
            (1..=path::MARKS).map(|host| marks.assign(target(host))).collect();
        assert_eq!(of_many.len(), path::MARKS as usize);
        assert_eq!(marks.assign(target(path::MARKS + 1)), None);
        assert_eq!(marks.assign(target(1)), Some(first), "it keeps its own");
        marks.release(first);
        assert_eq!(marks.assign(target(path::MARKS + 1)), Some(first));
    }
}
