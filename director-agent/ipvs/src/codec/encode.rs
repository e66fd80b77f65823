//! Operations to requests.

use std::net::IpAddr;

use fulcrum_model::{Tunnel, TunnelChecksum};

use super::attribute::{align, put, put_nested};
use super::{FAMILY_VERSION, address_family, command, command_attribute};
use super::{dest_attribute as dest, service_attribute as service, tunnel as number};
use crate::{
    AddressFamily, DestinationKey, DestinationSettings, Forwarding, Netmask, Operation,
    VirtualServerKey, VirtualServerSettings,
};

/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub(super) const DUMP: u16 = 0x300;

/// Whether the kernel answers a request that it has done. It answers what it refuses in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// It does. It works through a send in order, so its answer also tells that the requests before had theirs.
    Yes,
    /// It does not.
    No,
}

/// Appends the request for an operation. `family` is the family's number, as the kernel assigned it.
pub fn request(
    buffer: &mut Vec<u8>,
    (family, sequence): (u16, u32),
    operation: &Operation,
    acknowledge: Acknowledge,
) {
    let flags = match acknowledge {
        Acknowledge::Yes => REQUEST | ACK,
        Acknowledge::No => REQUEST,
    };
    let command = match operation {
        Operation::AddVirtualServer { .. } => command::NEW_SERVICE,
        Operation::EditVirtualServer { .. } => command::SET_SERVICE,
        Operation::DeleteVirtualServer { .. } => command::DEL_SERVICE,
        Operation::AddDestination { .. } => command::NEW_DEST,
        Operation::EditDestination { .. } => command::SET_DEST,
        Operation::DeleteDestination { .. } => command::DEL_DEST,
    };
    message(buffer, family, sequence, flags, command, |buffer| match operation {
        Operation::AddVirtualServer { key, settings }
        | Operation::EditVirtualServer { key, settings } => {
            put_virtual_server(buffer, key, Some(settings));
        }
        Operation::DeleteVirtualServer { key } => put_virtual_server(buffer, key, None),
        Operation::AddDestination { virtual_server, key, settings }
        | Operation::EditDestination { virtual_server, key, settings } => {
            put_virtual_server(buffer, virtual_server, None);
            put_destination(buffer, key, Some(settings));
        }
        Operation::DeleteDestination { virtual_server, key } => {
            put_virtual_server(buffer, virtual_server, None);
            put_destination(buffer, key, None);
        }
    });
}

/// Appends the request for a dump of all virtual servers, without their real servers.
pub fn dump_virtual_servers(buffer: &mut Vec<u8>, family: u16, sequence: u32) {
    message(buffer, family, sequence, REQUEST | DUMP, command::GET_SERVICE, |_| {});
}

/// Appends the request for one virtual server, without its real servers; refused with `ESRCH` when there is none.
pub fn get_virtual_server(
    buffer: &mut Vec<u8>,
    family: u16,
    sequence: u32,
    key: &VirtualServerKey,
) {
    message(buffer, family, sequence, REQUEST | ACK, command::GET_SERVICE, |buffer| {
        put_virtual_server(buffer, key, None);
    });
}

/// Appends the request for a dump of one virtual server's real servers. The kernel answers an empty success when
/// there is no such virtual server: check that first.
pub fn dump_destinations(buffer: &mut Vec<u8>, family: u16, sequence: u32, key: &VirtualServerKey) {
    message(buffer, family, sequence, REQUEST | DUMP, command::GET_DEST, |buffer| {
        put_virtual_server(buffer, key, None);
    });
}

/// Appends the request for what IPVS tells of itself.
pub fn get_information(buffer: &mut Vec<u8>, family: u16, sequence: u32) {
    message(buffer, family, sequence, REQUEST | ACK, command::GET_INFO, |_| {});
}

