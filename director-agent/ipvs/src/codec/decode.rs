//! Answers to dumps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use fulcrum_model::{Port, Tunnel, TunnelChecksum};

use super::attribute::{Attributes, Malformed, array, read_u16, read_u32};
use super::tunnel as number;
use super::{address_family, command_attribute};
use super::{dest_attribute as dest, info_attribute as info, service_attribute as service};
use crate::{
    AddressFamily, Connections, Destination, DestinationKey, DestinationSettings, Flags,
    Forwarding, Netmask, SchedulerName, Transport, VirtualServerKey, VirtualServerSettings,
};

/// Why an answer is no table entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its bytes do not hold together.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An attribute that every entry has is not there.
    #[error("the kernel's answer lacks attribute {name}")]
    Missing {
        /// Its name in `linux/ip_vs.h`.
        name: &'static str,
    },
    /// An attribute has a value that this version does not know.
    #[error("the kernel's answer has the unknown value {found} in attribute {name}")]
    Unknown {
        /// Its name in `linux/ip_vs.h`.
        name: &'static str,
        /// The value.
        found: String,
    },
}

pub(super) fn missing(name: &'static str) -> DecodeError {
    DecodeError::Missing { name }
}

pub(super) fn unknown(name: &'static str, found: impl ToString) -> DecodeError {
    DecodeError::Unknown { name, found: found.to_string() }
}

/// A virtual server, from the attributes of an answer to `GET_SERVICE`.
///
/// # Errors
/// [`DecodeError`] tells what the entry lacks. The other entries of the dump are none the worse for it.
pub fn virtual_server(
    attributes: &[u8],
) -> Result<(VirtualServerKey, VirtualServerSettings), DecodeError> {
    let nested = nested(attributes, command_attribute::SERVICE, "IPVS_CMD_ATTR_SERVICE")?;
    let raw = RawVirtualServer::read(nested)?;
    let family = family_of(raw.family.ok_or_else(|| missing("IPVS_SVC_ATTR_AF"))?)?;
    let key = match raw.fwmark.and_then(NonZeroU32::new) {
        Some(mark) => VirtualServerKey::Fwmark { mark, family },
        None => VirtualServerKey::Address {
            transport: {
                let number = raw.protocol.ok_or_else(|| missing("IPVS_SVC_ATTR_PROTOCOL"))?;
                Transport::from_number(number)
                    .ok_or_else(|| unknown("IPVS_SVC_ATTR_PROTOCOL", number))?
            },
            vip: address(raw.address.ok_or_else(|| missing("IPVS_SVC_ATTR_ADDR"))?, family)?,
            port: raw.port.ok_or_else(|| missing("IPVS_SVC_ATTR_PORT"))?,
        },
    };
    let scheduler = text(raw.scheduler.ok_or_else(|| missing("IPVS_SVC_ATTR_SCHED_NAME"))?);
    let scheduler = SchedulerName::new(&scheduler)
        .ok_or_else(|| unknown("IPVS_SVC_ATTR_SCHED_NAME", &scheduler))?;
    let flags = Flags::from_bits(raw.flags.ok_or_else(|| missing("IPVS_SVC_ATTR_FLAGS"))?);
    let timeout_s = raw.timeout_s.ok_or_else(|| missing("IPVS_SVC_ATTR_TIMEOUT"))?;
    let netmask = raw.netmask.ok_or_else(|| missing("IPVS_SVC_ATTR_NETMASK"))?;
    let settings = VirtualServerSettings {
        scheduler,
        flags,
        // Without persistence the kernel keeps a timeout that was once given, and does not use it.
        persistence_timeout_s: if flags.contains(Flags::PERSISTENT) { timeout_s } else { 0 },
        netmask: match family {
            AddressFamily::V4 => Netmask::V4(Ipv4Addr::from(netmask)),
            AddressFamily::V6 => Netmask::V6(u32::from_ne_bytes(netmask)),
        },
        persistence_engine: raw.persistence_engine.map(text),
    };
    Ok((key, settings))
}

