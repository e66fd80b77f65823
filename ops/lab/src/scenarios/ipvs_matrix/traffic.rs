//! Every way of forwarding with packets on it: clients ask through the VIP of the Active director, and two real servers
//! answer with their names.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::ground::{
    A_STRANGER, CHECK_PORT, ITS_NEIGHBOUR, NAT_CLIENT, ONE_CLIENT, ONE_CLIENT6, TrafficGround,
    address6,
};
use super::{VIPS6, hosts, instances, server};
use crate::client::asked;
use crate::cluster::Cluster;
use crate::contest::count;
use crate::findings::Findings;
use crate::net::endpoint::{Endpoint, Transport};
use crate::net::topology::{CLIENT, DIRECTORS, Node, VIP, WEBS};
use crate::process::{run as run_program, wait_until};
use crate::say;

/// How long the directors may take to elect and to serve a case.
const SERVE: Duration = Duration::from_mins(1);
/// Questions of a client.
const QUESTIONS: usize = 10;
/// The mark that the first director's packet filter gives.
const MARK: u32 = 7;

/// A virtual server with two real servers, and who answers whom.
struct Case {
    name: &'static str,
    /// What its manifest says beside VIP, port and pool.
    fields: &'static str,
    transport: Transport,
    port: u16,
    /// Port of the real servers.
    rip_port: u16,
    /// VIP and client are of IPv6.
    is_ipv6: bool,
    /// Real servers are reached by IPv6.
    has_ipv6_servers: bool,
    client: IpAddr,
    answers: Answers,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// Each connection is the other real server's.
    InTurn,
    /// Each packet of one port is the other real server's.
    PacketsInTurn,
    /// All packets of one port are one real server's.
    OnePort,
    /// A client has its real server, and another client has another.
    PerClient,
    /// A /24 has its real server, and another has another.
    PerNetwork,
    /// The packet filter's mark decides, and each connection is the other real server's.
    MarkedInTurn,
}

impl Case {
    /// TCP over IPv4, the same port everywhere, connections in turn.
    const fn new(name: &'static str, port: u16, fields: &'static str) -> Self {
        Self {
            name,
            fields,
            transport: Transport::Tcp,
            port,
            rip_port: port,
            is_ipv6: false,
            has_ipv6_servers: false,
            client: IpAddr::V4(ONE_CLIENT),
            answers: Answers::InTurn,
        }
    }

    /// Whether the real servers' agents are required, and make their hosts ready: where they know how to watch the server.
    fn has_agent(&self) -> bool {
        self.transport == Transport::Tcp && self.rip_port == self.port
    }

    fn target(&self) -> Result<Endpoint> {
        let vip = if self.is_ipv6 { VIPS6[1].parse()? } else { IpAddr::V4(VIP) };
        Ok(Endpoint { transport: self.transport, address: (vip, self.port).into() })
    }
}

const CASES: &[Case] = &[
    Case::new("dr", 80, "forwarding: dr"),
    Case {
        rip_port: 8080,
        client: IpAddr::V4(NAT_CLIENT),
        ..Case::new("nat", 8000, "forwarding: nat")
    },
    Case::new("ipip", 81, "forwarding: tunnel"),
    Case::new("gue", 82, "forwarding: tunnel, tunnel: {type: gue, port: 6080}"),
    Case::new("gre", 83, "forwarding: tunnel, tunnel: {type: gre}"),
    Case {
        transport: Transport::Udp,
        answers: Answers::OnePort,
        ..Case::new("udp", 53, "forwarding: dr, protocol: udp")
    },
    Case {
        transport: Transport::Udp,
        answers: Answers::PacketsInTurn,
        ..Case::new("one-packet", 54, "forwarding: dr, protocol: udp, one_packet: true")
    },
    Case { answers: Answers::MarkedInTurn, ..Case::new("mark", 84, "fwmark: 7, forwarding: dr") },
    Case {
        is_ipv6: true,
        has_ipv6_servers: true,
        client: IpAddr::V6(ONE_CLIENT6),
        ..Case::new("dr6", 80, "forwarding: dr")
    },
    Case {
        is_ipv6: true,
        client: IpAddr::V6(ONE_CLIENT6),
        ..Case::new("six-in-four", 88, "forwarding: tunnel")
    },
    Case {
        is_ipv6: true,
        has_ipv6_servers: true,
        client: IpAddr::V6(ONE_CLIENT6),
        ..Case::new("six-in-six", 89, "forwarding: tunnel")
    },
    Case { has_ipv6_servers: true, ..Case::new("four-in-six", 90, "forwarding: tunnel") },
    Case {
        has_ipv6_servers: true,
        ..Case::new("gue6", 91, "forwarding: tunnel, tunnel: {type: gue, port: 6080}")
    },
    Case {
        is_ipv6: true,
        has_ipv6_servers: true,
        client: IpAddr::V6(ONE_CLIENT6),
        ..Case::new("gre6", 92, "forwarding: tunnel, tunnel: {type: gre, checksum: full}")
    },
    Case {
        answers: Answers::PerClient,
        ..Case::new("persistent", 85, "forwarding: dr, persistence_timeout: 300s")
    },
    Case {
        answers: Answers::PerNetwork,
        ..Case::new(
            "masked",
            86,
            "forwarding: dr, persistence_timeout: 300s, persistence_netmask: 255.255.255.0",
        )
    },
    Case { transport: Transport::Sctp, ..Case::new("sctp", 87, "forwarding: dr, protocol: sctp") },
];

