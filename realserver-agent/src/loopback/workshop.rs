//! Looks at what takes packets out of tunnels, and takes [`tunnels`]' steps.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use super::devices;
use super::fou::Fou;
use super::netlink::{Addresses, HostAddresses};
use super::plan::Desired;
use super::tunnels::{self, Found, GuePort, Lack, Need, Ours, Step};

/// What the host has of tunnels.
pub(super) fn observe(host: &HostAddresses, desired: &Desired, ours: &Ours) -> tunnels::Observed {
    let devices = host.devices.iter().map(|it| {
        let found = Found {
            device: it.device,
            is_open: it.is_open,
            is_up: it.is_up,
            has_ipv4: host.with_ipv4.contains(&it.name),
            rp_filter: devices::rp_filter_in_force(&it.name),
            is_ipv6_disabled: devices::is_ipv6_disabled(&it.name),
            is_guarded: devices::is_guarded(&it.name),
        };
        (it.name.clone(), found)
    });
    let needs = desired.needs.iter().flatten().chain(&desired.leaving);
    let wants_port = needs.into_iter().any(|(need, _)| matches!(need, Need::Port(_)));
    // Nobody loads fou for the sake of looking.
    let is_asked = wants_port || !ours.ports.is_empty();
    let ports = if is_asked { ports() } else { Ok(BTreeMap::new()) };
    let (ports, ports_unread) = match ports {
        Ok(ports) => (ports, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let names = host.names.clone();
    tunnels::Observed { devices: devices.collect(), names, ports, ports_unread }
}

/// Without the module there are no ports; opening one tells what is wrong.
fn ports() -> io::Result<BTreeMap<GuePort, bool>> {
    let mut fou = match Fou::open() {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => return Ok(BTreeMap::new()),
        other => other?,
    };
    fou.ports()
}

/// Interfaces of addresses, without the dummy address of our own devices.
pub(super) fn elsewhere(
    mut interface_of: BTreeMap<IpAddr, String>,
    ours: &Ours,
) -> BTreeMap<IpAddr, String> {
    interface_of.retain(|_, interface| !ours.devices.contains(interface));
    interface_of
}

/// Who answers neighbour solicitations for others, where that is in force.
pub(super) async fn proxied(
    addresses: &Addresses,
) -> Result<BTreeMap<Ipv6Addr, String>, rtnetlink::Error> {
    let proxies = addresses.proxies().await?;
    if proxies.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = addresses.names().await?;
    let interface = |(address, index)| Some((address, names.get(&index)?.clone()));
    let entries = proxies.into_iter().filter_map(interface);
    Ok(entries.filter(|(_, interface)| devices::answers_by_proxy(interface)).collect())
}

/// Takes a step; why not, with the remedy, where it fails. It is tried again, and told until it succeeds.
pub(super) async fn perform(addresses: &Addresses, step: &Step) -> Result<(), String> {
    let answer = take(addresses, step).await;
    if answer.is_ok() {
        tracing::info!(%step, "tunnel");
    }
    answer
}

async fn take(addresses: &Addresses, step: &Step) -> Result<(), String> {
    match step {
        Step::Make(name, device) => addresses.make(name, device).await.map_err(|error| {
            let kind = device.kind;
            format!("make {name}: {error}; {}", remedy(&error, kind.module(), kind.as_str()))
        }),
        Step::Mend(name, _, lack) => mend(addresses, name, *lack).await,
        Step::Remove(name) => {
            addresses.remove(name).await.map_err(|error| format!("remove {name}: {error}"))
        }
        Step::Open(port) => Fou::open().and_then(|mut fou| fou.add(*port)).map_err(|error| {
            let remedy = match error.raw_os_error() {
                Some(nix::libc::EADDRINUSE) => "another program has the port: see `ss -ulpn`",
                Some(nix::libc::EPERM) => "the agent needs CAP_NET_ADMIN",
                _ if port.is_ipv6 => {
                    "load the modules fou and fou6, for good in /etc/modules-load.d"
                }
                _ => "load the module fou, for good in /etc/modules-load.d",
            };
            format!("open {port}: {error}; {remedy}")
        }),
        Step::Close(port) => Fou::open()
            .and_then(|mut fou| fou.delete(*port))
            .map_err(|error| format!("close {port}: {error}")),
    }
}

async fn mend(addresses: &Addresses, name: &str, lack: Lack) -> Result<(), String> {
    let sysctl = |key: &str, error: io::Error| {
        format!(
            "{key} of {name}: {error}; the agent needs CAP_NET_ADMIN and a writable /proc/sys (systemd: no \
             ProtectKernelTunables)"
        )
    };
    match lack {
        Lack::Unguarded => devices::guard(name).map_err(|error| sysctl("forwarding", error)),
        Lack::Strict => devices::loosen(name).map_err(|error| sysctl("rp_filter", error)),
        Lack::Address => addresses
            .give(name, devices::DUMMY)
            .await
            .map_err(|error| format!("give {name} {}: {error}", devices::DUMMY)),
        Lack::Ipv6 => devices::enable_ipv6(name).map_err(|error| sysctl("disable_ipv6", error)),
        Lack::Down => {
            addresses.raise(name).await.map_err(|error| format!("set {name} up: {error}"))
        }
    }
}

fn remedy(error: &rtnetlink::Error, module: &str, kind: &str) -> String {
    let code = match error {
        rtnetlink::Error::NetlinkError(message) => -message.raw_code(),
        _ => 0,
    };
    match code {
        nix::libc::EPERM => "the agent needs CAP_NET_ADMIN".to_owned(),
        nix::libc::EEXIST => format!(
            "another device of kind {kind} has the same addresses: `ip -d link show type {kind}`"
        ),
        _ => format!("load the module {module}, for good in /etc/modules-load.d"),
    }
}
