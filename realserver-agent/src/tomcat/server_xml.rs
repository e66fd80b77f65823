//! What Tomcat's `server.xml` says of its connectors: a hint, for the running server is the truth. Pure; the file is never written.
//!
//! What cannot be told, such as an unknown `${property}`, is none, and nobody is warned of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use roxmltree::{Document, Node, ParsingOptions};

/// Most nodes of a file that are taken; Debian's file has some 60.
const MAX_NODES: u32 = 20_000;
/// Most properties that are put into a value.
const MAX_PROPERTIES: usize = 16;
/// Most hosts of a connector that are taken; each is a handshake.
const MAX_TLS_HOSTS: usize = 16;
/// Name of the `SSLHostConfig` for clients that name no host, or one that is not known.
const DEFAULT_TLS_HOST: &str = "_default_";

/// Properties by name: those of `-D`, over which go those of `catalina.properties`.
pub type Properties = BTreeMap<String, String>;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerXml {
    /// Every connector of every service.
    pub connectors: Vec<Connector>,
    /// Every host of every engine.
    pub hosts: Vec<Host>,
}

/// A connector, as it would be after the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// The port it listens on.
    pub port: Option<u16>,
    /// Where it listens.
    pub address: Address,
    /// Whether its socket is bound before it is started, and so stays open while it stops (`bindOnInit`).
    pub binds_on_init: Option<bool>,
    /// How long its service waits for requests when it stops, in milliseconds (`gracefulStopAwaitMillis`).
    pub awaits_ms: Option<u64>,
    /// Whether it speaks TLS (`SSLEnabled`).
    pub has_tls: Option<bool>,
    /// Hosts that have a certificate of their own beside the default one (`hostName` of an `SSLHostConfig`), `*.example.org` among
    /// them.
    pub tls_hosts: BTreeSet<String>,
}

/// Where a connector listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// On every address of its host.
    Any,
    /// On one.
    One(IpAddr),
    /// Cannot be told.
    Unknown,
}

/// A virtual host of Tomcat's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name of its engine.
    pub engine: String,
    /// Its name.
    pub name: String,
    /// Directory of its web applications, relative to the base.
    pub app_base: Option<String>,
    /// It, or its engine, lets in some addresses only.
    pub is_guarded: bool,
}

/// Reads a file.
///
/// # Errors
/// It is no XML, has a DTD, or is too large, in words.
pub fn parse(text: &str, properties: &Properties) -> Result<ServerXml, String> {
    let document = document(text)?;
    let root = document.root_element();
    let offset = number(root, "portOffset", properties, Some(0));
    let mut read = ServerXml::default();
    for service in children(root, "Service") {
        let awaits_ms = number(service, "gracefulStopAwaitMillis", properties, Some(0));
        for node in children(service, "Connector") {
            read.connectors.push(connector(node, properties, offset, awaits_ms));
        }
        for engine in children(service, "Engine") {
            let name = text_of(engine, "name", properties).unwrap_or_default();
            for host in children(engine, "Host") {
                read.hosts.push(Host {
                    engine: name.clone(),
                    name: text_of(host, "name", properties).unwrap_or_default(),
                    app_base: match host.attribute("appBase") {
                        None => Some("webapps".to_owned()),
                        Some(value) => resolve(value, properties),
                    },
                    is_guarded: has_guard(engine) || has_guard(host),
                });
            }
        }
    }
    Ok(read)
}

/// Whether a context's file lets in some addresses only.
///
/// # Errors
/// It is no XML, has a DTD, or is too large, in words.
pub fn is_guarded(context: &str) -> Result<bool, String> {
    Ok(has_guard(document(context)?.root_element()))
}

fn document(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
    Document::parse_with_options(text, options).map_err(|error| error.to_string())
}

fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// A valve that looks at the client's address, as the manager's own file has it.
fn has_guard(node: Node<'_, '_>) -> bool {
    children(node, "Valve").any(|valve| {
        let class = valve.attribute("className").unwrap_or_default();
        let name = class.rsplit('.').next().unwrap_or_default();
        matches!(name, "RemoteCIDRValve" | "RemoteAddrValve" | "RemoteHostValve")
    })
}

fn connector(
    node: Node<'_, '_>,
    properties: &Properties,
    server_offset: Option<u64>,
    awaits_ms: Option<u64>,
) -> Connector {
    let port = number(node, "port", properties, None).filter(|port| *port != 0);
    let offset = number(node, "portOffset", properties, server_offset);
    let port = port.zip(offset).and_then(|(port, offset)| port.checked_add(offset));
    let address = match node.attribute("address") {
        None => Address::Any,
        Some(value) => address(resolve(value, properties).as_deref()),
    };
    let tls_hosts = children(node, "SSLHostConfig")
        .filter_map(|host| text_of(host, "hostName", properties))
        .filter(|host| host != DEFAULT_TLS_HOST)
        .take(MAX_TLS_HOSTS);
    Connector {
        port: port.and_then(|port| u16::try_from(port).ok()),
        address,
        binds_on_init: truth(node, "bindOnInit", properties, true),
        awaits_ms,
        has_tls: truth(node, "SSLEnabled", properties, false),
        tls_hosts: tls_hosts.collect(),
    }
}

fn address(value: Option<&str>) -> Address {
    match value {
        Some("localhost") => Address::One(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(value) => match value.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Address::Any,
            Ok(address) => Address::One(address.to_canonical()),
            // A name: who knows what it means there.
            Err(_) => Address::Unknown,
        },
        None => Address::Unknown,
    }
}

fn text_of(node: Node<'_, '_>, name: &str, properties: &Properties) -> Option<String> {
    resolve(node.attribute(name)?, properties)
}

/// `default` where the attribute is not given; none where it cannot be told.
fn number(
    node: Node<'_, '_>,
    name: &str,
    properties: &Properties,
    default: Option<u64>,
) -> Option<u64> {
    match node.attribute(name) {
        None => default,
        Some(value) => resolve(value, properties)?.trim().parse().ok(),
    }
}

/// `default` where the attribute is not given; none where it cannot be told.
fn truth(node: Node<'_, '_>, name: &str, properties: &Properties, default: bool) -> Option<bool> {
    match node.attribute(name) {
        None => Some(default),
        Some(value) => resolve(value, properties).map(|value| value.eq_ignore_ascii_case("true")),
    }
}

/// Puts in `${name}` and `${name:-default}`, as Tomcat's `IntrospectionUtils.replaceProperties` does.
fn resolve(value: &str, properties: &Properties) -> Option<String> {
    let mut out = String::new();
    let mut rest = value;
    for _ in 0..MAX_PROPERTIES {
        let Some((before, after)) = rest.split_once("${") else {
            out.push_str(rest);
            return Some(out);
        };
        let (name, after) = after.split_once('}')?;
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        // What a property holds is not looked into again.
        let known = properties.get(name).map(String::as_str).or(default)?;
        if known.contains("${") {
            return None;
        }
        out.push_str(before);
        out.push_str(known);
        rest = after;
    }
    None
}

/// Takes in a properties file (`java.util.Properties`): a key, then `=`, `:` or a space, then a value, which goes on after a
/// backslash at the end of its line. Escapes of single characters are left as they are: ports and addresses have none.
pub fn read_properties(text: &str, into: &mut Properties) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        let Some(end) = line.find(['=', ':', ' ', '\t']) else { continue };
        let (key, value) = line.split_at(end);
        let value = value.trim_start();
        let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start();
        into.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests;
