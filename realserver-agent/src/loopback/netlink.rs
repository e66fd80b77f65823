//! The only file of this program that opens netlink: addresses, links and neighbour proxies by rtnetlink, and the socket for
//! fou's generic netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use nix::sys::socket::{
    AddressFamily as SocketFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, setsockopt,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rtnetlink::{Handle, MulticastGroup};

use super::devices;
use super::tunnels::Device;

/// lo's index: the first device of every network namespace (Linux `net/core/dev.c`, `LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;
/// Label under which `ifconfig` and `ip address` show our VIPs of IPv4.
const LABEL: &str = "lo:fulcrum";
/// A lifetime without end (RFC 4862 §5.5.3).
const FOREVER: u32 = u32::MAX;
/// Notifications that one look answers. A host of containers tells of hundreds when it starts.
const AT_ONCE: usize = 4096;
/// The kernel answers at once, or after another program's change of the same tables.
const ANSWER_WITHIN_S: i64 = 2;

/// A netlink socket for addresses and links.
#[derive(Clone, Debug)]
pub struct Addresses {
    handle: Handle,
}

/// Addresses and devices of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// /32 and /128 addresses on lo, without 127.0.0.0/8 and `::1`.
    pub loopback: BTreeSet<IpAddr>,
    /// Those of IPv6 among them that are not deprecated.
    pub preferred: BTreeSet<IpAddr>,
    /// Other addresses of IPv6 on lo, with their prefix.
    pub wider: BTreeMap<IpAddr, u8>,
    /// Interface of each other address.
    pub interface_of: BTreeMap<IpAddr, String>,
    /// Names of every interface.
    pub names: BTreeSet<String>,
    /// Those that have an address of IPv4.
    pub with_ipv4: BTreeSet<String>,
    /// Devices that may take packets out of tunnels.
    pub devices: Vec<TunnelDevice>,
}

/// A device that may take packets out of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelDevice {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub device: Device,
    /// It takes packets of any sender, without a key.
    pub is_open: bool,
    /// The administrator has it up.
    pub is_up: bool,
}

impl HostAddresses {
    fn note_on_lo(&mut self, address: IpAddr, message: &AddressMessage) {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = message.header.prefix_len;
        if prefix == whole {
            self.loopback.insert(address);
            if address.is_ipv6() && !is_deprecated(message) {
                self.preferred.insert(address);
            }
        } else if address.is_ipv6() {
            self.wider.insert(address, prefix);
        }
    }
}

