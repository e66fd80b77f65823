//! From a table to the resources that ask for it.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_proto::convert::resource_from_wire;
use fulcrum_proto::ipvsadm::{Mistake, NumberedServer};
use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use super::name;

/// What the rules do not say.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The site of the real servers.
    pub(crate) site: String,
    /// The VRRP instance that moves the VIPs.
    pub(crate) vrrp_instance: String,
    /// How directors check real servers; the API's default when none.
    pub(crate) check: Option<v1::Check>,
    /// Port of real servers that have none of their own.
    pub(crate) port: Option<u16>,
    /// Whether the real servers have Fulcrum's agent.
    pub(crate) agent: v1::AgentRequirement,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Imported {
    /// Real servers, pools and virtual servers, each by name or in the table's order.
    pub(crate) resources: Vec<v1::Resource>,
    /// What could not be carried over, in the order of lines.
    pub(crate) mistakes: Vec<Mistake>,
}

/// The resources that ask for a table. Equal sets of real servers share a pool, which is named after the first virtual
/// server that it serves.
pub(crate) fn manifests(table: &[NumberedServer], settings: &Settings) -> Imported {
    let mut import = Import { settings, real_servers: BTreeMap::new(), mistakes: Vec::new() };
    let mut pools: Vec<v1::Resource> = Vec::new();
    let mut names: BTreeMap<Vec<Member>, String> = BTreeMap::new();
    let mut virtual_servers = Vec::new();
    for found in table {
        let name = name::virtual_server(&found.virtual_server);
        let members = import.members(found);
        let key: Vec<Member> = members.iter().map(Member::of).collect();
        // Empty sets are equal by chance.
        let shared = names.get(&key).filter(|_| !key.is_empty());
        let pool = shared.cloned().unwrap_or_else(|| name.clone());
        let server = import.virtual_server(found, &pool);
        let new = (pool == name).then(|| import.pool(&name, members));
        let resources = [Some(resource(&name, Spec::VirtualServer(server))), new];
        if import.accepts(found.line, resources.iter().flatten()) {
            let [server, pool_resource] = resources;
            names.entry(key).or_insert(pool);
            pools.extend(pool_resource);
            virtual_servers.extend(server);
        }
    }
    let Import { mut real_servers, mut mistakes, .. } = import;
    mistakes.sort_by_key(|mistake| mistake.line);
    let used: BTreeSet<String> =
        names.into_keys().flatten().map(|member| member.real_server).collect();
    real_servers.retain(|name, _| used.contains(name));
    let real_servers = real_servers.into_iter();
    let resources = real_servers.map(|(name, server)| resource(&name, Spec::RealServer(server)));
    Imported { resources: resources.chain(pools).chain(virtual_servers).collect(), mistakes }
}

/// A member of a pool, to tell equal pools.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    real_server: String,
    numbers: [u32; 3],
    forwarding: i32,
}

impl Member {
    fn of(member: &v1::PoolMember) -> Self {
        let numbers = [member.weight(), member.upper_threshold, member.lower_threshold];
        Self { real_server: member.real_server.clone(), numbers, forwarding: member.forwarding }
    }
}

struct Import<'a> {
    settings: &'a Settings,
    real_servers: BTreeMap<String, v1::RealServer>,
    mistakes: Vec<Mistake>,
}

