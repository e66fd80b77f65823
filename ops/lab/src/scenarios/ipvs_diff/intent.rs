//! A random intent: what it says in a manifest, and what `ipvsadm -S -n` prints of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::random::Random;
use crate::cluster::manifest;
use crate::net::topology::{PORT, VIP, WEBS};
use crate::peers::crowd;
use crate::watch::ipvsadm::Rules;
use crate::watch::table::{Table, VirtualServer, key_of_address, key_of_mark};

/// Places for virtual servers, of which a step's intent uses some.
const PLACES: usize = 24;
/// Pools, and the real servers of which each has some.
const POOLS: usize = 5;
const REAL_SERVERS: u16 = 12;
/// Largest weight.
const MOST_WEIGHT: usize = 9;
const SCHEDULERS: [&str; 6] = ["rr", "wrr", "lc", "wlc", "sed", "nq"];
const PERSISTENCES: [Option<u32>; 3] = [None, Some(60), Some(300)];
/// Forwarding methods.
const DR: Forwarding = Forwarding { name: "dr", flag: "-g", tunnel: "" };
const NAT: Forwarding = Forwarding { name: "nat", flag: "-m", tunnel: "" };
const TUNNEL: Forwarding = Forwarding { name: "tunnel", flag: "-i", tunnel: " --tun-type ipip" };
/// The virtual server that stays, with connections through it, and its pool.
const ANCHOR: &str = "anchor";
/// How many changes a step makes at most.
const MOST_CHANGES: usize = 6;

/// Virtual servers by their places, and pools.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    servers: BTreeMap<usize, Server>,
    /// Weights by real server.
    pools: [BTreeMap<u16, usize>; POOLS],
    anchor: Anchor,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    scheduler: &'static str,
    persistence: Option<u32>,
    forwarding: Forwarding,
    pool: usize,
}

/// A forwarding method as manifests say it, and as ipvsadm prints it before and after the weight.
#[derive(Clone, Copy, Debug)]
struct Forwarding {
    name: &'static str,
    flag: &'static str,
    tunnel: &'static str,
}

/// What changes of the virtual server that stays.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    scheduler: &'static str,
    weights: [usize; 2],
}

impl Intent {
    /// Some virtual servers.
    pub(crate) fn first(random: &mut Random) -> Self {
        let mut intent = Self {
            servers: BTreeMap::new(),
            pools: std::array::from_fn(|_| BTreeMap::from([(0, 1)])),
            anchor: Anchor { scheduler: "rr", weights: [1, 1] },
        };
        for _ in 0..PLACES {
            intent.change(random);
        }
        intent
    }

    /// The next step's.
    pub(crate) fn next(&self, random: &mut Random) -> Self {
        let mut next = self.clone();
        for _ in 0..=random.below(MOST_CHANGES) {
            next.change(random);
        }
        next
    }

    fn change(&mut self, random: &mut Random) {
        let place = random.below(PLACES);
        match random.below(6) {
            0 | 1 => self.change_place(place, random),
            2 => {
                if let Some(server) = self.servers.get_mut(&place) {
                    server.scheduler = random.one_of(&SCHEDULERS);
                    server.persistence = random.one_of(&PERSISTENCES);
                }
            }
            3 => {
                self.anchor.scheduler = random.one_of(&SCHEDULERS);
                // Its real servers keep their connections: weights, but never none.
                self.anchor.weights = std::array::from_fn(|_| 1 + random.below(MOST_WEIGHT));
            }
            _ => self.change_pool(random),
        }
    }

    /// A virtual server comes, goes, or forwards in another way to another pool.
    fn change_place(&mut self, place: usize, random: &mut Random) {
        if self.servers.contains_key(&place) && random.below(2) == 0 {
            self.servers.remove(&place);
            return;
        }
        // A port of its own is translated.
        let forwarding = if place % 4 == 3 { NAT } else { random.one_of(&[DR, NAT, TUNNEL]) };
        self.servers.insert(
            place,
            Server {
                scheduler: random.one_of(&SCHEDULERS),
                persistence: random.one_of(&PERSISTENCES),
                forwarding,
                pool: random.below(POOLS),
            },
        );
    }