/// Applies all cases and asks through each, then lets others spoil the hosts, and takes all away. The agents of both
/// directors and both real servers run.
pub(super) fn run(cluster: &mut Cluster, logs: &Path, findings: &mut Findings) -> Result<()> {
    let mut ground = TrafficGround::raise()?;
    mark_packets(DIRECTORS[0])?;
    let before = hosts::states()?;
    cluster.apply_text(&manifest())?;
    hosts::wait_prepared()?;
    ground.serve(&endpoints()?, logs)?;
    let mut forwarded = 0;
    for case in CASES {
        match ask(case) {
            Ok(()) => forwarded += 1,
            Err(error) => findings.require(false, format!("{}: {error:#}", case.name)),
        }
    }
    findings.figure("traffic_cases", count(CASES.len()));
    findings.figure("traffic_cases_answered", count(forwarded));
    hosts::spoil(findings)?;
    let tunnelled = CASES.iter().find(|case| case.name == "ipip").context("a tunnel")?;
    ask(tunnelled).context("after the hosts were put right")?;
    cluster.apply_text(&instances())?;
    hosts::wait_undone(&before, findings);
    ground.take_down()
}

/// Asks through a case and says what is wrong with the answers.
fn ask(case: &Case) -> Result<()> {
    let target = case.target()?;
    // The first answer tells that the director is Active, and its checks have passed.
    let mut why = String::new();
    let both = wait_until("both real servers answer", SERVE, || {
        let answered = asked::in_turn(CLIENT.name, case.client, target, 2);
        let names = answered.inspect_err(|error| why = format!("{error:#}")).ok();
        Ok(names.filter(|names| is_bound(case.answers) || names[0] != names[1]).map(|_| ()))
    });
    both.with_context(|| format!("no answers: {why}"))?;
    let from = |client: IpAddr, asks: fn(&str, IpAddr, Endpoint, usize) -> Result<Vec<String>>| {
        asks(CLIENT.name, client, target, QUESTIONS)
    };
    let mut told = Vec::new();
    let holds = match case.answers {
        Answers::InTurn | Answers::MarkedInTurn => {
            told.push(from(case.client, asked::in_turn)?);
            alternate(&told[0])
        }
        Answers::PacketsInTurn => {
            told.push(from(case.client, asked::from_one_port)?);
            alternate(&told[0])
        }
        Answers::OnePort => {
            told.push(from(case.client, asked::from_one_port)?);
            all_are(&told[0], &told[0][0])
        }
        Answers::PerClient | Answers::PerNetwork => {
            let clients = [ONE_CLIENT, ITS_NEIGHBOUR, A_STRANGER];
            for client in clients {
                told.push(from(client.into(), asked::in_turn)?);
            }
            let [one, neighbour, stranger] = [0, 1, 2].map(|index: usize| &told[index][0]);
            // Real servers take turns at new clients, and there are two.
            let other = if case.answers == Answers::PerNetwork { stranger } else { neighbour };
            let same = if case.answers == Answers::PerNetwork { neighbour } else { stranger };
            told.iter().all(|names| all_are(names, &names[0])) && one == same && one != other
        }
    };
    say!("  {}: {target} was answered by {told:?}", case.name);
    if !holds {
        bail!("{target} is not answered as by {:?}: {told:?}", case.answers);
    }
    Ok(())
}

