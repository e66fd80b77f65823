//! Facts in, findings out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use fulcrum_model::Cidr;
use fulcrum_proto::finding::{Code, HostRole, Look};
use fulcrum_proto::v1::{Finding, Unchecked};
use fulcrum_session::host::facts::{HostFacts, Interface};
use fulcrum_session::host::judge;

use super::Wanted;

/// `rp_filter` that lets in only what would be answered by the same interface (Linux
/// `Documentation/networking/ip-sysctl.rst`).
const STRICT: u32 = 1;
/// What names of devices with virtual MACs begin with.
const VIRTUAL_MAC_DEVICE: &str = "vrrp4-";
/// What the firmware of machines says whose hypervisor filters MACs, with what to do there.
const HYPERVISORS: [(&str, &str); 4] = [
    (
        "VMware",
        "allow `Forged transmits` and `MAC address changes`, or MAC learning, on the port group",
    ),
    (
        "Microsoft Corporation Virtual Machine",
        "`Set-VMNetworkAdapter -MacAddressSpoofing On` for this machine",
    ),
    (
        "QEMU",
        "leave libvirt's no-mac-spoofing filter off its interface, and trustGuestRxFilters on \
         with macvtap",
    ),
    (
        "KVM",
        "leave libvirt's no-mac-spoofing filter off its interface, and trustGuestRxFilters on \
         with macvtap",
    ),
];

/// What is known of the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What both agents look at.
    pub(super) host: HostFacts,
    /// Modules of the plan that are neither loaded nor built in.
    pub(super) missing_modules: Vec<(String, Presence)>,
    /// `net.ipv4.ip_forward`.
    pub(super) forwards_ipv4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    pub(super) forwards_ipv6: Option<bool>,
    /// Vendor and product by the word of the firmware.
    pub(super) machine: String,
    /// Other programs that speak VRRP here.
    pub(super) other_routers: Vec<String>,
}

/// Where a module is that is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The kernel loads it when it is asked for.
    OnDisk,
    /// This kernel has none.
    Nowhere,
    /// That cannot be seen.
    Unknown,
}

/// All that is wrong, and what cannot be seen.
pub(super) fn judge(wanted: &Wanted, facts: &Facts, now: SystemTime) -> Look {
    let devices = facts.host.interfaces.keys().filter(|name| is_virtual_mac_device(name));
    let interfaces = wanted.instances.iter().map(|instance| &instance.interface);
    let vip_interfaces: BTreeSet<String> = interfaces.chain(devices).cloned().collect();
    let Look { mut findings, mut unchecked } =
        judge::host(HostRole::Director, &facts.host, &vip_interfaces, &vip_interfaces, now);
    findings.extend(modules(facts));
    findings.extend(forwarding(wanted, facts));
    findings.extend(redirects(wanted, &facts.host));
    findings.extend(reverse_paths(&facts.host));
    findings.extend(bridges(wanted, &facts.host));
    findings.extend(hypervisor(wanted, &facts.machine));
    findings.extend(tunnels(wanted, &facts.host));
    findings.extend(facts.other_routers.iter().map(|name| {
        Code::OtherRouter.warning(
            name,
            format!(
                "{name} speaks VRRP on this host: where it has a VIP of ours, both add and \
                     remove it"
            ),
            "stop it, or see that it has other VRIDs and VIPs; `lvsctl import` takes its rules \
             over",
        )
    }));
    unchecked.extend(unseen(wanted, facts));
    Look { findings, unchecked }
}

fn unseen(wanted: &Wanted, facts: &Facts) -> Vec<Unchecked> {
    let hidden = facts.missing_modules.iter().filter(|(_, presence)| match presence {
        Presence::Unknown => true,
        Presence::OnDisk | Presence::Nowhere => false,
    });
    let hidden = hidden.map(|(module, _)| {
        Code::IpvsModules.unchecked(format!(
            "{module} is not loaded, and /lib/modules is hidden from the agent (ProtectKernelModules)"
        ))
    });
    let nat = [
        (facts.forwards_ipv4, wanted.nat.iter().any(IpAddr::is_ipv4), "net.ipv4.ip_forward"),
        (
            facts.forwards_ipv6,
            wanted.nat.iter().any(IpAddr::is_ipv6),
            "net.ipv6.conf.all.forwarding",
        ),
    ];
    let forwarding = nat
        .into_iter()
        .filter(|(value, is_needed, _)| *is_needed && value.is_none())
        .map(|(_, _, name)| Code::IpForward.unchecked(format!("{name} cannot be read")));
    let needs_machine = wanted.instances.iter().any(|instance| instance.has_virtual_mac);
    let machine = (needs_machine && facts.machine.is_empty()).then(|| {
        Code::HypervisorMac
            .unchecked("the firmware does not tell what machine this is (/sys/class/dmi)")
    });
    hidden.chain(forwarding).chain(machine).collect()
}

