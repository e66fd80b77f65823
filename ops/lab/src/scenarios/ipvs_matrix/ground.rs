//! What traffic needs beside the directors' tables and what the agents make of the real servers' hosts: clients with
//! addresses behind a hop, routes, and servers that answer with their names.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::net::endpoint::Endpoint;
use crate::net::topology::{self, CLIENT, DIRECTORS, Node, WEBS, ip_batch, set_sysctl};
use crate::peers::answerer;
use crate::process::Process;

/// Clients' networks: replies to the first go there at once, those to the second through the first director, which nat
/// needs. The third is the first's for IPv6.
const CLIENTS: &str = "10.77.0.0/16";
const CLIENTS_OF_NAT: &str = "10.78.0.0/16";
const CLIENTS6: &str = "2001:db8:77::/64";
/// A client by itself, another one of its /24, and one of another /24.
pub(super) const ONE_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const ITS_NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const A_STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// The client that reaches real servers by nat, and the one of IPv6.
pub(super) const NAT_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
pub(super) const ONE_CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);
/// Where real servers accept the directors' checks, whatever they serve.
pub(super) const CHECK_PORT: u16 = 7;
/// Reverse-path filtering of every interface that has no greater value of its own.
const RP_FILTER: &str = "net/ipv4/conf/all/rp_filter";

/// The address of a node in IPv6: its IPv4 address's last number.
pub(super) fn address6(node: Node) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(node.address.octets()[3]))
}

/// It all, until taken down.
#[derive(Debug)]
pub(super) struct TrafficGround {
    servers: Vec<Process>,
}

impl TrafficGround {
    /// Makes it, but for the servers.
    pub(super) fn raise() -> Result<Self> {
        let [first, second] = WEBS;
        topology::enable_ipv6(&[CLIENT, first, second])?;
        raise_client()?;
        for director in DIRECTORS {
            raise_director(director)?;
        }
        for web in WEBS {
            raise_web(web).with_context(|| format!("cannot set up {} for traffic", web.name))?;
        }
        Ok(Self { servers: Vec::new() })
    }

    /// Starts the servers. `endpoints` are those of each real server; 0.0.0.0 stands for its own address. The VIPs must be
    /// there.
    pub(super) fn serve(&mut self, endpoints: &[Endpoint], logs: &Path) -> Result<()> {
        for web in WEBS {
            self.servers.push(answerer::start(web, endpoints, logs)?);
        }
        Ok(())
    }

    /// Takes away what the next scenario must not find.
    pub(super) fn take_down(self) -> Result<()> {
        for server in self.servers {
            server.kill()?;
        }
        for web in WEBS {
            let lines =
                [CLIENTS, CLIENTS_OF_NAT].map(|network| format!("route del {network} dev eth0"));
            ip_batch(Some(web.name), &lines)?;
            set_sysctl(web.name, RP_FILTER, "0")?;
        }
        for director in DIRECTORS {
            send_redirects(director, "1")?;
        }
        let clients = [ONE_CLIENT, ITS_NEIGHBOUR, A_STRANGER, NAT_CLIENT];
        let lines = clients.map(|client| format!("addr del {client}/32 dev lo"));
        ip_batch(Some(CLIENT.name), &lines)?;
        let [first, second] = WEBS;
        topology::disable_ipv6(&[CLIENT, first, second])
    }
}

fn raise_client() -> Result<()> {
    let clients = [ONE_CLIENT, ITS_NEIGHBOUR, A_STRANGER, NAT_CLIENT];
    let mut lines = clients.map(|client| format!("addr add {client}/32 dev lo")).to_vec();
    lines.push(format!("addr add {}/64 dev eth0 nodad", address6(CLIENT)));
    lines.push(format!("addr add {ONE_CLIENT6}/128 dev lo nodad"));
    ip_batch(Some(CLIENT.name), &lines)
}

/// A director that knows the way to the clients and tells nobody of a shorter one: on one segment, real servers would
/// answer around nat.
fn raise_director(director: Node) -> Result<()> {
    send_redirects(director, "0")?;
    let mut lines = [CLIENTS, CLIENTS_OF_NAT]
        .map(|network| format!("route replace {network} via {}", CLIENT.address))
        .to_vec();
    lines.push(format!("addr add {}/64 dev eth0 nodad", address6(director)));
    ip_batch(Some(director.name), &lines)
}

fn send_redirects(director: Node, value: &str) -> Result<()> {
    ["all", "eth0"].into_iter().try_for_each(|device| {
        set_sysctl(director.name, &format!("net/ipv4/conf/{device}/send_redirects"), value)
    })
}

/// A real server's host, whose VIPs and tunnels are its agent's.
fn raise_web(web: Node) -> Result<()> {
    // The lab's kernel has none of the hashes that sign an SCTP server's cookies.
    set_sysctl(web.name, "net/sctp/cookie_hmac_alg", "none")?;
    // As distributions have it: what comes out of a tunnel has a source that is reached by another device.
    set_sysctl(web.name, RP_FILTER, "1")?;
    let lines = [
        format!("addr add {}/64 dev eth0 nodad", address6(web)),
        format!("route add {CLIENTS} via {}", CLIENT.address),
        format!("route add {CLIENTS_OF_NAT} via {}", DIRECTORS[0].address),
        format!("route add {CLIENTS6} via {}", address6(CLIENT)),
    ];
    ip_batch(Some(web.name), &lines)
}