/// A client is bound to a real server, so that two questions of one need not have two answers.
fn is_bound(answers: Answers) -> bool {
    matches!(answers, Answers::PerClient | Answers::PerNetwork)
}

fn alternate(names: &[String]) -> bool {
    let by = |web: Node| names.iter().filter(|name| *name == web.name).count();
    WEBS.map(by) == [QUESTIONS / 2; 2]
}

fn all_are(names: &[String], name: &str) -> bool {
    names.iter().all(|found| found == name)
}

/// Where each real server listens: at the VIPs, and where agents or nat need it at every address.
fn endpoints() -> Result<Vec<Endpoint>> {
    let cases = CASES.iter();
    let everywhere: BTreeSet<u16> =
        cases.filter(|case| case.has_agent()).map(|case| case.port).chain([CHECK_PORT]).collect();
    let mut endpoints = Vec::new();
    for port in everywhere {
        endpoints.push(format!("tcp/0.0.0.0:{port}").parse()?);
        endpoints.push(format!("tcp/[::]:{port}").parse()?);
    }
    for case in CASES.iter().filter(|case| !case.has_agent()) {
        let mut target = case.target()?;
        if case.rip_port != case.port {
            target = format!("{}/0.0.0.0:{}", case.transport, case.rip_port).parse()?;
        }
        endpoints.push(target);
    }
    Ok(endpoints)
}

/// The first director's packets to the marked port get their mark before IPVS sees them.
fn mark_packets(director: Node) -> Result<()> {
    let port = CASES.iter().find(|case| case.answers == Answers::MarkedInTurn).map(|it| it.port);
    let port = port.context("a marked case")?.to_string();
    let (vip, mark) = (VIP.to_string(), MARK.to_string());
    // The device may have its classifier already, which is no failure.
    let _ = run_program("tc", &["-n", director.name, "qdisc", "add", "dev", "eth0", "clsact"]);
    let mut words = vec!["-n", director.name, "filter", "add", "dev", "eth0", "ingress"];
    words.extend(["protocol", "ip", "flower", "dst_ip", &vip, "ip_proto", "tcp"]);
    words.extend(["dst_port", &port, "action", "skbedit", "mark", &mark]);
    run_program("tc", &words).map(|_| ())
}

/// Two real servers, a pool and a virtual server of each case.
fn manifest() -> String {
    let mut text = instances();
    for case in CASES {
        let name = case.name;
        for (number, web) in (1..).zip(WEBS) {
            let rip = if case.has_ipv6_servers {
                format!("\"{}\"", address6(web))
            } else {
                web.address.to_string()
            };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "---\nkind: RealServer\nname: {name}-{number}\nspec: {{site: main, rip: {rip}, port: {}, agent: {}}}\n",
                case.rip_port, web.name
            );
        }
        let agent = if case.has_agent() { "required" } else { "none" };
        let _ = write!(
            text,
            "---\nkind: Pool\nname: {name}\nspec:\n  agent: {agent}\n  \
             check: {{tcp: {{}}, port: {CHECK_PORT}, interval: 2s, timeout: 1s}}\n  \
             members: [{{real_server: {name}-1}}, {{real_server: {name}-2}}]\n"
        );
        let place = match case.answers {
            Answers::MarkedInTurn => String::new(),
            _ if case.is_ipv6 => {
                format!("vrrp_instance: vi-6, vip: \"{}\", port: {}, ", VIPS6[1], case.port)
            }
            _ => format!("vip: {VIP}, port: {}, ", case.port),
        };
        server(&mut text, name, &format!("{place}{}, scheduler: rr", case.fields), name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::GUE_PORT;
    use super::*;

    #[test]
    fn cases_agree_with_the_ground() {
        let text = manifest();
        for case in CASES {
            assert!(text.contains(&format!("kind: VirtualServer\nname: {}\n", case.name)));
            assert!(case.fields.contains("gue") <= case.fields.contains(&GUE_PORT.to_string()));
            let mark = format!("fwmark: {MARK},");
            assert_eq!(case.answers == Answers::MarkedInTurn, case.fields.contains(&mark));
        }
    }
}
