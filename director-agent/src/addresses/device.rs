//! The macvlan device that carries a virtual MAC.
//!
//! Its mode is "bridge": with "private" the kernel hands what comes from the same MAC, the adverts
//! of a router that takes the role from us, to the macvlan alone, and not to the interface on which
//! we listen (`macvlan_handle_frame` of `drivers/net/macvlan.c`). We send nothing between two such
//! devices, so it makes no other difference.

use std::path::Path;
use std::{fs, io};

use fulcrum_vrrp::Family;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::arp_quiet::write_if_there;
use super::netlink::RouteSocket;

/// Where the kernel has settings of the IP protocols.
pub(super) const SYSCTLS: &str = "/proc/sys/net";
/// Sources need to be reachable at all, by whatever interface (RFC 3704 §2.4).
const LOOSE: &str = "2";

/// Makes the device, which is down.
///
/// # Errors
/// The kernel's errno: `EOPNOTSUPP` without the module macvlan, `EEXIST` where another link has the
/// name, `EBUSY` above an interface that is a macvlan itself.
pub(super) fn create(
    socket: &mut RouteSocket,
    name: &str,
    mac: [u8; 6],
    interface_index: u32,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Link(interface_index),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    socket.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sets how the device treats packets; `sysctls` is [`SYSCTLS`]. What is not there (a kernel without
/// IPv6) is passed over.
///
/// # Errors
/// When a setting cannot be written.
pub(super) fn configure(sysctls: &Path, name: &str, family: Family) -> io::Result<()> {
    // The greater of `all` and the device's own counts: where `all` is strict, loose is the most
    // that one device can have. Clients' packets come in here, and leave by the interface below.
    let all = fs::read_to_string(sysctls.join("ipv4/conf/all/rp_filter")).unwrap_or_default();
    let rp_filter = if all.trim() == "0" { "0" } else { LOOSE };
    let ipv4 = [
        // It answers ARP for the addresses that it has, with the virtual MAC, and for no other.
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
        ("rp_filter", rp_filter),
    ];
    let ipv6: &[(&str, &str)] = match family {
        Family::V4 => &[("disable_ipv6", "1")],
        // No address of its own beside the VIPs: routers would be asked, and neighbours told, from
        // a MAC that another director may have by then.
        Family::V6 => {
            &[("addr_gen_mode", "1"), ("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0")]
        }
    };
    let write = |family: &str, (setting, value): &(&str, &str)| {
        write_if_there(&sysctls.join(family).join("conf").join(name).join(setting), value)
    };
    ipv4.iter().try_for_each(|setting| write("ipv4", setting))?;
    ipv6.iter().try_for_each(|setting| write("ipv6", setting))
}

/// Brings the device up or down.
///
/// # Errors
/// The kernel's errno.
pub(super) fn set_up(socket: &mut RouteSocket, index: u32, is_up: bool) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = if is_up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    socket.change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes the device with all its addresses.
///
/// # Errors
/// The kernel's errno.
pub(super) fn remove(socket: &mut RouteSocket, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    socket.change(RouteNetlinkMessage::DelLink(message), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "vrrp4-51-3c1e";

    fn settings(all: &str, vips: Family) -> Vec<(&'static str, String)> {
        let directory = tempfile::tempdir().expect("a directory");
        for (family, names) in [
            ("ipv4", ["arp_ignore", "arp_announce", "rp_filter"].as_slice()),
            ("ipv6", ["addr_gen_mode", "accept_ra", "disable_ipv6"].as_slice()),
        ] {
            let conf = directory.path().join(family).join("conf");
            fs::create_dir_all(conf.join("all")).expect("a directory");
            fs::create_dir_all(conf.join(DEVICE)).expect("a directory");
            fs::write(conf.join("all/rp_filter"), all).expect("a file");
            for name in names {
                fs::write(conf.join(DEVICE).join(name), "0").expect("a file");
            }
        }
        configure(directory.path(), DEVICE, vips).expect("it can be written");
        ["ipv4/rp_filter", "ipv4/arp_ignore", "ipv6/disable_ipv6", "ipv6/addr_gen_mode"]
            .map(|path| {
                let (family, name) = path.split_once('/').expect("two parts");
                let file = directory.path().join(family).join("conf").join(DEVICE).join(name);
                (name, fs::read_to_string(file).expect("a file"))
            })
            .to_vec()
    }

    #[test]
    fn clients_packets_pass_whatever_the_host_has_for_all_interfaces() {
        for (all, expected) in [("0\n", "0"), ("1\n", "2"), ("2\n", "2")] {
            assert_eq!(settings(all, Family::V4)[0], ("rp_filter", expected.to_owned()), "{all:?}");
        }
    }

    #[test]
    fn a_device_of_ipv4_speaks_no_ipv6_and_one_of_ipv6_has_no_address_of_its_own() {
        let value = |text: &str| text.to_owned();
        let ipv4 = settings("0", Family::V4);
        assert_eq!(ipv4[1..3], [("arp_ignore", value("1")), ("disable_ipv6", value("1"))]);
        let ipv6 = settings("0", Family::V6);
        assert_eq!(ipv6[2..], [("disable_ipv6", value("0")), ("addr_gen_mode", value("1"))]);
    }
}