impl Import<'_> {
    fn tell(&mut self, line: usize, text: impl Into<String>) {
        self.mistakes.push(Mistake { line, text: text.into() });
    }

    /// Whether the API takes the resources, each by itself; what it refuses is told.
    fn accepts<'r>(
        &mut self,
        line: usize,
        resources: impl IntoIterator<Item = &'r v1::Resource>,
    ) -> bool {
        let mut violations = Vec::new();
        for resource in resources {
            resource_from_wire(0, resource, &mut violations);
        }
        for violation in &violations {
            self.tell(line, violation.to_string().replace("resources[0].spec.", ""));
        }
        violations.is_empty()
    }

    /// The members of a virtual server's pool; their real servers are noted.
    fn members(&mut self, found: &NumberedServer) -> Vec<v1::PoolMember> {
        let server = &found.virtual_server;
        let first_tunnel = first_tunnel(server).map(tunnel);
        let common = common_forwarding(server);
        let mut members = Vec::new();
        for (destination, line) in server.destinations.iter().zip(&found.destination_lines) {
            let line = *line;
            let port = match self.port(server, destination) {
                Ok(port) => port,
                Err(text) => {
                    self.tell(line, text);
                    continue;
                }
            };
            let is_tunnel = destination.forwarding == "Tunnel";
            if is_tunnel && first_tunnel.is_some_and(|first| first != tunnel(destination)) {
                self.tell(
                    line,
                    "the tunnel differs from the first one of the virtual server, which has one alone: settle on one",
                );
                continue;
            }
            let name = name::real_server(&destination.address, port);
            let own = forwarding(destination);
            let member = v1::PoolMember {
                real_server: name.clone(),
                weight: Some(destination.weight),
                upper_threshold: destination.upper_threshold,
                lower_threshold: destination.lower_threshold,
                forwarding: if own == common { 0 } else { own.into() },
            };
            let real_server = self.real_server(destination, port);
            let resources = [
                resource(&name, Spec::RealServer(real_server.clone())),
                resource(&name, Spec::Pool(self.pool_spec(vec![member.clone()]))),
            ];
            if self.accepts(line, &resources) {
                self.real_servers.insert(name, real_server);
                members.push(member);
            }
        }
        members
    }

    /// The port that a real server is checked on.
    fn port(
        &self,
        server: &v1::IpvsVirtualServer,
        destination: &v1::IpvsDestination,
    ) -> Result<u32, String> {
        let keeps_port = server.port == 0;
        match destination.port {
            // The kernel keeps the client's.
            0 if !keeps_port => Ok(server.port),
            0 => self.settings.port.map(u32::from).ok_or_else(|| {
                let address = &destination.address;
                format!("real server {address} has no port, and its check needs one: add --port")
            }),
            port if keeps_port && destination.forwarding == "Masq" => Err(format!(
                "port {port} of real server {}: with a firewall mark or every port, ports stay as they are: leave it out",
                destination.address
            )),
            port => Ok(port),
        }
    }

    fn real_server(&self, destination: &v1::IpvsDestination, port: u32) -> v1::RealServer {
        v1::RealServer {
            site: self.settings.site.clone(),
            rip: destination.address.clone(),
            port,
            agent: name::address(&destination.address),
            ..Default::default()
        }
    }

    fn pool_spec(&self, members: Vec<v1::PoolMember>) -> v1::Pool {
        let check = self.settings.check.clone();
        v1::Pool { members, check, agent: self.settings.agent.into(), ..Default::default() }
    }

    fn pool(&self, name: &str, members: Vec<v1::PoolMember>) -> v1::Resource {
        resource(name, Spec::Pool(self.pool_spec(members)))
    }

    fn virtual_server(&mut self, found: &NumberedServer, pool: &str) -> v1::VirtualServer {
        let server = &found.virtual_server;
        let is_by_address = server.fwmark == 0;
        let persistence = i64::from(server.persistence_timeout_s);
        let flag = |ending: &str| server.scheduler_flags.iter().any(|flag| flag.ends_with(ending));
        let nameless = server.scheduler_flags.iter().filter(|flag| flag.starts_with("flag-"));
        for flag in nameless {
            let scheduler = &server.scheduler;
            self.tell(
                found.line,
                format!("--sched-flags {flag} says nothing to {scheduler}: leave it out"),
            );
        }
        v1::VirtualServer {
            vrrp_instance: self.settings.vrrp_instance.clone(),
            vip: server.vip.clone(),
            port: server.port,
            protocol: if is_by_address { server.protocol } else { 0 },
            scheduler: self.scheduler(found).into(),
            forwarding: common_forwarding(server).into(),
            persistence_timeout: (persistence > 0)
                .then_some(prost_types::Duration { seconds: persistence, nanos: 0 }),
            pool: pool.to_owned(),
            fwmark: server.fwmark,
            fwmark_ipv6: server.fwmark_ipv6,
            all_ports: is_by_address && server.port == 0,
            hash_port: flag("-port"),
            hash_fallback: flag("-fallback"),
            one_packet: server.one_packet,
            persistence_netmask: server.persistence_netmask.clone(),
            persistence_engine: server.persistence_engine.clone(),
            tunnel: first_tunnel(server).map(tunnel).filter(|found| found.r#type != 0),
            ..Default::default()
        }
    }

    fn scheduler(&mut self, found: &NumberedServer) -> v1::Scheduler {
        let wanted = &found.virtual_server.scheduler;
        let known = v1::Scheduler::from_str_name(&format!("SCHEDULER_{}", wanted.to_uppercase()));
        if let Some(known) = known.filter(|known| *known != v1::Scheduler::Unspecified) {
            return known;
        }
        let text = format!("scheduler {wanted:?} is none that IPVS has: wrr is in its place");
        self.tell(found.line, text);
        v1::Scheduler::Wrr
    }
}

fn resource(name: &str, spec: Spec) -> v1::Resource {
    let metadata = v1::Metadata { name: name.to_owned(), ..Default::default() };
    v1::Resource { metadata: Some(metadata), spec: Some(spec) }
}

/// The method of the first real server, which stands at the virtual server; others have theirs as members of the pool.
fn common_forwarding(server: &v1::IpvsVirtualServer) -> v1::ForwardingMethod {
    server.destinations.first().map_or(v1::ForwardingMethod::Dr, forwarding)
}

fn forwarding(destination: &v1::IpvsDestination) -> v1::ForwardingMethod {
    match destination.forwarding.as_str() {
        "Masq" => v1::ForwardingMethod::Nat,
        "Tunnel" => v1::ForwardingMethod::Tunnel,
        _ => v1::ForwardingMethod::Dr,
    }
}

fn first_tunnel(server: &v1::IpvsVirtualServer) -> Option<&v1::IpvsDestination> {
    server.destinations.iter().find(|found| found.forwarding == "Tunnel")
}

/// What packets to a real server are wrapped in; the default is not spelt out.
fn tunnel(destination: &v1::IpvsDestination) -> v1::Tunnel {
    let kind = match destination.tunnel_type.as_str() {
        "gue" => v1::TunnelType::Gue,
        "gre" => v1::TunnelType::Gre,
        _ => v1::TunnelType::Unspecified,
    };
    let checksum = match destination.tunnel_checksum.as_str() {
        "csum" => v1::TunnelChecksum::Full,
        "remcsum" => v1::TunnelChecksum::Remote,
        _ => v1::TunnelChecksum::Unspecified,
    };
    v1::Tunnel { r#type: kind.into(), port: destination.tunnel_port, checksum: checksum.into() }
}
