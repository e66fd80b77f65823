//! A table as rules, as `ipvsadm -S -n` prints them and `ipvsadm -R` takes them.
//!
//! Two differences are meant, so that a table comes back as it was: thresholds, which `ipvsadm -S` forgets, stand behind
//! what it prints; and a firewall mark above 2147483647 is no negative number, which `ipvsadm -R` refuses.

use super::{MISSING, destinations_in_order, in_order, socket};
use crate::v1;

/// The rules, a line each. Entries that are wanted and missing have none.
pub fn save(virtual_servers: &[v1::IpvsVirtualServer]) -> String {
    let mut text = String::new();
    let mut rule = |words: &[&[String]]| {
        text.push_str(&words.concat().join(" "));
        text.push('\n');
    };
    for server in in_order(virtual_servers) {
        if server.difference == MISSING {
            continue;
        }
        let service = service(server);
        rule(&[&["-A".to_owned()], &service, &settings(server)]);
        for found in destinations_in_order(server) {
            if found.difference != MISSING {
                rule(&[&["-a".to_owned()], &service, &destination(found)]);
            }
        }
    }
    text
}

/// The words of what a virtual server takes.
fn service(server: &v1::IpvsVirtualServer) -> Vec<String> {
    if server.fwmark != 0 {
        let family = server.fwmark_ipv6.then(|| "-6".to_owned());
        return ["-f".to_owned(), server.fwmark.to_string()].into_iter().chain(family).collect();
    }
    let option = match v1::Protocol::try_from(server.protocol) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => "-t",
        Ok(v1::Protocol::Udp) => "-u",
        Ok(v1::Protocol::Sctp) => "--sctp-service",
        // As ipvsadm has it; no kernel takes another protocol.
        Err(_) => "--xxx-service",
    };
    vec![option.to_owned(), socket(&server.vip, server.port)]
}

fn settings(server: &v1::IpvsVirtualServer) -> Vec<String> {
    let mut words = vec![format!("-s {}", server.scheduler)];
    if server.persistence_timeout_s != 0 {
        words.push(format!("-p {}", server.persistence_timeout_s));
        if !server.persistence_netmask.is_empty() {
            words.push(format!("-M {}", server.persistence_netmask));
        }
    }
    if !server.persistence_engine.is_empty() {
        words.push(format!("--pe {}", server.persistence_engine));
    }
    if server.one_packet {
        words.push("-o".to_owned());
    }
    if !server.scheduler_flags.is_empty() {
        words.push(format!("-b {}", server.scheduler_flags.join(",")));
    }
    words
}

fn destination(found: &v1::IpvsDestination) -> Vec<String> {
    let method = match found.forwarding.as_str() {
        "Masq" => "-m",
        "Tunnel" => "-i",
        // A real server on the director itself is shown as Local and told as Route.
        _ => "-g",
    };
    let socket = socket(&found.address, found.port);
    let mut words = vec![format!("-r {socket} {method} -w {}", found.weight)];
    if found.forwarding == "Tunnel" {
        words.push(tunnel(found));
    }
    if found.upper_threshold != 0 {
        words.push(format!("-x {}", found.upper_threshold));
    }
    if found.lower_threshold != 0 {
        words.push(format!("-y {}", found.lower_threshold));
    }
    words
}

fn tunnel(found: &v1::IpvsDestination) -> String {
    let checksum = match found.tunnel_checksum.as_str() {
        "" => "nocsum",
        checksum => checksum,
    };
    match found.tunnel_type.as_str() {
        "gue" => format!("--tun-type gue --tun-port {} --tun-{checksum}", found.tunnel_port),
        "gre" => format!("--tun-type gre --tun-{checksum}"),
        _ => "--tun-type ipip".to_owned(),
    }
}
