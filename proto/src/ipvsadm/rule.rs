//! One rule of `ipvsadm -R`, from its words to what it says.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::options::Options;
use super::parse::Names;
use crate::v1;

/// Persistence that names no time (ipvsadm(8), `--persistent`).
const DEFAULT_PERSISTENCE_S: u32 = 360;
/// The scheduler of a rule that names none.
const DEFAULT_SCHEDULER: &str = "wlc";

/// What a rule does.
pub(super) enum Rule {
    /// Every virtual server goes.
    Clear,
    /// A virtual server, without real servers, is added.
    Add(v1::IpvsVirtualServer),
    /// Its settings are these from now on.
    Edit(v1::IpvsVirtualServer),
    /// It goes, with its real servers.
    Delete(v1::IpvsVirtualServer),
    /// A real server of a virtual server, of which the address alone is told, is added.
    AddServer(v1::IpvsVirtualServer, v1::IpvsDestination),
    /// Its settings are these from now on.
    EditServer(v1::IpvsVirtualServer, v1::IpvsDestination),
    /// It goes.
    DeleteServer(v1::IpvsVirtualServer, v1::IpvsDestination),
}

/// Reads a rule's words.
///
/// # Errors
/// What is wrong with it, in words with the remedy.
pub(super) fn read(words: &[&str], names: &Names<'_>) -> Result<Rule, String> {
    const COMMANDS: [&str; 7] = [
        "add-service",
        "edit-service",
        "delete-service",
        "clear",
        "add-server",
        "edit-server",
        "delete-server",
    ];
    let mut options = Options::read(words)?;
    let Some((command, _)) = options.take_one_of(&COMMANDS)? else {
        return Err("the rule does not say what to do: begin it with -A or -a".to_owned());
    };
    let rule = match command {
        "clear" => Rule::Clear,
        "add-service" => Rule::Add(virtual_server(&mut options, names)?),
        "edit-service" => Rule::Edit(virtual_server(&mut options, names)?),
        "delete-service" => Rule::Delete(service(&mut options, names)?),
        "add-server" => {
            let server = service(&mut options, names)?;
            let destination = destination(&mut options, names, &server)?;
            Rule::AddServer(server, destination)
        }
        "edit-server" => {
            let server = service(&mut options, names)?;
            let destination = destination(&mut options, names, &server)?;
            Rule::EditServer(server, destination)
        }
        _ => {
            let server = service(&mut options, names)?;
            let (address, port) = real_server(&mut options, names, &server)?;
            let port = port.unwrap_or(server.port);
            Rule::DeleteServer(server, v1::IpvsDestination { address, port, ..Default::default() })
        }
    };
    options.nothing_left(command)?;
    Ok(rule)
}

/// What the virtual server takes.
fn service(options: &mut Options<'_>, names: &Names<'_>) -> Result<v1::IpvsVirtualServer, String> {
    const SERVICES: [&str; 4] = ["tcp-service", "udp-service", "sctp-service", "fwmark-service"];
    let Some((kind, Some(value))) = options.take_one_of(&SERVICES)? else {
        return Err(
            "no virtual server is named: give one of -t, -u, --sctp-service and -f".to_owned()
        );
    };
    let fwmark_ipv6 = options.take("ipv6");
    let protocol = match kind {
        "udp-service" => v1::Protocol::Udp,
        "sctp-service" => v1::Protocol::Sctp,
        "fwmark-service" => {
            let fwmark = number(kind, value, 1, u32::MAX)?;
            return Ok(v1::IpvsVirtualServer { fwmark, fwmark_ipv6, ..Default::default() });
        }
        _ => v1::Protocol::Tcp,
    };
    if fwmark_ipv6 {
        return Err("--ipv6 has no place without a firewall mark: leave it out".to_owned());
    }
    let (vip, port) = socket(kind, value, protocol, names)?;
    let (vip, port) = (vip.to_string(), port.unwrap_or(0));
    Ok(v1::IpvsVirtualServer { vip, port, protocol: protocol.into(), ..Default::default() })
}

