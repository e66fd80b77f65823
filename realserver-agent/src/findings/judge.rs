//! Facts in, findings out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use fulcrum_proto::finding::{Code, HostRole, Look};
use fulcrum_proto::v1::{Finding, Unchecked};
use fulcrum_session::host::facts::{HostFacts, Interface};
use fulcrum_session::host::judge;

use super::Wanted;

/// Where VIPs belong.
pub(super) const LOOPBACK: &str = "lo";
/// `rp_filter` that lets in only what would be answered by the same interface (Linux
/// `Documentation/networking/ip-sysctl.rst`).
const STRICT: u32 = 1;

/// What is known of the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What both agents look at.
    pub(super) host: HostFacts,
    /// Addresses and ports on which somebody listens, of the servers' ports; none where that cannot be seen.
    pub(super) listeners: Option<Vec<(IpAddr, u16)>>,
}

/// All that is wrong, and what cannot be seen.
pub(super) fn judge(wanted: &Wanted, facts: &Facts, now: SystemTime) -> Look {
    // A host without VIPs takes packets to its own addresses alone: any host can.
    let has_vips = !wanted.vips.is_empty();
    let vip_interfaces: BTreeSet<String> =
        has_vips.then(|| LOOPBACK.to_owned()).into_iter().collect();
    let clients = if has_vips { client_interfaces(wanted, &facts.host) } else { BTreeSet::new() };
    let Look { mut findings, mut unchecked } =
        judge::host(HostRole::RealServer, &facts.host, &vip_interfaces, &clients, now);
    if has_vips {
        let elsewhere = elsewhere(wanted, &facts.host);
        findings.extend(loopback(wanted, &elsewhere));
        findings.extend(elsewhere.into_iter().map(|(vip, interface)| {
            let what = if vip.is_ipv6() { "neighbour solicitations" } else { "ARP" };
            Code::VipElsewhere.error(
                vip.to_string(),
                format!(
                    "{interface} holds it too, and answers {what} for it: clients reach this \
                         host past the directors"
                ),
                format!(
                    "`ip address del {vip} dev {interface}`, and take it out of what puts it \
                         there"
                ),
            )
        }));
        findings.extend(tunnels(&facts.host));
        findings.extend(listening(wanted, facts));
        unchecked.extend(unseen(wanted, facts));
    }
    Look { findings, unchecked }
}

fn unseen(wanted: &Wanted, facts: &Facts) -> Vec<Unchecked> {
    let listeners = facts
        .listeners
        .is_none()
        .then(|| Code::ListenAddress.unchecked("/proc/net/tcp cannot be read"));
    let told = |vip: &IpAddr| wanted.loopback.iter().any(|evidence| evidence.vip == *vip);
    let loopback = (!wanted.vips.iter().all(told))
        .then(|| Code::VipLoopback.unchecked("lo was not looked at since the plan came"));
    listeners.into_iter().chain(loopback).collect()
}

/// Those that carry a server's own address, and tunnels: packets to VIPs come in there.
fn client_interfaces(wanted: &Wanted, host: &HostFacts) -> BTreeSet<String> {
    let carries = |interface: &Interface| {
        let mut addresses = interface.addresses.iter().map(fulcrum_model::Cidr::address);
        addresses.any(|address| wanted.servers.iter().any(|(_, rip, _)| *rip == address))
    };
    let interfaces = host.interfaces.iter();
    interfaces
        .filter(|(_, interface)| carries(interface) || (interface.is_tunnel && interface.is_up))
        .map(|(name, _)| name.clone())
        .collect()
}

/// VIPs on other interfaces.
fn elsewhere<'a>(wanted: &Wanted, host: &'a HostFacts) -> Vec<(IpAddr, &'a str)> {
    let others = host.interfaces.iter().filter(|(name, _)| *name != LOOPBACK);
    others
        .flat_map(|(name, interface)| {
            let addresses = interface.addresses.iter().map(fulcrum_model::Cidr::address);
            let held = addresses.filter(|address| wanted.vips.contains(address));
            held.map(move |vip| (vip, name.as_str()))
        })
        .collect()
}

/// What the loopback's driver wants and cannot bring about.
fn loopback(wanted: &Wanted, elsewhere: &[(IpAddr, &str)]) -> Vec<Finding> {
    let unsafe_vips = wanted.loopback.iter().filter(|vip| !vip.bound || !vip.arp_safe);
    unsafe_vips
        // That one has its own finding.
        .filter(|vip| !elsewhere.iter().any(|(address, _)| *address == vip.vip && vip.bound))
        .map(|vip| {
            Code::VipLoopback.error(
                vip.vip.to_string(),
                if vip.detail.is_empty() { "it is not bound to lo" } else { &vip.detail },
                "`fulcrum-realserver start` where it was stopped by hand; else give the agent \
                 CAP_NET_ADMIN and a writable /proc/sys, and see its problems in `lvsctl status`",
            )
        })
        .collect()
}

/// What a tunnel unpacks is from a client, who is reached by another interface.
fn tunnels(host: &HostFacts) -> impl Iterator<Item = Finding> + '_ {
    let tunnels = host.interfaces.iter().filter(|(_, of)| of.is_tunnel && of.is_up);
    tunnels.filter(|(_, interface)| interface.rp_filter == Some(STRICT)).map(|(name, _)| {
        Code::RpFilter.error(
            name,
            format!(
                "rp_filter of {name} is {STRICT} (the greater of its own and that of all): \
                     packets of clients that come out of the tunnel are dropped"
            ),
            format!(
                "`sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0`, \
                     for good in /etc/sysctl.d"
            ),
        )
    })
}

/// Servers that listen on addresses, none of them a VIP. Who listens nowhere is down, which is told as health.
fn listening(wanted: &Wanted, facts: &Facts) -> Vec<Finding> {
    let ports: BTreeSet<u16> = wanted.servers.iter().map(|(_, _, port)| *port).collect();
    let deaf = ports.iter().filter_map(|port| {
        let on: BTreeSet<IpAddr> = facts
            .listeners
            .iter()
            .flatten()
            .filter(|(_, listens)| listens == port)
            .map(|(address, _)| *address)
            .collect();
        let hears =
            on.iter().any(|address| address.is_unspecified() || wanted.vips.contains(address));
        (!on.is_empty() && !hears).then_some((*port, on))
    });
    deaf.map(|(port, on)| {
        let on: Vec<String> = on.iter().map(ToString::to_string).collect();
        let found = format!(
            "the server of port {port} listens on {} alone: packets to the VIP are refused",
            on.join(", ")
        );
        let remedy = "let it listen on every address: for Tomcat leave `address` of its Connector \
                      out, or give 0.0.0.0";
        // Of several servers one may be for nat alone, which the plan does not tell.
        if ports.len() == 1 {
            Code::ListenAddress.error(format!("port {port}"), found, remedy)
        } else {
            Code::ListenAddress.warning(format!("port {port}"), found, remedy)
        }
    })
    .collect()
}