/// A real server, from the attributes of an answer to `GET_DEST`. `family` is its virtual server's: kernels before
/// 3.18 do not tell a real server's own.
///
/// # Errors
/// [`DecodeError`] tells what the entry lacks. The other entries of the dump are none the worse for it.
pub fn destination(
    attributes: &[u8],
    family: AddressFamily,
) -> Result<(DestinationKey, Destination), DecodeError> {
    let nested = nested(attributes, command_attribute::DEST, "IPVS_CMD_ATTR_DEST")?;
    let raw = RawDestination::read(nested)?;
    let family = raw.family.map_or(Ok(family), family_of)?;
    let key = DestinationKey {
        address: address(raw.address.ok_or_else(|| missing("IPVS_DEST_ATTR_ADDR"))?, family)?,
        port: raw.port.ok_or_else(|| missing("IPVS_DEST_ATTR_PORT"))?,
    };
    let number = raw.forwarding.ok_or_else(|| missing("IPVS_DEST_ATTR_FWD_METHOD"))?;
    let forwarding = match number {
        0 => Forwarding::Masq,
        1 => Forwarding::Local,
        2 => Forwarding::Tunnel(raw.tunnel()?),
        3 => Forwarding::Route,
        4 => Forwarding::Bypass,
        _ => return Err(unknown("IPVS_DEST_ATTR_FWD_METHOD", number)),
    };
    let settings = DestinationSettings {
        weight: raw.weight.ok_or_else(|| missing("IPVS_DEST_ATTR_WEIGHT"))?,
        forwarding,
        upper_threshold: raw.upper_threshold.unwrap_or(0),
        lower_threshold: raw.lower_threshold.unwrap_or(0),
    };
    Ok((key, Destination { settings, connections: raw.connections() }))
}

/// What IPVS tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Information {
    /// Version: major, minor, patch.
    pub version: [u8; 3],
    /// Buckets of the connection table.
    pub connection_table_size: u32,
}

/// What IPVS tells of itself, from the attributes of an answer to `GET_INFO`.
///
/// # Errors
/// [`DecodeError`] tells what the answer lacks.
pub fn information(attributes: &[u8]) -> Result<Information, DecodeError> {
    let (mut version, mut size) = (None, None);
    for attribute in Attributes::new(attributes) {
        let (kind, value) = attribute?;
        match kind {
            info::VERSION => version = Some(read_u32(value, 0)?),
            info::CONN_TAB_SIZE => size = Some(read_u32(value, 0)?),
            // What a later kernel adds.
            _ => {}
        }
    }
    // NVERSION of `linux/ip_vs.h`: one byte each, major first.
    let [_, major, minor, patch] =
        version.ok_or_else(|| missing("IPVS_INFO_ATTR_VERSION"))?.to_be_bytes();
    let connection_table_size = size.ok_or_else(|| missing("IPVS_INFO_ATTR_CONN_TAB_SIZE"))?;
    Ok(Information { version: [major, minor, patch], connection_table_size })
}

/// The attributes of a virtual server, each as it came.
#[derive(Default)]
struct RawVirtualServer<'a> {
    family: Option<u16>,
    protocol: Option<u16>,
    address: Option<&'a [u8]>,
    port: Option<u16>,
    fwmark: Option<u32>,
    scheduler: Option<&'a [u8]>,
    flags: Option<u32>,
    timeout_s: Option<u32>,
    netmask: Option<[u8; 4]>,
    persistence_engine: Option<&'a [u8]>,
}

impl<'a> RawVirtualServer<'a> {
    fn read(attributes: &'a [u8]) -> Result<Self, Malformed> {
        let mut raw = Self::default();
        for attribute in Attributes::new(attributes) {
            let (kind, value) = attribute?;
            match kind {
                service::AF => raw.family = Some(read_u16(value, 0)?),
                service::PROTOCOL => raw.protocol = Some(read_u16(value, 0)?),
                service::ADDR => raw.address = Some(value),
                service::PORT => raw.port = Some(u16::from_be_bytes(array(value, 0)?)),
                service::FWMARK => raw.fwmark = Some(read_u32(value, 0)?),
                service::SCHED_NAME => raw.scheduler = Some(value),
                service::FLAGS => raw.flags = Some(read_u32(value, 0)?),
                service::TIMEOUT => raw.timeout_s = Some(read_u32(value, 0)?),
                service::NETMASK => raw.netmask = Some(array(value, 0)?),
                service::PE_NAME => raw.persistence_engine = Some(value),
                // Statistics, and what a later kernel adds.
                _ => {}
            }
        }
        Ok(raw)
    }
}

