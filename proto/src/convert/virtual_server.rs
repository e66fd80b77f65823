//! Virtual servers both ways: what they take and their options, the same for intent and plan.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::resource::VirtualServer;
use fulcrum_model::{
    FailurePolicy, ForwardingMethod, Listen, PersistenceEngine, PersistenceMask, Port, Protocol,
    Scheduler, Tunnel, TunnelChecksum, VirtualServerOptions,
};

use super::duration::duration_to_wire;
use super::enums;
use super::fields::Fields;
use crate::v1;

/// Longest persistence: what ipvsadm(8) accepts, 31 days.
const MAX_PERSISTENCE: Duration = Duration::from_hours(31 * 24);

pub(super) fn virtual_server(
    fields: &mut Fields<'_>,
    wire: &v1::VirtualServer,
) -> Option<VirtualServer> {
    let missing = "name the VRRP instance that moves the VIP";
    let vrrp_instance = fields.name("vrrp_instance", &wire.vrrp_instance, missing);
    let options = options_of(wire);
    let address = Address { vip: &wire.vip, port: wire.port, protocol: wire.protocol };
    let listen = listen(fields, &address, &options, Some(Protocol::Tcp));
    let scheduler = enums::scheduler(fields, "scheduler", wire.scheduler, Some(Scheduler::Wrr));
    let default = Some(ForwardingMethod::Dr);
    let forwarding = enums::forwarding(fields, "forwarding", wire.forwarding, default);
    let persistence_timeout = persistence_timeout(fields, wire.persistence_timeout.as_ref());
    let pool = fields.name("pool", &wire.pool, "name the pool that serves it");
    let options = self::options(fields, &options);
    let server = VirtualServer {
        vrrp_instance: vrrp_instance?,
        listen: listen?,
        scheduler: scheduler?,
        forwarding: forwarding?,
        persistence_timeout: persistence_timeout?,
        pool: pool?,
        options: options?,
    };
    let is_persistent = server.persistence_timeout.is_some();
    let beside = Beside { listen: server.listen, scheduler: server.scheduler, is_persistent };
    check_beside(fields, &server.options, &beside).then_some(server)
}

pub(super) fn virtual_server_to_wire(server: &VirtualServer) -> v1::VirtualServer {
    let address = address_to_wire(&server.listen);
    let mut options = options_to_wire(&server.options);
    listen_to_wire(&server.listen, &mut options);
    v1::VirtualServer {
        vrrp_instance: server.vrrp_instance.to_string(),
        vip: address.0,
        port: address.1,
        protocol: address.2,
        scheduler: enums::scheduler_to_wire(server.scheduler).into(),
        forwarding: enums::forwarding_to_wire(server.forwarding).into(),
        persistence_timeout: server.persistence_timeout.map(duration_to_wire),
        pool: server.pool.to_string(),
        fwmark: options.fwmark,
        fwmark_ipv6: options.fwmark_ipv6,
        all_ports: options.all_ports,
        hash_port: options.hash_port,
        hash_fallback: options.hash_fallback,
        one_packet: options.one_packet,
        persistence_netmask: options.persistence_netmask,
        persistence_engine: options.persistence_engine,
        tunnel: options.tunnel,
        on_failure: options.on_failure,
    }
}

/// The options among the fields.
fn options_of(wire: &v1::VirtualServer) -> v1::VirtualServerOptions {
    v1::VirtualServerOptions {
        fwmark: wire.fwmark,
        fwmark_ipv6: wire.fwmark_ipv6,
        all_ports: wire.all_ports,
        hash_port: wire.hash_port,
        hash_fallback: wire.hash_fallback,
        one_packet: wire.one_packet,
        persistence_netmask: wire.persistence_netmask.clone(),
        persistence_engine: wire.persistence_engine.clone(),
        tunnel: wire.tunnel,
        on_failure: wire.on_failure,
        ..v1::VirtualServerOptions::default()
    }
}

