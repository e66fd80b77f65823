//! The weights of one virtual server, asked of the kernel by netlink: a program that is started for each look would take the
//! machine longer than what is looked for.

use std::io::Read as _;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::Socket;

use super::deletion::{
    ATTR_DEST, ATTR_SERVICE, GENLMSGHDR, NLMSGHDR, SVC_ADDR, SVC_PORT, SVC_PROTOCOL, TCP,
    attribute, header,
};
use super::edits::{NLM_F_REQUEST, generic_netlink, ipvs_family};
use crate::net::namespace;

/// `IPVS_CMD_GET_DEST`, `IPVS_SVC_ATTR_AF` and `IPVS_DEST_ATTR_WEIGHT` of `linux/ip_vs.h`.
const GET_DEST: u8 = 8;
const SVC_AF: u16 = 1;
const DEST_WEIGHT: u16 = 4;
/// `AF_INET`.
const AF_INET: u16 = 2;
/// `NLM_F_DUMP`, `NLMSG_ERROR` and `NLMSG_DONE` of linux/netlink.h.
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The kernel answers within the call that asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at a node's table.
#[derive(Debug)]
pub(crate) struct WeightEye {
    socket: Socket,
    family: u16,
    buffer: Vec<u8>,
}

impl WeightEye {
    /// Opens it.
    pub(crate) fn at(node: &str) -> Result<Self> {
        let (socket, family) =
            namespace::inside(node, || Ok((generic_netlink(PATIENCE)?, ipvs_family()?)))?;
        Ok(Self { socket, family, buffer: vec![0; 1 << 16] })
    }

    /// The weights of the real servers of a TCP virtual server, in the kernel's order; none where there is no such one.
    pub(crate) fn weights(&mut self, vip: SocketAddrV4) -> Result<Vec<u32>> {
        self.socket.send(&request(self.family, vip)).context("cannot ask for real servers")?;
        let mut weights = Vec::new();
        loop {
            let length = self.socket.read(&mut self.buffer).context("no answer of IPVS")?;
            let mut messages = self.buffer.get(..length).unwrap_or_default();
            while let Some((length, kind, _)) = header(messages) {
                match kind {
                    NLMSG_DONE => return Ok(weights),
                    NLMSG_ERROR => bail!("IPVS refuses to tell the real servers of {vip}"),
                    kind if kind == self.family => weights.extend(weight(messages, length)),
                    _ => {}
                }
                messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The weight that a message of so many bytes tells.
fn weight(message: &[u8], length: usize) -> Option<u32> {
    let attributes = message.get(NLMSGHDR + GENLMSGHDR..length)?;
    let weight = attribute(attribute(attributes, ATTR_DEST)?, DEST_WEIGHT)?;
    Some(u32::from_ne_bytes(weight.get(..4)?.try_into().ok()?))
}

/// Asks for all real servers of a virtual server.
fn request(family: u16, vip: SocketAddrV4) -> Vec<u8> {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&vip.ip().octets());
    let mut service = Vec::new();
    put(&mut service, SVC_AF, &AF_INET.to_ne_bytes());
    put(&mut service, SVC_PROTOCOL, &TCP.to_ne_bytes());
    put(&mut service, SVC_ADDR, &address);
    put(&mut service, SVC_PORT, &vip.port().to_be_bytes());
    let mut message = vec![0; NLMSGHDR];
    message.extend([GET_DEST, 1, 0, 0]);
    put(&mut message, ATTR_SERVICE, &service);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message
}

/// Appends an attribute, padded to four bytes.
fn put(buffer: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    buffer.extend(length.to_ne_bytes());
    buffer.extend(kind.to_ne_bytes());
    buffer.extend(content);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_virtual_server() {
        let vip: SocketAddrV4 = "192.168.2.7:10003".parse().expect("an address");
        let message = request(30, vip);
        assert_eq!(header(&message), Some((message.len(), 30, 0x301)));
        let service = attribute(&message[20..], ATTR_SERVICE).expect("it names one");
        let of = |kind| attribute(service, kind).expect("an attribute");
        assert_eq!((of(SVC_AF), of(SVC_PROTOCOL)), (&[2, 0][..], &[6, 0][..]));
        assert_eq!(
            (&of(SVC_ADDR)[..5], of(SVC_PORT)),
            (&[192, 168, 2, 7, 0][..], &[0x27, 0x13][..])
        );
    }

    #[test]
    fn a_weight_is_read_where_there_is_one() {
        let mut destination = Vec::new();
        put(&mut destination, 2, &[0, 80]);
        put(&mut destination, DEST_WEIGHT, &7_u32.to_ne_bytes());
        let mut message = vec![0; NLMSGHDR + GENLMSGHDR];
        put(&mut message, ATTR_DEST, &destination);
        assert_eq!(weight(&message, message.len()), Some(7));
        assert_eq!(weight(&message, message.len() - 8), None, "cut off");
    }
}