fn is_virtual_mac_device(name: &str) -> bool {
    name.starts_with(VIRTUAL_MAC_DEVICE)
}

fn modules(facts: &Facts) -> impl Iterator<Item = Finding> + '_ {
    let nowhere = facts.missing_modules.iter().filter(|(_, presence)| match presence {
        Presence::Nowhere => true,
        Presence::OnDisk | Presence::Unknown => false,
    });
    nowhere.map(|(module, _)| {
        Code::IpvsModules.error(
            module,
            format!("this kernel has no module {module}, which the plan needs"),
            format!(
                "install the kernel's extra modules until `modprobe {module}` works, or \
                     choose another scheduler"
            ),
        )
    })
}

/// Answers of real servers in nat are forwarded like any other packet.
fn forwarding(wanted: &Wanted, facts: &Facts) -> Vec<Finding> {
    let families = [
        ("net.ipv4.ip_forward", facts.forwards_ipv4, wanted.nat.iter().any(IpAddr::is_ipv4)),
        (
            "net.ipv6.conf.all.forwarding",
            facts.forwards_ipv6,
            wanted.nat.iter().any(IpAddr::is_ipv6),
        ),
    ];
    let lacking =
        families.into_iter().filter(|(_, value, is_needed)| *is_needed && *value == Some(false));
    lacking
        .map(|(name, _, _)| {
            Code::IpForward.error(
                name,
                format!("{name} is 0: answers of real servers in nat are not forwarded"),
                format!(
                    "`sysctl -w {name}=1`; see `lvsctl status` for why the agent could not, \
                         and for who sets it back"
                ),
            )
        })
        .collect()
}

/// In nat on one arm the director tells a real server that the client is reached without it. In dr nothing of the kind
/// happens: IPVS sends packets on by itself, and redirects come from forwarding alone.
fn redirects(wanted: &Wanted, host: &HostFacts) -> Vec<Finding> {
    let interfaces: BTreeSet<&str> =
        wanted.instances.iter().map(|instance| instance.interface.as_str()).collect();
    let one_arm = interfaces.into_iter().filter(|name| {
        host.interfaces.get(*name).is_some_and(|interface| {
            interface.send_redirects && wanted.nat.iter().any(|rip| is_on_link(interface, *rip))
        })
    });
    one_arm
        .map(|name| {
            Code::SendRedirects.error(
                name,
                format!(
                    "real servers in nat are on {name}, and so are the VIPs: its redirects \
                         make their answers go around this director"
                ),
                format!(
                    "`sysctl -w net.ipv4.conf.all.send_redirects=0 \
                         net.ipv4.conf.{name}.send_redirects=0`, for good in /etc/sysctl.d"
                ),
            )
        })
        .collect()
}

fn is_on_link(interface: &Interface, address: IpAddr) -> bool {
    interface.addresses.iter().any(|own| same_network(own, address))
}