/// The fields that a firewall mark stands in place of.
pub(super) struct Address<'a> {
    pub(super) vip: &'a str,
    pub(super) port: u32,
    pub(super) protocol: i32,
}

/// What a virtual server takes, told by its address or by its options.
pub(super) fn listen(
    fields: &mut Fields<'_>,
    address: &Address<'_>,
    options: &v1::VirtualServerOptions,
    default_protocol: Option<Protocol>,
) -> Option<Listen> {
    let Some(mark) = NonZeroU32::new(options.fwmark) else {
        return listen_address(fields, address, options, default_protocol);
    };
    let given = [
        ("vip", (!address.vip.is_empty()).then(|| format!("{:?}", address.vip))),
        ("port", (address.port != 0).then(|| address.port.to_string())),
        ("protocol", (address.protocol != 0).then(|| address.protocol.to_string())),
        ("all_ports", options.all_ports.then(|| "true".to_owned())),
    ];
    let mut is_alone = true;
    for (field, found) in given {
        if let Some(found) = found {
            let remedy = "fwmark takes packets whatever their address; leave one of both out";
            fields.refuse(field, found, remedy);
            is_alone = false;
        }
    }
    is_alone.then_some(Listen::Fwmark { mark, is_ipv6: options.fwmark_ipv6 })
}

fn listen_address(
    fields: &mut Fields<'_>,
    address: &Address<'_>,
    options: &v1::VirtualServerOptions,
    default_protocol: Option<Protocol>,
) -> Option<Listen> {
    let vip = fields.address("vip", address.vip, "the VIP, one of the VRRP instance's");
    let port = match (options.all_ports, address.port) {
        (true, 0) => Some(None),
        (true, port) => {
            fields.accept("port", None, port, "all_ports takes every port; leave one of both out")
        }
        (false, port) => fields.number("port", port, Port::new).map(Some),
    };
    let protocol = enums::protocol(fields, "protocol", address.protocol, default_protocol);
    if options.fwmark_ipv6 {
        fields.refuse("fwmark_ipv6", true, "it belongs to fwmark; give one, or leave it out");
        return None;
    }
    Some(Listen::Address { vip: vip?, port: port?, protocol: protocol? })
}

/// `vip`, `port` and `protocol`.
pub(super) fn address_to_wire(listen: &Listen) -> (String, u32, i32) {
    match *listen {
        Listen::Address { vip, port, protocol } => {
            let port = port.map_or(0, |port| u32::from(port.get()));
            (vip.to_string(), port, enums::protocol_to_wire(protocol).into())
        }
        Listen::Fwmark { .. } => (String::new(), 0, v1::Protocol::Unspecified.into()),
    }
}

/// What of it stands among the options.
pub(super) fn listen_to_wire(listen: &Listen, options: &mut v1::VirtualServerOptions) {
    match *listen {
        Listen::Address { port, .. } => options.all_ports = port.is_none(),
        Listen::Fwmark { mark, is_ipv6 } => {
            (options.fwmark, options.fwmark_ipv6) = (mark.get(), is_ipv6);
        }
    }
}

/// `Some(None)` when off; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn persistence_timeout(
    fields: &mut Fields<'_>,
    wire: Option<&prost_types::Duration>,
) -> Option<Option<Duration>> {
    let remedy = "use whole seconds from 1s to 2678400s (31 days); leave it out for none";
    fields.seconds_up_to(MAX_PERSISTENCE, "persistence_timeout", wire, remedy)
}