impl Addresses {
    /// Opens netlink, and gives a stream that yields whenever an address or a link of the host changes: once for all that is
    /// told by the time it is asked.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> io::Result<(Self, impl Stream<Item = ()> + Unpin + Send)> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr, MulticastGroup::Link];
        let (connection, handle, notifications) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        Ok((Self { handle }, notifications.ready_chunks(AT_ONCE).map(|_| ())))
    }

    /// Reads every address and link.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn read(&self) -> Result<HostAddresses, rtnetlink::Error> {
        let mut host = HostAddresses::default();
        let mut names = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let Some(name) = name_of(&link) else { continue };
            host.names.insert(name.clone());
            host.devices.extend(devices::read(&link).map(|(device, is_open)| TunnelDevice {
                name: name.clone(),
                device,
                is_open,
                is_up: link.header.flags.contains(LinkFlags::Up),
            }));
            names.insert(link.header.index, name);
        }
        let mut messages = self.handle.address().get().execute();
        while let Some(message) = messages.try_next().await? {
            let Some(address) = address_of(&message) else { continue };
            if message.header.index != LOOPBACK_INDEX {
                let Some(name) = names.get(&message.header.index) else { continue };
                host.interface_of.insert(address, name.clone());
                if address.is_ipv4() {
                    host.with_ipv4.insert(name.clone());
                }
            } else if !address.is_loopback() {
                host.note_on_lo(address, &message);
            }
        }
        Ok(host)
    }

    /// Reads the name of every interface, by index.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn names(&self) -> Result<BTreeMap<u32, String>, rtnetlink::Error> {
        let mut names = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            names.extend(name_of(&link).map(|name| (link.header.index, name)));
        }
        Ok(names)
    }

    /// Reads who answers neighbour solicitations for others (`ip -6 neighbour show proxy`): address and interface.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn proxies(&self) -> Result<Vec<(Ipv6Addr, u32)>, rtnetlink::Error> {
        let request = self.handle.neighbours().get().proxies();
        let mut messages = request.set_address_family(AddressFamily::Inet6).execute();
        let mut proxies = Vec::new();
        while let Some(message) = messages.try_next().await? {
            proxies.extend(proxied(&message).map(|address| (address, message.header.ifindex)));
        }
        Ok(proxies)
    }

    /// Adds the VIP to lo, as /32 or /128. The kernel never picks it as the source of the host's own connections: one of IPv4 has
    /// the scope host, one of IPv6 is deprecated (RFC 6724 §5, rule 3). Answers to clients take it from their socket. The
    /// kernel makes the local route by itself, and asks nobody on lo for a duplicate.
    ///
    /// # Errors
    /// Netlink fails; an address of IPv4 that is there already is no error, and one of IPv6 becomes deprecated.
    pub async fn bind(&self, vip: IpAddr) -> Result<(), rtnetlink::Error> {
        let whole = if vip.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(LOOPBACK_INDEX, vip, whole);
        let message = request.message_mut();
        match vip {
            IpAddr::V4(_) => {
                message.header.scope = AddressScope::Host;
                message.attributes.push(AddressAttribute::Label(LABEL.to_owned()));
            }
            IpAddr::V6(_) => {
                let mut lifetime = CacheInfo::default();
                lifetime.ifa_valid = FOREVER;
                message.attributes.push(AddressAttribute::CacheInfo(lifetime));
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
                return request.replace().execute().await;
            }
        }
        tolerate(request.execute().await, nix::libc::EEXIST)
    }

    /// Removes the VIP from lo.
    ///
    /// # Errors
    /// Netlink fails; an address that is not there is no error.
    pub async fn unbind(&self, vip: IpAddr) -> Result<(), rtnetlink::Error> {
        let mut message = AddressMessage::default();
        (message.header.family, message.header.prefix_len) = match vip {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.header.index = LOOPBACK_INDEX;
        message.attributes.push(AddressAttribute::Local(vip));
        let answer = self.handle.address().del(message).execute().await;
        tolerate(answer, nix::libc::EADDRNOTAVAIL)
    }

    /// Makes a device, which is down.
    ///
    /// # Errors
    /// Netlink fails: `EOPNOTSUPP` where the kernel has no such kind, `EEXIST` where another has its name or addresses.
    pub async fn make(&self, name: &str, device: &Device) -> Result<(), rtnetlink::Error> {
        self.handle.link().add(devices::message(name, device)).execute().await
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn raise(&self, name: &str) -> Result<(), rtnetlink::Error> {
        let Some(index) = self.index_of(name).await? else { return Ok(()) };
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.handle.link().set(message).execute().await
    }

    /// Gives a device an address of IPv4 that nobody is reached at.
    ///
    /// # Errors
    /// Netlink fails; an address that is there already is no error.
    pub async fn give(&self, name: &str, address: Ipv4Addr) -> Result<(), rtnetlink::Error> {
        let Some(index) = self.index_of(name).await? else { return Ok(()) };
        let mut request = self.handle.address().add(index, address.into(), 32);
        request.message_mut().header.scope = AddressScope::Host;
        tolerate(request.execute().await, nix::libc::EEXIST)
    }

    /// Removes a device.
    ///
    /// # Errors
    /// Netlink fails; a device that is not there is no error.
    pub async fn remove(&self, name: &str) -> Result<(), rtnetlink::Error> {
        let Some(index) = self.index_of(name).await? else { return Ok(()) };
        self.handle.link().del(index).execute().await
    }

    /// The index of a device; none where it is not there.
    async fn index_of(&self, name: &str) -> Result<Option<u32>, rtnetlink::Error> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) => tolerate(Err(error), nix::libc::ENODEV).map(|()| None),
        }
    }
}

/// A socket of generic netlink, on which an answer is waited for at most [`ANSWER_WITHIN_S`].
///
/// # Errors
/// The kernel gives none.
pub(super) fn open_generic() -> io::Result<OwnedFd> {
    let (family, flags) = (SocketFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let protocol = SockProtocol::NetlinkGeneric;
    let socket = nix::sys::socket::socket(family, SockType::Raw, flags, Some(protocol))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_WITHIN_S))?;
    Ok(socket)
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let found = |wanted_local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if wanted_local => Some(*address),
            AddressAttribute::Address(address) if !wanted_local => Some(*address),
            _ => None,
        })
    };
    // On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL is ours.
    found(true).or_else(|| found(false))
}

fn is_deprecated(message: &AddressMessage) -> bool {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.is_some_and(|flags| flags.contains(AddressFlags::Deprecated))
}

fn proxied(message: &NeighbourMessage) -> Option<Ipv6Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    })
}

fn tolerate(answer: Result<(), rtnetlink::Error>, errno: i32) -> Result<(), rtnetlink::Error> {
    match answer {
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -errno => Ok(()),
        other => other,
    }
}