fn same_network(own: &Cidr, address: IpAddr) -> bool {
    let length = u32::from(own.prefix_length());
    match (own.address(), address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => {
            (own.to_bits() ^ address.to_bits()).leading_zeros() >= length
        }
        (IpAddr::V6(own), IpAddr::V6(address)) => {
            (own.to_bits() ^ address.to_bits()).leading_zeros() >= length
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Clients' packets come in by the device with the virtual MAC, and are answered by the interface below.
fn reverse_paths(host: &HostFacts) -> impl Iterator<Item = Finding> + '_ {
    let strict = host.interfaces.iter().filter(|(name, interface)| {
        is_virtual_mac_device(name) && interface.rp_filter == Some(STRICT)
    });
    strict.map(|(name, _)| {
        Code::RpFilter.error(
            name,
            format!(
                "rp_filter of {name} is {STRICT} (the greater of its own and that of all): \
                     clients' packets to the virtual MAC are dropped"
            ),
            format!(
                "`sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0`, \
                     for good in /etc/sysctl.d"
            ),
        )
    })
}

/// Linux bridges pass 224.0.0.18 on always, and `ff02::12` to those alone who were heard to ask for it (RFC 4541 §2.1.2, §3).
fn bridges(wanted: &Wanted, host: &HostFacts) -> Vec<Finding> {
    let mut by_bridge: BTreeMap<&str, bool> = BTreeMap::new();
    for instance in wanted.instances.iter().filter(|instance| instance.is_multicast) {
        let interface = host.interfaces.get(&instance.interface);
        let bridge = interface.and_then(|interface| interface.bridge.as_ref());
        if let Some(bridge) = bridge.filter(|bridge| bridge.is_snooping && !bridge.is_querier) {
            *by_bridge.entry(&bridge.name).or_default() |= instance.is_ipv6;
        }
    }
    let told = by_bridge.into_iter().map(|(bridge, is_ipv6)| {
        let what = if is_ipv6 {
            "adverts to ff02::12 stop after some minutes, and every director becomes Active"
        } else {
            "this one passes 224.0.0.18 on all the same, switches behind it may not"
        };
        Code::MulticastQuerier.warning(
            bridge,
            format!(
                "bridge {bridge} snoops on multicast, and nobody there asks who wants it: \
                     {what}"
            ),
            format!(
                "`ip link set {bridge} type bridge mcast_querier 1`, or mcast_snooping 0; or \
                     give the instance `unicast: true`"
            ),
        )
    });
    told.collect()
}

fn hypervisor(wanted: &Wanted, machine: &str) -> Option<Finding> {
    let instance = wanted.instances.iter().find(|instance| instance.has_virtual_mac)?;
    let (_, remedy) = HYPERVISORS.iter().find(|(words, _)| machine.contains(words))?;
    Some(Code::HypervisorMac.warning(
        instance.name.as_str(),
        format!(
            "it has a virtual MAC, and this is a virtual machine ({machine}), whose \
                 hypervisor may drop frames of other MACs than its own"
        ),
        format!("{remedy}; or leave virtual_mac out"),
    ))
}

/// A client's largest packet with a tunnel's header must go through the interface towards the real server.
fn tunnels(wanted: &Wanted, host: &HostFacts) -> Vec<Finding> {
    let vip_interfaces: BTreeSet<&str> =
        wanted.instances.iter().map(|instance| instance.interface.as_str()).collect();
    let mtu_of = |name: &str| host.interfaces.get(name).and_then(|interface| interface.mtu);
    let Some(largest) = vip_interfaces.iter().filter_map(|name| mtu_of(name)).max() else {
        return Vec::new();
    };
    let mut worst: BTreeMap<&str, u32> = BTreeMap::new();
    for (rip, overhead) in &wanted.tunnel {
        let on_link = host.interfaces.iter().find(|(_, interface)| is_on_link(interface, *rip));
        // Behind a router: most often that of the VIPs' own interface.
        let way = on_link.map(|(name, _)| name.as_str()).or(vip_interfaces.first().copied());
        if let Some(name) = way
            && mtu_of(name).is_some_and(|mtu| mtu < largest + overhead)
        {
            let known = worst.entry(name).or_default();
            *known = (*known).max(*overhead);
        }
    }
    let told = worst.into_iter().map(|(name, overhead)| {
        let needed = largest + overhead;
        Code::TunnelMtu.warning(
            name,
            format!(
                "it takes packets of {} bytes; a client's of {largest} with a tunnel's \
                     {overhead} does not fit, so large uploads are slow, or hang where ICMP is \
                     dropped",
                mtu_of(name).unwrap_or(0)
            ),
            format!(
                "raise the MTU to {needed} from here to the real servers, or let these offer \
                     smaller segments: `ip route change ... advmss {}` there",
                largest.saturating_sub(overhead + 40)
            ),
        )
    });
    told.collect()
}
