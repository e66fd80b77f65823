//! A node's cable: cut and plugged in again within microseconds, by one netlink message on an open socket.

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace;
use super::topology::{SWITCH, port_of};

/// `AF_NETLINK` and `NETLINK_ROUTE` of linux/netlink.h.
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
/// `RTM_NEWLINK` of linux/rtnetlink.h; `NLM_F_REQUEST` of linux/netlink.h; `IFF_UP` of linux/if.h.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const IFF_UP: u32 = 1;
/// nlmsghdr and ifinfomsg.
const MESSAGE_BYTES: u32 = 32;

/// The cable of one node, at the bridge's end: neither end sends or hears once it is cut.
#[derive(Debug)]
pub(crate) struct Cable {
    socket: Socket,
    interface: i32,
    port: String,
}

impl Cable {
    /// Takes hold of the node's cable.
    pub(crate) fn of(node: &str) -> Result<Self> {
        let port = port_of(node);
        namespace::inside(SWITCH, || {
            let socket = Socket::new(
                Domain::from(AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(NETLINK_ROUTE)),
            )?;
            let interface = nix::net::if_::if_nametoindex(port.as_str())?.cast_signed();
            Ok(Self { socket, interface, port })
        })
        .with_context(|| format!("cannot take hold of the cable of {node}"))
    }

    /// Cuts it.
    pub(crate) fn cut(&self) -> Result<()> {
        self.set_flags(0).context("cannot cut a cable")
    }

    /// Plugs it in.
    pub(crate) fn plug(&self) -> Result<()> {
        self.set_flags(IFF_UP).context("cannot plug a cable in")
    }

    /// Stops the bridge from passing frames from and to the node, which keeps its carrier: a segment cut in two.
    pub(crate) fn block(&self) -> Result<()> {
        // A bridge without spanning tree makes every port forward that is not disabled.
        self.set_state("disabled")
    }

    /// Takes [`Self::block`] back.
    pub(crate) fn unblock(&self) -> Result<()> {
        self.set_state("forwarding")
    }

    /// Stops the bridge from passing frames between this node and others that are set apart too; all else passes.
    pub(crate) fn set_apart(&self) -> Result<()> {
        self.set("isolated", "on")
    }

    /// Takes [`Self::set_apart`] back.
    pub(crate) fn rejoin(&self) -> Result<()> {
        self.set("isolated", "off")
    }

    fn set_state(&self, state: &str) -> Result<()> {
        self.set("state", state)
    }

    fn set(&self, what: &str, value: &str) -> Result<()> {
        let link = ["-n", SWITCH, "link", "set", "dev", &self.port, what, value];
        crate::process::run("bridge", &link).map(|_| ())
    }

    fn set_flags(&self, flags: u32) -> Result<()> {
        let mut message = Vec::with_capacity(MESSAGE_BYTES as usize);
        message.extend(MESSAGE_BYTES.to_ne_bytes());
        message.extend(RTM_NEWLINK.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]); // sequence and port: no answer is asked for
        message.extend([0; 4]); // family, padding and type of ifinfomsg
        message.extend(self.interface.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(IFF_UP.to_ne_bytes()); // only this flag changes
        // An unbound netlink socket sends to the kernel; the change is done when send returns.
        self.socket.send(&message)?;
        Ok(())
    }
}
