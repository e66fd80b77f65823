//! Names of hosts and services, as this host knows them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};

use fulcrum_proto::v1::Protocol;

/// What services(5) names.
const SERVICES: &str = "/etc/services";

/// Asks the resolver once for each name, and knows the host's services.
pub(crate) struct Resolver {
    services: BTreeMap<(String, &'static str), u16>,
    hosts: RefCell<BTreeMap<String, Vec<IpAddr>>>,
}

impl Resolver {
    /// As this host is set up. Without its file there are no services.
    pub(crate) fn of_this_host() -> Self {
        Self::new(&std::fs::read_to_string(SERVICES).unwrap_or_default())
    }

    /// With these services.
    pub(super) fn new(services: &str) -> Self {
        let mut known = BTreeMap::new();
        for line in services.lines() {
            let text = line.split('#').next().unwrap_or_default();
            let mut words = text.split_whitespace();
            let (Some(name), Some(socket)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = socket.split_once('/') else { continue };
            let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| *known == protocol);
            let (Ok(port), Some(protocol)) = (port.parse(), protocol) else { continue };
            for name in std::iter::once(name).chain(words) {
                // As getservbyname(3): the first line that has it.
                known.entry((name.to_owned(), protocol)).or_insert(port);
            }
        }
        Self { services: known, hosts: RefCell::default() }
    }

    /// The address of a host's name.
    pub(crate) fn host(&self, name: &str, is_ipv6: bool) -> Option<IpAddr> {
        let mut hosts = self.hosts.borrow_mut();
        let addresses = hosts.entry(name.to_owned()).or_insert_with(|| {
            let found = (name, 0).to_socket_addrs();
            found.map(|found| found.map(|socket| socket.ip()).collect()).unwrap_or_default()
        });
        addresses.iter().find(|address| address.is_ipv6() == is_ipv6).copied()
    }

    /// The port of a service's name.
    pub(crate) fn service(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let protocol = match protocol {
            Protocol::Unspecified | Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        self.services.get(&(name.to_owned(), protocol)).copied()
    }
}