/// Options, each by itself.
pub(super) fn options(
    fields: &mut Fields<'_>,
    wire: &v1::VirtualServerOptions,
) -> Option<VirtualServerOptions> {
    let persistence_mask = persistence_mask(fields, &wire.persistence_netmask);
    let engine = match wire.persistence_engine.as_str() {
        "" => Some(None),
        "sip" => Some(Some(PersistenceEngine::Sip)),
        found => {
            let remedy = "the kernel has the engine sip alone; use it, or leave it out";
            fields.accept("persistence_engine", None, format_args!("{found:?}"), remedy)
        }
    };
    let tunnel = tunnel(&mut fields.within("tunnel"), wire.tunnel.as_ref());
    let on_failure = match v1::FailurePolicy::try_from(wire.on_failure) {
        Ok(v1::FailurePolicy::Unspecified | v1::FailurePolicy::Keep) => Some(FailurePolicy::Keep),
        Ok(v1::FailurePolicy::Reset) => Some(FailurePolicy::Reset),
        Err(_) => fields.accept("on_failure", None, wire.on_failure, "use keep or reset"),
    };
    Some(VirtualServerOptions {
        hash_port: wire.hash_port,
        hash_fallback: wire.hash_fallback,
        one_packet: wire.one_packet,
        persistence_mask: persistence_mask?,
        persistence_engine: engine?,
        tunnel: tunnel?,
        on_failure: on_failure?,
    })
}

pub(super) fn options_to_wire(options: &VirtualServerOptions) -> v1::VirtualServerOptions {
    v1::VirtualServerOptions {
        hash_port: options.hash_port,
        hash_fallback: options.hash_fallback,
        one_packet: options.one_packet,
        persistence_netmask: match options.persistence_mask {
            None => String::new(),
            Some(PersistenceMask::V4(mask)) => mask.to_string(),
            Some(PersistenceMask::V6(length)) => length.to_string(),
        },
        persistence_engine: options.persistence_engine.map_or("", |e| e.as_str()).to_owned(),
        tunnel: Some(tunnel_to_wire(options.tunnel)),
        on_failure: match options.on_failure {
            FailurePolicy::Keep => v1::FailurePolicy::Keep,
            FailurePolicy::Reset => v1::FailurePolicy::Reset,
        }
        .into(),
        ..v1::VirtualServerOptions::default()
    }
}

#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn persistence_mask(fields: &mut Fields<'_>, text: &str) -> Option<Option<PersistenceMask>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_mask = |mask: &Ipv4Addr| {
        let bits = mask.to_bits();
        bits != 0 && bits.leading_ones() + bits.trailing_zeros() == u32::BITS
    };
    let v4 = text.parse().ok().filter(is_mask).map(PersistenceMask::V4);
    let v6 = text.parse().ok().filter(|length| (1..=128).contains(length)).map(PersistenceMask::V6);
    let remedy = "use an IPv4 mask such as 255.255.255.0, or an IPv6 prefix length from 1 to 128";
    fields.accept("persistence_netmask", v4.or(v6), format_args!("{text:?}"), remedy).map(Some)
}