/// The attributes of a real server, each as it came.
#[derive(Default)]
struct RawDestination<'a> {
    family: Option<u16>,
    address: Option<&'a [u8]>,
    port: Option<u16>,
    forwarding: Option<u32>,
    weight: Option<u32>,
    upper_threshold: Option<u32>,
    lower_threshold: Option<u32>,
    active: Option<u32>,
    inactive: Option<u32>,
    persistent: Option<u32>,
    tunnel_type: Option<u8>,
    tunnel_port: Option<u16>,
    tunnel_flags: Option<u16>,
}

impl<'a> RawDestination<'a> {
    fn read(attributes: &'a [u8]) -> Result<Self, Malformed> {
        let mut raw = Self::default();
        for attribute in Attributes::new(attributes) {
            let (kind, value) = attribute?;
            match kind {
                dest::ADDR => raw.address = Some(value),
                dest::PORT => raw.port = Some(u16::from_be_bytes(array(value, 0)?)),
                dest::FWD_METHOD => raw.forwarding = Some(read_u32(value, 0)?),
                dest::WEIGHT => raw.weight = Some(read_u32(value, 0)?),
                dest::U_THRESH => raw.upper_threshold = Some(read_u32(value, 0)?),
                dest::L_THRESH => raw.lower_threshold = Some(read_u32(value, 0)?),
                dest::ACTIVE_CONNS => raw.active = Some(read_u32(value, 0)?),
                dest::INACT_CONNS => raw.inactive = Some(read_u32(value, 0)?),
                dest::PERSIST_CONNS => raw.persistent = Some(read_u32(value, 0)?),
                dest::ADDR_FAMILY => raw.family = Some(read_u16(value, 0)?),
                dest::TUN_TYPE => raw.tunnel_type = value.first().copied(),
                dest::TUN_PORT => raw.tunnel_port = Some(u16::from_be_bytes(array(value, 0)?)),
                dest::TUN_FLAGS => raw.tunnel_flags = Some(read_u16(value, 0)?),
                // Statistics, and what a later kernel adds.
                _ => {}
            }
        }
        Ok(raw)
    }

    /// Kernels before 5.3 tell nothing: they know IP-in-IP alone.
    fn tunnel(&self) -> Result<Tunnel, DecodeError> {
        let flags = self.tunnel_flags.unwrap_or(0);
        let checksum = match flags {
            0 => TunnelChecksum::None,
            number::CHECKSUM => TunnelChecksum::Full,
            number::REMOTE_CHECKSUM => TunnelChecksum::Remote,
            _ => return Err(unknown("IPVS_DEST_ATTR_TUN_FLAGS", flags)),
        };
        match self.tunnel_type.unwrap_or(number::IPIP) {
            number::IPIP => Ok(Tunnel::Ipip),
            number::GUE => {
                let port = self.tunnel_port.unwrap_or(0);
                let port =
                    Port::new(port.into()).map_err(|_| unknown("IPVS_DEST_ATTR_TUN_PORT", port))?;
                Ok(Tunnel::Gue { port, checksum })
            }
            number::GRE => Ok(Tunnel::Gre { checksum }),
            other => Err(unknown("IPVS_DEST_ATTR_TUN_TYPE", other)),
        }
    }

    fn connections(&self) -> Option<Connections> {
        Some(Connections {
            active: self.active?,
            inactive: self.inactive?,
            persistent: self.persistent.unwrap_or(0),
        })
    }
}

/// The value of the one nested attribute that an answer holds.
pub(super) fn nested<'a>(
    attributes: &'a [u8],
    wanted: u16,
    name: &'static str,
) -> Result<&'a [u8], DecodeError> {
    for attribute in Attributes::new(attributes) {
        let (kind, value) = attribute?;
        if kind == wanted {
            return Ok(value);
        }
    }
    Err(missing(name))
}

fn family_of(number: u16) -> Result<AddressFamily, DecodeError> {
    match number {
        address_family::INET => Ok(AddressFamily::V4),
        address_family::INET6 => Ok(AddressFamily::V6),
        other => Err(unknown("IPVS_SVC_ATTR_AF", other)),
    }
}

fn address(bytes: &[u8], family: AddressFamily) -> Result<IpAddr, Malformed> {
    Ok(match family {
        AddressFamily::V4 => Ipv4Addr::from(array::<4>(bytes, 0)?).into(),
        AddressFamily::V6 => Ipv6Addr::from(array::<16>(bytes, 0)?).into(),
    })
}

/// A text up to its closing NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