    /// A real server comes, goes, or has another weight.
    fn change_pool(&mut self, random: &mut Random) {
        let pool = &mut self.pools[random.below(POOLS)];
        let number = u16::try_from(random.below(REAL_SERVERS.into())).unwrap_or_default();
        // A pool has one at least, and one with a weight.
        let others = pool.iter().filter(|(it, weight)| **it != number && **weight > 0).count();
        if others > 0 && pool.contains_key(&number) && random.below(2) == 0 {
            pool.remove(&number);
        } else {
            let least = usize::from(others == 0);
            pool.insert(number, least + random.below(MOST_WEIGHT));
        }
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> String {
        let vips: Vec<Ipv4Addr> = std::iter::once(VIP).chain((0..PLACES).map(vip)).collect();
        let mut text = manifest::instance_with(Duration::from_millis(500), &vips);
        // Writing to a String cannot fail.
        let mut real_server = |name: &str, address: SocketAddrV4| {
            let _ = write!(
                text,
                "---\nkind: RealServer\nname: {name}\nspec: {{site: main, rip: {}, port: {}}}\n",
                address.ip(),
                address.port()
            );
        };
        for (number, web) in WEBS.iter().enumerate() {
            real_server(&format!("{ANCHOR}-{number}"), SocketAddrV4::new(web.address, PORT));
        }
        // One that is in no pool would be expected to have an agent.
        let used: BTreeSet<u16> = self.pools.iter().flat_map(BTreeMap::keys).copied().collect();
        for number in used {
            real_server(&format!("r{number}"), SocketAddrV4::new(crowd::rip(number), crowd::PORT));
        }
        let member = |name: String, weight| format!("{{real_server: {name}, weight: {weight}}}");
        let of_anchor = self.anchor.weights.iter().enumerate();
        pool(&mut text, ANCHOR, of_anchor.map(|(it, w)| member(format!("{ANCHOR}-{it}"), w)));
        for (number, members) in self.pools.iter().enumerate() {
            let members = members.iter().map(|(it, weight)| member(format!("r{it}"), weight));
            pool(&mut text, &format!("p{number}"), members);
        }
        let _ = write!(
            text,
            "---\nkind: VirtualServer\nname: {ANCHOR}\nspec: {{vrrp_instance: vi-1, vip: {VIP}, port: {PORT}, \
             scheduler: {}, forwarding: dr, pool: {ANCHOR}}}\n",
            self.anchor.scheduler
        );
        for (place, server) in &self.servers {
            let persistence = server
                .persistence
                .map_or(String::new(), |seconds| format!(", persistence_timeout: {seconds}s"));
            let _ = write!(
                text,
                "---\nkind: VirtualServer\nname: v{place}\nspec: {{vrrp_instance: vi-1, {}, scheduler: {}, \
                 forwarding: {}, pool: p{}{persistence}}}\n",
                Listen::of(*place).manifest(),
                server.scheduler,
                server.forwarding.name,
                server.pool
            );
        }
        text
    }

    /// The rules of both kernels.
    pub(crate) fn rules(&self) -> Rules {
        let mut rules = Rules::new();
        let anchor = format!("-t {VIP}:{PORT}");
        rules.insert(format!("-A {anchor} -s {}", self.anchor.scheduler));
        for (web, weight) in WEBS.iter().zip(self.anchor.weights) {
            rules.insert(format!("-a {anchor} -r {}:{PORT} -g -w {weight}", web.address));
        }
        for (place, server) in &self.servers {
            let listen = Listen::of(*place);
            let service = listen.flags();
            let persistence =
                server.persistence.map_or(String::new(), |seconds| format!(" -p {seconds}"));
            rules.insert(format!("-A {service} -s {}{persistence}", server.scheduler));
            for (number, weight) in &self.pools[server.pool] {
                let to = listen.real_server(*number);
                let Forwarding { flag, tunnel, .. } = server.forwarding;
                rules.insert(format!("-a {service} -r {to} {flag} -w {weight}{tunnel}"));
            }
        }
        rules
    }

    /// What both have: the entries that must not be deleted on the way from one to the other.
    pub(crate) fn staying(&self, next: &Self) -> Table {
        let (mut before, after) = (self.table(), next.table());
        before.virtual_servers.retain(|key, server| {
            let Some(kept) = after.virtual_servers.get(key) else { return false };
            server.destinations.retain(|address, _| kept.destinations.contains_key(address));
            true
        });
        before
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        let mut add = |key: String, real_servers: Vec<SocketAddrV4>| {
            let mut server = VirtualServer::default();
            let entry = |address| (address, (String::new(), 0));
            server.destinations.extend(real_servers.into_iter().map(entry));
            table.virtual_servers.insert(key, server);
        };
        let webs = WEBS.iter().map(|web| SocketAddrV4::new(web.address, PORT)).collect();
        add(key_of_address("TCP", SocketAddrV4::new(VIP, PORT)), webs);
        for (place, server) in &self.servers {
            let listen = Listen::of(*place);
            let numbers = self.pools[server.pool].keys();
            add(listen.key(), numbers.map(|number| listen.real_server(*number)).collect());
        }
        table
    }
}

/// The VIP of a place.
fn vip(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 3, u8::try_from(place + 1).unwrap_or(u8::MAX))
}