pub(super) fn tunnel(fields: &mut Fields<'_>, wire: Option<&v1::Tunnel>) -> Option<Tunnel> {
    let Some(wire) = wire else { return Some(Tunnel::Ipip) };
    let checksum = match v1::TunnelChecksum::try_from(wire.checksum) {
        Ok(v1::TunnelChecksum::Unspecified | v1::TunnelChecksum::None) => {
            Some(TunnelChecksum::None)
        }
        Ok(v1::TunnelChecksum::Full) => Some(TunnelChecksum::Full),
        Ok(v1::TunnelChecksum::Remote) => Some(TunnelChecksum::Remote),
        Err(_) => fields.accept("checksum", None, wire.checksum, "use none, full or remote"),
    }?;
    match v1::TunnelType::try_from(wire.r#type) {
        Ok(v1::TunnelType::Gue) => {
            let port = fields.number("port", wire.port, Port::new)?;
            Some(Tunnel::Gue { port, checksum })
        }
        Ok(v1::TunnelType::Gre) => {
            let port = (wire.port == 0).then_some(());
            let remedy = "only gue has a port; leave it out";
            let port = fields.accept("port", port, wire.port, remedy);
            let fits = checksum != TunnelChecksum::Remote;
            let remedy = "gre takes none or full";
            fields.accept("checksum", fits.then_some(()), "remote", remedy)?;
            port.map(|()| Tunnel::Gre { checksum })
        }
        Ok(v1::TunnelType::Unspecified | v1::TunnelType::Ipip) => {
            let port = (wire.port == 0).then_some(());
            let remedy = "only gue has a port; leave it out";
            let port = fields.accept("port", port, wire.port, remedy);
            let fits = checksum == TunnelChecksum::None;
            let remedy = "ipip has no checksum of its own; leave it out";
            fields.accept("checksum", fits.then_some(()), "given", remedy)?;
            port.map(|()| Tunnel::Ipip)
        }
        Err(_) => fields.accept("type", None, wire.r#type, "use ipip, gue or gre"),
    }
}

pub(super) fn tunnel_to_wire(tunnel: Tunnel) -> v1::Tunnel {
    let (kind, port, checksum) = match tunnel {
        Tunnel::Ipip => (v1::TunnelType::Ipip, 0, TunnelChecksum::None),
        Tunnel::Gue { port, checksum } => (v1::TunnelType::Gue, port.get(), checksum),
        Tunnel::Gre { checksum } => (v1::TunnelType::Gre, 0, checksum),
    };
    let checksum = match checksum {
        TunnelChecksum::None => v1::TunnelChecksum::None,
        TunnelChecksum::Full => v1::TunnelChecksum::Full,
        TunnelChecksum::Remote => v1::TunnelChecksum::Remote,
    };
    v1::Tunnel { r#type: kind.into(), port: port.into(), checksum: checksum.into() }
}

/// What options must fit.
pub(super) struct Beside {
    pub(super) listen: Listen,
    pub(super) scheduler: Scheduler,
    pub(super) is_persistent: bool,
}

/// Whether the options fit what stands beside them; what does not is refused.
pub(super) fn check_beside(
    fields: &mut Fields<'_>,
    options: &VirtualServerOptions,
    beside: &Beside,
) -> bool {
    let hashes = matches!(beside.scheduler, Scheduler::Sh | Scheduler::Mh);
    let takes_udp = match beside.listen {
        Listen::Address { protocol, .. } => protocol == Protocol::Udp,
        Listen::Fwmark { .. } => true,
    };
    let is_every_port = matches!(beside.listen, Listen::Address { port: None, .. });
    let fits_family = match options.persistence_mask {
        None => true,
        Some(PersistenceMask::V4(_)) => !beside.listen.is_ipv6(),
        Some(PersistenceMask::V6(_)) => beside.listen.is_ipv6(),
    };
    let asks_persistence = "it needs persistence; set persistence_timeout";
    let rules = [
        ("hash_port", options.hash_port && !hashes, "of use with the schedulers sh and mh alone"),
        (
            "hash_fallback",
            options.hash_fallback && !hashes,
            "of use with the schedulers sh and mh alone",
        ),
        ("one_packet", options.one_packet && !takes_udp, "the kernel does it for UDP alone"),
        ("all_ports", is_every_port && !beside.is_persistent, asks_persistence),
        (
            "persistence_netmask",
            options.persistence_mask.is_some() && !beside.is_persistent,
            asks_persistence,
        ),
        (
            "persistence_netmask",
            !fits_family,
            "IPv4 takes a mask such as 255.255.255.0, IPv6 a prefix length such as 64",
        ),
        (
            "persistence_engine",
            options.persistence_engine.is_some() && !beside.is_persistent,
            asks_persistence,
        ),
        (
            "persistence_engine",
            options.persistence_engine.is_some() && !takes_udp,
            "the engine sip reads UDP alone",
        ),
    ];
    let mut fits = true;
    for (field, _, remedy) in rules.into_iter().filter(|(_, is_broken, _)| *is_broken) {
        fields.refuse(field, "given", remedy);
        fits = false;
    }
    fits
}
