//! The only file of this program that opens netlink: addresses by rtnetlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::LinkAttribute;
use rtnetlink::{Handle, MulticastGroup};

/// lo's index: the first device of every network namespace (Linux `net/core/dev.c`, `LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;
/// Label under which `ifconfig` and `ip address` show our VIPs.
const LABEL: &str = "lo:fulcrum";

/// A netlink socket for addresses.
#[derive(Clone, Debug)]
pub struct Addresses {
    handle: Handle,
}

/// Addresses of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// /32 addresses on lo, without 127.0.0.0/8.
    pub loopback: BTreeSet<Ipv4Addr>,
    /// Interface of each other IPv4 address.
    pub interface_of: BTreeMap<Ipv4Addr, String>,
}

impl Addresses {
    /// Opens netlink, and gives a stream that yields whenever an IPv4 address of the host changes.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> std::io::Result<(Self, impl Stream<Item = ()> + Unpin + Send)> {
        let (connection, handle, notifications) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Ifaddr])?;
        tokio::spawn(connection);
        Ok((Self { handle }, notifications.map(|_| ())))
    }

    /// Reads every IPv4 address.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn read(&self) -> Result<HostAddresses, rtnetlink::Error> {
        let mut names = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            names.extend(name.map(|name| (link.header.index, name)));
        }
        let mut host = HostAddresses::default();
        let mut messages = self.handle.address().get().execute();
        while let Some(message) = messages.try_next().await? {
            let Some(address) = ipv4_of(&message) else { continue };
            if message.header.index != LOOPBACK_INDEX {
                let name = names.get(&message.header.index).cloned();
                host.interface_of.extend(name.map(|name| (address, name)));
            } else if message.header.prefix_len == 32 && !address.is_loopback() {
                host.loopback.insert(address);
            }
        }
        Ok(host)
    }

    /// Adds VIP/32 to lo. Its scope is host, so that the kernel never picks it as the source of the host's own
    /// connections; answers to clients take it from their socket. The kernel makes the local route by itself.
    ///
    /// # Errors
    /// Netlink fails; an address that is there already is no error.
    pub async fn bind(&self, vip: Ipv4Addr) -> Result<(), rtnetlink::Error> {
        let mut request = self.handle.address().add(LOOPBACK_INDEX, IpAddr::V4(vip), 32);
        let message = request.message_mut();
        message.header.scope = AddressScope::Host;
        message.attributes.push(AddressAttribute::Label(LABEL.to_owned()));
        tolerate(request.execute().await, nix::libc::EEXIST)
    }

    /// Removes VIP/32 from lo.
    ///
    /// # Errors
    /// Netlink fails; an address that is not there is no error.
    pub async fn unbind(&self, vip: Ipv4Addr) -> Result<(), rtnetlink::Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.index = LOOPBACK_INDEX;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(vip)));
        let answer = self.handle.address().del(message).execute().await;
        tolerate(answer, nix::libc::EADDRNOTAVAIL)
    }
}

fn ipv4_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    let found = |wanted_local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) if wanted_local => Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) if !wanted_local => Some(*address),
            _ => None,
        })
    };
    // On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL is ours.
    found(true).or_else(|| found(false))
}

fn tolerate(answer: Result<(), rtnetlink::Error>, errno: i32) -> Result<(), rtnetlink::Error> {
    match answer {
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -errno => Ok(()),
        other => other,
    }
}