/// `struct nlmsghdr`, `struct genlmsghdr`, then what `fill` appends.
pub(super) fn message(
    buffer: &mut Vec<u8>,
    family: u16,
    sequence: u32,
    flags: u16,
    command: u8,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.extend_from_slice(&family.to_ne_bytes());
    buffer.extend_from_slice(&flags.to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    // Port 0: the kernel fills in the sending socket's.
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.extend_from_slice(&[command, FAMILY_VERSION, 0, 0]);
    fill(buffer);
    let length = buffer.len() - start;
    debug_assert_eq!(length, align(length), "attributes are padded");
    let length = u32::try_from(length).expect("a request holds a few hundred bytes");
    buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn put_virtual_server(
    buffer: &mut Vec<u8>,
    key: &VirtualServerKey,
    settings: Option<&VirtualServerSettings>,
) {
    put_nested(buffer, command_attribute::SERVICE, |buffer| {
        put(buffer, service::AF, &family_number(key.family()).to_ne_bytes());
        match key {
            VirtualServerKey::Address { transport, vip, port } => {
                put(buffer, service::PROTOCOL, &u16::from(transport.number()).to_ne_bytes());
                put(buffer, service::ADDR, &sixteen_bytes(*vip));
                put(buffer, service::PORT, &port.to_be_bytes());
            }
            VirtualServerKey::Fwmark { mark, .. } => {
                put(buffer, service::FWMARK, &mark.get().to_ne_bytes());
            }
        }
        if let Some(settings) = settings {
            put_virtual_server_settings(buffer, settings);
        }
    });
}

fn put_virtual_server_settings(buffer: &mut Vec<u8>, settings: &VirtualServerSettings) {
    put_text(buffer, service::SCHED_NAME, settings.scheduler.as_str());
    // struct ip_vs_flags: the flags, then a mask of those that are meant: all.
    let mut flags_and_mask = [0xff; 8];
    flags_and_mask[..4].copy_from_slice(&settings.flags.bits().to_ne_bytes());
    put(buffer, service::FLAGS, &flags_and_mask);
    put(buffer, service::TIMEOUT, &settings.persistence_timeout_s.to_ne_bytes());
    let netmask = match settings.netmask {
        Netmask::V4(mask) => mask.octets(),
        Netmask::V6(prefix_length) => prefix_length.to_ne_bytes(),
    };
    put(buffer, service::NETMASK, &netmask);
    if let Some(engine) = &settings.persistence_engine {
        put_text(buffer, service::PE_NAME, engine);
    }
}

fn put_destination(
    buffer: &mut Vec<u8>,
    key: &DestinationKey,
    settings: Option<&DestinationSettings>,
) {
    put_nested(buffer, command_attribute::DEST, |buffer| {
        put(buffer, dest::ADDR, &sixteen_bytes(key.address));
        put(buffer, dest::PORT, &key.port.to_be_bytes());
        // Without it the kernel takes the virtual server's family, which a tunnel need not share.
        let family = family_number(AddressFamily::of(key.address));
        put(buffer, dest::ADDR_FAMILY, &family.to_ne_bytes());
        if let Some(settings) = settings {
            put(buffer, dest::FWD_METHOD, &settings.forwarding.number().to_ne_bytes());
            put(buffer, dest::WEIGHT, &settings.weight.to_ne_bytes());
            put(buffer, dest::U_THRESH, &settings.upper_threshold.to_ne_bytes());
            put(buffer, dest::L_THRESH, &settings.lower_threshold.to_ne_bytes());
            if let Forwarding::Tunnel(tunnel) = settings.forwarding {
                put_tunnel(buffer, tunnel);
            }
        }
    });
}

/// Kernels before 5.3 know IP-in-IP alone, and pass over what they do not know: for that, nothing is said.
fn put_tunnel(buffer: &mut Vec<u8>, tunnel: Tunnel) {
    let (kind, port, checksum) = match tunnel {
        Tunnel::Ipip => return,
        Tunnel::Gue { port, checksum } => (number::GUE, port.get(), checksum),
        Tunnel::Gre { checksum } => (number::GRE, 0, checksum),
    };
    let flags = match checksum {
        TunnelChecksum::None => 0,
        TunnelChecksum::Full => number::CHECKSUM,
        TunnelChecksum::Remote => number::REMOTE_CHECKSUM,
    };
    put(buffer, dest::TUN_TYPE, &[kind]);
    put(buffer, dest::TUN_PORT, &port.to_be_bytes());
    put(buffer, dest::TUN_FLAGS, &flags.to_ne_bytes());
}

pub(super) fn put_text(buffer: &mut Vec<u8>, kind: u16, text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    put(buffer, kind, &bytes);
}

fn family_number(family: AddressFamily) -> u16 {
    match family {
        AddressFamily::V4 => address_family::INET,
        AddressFamily::V6 => address_family::INET6,
    }
}

/// `union nf_inet_addr`: an IPv4 address fills the first 4 bytes.
fn sixteen_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}