/// A virtual server with its settings.
fn virtual_server(
    options: &mut Options<'_>,
    names: &Names<'_>,
) -> Result<v1::IpvsVirtualServer, String> {
    let mut server = service(options, names)?;
    let scheduler = options.take_value("scheduler").unwrap_or(DEFAULT_SCHEDULER);
    scheduler.clone_into(&mut server.scheduler);
    if let Some(flags) = options.take_value("sched-flags") {
        server.scheduler_flags = scheduler_flags(&server.scheduler, flags)?;
    }
    if let Some((name, value)) = options.take_one_of(&["persistent"])? {
        let seconds = value.map(|value| number(name, value, 1, u32::MAX)).transpose()?;
        server.persistence_timeout_s = seconds.unwrap_or(DEFAULT_PERSISTENCE_S);
    }
    if let Some(mask) = options.take_value("netmask") {
        if server.persistence_timeout_s == 0 {
            return Err(format!("--netmask {mask} has no effect without -p: leave it out"));
        }
        server.persistence_netmask = netmask(&server, mask)?;
    }
    options.take_value("pe").unwrap_or_default().clone_into(&mut server.persistence_engine);
    server.one_packet = options.take("ops");
    let is_by_address = server.fwmark == 0;
    if is_by_address && server.port == 0 && server.persistence_timeout_s == 0 {
        return Err("port 0, which is every port, needs persistence: give -p or a port".to_owned());
    }
    if is_by_address && server.one_packet && server.protocol() != v1::Protocol::Udp {
        return Err("--ops has no place but with -u and -f: leave it out".to_owned());
    }
    Ok(server)
}

/// In ipvsadm's order, each once.
fn scheduler_flags(scheduler: &str, text: &str) -> Result<Vec<String>, String> {
    // A flag of the kernel's is called by its number with schedulers that give it no name.
    const NUMBERED: [&str; 3] = ["flag-1", "flag-2", "flag-3"];
    let named: &[&str] = match scheduler {
        "sh" => &["sh-fallback", "sh-port"],
        "mh" => &["mh-fallback", "mh-port"],
        _ => &NUMBERED,
    };
    let mut is_given = [false; NUMBERED.len()];
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let by_name = named.iter().position(|name| *name == word);
        let by_number = || NUMBERED[..named.len()].iter().position(|name| *name == word);
        let Some(index) = by_name.or_else(by_number) else {
            return Err(format!(
                "--sched-flags {word:?} is no flag of {scheduler}: use {}",
                named.join(", ")
            ));
        };
        is_given[index] = true;
    }
    let given = named.iter().zip(is_given).filter(|(_, is_given)| *is_given);
    Ok(given.map(|(name, _)| (*name).to_owned()).collect())
}

/// Clients that count as one; empty when each counts for itself.
fn netmask(server: &v1::IpvsVirtualServer, text: &str) -> Result<String, String> {
    let is_ipv6 = server.fwmark_ipv6 || server.vip.contains(':');
    if is_ipv6 {
        let bits = number("netmask", text, 1, 128)?;
        return Ok(if bits == 128 { String::new() } else { bits.to_string() });
    }
    match text.parse::<Ipv4Addr>() {
        Ok(Ipv4Addr::BROADCAST) => Ok(String::new()),
        Ok(mask) => Ok(mask.to_string()),
        Err(_) => Err(format!("--netmask {text:?}: give an IPv4 mask such as 255.255.255.0")),
    }
}

/// Address and port of the real server, the latter where one is given.
fn real_server(
    options: &mut Options<'_>,
    names: &Names<'_>,
    server: &v1::IpvsVirtualServer,
) -> Result<(String, Option<u32>), String> {
    let Some(value) = options.take_value("real-server") else {
        return Err("no real server is named: give -r".to_owned());
    };
    // ipvsadm takes the ports of a firewall mark's real servers for TCP's, too.
    let protocol = server.protocol();
    let (address, port) = socket("real-server", value, protocol, names)?;
    Ok((address.to_string(), port))
}

