//! What traffic needs beside the directors' tables: clients with addresses behind a hop, and two real servers that hold the
//! VIPs, unwrap every tunnel and answer with their names.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{GUE_PORT, VIPS, VIPS6};
use crate::net::endpoint::Endpoint;
use crate::net::quiet;
use crate::net::topology::{self, CLIENT, DIRECTORS, Node, WEBS, ip_batch, set_sysctl};
use crate::peers::answerer;
use crate::process::{Process, run as run_program};

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
/// Devices that unwrap: IPv4 in IPv4, IPv6 in IPv4, GRE. What GUE wraps goes to the first.
const TUNNELS: [(&str, &str); 3] = [("lab-ipip", "ipip"), ("lab-sit", "sit"), ("lab-gre", "gre")];

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
    /// Makes it. `endpoints` are those of each real server; 0.0.0.0 stands for its own address.
    pub(super) fn raise(endpoints: &[Endpoint], logs: &Path) -> Result<Self> {
        let [first, second] = WEBS;
        topology::enable_ipv6(&[CLIENT, first, second])?;
        raise_client()?;
        for director in DIRECTORS {
            raise_director(director)?;
        }
        for web in WEBS {
            raise_web(web).with_context(|| format!("cannot set up {} for traffic", web.name))?;
        }
        let servers: Result<Vec<Process>> =
            WEBS.iter().map(|web| answerer::start(*web, endpoints, logs)).collect();
        Ok(Self { servers: servers? })
    }

    /// Takes away what the next scenario must not find.
    pub(super) fn take_down(self) -> Result<()> {
        for server in self.servers {
            server.kill()?;
        }
        for web in WEBS {
            let mut lines: Vec<String> =
                TUNNELS.iter().map(|(name, _)| format!("link del {name}")).collect();
            lines.extend(
                [CLIENTS, CLIENTS_OF_NAT].map(|network| format!("route del {network} dev eth0")),
            );
            ip_batch(Some(web.name), &lines)?;
            run_program("ip", &fou(web, "del", &GUE_PORT.to_string()))?;
            quiet::release(web, &VIPS)?;
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

/// A real server without our agent, made ready by hand, with a device for each tunnel.
fn raise_web(web: Node) -> Result<()> {
    quiet::hold(web, &VIPS)?;
    // The lab's kernel has none of the hashes that sign an SCTP server's cookies.
    set_sysctl(web.name, "net/sctp/cookie_hmac_alg", "none")?;
    let mut lines = vec![
        format!("addr add {}/64 dev eth0 nodad", address6(web)),
        format!("addr add {}/128 dev lo nodad", VIPS6[1]),
        format!("route add {CLIENTS} via {}", CLIENT.address),
        format!("route add {CLIENTS_OF_NAT} via {}", DIRECTORS[0].address),
        format!("route add {CLIENTS6} via {}", address6(CLIENT)),
    ];
    for (name, kind) in TUNNELS {
        lines.push(format!("link add {name} type {kind} local {}", web.address));
        lines.push(format!("link set {name} up"));
    }
    ip_batch(Some(web.name), &lines)?;
    run_program("ip", &fou(web, "add", &GUE_PORT.to_string()))?;
    // A packet that comes out of a tunnel has a source that is reached by another device.
    for device in ["all", TUNNELS[0].0, TUNNELS[2].0] {
        set_sysctl(web.name, &format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
    }
    Ok(())
}

/// `ip fou add port 6080 gue`.
fn fou<'a>(web: Node, verb: &'a str, port: &'a str) -> Vec<&'a str> {
    let mut words = vec!["-netns", web.name, "fou", verb, "port", port];
    if verb == "add" {
        words.push("gue");
    }
    words
}