/// What the virtual server of a place takes.
#[derive(Clone, Copy, Debug)]
enum Listen {
    Tcp(SocketAddrV4),
    Udp(SocketAddrV4),
    Mark(u32),
}

impl Listen {
    /// By fours: TCP, UDP and a mark with the real servers' port, TCP with another.
    fn of(place: usize) -> Self {
        let at = |port| SocketAddrV4::new(vip(place), port);
        match place % 4 {
            0 => Self::Tcp(at(crowd::PORT)),
            1 => Self::Udp(at(crowd::PORT)),
            2 => Self::Mark(100 + u32::try_from(place).unwrap_or_default()),
            _ => Self::Tcp(at(9000)),
        }
    }

    fn manifest(self) -> String {
        match self {
            Self::Tcp(at) => format!("vip: {}, port: {}, protocol: tcp", at.ip(), at.port()),
            Self::Udp(at) => format!("vip: {}, port: {}, protocol: udp", at.ip(), at.port()),
            Self::Mark(mark) => format!("fwmark: {mark}"),
        }
    }

    fn flags(self) -> String {
        match self {
            Self::Tcp(at) => format!("-t {at}"),
            Self::Udp(at) => format!("-u {at}"),
            Self::Mark(mark) => format!("-f {mark}"),
        }
    }

    /// The key in a [`Table`].
    fn key(self) -> String {
        match self {
            Self::Tcp(at) => key_of_address("TCP", at),
            Self::Udp(at) => key_of_address("UDP", at),
            Self::Mark(mark) => key_of_mark(mark),
        }
    }

    /// A real server's entry: ports stay as they are under a mark.
    fn real_server(self, number: u16) -> SocketAddrV4 {
        let port = if matches!(self, Self::Mark(_)) { 0 } else { crowd::PORT };
        SocketAddrV4::new(crowd::rip(number), port)
    }
}

fn pool(text: &mut String, name: &str, members: impl Iterator<Item = String>) {
    let members: Vec<String> = members.collect();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "---\nkind: Pool\nname: {name}\nspec:\n  agent: none\n  check: {{tcp: {{}}, interval: 1s}}\n  \
         members: [{}]\n",
        members.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_change_something_and_rules_follow_the_manifest() {
        let mut random = Random::of_seed(1);
        let mut intent = Intent::first(&mut random);
        let mut different = 0;
        for _ in 0..50 {
            let next = intent.next(&mut random);
            different += usize::from(next.rules() != intent.rules());
            let servers = next.manifest().matches("kind: VirtualServer").count();
            assert_eq!(servers, next.rules().iter().filter(|rule| rule.starts_with("-A")).count());
            let staying = intent.staying(&next);
            assert!(staying.virtual_servers.contains_key("TCP 192.168.1.150:80"));
            intent = next;
        }
        assert!(different > 40, "{different}");
    }
}