/// A real server with its settings.
fn destination(
    options: &mut Options<'_>,
    names: &Names<'_>,
    server: &v1::IpvsVirtualServer,
) -> Result<v1::IpvsDestination, String> {
    const METHODS: [&str; 3] = ["gatewaying", "ipip", "masquerading"];
    let (address, port) = real_server(options, names, server)?;
    let forwarding = match options.take_one_of(&METHODS)? {
        Some(("ipip", _)) => "Tunnel",
        Some(("masquerading", _)) => "Masq",
        Some(_) | None => "Route",
    };
    let is_ipv6 = server.fwmark_ipv6 || server.vip.contains(':');
    if forwarding != "Tunnel" && address.contains(':') != is_ipv6 {
        return Err(format!(
            "real server {address}: another address family than the virtual server's needs -i"
        ));
    }
    let keeps_port = server.fwmark == 0 && forwarding != "Masq";
    if let Some(port) = port.filter(|port| keeps_port && *port != server.port) {
        return Err(format!(
            "real server {address}: port {port} has no effect, -g and -i keep the virtual server's, {}: leave it out",
            server.port
        ));
    }
    let mut value = |name, least, most, default| {
        options.take_value(name).map_or(Ok(default), |text| number(name, text, least, most))
    };
    let weight = value("weight", 0, i32::MAX.unsigned_abs(), 1)?;
    let upper_threshold = value("u-threshold", 0, u32::MAX, 0)?;
    let lower_threshold = value("l-threshold", 0, u32::MAX, 0)?;
    let mut found = v1::IpvsDestination {
        port: port.unwrap_or(server.port),
        address,
        weight,
        forwarding: forwarding.to_owned(),
        upper_threshold,
        lower_threshold,
        ..Default::default()
    };
    if forwarding == "Tunnel" {
        tunnel(options, &mut found)?;
    }
    Ok(found)
}

/// What packets are wrapped in.
fn tunnel(options: &mut Options<'_>, found: &mut v1::IpvsDestination) -> Result<(), String> {
    const CHECKSUMS: [&str; 3] = ["tun-nocsum", "tun-csum", "tun-remcsum"];
    let kind = options.take_value("tun-type").unwrap_or("ipip");
    kind.clone_into(&mut found.tunnel_type);
    match kind {
        // Options of other tunnels are left over, and told.
        "ipip" => return Ok(()),
        "gue" | "gre" => {}
        other => return Err(format!("--tun-type {other:?}: use ipip, gue or gre")),
    }
    let checksum = options.take_one_of(&CHECKSUMS)?.map_or(CHECKSUMS[0], |(name, _)| name);
    if kind == "gre" {
        if checksum == "tun-remcsum" {
            return Err("--tun-remcsum has no place with --tun-type gre: leave it out".to_owned());
        }
    } else {
        let Some(port) = options.take_value("tun-port") else {
            return Err(
                "--tun-type gue needs the real servers' UDP port: give --tun-port".to_owned()
            );
        };
        found.tunnel_port = number("tun-port", port, 1, 65535)?;
    }
    checksum.trim_start_matches("tun-").clone_into(&mut found.tunnel_checksum);
    Ok(())
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`, with names where `ipvsadm -n` was not told.
fn socket(
    option: &str,
    text: &str,
    protocol: v1::Protocol,
    names: &Names<'_>,
) -> Result<(IpAddr, Option<u32>), String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => (host, rest.strip_prefix(':')),
        Some(None) => (text, None),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_ipv6 = text.starts_with('[');
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => (names.host)(host, is_ipv6).ok_or_else(|| {
            format!("--{option} {text:?}: {host:?} is no address and has none: give an address")
        })?,
    };
    let Some(port) = port else { return Ok((address, None)) };
    let known = port.parse::<u16>().ok().or_else(|| (names.service)(port, protocol));
    match known {
        Some(port) => Ok((address, Some(port.into()))),
        None => Err(format!("--{option} {text:?}: {port:?} is no port: give 0 to 65535")),
    }
}

fn number<T: FromStr + PartialOrd + Display>(
    name: &str,
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    let found = text.parse::<T>().ok();
    found
        .filter(|number| *number >= least && *number <= most)
        .ok_or_else(|| format!("--{name} {text:?}: give a number from {least} to {most}"))
}
